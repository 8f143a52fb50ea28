package updater

import (
	"context"
	"errors"
	"fmt"
	"io"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// An installation carries out one plan with one source.
type installation struct {
	*cycle
	src     source
	source  string // its name
	targets *signing.Verified
	rel     signing.Release
	plan    Plan

	light      store.LayerRef
	lightDelta *fetched // the light delta that was applied, kept open for the rest delta that leans on it
	lightPath  string   // its target path
	files      []*fetched
}

// install brings every layer to its digest and makes the result current.
func (in *installation) install(ctx context.Context) (err error) {
	plan := in.plan
	in.step(stepClean)
	if err := in.clean(); err != nil {
		return err
	}
	in.step(stepSpace)
	if err := in.space(); err != nil {
		return err
	}
	defer func() {
		// What is whole and was refused would be refused again; a run that was cut short, or short of room, goes on with it.
		used := err == nil || ctx.Err() == nil && kindOf(err) != store.ErrStorage
		for _, f := range in.files {
			f.done(used)
		}
		if refusedByGuard(err) {
			err = errors.Join(err, in.discard())
		}
	}()
	g := store.Generation{Version: plan.Release.Version, Published: plan.Release.Created.Time}
	for _, s := range plan.Steps {
		ref, err := in.bring(ctx, s)
		if err != nil {
			return err
		}
		ref.Since = s.Info.Since
		if s.Layer == dbformat.Rest {
			g.Rest = &ref
			continue
		}
		g.Light, in.light = ref, ref
		if plan.Variant == dbformat.VariantFull {
			in.spare = &spare{release: in.rel, planned: plan.Release, light: ref, approved: in.targets.Approved(g.Version)}
		}
	}
	in.spare = nil
	// A crash up to here leaves layers that nothing names and partial files: the next run reuses or removes them.
	if err := in.activate(g, in.rel, in.targets.Approved(g.Version)); err != nil {
		return err
	}
	// A crash here leaves downloads that are used up; the next run removes them.
	cleanDownloads(in.u.c.Store.DownloadsDir(), nil)
	return nil
}

// clean removes what runs that died left behind, except what this plan can use.
func (in *installation) clean() error {
	var layers []dbformat.Digest
	keep := map[string]bool{}
	for _, s := range in.plan.Steps {
		layers = append(layers, s.Info.Digest)
		for _, o := range s.Options {
			for _, path := range []string{o.Target, o.LightDelta} {
				if t, ok := in.targets.Target(path); ok {
					keep[partialName(t)] = true
				}
			}
		}
	}
	cleanDownloads(in.u.c.Store.DownloadsDir(), keep)
	return in.clearLayers(layers...)
}

// clearLayers removes the layers that no generation has, except those named and the one that waits for its rest.
func (c *cycle) clearLayers(keep ...dbformat.Digest) error {
	if c.spare != nil {
		keep = append(keep, c.spare.light.Digest)
	}
	return c.u.c.Store.Clean(keep...)
}

// space refuses to begin what cannot be ended: the files to be fetched and the new layers must fit beside
// everything that is there.
func (in *installation) space() error {
	s := in.u.c.Store
	need := in.plan.Bytes
	for _, st := range in.plan.Steps {
		if len(st.Options) > 0 && st.Options[0].How != HowNone && st.Options[0].How != HowReuse {
			need += int64(st.Info.Bytes) + int64(st.Info.Bytes)/16 // pages and keys of the layer file
		}
	}
	free, err := s.FreeBytes()
	if err != nil {
		return err
	}
	if free < need+in.u.c.Limits.HeadRoom {
		return &store.Error{Kind: store.ErrStorage, Path: s.Dir(),
			What:   fmt.Sprintf("%d bytes are free and the update needs %d", free, need+in.u.c.Limits.HeadRoom),
			Remedy: "make room, then update again; the database in use stays as it is"}
	}
	return nil
}

// bring takes the options of a step in turn until one succeeds. A delta whose result is wrong, or that cannot be
// applied, says that the layer on disk is damaged or that the publisher erred: the bundle is taken, once, and
// the source is not blamed.
func (in *installation) bring(ctx context.Context, s Step) (store.LayerRef, error) {
	if len(s.Options) == 0 {
		return store.LayerRef{}, &SourceError{Source: in.source, File: dbformat.BundleTarget(s.Layer, s.Info.Digest),
			Reason: fmt.Sprintf("the repository names no file that leads to the %s of release %d", s.Layer, in.plan.Release.Version)}
	}
	var failures []error
	for _, o := range s.Options {
		ref, err := in.try(ctx, s, o)
		if err == nil {
			in.reportStep(s.Layer, o)
			return ref, nil
		}
		if ctx.Err() != nil {
			return store.LayerRef{}, context.Cause(ctx)
		}
		if errors.Is(err, store.ErrStorage) && !errors.Is(err, store.ErrDamaged) || errors.Is(err, ErrCoolDown) {
			return store.LayerRef{}, err // this machine's fault, or a source that wants no further request
		}
		if o.How != HowDelta || !harmless(err) {
			failures = append(failures, err)
		}
		if o.How == HowDelta {
			in.note("%s: %s: %s", NoteDeltaRefused, s.Layer, firstLine(err))
		}
	}
	if len(failures) == 0 {
		// Every file was what was signed, and none leads to the digest that was signed.
		failures = append(failures, &TargetError{Source: in.source, Target: s.Options[0].Target,
			Reason: fmt.Sprintf("does not lead to the %s of release %d, and no bundle is published", s.Layer, in.plan.Release.Version)})
	}
	return store.LayerRef{}, errors.Join(failures...)
}

// harmless tells whether the failure of a delta says nothing about the source: its file was what was signed.
func harmless(err error) bool {
	_, refused := errors.AsType[*applyError](err)
	return refused
}

// An applyError says that a file that is exactly what was signed did not lead to the digest that was signed.
type applyError struct {
	target string
	err    error
}

func (e *applyError) Error() string { return e.target + ": " + e.err.Error() }
func (e *applyError) Unwrap() error { return e.err }

// try carries out one option.
func (in *installation) try(ctx context.Context, s Step, o Option) (store.LayerRef, error) {
	st := in.u.c.Store
	if o.How == HowNone || o.How == HowReuse {
		f, err := st.OpenLayer(s.Info.Digest, s.Layer)
		if err != nil {
			return store.LayerRef{}, err
		}
		defer f.Close()
		return f.Ref(s.Info.Since), nil
	}
	var leaning *fetched
	if o.LightDelta != "" {
		var err error
		if leaning, err = in.leanOn(ctx, s, o); err != nil {
			return store.LayerRef{}, err
		}
	}
	f, err := in.fetch(ctx, o.Target)
	if err != nil {
		return store.LayerRef{}, err
	}
	in.step(stepApply)
	ref, err := in.apply(ctx, s, o, f, leaning)
	if err == nil && s.Layer == dbformat.Light && o.How == HowDelta {
		in.lightDelta, in.lightPath = f, o.Target
	}
	return ref, err
}

// leanOn gives the light delta under a rest delta: the one that was just applied, or one fetched for this.
func (in *installation) leanOn(ctx context.Context, s Step, o Option) (*fetched, error) {
	if in.lightDelta != nil && in.lightPath == o.LightDelta {
		_, err := in.lightDelta.Seek(0, io.SeekStart)
		return in.lightDelta, err
	}
	if o.Extra == 0 {
		return nil, &applyError{o.Target, errors.New("the light delta that it leans on was not applied")}
	}
	return in.fetch(ctx, o.LightDelta)
}

// fetch gets a target that the metadata names.
func (in *installation) fetch(ctx context.Context, path string) (*fetched, error) {
	in.step(stepFetch)
	t, ok := in.targets.Target(path)
	if !ok {
		return nil, &SourceError{Source: in.source, File: path, Reason: "the repository does not name it"}
	}
	f, err := in.src.open(ctx, t, func(done int64) {
		in.u.c.Progress(Progress{Target: path, Done: done, Total: t.Length})
	})
	if err != nil {
		return nil, err
	}
	in.files = append(in.files, f)
	return f, nil
}

// apply decodes a fetched file into a new layer file, block by block, and proves the result's digest.
func (in *installation) apply(ctx context.Context, s Step, o Option, f, leaning *fetched) (store.LayerRef, error) {
	st := in.u.c.Store
	bases, closeAll, err := in.bases(s, o)
	defer closeAll()
	if err != nil {
		return store.LayerRef{}, err
	}
	w, err := st.NewLayer(s.Layer)
	if err != nil {
		return store.LayerRef{}, err
	}
	defer w.Abort()
	r := &contextReader{ctx, f}
	var h *dbformat.Header
	switch {
	case o.How == HowBundle:
		h, err = dbformat.ReadBundle(r, s.Layer, w)
	case s.Layer == dbformat.Light:
		h, err = dbformat.ApplyLightDelta(bases[0], r, w)
	default:
		var under io.Reader
		if leaning != nil {
			under = &contextReader{ctx, leaning}
		}
		h, err = dbformat.ApplyRestDelta(bases[1], bases[2], bases[0], under, r, w)
	}
	if err != nil {
		return store.LayerRef{}, decodeError(ctx, o, err)
	}
	in.step(stepFinish)
	ref, err := w.Finish(h, s.Info.Digest)
	if errors.Is(err, store.ErrDigestMismatch) {
		return store.LayerRef{}, &applyError{o.Target, err}
	}
	return ref, err
}

// decodeError tells apart what this machine's disk did from what the file holds.
func decodeError(ctx context.Context, o Option, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, store.ErrStorage) && !errors.Is(err, store.ErrDamaged) {
		return err
	}
	return &applyError{o.Target, err}
}

// bases opens the layers that a delta starts from: the base itself and, for rest, old and new light.
func (in *installation) bases(s Step, o Option) (list []dbformat.LayerReader, closeAll func(), err error) {
	var opened []*store.LayerFile
	closeAll = func() {
		for _, f := range opened {
			f.Close()
		}
	}
	if o.How != HowDelta {
		return nil, closeAll, nil
	}
	type base struct {
		d dbformat.Digest
		l dbformat.Layer
	}
	wanted := []base{{o.Base, s.Layer}}
	if s.Layer == dbformat.Rest {
		wanted = append(wanted, base{o.BaseLight, dbformat.Light}, base{in.light.Digest, dbformat.Light})
	}
	for _, b := range wanted {
		f, err := in.u.c.Store.OpenLayer(b.d, b.l)
		if err != nil {
			return nil, closeAll, &applyError{o.Target, err}
		}
		opened = append(opened, f)
		list = append(list, f)
	}
	return list, closeAll, nil
}

// activate proves a new generation by the guards and by its own vectors and makes it current.
func (c *cycle) activate(g store.Generation, rel signing.Release, approved bool) error {
	s := c.u.c.Store
	if err := c.guard(&g, rel, approved); err != nil {
		return err
	}
	c.step(stepSelfTest)
	if err := c.selfTest(&g); err != nil {
		return err
	}
	c.step(stepIndex)
	if err := matcher.PrepareIndex(s, g); err != nil {
		// Derived and for speed only: whoever opens the generation builds it again.
		c.note(NoteIndexNotKept+": %v", err)
	}
	c.step(stepActivate)
	err := s.Activate(g, rel, c.keep())
	if cur, e := s.Current(); e == nil {
		c.current = &cur // another source may be asked for what this one did not give
		// Also after an error: CURRENT may have been replaced before the disk said that it failed.
		c.report.To, c.report.Variant = cur.Version, cur.Variant()
	}
	if err != nil {
		return err
	}
	c.report.Result = ResultUpdated
	c.forget(&g, approved)
	// The floor follows what is in use and never leads it: a crash here leaves the new generation current with the floor of
	// the old one, and the next run, which finds the release in place, accepts it.
	c.step(stepAccept)
	return c.accept(rel)
}

// keep is the number of generations that stay beside the current one.
func (c *cycle) keep() int {
	if k := c.u.c.Keep; k != 0 {
		return max(k, 0)
	}
	return c.settings.Update.Keep
}

func (c *cycle) selfTest(g *store.Generation) error {
	s := c.u.c.Store
	light, err := s.OpenLayer(g.Light.Digest, dbformat.Light)
	if err != nil {
		return err
	}
	defer light.Close()
	var rest dbformat.LayerReader
	if g.Rest != nil {
		f, err := s.OpenLayer(g.Rest.Digest, dbformat.Rest)
		if err != nil {
			return err
		}
		defer f.Close()
		rest = f
	}
	if err := c.u.c.SelfTest(light, rest); err != nil {
		return fmt.Errorf("release %d is not used: %w", g.Version, err)
	}
	return nil
}

// useSpare makes the light layer of a release current whose rest no source gave: an install without a
// generation, or with a light one, gains by it. An installed full generation stays whole, since protection is never taken away.
func (c *cycle) useSpare(ctx context.Context) error {
	sp := c.spare
	if sp == nil || ctx.Err() != nil || c.report.Result == ResultUpdated && c.report.To == sp.planned.Version {
		return nil
	}
	if !sp.planned.Offers(dbformat.VariantLight) || c.current != nil && (c.current.Rest != nil || c.current.Light.Digest == sp.light.Digest && c.current.Version == sp.planned.Version) {
		return nil
	}
	c.note(NoteRestUnavailable+": light of release %d is used without it", sp.planned.Version)
	g := store.Generation{Version: sp.planned.Version, Published: sp.planned.Created.Time, Light: sp.light}
	err := c.activate(g, sp.release, sp.approved)
	if refusedByGuard(err) {
		c.spare = nil
		err = errors.Join(err, c.discard())
	}
	return err
}
