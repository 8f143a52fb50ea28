package updater

import (
	"errors"
	"fmt"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// A GuardError says that a release, signed as it should be, takes away or allows more than one step may, or that nothing shows what it
// takes away, and that the repository's offline keys did not approve it: whoever has the key that signs releases is not trusted that far.
// It matches [signing.ErrUntrusted].
type GuardError struct {
	Version   uint64                 // that is refused
	Installed uint64                 // that stays
	Against   uint64                 // that it was held against: the installed one, or the newest full one that is kept
	Broken    []dbformat.BrokenGuard // at least one, unless Unproved

	// Unproved tells that this device, which wants light, would have to become full, and has no rest to hold the new one against.
	Unproved bool
}

func (e *GuardError) Error() string {
	if e.Unproved {
		return fmt.Sprintf("release %d is refused by a guard: it is not offered as light, and no earlier rest is here that shows what its rest takes away, unless the repository's offline keys approve it, which they did not",
			e.Version)
	}
	said := make([]string, len(e.Broken))
	for i, b := range e.Broken {
		said[i] = b.String()
	}
	return fmt.Sprintf("release %d is refused by a guard, as a step from release %d: %s, unless the repository's offline keys approve it, which they did not",
		e.Version, e.Against, strings.Join(said, "; "))
}

// Is matches [signing.ErrUntrusted].
func (e *GuardError) Is(target error) bool { return target == signing.ErrUntrusted }

// guard decides whether a step may be taken: within the guards, or approved.
func guard(installed, against, version uint64, changes dbformat.Changes, approved bool) error {
	broken := dbformat.DefaultGuards().Broken(changes)
	if broken == nil || approved {
		return nil
	}
	return &GuardError{Version: version, Installed: installed, Against: against, Broken: broken}
}

// guard holds a new generation, whose layers are proved and on disk, against the one that is current, whichever way it came. One that
// brings rest to a device that has none in use is held against the newest full generation that is kept, too. Nothing is
// compared before the first install, nor where the content is the same.
func (c *cycle) guard(g *store.Generation, rel signing.Release, approved bool) error {
	if c.current == nil || approved {
		return nil
	}
	cur := &c.current.Generation
	if differ(cur, g) {
		changes, err := c.count(cur, g)
		if err != nil {
			return err
		}
		if err := c.judge(g, rel, cur, changes); err != nil {
			return err
		}
	}
	if g.Rest == nil || cur.Rest != nil {
		return nil
	}
	full := c.newestFull()
	if full == nil {
		if guarded(cur) {
			c.note("%s: no earlier rest is here that shows what the rest of release %d takes away", NoteRestUnproved, g.Version)
		}
		return nil
	}
	if !differ(full, g) {
		return nil
	}
	changes, err := c.countSince(full, cur, g)
	if err != nil {
		return err
	}
	return c.judge(g, rel, full, changes)
}

// judge decides about a step, and keeps a refusal.
func (c *cycle) judge(g *store.Generation, rel signing.Release, against *store.Generation, changes dbformat.Changes) error {
	err := guard(c.current.Version, against.Version, g.Version, changes, false)
	if err == nil {
		return nil
	}
	r := store.Refusal{Version: g.Version, Against: against.Version, Changes: changes}
	for _, named := range releases(rel.Record()) {
		if named.Version == g.Version {
			r.Light, r.Rest = named.Light.Digest, named.Rest.Digest
		}
	}
	if full := c.newestFull(); full != nil {
		r.FullLight, r.FullRest = full.Light.Digest, full.Rest.Digest
	}
	if e := c.u.c.Store.PutRefusal(r); e != nil {
		c.note(NoteStateNotKept+": %v", e)
	}
	return err
}

// newestFull is the newest generation on disk that has a rest to compare with, nil for none. One before a light generation that was
// approved is no measure: the approval may be about its rest.
func (c *cycle) newestFull() *store.Generation {
	cur := c.current
	for i := -1; i < len(cur.Others); i++ {
		g := &cur.Generation
		if i >= 0 {
			g = &cur.Others[i]
		}
		switch {
		case g.Rest != nil:
			return g
		case c.approved(g.Version):
			return nil
		}
	}
	if r := cur.RolledBack; r != nil && r.From.Rest != nil {
		return &r.From
	}
	return nil
}

// guarded tells whether a step from g, whose light is in use, has guards.
func guarded(g *store.Generation) bool { return g.Light.Records >= dbformat.DefaultGuards().MinRecords }

// refusedBefore is what can be said of a plan before anything is fetched: that its release has two contents, the refusal of an earlier run, which stays with the release
// whatever variant asks for it, and that of a release that leaves light alone no way but a rest that nothing proves. Who wants full gets
// it: no device could ever leave light otherwise.
func (c *cycle) refusedBefore(p Plan) error {
	if c.current == nil || p.Release == nil {
		return nil
	}
	if err := sameContent(p.Release, c.kept()); err != nil || c.approved(p.Release.Version) {
		return err
	}
	cur, rel := &c.current.Generation, p.Release
	known, ok := c.u.c.Store.Refusal()
	if ok && known.Version == rel.Version && known.Light == rel.Light.Digest && known.Rest == rel.Rest.Digest {
		return guard(cur.Version, known.Against, rel.Version, known.Changes, false)
	}
	forced := c.wanted == dbformat.VariantLight && p.Variant == dbformat.VariantFull && cur.Rest == nil
	if forced && guarded(cur) && c.newestFull() == nil {
		return &GuardError{Version: rel.Version, Installed: cur.Version, Against: cur.Version, Unproved: true}
	}
	return nil
}

// forget drops a refusal that means nothing any more once g is current: g was approved, or its rest is in use and the next one will be
// held against it.
func (c *cycle) forget(g *store.Generation, approved bool) {
	s := c.u.c.Store
	if known, ok := s.Refusal(); !ok || g.Version < known.Version || !approved && g.Rest == nil {
		return
	}
	if err := s.ForgetRefusal(); err != nil {
		c.note(NoteStateNotKept+": %v", err)
	}
}

// discard removes the layers that were brought for a release that a guard refused.
func (c *cycle) discard() error {
	cleanDownloads(c.u.c.Store.DownloadsDir(), nil)
	return c.clearLayers()
}

// refusedByGuard tells whether err is a guard's.
func refusedByGuard(err error) bool {
	_, ok := errors.AsType[*GuardError](err)
	return ok
}

// unproved tells whether err is a guard's that had nothing to compare with.
func unproved(err error) bool {
	g, ok := errors.AsType[*GuardError](err)
	return ok && g.Unproved
}

// differ tells whether there is anything to count. Rest that comes or goes with the same light is a switch of variants.
func differ(old, new *store.Generation) bool {
	return old.Light.Digest != new.Light.Digest || old.Rest != nil && new.Rest != nil && old.Rest.Digest != new.Rest.Digest
}

// countSince counts what the step from full, which light generations up to cur have followed, changes. What their light took away since was
// judged then, step by step, and is not counted again: what is left are records whose light stayed, and whose rest became another one.
func (c *cycle) countSince(full, cur, g *store.Generation) (dbformat.Changes, error) {
	changes, err := c.count(full, g)
	if err != nil || full.Light.Digest == cur.Light.Digest {
		return changes, err
	}
	changes.AllowAdded = 0
	seen, err := c.countLayers(full, g, false)
	if damaged(err) {
		return changes, nil
	}
	for _, l := range []*dbformat.LayerChanges{&changes.Light, &changes.Rest} {
		l.Removed -= min(l.Removed, seen.Light.Removed)
	}
	return changes, err
}

// count counts what the step changes. Where the old layers are damaged, which the step heals, it gives what is known nevertheless: that
// at least as many records go as there are fewer.
func (c *cycle) count(old, new *store.Generation) (dbformat.Changes, error) {
	both := old.Rest != nil && new.Rest != nil
	changes, err := c.countLayers(old, new, both)
	if err == nil || !damaged(err) {
		return changes, err
	}
	// Only the old layers may be unreadable. The new ones are what was signed, block by block, but no digest proves that the rows of rest
	// are those of light, in order: who could hide a deletion behind rows that cannot be compared would need no approval.
	if _, err := c.countLayers(new, new, new.Rest != nil); err != nil {
		return dbformat.Changes{}, fmt.Errorf("release %d cannot be held against what is in use: %w", new.Version, err)
	}
	c.note(NoteDamaged+": %v", err)
	if both {
		if changes, err = c.countLayers(old, new, false); err != nil && !damaged(err) {
			return changes, err
		}
		changes.Rest = fewer(old.Rest, new.Rest)
	}
	if err != nil {
		changes.Light = fewer(&old.Light, &new.Light)
	}
	return changes, nil
}

func fewer(old, new *store.LayerRef) dbformat.LayerChanges {
	return dbformat.LayerChanges{Records: old.Records, Removed: old.Records - min(old.Records, new.Records)}
}

// damaged tells whether a layer could not be read because of what the disk holds.
func damaged(err error) bool {
	return errors.Is(err, store.ErrDamaged) || errors.Is(err, dbformat.ErrCorrupt)
}

func (c *cycle) countLayers(old, new *store.Generation, rest bool) (dbformat.Changes, error) {
	var layers [4]dbformat.LayerReader // light and rest of old, of new
	for i, g := range []*store.Generation{old, new} {
		for j, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
			if l == dbformat.Rest && !rest {
				continue
			}
			f, err := c.u.c.Store.OpenLayer(g.Layer(l).Digest, l)
			if err != nil {
				return dbformat.Changes{}, err
			}
			defer f.Close()
			layers[2*i+j] = f
		}
	}
	return dbformat.CountChanges(layers[0], layers[1], layers[2], layers[3])
}
