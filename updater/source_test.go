package updater

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/signing"
)

func TestParseSource(t *testing.T) {
	for s, good := range map[string]bool{
		"http://a.example/db/": true, "https://a.example": true, "file:///srv/db": true, "file://localhost/srv/db": true,
		"": false, "a.example/db": false, "ftp://a.example": false, "http://": false, "file://host/srv": false, "file:srv": false,
		"http://a.example/?x=1": false, "http://a.example/#f": false, "http:a": false, "http://a b/": false,
	} {
		if err := CheckSource(s); (err == nil) != good {
			t.Errorf("CheckSource(%q) = %v, want good %v", s, err, good)
		}
	}
}

// tree makes the public folder of a repository with one metadata file and one target.
func tree(t *testing.T, target signing.Target, b []byte) string {
	dir := t.TempDir()
	for name, b := range map[string][]byte{"metadata/timestamp.json": []byte("metadata"), "targets/" + target.Name(): b} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		os.MkdirAll(filepath.Dir(p), 0o700)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func folderSource(t *testing.T, dir string) (*fileSource, *traffic) {
	tr := new(traffic)
	slashed := filepath.ToSlash(dir)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	u, err := parseSource((&url.URL{Scheme: "file", Path: slashed}).String())
	if err != nil {
		t.Fatal(err)
	}
	s := newFileSource(u, tr)
	t.Cleanup(s.close)
	return s, tr
}

func TestFileSource(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	s, tr := folderSource(t, tree(t, target, b))
	if got, err := s.Fetch(t.Context(), "timestamp.json", 8); err != nil || string(got) != "metadata" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Fetch(t.Context(), "timestamp.json", 7); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("too long: %v, want ErrUntrusted", err)
	}
	if _, err := s.Fetch(t.Context(), "2.root.json", 7); !errors.Is(err, signing.ErrNotFound) {
		t.Errorf("absent: %v, want ErrNotFound", err)
	}
	mustOpen(t, s, target, b)
	if got, err := s.small(t.Context(), target, 1<<20); err != nil || !bytes.Equal(got, b) {
		t.Errorf("small: %d bytes, %v", len(got), err)
	}
	if n := tr.requests.Load(); n != 5 {
		t.Errorf("%d files counted, want 5", n)
	}
}

func TestFileSourceHostileFolder(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	outside := filepath.Join(t.TempDir(), "outside")
	os.WriteFile(outside, b, 0o600)
	flipped := bytes.Clone(b)
	flipped[1] ^= 1
	for _, c := range []struct {
		name string
		make func(p string) error
		kind error
	}{
		{"link out of the folder", func(p string) error { return os.Symlink(outside, p) }, ErrUnavailable},
		{"pipe", makePipe, ErrUnavailable},
		{"folder", func(p string) error { return os.Mkdir(p, 0o700) }, ErrUnavailable},
		{"nothing", func(p string) error { return nil }, ErrUnavailable},
		{"flipped byte", func(p string) error { return os.WriteFile(p, flipped, 0o600) }, signing.ErrUntrusted},
		{"truncated", func(p string) error { return os.WriteFile(p, b[:100], 0o600) }, signing.ErrUntrusted},
		{"longer", func(p string) error { return os.WriteFile(p, append(bytes.Clone(b), 1), 0o600) }, signing.ErrUntrusted},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, target, b)
			p := filepath.Join(dir, "targets", filepath.FromSlash(target.Name()))
			os.Remove(p)
			if err := c.make(p); err != nil {
				t.Fatal(err)
			}
			s, _ := folderSource(t, dir)
			if _, err := s.open(t.Context(), target, ignore); !errors.Is(err, c.kind) {
				t.Errorf("open: %v, want %v", err, c.kind)
			}
			if _, err := s.small(t.Context(), target, 1<<20); !errors.Is(err, c.kind) {
				t.Errorf("small: %v, want %v", err, c.kind)
			}
		})
	}
	s, _ := folderSource(t, filepath.Join(t.TempDir(), "absent"))
	if _, err := s.Fetch(t.Context(), "2.root.json", 10); !errors.Is(err, ErrUnavailable) || errors.Is(err, signing.ErrNotFound) {
		t.Errorf("absent folder: %v; want ErrUnavailable and not the end of the root walk", err)
	}
}

func TestTargetsThatAreNotFetched(t *testing.T) {
	s, tr := sourceAt(t, "http://127.0.0.1:1", quick())
	good := targetOf("light/a.bundle", []byte{1})
	for _, p := range []string{"", "/x", "../x", "a/../x", "a//b", "a/%2e", "A", "a\x00", "x\\y"} {
		bad := good
		bad.Path = p
		if _, err := s.open(t.Context(), bad, ignore); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("path %q: %v, want ErrUntrusted", p, err)
		}
	}
	for _, n := range []int64{-1, 0, MaxTarget + 1} {
		bad := good
		bad.Length = n
		if _, err := s.open(t.Context(), bad, ignore); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("length %d: %v, want ErrUntrusted", n, err)
		}
	}
	bad := good
	bad.Length = 101
	if _, err := s.small(t.Context(), bad, 100); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("small file above its limit: %v, want ErrUntrusted", err)
	}
	if tr.requests.Load() != 0 {
		t.Error("the network was used")
	}
}
