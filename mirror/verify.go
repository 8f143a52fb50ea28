package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// A VerifyConfig is what [Verify] works with. Dir must be set.
type VerifyConfig struct {
	Dir  string
	Root []byte // of the repository, which came another way; nil for the first one that Dir trusts
	Live string // the mirror that is served, whose release must not be newer, and whose last set the counts are held against; "" for those of Dir

	CleanCorpus []string // files and folders in which nothing may be found
	Detect      []string // files and folders in which every file must be

	MaxChange      int  // percent by which records and bytes of a layer may differ from those of the last verified set; 0 means 30
	Accept         bool // let pass what differs more
	AcceptExpiring bool // let pass what expires within 24 hours
	Now            func() time.Time
}

// DefaultMaxChange is the greatest change of a layer, in percent, that passes the gate.
const DefaultMaxChange = 30

// A VerifyReport says what [Verify] looked at.
type VerifyReport struct {
	OK       bool              `json:"ok"`
	Dir      string            `json:"dir"`
	Version  uint64            `json:"version"`
	Signed   time.Time         `json:"signed"`
	Expires  time.Time         `json:"expires"`
	Layers   []string          `json:"layers"` // that are kept here
	Targets  int               `json:"targets"`
	Bytes    int64             `json:"bytes"`    // of these
	Variants []string          `json:"variants"` // that were loaded and passed the self-test
	Counts   map[string]Counts `json:"counts"`
	Clean    int               `json:"clean"`    // files of the clean corpus
	Detected int               `json:"detected"` // files that had to be detected, and were
	Problems []string          `json:"problems,omitempty"`
	Seconds  float64           `json:"seconds"`
}

// Verify looks at a mirror as clients would see it, from the files alone: the metadata under the root, as a client without a past believes them and
// as one that knows what this mirror and Live have shown; every file that they name, by length and hash; each variant that is offered, loaded and put
// to its self-test; the files that must not be found and those that must. A gate then looks at counts and expiry. What it found is kept
// for [Promote]; a file that is damaged is fetched by the next [Sync]. Errors match [signing.ErrUntrusted], matcher.ErrSelfTest, dbformat.ErrVersion, [ErrRefused]
// for a gate, store.ErrStorage or store.ErrLocked.
func Verify(ctx context.Context, c VerifyConfig) (VerifyReport, error) {
	start := time.Now()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxChange == 0 {
		c.MaxChange = DefaultMaxChange
	}
	f := folder{dir: c.Dir}
	r := VerifyReport{Dir: c.Dir, Layers: []string{}, Variants: []string{}, Counts: map[string]Counts{}}
	if s, err := os.Stat(f.file(metadataDir)); err != nil || !s.IsDir() {
		return r, &UnverifiedError{c.Dir, "it is no mirror: it has no folder metadata"}
	}
	if err := f.trusts(c.Root); err != nil {
		return r, err
	}
	unlock, err := f.open()
	if err != nil {
		return r, err
	}
	defer unlock()
	x := &verifying{f: f, c: c, r: &r}
	defer x.end()
	err = x.run(ctx)
	r.OK = err == nil
	r.Seconds = time.Since(start).Seconds()
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	return r, errors.Join(err, x.keep(err))
}

// A verifying is one verification.
type verifying struct {
	f      folder
	c      VerifyConfig
	r      *VerifyReport
	state  state
	root   []byte
	remote *updater.Remote
	v      *signing.Verified
	files  map[string]*os.File // bundles, open since they were verified, by target path
	record dbformat.ReleaseRecord
}

func (x *verifying) scratch(elem ...string) string {
	return x.f.private(append([]string{"verify"}, elem...)...)
}

func (x *verifying) end() {
	for _, f := range x.files {
		f.Close()
	}
	if x.remote != nil {
		x.remote.Close()
	}
	os.RemoveAll(x.scratch()) // or the next run does
}

func (x *verifying) run(ctx context.Context) (err error) {
	if err := os.RemoveAll(x.scratch()); err != nil {
		return failed(x.scratch(), "cannot be removed", err)
	}
	if err := os.MkdirAll(x.scratch("downloads"), 0o700); err != nil {
		return failed(x.scratch(), "cannot be made", err)
	}
	if x.state, err = x.f.readState(); err != nil {
		return err
	}
	if x.r.Layers = x.state.Layers; len(x.r.Layers) == 0 {
		x.r.Layers = layerNames(nil)
	}
	url, err := folderURL(x.c.Dir)
	if err != nil {
		return err
	}
	if x.remote, err = updater.OpenRemote(updater.Source{URL: url}, updater.RemoteConfig{Downloads: x.scratch("downloads")}); err != nil {
		return err
	}
	if err := x.metadata(ctx); err != nil {
		return x.unavailable(err)
	}
	if err := x.targets(ctx); err != nil {
		return err
	}
	if err := x.load(ctx); err != nil {
		return err
	}
	return x.gate()
}

// unavailable makes damage of what is only missing: for a mirror that is to be served there is no other place to get it from.
func (x *verifying) unavailable(err error) error {
	if e, ok := errors.AsType[*updater.SourceError](err); ok && errors.Is(err, updater.ErrUnavailable) {
		return &updater.TargetError{Source: x.c.Dir, Target: e.File, Reason: "it cannot be read", Err: errors.New(e.Error())}
	}
	return err
}

// metadata refreshes a trust without a past, and those that know what was shown before.
func (x *verifying) metadata(ctx context.Context) error {
	x.root = x.c.Root
	if x.root == nil {
		trust, err := signing.OpenTrust(x.f.private("trust"))
		if err != nil {
			return err
		}
		roots, err := trust.Roots()
		if err != nil {
			return err
		}
		x.root = roots[0].Bytes
	}
	fresh := x.scratch("trust")
	if err := signing.InitTrust(fresh, x.root, false); err != nil {
		return err
	}
	dirs := []string{}
	for i, known := range []string{x.c.Dir, x.c.Live} {
		from, to := folder{dir: known}.private("trust"), x.scratch(fmt.Sprintf("known%d", i))
		if known == "" {
			continue
		}
		if _, err := signing.OpenTrust(from); err != nil {
			continue // it has shown nothing yet
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			return failed(to, "cannot be written", err)
		}
		dirs = append(dirs, to)
	}
	for _, dir := range append(dirs, fresh) { // the last one's state is looked at
		trust, err := signing.OpenTrust(dir)
		if err != nil {
			return err
		}
		if x.v, err = x.remote.Refresh(ctx, trust, signing.RefreshOptions{Now: x.c.Now()}); err != nil {
			return err
		}
	}
	accepted, version, err := x.f.judge(ctx, x.remote, x.v)
	if err != nil {
		return err
	}
	for _, a := range accepted {
		if rel, ok := a.(signing.Release); ok {
			x.record = rel.Record()
		}
	}
	x.r.Version, x.r.Signed, x.r.Expires = version, x.v.SignedAt().UTC(), x.v.Expires().UTC()
	return nil
}

// targets holds every file against its length and hash. All that are wrong are named, and the next sync fetches them.
func (x *verifying) targets(ctx context.Context) error {
	x.files = map[string]*os.File{}
	var errs []error
	for _, t := range wanted(x.v, x.r.Layers) {
		file, done, err := x.remote.Open(ctx, t, nil)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			delete(x.state.Proved, targetsDir+"/"+t.Name())
			errs = append(errs, x.unavailable(err))
			continue
		}
		x.r.Targets, x.r.Bytes = x.r.Targets+1, x.r.Bytes+t.Length
		switch path.Ext(t.Path) {
		case ".bundle":
			x.files[t.Path] = file
			continue
		case ".delta":
			if err := dbformat.Describe(io.Discard, file, t.Length); err != nil {
				errs = append(errs, &updater.TargetError{Source: x.c.Dir, Target: t.Path, Reason: "it is signed and no delta", Err: err})
			}
		}
		done(false)
	}
	if len(errs) == 0 {
		return nil
	}
	for _, err := range errs {
		x.r.Problems = append(x.r.Problems, err.Error())
	}
	return errors.Join(errors.Join(errs...), x.f.writeState(x.state))
}

// load decodes the layers of each release that is offered and tries each variant.
func (x *verifying) load(ctx context.Context) error {
	if x.record.Schema == 0 {
		return nil // nothing is published yet
	}
	s, err := store.Create(x.scratch("store"), store.Options{Now: x.c.Now})
	if err != nil {
		return err
	}
	lock, err := s.Lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if c := x.record.Candidate; c != nil {
		if err := x.release(ctx, s, c.Release); err != nil {
			return err
		}
	}
	return x.release(ctx, s, x.record.Stable)
}

func (x *verifying) release(ctx context.Context, s *store.Store, rel dbformat.Release) error {
	if rel.MinEngine > dbformat.EngineLevel {
		return fmt.Errorf("release %d needs an engine of level %d, this one has %d: %w", rel.Version, rel.MinEngine, dbformat.EngineLevel, dbformat.ErrVersion)
	}
	var layers [2]*store.LayerFile
	for i, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
		if !slices.Contains(x.r.Layers, l.String()) {
			continue
		}
		info := rel.Light
		if l == dbformat.Rest {
			info = rel.Rest
		}
		f, err := x.layer(s, rel, l, info)
		if err != nil {
			return err
		}
		defer f.Close()
		layers[i] = f
		x.r.Counts[l.String()] = Counts{Records: info.Records, Bytes: info.Bytes}
	}
	light, rest := layers[0], layers[1]
	if light == nil {
		return nil // rest alone is of no use to anybody
	}
	if rel.Offers(dbformat.VariantLight) {
		if err := x.variant(ctx, rel, light, nil, dbformat.VariantLight); err != nil {
			return err
		}
	}
	if rest == nil {
		return nil
	}
	return x.variant(ctx, rel, light, rest, dbformat.VariantFull)
}

// layer decodes the bundle of a layer and proves its digest.
func (x *verifying) layer(s *store.Store, rel dbformat.Release, l dbformat.Layer, info dbformat.LayerInfo) (*store.LayerFile, error) {
	target := dbformat.BundleTarget(l, info.Digest)
	bad := func(why string, err error) error {
		return &updater.TargetError{Source: x.c.Dir, Target: target, Reason: fmt.Sprintf("it is no layer of release %d: %s", rel.Version, why), Err: err}
	}
	file := x.files[target]
	if file == nil {
		return nil, bad("the repository does not name it", nil)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, failed(file.Name(), "cannot be read", err)
	}
	if !s.HasLayer(info.Digest) {
		w, err := s.NewLayer(l)
		if err != nil {
			return nil, err
		}
		defer w.Abort()
		h, err := dbformat.ReadBundle(file, l, w)
		if err == nil {
			_, err = w.Finish(h, info.Digest)
		}
		if errors.Is(err, dbformat.ErrCorrupt) || errors.Is(err, store.ErrDigestMismatch) {
			return nil, bad("it does not decode to the signed digest", err)
		}
		if err != nil {
			return nil, err
		}
	}
	return s.OpenLayer(info.Digest, l)
}

// variant loads a variant, puts it to its own test and to the files of the caller.
func (x *verifying) variant(ctx context.Context, rel dbformat.Release, light, rest *store.LayerFile, variant dbformat.Variant) error {
	var tail dbformat.LayerReader // nil, not a nil *LayerFile
	if rest != nil {
		tail = rest
		if err := dbformat.CheckPair(light.Header(), rest.Header()); err != nil {
			return &updater.TargetError{Source: x.c.Dir, Target: dbformat.ReleaseTarget, Reason: fmt.Sprintf("the layers of release %d do not belong together", rel.Version), Err: err}
		}
	}
	if err := matcher.SelfTest(light, tail); err != nil {
		return fmt.Errorf("release %d, %s: %w", rel.Version, variant, err)
	}
	if !slices.Contains(x.r.Variants, string(variant)) {
		x.r.Variants = append(x.r.Variants, string(variant))
	}
	if len(x.c.CleanCorpus)+len(x.c.Detect) == 0 {
		return nil
	}
	e, err := matcher.OpenGeneration(light, tail, matcher.Options{})
	if err != nil {
		return err
	}
	return x.corpora(ctx, e, rel, variant)
}

// A CorpusError says that a set of files was not matched as it must be. It matches [signing.ErrUntrusted]: what is signed is not what it should be.
type CorpusError struct {
	Release  uint64
	Variant  dbformat.Variant
	Problems []string
}

func (e *CorpusError) Error() string {
	s := fmt.Sprintf("release %d, %s: %s", e.Release, e.Variant, e.Problems[0])
	if n := len(e.Problems) - 1; n > 0 {
		s += fmt.Sprintf(", and %d more", n)
	}
	return s
}

// Is matches [signing.ErrUntrusted].
func (e *CorpusError) Is(target error) bool { return target == signing.ErrUntrusted }

// corpora matches the files in which nothing may be found and those that must be. A suspicion is what the light variant has for most signatures: there
// it counts as found, and in a clean file only what is exact does.
func (x *verifying) corpora(ctx context.Context, e *matcher.Engine, rel dbformat.Release, variant dbformat.Variant) error {
	bad := &CorpusError{Release: rel.Version, Variant: variant}
	full := variant == dbformat.VariantFull
	scan := func(roots []string, take func(matcher.Result)) error {
		for _, root := range roots { // one that is not there must not look like one without a finding
			if _, err := os.Stat(root); err != nil {
				return err
			}
		}
		return e.Scan(ctx, slices.Values(roots), matcher.ScanOptions{}, func(r matcher.Result) {
			if r.Verdict == matcher.Failed {
				bad.Problems = append(bad.Problems, fmt.Sprintf("%s could not be matched: %s", r.Path, r.Error))
			} else {
				take(r)
			}
		})
	}
	clean, detected := 0, 0
	err := scan(x.c.CleanCorpus, func(r matcher.Result) {
		clean++
		if r.Verdict == matcher.Malicious || full && r.Verdict == matcher.Suspected {
			bad.Problems = append(bad.Problems, fmt.Sprintf("%s of the clean corpus is found as %s", r.Path, r.Name))
		}
	})
	if err == nil {
		err = scan(x.c.Detect, func(r matcher.Result) {
			if r.Verdict == matcher.Malicious || !full && r.Verdict == matcher.Suspected {
				detected++
				return
			}
			bad.Problems = append(bad.Problems, fmt.Sprintf("%s must be found and is not", r.Path))
		})
	}
	if err != nil {
		return err
	}
	x.r.Clean, x.r.Detected = max(x.r.Clean, clean), max(x.r.Detected, detected)
	if len(bad.Problems) > 0 {
		x.r.Problems = append(x.r.Problems, bad.Problems...)
		return bad
	}
	return nil
}

// gate holds a set that is good against the last verified one, and against the clock.
func (x *verifying) gate() error {
	last := x.f
	if x.c.Live != "" {
		last = folder{dir: x.c.Live}
	}
	was, _, err := last.readVerified()
	if err != nil {
		return err
	}
	e := &GateError{Dir: x.c.Dir}
	if !x.c.Accept {
		e.add("--accept", changes(was.Counts, x.r.Counts, x.c.MaxChange)...)
	}
	if !x.c.AcceptExpiring {
		e.add("--accept-expiring", expiring(x.v, x.c.Now())...)
	}
	if len(e.Reasons) > 0 {
		x.r.Problems = append(x.r.Problems, e.Reasons...)
		return e
	}
	return nil
}

// keep writes down what came of it. A failure keeps the counts of the last good set.
func (x *verifying) keep(err error) error {
	if err == nil {
		return x.f.writeVerified(verified{Time: x.c.Now().UTC(), Content: contentOf(x.v, wanted(x.v, x.r.Layers)), Root: string(x.root), Version: x.r.Version,
			Layers: x.r.Layers, Counts: x.r.Counts, Expiring: x.c.AcceptExpiring})
	}
	was, _, e := x.f.readVerified()
	if e != nil {
		return e
	}
	was.Time, was.Content = x.c.Now().UTC(), dbformat.Digest{}
	was.Failed = firstLine(err)
	return x.f.writeVerified(was)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
