package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// A Config is what [Sync] works with. Dir and Source must be set.
type Config struct {
	Dir    string               // the mirror
	Source updater.Source       // a repository's public folder or another mirror
	Root   []byte               // of the repository, which came another way; nil for the one that Dir trusts already
	Layers []dbformat.Layer     // whose files are kept; none means all. Clients find other ones unavailable here
	Keep   int                  // releases whose files stay for slow clients, the shown one included; 0 means [DefaultKeep]
	Remote updater.RemoteConfig // how the source is read; Downloads is ours
	Now    func() time.Time     // nil means time.Now

	Progress func(updater.Progress) // told of each piece that arrives, from another goroutine; nil for none
	Disk     signing.Disk           // under Dir, for tests; nil for none
}

// Results of a sync or a promotion.
const (
	ResultUpdated = "updated" // something is shown that was not, or what was damaged is whole again
	ResultCurrent = "current"
)

// A Report says what a sync or a promotion did.
type Report struct {
	Result   string    `json:"result"`
	Dir      string    `json:"dir"`
	Source   string    `json:"source"` // its name, without secrets
	From     uint64    `json:"from"`   // the release that was shown before; 0 for none
	Version  uint64    `json:"version"`
	Signed   time.Time `json:"signed"`
	Expires  time.Time `json:"expires"` // clients refuse from then on
	Layers   []string  `json:"layers"`
	Targets  int       `json:"targets"`  // files that were got
	Removed  int       `json:"removed"`  // files that nobody needs any more
	Bytes    int64     `json:"bytes"`    // that crossed the network, metadata included
	Requests int64     `json:"requests"` // as well
	Seconds  float64   `json:"seconds"`
	Notes    []string  `json:"notes,omitempty"`
}

// Sync brings a mirror to the state of its source. Everything is verified before anything becomes visible; without news it costs two
// requests, and what is there and was proved is not read again. Of two runs on one mirror the second one ends at once with store.ErrLocked. Whatever
// fails, the mirror goes on showing one whole state.
func Sync(ctx context.Context, c Config) (Report, error) {
	start := time.Now()
	if c.Now == nil {
		c.Now = time.Now
	}
	f := folder{c.Dir, c.Disk}
	r := Report{Result: ResultCurrent, Dir: c.Dir, Source: c.Source.Name(), Layers: layerNames(c.Layers)}
	if err := f.trusts(c.Root); err != nil {
		return r, err
	}
	unlock, err := f.open()
	if err != nil {
		return r, err
	}
	defer unlock()
	err = f.sync(ctx, c, &r)
	r.Seconds = time.Since(start).Seconds()
	return r, err
}

func layerNames(list []dbformat.Layer) []string {
	if len(list) == 0 {
		list = []dbformat.Layer{dbformat.Light, dbformat.Rest}
	}
	var names []string
	for _, l := range list {
		names = append(names, l.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// trusts refuses a mirror that nobody gave a root, before anything is made.
func (f folder) trusts(root []byte) error {
	if root != nil {
		return nil
	}
	_, err := signing.OpenTrust(f.private("trust"))
	return err
}

// trust opens the trust folder, which is made if there is a root.
func (f folder) trust(root []byte) (*signing.Trust, error) {
	if root != nil {
		if err := signing.InitTrust(f.private("trust"), root, false); err != nil {
			return nil, err
		}
	}
	return signing.OpenTrustOn(f.disk, f.private("trust"))
}

func (f folder) sync(ctx context.Context, c Config, r *Report) error {
	x, err := f.look(ctx, c, r)
	if err != nil {
		return err
	}
	defer x.close()
	return x.publish(ctx)
}

// A looked is a source that was looked at and is not behind: what it has can be published.
type looked struct {
	f        folder
	c        Config
	r        *Report
	trust    *signing.Trust
	state    state
	remote   *updater.Remote
	v        *signing.Verified
	accepted []signing.Accepted
}

// look refreshes the trust of a mirror from a source.
func (f folder) look(ctx context.Context, c Config, r *Report) (_ *looked, err error) {
	x := &looked{f: f, c: c, r: r}
	if x.trust, err = f.trust(c.Root); err != nil {
		return nil, err
	}
	if x.state, err = f.readState(); err != nil {
		return nil, err
	}
	x.state.markShown(f, c.Now())
	if i := slices.IndexFunc(x.state.States, func(p published) bool { return !p.Shown.IsZero() }); i >= 0 {
		r.From = x.state.States[i].Version
	}
	c.Remote.Downloads = f.private("downloads")
	if x.remote, err = updater.OpenRemote(c.Source, c.Remote); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	if x.v, err = x.remote.Refresh(ctx, x.trust, signing.RefreshOptions{Now: c.Now()}); err != nil {
		return nil, err
	}
	for _, n := range x.v.Notes() {
		r.Notes = append(r.Notes, n.Code+": "+n.Text)
	}
	if x.accepted, r.Version, err = f.judge(ctx, x.remote, x.v); err != nil {
		return nil, err
	}
	r.Signed, r.Expires = x.v.SignedAt().UTC(), x.v.Expires().UTC()
	return x, nil
}

// close counts the traffic.
func (x *looked) close() {
	x.r.Bytes, x.r.Requests = x.remote.Traffic()
	x.remote.Close()
}

// publish shows what the source has.
func (x *looked) publish(ctx context.Context) (err error) {
	e := edition{v: x.v, version: x.r.Version, layers: x.r.Layers, keep: x.c.Keep, source: x.r.Source, now: x.c.Now(), get: x.get}
	if e.keep == 0 {
		e.keep = DefaultKeep
	}
	if e.roots, err = x.trust.Roots(); err != nil {
		return err
	}
	out, err := x.f.publish(ctx, &x.state, e)
	x.r.Targets, x.r.Removed = out.targets, out.removed
	if err != nil {
		return err
	}
	if out.changed {
		x.r.Result = ResultUpdated
	}
	// As on an endpoint, the floors follow what is in use and never lead it.
	for _, a := range x.accepted {
		if err := x.trust.Accept(a); err != nil {
			return err
		}
	}
	return x.f.cleanDownloads()
}

func (x *looked) get(ctx context.Context, t signing.Target) (*os.File, func(bool), error) {
	return x.remote.Open(ctx, t, func(done int64) {
		if x.c.Progress != nil {
			x.c.Progress(updater.Progress{Target: t.Path, Done: done, Total: t.Length})
		}
	})
}

// judge holds the release and the restriction set of a state against the floors and tells the release's version. They are read here if they are here.
func (f folder) judge(ctx context.Context, remote *updater.Remote, v *signing.Verified) (list []signing.Accepted, version uint64, err error) {
	b, err := f.small(ctx, remote, v, dbformat.ReleaseTarget, dbformat.MaxReleaseRecord)
	if err != nil {
		return nil, 0, err
	}
	rel, err := v.Release(b)
	switch {
	case b == nil && errors.Is(err, signing.ErrStale): // a publisher that has made one never takes it back
		return nil, 0, fmt.Errorf("%s: %w", remote.Name(), err)
	case b == nil: // nothing is published yet
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w", remote.Name(), err)
	default:
		record := rel.Record()
		list, version = append(list, rel), record.Version()
	}
	if b, err = f.small(ctx, remote, v, dbformat.RestrictionsTarget, dbformat.MaxRestrictionSet); err != nil {
		return nil, 0, err
	}
	set, err := v.Restrictions(b)
	switch {
	case b == nil && errors.Is(err, signing.ErrStale):
		return nil, 0, fmt.Errorf("%s: %w", remote.Name(), err)
	case b == nil:
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w", remote.Name(), err)
	default:
		list = append(list, set)
	}
	return list, version, nil
}

// small gives a small target, from this mirror if it has it; nil if the state names none.
func (f folder) small(ctx context.Context, remote *updater.Remote, v *signing.Verified, path string, limit int64) ([]byte, error) {
	t, ok := v.Target(path)
	if !ok {
		return nil, nil
	}
	b, err := f.read(f.file(targetsDir+"/"+t.Name()), limit)
	if err == nil && int64(len(b)) == t.Length && sha256.Sum256(b) == t.SHA256 {
		return b, nil
	}
	return remote.Small(ctx, t, limit)
}

// cleanDownloads removes partial files, which nobody needs once a state is shown.
func (f folder) cleanDownloads() error {
	left, err := os.ReadDir(f.private("downloads"))
	if err != nil {
		return failed(f.private("downloads"), "cannot be read", err)
	}
	for _, e := range left {
		os.Remove(f.private("downloads", e.Name())) // the next run tries again
	}
	return nil
}
