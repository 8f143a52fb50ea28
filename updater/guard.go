package updater

import (
	"errors"
	"fmt"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// A GuardError says that a release, signed as it should be, takes away or allows more than one step may, and that the repository's
// offline keys did not approve it: whoever has the key that signs releases is not trusted that far. It matches [signing.ErrUntrusted].
type GuardError struct {
	Version   uint64                 // that is refused
	Installed uint64                 // that stays
	Broken    []dbformat.BrokenGuard // at least one
}

func (e *GuardError) Error() string {
	said := make([]string, len(e.Broken))
	for i, b := range e.Broken {
		said[i] = b.String()
	}
	return fmt.Sprintf("release %d is refused by a guard, as a step from release %d: %s, unless the repository's offline keys approve it, which they did not",
		e.Version, e.Installed, strings.Join(said, "; "))
}

// Is matches [signing.ErrUntrusted].
func (e *GuardError) Is(target error) bool { return target == signing.ErrUntrusted }

// guard decides whether a step may be taken: within the guards, or approved.
func guard(installed, version uint64, changes dbformat.Changes, approved bool) error {
	broken := dbformat.DefaultGuards().Broken(changes)
	if broken == nil || approved {
		return nil
	}
	return &GuardError{Version: version, Installed: installed, Broken: broken}
}

// guard holds a new generation, whose layers are proved and on disk, against the one that is current, whichever way it came. Nothing is
// compared before the first install, nor where the content is the same.
func (c *cycle) guard(g *store.Generation, approved bool) error {
	if c.current == nil || approved {
		return nil
	}
	cur := &c.current.Generation
	step := stepOf(cur, g)
	if !step.changes() {
		return nil
	}
	var err error
	if step.Changes, err = c.count(cur, g); err != nil {
		return err
	}
	err = guard(cur.Version, g.Version, step.Changes, approved)
	if err == nil {
		return nil
	}
	if e := c.u.c.Store.PutRefusal(store.Refusal(step)); e != nil {
		c.note(NoteStateNotKept+": %v", e)
	}
	return err
}

// refusedBefore is the refusal of an earlier run for the same step: what would come is known by its signed digests, and is not fetched
// again to be refused again.
func (c *cycle) refusedBefore(p Plan, approved bool) error {
	if c.current == nil || approved || p.Release == nil {
		return nil
	}
	next := &store.Generation{Version: p.Release.Version, Light: store.LayerRef{Digest: p.Release.Light.Digest}}
	if p.Variant == dbformat.VariantFull {
		next.Rest = &store.LayerRef{Digest: p.Release.Rest.Digest}
	}
	known, ok := c.u.c.Store.Refusal()
	step := stepOf(&c.current.Generation, next)
	if step.Changes = known.Changes; !ok || step != guardedStep(known) {
		return nil
	}
	return guard(c.current.Version, next.Version, known.Changes, approved)
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

// A guardedStep is a step between two contents with what it changes.
type guardedStep store.Refusal

func stepOf(old, new *store.Generation) guardedStep {
	s := guardedStep{OldLight: old.Light.Digest, NewLight: new.Light.Digest}
	if old.Rest != nil {
		s.OldRest = old.Rest.Digest
	}
	if new.Rest != nil {
		s.NewRest = new.Rest.Digest
	}
	return s
}

// changes tells whether there is anything to count. Rest that comes or goes with the same light is a switch of variants.
func (s guardedStep) changes() bool {
	return s.OldLight != s.NewLight || s.OldRest != s.NewRest && !s.OldRest.IsZero() && !s.NewRest.IsZero()
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
