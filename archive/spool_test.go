package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"example.org/avdb/archive"
	"example.org/avdb/filetype"
)

// A memoryFile is a File that can be watched.
type memoryFile struct {
	bytes.Buffer
	closed bool
	room   int // bytes that fit; below 0 for any number
}

var errFull = errors.New("no space left")

func (f *memoryFile) Write(p []byte) (int, error) {
	if f.room >= 0 && f.Len()+len(p) > f.room {
		n, _ := f.Buffer.Write(p[:f.room-f.Len()])
		return n, errFull
	}
	return f.Buffer.Write(p)
}
func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.Bytes()).ReadAt(p, off)
}
func (f *memoryFile) Close() error { f.closed = true; return nil }

func TestSpoolGoesToAFileOnlyWhenItMust(t *testing.T) {
	const memory = 256 << 10
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, memory, memory + 1, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			content := random(size)
			var files []*memoryFile
			u := archive.New(archive.Limits{Memory: memory}, func() (archive.File, error) {
				files = append(files, &memoryFile{room: -1})
				return files[len(files)-1], nil
			})
			object := tarOf(t, file{"a", content}, file{"b", content})
			for m, err := range u.Budget(t.Context(), int64(len(object))).Members(filetype.Tar, bytes.NewReader(object), int64(len(object))) {
				if err != nil {
					t.Fatal(err)
				}
				s, err := m.Spool()
				if err != nil || s.Size() != int64(size) {
					t.Fatalf("%d bytes, %v", s.Size(), err)
				}
				if err := iotest.TestReader(io.NewSectionReader(s, 0, s.Size()), []byte(content)); err != nil {
					t.Error(err)
				}
				if n, err := s.ReadAt(make([]byte, 1), s.Size()); n != 0 || err != io.EOF {
					t.Errorf("%d, %v at the end", n, err)
				}
				if err := s.Close(); err != nil || s.Size() != 0 || s.Close() != nil {
					t.Error("close", err)
				}
			}
			if (len(files) > 0) != (size > memory) {
				t.Errorf("%d files", len(files))
			}
			for _, f := range files {
				if !f.closed {
					t.Error("a file is left open")
				}
			}
		})
	}
}

// All spools of one object share the memory, however they are nested.
func TestSpoolsShareTheirMemory(t *testing.T) {
	object := []byte(random(100 << 10))
	const levels = 6
	for range levels {
		object = tarOf(t, file{"x", string(object)})
	}
	made := 0
	temp := func() (archive.File, error) { made++; return &memoryFile{room: -1}, nil }
	w := newWalker(t, archive.Limits{Memory: 300 << 10}, len(object), temp)
	w.container("", bytes.NewReader(object), int64(len(object)))
	if made != levels-2 || w.lines[levels-1].content != random(100<<10) {
		t.Errorf("%d files for %d levels: %v", made, levels, w.lines)
	}
}

// What comes through a reader is kept as members are, up to a limit of its own, and shares their memory.
func TestReadersAreKept(t *testing.T) {
	const memory = 256 << 10
	dead := errors.New("line is dead")
	for _, size := range []int{0, 1, 64 << 10, memory, memory + 1, 1 << 20} {
		content := random(size)
		made := 0
		u := archive.New(archive.Limits{Memory: memory}, func() (archive.File, error) { made++; return &memoryFile{room: -1}, nil })
		for name, c := range map[string]struct {
			r    io.Reader
			most int64
			size int
			want error
		}{
			"all of it":       {bytes.NewReader([]byte(content)), 0, size, nil},
			"byte by byte":    {iotest.OneByteReader(bytes.NewReader([]byte(content))), int64(size), size, nil},
			"errors with it":  {iotest.DataErrReader(bytes.NewReader([]byte(content))), 0, size, nil},
			"one too many":    {bytes.NewReader([]byte(content)), int64(size) - 1, size, nil},
			"far too many":    {bytes.NewReader([]byte(content)), 5, min(size, 6), nil},
			"no limit at all": {bytes.NewReader([]byte(content)), math.MaxInt64, size, nil},
			"a broken one":    {io.MultiReader(bytes.NewReader([]byte(content)), iotest.ErrReader(dead)), 0, size, dead},
			"an idle one":     {io.MultiReader(bytes.NewReader([]byte(content)), idle{}), 0, size, io.ErrNoProgress},
		} {
			made = 0
			s, err := u.Keep(t.Context(), c.r, c.most)
			got := make([]byte, s.Size())
			if _, rerr := s.ReadAt(got, 0); rerr != nil && rerr != io.EOF {
				t.Error(rerr)
			}
			if err != c.want || len(got) != c.size || string(got) != content[:c.size] || (made > 0) != (c.size > memory) {
				t.Errorf("%d bytes, %s: %d bytes in %d files, %v", size, name, len(got), made, err)
			}
			s.Close()
		}
	}
	u := archive.New(archive.Limits{Memory: memory}, nil)
	kept, err := u.Keep(t.Context(), bytes.NewReader(make([]byte, memory-100_000)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := u.Keep(t.Context(), bytes.NewReader(make([]byte, memory)), 0); !errors.Is(err, archive.ErrLimit) || s.Size() > 100_000 || s.Close() != nil {
		t.Errorf("the second of two: %v", err)
	}
	kept.Close()
	if s, err := u.Keep(t.Context(), bytes.NewReader(make([]byte, memory)), 0); err != nil || s.Close() != nil {
		t.Errorf("after the first was closed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := u.Keep(ctx, bytes.NewReader(make([]byte, memory)), 0); err != context.Canceled || s.Close() != nil {
		t.Errorf("cancelled: %v", err)
	}
}

// idle is a reader that gives nothing, again and again.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestASpoolWithoutRoomKeepsWhatFits(t *testing.T) {
	const memory = 128 << 10
	content := random(1 << 20)
	object := tarOf(t, file{"a", content}, file{"b", "beta"})
	for name, c := range map[string]struct {
		temp func() (archive.File, error)
		want error
		size int64
	}{
		"no file":      {nil, archive.ErrLimit, memory},
		"none is made": {func() (archive.File, error) { return nil, errFull }, errFull, memory},
		"full at once": {func() (archive.File, error) { return &memoryFile{room: 1000}, nil }, errFull, memory},
		"full later":   {func() (archive.File, error) { return &memoryFile{room: 200_000}, nil }, errFull, 200_000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWalker(t, archive.Limits{Memory: memory}, len(object), c.temp)
			seen := 0
			for m, err := range w.b.Members(filetype.Tar, bytes.NewReader(object), int64(len(object))) {
				if err != nil {
					t.Fatal(err)
				}
				s, err := m.Spool()
				seen++
				if m.Name == "b" {
					if err != nil || s.Size() != 4 {
						t.Errorf("b: %d bytes, %v", s.Size(), err)
					}
				} else if !errors.Is(err, c.want) || s.Size() != c.size {
					t.Errorf("a: %d bytes, %v", s.Size(), err)
				} else {
					got := make([]byte, s.Size())
					if _, err := s.ReadAt(got, 0); err != nil && err != io.EOF || string(got) != content[:c.size] {
						t.Error("what fitted is something else", err)
					}
				}
				s.Close()
			}
			if seen != 2 {
				t.Errorf("%d members", seen)
			}
		})
	}
}
