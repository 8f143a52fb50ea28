//go:build check && linux

package disk

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// A scenario is a change of a device in an honest world: what the device is before, what it is told to do, and what it may be after.
type scenario struct {
	name     string
	begin    tree // with the state folder below "state", if there is one
	order    order
	old, new fixtures.Installed
	partial  fixtures.Installed // allowed beside them, if not zero: light, where rest could not be had
	floors   map[string]uint64  // before
	after    map[string]uint64  // and once it is done
	full     int64              // bytes of the bundles of the new generation
	window   int                // signatures of each release
	origin   *fixtures.Publisher

	mu    sync.Mutex
	known map[[32]byte]error // what was found in trees that were looked at
}

const usual = 1500 // signatures of a release

// content is what release k is made of: each release takes one signature away and adds one.
func content(k, window int) map[string]string {
	var b strings.Builder
	for i := k - 1; i < k-1+window; i++ {
		fmt.Fprintf(&b, "%x,Test.Sample.%d\n", sample(i), i)
	}
	return map[string]string{"a.hashes": b.String()}
}

func sample(i int) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "sample %d", i)) }

// in tells whether release k detects sample i.
func (sc *scenario) in(k uint64, i int) bool { return i >= int(k)-1 && i < int(k)-1+sc.window }

// The scenarios, by name. Each makes its world anew.
var scenarios = []struct {
	name  string
	build func(w *world)
}{
	{"first install", func(w *world) {
		w.publish(1, w.restrictions(1))
		w.order.Op = opInstall
	}},
	{"delta", func(w *world) {
		w.publish(1)
		w.install(updater.Options{})
		w.publish(2, w.restrictions(1))
	}},
	{"five releases behind", func(w *world) {
		w.publish(1)
		w.install(updater.Options{})
		for k := 2; k <= 6; k++ {
			w.publish(k)
		}
	}},
	{"delta refused then bundle", func(w *world) {
		w.publish(1)
		w.install(updater.Options{})
		w.publish(2)
		w.spoilDeltas()
	}},
	{"light to full", func(w *world) {
		w.publish(1)
		w.install(updater.Options{Variant: "light"})
		w.order.Variant = "full"
	}},
	{"full to light", func(w *world) {
		w.publish(1)
		w.install(updater.Options{})
		w.order.Variant = "light"
	}},
	{"rollback", func(w *world) {
		w.publish(1)
		w.install(updater.Options{})
		w.publish(2)
		w.install(updater.Options{})
		w.order.Op = opRollback
	}},
	{"restriction set forged", func(w *world) {
		w.publish(1, w.restrictions(1))
		w.install(updater.Options{})
		w.forgeSet(99)
		w.publish(2, w.restrictions(2))
	}},
	{"root rotation", func(w *world) {
		w.publish(1)
		w.install(updater.Options{})
		for range 3 {
			w.Advance(time.Second)
			must(w.t, w.Repository().Rotate(signing.RoleRoot, w.Now(), nil))
		}
		w.publish(2)
	}},
}

// A world is a publisher and a device that becomes the beginning of a scenario.
type world struct {
	*fixtures.Publisher
	t      *testing.T
	dir    string // the device's state
	order  order
	device *fixtures.Endpoint
	window int
}

func (w *world) publish(k int, change ...func(*publisher.Options)) {
	w.Publish(content(k, w.window), change...)
}

func (w *world) restrictions(epoch int) func(*publisher.Options) {
	return w.WithRestrictions(fmt.Sprintf(`{"schema":1,"epoch":%d,"records":[{"id":"t-1","action":"disable","priority":100,
		"reason":{"code":"test"},"expires":%q}]}`, epoch, w.Now().Add(10*24*time.Hour).Format(time.RFC3339)))
}

// forgeSet stores a set that nobody signed, as the owner of the state folder can: its checksum is right.
func (w *world) forgeSet(epoch uint64) {
	w.t.Helper()
	at := dbformat.At(w.Now())
	b, err := (&dbformat.RestrictionSet{Schema: 1, Epoch: epoch, Signed: &at, Records: []dbformat.Restriction{}}).Encode()
	must(w.t, err)
	lock, err := w.device.Store.Lock()
	must(w.t, err)
	defer lock.Unlock()
	must(w.t, w.device.Store.ReplaceRestrictions(b, epoch))
}

func (w *world) install(o updater.Options) {
	w.t.Helper()
	if w.device == nil {
		w.device = fixtures.NewEndpoint(w.t, w.dir, w.Root(), w.Now, w.URL())
	}
	if _, err := w.device.Update(o); err != nil {
		w.t.Fatal(err)
	}
}

// spoilDeltas signs files in the place of the deltas that lead nowhere.
func (w *world) spoilDeltas() {
	w.t.Helper()
	r := w.Repository()
	targets, err := r.Targets(signing.RoleDatabase)
	must(w.t, err)
	for i, x := range targets {
		if strings.HasSuffix(x.Path, ".delta") {
			targets[i], err = r.AddTargetBytes(x.Path, []byte("no delta, and signed"))
			must(w.t, err)
		}
	}
	w.Advance(time.Second)
	must(w.t, r.Commit(map[string][]signing.Target{signing.RoleDatabase: targets}, w.Now()))
}

// newScenario builds the world of a scenario and finds out, on an honest disk, where it leads.
func newScenario(t *testing.T, name string, build func(w *world)) *scenario {
	t.Helper()
	return scenarioOf(t, name, usual, build)
}

func scenarioOf(t *testing.T, name string, window int, build func(w *world)) *scenario {
	t.Helper()
	w := &world{window: window, Publisher: fixtures.NewPublisher(t, fixtures.PublisherOptions{}), t: t, dir: filepath.Join(fixtures.MemoryDir(t), "state"), order: order{Op: opUpdate}}
	build(w)
	sc := &scenario{name: name, order: w.order, window: window, origin: w.Publisher, known: map[[32]byte]error{}}
	sc.order.Now, sc.order.Root, sc.order.Sources = w.Now(), w.Root(), []string{w.URL()}
	sc.begin = tree{".": {dir: true, mode: 0o755}}
	if w.device != nil {
		sc.begin = treeOf(t, filepath.Dir(w.dir))
		sc.old = w.installed()
		var err error
		sc.floors, err = floorsOf(w.dir)
		must(t, err)
	}
	o := sc.order
	o.State = w.dir
	if a := o.carryOut(); !a.Done {
		t.Fatalf("%s fails on an honest disk: %s%s", name, a.Error, a.Panic)
	}
	w.device = fixtures.OpenEndpoint(t, w.dir, w.Now)
	sc.new = w.installed()
	var err error
	sc.after, err = floorsOf(w.dir)
	must(t, err)
	if sc.new == sc.old {
		t.Fatalf("%s changes nothing: %s", name, sc.old)
	}
	if sc.old == (fixtures.Installed{}) {
		sc.partial = fixtures.Installed{Version: sc.new.Version, Light: sc.new.Light}
	}
	for _, x := range w.Targets() {
		if strings.HasSuffix(x.Path, ".bundle") {
			sc.full += x.Length
		}
	}
	return sc
}

func (w *world) installed() fixtures.Installed {
	w.t.Helper()
	i, err := w.device.Installed()
	must(w.t, err)
	return i
}

// treeOf reads a folder.
func treeOf(t testing.TB, root string) tree {
	t.Helper()
	out := tree{}
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		f := file{dir: d.IsDir(), mode: uint32(i.Mode().Perm())}
		if !f.dir {
			if f.content, err = os.ReadFile(p); err != nil {
				return err
			}
		}
		out[filepath.ToSlash(rel)] = f
		return nil
	}))
	return out
}

// writeTo makes a folder of a tree.
func (t tree) writeTo(root string) error {
	var names []string
	for p := range t {
		names = append(names, p)
	}
	slices.Sort(names)
	for _, p := range names {
		f, at := t[p], filepath.Join(root, filepath.FromSlash(p))
		var err error
		switch {
		case p == ".":
			continue
		case f.dir:
			err = os.Mkdir(at, os.FileMode(f.mode&0o777))
		default:
			err = os.WriteFile(at, f.content, os.FileMode(f.mode&0o777))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stateIn is the state folder of a tree that was written to root.
func stateIn(root string) string { return path.Join(root, "state") }

func variantOf(i fixtures.Installed) dbformat.Variant {
	if i.Rest == (dbformat.Digest{}) {
		return dbformat.VariantLight
	}
	return dbformat.VariantFull
}
