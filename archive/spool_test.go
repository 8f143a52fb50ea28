package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
