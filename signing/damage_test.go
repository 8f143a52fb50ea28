package signing

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The disk under the trust folder is at fault, and no source: the error says which file, and what to do.

// wantDamage demands an error of the disk that names the path and a remedy, and blames nobody else.
func wantDamage(t *testing.T, err error, path, what string) {
	t.Helper()
	p, ok := errors.AsType[*fs.PathError](err)
	if !ok || p.Path != path || !errors.Is(err, ErrStorage) || errors.Is(err, ErrUntrusted) {
		t.Fatalf("%v; want ErrStorage about %s and no distrust", err, path)
	}
	var r interface{ Remedy() string }
	if !errors.As(err, &r) || r.Remedy() == "" || !strings.Contains(err.Error(), r.Remedy()) {
		t.Errorf("%v names no remedy", err)
	}
	if !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "source") {
		t.Errorf("%v; want %q and no word of a source", err, what)
	}
}

// Guard: rootDamaged. The only root is damaged on disk: each call says so, no source is asked, the same root without being told to
// replace does not hide it, and the remedy works.
func TestDamagedOnlyRootIsNotTheSourcesFault(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	good := firstRoot(t, r)
	for what, put := range map[string]func(name string) error{
		"flipped in a signature": func(name string) error {
			return os.WriteFile(name, flip(good, bytes.Index(good, []byte(`"sig"`))+10), 0o600)
		},
		"flipped in a field": func(name string) error { return os.WriteFile(name, flip(good, len(good)-80), 0o600) },
		"truncated":          func(name string) error { return os.WriteFile(name, good[:len(good)/2], 0o600) },
		"empty":              func(name string) error { return os.WriteFile(name, nil, 0o600) },
		"garbage":            func(name string) error { return os.WriteFile(name, bytes.Repeat([]byte{0xff, 7}, 500), 0o600) },
		"too long":           func(name string) error { return os.WriteFile(name, make([]byte, MaxRoot+1), 0o600) },
		"folder":             func(name string) error { return os.Mkdir(name, 0o700) },
	} {
		t.Run(what, func(t *testing.T) {
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			name := tr.rootName(1)
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if err := put(name); err != nil {
				t.Fatal(err)
			}
			src := serve(r)
			_, err := tr.Refresh(t.Context(), src, RefreshOptions{Now: day0})
			wantDamage(t, err, name, "--replace-trust")
			if len(src.log) != 0 {
				t.Errorf("the source was asked for %s", src.log)
			}
			_, err = tr.Stored()
			wantDamage(t, err, name, "--replace-trust")
			wantDamage(t, initTrust(tr.dir, good, false, noSync), name, "--replace-trust")
			if err := initTrust(tr.dir, good, true, noSync); err != nil {
				t.Fatalf("the remedy: %v", err)
			}
			refresh(t, tr, serve(r), day0)
		})
	}
}

// Guard: blocked. What the system says about a rename over a folder helps nobody.
func TestFolderInThePlaceOfAFile(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	if err := r.Rotate(RoleRoot, day0, &stream{seed: 3}); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{floorsFile, verifiedFile, filepath.Join("roots", "2.root.json")} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			name := filepath.Join(tr.dir, file)
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(name, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			_, err := tr.Refresh(t.Context(), serve(r), RefreshOptions{Now: day0})
			wantDamage(t, err, name, "is a folder")
			wantDamage(t, initTrust(tr.dir, firstRoot(t, newRepository(t, RepositoryOptions{Rand: &stream{seed: 5}})), true, noSync), name, "is a folder")
		})
	}
}

// Guard: rootVersions. A file where the folder of roots should be.
func TestRootsAreNoFolder(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	tr := newTrust(t, r)
	roots := filepath.Join(tr.dir, "roots")
	if err := os.RemoveAll(roots); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(roots, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenTrust(tr.dir)
	wantDamage(t, err, roots, "move it away")
}

// A flipped bit must never become a floor that no source reaches: the checksum tells, and the floors are made again from the stored set.
func TestFlippedBitInFloors(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	name := filepath.Join(tr.dir, floorsFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if f, err := parseFloors(bad); err == nil {
				t.Fatalf("byte %d, bit %d: taken as %v", i, bit, f.Floors)
			}
		}
	}
	if err := os.WriteFile(name, bytes.Replace(good, []byte(`"value": 1,`), []byte(`"value": 9,`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	refresh(t, tr, serve(r), day0)
}

// Guard: checkFolders. A link in the place of a folder is named before anything is read or written behind it, and the remedy works.
func TestLinkInThePlaceOfATrustFolder(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	for _, sub := range []string{"roots", "tmp"} {
		t.Run(sub, func(t *testing.T) {
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			name, victim := filepath.Join(tr.dir, sub), t.TempDir()
			if err := errors.Join(os.RemoveAll(name), os.Symlink(victim, name)); err != nil {
				t.Skip(err)
			}
			_, err := OpenTrust(tr.dir)
			wantDamage(t, err, name, "is a symbolic link; move it away")
			for _, replace := range []bool{false, true} {
				wantDamage(t, initTrust(tr.dir, firstRoot(t, r), replace, noSync), name, "is a symbolic link; move it away")
			}
			if list, err := os.ReadDir(victim); err != nil || len(list) > 0 {
				t.Errorf("behind the link are %v, %v", list, err)
			}
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if err := initTrust(tr.dir, firstRoot(t, r), false, noSync); err != nil {
				t.Fatalf("the remedy: %v", err)
			}
			refresh(t, tr, serve(r), day0)
		})
	}
}
