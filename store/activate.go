package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// Activate makes g, a variant of a release that rel names, current, durably: when it returns nil the release survives a power
// cut at that instant, and when it fails (or the process dies in it) the old generation or the new one is current and
// whole. g needs only Version and the digests of its layers, which must be in the store; the rest is taken from rel
// and from the layers. Previous generations of up to keep earlier releases stay, and beside a light one the full one that a [Refusal] names. A release with the digests of the current
// generation only renews its number. What nothing names any more is removed. The caller must hold the update lock.
//
// Errors match [ErrDigestMismatch] if rel does not name g or its layers do not belong together, [ErrHeld] if a hold forbids the
// release, [ErrDamaged] if a layer is missing or damaged, else [ErrStorage].
func (s *Store) Activate(g Generation, rel signing.Release, keep int) error {
	record := rel.Record()
	if err := s.takeFrom(&g, &record); err != nil {
		return err
	}
	return s.makeCurrent(g, keep)
}

// takeFrom proves that a release of the record is what g says, and completes g from it.
func (s *Store) takeFrom(g *Generation, record *dbformat.ReleaseRecord) error {
	r := &record.Stable
	if c := record.Candidate; c != nil && c.Release.Version == g.Version {
		r = &c.Release
	}
	mismatch := func(format string, args ...any) error {
		return &Error{Kind: ErrDigestMismatch, Path: s.currentPath(), What: "will not name " + fmt.Sprintf(format, args...),
			Remedy: "update again from the newest release"}
	}
	if g.Version == 0 || r.Version != g.Version {
		return mismatch("release %d, which the verified record does not have", g.Version)
	}
	if !r.Offers(g.Variant()) {
		return mismatch("a %s generation: release %d is not offered as that", g.Variant(), g.Version)
	}
	if g.Rest != nil {
		rest := *g.Rest // the caller keeps its own
		g.Rest = &rest
	}
	for _, l := range g.Variant().Layers() {
		info, ref := r.Layer(l), g.Layer(l)
		if info.Digest != ref.Digest {
			return mismatch("the %s layer %s: release %d has %s", l, ref.Digest, r.Version, info.Digest)
		}
		ref.Since = info.Since
	}
	g.Published = r.Created.Time
	return nil
}

// makeCurrent is Activate for a generation that a release is known to name.
func (s *Store) makeCurrent(g Generation, keep int) error {
	if err := s.needLock(); err != nil {
		return err
	}
	old, err := s.known()
	if err != nil {
		return err
	}
	if old != nil {
		if err := s.mayFollow(old, g.Version); err != nil {
			return err
		}
	}
	if err := s.checkPair(&g); err != nil {
		return err
	}
	// A layer that was reused may have been renamed by a run that died before it synced the folder.
	// Without this a power cut later could leave a CURRENT that names a file which is not there.
	if err := s.syncLayers(); err != nil {
		return err
	}
	g.Installed = dbformat.At(s.o.Now()).Time
	// A crash before the rename inside leaves the old generation current and the new layers unreferenced: the next
	// run uses them again or Clean removes them. After it the new generation is current.
	next := succeed(old, g, keep)
	if r, ok := s.Refusal(); ok && old != nil {
		next.keepMeasure(old, r)
	}
	if err := s.putCurrent(next); err != nil {
		return err
	}
	// A crash from here on leaves files that no generation names; the next Clean removes them. So does a
	// failure: what was asked for is done and durable.
	_ = s.removeLeftovers(nil)
	return nil
}

// mayFollow refuses versions that a hold forbids and steps back, which are the business of [Store.Rollback].
func (s *Store) mayFollow(old *Current, version uint64) error {
	what := ""
	switch {
	case version < old.Version:
		what = fmt.Sprintf("release %d is current, %d is older", old.Version, version)
	case old.Holds(version) && old.Hold.All:
		what = "every release is held"
	case old.Holds(version):
		what = fmt.Sprintf("releases up to %d are held after a rollback", old.Hold.Version)
	default:
		return nil
	}
	return &Error{Kind: ErrHeld, Path: s.currentPath(), What: what, Remedy: "wait for a higher release, or run release-hold"}
}

// checkPair opens the layers of g and proves that they are what g says and belong together. It
// completes the refs from the layers.
func (s *Store) checkPair(g *Generation) error {
	light, err := s.OpenLayer(g.Light.Digest, dbformat.Light)
	if err != nil {
		return err
	}
	defer light.Close()
	g.Light = light.Ref(g.Light.Since)
	if g.Rest == nil {
		return nil
	}
	rest, err := s.OpenLayer(g.Rest.Digest, dbformat.Rest)
	if err != nil {
		return err
	}
	defer rest.Close()
	*g.Rest = rest.Ref(g.Rest.Since)
	return pairError(rest.path, light.header, rest.header)
}

// pairError is not about damage: both layers are whole.
func pairError(path string, light, rest *dbformat.Header) error {
	if err := dbformat.CheckPair(light, rest); err != nil {
		return &Error{Kind: ErrDigestMismatch, Path: path, What: "does not belong to the light layer", Err: err,
			Remedy: "fetch both layers of one release"}
	}
	return nil
}

// Rollback makes the previous generation current, after proving all of it. The release that it left, and
// those between, are held until a higher one; with hold every release is, until [Store.ReleaseHold]. What it left stays
// on disk until the next release is made current. The caller must hold the update lock. Errors match [ErrNoPrevious] if there
// is nothing to go back to.
func (s *Store) Rollback(hold bool) (Current, error) {
	if err := s.needLock(); err != nil {
		return Current{}, err
	}
	old, err := s.current()
	if err != nil {
		return Current{}, err
	}
	if old.Previous == nil {
		return Current{}, &Error{Kind: ErrNoPrevious, Path: s.currentPath(), What: fmt.Sprintf("no release before %d is kept", old.Version),
			Remedy: "update.keep says how many are, from the next update on; \"avdb rollback\" goes back once for each"}
	}
	next := old.rollback(hold, dbformat.At(s.o.Now()))
	if err := s.verifyGeneration(context.Background(), &next.Generation, map[dbformat.Digest]bool{}); err != nil {
		return Current{}, err
	}
	// Its layers became durable before the CURRENT that named them first, so nothing but CURRENT changes here: a crash
	// before the rename inside leaves the release that was to be left, a crash after it the one before.
	if err := s.putCurrent(next); err != nil {
		return Current{}, err
	}
	// A crash from here on leaves layers that nothing names; the next Clean removes them.
	_ = s.removeLeftovers(nil) // as in makeCurrent
	return *next, nil
}

// rollback is the state after a rollback: a pure function. There must be a previous generation.
func (c *Current) rollback(all bool, now dbformat.Time) *Current {
	next := &Current{
		Generation: *c.Previous,
		Hold:       Hold{Version: max(c.Version, c.Hold.Version), All: all || c.Hold.All, Since: now.Time},
		RolledBack: &RolledBack{From: c.Generation, Since: now.Time},
	}
	for _, o := range c.Others {
		if o.Version < next.Version {
			next.Others = append(next.Others, o)
		}
	}
	next.setPrevious()
	return next
}

// SetHold stops every release until [Store.ReleaseHold]. Restriction sets are not releases: they are still taken.
// The caller must hold the update lock.
func (s *Store) SetHold() error {
	return s.changeHold(func(h *Hold) {
		if !h.All {
			h.All, h.Since = true, dbformat.At(s.o.Now()).Time
		}
	})
}

// ReleaseHold ends every hold, that of a rollback too. The caller must hold the update lock.
func (s *Store) ReleaseHold() error { return s.changeHold(func(h *Hold) { *h = Hold{} }) }

func (s *Store) changeHold(change func(*Hold)) error {
	if err := s.needLock(); err != nil {
		return err
	}
	c, err := s.current()
	if err != nil {
		return err
	}
	before := c.Hold
	change(&c.Hold)
	if c.Hold == before {
		return nil
	}
	// A crash before the rename inside leaves the hold as it was; the generation is the same on both sides of it.
	return s.putCurrent(c)
}

// DropDamaged proves every block of the generations that are kept beside the current one, and lets go, durably, of those that are damaged or missing: no
// rollback could return to them, and no update brings them back. It gives what it let go of. The blocks of layers that the current generation has, too, are not
// read: the caller has just proved that one. A layer that several generations have is read once. When ctx ends, its cause is the error, and nothing is let go of. The
// caller must hold the update lock.
func (s *Store) DropDamaged(ctx context.Context) (dropped []Generation, err error) {
	if err := s.needLock(); err != nil {
		return nil, err
	}
	c, err := s.current()
	if err != nil {
		return nil, err
	}
	proved := map[dbformat.Digest]bool{}
	for _, r := range c.refs() {
		proved[r.Digest] = true
	}
	var kept []Generation
	for _, o := range c.Others {
		err := s.verifyGeneration(ctx, &o, proved)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil:
			kept = append(kept, o)
		case errors.Is(err, ErrDamaged) || errors.Is(err, ErrDigestMismatch):
			dropped = append(dropped, o)
		default:
			return nil, err
		}
	}
	if len(dropped) == 0 {
		return nil, nil
	}
	c.Others = kept
	c.setPrevious()
	// A crash before the rename inside leaves them named, and the next update finds them again; after it their files are leftovers.
	if err := s.putCurrent(c); err != nil {
		return nil, err
	}
	_ = s.removeLeftovers(nil) // as in makeCurrent
	return dropped, nil
}

// verifyGeneration proves every block of g, but for layers that are proved already, and that its layers belong together. It adds what it proves.
func (s *Store) verifyGeneration(ctx context.Context, g *Generation, proved map[dbformat.Digest]bool) error {
	for _, l := range g.Variant().Layers() {
		d := g.Layer(l).Digest
		if proved[d] {
			continue
		}
		f, err := s.OpenLayer(d, l)
		if err != nil {
			return err
		}
		err = f.verify(ctx, nil)
		f.Close()
		if err != nil {
			return err
		}
		proved[d] = true
	}
	return s.checkPair(g)
}

// OpenCurrent opens the layers of the current generation; rest is nil for the light variant. An update that
// replaces the generation meanwhile is followed, so that a reader without any lock gets one whole generation. Both files
// are the caller's to close.
func (s *Store) OpenCurrent() (c Current, light, rest *LayerFile, err error) {
	for unchanged := 0; ; {
		if c, err = s.Current(); err != nil {
			return Current{}, nil, nil, err
		}
		light, rest, err = s.openGeneration(&c.Generation)
		if err == nil {
			return c, light, rest, nil
		}
		// A file that is gone is damage only if CURRENT names it, also when looked at again: updates
		// may have gone to another content and back meanwhile.
		again, e := s.Current()
		if e == nil && again.same(&c.Generation) {
			unchanged++
		}
		if e != nil || unchanged == 3 || !errors.Is(err, fs.ErrNotExist) && unchanged > 0 {
			return Current{}, nil, nil, err
		}
	}
}

func (s *Store) openGeneration(g *Generation) (light, rest *LayerFile, err error) {
	light, err = s.OpenLayer(g.Light.Digest, dbformat.Light)
	if err != nil || g.Rest == nil {
		return light, nil, err
	}
	rest, err = s.OpenLayer(g.Rest.Digest, dbformat.Rest)
	if err == nil {
		if err = pairError(rest.path, light.header, rest.header); err == nil {
			return light, rest, nil
		}
		rest.Close()
	}
	light.Close()
	return nil, nil, err
}
