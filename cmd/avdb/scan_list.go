package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
)

// listFile opens what --files-from names; nil for nothing.
func (a *app) listFile(name string) (io.ReadCloser, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
		return io.NopCloser(a.stdin), nil
	}
	if fi, err := os.Stat(name); err == nil && fi.Mode()&os.ModeNamedPipe != 0 {
		return &lateFile{name: name}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--files-from: %w", err)
	}
	return f, nil
}

// A lateFile is opened when it is first read: a FIFO waits then for somebody who writes to it, and no other part of a scan does.
type lateFile struct {
	name string
	f    *os.File
}

func (l *lateFile) Read(b []byte) (n int, err error) {
	if l.f == nil {
		if l.f, err = os.Open(l.name); err != nil {
			return 0, err
		}
	}
	return l.f.Read(b)
}

// Close leaves the file to the end of the process: somebody may still be waiting in Read.
func (l *lateFile) Close() error { return nil }

// maxPath bounds a path in a list: longer ones no system has.
const maxPath = 1 << 20

// A pathList gives the paths of the command line, then those of a list, which is read while
// it is scanned.
type pathList struct {
	args    []string
	from    io.ReadCloser // nil for none
	null    bool
	without exclusions
	err     error // why the list could not be read to its end
}

// all gives what is to be scanned, until ctx is done.
func (l *pathList) all(ctx context.Context) iter.Seq[string] { return l.without.from(l.named(ctx)) }

// named gives what was asked for.
func (l *pathList) named(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range l.args {
			if !yield(p) {
				return
			}
		}
		if l.from == nil {
			return
		}
		// A list may be a pipe in which nothing comes for hours: it is read on the side, so
		// that a scan whose time is up does not wait for it.
		paths, end := make(chan string, 64), make(chan error, 1)
		go func() {
			defer close(paths)
			end <- l.read(func(path string) bool {
				select {
				case paths <- path:
					return true
				case <-ctx.Done():
					return false
				}
			})
		}()
		for {
			select {
			case path, more := <-paths:
				if !more {
					l.err = <-end
					return
				}
				if !yield(path) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// read gives the paths of the list.
func (l *pathList) read(yield func(string) bool) error {
	s := bufio.NewScanner(l.from)
	s.Buffer(nil, maxPath)
	switch {
	case l.null:
		s.Split(splitBy(0))
	case runtime.GOOS != "windows": // where no name can end in a carriage return, and lists have them
		s.Split(splitBy('\n'))
	}
	for s.Scan() {
		path := s.Text()
		if path == stdinPath { // here it is a file, for names of others come in lists
			path = "." + string(os.PathSeparator) + path
		}
		if path != "" && !yield(path) {
			return nil
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return hint(fmt.Errorf("--files-from: a path is longer than %d bytes; those after it were not scanned", maxPath),
			"give a path a line, or with -0 paths that end in NUL")
	} else if s.Err() != nil {
		return fmt.Errorf("--files-from: %w", s.Err())
	}
	return nil
}

func (l *pathList) close() {
	if l.from != nil {
		l.from.Close()
	}
}

// splitBy cuts at a byte and nowhere else: a name may end in any other.
func splitBy(mark byte) bufio.SplitFunc {
	return func(data []byte, end bool) (advance int, token []byte, err error) {
		if i := bytes.IndexByte(data, mark); i >= 0 {
			return i + 1, data[:i], nil
		}
		if end && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	}
}
