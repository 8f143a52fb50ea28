package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The attacks of the demo. Each is a mirror that serves something else than what was
// signed; the endpoint must refuse it and stay as it is.

// thirdRelease publishes what the attacks are about, and keeps the tree as it was before.
func (d *demo) thirdRelease() (string, error) {
	if err := os.CopyFS(d.path("old-tree"), os.DirFS(d.path("repo", "public"))); err != nil {
		return "", err
	}
	r, err := d.add("third", 3)
	if err != nil {
		return "", err
	}
	if r.Version != 3 {
		return "", fmt.Errorf("version %d, want 3", r.Version)
	}
	return fmt.Sprintf("%s accepted", plural(r.Accepted, "signature")), nil
}

// mirror makes a copy of the repository's public tree and serves that; change may damage
// the files that release 3 added.
func (d *demo) mirror(name string, change func(path string, b []byte) []byte) (touched int, err error) {
	dir := d.path(name)
	if err := os.CopyFS(dir, os.DirFS(d.path("repo", "public"))); err != nil {
		return 0, err
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(d.path("old-tree", rel)); err == nil {
			return nil // it was there before
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c := change(filepath.ToSlash(rel), b)
		if c == nil {
			return nil
		}
		touched++
		// A file of its own: the copy may have the modes of what it was copied from.
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.WriteFile(path, c, 0o644)
	})
	if err != nil {
		return 0, err
	}
	if touched == 0 {
		return 0, fmt.Errorf("release 3 added no file to attack")
	}
	d.web.show(dir)
	return touched, nil
}

// attacked updates from the mirror in place, wants it refused with one of the exit codes,
// and goes back to the honest mirror.
func (d *demo) attacked(codes ...int) error {
	defer d.web.show(d.path("repo", "public"))
	if err := d.avdb(nil, exits(codes...), "update"); err != nil {
		return err
	}
	return d.unharmed()
}

// flippedBytes damages the files of the new release one kind at a time.
func (d *demo) flippedBytes() (string, error) {
	kinds := []struct{ name, prefix, suffix string }{
		// In the order in which an update reads them: what was verified once is not fetched again.
		{"metadata", "metadata/", ".json"},
		{"release.json", "targets/", ".release.json"},
		{"light", "targets/light/", ""},
		{"rest", "targets/rest/", ""},
	}
	var names []string
	for i, k := range kinds {
		n, err := d.mirror(fmt.Sprintf("flipped-%d", i+1), func(path string, b []byte) []byte {
			if !strings.HasPrefix(path, k.prefix) || !strings.HasSuffix(path, k.suffix) || len(b) == 0 {
				return nil
			}
			c := append([]byte(nil), b...)
			c[len(c)/2] ^= 1
			return c
		})
		if err != nil {
			return "", fmt.Errorf("%s: %w", k.name, err)
		}
		if err := d.attacked(exitUntrusted); err != nil {
			return "", fmt.Errorf("%s: %w", k.name, err)
		}
		names = append(names, fmt.Sprintf("%s (%d)", k.name, n))
	}
	return "refused, exit 12: " + strings.Join(names, ", "), nil
}

// cutFiles serves half of each new layer file.
func (d *demo) cutFiles() (string, error) {
	n, err := d.mirror("cut", func(path string, b []byte) []byte {
		if !strings.HasPrefix(path, "targets/") || strings.HasSuffix(path, ".json") {
			return nil
		}
		return b[:len(b)/2]
	})
	if err != nil {
		return "", err
	}
	if err := d.attacked(exitUntrusted, exitUnavailable); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s refused, scanning goes on", plural(n, "file")), nil
}

// oldTree serves everything as it was before release 2 was installed, all of it rightly
// signed: a roll-back attack on an endpoint that has seen newer.
func (d *demo) oldTree() (string, error) {
	// The endpoint must have seen the newer metadata first: an update that is refused for a
	// damaged layer has.
	d.web.show(d.path("old-tree"))
	if err := d.attacked(exitUntrusted); err != nil {
		return "", err
	}
	return "rightly signed, but older than what was seen: exit 12", nil
}

// otherPublisher serves a release with a higher number from somebody else's keys.
func (d *demo) otherPublisher() (string, error) {
	repo := d.path("other")
	if err := d.avdb(nil, exits(exitOK), "repo", "init", repo); err != nil {
		return "", err
	}
	if err := d.avdb(nil, exits(exitOK), "repo", "publish", repo, d.path("sources"), "--version", "1000"); err != nil {
		return "", err
	}
	d.web.show(filepath.Join(repo, "public"))
	if err := d.attacked(exitUntrusted); err != nil {
		return "", err
	}
	return "release 1000 is not signed by keys that this device knows", nil
}
