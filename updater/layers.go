package updater

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// layers plans and carries out what is to be done for the layers.
func (c *cycle) layers(ctx context.Context, src source, name string, v *signing.Verified) error {
	c.step(stepRelease)
	t, ok := v.Target(dbformat.ReleaseTarget)
	if !ok {
		return c.noRelease(name, v)
	}
	b, err := src.small(ctx, t, dbformat.MaxReleaseRecord)
	if err != nil {
		return err
	}
	rel, err := v.Release(b)
	if err != nil {
		return &MetadataError{Source: name, Err: err}
	}
	c.step(stepPlan)
	c.approved = v.Approved
	plan := MakePlan(c.planInput(rel, v))
	c.planNotes(plan)
	c.missed = c.missed || c.current != nil && (plan.Err != nil || plan.Release != nil && plan.Release.Version > c.current.Version)
	if plan.Change && plan.Err == nil {
		if err := c.refusedBefore(plan); err != nil {
			if c.looking() {
				return err
			}
			return errors.Join(err, c.discard())
		}
	}
	if plan.Err == nil && plan.Release == nil {
		if err := c.provesKept(name, rel.Record()); err != nil {
			return err
		}
		c.behind = plan.Behind
	}
	switch {
	case plan.Err != nil:
		return plan.Err
	case c.looking():
		c.foresee(plan)
		return nil
	case plan.Change:
		in := &installation{cycle: c, src: src, source: name, targets: v, rel: rel, plan: plan}
		return in.install(ctx)
	}
	c.reportSteps(plan)
	c.step(stepClean)
	if !plan.Behind { // the next source may go on with what is there
		cleanDownloads(c.u.c.Store.DownloadsDir(), nil)
	}
	if err := c.clearLayers(); err != nil {
		return err
	}
	if plan.Release == nil { // what is not in use is not accepted
		return nil
	}
	c.step(stepAccept)
	return c.accept(rel)
}

// provesKept is the error of a plan that keeps what is installed, where that cannot be used: "current" would say that it protects. What a hold keeps no
// source may replace; what is newer than this source has, another source may have.
func (c *cycle) provesKept(source string, offered dbformat.ReleaseRecord) error {
	cur := c.current
	if cur == nil {
		return nil
	}
	good := c.usable(dbformat.Light, cur.Light.Digest, true)
	if good && cur.Rest != nil {
		good = c.usable(dbformat.Rest, cur.Rest.Digest, true)
	}
	if good {
		return nil
	}
	c.unusable = fmt.Errorf("release %d is installed and damaged", cur.Version)
	if cur.Hold.All || cur.Version <= offered.Version() {
		return &store.Error{Kind: store.ErrStorage, Damaged: true, Path: c.u.c.Store.Dir(), What: fmt.Sprintf("release %d is installed, damaged and held", cur.Version),
			Remedy: "run \"avdb release-hold\", then update: what is damaged is fetched again"}
	}
	return &SourceError{Source: source, File: dbformat.ReleaseTarget,
		Reason: fmt.Sprintf("release %d is installed and damaged, and this source has release %d", cur.Version, offered.Version()),
		Remedy: "update from a source that has what is installed"}
}

// noRelease is the error about a repository without a release. Where one was seen before, none is older: no publisher takes it back.
func (c *cycle) noRelease(name string, v *signing.Verified) error {
	_, err := v.Release(nil)
	switch {
	case errors.Is(err, signing.ErrStale):
		return &MetadataError{Source: name, Err: err}
	case c.current != nil: // its floor was lost
		return &MetadataError{Source: name, Err: &signing.UntrustedError{Role: "release", Floor: c.current.Version, Reason: signing.ReasonRollback,
			Detail: fmt.Sprintf("the repository names none, and release %d is installed", c.current.Version)}}
	}
	return &SourceError{Source: name, File: dbformat.ReleaseTarget, Reason: "the repository has no release yet"}
}

// planInput gathers what the plan looks at.
func (c *cycle) planInput(rel signing.Release, v *signing.Verified) PlanInput {
	in := PlanInput{
		Record: rel.Record(),
		Targets: func(path string) (int64, bool) {
			t, ok := v.Target(path)
			return t.Length, ok
		},
		Wanted: c.wanted,
		Engine: dbformat.EngineLevel,
	}
	if cand := in.Record.Candidate; cand != nil {
		in.Cohort = dbformat.Cohort(c.settings.Install, cand.Release.Version)
	}
	seen, results := map[dbformat.Digest]bool{}, map[dbformat.Digest]bool{}
	for _, r := range releases(in.Record) {
		results[r.Light.Digest], results[r.Rest.Digest] = true, true
	}
	add := func(l dbformat.Layer, r store.LayerRef, with dbformat.Digest) {
		if seen[r.Digest] {
			return
		}
		seen[r.Digest] = true
		if !c.usable(l, r.Digest, results[r.Digest]) {
			return
		}
		in.OnDisk = append(in.OnDisk, OnDisk{Layer: l, Digest: r.Digest, Since: r.Since, With: with})
	}
	addGeneration := func(g *store.Generation) {
		add(dbformat.Light, g.Light, dbformat.Digest{})
		if g.Rest != nil {
			add(dbformat.Rest, *g.Rest, g.Light.Digest)
		}
	}
	if cur := c.current; cur != nil {
		in.Current = &Installed{Version: cur.Version, Light: cur.Light.Digest}
		if cur.Rest != nil {
			in.Current.Rest = cur.Rest.Digest
		}
		in.Hold = Hold{All: cur.Hold.All, Version: cur.Hold.Version}
		addGeneration(&cur.Generation)
		for i := range cur.Others {
			addGeneration(&cur.Others[i])
		}
		if cur.RolledBack != nil {
			addGeneration(&cur.RolledBack.From)
		}
	}
	// Layers of a run that died before it could make them current.
	for _, r := range releases(in.Record) {
		add(dbformat.Light, store.LayerRef{Digest: r.Light.Digest, Since: r.Light.Since}, dbformat.Digest{})
		add(dbformat.Rest, store.LayerRef{Digest: r.Rest.Digest, Since: r.Rest.Since}, r.Light.Digest)
	}
	return in
}

func releases(r dbformat.ReleaseRecord) []*dbformat.Release {
	list := []*dbformat.Release{&r.Stable}
	if r.Candidate != nil {
		list = append(list, &r.Candidate.Release)
	}
	return list
}

// usable tells whether a layer file is there and good for what it is needed for. One that is to be used as it is is
// proved block by block, so that an update heals whatever a scan or a verification found damaged; one that a delta
// starts from is proved while the delta is applied. A damaged one is noted; it is fetched again if it is needed.
func (c *cycle) usable(l dbformat.Layer, d dbformat.Digest, asItIs bool) bool {
	s := c.u.c.Store
	if !s.HasLayer(d) {
		return false
	}
	f, err := s.OpenLayer(d, l)
	if err == nil {
		defer f.Close()
		if asItIs {
			err = f.Verify(nil)
		}
	}
	if err != nil {
		c.note(NoteDamaged+": %v", err)
		return false
	}
	return true
}

func (c *cycle) planNotes(p Plan) {
	for _, n := range p.Notes {
		c.note("%s", n)
	}
	c.report.PendingVariant = p.Pending
	if r := p.Release; r != nil && r.Created.After(c.now().Add(futureTolerance)) {
		c.note("%s: release %d says that it was made at %s; this device's clock or the publisher's is wrong",
			NoteReleaseInFuture, r.Version, r.Created.UTC().Format(time.RFC3339))
	}
}

// futureTolerance is how far the clocks of a publisher and an endpoint may differ before it is worth a note.
const futureTolerance = 24 * time.Hour

// foresee reports what an update would do.
func (c *cycle) foresee(p Plan) {
	if p.Release == nil {
		return
	}
	c.reportSteps(p)
	c.report.To, c.report.Variant = p.Release.Version, p.Variant
	if p.Change {
		c.report.Result = ResultAvailable
	}
}

// reportSteps reports the first option of each step.
func (c *cycle) reportSteps(p Plan) {
	for _, s := range p.Steps {
		if len(s.Options) > 0 {
			c.reportStep(s.Layer, s.Options[0])
		}
	}
}

// reportStep reports one layer.
func (c *cycle) reportStep(l dbformat.Layer, o Option) {
	c.putStep(ReportStep{Layer: l.String(), How: o.How, Why: o.Why, From: o.From, To: o.To, Bytes: o.Bytes})
}

// putStep reports a step, in the place of an earlier source's attempt at the same layer. That a source found on disk what an earlier
// one had given says nothing new.
func (c *cycle) putStep(st ReportStep) {
	i := slices.IndexFunc(c.report.Steps, func(s ReportStep) bool { return s.Layer == st.Layer })
	switch {
	case i < 0:
		c.report.Steps = append(c.report.Steps, st)
	case st.How != HowReuse && st.How != HowNone:
		c.report.Steps[i] = st
	}
}
