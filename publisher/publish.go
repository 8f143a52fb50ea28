package publisher

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// Options say what [Publish] publishes. Dir and Sources are required.
type Options struct {
	Dir          string   // the repository
	KeysDir      string   // "" means keys in Dir
	Sources      []string // files and folders: the whole content of the release
	Policy       string   // a policy file, "" for the default policy
	Restrictions string   // a restriction file, [KeepRestrictions] or [NoRestrictions]
	Version      uint64   // of the release: 0 for the next one, else at most 2^32 above the newest
	Unsigned     bool     // prepare the release for other hosts to sign too: it is not visible before signing.Repository.Sign completes it

	Now      time.Time                          // zero means the system's clock
	Progress func(step string, done, total int) // called from one goroutine; nil for none. Steps: "read" (files), "build", "deltas", "sign"
}

// ErrOptions is matched by errors about options that cannot be met.
var ErrOptions = errors.New("options")

// An OptionsError says which option cannot be met. It matches [ErrOptions].
type OptionsError struct{ Option, Reason, Remedy string }

func (e *OptionsError) Error() string { return e.Option + ": " + e.Reason + "; " + e.Remedy }

// Is matches [ErrOptions].
func (e *OptionsError) Is(target error) bool { return target == ErrOptions }

// Publish makes the sources the content of a new release and has it signed. Content, restriction set and variants that are those
// of the newest release publish nothing. It needs the online keys only.
//
// A run that ends early, killed or with an error, leaves the release before it served, or, where it was signed
// already, the new one. The next run tidies up.
//
// Errors match [ErrSources], [ErrPolicy], [ErrRestrictions], [ErrOptions], [ErrGuard], dbformat.ErrContent, and what signing says of
// the repository. Once the repository could be read the report is given beside an error too: it then describes the release that stays
// the newest, and its rejects may say why.
func Publish(ctx context.Context, o Options) (*Report, error) {
	return publish(ctx, o, disk{})
}

func publish(ctx context.Context, o Options, d disk) (*Report, error) {
	r := &run{o: o, disk: d, dir: filepath.Join(o.Dir, "state"), now: o.Now, policy: DefaultPolicy(), signed: map[string][]signing.Target{}}
	if r.now.IsZero() {
		r.now = time.Now()
	}
	if r.o.Progress == nil {
		r.o.Progress = func(string, int, int) {}
	}
	var err error
	if o.Policy != "" {
		if r.policy, err = ReadPolicy(o.Policy); err != nil {
			return nil, err
		}
	}
	if r.repo, err = signing.OpenRepository(o.Dir, o.KeysDir); err != nil {
		return nil, err
	}
	if o.Unsigned {
		r.repo.HoldBack()
	}
	unlock, err := r.repo.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if r.pending, err = r.repo.Pending(r.now); err != nil && o.Unsigned {
		return nil, err
	} else if err != nil {
		r.warn("what waits for signatures cannot be read: %v", err)
	}
	if err := r.load(); err != nil {
		return nil, err
	}
	if err := r.chooseVersion(); err != nil {
		return nil, err
	}
	report := newReport()
	if p := r.previous(); p != nil {
		r.report(report, p, r.signed[signing.RoleDatabase], r.set)
		report.Previous = p.Version
	}
	err = r.publish(ctx, report)
	report.Warnings = append(report.Warnings, r.warnings...)
	return report, err
}

// A run is one Publish.
type run struct {
	o      Options
	repo   *signing.Repository
	disk   disk
	dir    string // DIR/state
	now    time.Time
	policy *Policy

	signed   map[string][]signing.Target // by role: what clients are served now
	record   *dbformat.ReleaseRecord     // nil before the first release
	set      *dbformat.RestrictionSet    // nil if none was ever published
	state    *state
	pending  *signing.Pending // what waits for signatures, nil if nothing does
	waiting  *state           // that of a release which waits, nil if none does
	version  uint64
	approved bool     // by the offline keys, beyond the guards
	strides  []stride // from earlier releases, the newest first
	warnings []string
}

func (r *run) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// previous is the newest release, nil before the first.
func (r *run) previous() *dbformat.Release {
	if r.record == nil {
		return nil
	}
	return &r.record.Stable
}

func (r *run) chooseVersion() error {
	var newest uint64
	if r.record != nil {
		newest = r.record.Version()
	}
	r.version = r.o.Version
	if r.version == 0 {
		r.version = newest + 1
		if w := r.waitingRelease(); w != nil && w.Version < lastAfter(newest) {
			r.version = max(r.version, w.Version+1) // what may be signed by now must not get another content
		}
	}
	if last := lastAfter(newest); r.version <= newest || r.version > last {
		reason := fmt.Sprintf("%d cannot follow release %d", r.version, newest)
		if r.version > newest && r.version <= dbformat.MaxVersion {
			reason = fmt.Sprintf("%d is more than 2^32 above release %d, and endpoints refuse such a step", r.version, newest)
		}
		return &OptionsError{"version", reason, fmt.Sprintf("give a number from %d to %d, or none", newest+1, last)}
	}
	return nil
}

// waitingRelease is the release that waits for signatures, nil if none does.
func (r *run) waitingRelease() *dbformat.Release {
	if r.pending == nil || r.pending.Outdated != "" {
		return nil
	}
	return r.pending.Release
}

// maxStep is the greatest step from one signed number to the next that endpoints take; the first starts at 0. They hold
// more for the work of a thief who wants to lock them out of the true numbers.
const maxStep = 1 << 32

// lastAfter gives the greatest number that may follow n, which is at most MaxVersion: a version or an epoch.
func lastAfter(n uint64) uint64 { return min(n+maxStep, dbformat.MaxVersion) }

func (r *run) publish(ctx context.Context, report *Report) error {
	set, setChanged, warnings, err := nextSet(r.o.Restrictions, r.set, r.now, slices.Contains(r.policy.Variants, dbformat.VariantLight))
	if err != nil {
		return err
	}
	r.warnings = append(r.warnings, warnings...)
	compiled, err := compile(ctx, r.o.Sources, r.policy, r.heldWhole(), func(done, total int) { r.o.Progress("read", done, total) })
	if compiled != nil {
		report.add(compiled)
	}
	if err != nil {
		return err
	}
	r.o.Progress("build", 0, 1)
	params := dbformat.ChooseParams(compiled.Content, r.previousParams())
	light, rest, err := dbformat.Build(compiled.Content, params)
	if err != nil {
		return err
	}
	collect(light.Header().Records())
	r.o.Progress("build", 1, 1)
	if err := ctx.Err(); err != nil {
		return err
	}
	compiled.Content = nil // the layers say all of it from here on
	if w := r.waitingRelease(); w != nil && !setChanged && r.waitsAlready(w, light, rest) {
		// Prepared again it would lose the signatures that it has.
		r.report(report, w, nil, r.set)
		report.Pending = true
		return r.tidy()
	}
	if err := r.guard(light, rest); err != nil {
		return err
	}
	collect(light.Header().Records())

	next := r.release(light, rest)
	if p := r.previous(); p != nil && !setChanged && p.Light.Digest == next.Light.Digest && p.Rest.Digest == next.Rest.Digest &&
		slices.Equal(p.Variants, next.Variants) {
		return r.tidy()
	}
	if err := r.warnOfLight(next); err != nil {
		return err
	}
	r.warnOfLevel(next, light.Header(), rest.Header())
	targets, err := r.layerTargets(ctx, next, light, rest)
	if err != nil {
		return err
	}
	if err := r.sign(next, targets, set, setChanged, params); err != nil {
		return err
	}
	r.report(report, next, targets, set)
	report.Published, report.Pending = !r.o.Unsigned, r.o.Unsigned
	r.warnOfStrides(next.Version, report.Previous)
	return r.tidy()
}

// waitsAlready tells whether what is to be prepared is the release that waits for signatures.
func (r *run) waitsAlready(w *dbformat.Release, light, rest *dbformat.MemLayer) bool {
	return r.o.Unsigned && (r.o.Version == 0 || r.o.Version == w.Version) && r.pending.Restrictions == 0 &&
		w.Light.Digest == light.Header().Digest() && w.Rest.Digest == rest.Header().Digest() && slices.Equal(w.Variants, r.policy.Variants)
}

// release describes the new release.
func (r *run) release(light, rest *dbformat.MemLayer) *dbformat.Release {
	info := func(l *dbformat.MemLayer) dbformat.LayerInfo {
		h := l.Header()
		d := h.Digest()
		return dbformat.LayerInfo{Digest: d, Since: r.state.since(h.Layer, d, r.version), Records: h.Records(), Bytes: uint64(h.Bytes())}
	}
	level := max(light.Header().EngineLevel(), rest.Header().EngineLevel())
	return &dbformat.Release{
		Version: r.version, Created: dbformat.At(r.now), MinEngine: level, Variants: r.policy.Variants,
		Light: info(light), Rest: info(rest),
	}
}

// sign makes the release what clients are served. Each step before the commit leaves the release before it served, and
// pending.json, which the next run removes; from the commit on the new one is, and the next run takes
// pending.json over.
func (r *run) sign(next *dbformat.Release, targets []signing.Target, set *dbformat.RestrictionSet, setChanged bool, params dbformat.Params) error {
	r.o.Progress("sign", 0, 1)
	record := dbformat.ReleaseRecord{Schema: 1, Stable: *next}
	b, err := record.Encode()
	if err != nil {
		return err
	}
	t, err := r.repo.AddTargetBytes(dbformat.ReleaseTarget, b)
	if err != nil {
		return err
	}
	change := map[string][]signing.Target{signing.RoleDatabase: append(slices.Clone(targets), t)}
	if setChanged {
		b, err := set.Encode()
		if err != nil {
			return err
		}
		t, err := r.repo.AddTargetBytes(dbformat.RestrictionsTarget, b)
		if err != nil {
			return err
		}
		change[signing.RoleRestrictions] = []signing.Target{t}
	}
	p := published{Version: next.Version, First: r.record == nil,
		Light: layerState{next.Light.Digest, next.Light.Since}, Rest: layerState{next.Rest.Digest, next.Rest.Since}}
	for _, role := range []string{signing.RoleDatabase, signing.RoleRestrictions} {
		signed, changed := change[role]
		if !changed {
			signed = r.signed[role]
		}
		for _, t := range signed {
			p.Files = append(p.Files, t.Name())
		}
	}
	state := r.state.with(p, params, r.policy.wholeDigest())
	if err := r.disk.writeJSON(r.file("pending.json"), state); err != nil {
		return err
	}
	if err := r.disk.step("commit", "timestamp.json"); err != nil {
		return err
	}
	if err := r.repo.Commit(change, r.now); err != nil {
		return err
	}
	if r.o.Unsigned {
		r.waiting = state // pending.json stays until the release is visible
		r.o.Progress("sign", 1, 1)
		return nil
	}
	if err := r.disk.rename(r.file("pending.json"), r.file("state.json")); err != nil {
		return err
	}
	for role, targets := range change {
		r.signed[role] = targets
	}
	r.state, r.record = state, &record
	r.o.Progress("sign", 1, 1)
	return nil
}

// report describes the newest release.
func (r *run) report(to *Report, of *dbformat.Release, targets []signing.Target, set *dbformat.RestrictionSet) {
	to.Version, to.Created, to.Variants = of.Version, of.Created, of.Variants
	to.Layers.Light = layerReport(dbformat.Light, of.Light, targets)
	to.Layers.Rest = layerReport(dbformat.Rest, of.Rest, targets)
	if set != nil {
		to.RestrictionsEpoch = set.Epoch
	}
}

func (r *run) file(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}
