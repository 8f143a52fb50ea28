package mirror_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/mirror"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// A mirror is what the publisher published, without news it costs two requests and writes nothing that is served, and devices update from it.
func TestSyncServesWhatWasPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(300)
	r := w.mustSync()
	if r.Result != mirror.ResultUpdated || r.From != 0 || r.Version != 1 || r.Targets < 3 || r.Requests == 0 {
		t.Errorf("the first sync reports %+v", r)
	}
	w.mustRead(w.dir, 1)
	served := files(t, w.dir)
	r = w.mustSync(func(c *mirror.Config) { c.Root = nil })
	if asked := w.asked(); r.Result != mirror.ResultCurrent || len(asked) != 2 || r.Requests != 2 || !same(served, files(t, w.dir)) {
		t.Errorf("without news: %+v; asked for %v", r, asked)
	}
	w.publish(400)
	r = w.mustSync()
	if r.Result != mirror.ResultUpdated || r.From != 1 || r.Version != 2 {
		t.Errorf("the second sync reports %+v", r)
	}
	published := files(t, filepath.Join(w.repo, "public"))
	for name, b := range files(t, w.dir) {
		if got := published[name]; string(got) != string(b) {
			t.Errorf("%s has %d bytes here and %d at the publisher", name, len(b), len(got))
		}
	}
	e := w.endpoint(fileURL(w.dir))
	if r, err := e.Update(updater.Options{}); err != nil || r.To != 2 {
		t.Errorf("a device that updates from the mirror: %+v, %v", r, err)
	}
}

// A mirror is a source like any other one: over HTTP and as a folder.
func TestSyncFromAMirror(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(300)
	w.mustSync()
	web := httptest.NewServer(http.FileServer(http.Dir(w.dir)))
	t.Cleanup(web.Close)
	for i, url := range []string{fileURL(filepath.Join(w.repo, "public")), fileURL(w.dir), web.URL} {
		dir := filepath.Join(t.TempDir(), "second")
		w.mustSync(func(c *mirror.Config) { c.Dir, c.Source.URL = dir, url })
		w.mustRead(dir, 1)
		if !same(files(t, dir), files(t, w.dir)) {
			t.Errorf("source %d: the second mirror differs from the first", i)
		}
	}
}

// Whatever happened to a file of a mirror, the next sync puts it right, and fetches nothing else.
func TestSyncRepairs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(300)
	w.mustSync()
	served := files(t, w.dir)
	var bundle, snapshot string
	for name := range served {
		switch {
		case strings.HasSuffix(name, ".bundle"):
			bundle = filepath.Join(w.dir, name)
		case strings.HasSuffix(name, ".snapshot.json"):
			snapshot = filepath.Join(w.dir, name)
		}
	}
	write := func(name string, b []byte) func() error {
		return func() error { return os.WriteFile(name, b, 0o644) }
	}
	flipped := slices.Clone(served[mustRel(t, w.dir, bundle)])
	flipped[9] ^= 1
	for what, damage := range map[string]func() error{
		"a flipped byte":       write(bundle, flipped),
		"a short file":         write(bundle, flipped[:5]),
		"a missing file":       func() error { return os.Remove(bundle) },
		"a link":               func() error { return errors.Join(os.Remove(bundle), os.Symlink(snapshot, bundle)) },
		"a snapshot":           write(snapshot, []byte("{}")),
		"no timestamp":         func() error { return os.Remove(filepath.Join(w.dir, "metadata/timestamp.json")) },
		"another timestamp":    write(filepath.Join(w.dir, "metadata/timestamp.json"), []byte("{}")),
		"no root":              func() error { return os.Remove(filepath.Join(w.dir, "metadata/1.root.json")) },
		"no targets":           func() error { return os.RemoveAll(filepath.Join(w.dir, "targets")) },
		"no state":             func() error { return os.Remove(filepath.Join(w.dir, ".mirror/state.json")) },
		"a damaged state":      write(filepath.Join(w.dir, ".mirror/state.json"), []byte("{")),
		"a hostile state":      write(filepath.Join(w.dir, ".mirror/state.json"), []byte(`{"schema":1,"states":[{},{"files":["targets/../../x"]}]}`)),
		"leftovers of a crash": write(filepath.Join(w.dir, ".mirror/tmp/new-1"), []byte("x")),
	} {
		must(t, damage())
		w.mustSync()
		if len(w.asked()) > 2+8 {
			t.Errorf("%s: everything was fetched again", what)
		}
		if !same(served, files(t, w.dir)) {
			t.Errorf("%s: the mirror is not what it was", what)
		}
		if left, err := os.ReadDir(filepath.Join(w.dir, ".mirror/tmp")); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left, %v", what, left, err)
		}
		w.mustRead(w.dir, 1)
	}
}

func mustRel(t *testing.T, dir, name string) string {
	t.Helper()
	rel, err := filepath.Rel(dir, name)
	must(t, err)
	return filepath.ToSlash(rel)
}

// The files of the last releases stay, older ones go, and what this program did not put there is not touched.
func TestSyncKeepsTheLastReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keep2 := func(c *mirror.Config) { c.Keep = 2 }
	var after []map[string][]byte
	for i := range 4 {
		w.publish(300 + 100*i)
		w.mustSync(keep2)
		after = append(after, files(t, w.dir))
		if i == 0 {
			must(t, os.WriteFile(filepath.Join(w.dir, "targets/robots.txt"), []byte("x"), 0o644))
		}
	}
	last := after[3]
	if _, ok := last["targets/robots.txt"]; !ok {
		t.Error("a file of somebody else was removed")
	}
	if _, ok := last["metadata/2.snapshot.json"]; ok {
		t.Error("the snapshot of release 1 is still there")
	}
	for name, b := range after[2] {
		if _, old := after[1][name]; !old && name != "metadata/timestamp.json" && string(last[name]) != string(b) {
			t.Errorf("%s, which release 3 names, is gone", name)
		}
	}
	w.mustRead(w.dir, 4)
	if r := w.mustSync(keep2); r.Removed != 0 || r.Result != mirror.ResultCurrent {
		t.Errorf("without news: %+v", r)
	}
}

// A mirror of one layer has the files of that layer and all that belongs to none; devices get the variant that is there.
func TestSyncOfOneLayer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(300)
	w.mustSync(func(c *mirror.Config) { c.Layers = []dbformat.Layer{dbformat.Light} })
	for name := range files(t, w.dir) {
		if strings.HasPrefix(name, "targets/rest/") {
			t.Errorf("%s was fetched", name)
		}
	}
	w.mustRead(w.dir, 1, "light")
	e := w.endpoint(fileURL(w.dir))
	if r, err := e.Update(updater.Options{Variant: "light"}); err != nil || r.To != 1 {
		t.Errorf("a device that wants light: %+v, %v", r, err)
	}
	if _, err := e.Update(updater.Options{Variant: "full"}); !errors.Is(err, updater.ErrUnavailable) {
		t.Errorf("a device that wants full: %v, want ErrUnavailable", err)
	}
	w.mustSync()
	w.mustRead(w.dir, 1)
}

// What is not what was signed, or older than what was seen, changes nothing that is served.
func TestSyncRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(300)
	old := filepath.Join(t.TempDir(), "old")
	must(t, os.CopyFS(old, os.DirFS(filepath.Join(w.repo, "public"))))
	w.publish(400)
	w.mustSync()
	served := files(t, w.dir)
	refused := func(what string, want error, change ...func(*mirror.Config)) {
		t.Helper()
		if _, err := w.sync(change...); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if !same(served, files(t, w.dir)) {
			t.Errorf("%s: the mirror has changed", what)
		}
	}
	refused("an older state", signing.ErrStale, func(c *mirror.Config) { c.Source.URL = fileURL(old) })
	refused("a later clock", signing.ErrUntrusted, func(c *mirror.Config) { c.Now = func() time.Time { return w.now.Add(1000 * time.Hour) } })
	refused("no source", updater.ErrUnavailable, func(c *mirror.Config) { c.Source.URL = fileURL(filepath.Join(old, "none")) })
	other := newWorld(t)
	other.publish(10)
	refused("another root", signing.ErrOtherRoot, func(c *mirror.Config) { c.Root = other.root() })
	refused("another repository", signing.ErrUntrusted, func(c *mirror.Config) { c.Source.URL = other.URL })

	w.publish(500)
	bundles, err := filepath.Glob(filepath.Join(w.repo, "public/targets/rest/*.bundle"))
	must(t, err)
	for _, name := range bundles {
		b, err := os.ReadFile(name)
		must(t, err)
		b[len(b)/2] ^= 1
		must(t, os.WriteFile(name, b, 0o644))
	}
	if _, err := w.sync(); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("a flipped byte at the source: %v, want ErrUntrusted", err)
	}
	w.mustRead(w.dir, 2)

	fresh := filepath.Join(t.TempDir(), "fresh")
	if _, err := w.sync(func(c *mirror.Config) { c.Dir, c.Root = fresh, nil }); !errors.Is(err, signing.ErrNoTrust) {
		t.Errorf("without a root: %v, want ErrNoTrust", err)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("without a root a folder was made")
	}
}

// Two runs do not work on one mirror.
func TestSyncIsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(300)
	w.mustSync()
	w.disk = diskFunc(func(c signing.DiskCall, change func() error) error {
		if c.Op == "create" && filepath.Base(c.Path) == "timestamp.json" {
			w.disk = nil
			if _, err := w.sync(); !errors.Is(err, store.ErrLocked) {
				t.Errorf("a second run: %v, want ErrLocked", err)
			}
		}
		return change()
	})
	w.publish(301)
	w.mustSync()
	w.mustRead(w.dir, 2)
}

type diskFunc func(c signing.DiskCall, change func() error) error

func (f diskFunc) Do(c signing.DiskCall, change func() error) error { return f(c, change) }
