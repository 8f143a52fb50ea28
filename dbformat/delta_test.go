package dbformat_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// A release is a pair of layers.
type release struct{ light, rest *dbformat.MemLayer }

func makeRelease(t testing.TB, c *dbformat.Content, p dbformat.Params) release {
	t.Helper()
	light, rest := build(t, c, p)
	return release{light, rest}
}

// step makes the deltas between two releases, applies them and demands the second one.
func step(t testing.TB, from, to release) (light, rest []byte) {
	t.Helper()
	light, err := dbformat.MakeLightDelta(from.light, to.light)
	lightChanged := from.light.Header().Digest() != to.light.Header().Digest()
	if lightChanged != (err == nil) || err != nil && !errors.Is(err, dbformat.ErrNoDelta) {
		t.Fatalf("MakeLightDelta = %v, light changed: %t", err, lightChanged)
	}
	var lightReader io.Reader
	if lightChanged {
		applied(t, to.light, func(sink dbformat.Sink) (*dbformat.Header, error) {
			return dbformat.ApplyLightDelta(from.light, bytes.NewReader(light), sink)
		})
		lightReader = bytes.NewReader(light)
	}
	rest, err = dbformat.MakeRestDelta(from.light, to.light, from.rest, to.rest)
	restChanged := from.rest.Header().Digest() != to.rest.Header().Digest()
	if restChanged != (err == nil) || err != nil && !errors.Is(err, dbformat.ErrNoDelta) {
		t.Fatalf("MakeRestDelta = %v, rest changed: %t", err, restChanged)
	}
	if restChanged {
		applied(t, to.rest, func(sink dbformat.Sink) (*dbformat.Header, error) {
			return dbformat.ApplyRestDelta(from.light, to.light, from.rest, lightReader, bytes.NewReader(rest), sink)
		})
	}
	return light, rest
}

func applied(t testing.TB, want *dbformat.MemLayer, apply func(dbformat.Sink) (*dbformat.Header, error)) {
	t.Helper()
	var sink dbformat.MemSink
	h, err := apply(&sink)
	if err != nil {
		t.Fatal(err)
	}
	if h.Digest() != want.Header().Digest() || !bytes.Equal(h.Encode(), want.Header().Encode()) {
		t.Fatal("the result is another layer")
	}
	if _, err := sink.Layer(h); err != nil {
		t.Fatal(err)
	}
}

// clone copies content as far as tests change it.
func clone(c *dbformat.Content) *dbformat.Content {
	return &dbformat.Content{Sections: cloneRows(c.Sections), RestSections: cloneRows(c.RestSections), Patterns: cloneRows(c.Patterns),
		RestPatterns: cloneRows(c.RestPatterns), Ignore: slices.Clone(c.Ignore), Vectors: slices.Clone(c.Vectors)}
}

func cloneRows[R any](sections map[dbformat.SectionID][]R) map[dbformat.SectionID][]R {
	d := map[dbformat.SectionID][]R{}
	for id, r := range sections {
		d[id] = slices.Clone(r)
	}
	return d
}

// A history makes content that changes at random. Its hashes begin with one of few prefixes, so
// that most rows have equals.
type history struct {
	rng *rand.Rand
	c   *dbformat.Content
	// keys that were used, so that they come back
	old map[dbformat.SectionID][]dbformat.Record
}

func newHistory(seed uint64) *history {
	return &history{
		rng: rand.New(rand.NewPCG(seed, 99)),
		c: &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}, RestSections: map[dbformat.SectionID][]dbformat.Record{},
			Patterns: map[dbformat.SectionID][]dbformat.PatternRecord{}, RestPatterns: map[dbformat.SectionID][]dbformat.PatternRecord{}},
		old: map[dbformat.SectionID][]dbformat.Record{},
	}
}

func (h *history) record(id dbformat.SectionID) dbformat.Record {
	a := id.Algorithm()
	var r dbformat.Record
	r.Hash[0] = byte(h.rng.IntN(3) * 127) // few prefixes
	r.Hash[1] = byte(h.rng.IntN(2) * 16)
	r.Hash[7] = byte(h.rng.IntN(3))
	r.Hash[a.Size()-1] = byte(h.rng.IntN(3)) // few tails
	if h.rng.IntN(2) == 0 {
		r.Size = 1 << h.rng.UintN(32)
	}
	if r.Size = min(r.Size, dbformat.MaxSize); id.OfURLs() {
		r.Size = dbformat.AnySize
	}
	if h.rng.IntN(3) > 0 {
		r.Name = fmt.Sprintf("Win.Trojan.Agent-%d", h.rng.IntN(1000))
	}
	return r
}

// rowSections are those that hold rows.
var rowSections = slices.DeleteFunc(dbformat.AllSections(), func(id dbformat.SectionID) bool { return !id.Rows() })

func (h *history) step() {
	for range h.rng.IntN(4) {
		id := rowSections[h.rng.IntN(len(rowSections))]
		recs := h.c.Sections[id]
		switch h.rng.IntN(8) {
		case 0: // the section disappears
			h.old[id] = recs
			recs = nil
		case 1: // it comes back
			recs = append(recs, h.old[id]...)
		case 2: // rows go
			recs = slices.DeleteFunc(recs, func(dbformat.Record) bool { return h.rng.IntN(3) == 0 })
		case 3: // rows are renamed
			for i := range recs {
				if h.rng.IntN(3) == 0 {
					recs[i].Name = h.record(id).Name
				}
			}
		case 4: // sizes change
			for i := range recs {
				if h.rng.IntN(3) == 0 && !id.OfURLs() {
					recs[i].Size = h.rng.Uint32N(4)
				}
			}
		default: // rows come
			for range h.rng.IntN(40) {
				recs = append(recs, h.record(id))
			}
		}
		h.c.Sections[id] = unique(recs)
		if id.Placed() {
			h.place(id)
		}
	}
	h.patterns()
	if h.rng.IntN(3) == 0 {
		h.c.Ignore = nil
		for i := range h.rng.IntN(5) {
			h.c.Ignore = append(h.c.Ignore, fmt.Sprintf("Ignored-%d-%d", i, h.rng.IntN(3)))
		}
	}
	if h.rng.IntN(4) == 0 {
		h.c.Vectors = nil
		for i := range h.rng.IntN(3) {
			h.c.Vectors = append(h.c.Vectors, dbformat.Vector{Content: []byte{byte(i), byte(h.rng.IntN(3))}})
		}
	}
}

// place has rows of a section of PE files change in rest, and move between the layers.
func (h *history) place(id dbformat.SectionID) {
	light, rest := h.c.Sections[id], h.c.RestSections[id]
	switch h.rng.IntN(6) {
	case 0: // all of them are there where the others were
		light, rest = rest, light
	case 1:
		rest = nil
	case 2: // some move to rest
		n := h.rng.IntN(len(light) + 1)
		light, rest = light[:n], append(rest, light[n:]...)
	case 3: // some are renamed in rest
		for i := range rest {
			if h.rng.IntN(3) == 0 {
				rest[i].Name = h.record(id).Name
			}
		}
	default:
		for range h.rng.IntN(20) {
			rest = append(rest, h.record(id))
		}
	}
	light = unique(light)
	both := unique(append(slices.Clone(light), rest...)) // what stands in light stands first
	h.c.Sections[id], h.c.RestSections[id] = light, both[len(light):]
}

// pattern is one of few, so that they come back, and of few names.
func (h *history) pattern() dbformat.PatternRecord {
	return dbformat.PatternRecord{Name: fmt.Sprintf("Win.Pattern.%d", h.rng.IntN(4)),
		Pattern: bytes.Repeat([]byte{byte(h.rng.IntN(3)), byte(h.rng.IntN(256)), 0xa7}, 1+h.rng.IntN(3)*h.rng.IntN(60))}
}

// patterns has patterns come, go and move between the layers.
func (h *history) patterns() {
	for _, id := range []dbformat.SectionID{patterns, patternsPUA} {
		light, rest := h.c.Patterns[id], h.c.RestPatterns[id]
		switch h.rng.IntN(12) {
		case 0:
			light, rest = rest, light
		case 1:
			light = nil
		case 2:
			rest = nil
		case 3:
			n := h.rng.IntN(len(rest) + 1)
			light, rest = append(light, rest[n:]...), rest[:n]
		case 4, 5:
			gone := func(dbformat.PatternRecord) bool { return h.rng.IntN(3) == 0 }
			light, rest = slices.DeleteFunc(light, gone), slices.DeleteFunc(rest, gone)
		case 6, 7:
			for range h.rng.IntN(30) {
				light = append(light, h.pattern())
			}
		case 8, 9:
			for range h.rng.IntN(30) {
				rest = append(rest, h.pattern())
			}
		}
		seen := map[[32]byte]bool{}
		once := func(list []dbformat.PatternRecord) []dbformat.PatternRecord {
			out := list[:0:0]
			for _, p := range list {
				if key := dbformat.PatternKey(p.Name, p.Pattern); !seen[key] {
					seen[key] = true
					out = append(out, p)
				}
			}
			return out
		}
		h.c.Patterns[id] = once(light)
		h.c.RestPatterns[id] = once(rest)
	}
}

// params cuts at random, the width stays.
func (h *history) params() dbformat.Params {
	p := dbformat.Params{Prefix: 12, URLPrefix: 16, Cuts: map[dbformat.SectionID]dbformat.CutParams{}}
	for id := range h.c.Sections {
		cut := dbformat.CutParams{B: uint8(h.rng.IntN(4))}
		if id.Split() {
			cut.K = uint8(h.rng.IntN(int(cut.B) + 1))
		}
		p.Cuts[id] = cut
	}
	p.RestCuts = map[dbformat.SectionID]dbformat.CutParams{}
	for _, id := range dbformat.AllSections() {
		if id.Placed() {
			p.Cuts[id], p.RestCuts[id] = dbformat.CutParams{B: uint8(h.rng.IntN(4))}, dbformat.CutParams{B: uint8(h.rng.IntN(4))}
		}
	}
	return p
}

func unique(recs []dbformat.Record) []dbformat.Record {
	type key struct {
		hash [32]byte
		size uint32
	}
	seen := map[key]bool{}
	out := recs[:0:0]
	for _, r := range recs {
		k := key{r.Hash, r.Size}
		if !seen[k] {
			seen[k] = true
			out = append(out, r)
		}
	}
	return out
}

// The property that deltas stand on: what is applied is what was made, whatever happens
// between two releases.
func TestDeltaOfRandomHistories(t *testing.T) {
	equal, restOnly := 0, 0
	for seed := range uint64(histories) {
		h := newHistory(seed)
		p := h.params()
		prev := makeRelease(t, h.c, p)
		for range 12 {
			h.step()
			if h.rng.IntN(3) == 0 {
				p = h.params()
			}
			next := makeRelease(t, clone(h.c), p)
			checkLayers(t, next.light, next.rest)
			light, rest := step(t, prev, next)
			if light == nil && rest == nil {
				equal++
			}
			if light == nil && rest != nil {
				restOnly++
			}
			prev = next
		}
	}
	if equal == 0 || restOnly == 0 {
		t.Fatalf("%d steps change nothing, %d change rest only: the histories are too tame", equal, restOnly)
	}
}

// One added line in a million costs next to nothing.
func TestDeltaOfOneLineIsSmall(t *testing.T) {
	n := 1_000_000
	if testing.Short() || raceDetector {
		n = 100_000
	}
	id := dbformat.ClassHash.Section(dbformat.SHA256)
	recs := records(dbformat.SHA256, n+1, 9)
	recs[n].Name, recs[n].Size = "Win.Trojan.Emotet-9951234-1", 123456
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: recs[:n]}}
	p := dbformat.ChooseParams(c, nil)
	from := makeRelease(t, c, p)
	c.Sections[id] = recs
	p = dbformat.ChooseParams(c, &p)
	to := makeRelease(t, c, p)
	light, rest := step(t, from, to)
	t.Logf("light %d bytes, rest %d bytes", len(light), len(rest))
	if len(light)+len(rest) > 150 {
		t.Fatalf("light %d bytes, rest %d bytes; want at most 150 together", len(light), len(rest))
	}
}

func TestRenameIsARestDeltaOnly(t *testing.T) {
	id := dbformat.ClassHash.Section(dbformat.MD5)
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: records(dbformat.MD5, 1000, 10)}}
	p := dbformat.ChooseParams(c, nil)
	from := makeRelease(t, c, p)
	c = clone(c)
	c.Sections[id][500].Name = "Another.Name"
	light, rest := step(t, from, makeRelease(t, c, p))
	if light != nil || len(rest) > 60 {
		t.Fatalf("light %d bytes, rest %d bytes", len(light), len(rest))
	}
}

func TestAnotherCutCostsNoRows(t *testing.T) {
	id := dbformat.ClassHash.Section(dbformat.SHA1)
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: records(dbformat.SHA1, 5000, 11)}}
	p := dbformat.Params{Prefix: 36, Cuts: map[dbformat.SectionID]dbformat.CutParams{id: {B: 2, K: 1}}}
	from := makeRelease(t, c, p)
	q := dbformat.Params{Prefix: 36, Cuts: map[dbformat.SectionID]dbformat.CutParams{id: {B: 5, K: 3}}}
	light, rest := step(t, from, makeRelease(t, c, q))
	if len(light)+len(rest) > 60 {
		t.Fatalf("light %d bytes, rest %d bytes", len(light), len(rest))
	}
}

func TestNoDelta(t *testing.T) {
	c := sample(100, 12)
	a := makeRelease(t, c, dbformat.Params{Prefix: 24, URLPrefix: 24})
	b := makeRelease(t, c, dbformat.Params{Prefix: 28, URLPrefix: 24})
	if _, err := dbformat.MakeLightDelta(a.light, b.light); !errors.Is(err, dbformat.ErrNoDelta) {
		t.Errorf("another prefix width: %v", err)
	}
	if _, err := dbformat.MakeRestDelta(a.light, b.light, a.rest, b.rest); !errors.Is(err, dbformat.ErrNoDelta) {
		t.Errorf("another prefix width: %v", err)
	}
	other := makeRelease(t, c, dbformat.Params{Prefix: 24, URLPrefix: 28})
	if _, err := dbformat.MakeLightDelta(a.light, other.light); !errors.Is(err, dbformat.ErrNoDelta) {
		t.Errorf("another prefix width of URLs: %v", err)
	}
	if _, err := dbformat.MakeLightDelta(a.light, a.light); !errors.Is(err, dbformat.ErrNoDelta) {
		t.Errorf("equal layers: %v", err)
	}
	if _, err := dbformat.MakeRestDelta(a.light, b.light, a.rest, a.rest); !errors.Is(err, dbformat.ErrCorrupt) {
		t.Errorf("rest of another light: %v", err)
	}
}

// A delta that readers would refuse for the bytes of its columns is not made, however small it would be.
func TestNoDeltaOfTooManyBytes(t *testing.T) {
	if raceDetector {
		t.Skip("one goroutine and layers beyond the limit of deltas: make check runs it without the race detector")
	}
	n := dbformat.MaxDelta/dbformat.MaxPattern + 2
	long := bytes.Repeat([]byte("p"), dbformat.MaxPattern)
	list := make([]dbformat.PatternRecord, n)
	for i := range list {
		list[i] = dbformat.PatternRecord{Name: fmt.Sprint(i), Pattern: long}
	}
	p := dbformat.Params{Cuts: map[dbformat.SectionID]dbformat.CutParams{patterns: {B: 7}}}
	content := func(list []dbformat.PatternRecord) *dbformat.Content {
		return &dbformat.Content{Patterns: map[dbformat.SectionID][]dbformat.PatternRecord{patterns: list}}
	}
	none, all := makeRelease(t, content(nil), p), makeRelease(t, content(list), p)
	if d, err := dbformat.MakeLightDelta(none.light, all.light); !errors.Is(err, dbformat.ErrNoDelta) {
		t.Errorf("a delta of %d bytes, %v", len(d), err)
	}
	some := makeRelease(t, content(list[:9]), p)
	step(t, some, makeRelease(t, content(list[:n/2]), p))
}

// threeReleases gives releases that differ in rows, and the deltas of the first two.
func threeReleases(t testing.TB) (r [3]release, light, rest []byte) {
	c := sample(60, 13)
	p := dbformat.ChooseParams(c, nil)
	r[0] = makeRelease(t, c, p)
	for i := 1; i < 3; i++ {
		c = clone(c)
		for j, id := range slices.Sorted(maps.Keys(c.Sections)) {
			recs := c.Sections[id]
			recs = append(recs[min(3+j, len(recs)):], recordsOf(id, 5, uint64(100*i))...)
			recs[0].Name = fmt.Sprint("Renamed-", i)
			c.Sections[id] = recs
		}
		for id, recs := range c.RestSections {
			recs = append(recs[1:], recordsOf(id, 3, uint64(5000+i))...)
			recs[0].Name = fmt.Sprint("Renamed-", i)
			c.RestSections[id] = recs
		}
		for _, id := range []dbformat.SectionID{patterns, patternsPUA} {
			c.Patterns[id] = append(c.Patterns[id][1:], patternRecords(4, uint64(300*i+int(id)))...)
			c.RestPatterns[id] = append(c.RestPatterns[id][1:], patternRecords(4, uint64(400*i+int(id)))...)
		}
		c.Ignore = append(c.Ignore, fmt.Sprint("More-", i))
		r[i] = makeRelease(t, c, p)
	}
	light, rest = step(t, r[0], r[1])
	return r, light, rest
}

func applyLight(old dbformat.LayerReader, b []byte) (*dbformat.Header, error) {
	return dbformat.ApplyLightDelta(old, bytes.NewReader(b), nowhere{})
}

func TestDeltaOnTheWrongBaseIsRefused(t *testing.T) {
	r, light, rest := threeReleases(t)
	fails := func(name string, h *dbformat.Header, err error) {
		t.Helper()
		if !errors.Is(err, dbformat.ErrCorrupt) || h != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	refuse := failingSink{errors.New("a block was written")}
	apply := func(a, b, c dbformat.LayerReader, l, x []byte) (*dbformat.Header, error) {
		var lr io.Reader
		if l != nil {
			lr = bytes.NewReader(l)
		}
		return dbformat.ApplyRestDelta(a, b, c, lr, bytes.NewReader(x), refuse)
	}
	h, err := dbformat.ApplyLightDelta(r[1].light, bytes.NewReader(light), refuse)
	fails("twice", h, err)
	h, err = dbformat.ApplyLightDelta(r[0].rest, bytes.NewReader(light), refuse)
	fails("light delta on rest", h, err)
	h, err = dbformat.ApplyLightDelta(r[0].light, bytes.NewReader(rest), refuse)
	fails("rest delta on light", h, err)
	h, err = apply(r[0].light, r[1].light, r[1].rest, light, rest)
	fails("rest twice", h, err)
	h, err = apply(r[0].light, r[1].light, r[0].rest, nil, rest)
	fails("without the light delta", h, err)
	h, err = apply(r[0].light, r[2].light, r[0].rest, light, rest)
	fails("another new light", h, err)
	h, err = apply(r[1].light, r[1].light, r[0].rest, light, rest)
	fails("another old light", h, err)
	h, err = apply(r[0].light, r[1].light, r[0].light, light, rest)
	fails("light for rest", h, err)
	long := io.MultiReader(bytes.NewReader(light), endless{})
	h, err = dbformat.ApplyLightDelta(r[0].light, long, refuse)
	fails("endless", h, err)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestDeltaTruncatedOrFlippedNeverGivesTheLayer(t *testing.T) {
	r, light, rest := threeReleases(t)
	applyRest := func(b []byte) (*dbformat.Header, error) {
		return dbformat.ApplyRestDelta(r[0].light, r[1].light, r[0].rest, bytes.NewReader(light), bytes.NewReader(b), nowhere{})
	}
	for _, d := range []struct {
		name  string
		b     []byte
		want  dbformat.Digest
		apply func([]byte) (*dbformat.Header, error)
	}{
		{"light", light, r[1].light.Header().Digest(), func(b []byte) (*dbformat.Header, error) { return applyLight(r[0].light, b) }},
		{"rest", rest, r[1].rest.Header().Digest(), applyRest},
	} {
		for n := 0; n < len(d.b); n += cutStep {
			if h, err := d.apply(d.b[:n]); !errors.Is(err, dbformat.ErrCorrupt) || h != nil {
				t.Fatalf("%s: first %d of %d bytes: %v", d.name, n, len(d.b), err)
			}
		}
		if _, err := d.apply(append(bytes.Clone(d.b), 0)); !errors.Is(err, dbformat.ErrCorrupt) {
			t.Fatalf("%s: a trailing byte: %v", d.name, err)
		}
		for i := 0; i < len(d.b)*8; i += flipStep {
			d.b[i/8] ^= 1 << (i % 8)
			h, err := d.apply(d.b)
			switch {
			case err == nil && h.Digest() != d.want:
				t.Fatalf("%s: bit %d of byte %d gives another layer", d.name, i%8, i/8)
			case err == nil:
				t.Fatalf("%s: bit %d of byte %d does not matter", d.name, i%8, i/8)
			case h != nil || !errors.Is(err, dbformat.ErrCorrupt) && !errors.Is(err, dbformat.ErrVersion):
				t.Fatalf("%s: bit %d of byte %d: %v", d.name, i%8, i/8, err)
			}
			d.b[i/8] ^= 1 << (i % 8)
		}
	}
}

// Memory of applying does not depend on the size of the layer.
func TestApplyHoldsOneBlock(t *testing.T) {
	id := dbformat.ClassHash.Section(dbformat.SHA256)
	recs := records(dbformat.SHA256, 100_001, 14)
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: recs[:100_000]}}
	p := dbformat.ChooseParams(c, nil)
	from := makeRelease(t, c, p)
	c.Sections[id] = recs
	to := makeRelease(t, c, p)
	light, rest := step(t, from, to)
	for name, apply := range map[string]func() error{
		"light": func() error { _, err := applyLight(from.light, light); return err },
		"rest": func() error {
			_, err := dbformat.ApplyRestDelta(from.light, to.light, from.rest, bytes.NewReader(light), bytes.NewReader(rest), nowhere{})
			return err
		},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := apply(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: %d bytes allocated in all, want at most 4 MiB", name, n)
		}
	}
}

// A delta that gives a URL a size is refused before it is applied to anything.
func TestDeltaOfAURLWithASize(t *testing.T) {
	for size, ok := range map[byte]bool{0: true, 7: false} {
		var b []byte
		b = append(b, "AVDBR\x01fromfromtoto-to-"...)
		b = append(b, 1, 0x08, 0x03, 16, 8, 1) // one entry: url/sha256, added, p 8, one row
		b = append(b, bytes.Repeat([]byte{0x42}, 31)...)
		b = append(b, 1<<2, size, 1<<2, 0, 0) // columns of sizes, of lengths and of names
		if text, err := describe(t, b); (err == nil) != ok || err != nil && (!errors.Is(err, dbformat.ErrCorrupt) || !strings.Contains(err.Error(), "size")) {
			t.Errorf("size %d: %v after\n%s", size, err, text)
		}
	}
}
