package main

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"example.org/avdb/prefilter"
)

// seeded is a source of random numbers that are the same in each run.
func seeded(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, n)) }

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// installed gives the regular files of this system's programs and libraries, in an order that depends on their names only.
func installed() []string {
	type file struct {
		path string
		hash uint64
	}
	var all []file
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec"} {
		filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				h := fnv.New64a()
				h.Write([]byte(path))
				all = append(all, file{path, h.Sum64()})
			}
			return nil
		})
	}
	slices.SortFunc(all, func(x, y file) int { return cmp.Or(cmp.Compare(x.hash, y.hash), cmp.Compare(x.path, y.path)) })
	paths := make([]string, len(all))
	for i, f := range all {
		paths[i] = f.path
	}
	return paths
}

// gather copies files into a tree and keeps others in memory.
func (w *matcherWorld) gather() error {
	wantTree, wantText, wantPrograms := int64(295<<20), 64<<20, 256<<20
	if w.quick {
		wantTree, wantText, wantPrograms = 4<<20, 1<<20, 8<<20
	}
	w.tree, w.empty = filepath.Join(w.dir, "tree"), filepath.Join(w.dir, "empty")
	if err := errors.Join(os.Mkdir(w.tree, 0o755), os.Mkdir(w.empty, 0o755), os.WriteFile(filepath.Join(w.empty, "x"), []byte("x"), 0o644)); err != nil {
		return err
	}
	programs := 0
	for i, path := range installed() {
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 || len(b) > 32<<20 {
			continue
		}
		switch {
		case i%2 == 0 && programs < wantPrograms:
			if len(b) > 4096 && string(b[:4]) == "\x7fELF" {
				w.programs = append(w.programs, b)
				programs += len(b)
			}
		case i%2 == 1 && w.treeBytes < wantTree:
			if err := os.WriteFile(filepath.Join(w.tree, fmt.Sprint(i)), b, 0o644); err != nil {
				return err
			}
			w.treeBytes += int64(len(b))
			w.lengths = append(w.lengths, len(b))
			w.text = append(w.text, b[:min(len(b), 4<<20, wantText-len(w.text))]...)
		}
	}
	if len(w.text) < wantText || len(w.programs) < 10 {
		return errors.New("this machine has not enough programs to cut patterns from")
	}
	return nil
}

// kinds are ways to make patterns of 20 to 60 bytes. Those cut from programs have six different bytes at least: what is left out are paddings. Dropped are those
// whose every window our own model knows as common (met more than once in 16 MiB): whoever writes signatures avoids such bytes.
func (w *matcherWorld) kinds() map[string]func(n int) [][]byte {
	many := func(n int, next func() []byte) [][]byte {
		all := make([][]byte, n)
		for i := range all {
			all[i] = next()
		}
		return all
	}
	m := prefilter.DefaultModel()
	cutter := func(seed uint64) func() []byte {
		r := seeded(seed)
		return func() []byte {
			for {
				p := w.programs[r.IntN(len(w.programs))]
				size := 20 + r.IntN(41)
				at := r.IntN(len(p) - size)
				if b := p[at : at+size]; len(slices.Compact(slices.Sorted(slices.Values(b)))) >= 6 {
					return b
				}
			}
		}
	}
	return map[string]func(n int) [][]byte{
		"random": func(n int) [][]byte {
			r := seeded(1)
			return many(n, func() []byte { return randomBytes(r, 20+r.IntN(41)) })
		},
		"undropped": func(n int) [][]byte { return many(n, cutter(2)) },
		"dropped": func(n int) [][]byte {
			cut := cutter(3)
			return many(n, func() []byte {
				for {
					b := cut()
					if _, _, cost := m.Rarest(b); cost <= 1<<(36-24) { // in 2^-36 a byte of text
						return b
					}
				}
			})
		},
	}
}
