//go:build check

package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// seen is the device as the oracle finds it.
type seen struct {
	gen    generation // zero for none; with err what CURRENT names, if it can be read
	err    error      // it cannot be used as it is
	cur    store.Current
	floors map[string]uint64
	epoch  uint64 // of the restriction set in force; 0 for none, or a damaged one
	held   uint64 // what epoch must not go below
	roots  int    // good ones
	root   uint64 // the newest of them
}

func (s seen) String() string {
	if s.err != nil {
		return "damaged"
	}
	hold := ""
	if h := s.cur.Hold; h.All {
		hold = ", all held"
	} else if h.Version > 0 {
		hold = fmt.Sprintf(", held to %d", h.Version)
	}
	return fmt.Sprintf("%s%s, timestamp %d, release %d, epoch %d", s.gen, hold, s.floors["timestamp"], s.floors["release"], s.epoch)
}

// observe looks at everything with eyes of its own.
func (d *device) observe() seen {
	s := seen{floors: map[string]uint64{}}
	s.gen, s.cur, s.err = d.generation()
	s.floors = d.floors(d.onDisk)
	s.roots, s.root = d.roots(d.onDisk)
	b, ok, err := d.look.Restrictions()
	if ok && err == nil {
		set, err := dbformat.ParseRestrictionSet(b)
		if err != nil || !bytes.Equal(d.g.epoch[set.Epoch], b) {
			d.violation("I5: a restriction set is in force that nobody published: %v", err)
			return s
		}
		s.epoch = set.Epoch
		s.held = d.held(d.onDisk, s.epoch, s.floors)
	}
	if err == nil || errors.Is(err, store.ErrDamaged) {
		return s
	}
	d.violation("I8: restrictions: %v", err)
	return s
}

// generation proves the current generation as a whole, and looks known hashes up in it.
func (d *device) generation() (generation, store.Current, error) {
	c, light, rest, err := d.look.OpenCurrent()
	if errors.Is(err, store.ErrNoDatabase) {
		return generation{}, c, nil
	}
	if err != nil {
		if cur, e := d.look.Current(); e == nil {
			return generation{cur.Version, cur.Variant()}, cur, d.documented(err)
		}
		return generation{}, c, d.documented(err)
	}
	defer light.Close()
	gen := generation{c.Version, c.Variant()}
	err = light.Verify(nil)
	var restDigest dbformat.Digest
	if rest != nil {
		defer rest.Close()
		err = errors.Join(err, rest.Verify(nil))
		restDigest = rest.Header().Digest()
	}
	if err != nil {
		d.noLie(gen)
		return gen, c, d.documented(err)
	}
	if !d.g.digests(c.Version, light.Header().Digest(), restDigest) {
		d.violation("I5: %s is current with digests that nobody signed for it", gen)
	}
	if b := d.onDisk("db/CURRENT"); b != nil {
		d.named[string(b)] = gen
	}
	d.noLie(gen)
	return gen, c, nil
}

// documented holds an error about the store against what it may be.
func (d *device) documented(err error) error {
	if !errors.Is(err, store.ErrStorage) && !errors.Is(err, dbformat.ErrVersion) {
		d.violation("I8: the current generation: %v", err)
	}
	return err
}

// noLie looks up what every release detects and what none does: errors may come of damage, wrong verdicts never.
func (d *device) noLie(gen generation) {
	m, err := matcher.Open(d.look, matcher.Options{})
	if err != nil {
		return
	}
	defer m.Close()
	want := matcher.Malicious
	if gen.variant == dbformat.VariantLight {
		want = matcher.Suspected
	}
	for i, h := range append(slices.Clone(d.g.known), dbformat.Digest(hashOf(99999))) {
		if i == len(d.g.known) {
			want = matcher.Clean
		}
		r, err := m.Lookup(dbformat.SHA256, h[:], -1)
		if err == nil && r.Verdict != want {
			d.violation("I7: %s says %s of hash %d, want %s", gen, r.Verdict, i, want)
		}
	}
}

func (d *device) onDisk(name string) []byte {
	b, err := os.ReadFile(filepath.Join(d.dir, filepath.FromSlash(name)))
	if err != nil {
		return nil
	}
	return b
}

// sure is what of the state the next power cut cannot take away.
type sure struct {
	gen    generation
	known  bool // gen could be told
	floors map[string]uint64
	epoch  uint64
}

func (d *device) sure() sure {
	read := func(name string) []byte {
		path := filepath.Join(d.dir, filepath.FromSlash(name))
		d.disk.mu.Lock()
		defer d.disk.mu.Unlock()
		if n := d.disk.durable[filepath.Dir(path)][filepath.Base(path)]; n != nil {
			return n.synced
		}
		return nil
	}
	s := sure{}
	s.floors = d.floors(read)
	current := read("db/CURRENT")
	s.gen, s.known = d.named[string(current)]
	if current == nil {
		s.known = true
	}
	for epoch, b := range d.g.epoch {
		if quoted, err := json.Marshal(string(b)); err == nil && bytes.Contains(read("db/restrictions.json"), quoted) && !bytes.Equal(read("db/restrictions.json"), d.spoil["db/restrictions.json"]) {
			s.epoch = max(s.epoch, epoch)
		}
	}
	s.epoch = d.held(read, s.epoch, s.floors)
	return s
}

// held is the epoch that no update may go below, with a set of the given epoch stored. It is that of the set, but where floors and metadata agree on a state
// from before it, because both were put back or one was and the other got lost: then the stored set is one that nothing vouches for.
func (d *device) held(read func(string) []byte, epoch uint64, floors map[string]uint64) uint64 {
	_, newest := d.roots(read)
	metadata := d.stored(read("trust/verified.json"))
	if metadata == nil || !metadata.under[newest] || metadata.epoch == epoch {
		return epoch
	}
	return min(epoch, floors["epoch"])
}

// floors reads from a trust folder what must not go back: the higher of floors.json, the stored set and the chain of roots. Files that damage
// left as they are count as absent, and so does a set that the newest root which is there does not vouch for.
func (d *device) floors(read func(string) []byte) map[string]uint64 {
	all := map[string]uint64{}
	_, newest := d.roots(read)
	b := read("trust/floors.json")
	var f struct {
		Floors map[string]struct {
			Value uint64 `json:"value"`
		} `json:"floors"`
	}
	if b != nil && !bytes.Equal(b, d.spoil["trust/floors.json"]) && json.Unmarshal(b, &f) == nil {
		for name, v := range f.Floors {
			all[name] = v.Value
		}
	}
	if set := d.stored(read("trust/verified.json")); set != nil && set.under[newest] {
		if all[signing.RoleTargets] < set.roles[signing.RoleTargets] { // floors from before the keys changed count no longer
			delete(all, "release")
			delete(all, "epoch")
		}
		for name, v := range set.roles {
			if name != signing.RoleRoot { // the set holds no root
				all[name] = max(all[name], v)
			}
		}
		all["signed"] = max(all["signed"], uint64(min(set.at.Unix(), int64(max(all["signed"], 1)))))
	}
	if newest > 0 {
		all[signing.RoleRoot] = max(all[signing.RoleRoot], newest)
	}
	return all
}

// roots counts the good roots and finds the newest.
func (d *device) roots(read func(string) []byte) (n int, newest uint64) {
	files := d.g.newest().files
	for v := uint64(1); v < 10; v++ {
		b := read(fmt.Sprintf("trust/roots/%d.root.json", v))
		if b != nil && bytes.Equal(b, files[fmt.Sprintf("metadata/%d.root.json", v)]) {
			n, newest = n+1, v
		}
	}
	return n, newest
}

// stored is the state of the publisher that a stored set is; nil if it is not exactly one.
func (d *device) stored(b []byte) *tree {
	var in struct {
		Documents map[string]string `json:"documents"`
	}
	if b == nil || json.Unmarshal(b, &in) != nil {
		return nil
	}
	for _, t := range slices.Backward(d.g.trees) {
		same := in.Documents[signing.RoleTimestamp] == string(t.files["metadata/timestamp.json"])
		for _, role := range []string{signing.RoleSnapshot, signing.RoleTargets, signing.RoleDatabase, signing.RoleRestrictions} {
			same = same && in.Documents[role] == string(t.files[fmt.Sprintf("metadata/%d.%s.json", t.roles[role], role)])
		}
		if same {
			return t
		}
	}
	return nil
}

// leftovers are files that no run that went well leaves.
func (d *device) leftovers(c store.Current) []string {
	needed := map[string]bool{}
	kept := append([]store.Generation{c.Generation}, c.Others...)
	if c.RolledBack != nil {
		kept = append(kept, c.RolledBack.From)
	}
	for _, g := range kept {
		needed[g.Light.Digest.String()] = true
		if g.Rest != nil {
			needed[g.Rest.Digest.String()] = true
		}
	}
	var left []string
	for _, dir := range []string{"", "db", "db/layers", "db/index", "trust", "trust/tmp", "trust/roots", "downloads"} {
		entries, err := os.ReadDir(filepath.Join(d.dir, filepath.FromSlash(dir)))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !e.IsDir() && stray(dir, e.Name(), needed) {
				left = append(left, dir+"/"+e.Name())
			}
		}
	}
	return left
}

// ours are the files at fixed places.
var ours = map[string]bool{"/settings.json": true, "/settings.lock": true, "/state.db": true, "/state.db.damaged": true, "/update.lock": true,
	"db/CURRENT": true, "db/restrictions.json": true, "trust/floors.json": true, "trust/verified.json": true}

func stray(dir, name string, needed map[string]bool) bool {
	switch dir {
	case "db/layers":
		return !needed[strings.TrimSuffix(name, ".db")]
	case "db/index":
		for part := range strings.SplitSeq(strings.TrimSuffix(name, ".idx"), "-") {
			if len(part) == 64 && !needed[part] {
				return true
			}
		}
		return !strings.HasSuffix(name, ".idx")
	case "trust/roots":
		return !strings.HasSuffix(name, ".root.json")
	}
	return !ours[dir+"/"+name]
}

// below names what of a is less than in b. What only keys had vouched for that new targets took away starts again: the floors of
// release and epoch, until the next release and set are in use. The roles that name both have new floors by then.
func below(a, b map[string]uint64) string {
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if (name == "release" || name == "epoch") && a[signing.RoleTargets] > b[signing.RoleTargets] {
			continue
		}
		if name != "signed" && a[name] < b[name] {
			return fmt.Sprintf("%s is %d, was %d", name, a[name], b[name])
		}
	}
	return ""
}

// reference is the moment at which the engine should judge expiry.
func reference(now time.Time, floors map[string]uint64) time.Time {
	if at := time.Unix(int64(floors["signed"]), 0); floors["signed"] > 0 && now.Add(24*time.Hour).Before(at) {
		return at
	}
	return now
}
