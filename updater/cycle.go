package updater

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// A cycle is one run of [Updater.Update].
type cycle struct {
	u        *Updater
	o        Options
	started  time.Time // of the monotonic clock, for the duration only
	settings store.Settings
	list     []Source // in the order in which they are tried
	access   access   // of the source whose turn it is, or was
	wanted   dbformat.Variant
	trust    *signing.Trust
	current  *store.Current // nil where no generation is current
	traffic  traffic
	report   Report

	approved  func(version uint64) bool // by the offline keys, beyond the guards
	coolDowns map[string]time.Time      // of sources, by name
	unusable  error                     // why what is kept cannot be used, nil if that was not seen
	spare     *spare                    // a light layer whose rest could not be had
	installed bool                      // a generation is current, which may be damaged
	behind    bool                      // the source whose turn it is has a release below the installed one
}

// A spare is a light layer of a release, ready on disk, whose rest no source has given so far.
type spare struct {
	release signing.Release
	planned *dbformat.Release
	light   store.LayerRef

	approved bool // by the offline keys, beyond the guards
}

func (c *cycle) step(name string) { c.u.c.Step(name) }

func (c *cycle) now() time.Time { return c.u.c.Now() }

func (c *cycle) note(format string, args ...any) {
	n := c.access.hide(fmt.Sprintf(format, args...))
	if slices.Contains(c.report.Notes, n) {
		return
	}
	c.report.Notes = append(c.report.Notes, n)
	c.u.c.Logger.Info("update", "note", n)
}

// locked is everything that happens under the update lock.
func (c *cycle) locked(ctx context.Context) error {
	s := c.u.c.Store
	c.report.Result = ResultCurrent
	c.step(stepLock)
	lock, err := s.Lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	c.step(stepSettings)
	if err := c.read(); err != nil {
		return err
	}
	if err = c.sources(ctx); err == nil && !c.looking() {
		c.dropDamaged()
	}
	c.report.Bytes, c.report.Requests = c.traffic.bytes.Load(), c.traffic.requests.Load()
	c.sum(err)
	if !c.looking() {
		c.step(stepHistory)
		if e := s.AppendHistory(c.event(err)); e != nil {
			c.note(NoteStateNotKept+": %v", e)
		}
	}
	return err
}

// dropDamaged lets go of kept generations that a rollback could not return to: they must not be promised. That fails no update.
func (c *cycle) dropDamaged() {
	dropped, err := c.u.c.Store.DropDamaged()
	for _, g := range dropped {
		c.note(NoteDamaged+": release %d, which was kept for a rollback, could not have been returned to: it is kept no more", g.Version)
	}
	if err != nil && !errors.Is(err, store.ErrNoDatabase) {
		c.note(NoteStateNotKept+": %v", err)
	}
}

// looking tells whether nothing is to be changed.
func (c *cycle) looking() bool { return c.o.Check || c.o.DryRun }

// read takes what the cycle starts from, once: settings that change meanwhile count in the next cycle.
func (c *cycle) read() error {
	s := c.u.c.Store
	var err error
	if c.settings, err = s.Settings(); err != nil {
		return err
	}
	choice := c.o.Variant
	if choice == "" {
		choice = c.settings.Update.Variant
	}
	switch choice {
	case "auto", "":
		c.wanted = c.u.c.Auto(c.settings)
	case "light", "full":
		c.wanted = dbformat.Variant(choice)
	default:
		return fmt.Errorf("variant %.40q, want auto, light or full", choice)
	}
	if c.trust, err = s.OpenTrust(); err != nil {
		return c.trustError(err, "the trusted metadata cannot be read")
	}
	if !c.looking() {
		if err := s.MakeFolders(); err != nil {
			return err
		}
	}
	c.readCoolDowns()
	cur, err := s.Current()
	switch {
	case err == nil:
		c.current, c.installed = &cur, true
		c.report.From, c.report.To, c.report.Variant = cur.Version, cur.Version, cur.Variant()
	case errors.Is(err, store.ErrDamaged):
		c.installed = true
		// The layers themselves may be whole: those that the release names are used again.
		c.note(NoteDamaged+": %v", err)
	case !errors.Is(err, store.ErrNoDatabase):
		return err
	}
	return nil
}

// choose takes the sources of this cycle.
func (c *cycle) choose() error {
	if c.list = c.u.c.Sources; len(c.list) > 0 {
		return nil
	}
	for _, s := range c.settings.Sources {
		src, err := SourceOf(s)
		if err != nil {
			return err
		}
		c.list = append(c.list, src)
	}
	if len(c.list) == 0 {
		return fmt.Errorf("%w; tell where updates come from with init", ErrNotSetUp)
	}
	return nil
}

// sources tries one source after the other until one is good and not behind. Each gets an even share of the time
// that is left, so that no source can keep the next one from its turn.
func (c *cycle) sources(ctx context.Context) error {
	if err := c.choose(); err != nil {
		return err
	}
	var causes []error
	behind := "" // the first source that is good and has nothing newer than what is installed; good enough if no other one has
	end, _ := ctx.Deadline()
	for i, s := range c.list {
		share := time.Until(end) / time.Duration(len(c.list)-i)
		c.behind = false
		err := c.visit(ctx, s, share)
		switch {
		case err == nil && !c.behind:
			c.report.Source = s.Name()
			return nil
		case err == nil:
			behind = cmp.Or(behind, s.Name())
			continue
		}
		causes = append(causes, err)
		if behind != "" && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			break // the time is over, and a source was good
		}
		if ctx.Err() != nil {
			return c.worst(append(causes, context.Cause(ctx)), c.report.From)
		}
		if kindOf(err) == nil || kindOf(err) == store.ErrStorage {
			behind = ""
			break // this machine's fault: another source changes nothing
		}
		code := NoteSourceFailed
		if errors.Is(err, signing.ErrStale) {
			code = NoteSourceStale
		}
		c.note("%s: %s", code, firstLine(err))
	}
	// A spare tells of a newer release that could be had in part only: that is said, whoever else is good.
	if behind != "" && c.spare == nil {
		c.report.Source = behind
		if !c.looking() {
			cleanDownloads(c.u.c.Store.DownloadsDir(), nil)
		}
		return nil
	}
	if err := c.useSpare(ctx); err != nil {
		causes = append(causes, err)
	}
	if c.looking() {
		return c.worst(causes, c.report.From) // To is what would be
	}
	return c.worst(causes, c.report.To)
}

// worst joins what the sources did into one error, which promises no protection that there is not.
func (c *cycle) worst(causes []error, installed uint64) error {
	err := worst(causes, installed)
	if e, ok := err.(*UpdateError); ok && installed != 0 {
		if e.Unusable = c.unusable; e.Unusable == nil {
			e.Unusable = c.opens()
		}
	}
	return err
}

// opens tells why the current generation cannot be opened; nil if it can, as scans do it.
func (c *cycle) opens() error {
	_, light, rest, err := c.u.c.Store.OpenCurrent()
	if err != nil {
		return err
	}
	light.Release()
	if rest != nil {
		rest.Release()
	}
	return nil
}

// visit is one source's turn, and keeps what came of it.
func (c *cycle) visit(ctx context.Context, s Source, share time.Duration) (err error) {
	name := s.Name()
	if until := c.coolDowns[name]; c.cools(until) {
		return &CoolDownError{Source: name, Until: until, Reason: "it asked to be left alone earlier"}
	}
	slow := &SourceError{Source: name, Reason: fmt.Sprintf("took longer than its share of the time, %s", share.Round(time.Second))}
	turn, cancel := context.WithTimeoutCause(ctx, share, slow)
	defer cancel()
	src, err := c.open(s)
	if err == nil {
		defer src.close()
		err = c.access.hideErr(c.update(turn, src, s))
	}
	// A check, too, must not ask again a source that said not to. What this machine's disk did is no fault of a source.
	if ctx.Err() == nil && (err == nil || kindOf(err) != nil && kindOf(err) != store.ErrStorage) {
		c.remember(name, err)
	}
	return err
}

// update brings this install to what one source offers.
func (c *cycle) update(ctx context.Context, src source, s Source) error {
	name := s.Name()
	c.step(stepRefresh)
	old, err := c.restrictionsInForce()
	if err != nil {
		return err
	}
	v, err := c.trust.Refresh(ctx, src, signing.RefreshOptions{Now: c.now(), MaxAge: s.MaxAge, Look: c.looking(), Epoch: old.epoch, Installed: c.installed})
	if err != nil {
		return c.refreshError(ctx, name, err)
	}
	for _, n := range v.Notes() {
		c.note("%s: %s", n.Code, n.Text)
	}
	c.step(stepRestrictions)
	unlimited := c.restrictions(ctx, src, v)
	if unlimited != nil && (ctx.Err() != nil || kindOf(unlimited) == store.ErrStorage || kindOf(unlimited) == ErrCoolDown) {
		return unlimited
	}
	c.step(stepNetwork)
	if err := c.network(ctx, src, v); err != nil {
		if ctx.Err() != nil || kindOf(err) == store.ErrStorage || kindOf(err) == ErrCoolDown {
			return errors.Join(err, unlimited)
		}
		unlimited = errors.Join(unlimited, err)
	}
	// The layers do not wait for a restriction set or a provider file that this source does not give.
	return errors.Join(c.layers(ctx, src, name, v), unlimited)
}

// refreshError gives an error of signing its source's name, and one of the context its cause.
func (c *cycle) refreshError(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, named := errors.AsType[*TargetError](err); !named && errors.Is(err, signing.ErrUntrusted) {
		return &MetadataError{Source: name, Err: err}
	}
	return c.trustError(err, "the trusted metadata cannot be kept")
}

// trustError gives an error of the disk under the trust folder the kind of one of the store. A source may have failed before
// the disk did; then the disk's failure is what counts, since it would meet every other source, too.
func (c *cycle) trustError(err error, what string) error {
	if !errors.Is(err, signing.ErrStorage) || errors.Is(err, signing.ErrUntrusted) {
		return err
	}
	for _, e := range apart(err) {
		if e != signing.ErrStorage && kindOf(e) == nil {
			return storageError(c.u.c.Store.TrustDir(), what, e)
		}
	}
	return storageError(c.u.c.Store.TrustDir(), what, nil)
}

// restrictions takes a newer restriction set into use at once: no hold, cohort or missing layer keeps it back. What is stored is held against what was
// signed each time: a set that is missing, or that nobody signed, is replaced, whatever epoch it claims.
func (c *cycle) restrictions(ctx context.Context, src source, v *signing.Verified) error {
	old, err := c.restrictionsInForce()
	if err != nil {
		return err
	}
	t, ok := v.Target(dbformat.RestrictionsTarget)
	if !ok {
		return c.noRestrictions(v, old)
	}
	same := old.bytes != nil && sha256.Sum256(old.bytes) == t.SHA256
	b := old.bytes
	if !same {
		if b, err = src.small(ctx, t, dbformat.MaxRestrictionSet); err != nil {
			return err
		}
	}
	// By the floor alone: these metadata may name another set than the ones before them.
	before, why := v.RestrictionProof().BeforeRefresh().Check(old.bytes)
	set, err := v.Restrictions(b)
	switch {
	case errors.Is(err, signing.ErrUntrusted):
		return err
	case err != nil: // signed as it should be, and still no set: the old one stays in force
		c.note(NoteRestrictionsRefused+": %v", err)
		if before == "" {
			return &signing.UntrustedError{Role: "epoch", Reason: signing.ReasonMalformed, Err: err,
				Detail: "the stored restriction set " + why + ", and the one that is signed cannot be used",
				Remedy: "nothing is asked of KSN until a set can be proved; tell who publishes the database"}
		}
		return nil
	case same && c.looking():
		return nil
	case same: // a run that died after it had stored the set left the floor as it was
		return c.accept(set)
	}
	put := c.u.c.Store.PutRestrictions
	switch epoch := set.Set().Epoch; {
	case before == "":
		put = c.u.c.Store.ReplaceRestrictions
		if !old.damaged { // that is told already
			c.note(NoteRestrictionsReplaced+": the stored restriction set %s: the signed one, of epoch %d, takes its place", why, epoch)
		}
	case before == signing.ProofFloor && epoch == old.epoch:
		put = c.u.c.Store.ReplaceRestrictions
		c.note(NoteRestrictionsReplaced+": another set is signed under the epoch %d that is in force: it takes its place", epoch)
	}
	st := ReportStep{Layer: "restrictions", How: HowSet, From: old.epoch, To: set.Set().Epoch, Bytes: t.Length,
		Why: fmt.Sprintf("the set of epoch %d takes the place of epoch %d", set.Set().Epoch, old.epoch)}
	if c.looking() {
		c.putStep(st)
		c.report.Result = ResultAvailable
		return nil
	}
	// A crash after this leaves the signed set with the floor of the one before it: it is proved by the metadata that were stored before it, and the next run
	// accepts it.
	if err := put(b, set.Set().Epoch); err != nil {
		return err
	}
	c.putStep(st)
	c.report.Result = ResultUpdated
	return c.accept(set)
}

// noRestrictions is about a repository that names no set. One that was in use is never taken back: as long as it is there, it stays in force. One for which
// nothing vouches is removed.
func (c *cycle) noRestrictions(v *signing.Verified, old inForce) error {
	by, why := v.RestrictionProof().Check(old.bytes)
	switch {
	case by != "" && !old.damaged:
		return nil
	case v.RestrictionProof().Epoch != 0: // it is gone, and nothing here brings it back
		_, err := v.Restrictions(nil)
		return err
	}
	if !old.damaged {
		c.note(NoteRestrictionsReplaced+": the stored restriction set %s, and the repository names none: it is removed", why)
	}
	st := ReportStep{Layer: "restrictions", How: HowSet, From: old.epoch, Why: "nothing vouches for the stored set"}
	if c.looking() {
		c.putStep(st)
		c.report.Result = ResultAvailable
		return nil
	}
	if err := c.u.c.Store.RemoveRestrictions(); err != nil {
		return err
	}
	c.putStep(st)
	c.report.Result = ResultUpdated
	return nil
}

// accept raises the floor of what is in use now.
func (c *cycle) accept(a signing.Accepted) error {
	return c.trustError(c.trust.Accept(a), "the floor of what was accepted cannot be kept")
}

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

// outcome keeps a failure from looking like a run that found nothing to do.
func (c *cycle) outcome(err error) {
	if err != nil && c.report.Result != ResultUpdated {
		c.report.Result = ResultFailed
	}
}

// sum completes the report.
func (c *cycle) sum(err error) {
	c.outcome(err)
	next := c.now().Add(c.u.c.Interval + time.Duration(c.u.c.Random()*float64(c.u.c.Interval)/5))
	if e, ok := errors.AsType[*UpdateError](err); ok && e.Until.After(next) {
		next = e.Until
	}
	next = next.UTC().Truncate(time.Second)
	c.report.NextNotBefore = &next
	if err != nil && c.report.PendingVariant == "" && c.report.Variant != c.wanted {
		c.report.PendingVariant = c.wanted
	}
}
