package updater

import (
	"encoding/json"
	"errors"
	"net/url"
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
	epoch uint64
	bytes []byte
}

// restrictionsInForce reads the stored set. A damaged one is as good as none: whether a set in its place is not
// older is for the floor of epochs to say, which lies elsewhere.
func (c *cycle) restrictionsInForce() (inForce, error) {
	b, ok, err := c.u.c.Store.Restrictions()
	switch {
	case errors.Is(err, store.ErrDamaged):
		c.note(NoteDamaged+": %v", err)
		return inForce{}, nil
	case err != nil || !ok:
		return inForce{}, err
	}
	set, err := dbformat.ParseRestrictionSet(b)
	if err != nil {
		c.note(NoteDamaged+": the stored restriction set: %v", err)
		return inForce{}, nil
	}
	return inForce{set.Epoch, b}, nil
}

// open makes the source for a URL.
func (c *cycle) open(u *url.URL) source {
	cfg := c.u.c
	if u.Scheme == "file" {
		return newFileSource(u, &c.traffic)
	}
	m := &meter{next: cfg.Transport, limits: cfg.Limits, limiter: c.u.limiter(c.settings), traffic: &c.traffic}
	if m.next == nil {
		m.next, m.own = newTransport(cfg.Limits), true
	}
	return newHTTPSource(u, m, cfg.Store.DownloadsDir(), cfg.UserAgent, cfg.Now, cfg.Random)
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

func (c *cycle) elapsed() float64 { return time.Since(c.started).Seconds() }

// event is the line of the history for this cycle.
func (c *cycle) event(err error) store.Event {
	r := c.report
	e := store.Event{Time: c.now(), Kind: "update", Result: string(r.Result), From: r.From, To: r.To, Variant: string(r.Variant),
		Source: r.Source, Bytes: r.Bytes, Requests: int(r.Requests), Seconds: c.elapsed(), Notes: r.Notes}
	if err != nil {
		e.Error = err.Error()
	}
	if b, err := json.Marshal(r.Steps); err == nil && len(r.Steps) > 0 {
		e.Detail = b
	}
	return e
}

// remember keeps what came of a source's turn.
func (c *cycle) remember(name string, err error) {
	var known []string
	for _, s := range c.settings.Sources {
		if u, err := parseSource(s.URL); err == nil {
			known = append(known, u.Redacted())
		}
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
