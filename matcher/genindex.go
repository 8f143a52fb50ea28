package matcher

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher/patterns"
	"example.org/avdb/store"
)

// The index of a generation; see the package comment for its bytes.
const (
	genMagic   = "AVDBsize"
	genVersion = 1
	genSizes   = 1 // the piece of sizes
	genSet     = 2 // the piece of the pattern set
)

// generationKey names the index of a generation in the store. Engines of two versions on one state, for example while a product is replaced, have one each
// where they compile patterns differently, and do not take it from each other.
func generationKey(g *store.Generation) string {
	key := fmt.Sprintf("gen-%d-%s-%s", genVersion, patterns.Version(), g.Light.Digest)
	if g.Rest != nil {
		key += "-" + g.Rest.Digest.String()
	}
	return key
}

// listing are the sections whose sizes the index of a generation lists, in its order: those where that spares hashing.
func (e *Engine) listing() []*section {
	var all []*section
	for _, sections := range e.by {
		some := len(all)
		for _, s := range sections {
			if !s.sized() { // a prefix is of any size, and so the algorithm is always needed
				all = all[:some]
				break
			}
			all = append(all, s)
		}
	}
	return append(all, e.parts...)
}

// generationHeader is the first piece of a generation's index. As in the other index nothing in it can be chosen.
func (e *Engine) generationHeader(g *store.Generation, listing []*section) []byte {
	var rest dbformat.Digest
	if g.Rest != nil {
		rest = g.Rest.Digest
	}
	patterns := 0
	if e.bodies != nil {
		patterns = e.bodies.len()
	}
	b := append([]byte(nil), genMagic...)
	b = binary.LittleEndian.AppendUint32(b, genVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(patterns))
	b = append(b, g.Light.Digest[:]...)
	b = append(b, rest[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(listing)))
	for _, s := range listing {
		b = binary.LittleEndian.AppendUint16(b, uint16(s.id))
		b = append(b, byte(s.light.Header().Layer), 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(s.rows))
	}
	return b
}

// sizesOf makes the piece of sizes of sections.
func sizesOf(listing []*section) ([]byte, error) {
	lists := make([]sizeList, len(listing))
	for i, s := range listing {
		l, err := s.sizesOf()
		if err != nil {
			return nil, err
		}
		lists[i] = *l
	}
	return encodeSizes(lists), nil
}

func encodeSizes(lists []sizeList) []byte {
	var b []byte
	for i := range lists {
		n := uint32(len(lists[i].sizes)/4) << 1
		if lists[i].any {
			n |= 1
		}
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	for i := range lists {
		b = append(b, lists[i].sizes...)
	}
	return binary.LittleEndian.AppendUint32(b, uint32(len(lists)))
}

// readSizes reads a piece that encodeSizes made: a list for each of n sections, which refer to it. That sizes ascend is not checked: the checksum says that they do. Of a
// stored piece, nil for one that is believed, only the lengths are proved here.
func readSizes(b []byte, n int, stored *storedSizes) ([]sizeList, error) {
	wrong := &dbformat.FormatError{What: "index", Offset: -1, Reason: "the lists of sizes have the wrong length"}
	if len(b) < 4*n+4 {
		return nil, wrong
	}
	if stored != nil {
		if err := errors.Join(stored.prove(0, 4*n), stored.prove(len(b)-4, len(b))); err != nil {
			return nil, err
		}
	}
	at := 4 * n
	heads, b := b[:at], b[at:]
	lists := make([]sizeList, n)
	for i := range lists {
		head := binary.LittleEndian.Uint32(heads[4*i:])
		size := 4 * uint64(head>>1)
		if size > uint64(len(b)-4) {
			return nil, wrong
		}
		lists[i] = sizeList{any: head&1 != 0, sizes: b[:size:size], stored: stored, at: at}
		b, at = b[size:], at+int(size)
	}
	if len(b) != 4 || binary.LittleEndian.Uint32(b) != uint32(n) {
		return nil, wrong
	}
	return lists, nil
}

// A generationIndex is what is stored of a generation beside its layers and the lines of light.
type generationIndex struct {
	key     string
	header  []byte
	listing []*section
}

// generationIndex says what the index of the engine's generation is; ok is false if the generation needs none.
func (e *Engine) generationIndex(g *store.Generation) (x generationIndex, ok bool) {
	x.listing = e.listing()
	x.key, x.header = generationKey(g), e.generationHeader(g, x.listing)
	return x, e.bodies != nil || len(x.listing) > 0
}

// use opens the stored index and has the engine go by it. Nothing of the engine has changed if there is none that is exactly
// this one. With careful all of its pieces are checked here, else sizes are where they are looked at, and the set is when the first object is matched against it.
func (e *Engine) use(from layerSource, x *generationIndex, careful bool) (*store.IndexFile, error) {
	f, err := from.OpenIndex(x.key)
	if err != nil {
		return nil, err
	}
	if err := store.Guard(f.Path(), func() error { return e.take(f, x, careful) }); err != nil {
		f.Release()
		return nil, err
	}
	return f, nil
}

func (e *Engine) take(f *store.IndexFile, x *generationIndex, careful bool) error {
	header, err := f.Piece(0)
	if err != nil {
		return err
	}
	pieces := genSet
	if e.bodies != nil {
		pieces++
	}
	if !bytes.Equal(header, x.header) || f.Pieces() != pieces {
		return errors.New("it is another one")
	}
	read, stored := f.Unproved, &storedSizes{file: f}
	if careful {
		read, stored = f.Piece, nil
	}
	sizes, err := read(genSizes)
	if err != nil {
		return err
	}
	lists, err := readSizes(sizes, len(x.listing), stored)
	if err != nil {
		return err
	}
	if e.bodies != nil {
		set, err := read(genSet)
		if err != nil {
			return err
		}
		// What is read here of a set that nobody has proved is its headers, and prove holds these against the checksums as well.
		if err := e.bodies.open(set); err != nil {
			return err
		}
		e.bodies.stored = f
		e.bodies.proved.Store(careful)
	}
	for i, s := range x.listing {
		s.listed.Store(&lists[i])
	}
	e.sizes = stored
	return nil
}

// pieces are what is stored. Sizes are only read once the store takes pieces at all, for they are in every block of rest. An
// error of reading them ends in a piece that no store takes.
func (x *generationIndex) pieces(set []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if !yield(x.header) {
			return
		}
		sizes, err := sizesOf(x.listing)
		if err != nil {
			yield(nil)
			return
		}
		if yield(sizes) && set != nil {
			yield(set)
		}
	}
}

// previousSet opens the pattern set of the generation that is current, for [patterns.Options]; nil if there is none. The file, which may be nil, must be
// released when the set is not used any more.
func previousSet(from generations) (*patterns.Set, *store.IndexFile) {
	c, err := from.Current()
	if err != nil {
		return nil, nil
	}
	f, err := from.OpenIndex(generationKey(&c.Generation))
	if err != nil {
		return nil, nil
	}
	if b, err := f.Piece(genSet); err == nil {
		if s, err := patterns.Open(b); err == nil {
			return s, f
		}
	}
	f.Release()
	return nil, nil
}
