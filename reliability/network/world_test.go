//go:build check && linux

package network

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/updater"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	flag.Parse()
	log.SetOutput(io.Discard) // net/http writes there what it thinks of such mirrors
	// Cells wait more than they work. Who says -parallel is on a slow machine, or looks for races.
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		flag.Set("test.parallel", "16")
	}
	// In memory a sync costs nothing, and hundreds of devices sync often.
	const memory = "/dev/shm"
	if st, err := os.Stat(memory); err == nil && st.IsDir() && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", memory)
	}
	home, err := os.MkdirTemp("", "avdb-network")
	if err != nil {
		panic(err)
	}
	stop := startNames()
	trustOwnAuthority(home)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		stop()
		os.RemoveAll(home)
		os.Exit(code)
	}), goleak.IgnoreCurrent())
}

// A world is what mirrors can serve, and a device that cells begin with a copy of.
type world struct {
	now  time.Time
	root []byte

	stale, installed, newer, other *fixtures.Tree // releases 1 to 4 as they were published

	blank, state             saved // of a device that was set up, and of one on release 2
	oldGen, newGen, otherGen fixtures.Installed
	versions                 map[string]uint64 // of the metadata of release 3
	bundles                  []string          // paths that lead to release 3, light before rest
	counterparts             map[string]string // paths of release 4 by those of release 3
}

var theWorld struct {
	once sync.Once
	*world
}

// begin gives a test the world, made by the first that asks.
func begin(t *testing.T) *world {
	t.Helper()
	theWorld.once.Do(func() { theWorld.world = newWorld(t, bundleRows) })
	if theWorld.world == nil {
		t.Fatal("the world could not be made, see the test that tried first")
	}
	return theWorld.world
}

// bundleRows makes bundles large enough for 64 KiB to be less than twice their length.
const bundleRows = 6000

func newWorld(t *testing.T, rows int) *world {
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{Start: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)})
	w := new(world)
	publish := func(series string) *fixtures.Tree {
		p.Publish(fixtures.Samples(series, rows)) // nothing in common with the one before: a bundle is the only way
		return p.Snapshot()
	}
	w.stale = publish("Stale")
	w.installed = publish("Installed")
	dir := filepath.Join(t.TempDir(), "state")
	device := fixtures.NewEndpoint(t, dir, p.Root(), p.Now, p.URL())
	w.blank = save(t, dir)
	install := func() fixtures.Installed {
		t.Helper()
		if r, err := device.Update(updater.Options{}); err != nil {
			t.Fatalf("an honest mirror: %v (%+v)", err, r)
		}
		i, err := device.Installed()
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	w.oldGen = install()
	w.state = save(t, dir)
	w.newer = publish("Newer")
	w.newGen = install()
	bundlesOf := func(i fixtures.Installed) []string {
		return []string{"targets/" + p.Target(dbformat.BundleTarget(dbformat.Light, i.Light)).Name(),
			"targets/" + p.Target(dbformat.BundleTarget(dbformat.Rest, i.Rest)).Name()}
	}
	w.bundles = bundlesOf(w.newGen)
	w.versions = floors(t, device)
	w.other = publish("Other")
	w.otherGen = install()
	there := bundlesOf(w.otherGen)
	w.counterparts = map[string]string{w.bundles[0]: there[0], w.bundles[1]: there[1],
		w.pathOf(database): fmt.Sprintf("metadata/%d.database.json", floors(t, device)["database"])}
	w.now, w.root = p.Now(), p.Root()
	return w
}

func floors(t *testing.T, d *fixtures.Endpoint) map[string]uint64 {
	t.Helper()
	f, err := d.Floors()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A saved folder outlives the test that made it.
type saved map[string]savedFile

type savedFile struct {
	mode    fs.FileMode
	content []byte
}

func save(t *testing.T, dir string) saved {
	t.Helper()
	s := saved{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f := savedFile{mode: i.Mode()}
		if !d.IsDir() {
			f.content, err = os.ReadFile(name)
		}
		s[rel] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s saved) writeTo(t *testing.T, dir string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s)) {
		f, to := s[name], filepath.Join(dir, name)
		var err error
		if f.mode.IsDir() {
			err = os.Mkdir(to, f.mode.Perm())
		} else {
			err = os.WriteFile(to, f.content, f.mode.Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// device is a copy of the device on release 2, alone in a folder of the test.
func (w *world) device(t *testing.T) *fixtures.Endpoint {
	t.Helper()
	return w.deviceFrom(t, w.state)
}

// blankDevice has no generation yet.
func (w *world) blankDevice(t *testing.T) *fixtures.Endpoint {
	t.Helper()
	return w.deviceFrom(t, w.blank)
}

func (w *world) deviceFrom(t *testing.T, s saved) *fixtures.Endpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	s.writeTo(t, dir)
	return fixtures.OpenEndpoint(t, dir, func() time.Time { return w.now })
}

// pathOf is where an honest mirror has the file that leads a device from release 2 to 3.
func (w *world) pathOf(kind string) string {
	switch kind {
	case timestamp:
		return "metadata/timestamp.json"
	case database:
		return fmt.Sprintf("metadata/%d.database.json", w.versions["database"])
	}
	if kind == light {
		return w.bundles[0]
	}
	return w.bundles[1]
}
