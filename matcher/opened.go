package matcher

import (
	"bytes"
	"errors"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// An opened generation has its files mapped for as long as anybody holds it. The matcher
// holds the one in use.
type opened struct {
	engine *Engine
	info   atomic.Pointer[store.Generation]
	light  *store.LayerFile
	rest   *store.LayerFile // nil for the light variant
	index  *store.IndexFile // nil when it is in memory
	gen    *store.IndexFile // the index of the generation; nil when there is none, or when it is in memory
	holds  atomic.Int64
}

// version is that of the release.
func (g *opened) version() uint64 { return g.info.Load().Version }

// retain adds a holder and tells whether there still was one.
func (g *opened) retain() bool {
	for {
		n := g.holds.Load()
		if n <= 0 {
			return false
		}
		if g.holds.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release lets go; the last holder closes the files.
func (g *opened) release() {
	if g.holds.Add(-1) != 0 {
		return
	}
	for _, f := range []*store.IndexFile{g.index, g.gen} {
		if f != nil {
			f.Release()
		}
	}
	if g.rest != nil {
		g.rest.Release()
	}
	if g.light != nil {
		g.light.Release()
	}
}

// openFiles opens the files of a generation and makes its engine. With careful the stored index is read
// whole before it is trusted.
func openFiles(from layerSource, info store.Generation, o Options, careful bool) (_ *opened, err error) {
	g := new(opened)
	g.holds.Store(1)
	g.info.Store(&info)
	defer func() {
		if err != nil {
			g.release()
		}
	}()
	if g.light, err = from.OpenLayer(info.Light.Digest, dbformat.Light); err != nil {
		return nil, err
	}
	var rest dbformat.LayerReader
	if info.Rest != nil {
		if g.rest, err = from.OpenLayer(info.Rest.Digest, dbformat.Rest); err != nil {
			return nil, err
		}
		rest = g.rest
	}
	if err := g.attach(from, rest, o, careful); err != nil {
		return nil, err
	}
	return g, nil
}

// attach makes the engine and finds or builds its indexes.
func (g *opened) attach(from layerSource, rest dbformat.LayerReader, o Options, careful bool) (err error) {
	defer guardError(debug.SetPanicOnFault(true), &err)
	e, lines, err := newEngine(g.light, rest, o)
	if err != nil {
		return err
	}
	key, header := indexKey(g.light.Digest()), indexHeader(g.light.Digest(), e.sections, lines)
	if !careful || checkIndex(from, key, header, lines) == nil {
		e.index, g.index = openIndex(from, key, header, lines)
	}
	if e.index == nil {
		all, err := buildLines(e.sections, lines)
		if err != nil {
			return err
		}
		pieces := cutPieces(all)
		// A store that cannot be written costs memory, nothing else.
		if from.PutIndex(key, slices.Values(append([][]byte{header}, pieces...))) == nil {
			e.index, g.index = openIndex(from, key, header, lines)
		}
		if e.index == nil {
			e.index = newIndex(lines, pieces)
		}
	}
	g.engine = e
	return g.attachGeneration(from, careful)
}

// attachGeneration does the same for the index of the generation: without one the set of patterns is in memory, and files are hashed by every algorithm.
func (g *opened) attachGeneration(from layerSource, careful bool) (err error) {
	e := g.engine
	x, ok := e.generationIndex(g.info.Load())
	if !ok {
		return nil
	}
	if g.gen, err = e.use(from, &x, careful); err == nil {
		return nil
	}
	var set []byte
	if e.bodies != nil {
		if set, err = e.bodies.compile(nil); err != nil {
			return err
		}
	}
	if from.PutIndex(x.key, x.pieces(set)) == nil {
		if g.gen, err = e.use(from, &x, careful); err == nil {
			return nil
		}
	}
	if set != nil {
		return e.bodies.open(set)
	}
	return nil
}

// indexKey names the index of a light layer in the store.
func indexKey(light dbformat.Digest) string { return "cl64-1-" + light.String() }

// openIndex opens a stored index; nothing if there is none that is exactly the one with this header.
func openIndex(from layerSource, key string, header []byte, lines uint32) (*index, *store.IndexFile) {
	f, err := from.OpenIndex(key)
	if err != nil {
		return nil, nil
	}
	x := storedIndex(lines, f)
	if b, err := f.Piece(0); err != nil || !bytes.Equal(b, header) || f.Pieces() != 1+len(x.pieces) {
		f.Release()
		return nil, nil
	}
	return x, f
}

// PrepareIndex makes sure that the indexes of a generation are in the store and whole, and builds them anew if
// not, so that the first [Open] after an update need not. The layers must be there; the generation need not be current yet. If another one is, what
// its index says of patterns that are in both is used again.
// Any error means no more than that: matchers then build the indexes in memory.
func PrepareIndex(s *store.Store, g store.Generation) error { return prepareIndex(s, g) }

func prepareIndex(from generations, info store.Generation) (err error) {
	defer guardError(debug.SetPanicOnFault(true), &err)
	light, err := from.OpenLayer(info.Light.Digest, dbformat.Light)
	if err != nil {
		return err
	}
	defer light.Release()
	var rest dbformat.LayerReader
	if info.Rest != nil {
		f, err := from.OpenLayer(info.Rest.Digest, dbformat.Rest)
		if err != nil {
			return err
		}
		defer f.Release()
		rest = f
	}
	e, lines, err := newEngine(light, rest, Options{})
	if err != nil {
		return err
	}
	return errors.Join(prepareLines(from, info.Light.Digest, e.sections, lines), prepareGeneration(from, &info, e))
}

func prepareLines(from layerSource, light dbformat.Digest, sections []*section, lines uint32) error {
	key, header := indexKey(light), indexHeader(light, sections, lines)
	if checkIndex(from, key, header, lines) == nil {
		return nil
	}
	all, err := buildLines(sections, lines)
	if err != nil {
		return err
	}
	return from.PutIndex(key, slices.Values(append([][]byte{header}, cutPieces(all)...)))
}

func prepareGeneration(from generations, g *store.Generation, e *Engine) error {
	x, ok := e.generationIndex(g)
	if !ok {
		return nil
	}
	if f, err := e.use(from, &x, true); err == nil {
		f.Release()
		return nil
	}
	var set []byte
	if e.bodies != nil {
		previous, f := previousSet(from)
		if f != nil {
			defer f.Release()
		}
		var err error
		if set, err = e.bodies.compile(previous); err != nil {
			return err
		}
	}
	return from.PutIndex(x.key, x.pieces(set))
}

// checkIndex reads all of a stored index.
func checkIndex(from layerSource, key string, header []byte, lines uint32) error {
	x, f := openIndex(from, key, header, lines)
	if x == nil {
		return errors.New("there is none")
	}
	defer f.Release()
	for i := range x.pieces {
		x.load(i)
	}
	if p := x.err.Load(); p != nil {
		return *p
	}
	return nil
}
