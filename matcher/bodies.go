package matcher

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher/patterns"
	"example.org/avdb/store"
)

// bodies are the body patterns of a generation: one set of both layers, those of potentially unwanted applications among them, so that an object is passed
// over once and the set is the same for whoever opens the generation. Who does not ask for such applications drops what they match.
type bodies struct {
	set      *patterns.Set
	stored   *store.IndexFile      // where the set is mapped from; nil for one in memory
	proved   atomic.Bool           // the bytes of a stored set are what was stored; nothing is believed of them before
	proving  sync.Mutex            // held for that, and over stored
	rotten   atomic.Pointer[error] // why the stored set was given up for one in memory
	lost     atomic.Pointer[error] // why there is no set at all: the layers are damaged too
	from     []*patternSection     // in the order of the set
	wanted   bool                  // some are no potentially unwanted applications
	scanners sync.Pool             // of *patterns.Scanner; they belong to the set and go with it
}

// A patternSection gives the names of one section of patterns. What it has parsed of a block it keeps.
type patternSection struct {
	id     dbformat.SectionID
	layer  dbformat.LayerReader
	at     int // its number in the layer
	head   *dbformat.SectionHeader
	first  []int // number in the set of each block's first row, and of what follows the last one
	blocks []atomic.Pointer[dbformat.PatternBlock]
}

// newPatternSection takes section at of a layer, whose rows follow the first ones of the set.
func newPatternSection(layer dbformat.LayerReader, at, first int) *patternSection {
	h := &layer.Header().Sections[at]
	s := &patternSection{id: h.ID, layer: layer, at: at, head: h, first: []int{first}, blocks: make([]atomic.Pointer[dbformat.PatternBlock], len(h.Blocks))}
	for _, leaf := range h.Blocks {
		first += int(leaf.Rows)
		s.first = append(s.first, first)
	}
	return s
}

// end is the number that follows the section's last row.
func (s *patternSection) end() int { return s.first[len(s.first)-1] }

// block gives block i.
func (s *patternSection) block(i int) (*dbformat.PatternBlock, error) {
	if v := s.blocks[i].Load(); v != nil {
		return v, nil
	}
	data, err := s.layer.Block(s.at, i)
	if err != nil {
		return nil, err
	}
	v, err := dbformat.ParsePatternBlock(data, s.head, i)
	if err != nil {
		return nil, err
	}
	if v.Rows() != int(s.head.Blocks[i].Rows) {
		return nil, shapeError(s.id, "block %d has %d rows, its leaf says %d", i, v.Rows(), s.head.Blocks[i].Rows)
	}
	s.blocks[i].Store(&v)
	return &v, nil
}

// listBodies finds the sections of patterns of a generation; nil without any. What they match is not there yet.
func listBodies(layers ...dbformat.LayerReader) (*bodies, error) {
	b := &bodies{}
	n := 0
	for _, l := range layers {
		if l == nil {
			continue
		}
		for i := range l.Header().Sections {
			id := l.Header().Sections[i].ID
			if !id.OfPatterns() {
				continue
			}
			s := newPatternSection(l, i, n)
			if n = s.end(); n > dbformat.MaxRows {
				return nil, shapeError(id, "more than %d patterns in both layers", dbformat.MaxRows)
			}
			b.from = append(b.from, s)
			b.wanted = b.wanted || !id.PUA()
		}
	}
	if n == 0 {
		return nil, nil
	}
	return b, nil
}

// records reads all patterns in clear, in the order of the set.
func (b *bodies) records() ([][]byte, error) {
	var all [][]byte
	for _, s := range b.from {
		for i := range s.blocks {
			v, err := s.block(i)
			if err != nil {
				return nil, err
			}
			for _, p := range v.All() {
				all = append(all, append([]byte(nil), p...))
			}
		}
	}
	return all, nil
}

// compile gives the bytes of the set of all patterns. previous, which may be nil, is one of mostly the same patterns and saves time.
func (b *bodies) compile(previous *patterns.Set) ([]byte, error) {
	all, err := b.records()
	if err != nil {
		return nil, err
	}
	set, err := patterns.Compile(all, patterns.Options{Previous: previous})
	if err != nil {
		return nil, &dbformat.FormatError{What: "patterns", Offset: -1, Reason: err.Error()}
	}
	return set, nil
}

// open uses the bytes of a set, which must stay as they are.
func (b *bodies) open(set []byte) error {
	s, err := patterns.Open(set)
	if err == nil && s.Len() != b.len() {
		err = &dbformat.FormatError{What: "patterns", Offset: -1, Reason: fmt.Sprintf("a set of %d, want %d", s.Len(), b.len())}
	}
	if err == nil {
		b.set = s
	}
	return err
}

// prove makes sure that the set is what was stored, for the first of all objects that are matched against it: opening a generation reads none of its tens of
// MiB. In the place of a damaged set one is compiled, in memory, and [Engine.damage] tells why. The error says why that cannot be, and is the same from then on; or it is that
// of ctx, and the next object goes on from there.
func (b *bodies) prove(ctx context.Context) error {
	b.proving.Lock()
	defer b.proving.Unlock()
	if b.proved.Load() {
		return nil
	}
	if lost := b.lost.Load(); lost != nil {
		return *lost
	}
	if b.stored != nil {
		switch err := b.readStored(ctx); {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			b.rotten.Store(&err)
			if err := b.rebuild(); err != nil {
				b.lost.Store(&err)
				return err
			}
		}
	}
	b.proved.Store(true)
	return nil
}

// readStored looks at the checksums of the stored set.
func (b *bodies) readStored(ctx context.Context) error {
	const some = 1 << 20 // bytes between two looks at ctx
	set, err := b.stored.Unproved(genSet)
	for at := 0; err == nil && at < len(set); at += some {
		if err = ctx.Err(); err == nil {
			err = b.stored.Prove(genSet, at, min(at+some, len(set)))
		}
	}
	return err
}

// rebuild puts a set in memory in the place of the stored one.
func (b *bodies) rebuild() error {
	set, err := b.compile(nil)
	if err == nil {
		err = b.open(set)
	}
	if err == nil {
		b.stored = nil
	}
	return err
}

// damage tells what is wrong with the mapped set, nil for nothing. It reads all of it.
func (b *bodies) damage() error {
	b.proving.Lock()
	stored := b.stored
	b.proving.Unlock()
	if stored == nil {
		return nil
	}
	return stored.Recheck(genSet)
}

// len is how many patterns there are.
func (b *bodies) len() int { return b.from[len(b.from)-1].end() }

// get gives a scanner that is ready for an object. Put takes it back; one that has failed is dropped instead. The error is one of the database, of which no
// pattern can be matched then, or that of ctx.
func (b *bodies) get(ctx context.Context) (*patterns.Scanner, error) {
	if !b.proved.Load() {
		if lost := b.lost.Load(); lost != nil {
			return nil, *lost
		}
		if err := b.prove(ctx); err != nil {
			return nil, err
		}
	}
	if s, ok := b.scanners.Get().(*patterns.Scanner); ok {
		return s, nil
	}
	return b.set.NewScanner(), nil
}

func (b *bodies) put(s *patterns.Scanner) { b.scanners.Put(s) }

// found adds the patterns of the set that match an object. Only here are names read.
func (b *bodies) found(matched []int, pua bool, ignore ignoreSet, t *tally) {
	for _, n := range matched {
		if id, name, ok := b.named(n, pua, ignore, t); ok {
			t.add(finding{verdict: Malicious, section: id, name: name})
		}
	}
}

// wanting is how many of these patterns would be reported if they matched.
func (b *bodies) wanting(undecided []int, pua bool, ignore ignoreSet, t *tally) (count int) {
	for _, n := range undecided {
		if _, _, ok := b.named(n, pua, ignore, t); ok {
			count++
		}
	}
	return count
}

// named gives the section and the name of pattern n of the set; ok is false for one that is not to be reported, or whose name cannot be read.
func (b *bodies) named(n int, pua bool, ignore ignoreSet, t *tally) (id dbformat.SectionID, name string, ok bool) {
	at := sort.Search(len(b.from), func(i int) bool { return n < b.from[i].end() })
	if at == len(b.from) {
		t.fail(&dbformat.FormatError{What: "patterns", Offset: -1, Reason: fmt.Sprintf("there is no pattern %d", n)})
		return 0, "", false
	}
	s := b.from[at]
	if s.id.PUA() && !pua {
		return 0, "", false
	}
	i := sort.Search(len(s.blocks)-1, func(i int) bool { return n < s.first[i+1] })
	v, err := s.block(i)
	if err != nil {
		// That something matches is known, not what: it may be a name that is ignored.
		t.fail(err)
		return 0, "", false
	}
	name = string(v.Name(n - s.first[i]))
	return s.id, name, !ignore.has(name)
}
