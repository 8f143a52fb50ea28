package store

import (
	"errors"
	"fmt"
	"path/filepath"

	"example.org/avdb/dbformat"
)

// A LayerWriter builds a layer file beside those in use. It implements dbformat.Sink and is for one
// goroutine. It must be ended by Finish or Abort.
type LayerWriter struct {
	s     *Store
	layer dbformat.Layer
	temp  string
	bolt  newBolt
	batch batch
	last  []byte // key of the last block
	err   error  // the first failure; nothing works after it
}

var _ dbformat.Sink = (*LayerWriter)(nil)

// NewLayer begins a layer file. The caller must hold the update lock.
func (s *Store) NewLayer(l dbformat.Layer) (*LayerWriter, error) {
	if err := s.needLock(); err != nil {
		return nil, err
	}
	// The name of the finished file is not known yet: it is the digest of what is written.
	temp, err := s.tempPath(filepath.Join(s.layersDir(), l.String()))
	if err != nil {
		return nil, err
	}
	// A crash from here to the rename in Finish leaves a temporary file, which Clean removes.
	b, err := s.files.CreateBolt(temp, modeFile)
	if err != nil {
		return nil, failed(temp, "cannot be made", err)
	}
	return &LayerWriter{s: s, layer: l, temp: temp, bolt: b, batch: batch{b: b}}, nil
}

// PutBlock takes the blocks in the order of the layer. It copies b and writes about 4 MiB at a time.
func (w *LayerWriter) PutBlock(id dbformat.SectionID, i int, b []byte) error {
	if w.err != nil {
		return w.err
	}
	if i < 0 || i >= dbformat.MaxBlocks || len(b) > dbformat.MaxBlock {
		return w.fail(fmt.Errorf("block %s %d of %d bytes cannot be", id, i, len(b)))
	}
	key := blockKey(id, i)
	if string(key) <= string(w.last) {
		return w.fail(fmt.Errorf("block %s %d is out of order", id, i))
	}
	w.last = key
	if err := w.batch.put(blocksBucket, key, b); err != nil {
		return w.fail(failed(w.temp, "cannot be written", err))
	}
	return nil
}

func (w *LayerWriter) fail(err error) error {
	w.err = err
	return err
}

// Finish ends the file: what was put must be exactly the layer that h describes, and its digest must be want, else the
// error matches [ErrDigestMismatch] and nothing is kept. When it returns nil the file has been written, synced, opened again,
// proved block by block, and has its final name durably. If there is such a file already, whole, that one stays.
// The ref has Since 0: the release record knows it.
func (w *LayerWriter) Finish(h *dbformat.Header, want dbformat.Digest) (LayerRef, error) {
	defer w.Abort()
	if w.err != nil {
		return LayerRef{}, w.err
	}
	path := w.s.layerPath(want)
	got := h.Digest()
	if h.Layer != w.layer || got != want {
		return LayerRef{}, &Error{Kind: ErrDigestMismatch, Path: path,
			What:   fmt.Sprintf("the result is a %s layer with the digest %s", h.Layer, got),
			Remedy: "fetch the bundle"}
	}
	ref := refOf(h, want, 0)
	// After this the content is durable under the temporary name: the rename below never gives a final name to a file whose
	// bytes a power cut could still take away.
	if err := w.write(h); err != nil {
		return LayerRef{}, err
	}
	// A crash here leaves a whole layer under a temporary name, which Clean removes: the work is lost and nothing else.
	if err := verifyLayer(w.temp, want, w.layer); err != nil {
		return LayerRef{}, err
	}
	if verifyLayer(path, want, w.layer) == nil {
		// It is there already; on Windows it may be open, and could not be replaced. A run that died before it synced the folder
		// may have renamed it: the name becomes durable now, before any CURRENT says it.
		return ref, w.s.syncLayers()
	}
	// The rename gives the file its name. A crash before the next sync leaves it or not; no generation
	// names it yet, so that both are the old state.
	if err := w.s.files.Rename(w.temp, path); err != nil {
		return LayerRef{}, failed(path, "cannot be put in place", err)
	}
	w.temp = ""
	// A crash after this sync leaves a layer that no generation names: the next run uses it again or Clean removes it.
	return ref, w.s.syncLayers()
}

func (w *LayerWriter) write(h *dbformat.Header) error {
	err := w.batch.put(metaBucket, []byte(formatKey), []byte(layerFormat))
	if err == nil {
		err = w.batch.put(metaBucket, []byte(headerKey), h.Encode())
	}
	if err == nil {
		err = w.batch.flush()
	}
	// Until here nothing was synced, and a power cut leaves any mixture of pages: nobody but this writer knows the name.
	if err == nil {
		err = w.bolt.Finish()
	}
	if e := w.bolt.Close(); err == nil {
		err = e
	}
	w.bolt = nil
	if err != nil {
		return failed(w.temp, "cannot be written", err)
	}
	return nil
}

// Abort throws the file away. After Finish it does nothing.
func (w *LayerWriter) Abort() {
	if w.bolt != nil {
		w.bolt.Close()
		w.bolt = nil
	}
	if w.temp != "" {
		w.s.files.Remove(w.temp) // best effort: Clean removes it otherwise
		w.temp = ""
	}
	if w.err == nil {
		w.err = errors.New("the layer was finished or aborted")
	}
}

func (s *Store) syncLayers() error {
	if err := s.files.SyncDir(s.layersDir()); err != nil {
		return failed(s.layersDir(), "cannot be synced", err)
	}
	return nil
}

// verifyLayer opens a layer file and proves all of it.
func verifyLayer(path string, d dbformat.Digest, l dbformat.Layer) error {
	f, err := openLayer(path, d, l)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Verify(nil)
}
