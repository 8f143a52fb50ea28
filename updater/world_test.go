package updater_test

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

	"go.uber.org/goleak"

	"example.org/avdb/dbformat"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		for _, s := range []*stage{&installed, &attackedStage} {
			if s.world != nil {
				os.RemoveAll(s.world.home)
			}
		}
		os.Exit(code)
	}))
}

// A world is a publisher, a mirror that can be hostile, and an endpoint.
type world struct {
	t    *testing.T
	home string // everything below is in it
	repo string
	src  string
	now  time.Time
	*site
	store *store.Store
}

// A site serves a public folder and lets a test interfere.
type site struct {
	*httptest.Server
	mu  sync.Mutex
	log []string

	// interfere is asked first; it answers itself if it returns true. Nil for an honest mirror.
	interfere func(w http.ResponseWriter, r *http.Request) bool
}

func newSite(t *testing.T, dir string) *site {
	s := new(site)
	files := http.FileServer(http.Dir(dir))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.log = append(s.log, r.URL.Path)
		f := s.interfere
		s.mu.Unlock()
		if f == nil || !f(w, r) {
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// asked are the paths that were asked for since the last call.
func (s *site) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.log
	s.log = nil
	return l
}

func (s *site) hostile(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interfere = f
}

// kindOfPath is what a path of a repository carries: "timestamp", "light.bundle", "rest.delta", "release", …
func kindOfPath(p string) string {
	base := p[strings.LastIndex(p, "/")+1:]
	switch {
	case strings.HasPrefix(p, "/metadata/"):
		parts := strings.Split(base, ".")
		return parts[len(parts)-2]
	case strings.HasSuffix(base, ".release.json"):
		return "release"
	case strings.HasSuffix(base, ".set.json"):
		return "set"
	}
	return strings.Split(p, "/")[2] + base[strings.LastIndex(base, "."):]
}

// only interferes with the files of the kinds given.
func only(f http.HandlerFunc, kinds ...string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !slices.Contains(kinds, kindOfPath(r.URL.Path)) {
			return false
		}
		f(w, r)
		return true
	}
}

func (w *world) file(urlPath string) []byte {
	b, err := os.ReadFile(filepath.Join(w.repo, "public", filepath.FromSlash(urlPath)))
	if err != nil {
		return nil
	}
	return b
}

// altered serves a file after f has changed it.
func (w *world) altered(f func([]byte) []byte) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		b := w.file(r.URL.Path)
		if b == nil {
			http.NotFound(rw, r)
			return
		}
		http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(f(bytes.Clone(b))))
	}
}

func flip(b []byte) []byte { b[len(b)/2] ^= 1; return b }

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWorld publishes nothing yet; the endpoint trusts the repository and knows the mirror.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return anotherWorld(t)
}

// anotherWorld is newWorld for tests that have one already.
func anotherWorld(t *testing.T) *world {
	t.Helper()
	return worldIn(t, t.TempDir())
}

func worldIn(t *testing.T, home string) *world {
	t.Helper()
	w := &world{t: t, home: home, repo: filepath.Join(home, "repo"), src: filepath.Join(home, "src"), now: noon}
	must(t, os.Mkdir(w.src, 0o700))
	_, err := signing.CreateRepository(w.repo, signing.RepositoryOptions{Now: w.now})
	must(t, err)
	w.site = newSite(t, filepath.Join(w.repo, "public"))
	w.store = w.endpointIn(filepath.Join(home, "state"), w.URL)
	return w
}

// A stage is a world that many tests begin in. It is made once, and each test has a copy: signing and installing anew
// for each would be most of what the tests cost.
type stage struct {
	once  sync.Once
	world *world
	build func(w *world)
}

// begin gives a test its copy of the stage.
func (s *stage) begin(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	s.once.Do(func() {
		home, err := os.MkdirTemp("", "avdb-updater")
		must(t, err)
		w := worldIn(t, home)
		s.build(w)
		s.world = w
	})
	if s.world == nil {
		t.Fatal("the world that this test begins in could not be made, see the test that tried first")
	}
	home := t.TempDir()
	must(t, os.CopyFS(home, os.DirFS(s.world.home)))
	w := &world{t: t, home: home, repo: filepath.Join(home, "repo"), src: filepath.Join(home, "src"), now: s.world.now}
	w.site = newSite(t, filepath.Join(w.repo, "public"))
	var err error
	w.store, err = store.Open(filepath.Join(home, "state"), store.Options{Now: func() time.Time { return w.now }})
	must(t, err)
	w.store = reopen(t, w, w.URL)
	return w
}

// installed is an endpoint on release 1 of 400 signatures.
var installed = stage{build: func(w *world) {
	w.publish(signatures(0, 400))
	w.mustUpdate(updater.Options{})
}}

// endpoint makes a state folder with the sources given.
func (w *world) endpoint(sources ...string) *store.Store {
	w.t.Helper()
	return w.endpointIn(filepath.Join(w.t.TempDir(), "state"), sources...)
}

func (w *world) endpointIn(dir string, sources ...string) *store.Store {
	w.t.Helper()
	s, err := store.Create(dir, store.Options{Now: func() time.Time { return w.now }})
	must(w.t, err)
	must(w.t, signing.InitTrust(s.TrustDir(), w.file("metadata/1.root.json"), false))
	must(w.t, s.UpdateSettings(func(v *store.Settings) error {
		for _, u := range sources {
			v.Sources = append(v.Sources, store.SettingsSource{URL: u})
		}
		return nil
	}))
	return s
}

// signatures are n hash signatures; the same i always gives the same one.
func signatures(from, n int) []string {
	var lines []string
	for i := from; i < from+n; i++ {
		h := sha256.Sum256(fmt.Appendf(nil, "sample %d", i))
		lines = append(lines, fmt.Sprintf("%x,Test.Sample.%d", h, i))
	}
	return lines
}

// publish makes lines the content of a new release, an hour after the last one.
func (w *world) publish(lines []string, change ...func(*publisher.Options)) *publisher.Report {
	w.t.Helper()
	must(w.t, os.WriteFile(filepath.Join(w.src, "a.hashes"), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	w.now = w.now.Add(time.Hour)
	o := publisher.Options{Dir: w.repo, Sources: []string{w.src}, Now: w.now}
	for _, f := range change {
		f(&o)
	}
	r, err := publisher.Publish(w.t.Context(), o)
	must(w.t, err)
	return r
}

// quick are limits under which no retry waits long. Those on a source's slowness are ample, so that a busy machine is none;
// [hasty] is for sources that are to be found slow.
func quick() updater.Limits {
	return updater.Limits{Header: 20 * time.Second, Idle: 20 * time.Second, IdleBytes: 2000,
		RetryWait: time.Millisecond, RetryWaitMax: 5 * time.Millisecond, RetryAfter: 50 * time.Millisecond}
}

func hasty(c *updater.Config) { c.Limits.Header, c.Limits.Idle = time.Second, time.Second }

func (w *world) updater(change ...func(*updater.Config)) *updater.Updater {
	w.t.Helper()
	c := updater.Config{Store: w.store, Now: func() time.Time { return w.now }, Random: func() float64 { return 0.5 }, Limits: quick()}
	for _, f := range change {
		f(&c)
	}
	u, err := updater.New(c)
	must(w.t, err)
	return u
}

func (w *world) update(o updater.Options, change ...func(*updater.Config)) (updater.Report, error) {
	w.t.Helper()
	w.asked()
	return w.updater(change...).Update(w.t.Context(), o)
}

// mustUpdate updates without an error.
func (w *world) mustUpdate(o updater.Options, change ...func(*updater.Config)) updater.Report {
	w.t.Helper()
	r, err := w.update(o, change...)
	if err != nil {
		w.t.Fatalf("update: %v (%+v)", err, r)
	}
	return r
}

// installed is "7 full", and proves every block of the current generation.
func (w *world) installed() string {
	w.t.Helper()
	c, light, rest, err := w.store.OpenCurrent()
	if errors.Is(err, store.ErrNoDatabase) {
		return "none"
	}
	must(w.t, err)
	defer light.Close()
	must(w.t, light.Verify(nil))
	if rest != nil {
		defer rest.Close()
		must(w.t, rest.Verify(nil))
		must(w.t, dbformat.CheckPair(light.Header(), rest.Header()))
	}
	return fmt.Sprintf("%d %s", c.Version, c.Variant())
}

func (w *world) mustBe(want string) {
	w.t.Helper()
	if got := w.installed(); got != want {
		w.t.Errorf("installed is %q, want %q", got, want)
	}
}

// leftovers are files in the state folder that no finished update leaves.
func (w *world) leftovers() []string {
	var list []string
	c, err := w.store.Current()
	keep := map[string]bool{}
	if err == nil {
		for _, g := range append([]store.Generation{c.Generation}, c.Others...) {
			keep[g.Light.Digest.String()] = true
			if g.Rest != nil {
				keep[g.Rest.Digest.String()] = true
			}
		}
	}
	filepath.WalkDir(w.store.Dir(), func(p string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case d.IsDir():
		case strings.HasSuffix(name, ".tmp"), strings.HasSuffix(name, ".unverified"), strings.Contains(p, "trust"+string(filepath.Separator)+"tmp"):
			list = append(list, p)
		case filepath.Base(filepath.Dir(p)) == "layers" && !keep[strings.TrimSuffix(name, ".db")]:
			list = append(list, p)
		}
		return nil
	})
	return list
}

// show is the steps of a report: "light delta, rest bundle".
func show(r updater.Report) string {
	var list []string
	for _, s := range r.Steps {
		list = append(list, s.Layer+" "+string(s.How))
	}
	return strings.Join(list, ", ")
}

func hasNote(r updater.Report, code string) bool {
	return slices.ContainsFunc(r.Notes, func(n string) bool { return n == code || strings.HasPrefix(n, code+":") })
}

// kinds are all that an error can be told by; a test demands exactly one of them.
func isOnly(err, want error) bool {
	for _, k := range []error{signing.ErrUntrusted, dbformat.ErrVersion, store.ErrStorage, updater.ErrCoolDown, updater.ErrUnavailable, store.ErrLocked} {
		if errors.Is(err, k) != (k == want) {
			return false
		}
	}
	return err != nil
}
