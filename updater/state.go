package updater

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// inForce is the stored restriction set; zero for none.
type inForce struct {
	epoch   uint64
	bytes   []byte
	damaged bool // there is something else, which was noted
}

// restrictionsInForce reads the stored set. A damaged one is as good as none: whether a set in its place is not
// older is for the floor of epochs to say, which lies elsewhere.
func (c *cycle) restrictionsInForce() (inForce, error) {
	b, ok, err := c.u.c.Store.Restrictions()
	switch {
	case errors.Is(err, store.ErrDamaged):
		c.note(NoteDamaged+": %v", err)
		return inForce{damaged: true}, nil
	case err != nil || !ok:
		return inForce{}, err
	}
	set, err := dbformat.ParseRestrictionSet(b)
	if err != nil {
		c.note(NoteDamaged+": the stored restriction set: %v", err)
		return inForce{damaged: true}, nil
	}
	return inForce{epoch: set.Epoch, bytes: b}, nil
}

// open reads the credentials of a source and makes it ready.
func (c *cycle) open(s Source) (source, error) {
	cfg := c.u.c
	limit := cfg.RateLimit
	if limit == 0 {
		limit = c.settings.Update.LimitRate
	}
	src, a, err := RemoteConfig{Downloads: cfg.Store.DownloadsDir(), Getenv: cfg.Getenv, Now: cfg.Now, Random: cfg.Random, Transport: cfg.Transport,
		Limits: cfg.Limits, RateLimit: limit, UserAgent: cfg.UserAgent}.connect(s, &c.traffic)
	if err != nil {
		return nil, err
	}
	c.access = a
	return src, nil
}

// readCoolDowns reads which sources asked to be left alone. State that cannot be read forgets it: an update matters
// more than a courtesy.
func (c *cycle) readCoolDowns() {
	states, err := c.u.c.Store.SourceStates()
	if err != nil {
		c.note(NoteStateNotKept+": %v", err)
	}
	for name, st := range states {
		c.coolDowns[name] = st.CoolDownUntil
	}
}

// cools tells whether a cool-down holds now. One that lies further ahead than any that is given is a clock's mistake.
func (c *cycle) cools(until time.Time) bool {
	return until.After(c.now()) && !until.After(c.now().Add(c.u.c.Limits.CoolDown))
}

func (c *cycle) elapsed() float64 { return time.Since(c.started).Seconds() }

// Results of a history event whose update failed for a reason that is nobody's fault. Others have that of the report.
const (
	EventCoolDown    = "cool_down"   // every source asked to be left alone
	EventInterrupted = "interrupted" // the caller ended the update
)

// event is the line of the history for this cycle.
func (c *cycle) event(err error) store.Event {
	r := c.report
	e := store.Event{Time: c.now(), Kind: "update", Result: string(r.Result), From: r.From, To: r.To, Variant: string(r.Variant),
		Source: r.Source, Bytes: r.Bytes, Requests: int(r.Requests), Seconds: c.elapsed(), Notes: r.Notes}
	if err != nil {
		e.Error = err.Error()
		switch {
		case errors.Is(err, ErrCoolDown):
			e.Result = EventCoolDown
		case errors.Is(err, context.Canceled):
			e.Result = EventInterrupted
		}
	}
	if b, err := json.Marshal(r.Steps); err == nil && len(r.Steps) > 0 {
		e.Detail = b
	}
	return e
}

// remember keeps what came of a source's turn.
func (c *cycle) remember(name string, err error) {
	var known []string // what is not of this run keeps its cool-down, too
	for other, until := range c.coolDowns {
		if c.cools(until) {
			known = append(known, other)
		}
	}
	for _, s := range c.list {
		known = append(known, s.Name())
	}
	for _, s := range c.settings.Sources {
		known = append(known, SourceName(s.URL))
	}
	e := c.u.c.Store.UpdateSource(name, known, func(st *store.SourceState) {
		st.CoolDownUntil = time.Time{}
		if err == nil {
			st.LastError, st.LastErrorTime, st.Failures, st.LastSuccess = "", time.Time{}, 0, c.now().UTC()
			return
		}
		st.LastError, st.LastErrorTime = firstLine(err), c.now().UTC()
		st.Failures++
		if d, ok := errors.AsType[*CoolDownError](err); ok {
			st.CoolDownUntil = d.Until
		}
	})
	if e != nil {
		c.note(NoteStateNotKept+": %v", e)
	}
}

// partialName is the name of a target's partial file.
func partialName(t signing.Target) string { return t.SHA256.String() + partialSuffix }

const partialSuffix = ".unverified"

// cleanDownloads removes the partial files that no coming run can use: all but those named.
// A crash among them leaves the others for the next run; no name is synced, since one that comes back is removed again.
func cleanDownloads(dir string, keep map[string]bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), partialSuffix) && !keep[e.Name()] {
			os.Remove(filepath.Join(dir, e.Name())) // best effort: the next run tries again
		}
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
