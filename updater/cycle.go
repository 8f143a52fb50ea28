package updater

import (
	"cmp"
	"context"
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
	missed    bool                      // a source named a release above the installed one, which is not in use yet
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
		c.dropDamaged(ctx)
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

// dropDamaged lets go of kept generations that a rollback could not return to: they must not be promised. That fails no update, and whoever ends the
// cycle does not wait for it: the next one looks again. The current generation needs no second look, for every cycle that is good has proved it: as what
// it planned with, as what it keeps, or as what it wrote.
func (c *cycle) dropDamaged(ctx context.Context) {
	dropped, err := c.u.c.Store.DropDamaged(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return
	}
	for _, g := range dropped {
		c.note(NoteDamaged+": release %d, which was kept for a rollback, could not have been returned to: it is kept no more", g.Version)
	}
	if err != nil && !errors.Is(err, store.ErrNoDatabase) {
		c.note(NoteStateNotKept+": the look at what is kept for a rollback: %v", err)
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
		late := behind != "" && errors.Is(ctx.Err(), context.DeadlineExceeded) // the time is over, and a source was good
		if late && kindOf(err) == nil {
			err = &SourceError{Source: s.Name(), Reason: "the time was over in its turn"}
		}
		causes = append(causes, err)
		if ctx.Err() != nil && !late {
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
		if late {
			for _, s := range c.list[i+1:] {
				c.note(NoteSourceFailed+": %s: the time was over before its turn", s.Name())
			}
			break
		}
	}
	// A newer release that was offered, and could not be had or only in part, is said, whoever else is good.
	if behind != "" && c.spare == nil && !c.missed {
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

// refreshError gives an error of signing its source's name, and one of the disk its kind.
func (c *cycle) refreshError(ctx context.Context, name string, err error) error {
	return c.trustError(ofSource(ctx, name, err), "the trusted metadata cannot be kept")
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

// accept raises the floor of what is in use now.
func (c *cycle) accept(a signing.Accepted) error {
	return c.trustError(c.trust.Accept(a), "the floor of what was accepted cannot be kept")
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
