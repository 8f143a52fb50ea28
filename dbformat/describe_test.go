package dbformat_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
)

func describe(t testing.TB, b []byte) (string, error) {
	t.Helper()
	var w bytes.Buffer
	err := dbformat.Describe(&w, bytes.NewReader(b), int64(len(b)))
	return w.String(), err
}

// Every byte of a file belongs to exactly one field that Describe names.
func TestDescribeNamesEveryByte(t *testing.T) {
	r, light, rest := threeReleases(t)
	for name, b := range map[string][]byte{
		"light header": r[0].light.Header().Encode(), "rest header": r[0].rest.Header().Encode(),
		"light bundle": bundle(t, r[0].light), "rest bundle": bundle(t, r[0].rest), "light delta": light, "rest delta": rest,
	} {
		text, err := describe(t, b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		next := 0
		for line := range strings.Lines(text) {
			off, n := fieldOf(t, line)
			if off != next {
				t.Fatalf("%s: field at byte %d, want %d:\n%s", name, off, next, line)
			}
			next = off + n
		}
		if next != len(b) {
			t.Fatalf("%s: fields end at byte %d of %d", name, next, len(b))
		}
		packed, sums := bytes.Count(b, []byte("\x28\xb5\x2f\xfd")), strings.Count(text, " CRC-32C ")
		if packed != sums || (packed == 0) != strings.HasSuffix(name, "header") {
			t.Fatalf("%s: %d zstd frames and %d fields of their sums", name, packed, sums)
		}
	}
}

// fieldOf gives the offset of a line and how many bytes it shows or counts.
func fieldOf(t testing.TB, line string) (off, n int) {
	t.Helper()
	line = strings.TrimRight(line, "\n")
	if _, err := fmt.Sscan(line[:8], &off); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if rest, ok := strings.CutPrefix(line[10:], "and "); ok {
		if _, err := fmt.Sscan(rest, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return off, n
	}
	return off, len(strings.Fields(line[10:min(len(line), 57)]))
}

func TestDescribeShowsWhatComesBeforeTheError(t *testing.T) {
	b := bundle(t, both(t, sample(10, 1))[0])
	for _, n := range []int{7, 30, len(b) - 1} {
		if _, err := describe(t, b[:n]); !errors.Is(err, dbformat.ErrCorrupt) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	if text, _ := describe(t, b[:len(b)-1]); !strings.Contains(text, "hash/sha256") {
		t.Error("the fields before the error are not shown")
	}
	wrong := fixtures.VectorNamed(t, "delta-light", "text_with_wrong_crc").Data // of a column that needs the old layer
	if text, err := describe(t, wrong); !errors.Is(err, dbformat.ErrCorrupt) || !strings.Contains(text, "operation") {
		t.Errorf("%v after\n%s", err, text)
	}
	if _, err := describe(t, []byte("not a file of ours")); !errors.Is(err, dbformat.ErrCorrupt) {
		t.Error(err)
	}
}
