package updater

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"example.org/avdb/osfile"
	"example.org/avdb/signing"
)

// A fileSource is a repository's public folder on this machine: a mounted share, a medium. Only regular files
// below the folder are read; a link that leads out of it, a pipe or a device is refused without waiting for it.
type fileSource struct {
	name    string
	dir     string
	traffic *traffic
	root    *os.Root // opened at the first file
}

func newFileSource(u *url.URL, t *traffic) *fileSource {
	dir := u.Path
	if runtime.GOOS == "windows" {
		dir = strings.TrimPrefix(dir, "/")
	}
	return &fileSource{name: name(u), dir: filepath.FromSlash(dir + "/"), traffic: t}
}

// Fetch reads a metadata file.
func (s *fileSource) Fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	f, err := s.openFile(ctx, path.Join("metadata", name))
	if err != nil {
		if se, ok := errors.AsType[*SourceError](err); ok && errors.Is(err, fs.ErrNotExist) && s.root != nil {
			se.Err = signing.ErrNotFound
		}
		return nil, err
	}
	defer f.Close()
	b, err := readAll(&contextReader{ctx, f}, limit)
	s.traffic.bytes.Add(int64(len(b)))
	if err != nil {
		return nil, s.failed(path.Join("metadata", name), err)
	}
	return b, nil
}

func (s *fileSource) small(ctx context.Context, t signing.Target, limit int64) ([]byte, error) {
	if err := storable(s.name, t, limit); err != nil {
		return nil, err
	}
	f, err := s.openFile(ctx, path.Join("targets", t.Name()))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAll(&contextReader{ctx, f}, t.Length)
	s.traffic.bytes.Add(int64(len(b)))
	if err != nil {
		return nil, s.failed(t.Path, err)
	}
	return b, checkBytes(s.name, t, b)
}

func (s *fileSource) open(ctx context.Context, t signing.Target, progress func(int64)) (*fetched, error) {
	if err := storable(s.name, t, MaxTarget); err != nil {
		return nil, err
	}
	f, err := s.openFile(ctx, path.Join("targets", t.Name()))
	if err != nil {
		return nil, err
	}
	if err := checkFile(ctx, s.name, t, f); err != nil {
		f.Close()
		return nil, s.failed(t.Path, err)
	}
	s.traffic.bytes.Add(t.Length)
	progress(t.Length)
	return &fetched{File: f}, nil
}

func (s *fileSource) close() {
	if s.root != nil {
		s.root.Close()
		s.root = nil
	}
}

func (s *fileSource) openFile(ctx context.Context, name string) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.traffic.requests.Add(1)
	if s.root == nil {
		root, err := os.OpenRoot(s.dir)
		if err != nil {
			return nil, &SourceError{Source: s.name, Reason: "the folder cannot be opened", Err: err}
		}
		s.root = root
	}
	f, err := osfile.OpenIn(s.root, name)
	if _, ok := errors.AsType[*osfile.IrregularError](err); ok {
		return nil, &SourceError{Source: s.name, File: name, Reason: "no regular file"}
	}
	if err != nil {
		return nil, &SourceError{Source: s.name, File: name, Err: err}
	}
	return f, nil
}

// failed gives an error of reading its kind.
func (s *fileSource) failed(name string, err error) error {
	if errors.Is(err, errTooLong) {
		return &TargetError{Source: s.name, Target: name, Reason: "longer than it may be"}
	}
	if kindOf(err) != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &SourceError{Source: s.name, File: name, Err: err}
}
