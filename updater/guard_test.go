package updater_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// many are lines of an .hsb file, [from, to).
func many(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%x:%d:Test.%d\n", sha256.Sum256(fmt.Appendf(nil, "%d", i)), 1+i%9, i)
	}
	return b.String()
}

func content(from, to int) map[string]string { return map[string]string{"a.hsb": many(from, to)} }

// A heist is a repository whose database key is stolen: its publisher signs what it likes, and nothing approves it.
type heist struct {
	t *testing.T
	*fixtures.Publisher
	thief func(*publisher.Options)
}

func newHeist(t *testing.T) *heist {
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	return &heist{t, p, p.WithPolicy("guards: {removed_percent: 100, allow_added: 1000000}")}
}

func (h *heist) device(variant string) *fixtures.Endpoint {
	e := fixtures.NewEndpoint(h.t, filepath.Join(h.t.TempDir(), "device"), h.Root(), nil, h.URL())
	h.accepts(e, variant)
	return e
}

func (h *heist) accepts(e *fixtures.Endpoint, variant string) updater.Report {
	h.t.Helper()
	r, err := e.Update(updater.Options{Variant: variant})
	if err != nil || r.Result != updater.ResultUpdated {
		h.t.Fatalf("update: %+v, %v", r, err)
	}
	return r
}

// refuses demands that a release is refused by a guard and leaves nothing behind, and gives the paths of layers that were asked for.
func (h *heist) refuses(e *fixtures.Endpoint, variant string) (*updater.GuardError, []string) {
	h.t.Helper()
	before, err := e.Installed()
	must(h.t, err)
	h.ForgetRequests()
	_, err = e.Update(updater.Options{Variant: variant})
	g, ok := errors.AsType[*updater.GuardError](err)
	if !ok || !errors.Is(err, signing.ErrUntrusted) || len(g.Broken) == 0 && !g.Unproved {
		h.t.Fatalf("error %v, want one of a guard, untrusted", err)
	}
	if !strings.Contains(err.Error(), "once their offline keys approve the release") {
		h.t.Errorf("error %q names no remedy", err)
	}
	if after, err := e.Installed(); err != nil || after != before {
		h.t.Errorf("installed %v, %v; want %v still", after, err, before)
	}
	if left, err := e.Leftovers(); err != nil || len(left) > 0 {
		h.t.Errorf("left over: %v, %v", left, err)
	}
	return g, h.LayerRequests()
}

func (h *heist) approve(version uint64) {
	h.t.Helper()
	h.Advance(1e9)
	must(h.t, h.Repository().Approve(version, h.Now()))
}

// Guard: guard, after the layers are proved. Whoever has the database key takes no database away; who has the offline keys may.
func TestStolenDatabaseKeyTakesNoDatabaseAway(t *testing.T) {
	for _, variant := range []string{"full", "light"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			h := newHeist(t)
			h.Publish(content(0, 12000))
			e := h.device(variant)
			h.Publish(content(0, 8000), h.thief, h.WithRestrictions(`{"schema":1,"epoch":1,"records":[]}`))
			g, asked := h.refuses(e, variant)
			b := g.Broken[0]
			if g.Version != 2 || g.Installed != 1 || b.Guard != dbformat.GuardRemoved || b.Layer != dbformat.Light || b.Changed != 4000 || b.Records != 12001 || len(asked) == 0 {
				t.Errorf("%+v; asked for %v", g, asked)
			}
			if len(g.Broken) != map[string]int{"light": 1, "full": 2}[variant] {
				t.Errorf("%d guards, want one a layer: %+v", len(g.Broken), g.Broken)
			}
			if _, ok, err := e.Store.Restrictions(); !ok || err != nil {
				t.Errorf("the restriction set came with it and is not stored: %v", err)
			}
			for range 2 {
				if _, asked := h.refuses(e, variant); len(asked) > 0 {
					t.Errorf("what was refused is fetched again: %v", asked)
				}
			}
			if _, err := e.Update(updater.Options{Variant: variant, Check: true}); !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("a check says %v", err)
			}
			h.approve(2)
			if r := h.accepts(e, variant); r.To != 2 {
				t.Errorf("approved: %+v", r)
			}
			if left, err := e.Leftovers(); err != nil || len(left) > 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
		})
	}
}

// The guard counts what is there in the end, whichever way it came: by bundle, and by reuse of what is on disk.
func TestGuardWhicheverWayALayerCame(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 12000))
	e := h.device("full")
	h.Publish(content(0, 8000), h.thief)
	h.Tamper("/targets/*/*.delta", fixtures.NotFound())
	if _, asked := h.refuses(e, "full"); !slices.ContainsFunc(asked, func(p string) bool { return strings.HasSuffix(p, ".bundle") }) {
		t.Errorf("no bundle among %v", asked)
	}
	h.Heal()
	h.approve(2)
	h.accepts(e, "full")
	h.Publish(content(0, 12000))
	h.accepts(e, "full")
	// An older content under a new version, as a retract brings it: its layers are here. It needs approval, since it is what a thief
	// would do; a device steps back on its own without.
	h.Publish(content(0, 8000), h.thief)
	if _, asked := h.refuses(e, "full"); len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
	lock, err := e.Store.Lock()
	must(t, err)
	_, err = e.Store.Rollback(false)
	lock.Unlock()
	if err != nil {
		t.Errorf("a rollback: %v", err)
	}
}

// Guards hold for steps between contents: neither the first install nor another variant of the same release is one.
func TestGuardIsNoObstacle(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 12000))
	e := h.device("full")
	h.accepts(e, "light")
	h.accepts(e, "full")
	h.Publish(content(3000, 13000)) // a quarter
	h.accepts(e, "full")
	h.Publish(content(0, 200), h.thief)
	h.device("light") // the first install of what others refuse
	h.refuses(e, "full")
	small := newHeist(t)
	small.Publish(content(0, 9000))
	e = small.device("full")
	small.Publish(content(0, 1), small.thief)
	small.accepts(e, "full")
}

// Guard: the one on allow records. They take protection away one by one.
func TestStolenDatabaseKeyAllowsLittle(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 12000))
	e := h.device("light")
	files := content(0, 12000)
	files["b.sfp"] = many(0, 999) // and one of the self-test
	h.Publish(files)
	h.accepts(e, "light")
	files["b.sfp"] = many(0, 2000)
	h.Publish(files, h.thief)
	if g, _ := h.refuses(e, "light"); g.Broken[0].Guard != dbformat.GuardAllow || g.Broken[0].Changed != 1001 {
		t.Errorf("%+v", g)
	}
}

// Damage on disk is healed by the next release as before; that there are far fewer records is seen nevertheless.
func TestGuardWithDamagedLayers(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 12000))
	hurt := func() *fixtures.Endpoint {
		e := h.device("full")
		c, err := e.Store.Current()
		must(t, err)
		for _, d := range []dbformat.Digest{c.Light.Digest, c.Rest.Digest} {
			name := filepath.Join(e.Dir, "db", "layers", d.String()+".db")
			b, err := os.ReadFile(name)
			must(t, err)
			for at := len(b) / 8; at < len(b); at += len(b) / 8 {
				b[at] ^= 0x55
			}
			must(t, os.Chmod(name, 0o600))
			must(t, os.WriteFile(name, b, 0o600))
		}
		return e
	}
	victim, other := hurt(), hurt()
	h.Publish(content(1000, 12000))
	h.accepts(victim, "full")
	if now, err := victim.Installed(); err != nil || now.Version != 2 {
		t.Errorf("installed %v, %v", now, err)
	}
	h.Publish(content(0, 5000), h.thief)
	_, err := other.Update(updater.Options{Variant: "full"})
	if g, ok := errors.AsType[*updater.GuardError](err); !ok || g.Version != 3 || g.Broken[0].Changed != 7000 {
		t.Errorf("error %v", err)
	}
}

// An alteredLayer gives other bytes for its blocks.
type alteredLayer struct {
	dbformat.LayerReader
	change func(id dbformat.SectionID, i int, b []byte)
}

func (a alteredLayer) Block(section, i int) ([]byte, error) {
	b, err := a.LayerReader.Block(section, i)
	b = bytes.Clone(b)
	a.change(a.Header().Sections[section].ID, i, b)
	return b, err
}

// A release whose rows cannot be compared is no damage on this disk, behind which a deletion could hide: with the same light, each
// signature of rest could become another one.
func TestGuardWithRowsThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	// Two signatures with one prefix, which differ in their last digit: the first rows of their section.
	h.Publish(map[string]string{"a.hsb": many(0, 12000) + fmt.Sprintf("%064x:5:Pair.1\n%064x:5:Pair.2\n", 1, 2)})
	e := h.device("full")
	_, light, rest, err := e.Store.OpenCurrent()
	must(t, err)
	light.Close()
	defer rest.Close()
	sha := dbformat.ClassHash.Section(dbformat.SHA256)
	_, s, ok := rest.Header().Section(sha)
	if !ok {
		t.Fatal("no split signatures")
	}
	digits, swapped := 64-int(s.P)/4, false // digits of a row's key, after 5 bytes of the block
	var bundle bytes.Buffer
	must(t, dbformat.WriteBundle(&bundle, alteredLayer{rest, func(id dbformat.SectionID, i int, b []byte) {
		if id == sha && i == 0 {
			first, second := &b[5+(digits-1)/2], &b[5+(2*digits-1)/2]
			swapped = *first>>4 == 1 && *second&15 == 2
			*first, *second = *first^3<<4, *second^3
		}
	}}))
	if !swapped {
		t.Fatal("the pair is not where it is looked for")
	}
	thiefs, err := dbformat.ReadBundle(bytes.NewReader(bundle.Bytes()), dbformat.Rest, new(dbformat.MemSink))
	must(t, err)
	b, err := os.ReadFile(filepath.Join(h.Public(), "targets", filepath.FromSlash(h.Target(dbformat.ReleaseTarget).Name())))
	must(t, err)
	record, err := dbformat.ParseReleaseRecord(b)
	must(t, err)
	record.Stable.Version++
	record.Stable.Rest.Digest, record.Stable.Rest.Since = thiefs.Digest(), record.Stable.Version
	b, err = record.Encode()
	must(t, err)
	repo := h.Repository()
	var signed []signing.Target
	for path, content := range map[string][]byte{dbformat.ReleaseTarget: b, dbformat.BundleTarget(dbformat.Rest, thiefs.Digest()): bundle.Bytes()} {
		target, err := repo.AddTargetBytes(path, content)
		must(t, err)
		signed = append(signed, target)
	}
	h.Advance(1e9)
	must(t, repo.Commit(map[string][]signing.Target{signing.RoleDatabase: signed}, h.Now()))
	_, err = e.Update(updater.Options{Variant: "full"})
	if !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(fmt.Sprint(err), "cannot be held against") {
		t.Errorf("error %v, want that the release is not trusted", err)
	}
	if now, err := e.Installed(); err != nil || now.Version != 1 {
		t.Errorf("installed %v, %v; want release 1 still", now, err)
	}
}

// The refusal is a record that saves a download. Lost or damaged, it costs one and nothing else.
func TestRefusalIsForgotten(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 12000))
	e := h.device("light")
	h.Publish(content(0, 8000), h.thief)
	h.refuses(e, "light")
	must(t, os.Remove(filepath.Join(e.Dir, "state.db")))
	if _, ok := e.Store.Refusal(); ok {
		t.Error("a refusal without a state.db")
	}
	if _, asked := h.refuses(e, "light"); len(asked) == 0 {
		t.Error("refused without having seen the layers")
	}
	if r, ok := e.Store.Refusal(); !ok || r.Changes.Light != (dbformat.LayerChanges{Records: 12001, Removed: 4000}) {
		t.Errorf("%+v, %t", r, ok)
	}
	must(t, e.Store.UpdateSource("x", nil, func(*store.SourceState) {}))
	// Another release is judged anew.
	h.Publish(content(0, 11000))
	h.accepts(e, "light")
}

// What the guards do not stop, so that nobody believes they do: steps below the limit, one release after the other, and then a
// database that is too small to have a guard. Each of them costs the thief a release that everybody can see.
func TestGuardsCountOneStepOnly(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 16000))
	e := h.device("light")
	for _, n := range []int{11400, 9900, 1} {
		h.Publish(content(0, n), h.thief)
		h.accepts(e, "light")
	}
}
