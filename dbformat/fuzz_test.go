package dbformat_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
)

// seeds adds the vectors of kinds, each with the number of its kind.
func seeds(f *testing.F, kinds ...string) {
	n := 0
	for i, kind := range kinds {
		for _, v := range fixtures.Vectors(f, kind) {
			f.Add(uint8(i), v.Data)
			n++
		}
	}
	if n == 0 {
		f.Fatal("no seed vectors: the corpus has moved")
	}
}

// known fails the test if err is no error that a reader may give for bad bytes.
func known(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, dbformat.ErrCorrupt) && !errors.Is(err, dbformat.ErrVersion) {
		t.Fatalf("%v: neither corrupt nor of another version", err)
	}
}

// within fails the test if f allocates more than limit bytes in all.
func within(t *testing.T, limit int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(limit) {
		t.Fatalf("%d bytes allocated, at most %d are promised", n, limit)
	}
}

// What is read as a header is written as the same bytes, and memory follows the input's length.
func FuzzParseHeader(f *testing.F) {
	seeds(f, "header")
	for _, l := range both(f, sample(20, 21)) {
		b := l.Header().Encode()
		for i := range 16 {
			f.Add(uint8(0), b[:len(b)*i/16])
			flipped := bytes.Clone(b)
			flipped[len(b)*i/16] ^= 1 << (i % 8)
			f.Add(uint8(0), flipped)
		}
	}
	f.Fuzz(func(t *testing.T, _ uint8, b []byte) {
		within(t, 3*len(b)+64<<10, func() {
			h, err := dbformat.ParseHeader(b)
			known(t, err)
			if (err == nil) != (h != nil) {
				t.Fatalf("%v and %v", h, err)
			}
			if err == nil && !bytes.Equal(h.Encode(), b) {
				t.Fatalf("encodes to %x, read from %x", h.Encode(), b)
			}
		})
	})
}

// A block is refused or can be read to its last row; what is built again is the same.
func FuzzBlocks(f *testing.F) {
	kinds := []string{"prefix", "tail", "record", "ignore", "selftest", "pattern"}
	seeds(f, kinds...)
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		_, err := decoders[kinds[int(kind)%len(kinds)]](t, b)
		known(t, err)
		if err == nil {
			rebuilt(t, kinds[int(kind)%len(kinds)], b)
		}
	})
}

// rebuilt builds the section of a valid block from its rows and demands the same bytes.
func rebuilt(t *testing.T, kind string, b []byte) {
	t.Helper()
	if kind != "record" {
		return
	}
	v, err := dbformat.ParseRecordBlock(b, recordSection, 1)
	if err != nil {
		t.Fatal(err)
	}
	id := recordSection.ID
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: nil}}
	for i := range v.Rows() {
		r := dbformat.Record{Size: v.Size(i), Name: string(v.Name(i))}
		v.Hash(i, &r.Hash)
		c.Sections[id] = append(c.Sections[id], r)
	}
	if len(c.Sections[id]) == 0 {
		return
	}
	light, _ := build(t, c, dbformat.Params{Cuts: map[dbformat.SectionID]dbformat.CutParams{id: {B: 1}}})
	if got, err := light.Block(0, 1); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("encodes to %x, read from %x", got, b)
	}
}

// A bundle is refused or gives a layer; that layer's own bundle gives the same one.
func FuzzReadBundle(f *testing.F) {
	seeds(f, "bundle-light", "bundle-rest")
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		want := dbformat.Layer(1 + kind%2)
		var h *dbformat.Header
		var err error
		within(t, 64<<20+100*len(b), func() {
			h, err = dbformat.ReadBundle(bytes.NewReader(b), want, nowhere{})
		})
		known(t, err)
		if err != nil {
			if h != nil {
				t.Fatal("an error and a header")
			}
			return
		}
		if h.Bytes() > 1<<20 {
			return // a zstd bomb within its bounds: fine, but slow
		}
		l := readBundle(t, b, want)
		if again := readBundle(t, bundle(t, l), want); again.Header().Digest() != h.Digest() {
			t.Fatal("its own bundle gives another layer")
		}
		if err := dbformat.Describe(io.Discard, bytes.NewReader(b), int64(len(b))); err != nil {
			t.Fatalf("read, but not described: %v", err)
		}
	})
}

// A delta is refused or leads to the layer that it names; nothing between.
func FuzzApplyDelta(f *testing.F) {
	seeds(f, deltaKinds...)
	w := goldenWorld(f)
	for kind, name := range deltaKinds {
		for _, v := range fixtures.Vectors(f, name) {
			if v.Expect != "ok" {
				continue
			}
			for i := range 8 * len(v.Data) {
				b := bytes.Clone(v.Data)
				b[i/8] ^= 1 << (i % 8)
				f.Add(uint8(kind), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		var h *dbformat.Header
		var err error
		within(t, 80<<20+100*len(b), func() {
			h, err = w.apply(deltaKinds[int(kind)%len(deltaKinds)], bytes.NewReader(b), nowhere{})
		})
		known(t, err)
		if err != nil {
			if h != nil {
				t.Fatal("an error and a header")
			}
			return
		}
		if d := h.Digest(); !bytes.Equal(d[:8], b[14:22]) {
			t.Fatalf("leads to %s, it says %x", d, b[14:22])
		}
		if err := dbformat.Describe(io.Discard, bytes.NewReader(b), int64(len(b))); err != nil {
			t.Fatalf("applied, but not described: %v", err)
		}
	})
}

// Whatever happened between two releases, applying the delta gives what building afresh gives.
func FuzzDeltaOfHistories(f *testing.F) {
	for seed := range uint64(starts) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		from, to := twoReleases(t, seed, steps)
		step(t, from, to)
		checkLayers(t, to.light, to.rest)
	})
}

func twoReleases(t *testing.T, seed uint64, steps uint8) (from, to release) {
	t.Helper()
	h := newHistory(seed)
	if steps&8 != 0 { // names enough for a dictionary
		h.c = sample(40+int(seed%100), seed)
	}
	from = makeRelease(t, clone(h.c), h.params())
	for range steps % 8 {
		h.step()
	}
	return from, makeRelease(t, h.c, h.params())
}

// Whatever byte of a bundle or a delta is changed, and to whatever, the layer that it led to does not come of it.
func FuzzChangedByte(f *testing.F) {
	for seed := range uint64(starts) {
		f.Add(seed, uint8(seed), uint32(seed*104729), byte(1)<<(seed%8))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8, at uint32, by byte) {
		from, to := twoReleases(t, seed, steps)
		light, rest := step(t, from, to)
		changed := func(what string, b []byte, l *dbformat.MemLayer, decode func(io.Reader) (*dbformat.Header, error)) {
			if b == nil || by == 0 {
				return
			}
			i := int(at) % len(b)
			b[i] ^= by
			h, err := decode(bytes.NewReader(b))
			known(t, err)
			if (err == nil) != (h != nil) {
				t.Fatalf("%s: %v and %v", what, h, err)
			}
			if err == nil && h.Digest() == l.Header().Digest() {
				t.Fatalf("%s: byte %d of %d may be %#x instead of %#x", what, i, len(b), b[i], b[i]^by)
			}
			b[i] ^= by
		}
		for _, l := range []*dbformat.MemLayer{to.light, to.rest} {
			changed(l.Header().Layer.String()+" bundle", bundle(t, l), l, func(r io.Reader) (*dbformat.Header, error) {
				return dbformat.ReadBundle(r, l.Header().Layer, nowhere{})
			})
		}
		changed("light delta", light, to.light, func(r io.Reader) (*dbformat.Header, error) {
			return dbformat.ApplyLightDelta(from.light, r, nowhere{})
		})
		changed("rest delta", rest, to.rest, func(r io.Reader) (*dbformat.Header, error) {
			var lr io.Reader
			if light != nil {
				lr = bytes.NewReader(light)
			}
			return dbformat.ApplyRestDelta(from.light, to.light, from.rest, lr, r, nowhere{})
		})
	})
}

// Whatever the bytes, Describe ends, with an error that readers may give.
func FuzzDescribe(f *testing.F) {
	seeds(f, append([]string{"header", "bundle-light", "bundle-rest"}, deltaKinds...)...)
	f.Fuzz(func(t *testing.T, _ uint8, b []byte) {
		known(t, dbformat.Describe(io.Discard, bytes.NewReader(b), int64(len(b))))
	})
}
