package dbformat_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"example.org/avdb/dbformat"
)

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var w bytes.Buffer
	z := gzip.NewWriter(&w)
	_, err := z.Write(b)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func zst(t testing.TB, b []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	var w bytes.Buffer
	z, err := zstd.NewWriter(&w, opts...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = z.Write(b)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func readSource(name string, b []byte, limit int64) ([]byte, error) {
	r, err := dbformat.SourceReader(name, bytes.NewReader(b), limit)
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(r)
	return out, errors.Join(err, r.Close())
}

func TestSourcesOfEachCompression(t *testing.T) {
	text := []byte(strings.Repeat("d41d8cd98f00b204e9800998ecf8427e:1:Name\n", 1000))
	for name, b := range map[string][]byte{"a.hdb": text, "a.hdb.gz": gz(t, text), "a.hdb.zst": zst(t, text), "A.HDB.ZST": zst(t, text),
		"long.zst": zst(t, text, zstd.WithWindowSize(128<<20))} {
		got, err := readSource(name, b, int64(len(text)))
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		got, err = readSource(name, b, int64(len(text))-1)
		var fe *dbformat.FormatError
		if !errors.As(err, &fe) || fe.What != name || fe.Offset != int64(len(text))-1 || len(got) != len(text)-1 {
			t.Errorf("%s: a byte more than allowed: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestSourceWithoutALimit(t *testing.T) {
	if got, err := readSource("a.hdb", []byte("text"), math.MaxInt64); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDamagedSourcesAreRefused(t *testing.T) {
	text := []byte(strings.Repeat("line\n", 1000))
	for name, b := range map[string][]byte{
		"empty.gz": nil, "empty.zst": nil,
		"plain.gz": text, "plain.zst": text,
		"short.gz": gz(t, text)[:20], "short.zst": zst(t, text)[:12],
		"window.zst": append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x90, 0x29, 0, 0}, "line\n"...), // 256 MiB of window for a block of 5 bytes
	} {
		if _, err := readSource(name, b, 1<<20); !errors.Is(err, dbformat.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bomb is cut where the limit is, however small it is on disk.
func TestBombIsBounded(t *testing.T) {
	zeros := make([]byte, 16<<20)
	for name, b := range map[string][]byte{"bomb.gz": gz(t, zeros), "bomb.zst": zst(t, zeros)} {
		if got, err := readSource(name, b, 1<<20); !errors.Is(err, dbformat.ErrCorrupt) || len(got) != 1<<20 {
			t.Errorf("%s of %d bytes: %d bytes, %v", name, len(b), len(got), err)
		}
	}
}

func TestErrorBelowASourceIsNotCorruption(t *testing.T) {
	broken := errors.New("I/O error")
	for _, name := range []string{"a.hdb", "a.gz", "a.zst"} {
		for _, head := range [][]byte{nil, gz(t, []byte("text"))[:12]} {
			r, err := dbformat.SourceReader(name, io.MultiReader(bytes.NewReader(head), iotest.ErrReader(broken)), 100)
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if name == "a.zst" && head != nil { // not zstd at all: either error is right
				continue
			}
			if !errors.Is(err, broken) || errors.Is(err, dbformat.ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestSourceName(t *testing.T) {
	for in, want := range map[string]string{"a.hdb": "a.hdb", "a.hdb.gz": "a.hdb", "d/a.hsb.ZST": "d/a.hsb", "a.zst": "a", "gz": "gz"} {
		if got := dbformat.SourceName(in); got != want {
			t.Errorf("SourceName(%q) = %q, want %q", in, got, want)
		}
	}
}
