package store

import (
	"errors"
	"os"
	"strings"

	"example.org/avdb/dbformat"
)

// A VerifyReport says what Verify looked at.
type VerifyReport struct {
	OK      bool          `json:"ok"`
	Layers  []LayerReport `json:"layers"`
	Indexes []IndexReport `json:"indexes,omitempty"`
}

// A LayerReport is about one layer file.
type LayerReport struct {
	Version uint64          `json:"version"` // of the newest kept generation that it is part of
	Layer   string          `json:"layer"`
	Digest  dbformat.Digest `json:"digest"`
	Blocks  int             `json:"blocks"` // proved
	Bytes   int64           `json:"bytes"`  // proved
	OK      bool            `json:"ok"`
	Error   string          `json:"error,omitempty"`
}

// An IndexReport is about one index. A damaged one is no error: it is built again.
type IndexReport struct {
	Key    string `json:"key"`
	Pieces int    `json:"pieces"`
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
}

// Verify proves every block of the current generation and that its layers belong together; with deep those of
// all kept generations, and every piece of every index. progress, which may be nil, is told the bytes of each block. The
// error is nil if all layers are sound, else the first failure, and the report is complete in any case. No
// lock is needed: an update that replaces a generation meanwhile is followed.
func (s *Store) Verify(deep bool, progress func(bytes int64)) (VerifyReport, error) {
	for {
		c, err := s.current()
		if err != nil {
			return VerifyReport{Layers: []LayerReport{}}, err
		}
		r, err := s.verify(c, deep, progress)
		if err == nil {
			return r, nil
		}
		if again, e := s.current(); e != nil || again.same(&c.Generation) {
			return r, err
		}
	}
}

func (s *Store) verify(c *Current, deep bool, progress func(int64)) (VerifyReport, error) {
	r := VerifyReport{OK: true, Layers: []LayerReport{}}
	var first error
	seen := map[dbformat.Digest]bool{}
	generations := c.generations()
	if !deep {
		generations = generations[:1]
	}
	for _, g := range generations {
		whole := true
		for _, l := range g.Variant().Layers() {
			d := g.Layer(l).Digest
			if seen[d] {
				continue
			}
			seen[d] = true
			report, err := s.verifyFile(d, l, progress)
			report.Version = g.Version
			r.Layers = append(r.Layers, report)
			if err != nil {
				whole = false
				first = firstError(first, err)
			}
		}
		if whole {
			first = firstError(first, s.checkPair(g))
		}
	}
	if deep {
		r.Indexes = s.verifyIndexes()
	}
	r.OK = first == nil
	return r, first
}

func firstError(first, err error) error {
	if first != nil {
		return first
	}
	return err
}

func (s *Store) verifyFile(d dbformat.Digest, l dbformat.Layer, progress func(int64)) (LayerReport, error) {
	r := LayerReport{Layer: l.String(), Digest: d}
	f, err := s.OpenLayer(d, l)
	if err == nil {
		err = f.Verify(func(n int64) {
			r.Blocks++
			r.Bytes += n
			if progress != nil {
				progress(n)
			}
		})
		f.Close()
	}
	if r.OK = err == nil; !r.OK {
		r.Error = err.Error()
	}
	return r, err
}

func (s *Store) verifyIndexes() []IndexReport {
	entries, err := os.ReadDir(s.indexDir())
	if err != nil {
		return nil
	}
	var reports []IndexReport
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), ".idx")
		if !ok || !indexKey.MatchString(key) {
			continue
		}
		r := IndexReport{Key: key}
		err := s.verifyIndex(&r)
		if r.OK = err == nil; !r.OK {
			r.Error = err.Error()
		}
		reports = append(reports, r)
	}
	return reports
}

func (s *Store) verifyIndex(r *IndexReport) error {
	f, err := s.OpenIndex(r.Key)
	if err != nil {
		return err
	}
	defer f.Close()
	all := f.file.whole(piecesBucket, func(_, _ []byte) error { return nil })
	for i := range f.Pieces() {
		if _, err := f.Piece(i); err != nil {
			all = errors.Join(all, err)
			continue
		}
		r.Pieces++
	}
	return all
}
