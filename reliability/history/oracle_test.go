//go:build check

package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// verdictOn is how a step went.
type verdictOn struct{ fired, dead, cut bool }

// kinds are all that an error of an update may be told by; exactly one.
var kinds = []struct {
	err  error
	name string
}{
	{signing.ErrUntrusted, "untrusted"}, {store.ErrStorage, "storage"}, {updater.ErrCoolDown, "cool-down"},
	{updater.ErrUnavailable, "unavailable"}, {store.ErrLocked, "locked"}, {dbformat.ErrVersion, "version"},
	{signing.ErrNoTrust, "no trust"}, {context.Canceled, "cancelled"},
	{store.ErrNoPrevious, "no previous"}, {store.ErrNoDatabase, "no database"},
}

func kind(err error) string {
	if err == nil {
		return "no error"
	}
	var names []string
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, " and ")
}

// requestsAtMost bounds the requests of one update for each source: 20 files, each with two retries, three resumes and a start from
// scratch.
const requestsAtMost = 400

// truthful holds what the operation said against the disk, before any power cut (I2, I6, I8).
func (d *device) truthful(s step, o outcome) {
	d.most = max(d.most, o.net.requests)
	if o.net.requests > requestsAtMost*len(s.sources) {
		d.violation("I6: %d requests", o.net.requests)
	}
	for _, e := range o.net.excess {
		d.violation("I6: %s", e)
	}
	k := kind(o.err)
	allowed := []string{"no error", "untrusted", "storage", "cool-down", "unavailable", "no trust", "version"}
	if s.op != "update" && s.op != "check" {
		allowed = []string{"no error", "storage", "no previous", "no database"}
	}
	if s.stop.what == "cancelled" {
		allowed = append(allowed, "cancelled")
	}
	if !slices.Contains(allowed, k) {
		d.violation("I8: an error of kind %q: %v", k, o.err)
	}
	if s.op == "check" || s.op == "update" && o.report.Result != updater.ResultUpdated && o.err != nil {
		return
	}
	if s.op != "update" && o.err != nil {
		return
	}
	if s.op == "release-hold" && d.disk.count == 0 {
		return // nothing was held: nothing was said about what is in use
	}
	d.durable(s, o)
}

// durable demands that what was said to be done is done and survives a power cut at this instant.
func (d *device) durable(s step, o outcome) {
	c, err := d.look.Current()
	if errors.Is(err, store.ErrNoDatabase) {
		if o.report.To != 0 {
			d.violation("I2: it said that release %d is in use, and there is none", o.report.To)
		}
		return
	}
	if errors.Is(err, store.ErrDamaged) && o.err != nil && o.report.To == 0 {
		return // a restriction set was stored; that no layer is in use was said
	}
	if err != nil {
		d.violation("I2: after %s (%v): %v", o.report.Result, o.err, err)
		return
	}
	if s.op == "update" && (o.report.To != c.Version || o.report.Variant != c.Variant()) {
		d.violation("I2: it said that %d %s is in use, it is %d %s", o.report.To, o.report.Variant, c.Version, c.Variant())
	}
	if o.err != nil {
		return // updated as far as it came; the error says that something is not
	}
	_, root := d.roots(d.onDisk)
	names := []string{"db/CURRENT"}
	if c.Hold == (store.Hold{}) && s.op == "update" || s.op == "rollback" { // what is held is not repaired
		names = append(names, "db/layers/"+c.Light.Digest.String()+".db")
		if c.Rest != nil {
			names = append(names, "db/layers/"+c.Rest.Digest.String()+".db")
		}
	}
	if s.op == "update" {
		names = append(names, "trust/floors.json", "trust/verified.json", fmt.Sprintf("trust/roots/%d.root.json", root))
	}
	if _, err := os.Stat(filepath.Join(d.dir, "db", "restrictions.json")); err == nil && s.op == "update" {
		names = append(names, "db/restrictions.json")
	}
	for _, name := range names {
		path := filepath.Join(d.dir, filepath.FromSlash(name))
		if why := d.disk.survives(path); why != "" && !(name == "db/CURRENT" && d.keptOnly(path, o)) {
			d.violation("I2: it said %s, and a power cut now would undo it: %s", o.report.Result, why)
		}
	}
	if set := d.stored(d.onDisk("trust/verified.json")); s.op == "update" && (set == nil || !set.under[root]) {
		d.violation("I4: it said %s, and root %d does not vouch for the set that is stored", o.report.Result, root)
	}
}

// keptOnly tells whether a power cut at this instant would undo no more than that a damaged generation, kept beside the current one for a rollback, was let
// go of: everything else that CURRENT says stays, the run said that this look was not kept, and the next one lets go of it again.
func (d *device) keptOnly(path string, o outcome) bool {
	read := func(b []byte) (all map[string]any, kept []any) {
		if json.Unmarshal(b, &all) != nil {
			return nil, nil
		}
		kept, _ = all["previous"].([]any)
		delete(all, "previous")
		delete(all, "sum")
		return all, kept
	}
	b, err := os.ReadFile(path)
	now, left := read(b)
	then, more := read(d.disk.synced(path))
	said := slices.ContainsFunc(o.report.Notes, func(n string) bool {
		return strings.HasPrefix(n, updater.NoteStateNotKept+": the look at what is kept for a rollback: ")
	})
	return err == nil && said && now != nil && reflect.DeepEqual(now, then) && len(left) < len(more)
}

// judge holds the state after a step against the one before.
func (d *device) judge(s step, before, after seen, sure sure, o outcome, v verdictOn) {
	floors, epoch := before.floors, before.held
	if v.cut {
		floors, epoch = sure.floors, sure.epoch
	}
	if why := below(after.floors, floors); why != "" {
		d.violation("I4: floor of %s", why)
	}
	if after.epoch < epoch {
		d.violation("I4: restriction set %d is in force, was %d", after.epoch, epoch)
	}
	well := o.ended && !v.dead && o.err == nil && s.op == "update"
	allowed := []generation{before.gen}
	if v.cut && sure.known {
		allowed = append(allowed, sure.gen)
	}
	switch s.op {
	case "update":
		for _, g := range d.reachable(s, before) {
			allowed = append(allowed, g.gen)
		}
	case "rollback":
		if p := before.cur.Previous; p != nil {
			allowed = append(allowed, generation{p.Version, p.Variant()})
		}
	}
	switch {
	case after.err != nil && before.err == nil && !(v.cut && !sure.known):
		d.violation("I1: the generation was whole, now: %v", after.err)
	case after.err != nil && well:
		d.violation("I3: the run went well and left the damage: %v", after.err)
	case after.err == nil && before.err != nil && after.gen == before.gen, slices.Contains(allowed, after.gen):
	case before.err != nil && after.err != nil, v.cut && !sure.known:
	default:
		d.violation("I1: %s is current, allowed is %v", after.gen, allowed)
	}
	if after.err == nil && after.gen != before.gen && s.op == "update" && !v.cut {
		d.vouched(s, after)
	}
	if s.op == "update" {
		d.alive(s, before, after, o, v)
	}
	if well && !v.fired && !v.cut && !(s.stop.what == "cancelled") {
		if left := d.leftovers(after.cur); len(left) > 0 {
			d.violation("I8: the run went well (%s) and left %v", o.report.Result, left)
		}
	}
}

// A way is a generation that a step could lead to, and by which state of the publisher.
type way struct {
	gen generation
	t   *tree
}

// wanted is the variant that an update is for.
func (d *device) wanted(s step) dbformat.Variant {
	if s.variant != "" {
		return dbformat.Variant(s.variant)
	}
	v, err := d.look.Settings()
	if err == nil && v.CloudMode {
		return dbformat.VariantLight
	}
	return dbformat.VariantFull
}

// acceptable tells why a state of the publisher must be refused by a device; "" if it must not. The state need not have the newest root:
// what counts is that the newest one that the device has or is shown vouches for it, and that this is not older than one that was seen.
func (d *device) acceptable(t *tree, before seen) string {
	for role, v := range t.roles {
		if role != signing.RoleRoot && v < before.floors[role] {
			return role + " is stale"
		}
	}
	root := max(before.root, t.roles[signing.RoleRoot])
	switch {
	case root < before.floors[signing.RoleRoot]:
		return "root is stale"
	case !t.under[root]:
		return "its keys were taken away"
	case t.release.Version < before.floors["release"]:
		return "the release is stale"
	case t.epoch < before.floors["epoch"]:
		return "the restriction set is stale"
	case reference(d.now, before.floors).After(t.expires):
		return "expired"
	}
	return ""
}

// offered are the states of the publisher that sources have something of.
func (d *device) offered(sources []source) (list []*tree) {
	for _, src := range sources {
		if src.tree >= 0 {
			list = append(list, d.g.trees[src.tree])
		}
		if src.mixed > 0 {
			list = append(list, d.g.trees[src.mixed-1])
		}
	}
	return list
}

// reachable are the generations that an update may make current.
func (d *device) reachable(s step, before seen) (list []way) {
	want := d.wanted(s)
	for _, t := range d.offered(s.sources) {
		v := t.release.Version
		if d.acceptable(t, before) != "" || v < before.gen.version {
			continue
		}
		if h := before.cur.Hold; v != before.gen.version && (h.All || v <= h.Version) {
			continue
		}
		offered := slices.Contains(t.release.Variants, want)
		switch {
		case offered:
			list = append(list, way{generation{v, want}, t})
		default:
			list = append(list, way{generation{v, dbformat.VariantFull}, t})
		}
		if want == dbformat.VariantFull && before.gen.variant != dbformat.VariantFull && t.release.Offers(dbformat.VariantLight) {
			list = append(list, way{generation{v, dbformat.VariantLight}, t})
		}
	}
	return list
}

// vouched demands that what vouched for a new generation is remembered: without it the next source could take it back. Where a source
// kept a newer root to itself, an older one did, which is the floor.
func (d *device) vouched(s step, after seen) {
	why := "no source had it"
	for _, src := range s.sources {
		for _, t := range d.offered([]source{src}) {
			if t.release.Version != after.gen.version {
				continue
			}
			roles := maps.Clone(t.roles)
			if root := after.floors[signing.RoleRoot]; src.withholdsRoots() && t.under[root] {
				roles[signing.RoleRoot] = root
			}
			if why = below(after.floors, roles); why == "" {
				return
			}
		}
	}
	d.violation("I4: %s is current, and the floor of what vouched for it is not kept: %s", after.gen, why)
}

// alive demands that an update succeeds where it can: one good source suffices, whatever the others do (I3, I7).
func (d *device) alive(s step, before, after seen, o outcome, v verdictOn) {
	if v.dead || v.cut || s.fault.how != "" || s.stop.what == "cancelled" || before.roots == 0 {
		return
	}
	good := d.good(s, before)
	if good < 0 {
		return
	}
	if before.err != nil && before.cur.Hold != (store.Hold{}) && o.err != nil {
		return // no source may replace what is held, and a run that leaves it damaged must say so; judge demands that it does
	}
	if o.err != nil {
		d.violation("I3: source %d is good, and yet: %v", good, o.err)
		return
	}
	if before.cur.Hold != (store.Hold{}) || before.gen.version > d.g.trees[s.sources[good].tree].release.Version {
		return
	}
	until := s
	until.sources = s.sources[:good+1]
	if !slices.ContainsFunc(d.reachable(until, before), func(w way) bool {
		full := w.gen.variant == dbformat.VariantFull || w.gen.variant == d.wanted(s)
		return w.gen == after.gen && full
	}) {
		d.violation("I3: source %d is good, and %s is in use after %s", good, after.gen, o.report.Result)
	}
}

// good is the first source that must suffice: it serves one acceptable state as it was published, no source before it a
// newer one, and it was not told to be left alone. One that is behind the restriction set in force need not, also where the floor of
// its epoch is lost. -1 for none.
func (d *device) good(s step, before seen) int {
	newest := -1
	for i, src := range s.sources {
		newest = max(newest, src.tree)
		if src.mixed > 0 {
			newest = max(newest, src.mixed-1)
		}
		if src.clean() && src.tree == newest && d.acceptable(d.g.trees[src.tree], before) == "" && d.g.trees[src.tree].epoch >= before.epoch && !d.cooling(i) {
			return i
		}
	}
	return -1
}

// heal is the undisturbed end: an operator does what status tells him to, and one run must lead to the newest release.
func (d *device) heal() {
	newest := d.g.newest()
	d.now = newest.at.Add(72 * time.Hour)
	d.disk.begin(fault{}, nil)
	before := d.observe()
	if before.roots == 0 {
		if err := signing.InitTrust(d.store.TrustDir(), d.g.root, true); err != nil {
			d.violation("I3: the root cannot be installed again: %v", err)
			return
		}
	}
	if before.cur.Hold != (store.Hold{}) {
		if err := d.local("release-hold"); err != nil {
			d.violation("I3: the hold cannot be released: %v", err)
		}
	}
	s := step{op: "update", sources: []source{{tree: newest.index}}}
	for run := range 2 {
		net := &network{g: d.g, sources: s.sources, told: []int{0}, whole: map[string]int{}}
		o := d.run(s, net, before)
		after := d.observe()
		want := generation{newest.release.Version, d.wanted(s)}
		left := d.leftovers(after.cur)
		switch {
		case o.panics != "":
			d.violation("I8: panic: %s", o.panics)
		case o.err != nil:
			d.violation("I3: %v", o.err)
		case after.err != nil || after.gen != want:
			d.violation("I3: %s is current (%v), want %s", after.gen, after.err, want)
		case net.whole["light"] > 1 || net.whole["rest"] > 1:
			d.violation("I3: layers were fetched whole more than once: %v", net.whole)
		case run == 1 && (net.layers > 0 || o.report.Result != updater.ResultCurrent):
			d.violation("I3: the run after it: %s, %d requests for layers", o.report.Result, net.layers)
		case len(left) > 0:
			d.violation("I8: left over: %v", left)
		case below(after.floors, newest.roles) != "" || after.epoch != newest.epoch || after.floors["release"] != newest.release.Version:
			d.violation("I4: at the end the floors are %v and the restriction set is %d", after.floors, after.epoch)
		}
		d.truthful(s, o)
		if d.broken != "" {
			return
		}
	}
	fmt.Fprintf(&d.trace, "   → healed\n")
}
