//go:build unix

package publisher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// A file named by an option or by the policy may be a link, but what it leads to is a regular file: a pipe without a writer would
// hold the run (and the repository's lock) for ever, a device would never end.
func TestNamedFilesAreRegular(t *testing.T) {
	dir := folder(t, map[string]string{"pipe.yaml": "whole: {hashes: pipe}", "device.yaml": "whole: {hashes: device}", "folder.yaml": "whole: {hashes: folder}"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"device": "/dev/zero", "link": "pipe"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	readPolicy := func(f string) error { _, err := ReadPolicy(f); return err }
	readRestrictions := func(f string) error { _, err := readSet(f); return err }
	readSource := func(f string) error {
		return (&intake{}).readFile(context.Background(), sourceFile{path: f, kind: kindHashes})
	}
	for _, c := range []struct {
		what string
		read func(string) error
		file string
		at   string // the file that is named
		kind error
	}{
		{"policy", readPolicy, "pipe", "pipe", ErrPolicy},
		{"policy", readPolicy, "link", "link", ErrPolicy},
		{"policy", readPolicy, "device", "device", ErrPolicy},
		{"policy", readPolicy, "folder", "folder", ErrPolicy},
		{"whole.hashes", readPolicy, "pipe.yaml", "pipe", ErrPolicy},
		{"whole.hashes", readPolicy, "device.yaml", "device", ErrPolicy},
		{"whole.hashes", readPolicy, "folder.yaml", "folder", ErrPolicy},
		{"restrictions", readRestrictions, "pipe", "pipe", ErrRestrictions},
		{"restrictions", readRestrictions, "link", "link", ErrRestrictions},
		{"restrictions", readRestrictions, "device", "device", ErrRestrictions},
		{"restrictions", readRestrictions, "folder", "folder", ErrRestrictions},
		{"a source that became one after the folder was listed", readSource, "pipe", "pipe", ErrSources},
	} {
		done := make(chan error, 1)
		go func() { done <- c.read(filepath.Join(dir, c.file)) }()
		select {
		case err := <-done:
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), filepath.Join(dir, c.at)+": cannot be read: not a regular file") {
				t.Errorf("%s %s: error %v", c.what, c.file, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s %s: still waiting", c.what, c.file)
		}
	}
}

// Nor does a pipe in the place of a file of the repository hold a run.
func TestPipesInTheRepositoryAreRefused(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, read := range map[string]func() error{
		"state":  func() error { _, err := readState(pipe); return err },
		"bundle": func() error { _, err := readBundle(pipe, dbformat.Light, dbformat.Digest{}); return err },
	} {
		done := make(chan error, 1)
		go func() { done <- read() }()
		select {
		case err := <-done:
			if _, ok := errors.AsType[*osfile.IrregularError](err); !ok {
				t.Errorf("%s: error %v", what, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: still waiting", what)
		}
	}
}

func TestNamedFilesMayBeLinks(t *testing.T) {
	dir := folder(t, map[string]string{"p.yaml": "whole: {hashes: link.hashes}", "a.hashes": strings.Repeat("0", 64) + "\n"})
	for name, target := range map[string]string{"link.yaml": "p.yaml", "link.hashes": "a.hashes"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := ReadPolicy(filepath.Join(dir, "link.yaml")); err != nil || len(p.hashes) != 1 {
		t.Errorf("policy %+v, error %v", p, err)
	}
}
