package signing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

var day0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// stream is endless deterministic randomness.
type stream struct{ n, seed uint64 }

func (s *stream) Read(b []byte) (int, error) {
	for i := range b {
		h := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.seed), s.n))
		b[i] = h[0]
		s.n++
	}
	return len(b), nil
}

var _ io.Reader = (*stream)(nil)

// noSync leaves out what only a power cut would show: hundreds of repositories are made here.
var noSync = files{disk: hook(withoutSync)}

func withoutSync(op, _ string) (bool, error) { return op != "sync" && op != "syncdir", nil }

// A hook is a [Disk] that decides whether a change takes effect, and what is said of it.
type hook func(op, name string) (apply bool, err error)

func (h hook) Do(c DiskCall, change func() error) error {
	apply, err := h(c.Op, c.Path)
	if apply {
		if e := change(); err == nil {
			err = e
		}
	}
	return err
}

func newRepository(t testing.TB, o RepositoryOptions) *Repository {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = day0
	}
	if o.Rand == nil {
		o.Rand = &stream{seed: 1}
	}
	r, err := createRepository(filepath.Join(t.TempDir(), "repo"), o, noSync)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// source serves a repository's public/metadata from disk; edit changes what is sent.
type source struct {
	dir  string
	edit func(name string, b []byte) ([]byte, error)
	log  []string
	read int
}

func (s *source) Fetch(_ context.Context, name string, max int64) ([]byte, error) {
	s.log = append(s.log, name)
	b, err := os.ReadFile(filepath.Join(s.dir, "metadata", name))
	if errors.Is(err, os.ErrNotExist) {
		err = ErrNotFound
	}
	if s.edit != nil {
		if eb, e := s.edit(name, b); eb != nil || e != nil {
			b, err = eb, e
		}
	}
	s.read += len(b)
	if int64(len(b)) > max {
		b = b[:max+1]
	}
	return b, err
}

func serve(r *Repository) *source { return &source{dir: r.PublicDir()} }

func firstRoot(t testing.TB, r *Repository) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.PublicDir(), "metadata", "1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newTrust(t testing.TB, r *Repository) *Trust {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "trust")
	if err := initTrust(dir, firstRoot(t, r), false, noSync); err != nil {
		t.Fatal(err)
	}
	tr, err := OpenTrust(dir)
	if err != nil {
		t.Fatal(err)
	}
	tr.f = noSync
	return tr
}

func releaseBytes(t testing.TB, version uint64) []byte {
	t.Helper()
	rec := &dbformat.ReleaseRecord{Schema: 1, Stable: dbformat.Release{
		Version: version, Created: dbformat.At(day0), MinEngine: 1, Variants: []dbformat.Variant{dbformat.VariantLight, dbformat.VariantFull},
		Light: dbformat.LayerInfo{Digest: dbformat.Digest{1, byte(version)}, Since: version},
		Rest:  dbformat.LayerInfo{Digest: dbformat.Digest{2, byte(version)}, Since: version},
	}}
	b, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func setBytes(t testing.TB, epoch uint64) []byte {
	t.Helper()
	at := dbformat.At(day0)
	b, err := (&dbformat.RestrictionSet{Schema: 1, Epoch: epoch, Signed: &at, Records: []dbformat.Restriction{}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// publish commits a release and a restriction set of the same number.
func publish(t testing.TB, r *Repository, version uint64, now time.Time) {
	t.Helper()
	change := map[string][]Target{}
	for role, file := range map[string]struct {
		path string
		b    []byte
	}{
		RoleDatabase:     {dbformat.ReleaseTarget, releaseBytes(t, version)},
		RoleRestrictions: {dbformat.RestrictionsTarget, setBytes(t, version)},
	} {
		target, err := r.AddTargetBytes(file.path, file.b)
		if err != nil {
			t.Fatal(err)
		}
		change[role] = []Target{target}
	}
	if err := r.Commit(change, now); err != nil {
		t.Fatal(err)
	}
}

func refresh(t testing.TB, tr *Trust, f Fetcher, now time.Time) *Verified {
	t.Helper()
	v, err := tr.Refresh(t.Context(), f, RefreshOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// refuse demands that a refresh fails as untrusted, for the role and reason.
func refuse(t testing.TB, tr *Trust, f Fetcher, now time.Time, role string, reason Reason) *UntrustedError {
	t.Helper()
	v, err := tr.Refresh(t.Context(), f, RefreshOptions{Now: now})
	return wantUntrusted(t, v, err, role, reason)
}

func wantUntrusted(t testing.TB, v any, err error, role string, reason Reason) *UntrustedError {
	t.Helper()
	e, ok := errors.AsType[*UntrustedError](err)
	if !ok || !errors.Is(err, ErrUntrusted) {
		t.Fatalf("got %v, %v; want an UntrustedError", v, err)
	}
	if e.Role != role || e.Reason != reason {
		t.Fatalf("refused for %q, %q (%v); want %q, %q", e.Role, e.Reason, err, role, reason)
	}
	if errors.Is(err, ErrStale) != (reason == ReasonRollback) {
		t.Fatalf("stale is %t for %v", errors.Is(err, ErrStale), err)
	}
	return e
}

func targetBytes(t testing.TB, r *Repository, v *Verified, path string) []byte {
	t.Helper()
	target, ok := v.Target(path)
	if !ok {
		t.Fatalf("no target %s", path)
	}
	b, err := os.ReadFile(filepath.Join(r.PublicDir(), "targets", filepath.FromSlash(target.Name())))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tree lists the files below a folder with their content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var b []byte
			b, err = os.ReadFile(p)
			m[strings.TrimPrefix(p, dir)] = string(bytes.Clone(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
