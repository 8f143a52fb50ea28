package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.org/avdb/dbformat"
)

// FuzzCurrent: what parses is encoded as the same bytes; an error comes with nothing.
func FuzzCurrent(f *testing.F) {
	for _, c := range []*Current{
		{Generation: gen(1, 1, 0)},
		{Generation: gen(3, 5, 6), Others: []Generation{gen(2, 3, 4)}, Hold: Hold{Version: 4, All: true, Since: day(9)},
			RolledBack: &RolledBack{From: gen(4, 7, 8), Since: day(9)}},
	} {
		b, err := encodeCurrent(c)
		must(f, err)
		f.Add(b)
	}
	f.Add([]byte(`{"schema":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCurrent(b)
		if (err == nil) != (c != nil) {
			t.Fatalf("parseCurrent = %v, %v", c, err)
		}
		if err != nil {
			return
		}
		if again, err := encodeCurrent(c); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encoded as %s, %v", again, err)
		}
	})
}

// FuzzSettings: settings that are read can be written and read again, unchanged.
func FuzzSettings(f *testing.F) {
	v := DefaultSettings()
	v.Install = "00112233445566778899aabbccddeeff"
	b, err := encodeJSON(v)
	must(f, err)
	f.Add(b)
	f.Add([]byte(`{"schema":1,"install":"00112233445566778899aabbccddeeff","ksn":{"accepted":{"mode":"basic","time":"2026-01-01T00:00:00Z"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := DefaultSettings()
		if dbformat.DecodeJSON(b, &v) != nil || v.check() != nil {
			return
		}
		first, err := encodeJSON(v)
		must(t, err)
		again := DefaultSettings()
		must(t, dbformat.DecodeJSON(first, &again))
		must(t, again.check())
		second, err := encodeJSON(again)
		must(t, err)
		if !bytes.Equal(first, second) {
			t.Fatalf("written as %s, then as %s", first, second)
		}
	})
}

// FuzzLayerFile changes bytes of a layer file: it reads as it was, or as damage. Each four bytes of the input are a
// place (three bytes) and a new value.
func FuzzLayerFile(f *testing.F) {
	s := newMemoryStore(f)
	r := newRelease(f, 1, 300, 1)
	_, err := writeLayer(s, r.rest)
	must(f, err)
	d := r.rest.Header().Digest()
	whole, err := os.ReadFile(s.layerPath(d))
	must(f, err)
	f.Add([]byte{})
	f.Add([]byte{0, 0, 16, 1})
	f.Add([]byte{0, 48, 8, 1, 0, 48, 10, 2, 0, 48, 40, 3})
	path := filepath.Join(f.TempDir(), "layer.db")
	f.Fuzz(func(t *testing.T, edits []byte) {
		b := bytes.Clone(whole)
		for ; len(edits) >= 4; edits = edits[4:] {
			b[(int(edits[0])<<16|int(edits[1])<<8|int(edits[2]))%len(b)] = edits[3]
		}
		must(t, os.WriteFile(path, b, 0o600))
		file, err := openLayer(path, d, dbformat.Rest)
		if err == nil {
			defer file.Close()
			if err = file.Verify(nil); err == nil {
				requireLayer(t, file, r.rest)
				return
			}
		}
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("%v, want ErrDamaged", err)
		}
	})
}
