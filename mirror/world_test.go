package mirror_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/mirror"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A world is a publisher, a web server over what it published, and a mirror.
type world struct {
	t    *testing.T
	repo string
	src  string
	dir  string // the mirror
	now  time.Time
	disk signing.Disk
	*httptest.Server

	mu  sync.Mutex
	log []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	home := t.TempDir()
	w := &world{t: t, repo: filepath.Join(home, "repo"), src: filepath.Join(home, "src"), dir: filepath.Join(home, "mirror"), now: noon}
	must(t, os.Mkdir(w.src, 0o700))
	_, err := signing.CreateRepository(w.repo, signing.RepositoryOptions{Now: w.now})
	must(t, err)
	files := http.FileServer(http.Dir(filepath.Join(w.repo, "public")))
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.log = append(w.log, r.URL.Path)
		w.mu.Unlock()
		files.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

// asked are the paths that were asked for since the last call.
func (w *world) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.log
	w.log = nil
	return l
}

func (w *world) root() []byte {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.repo, "public/metadata/1.root.json"))
	must(w.t, err)
	return b
}

// publish makes n signatures the content of a new release, an hour after the last one.
func (w *world) publish(n int) {
	w.t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%x,Test.Sample.%d\n", sha256.Sum256(fmt.Appendf(nil, "sample %d", i)), i)
	}
	must(w.t, os.WriteFile(filepath.Join(w.src, "a.hashes"), []byte(b.String()), 0o600))
	w.now = w.now.Add(time.Hour)
	_, err := publisher.Publish(w.t.Context(), publisher.Options{Dir: w.repo, Sources: []string{w.src}, Now: w.now})
	must(w.t, err)
}

func fileURL(dir string) string {
	s := filepath.ToSlash(dir)
	if !strings.HasPrefix(s, "/") {
		s = "/" + s
	}
	return "file://" + s
}

func (w *world) config() mirror.Config {
	return mirror.Config{Dir: w.dir, Source: updater.Source{URL: w.URL}, Root: w.root(), Now: func() time.Time { return w.now }, Disk: w.disk}
}

func (w *world) sync(change ...func(*mirror.Config)) (mirror.Report, error) {
	w.t.Helper()
	w.asked()
	c := w.config()
	for _, f := range change {
		f(&c)
	}
	return mirror.Sync(w.t.Context(), c)
}

func (w *world) mustSync(change ...func(*mirror.Config)) mirror.Report {
	w.t.Helper()
	r, err := w.sync(change...)
	if err != nil {
		w.t.Fatalf("sync: %v (%+v)", err, r)
	}
	return r
}

// read is a client of a mirror's folder: it refreshes a trust and reads every target of the state that it sees; 0 for a mirror that shows nothing.
func (w *world) read(dir string, layers ...string) (version uint64, err error) {
	w.t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "metadata/timestamp.json")); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	home := w.t.TempDir()
	must(w.t, signing.InitTrust(filepath.Join(home, "trust"), w.root(), false))
	trust, err := signing.OpenTrust(filepath.Join(home, "trust"))
	must(w.t, err)
	r, err := updater.OpenRemote(updater.Source{URL: fileURL(dir)}, updater.RemoteConfig{})
	must(w.t, err)
	defer r.Close()
	v, err := r.Refresh(w.t.Context(), trust, signing.RefreshOptions{Now: w.now})
	if err != nil {
		return 0, err
	}
	for _, role := range []string{signing.RoleTargets, signing.RoleDatabase, signing.RoleRestrictions} {
		for _, target := range v.Targets(role) {
			first, _, below := strings.Cut(target.Path, "/")
			if below && len(layers) > 0 && first != "restrictions" && !slices.Contains(layers, first) {
				continue
			}
			f, done, err := r.Open(w.t.Context(), target, nil)
			if err != nil {
				return 0, err
			}
			if target.Path == dbformat.ReleaseTarget {
				b := make([]byte, target.Length)
				_, err := f.Read(b)
				must(w.t, err)
				rel, err := v.Release(b)
				must(w.t, err)
				record := rel.Record()
				version = record.Version()
			}
			done(true)
		}
	}
	return version, nil
}

func (w *world) mustRead(dir string, want uint64, layers ...string) {
	w.t.Helper()
	if got, err := w.read(dir, layers...); err != nil || got != want {
		w.t.Errorf("a client of the mirror sees release %d, %v; want %d", got, err, want)
	}
}

// files are the names below a mirror's served folders with their content.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	m := map[string][]byte{}
	for _, sub := range []string{"metadata", "targets"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && !d.IsDir() {
				rel, e := filepath.Rel(dir, name)
				must(t, e)
				m[filepath.ToSlash(rel)], err = os.ReadFile(name)
			}
			return err
		})
		must(t, err)
	}
	return m
}

func same(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// endpoint is a device that updates from a mirror's folder.
func (w *world) endpoint(sources ...string) *fixtures.Endpoint {
	w.t.Helper()
	return fixtures.NewEndpoint(w.t, filepath.Join(w.t.TempDir(), "state"), w.root(), func() time.Time { return w.now }, sources...)
}
