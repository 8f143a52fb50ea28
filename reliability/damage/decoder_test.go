//go:build check

package damage_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
)

// A coded is a file that a mirror gives, with the way in which an endpoint decodes it.
type coded struct {
	name   string
	bytes  []byte
	digest dbformat.Digest // that is signed
	decode func(b []byte) (*dbformat.Header, error)
}

// nowhere takes blocks and keeps none.
type nowhere struct{}

func (nowhere) PutBlock(dbformat.SectionID, int, []byte) error { return nil }

func layersOf(t *testing.T, files map[string]string, prev *dbformat.Params) (light, rest *dbformat.MemLayer, p dbformat.Params) {
	t.Helper()
	c := fixtures.Compile(t, files).Content
	p = dbformat.ChooseParams(c, prev)
	light, rest, err := dbformat.Build(c, p)
	if err != nil {
		t.Fatal(err)
	}
	return light, rest, p
}

func bundleOf(t *testing.T, l dbformat.LayerReader) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := dbformat.WriteBundle(&b, l); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// smallFiles are both bundles and both deltas of a release of n signatures.
func smallFiles(t *testing.T, n int) []coded {
	t.Helper()
	old := newContent("small", n).files
	next := map[string]string{}
	for name, text := range old {
		lines := strings.SplitAfter(text, "\n")
		for i, line := range lines {
			switch i % 40 { // some go, some get another name
			case 5:
			case 7:
				next[name] += strings.Replace(line, "Damage.", "Damage.Renamed.", 1)
			default:
				next[name] += line
			}
		}
	}
	for name, text := range newContent("more", n/20).files {
		next[name] += text
	}
	light1, rest1, p := layersOf(t, old, nil)
	light2, rest2, _ := layersOf(t, next, &p)
	light, err := dbformat.MakeLightDelta(light1, light2)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := dbformat.MakeRestDelta(light1, light2, rest1, rest2)
	if err != nil {
		t.Fatal(err)
	}
	bundle := func(l dbformat.Layer) func(b []byte) (*dbformat.Header, error) {
		return func(b []byte) (*dbformat.Header, error) { return dbformat.ReadBundle(bytes.NewReader(b), l, nowhere{}) }
	}
	return []coded{
		{"light bundle", bundleOf(t, light1), light1.Header().Digest(), bundle(dbformat.Light)},
		{"rest bundle", bundleOf(t, rest1), rest1.Header().Digest(), bundle(dbformat.Rest)},
		{"light delta", light, light2.Header().Digest(), func(b []byte) (*dbformat.Header, error) {
			return dbformat.ApplyLightDelta(light1, bytes.NewReader(b), nowhere{})
		}},
		{"rest delta", rest, rest2.Header().Digest(), func(b []byte) (*dbformat.Header, error) {
			return dbformat.ApplyRestDelta(light1, light2, rest1, bytes.NewReader(light), bytes.NewReader(b), nowhere{})
		}},
	}
}

// A decoding counts cells.
type decoding struct {
	cells, refused, other, accepted, panics int
}

// try decodes b, which is not what was signed.
func (d *decoding) try(c *coded, b []byte) (why string) {
	defer func() {
		if p := recover(); p != nil {
			d.panics++
			why = fmt.Sprintf("panic: %v", p)
		}
	}()
	d.cells++
	switch h, err := c.decode(b); {
	case err != nil && h != nil:
		d.accepted++
		return "an error and a header"
	case errors.Is(err, dbformat.ErrCorrupt) || errors.Is(err, dbformat.ErrVersion):
		d.refused++
	case err != nil:
		d.accepted++
		return fmt.Sprintf("unknown error %v", err)
	case h.Digest() == c.digest:
		d.accepted++
		return "accepted"
	default:
		d.other++
	}
	return ""
}

// TestA9DamagedFiles flips each bit and cuts at each byte, with no hash of the file to stop it.
func TestA9DamagedFiles(t *testing.T) {
	files, step := smallFiles(t, 2100), 31 // no factor of 8: each bit of a byte has its turn
	if os.Getenv("AVDB_CELLS") == "all" {
		step = 1
	}
	var d decoding
	start, size := time.Now(), 0
	bad := func(c *coded, why, format string, at ...any) {
		if why != "" && d.accepted+d.panics <= 20 {
			t.Errorf("%s, %s: %s", c.name, fmt.Sprintf(format, at...), why)
		}
	}
	for i := range files {
		c := &files[i]
		if h, err := c.decode(c.bytes); err != nil || h.Digest() != c.digest {
			t.Fatalf("%s undamaged: %v", c.name, err)
		}
		before, was := time.Now(), d
		b := bytes.Clone(c.bytes)
		for bit := 0; bit < 8*len(b); bit += step {
			b[bit/8] ^= 1 << (bit % 8)
			bad(c, d.try(c, b), "byte %d bit %d", bit/8, bit%8)
			b[bit/8] ^= 1 << (bit % 8)
		}
		for n := 0; n < len(b); n += (step + 1) / 2 {
			bad(c, d.try(c, b[:n]), "cut to %d bytes", n)
		}
		bad(c, d.try(c, append(b, 0)), "with a byte more")
		size += len(b)
		t.Logf("%s: %d bytes, %d cells in %s", c.name, len(b), d.cells-was.cells, time.Since(before).Round(time.Millisecond))
	}
	t.Logf("A9 bundles and deltas (%d bytes) with a bit flipped or cut, no outer hash: %d cells, %d refused by the decoder, %d with another digest, %d accepted, %d panics (%s)",
		size, d.cells, d.refused, d.other, d.accepted, d.panics, time.Since(start).Round(time.Second))
}
