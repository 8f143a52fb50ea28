package publisher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// A shop is a repository with its sources.
type shop struct {
	t   testing.TB
	dir string
	src string
	now time.Time
}

func newShop(t testing.TB) *shop {
	t.Helper()
	s := &shop{t: t, dir: filepath.Join(t.TempDir(), "repo"), src: t.TempDir(), now: noon}
	if _, err := signing.CreateRepository(s.dir, signing.RepositoryOptions{Now: noon}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) put(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.src, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) options(change ...func(*Options)) Options {
	s.now = s.now.Add(time.Minute)
	o := Options{Dir: s.dir, Sources: []string{s.src}, Now: s.now}
	for _, c := range change {
		c(&o)
	}
	return o
}

func (s *shop) publish(change ...func(*Options)) *Report {
	s.t.Helper()
	r, err := Publish(context.Background(), s.options(change...))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// targets lists what is signed, by path.
func (s *shop) targets() map[string]signing.Target {
	s.t.Helper()
	repo, err := signing.OpenRepository(s.dir, "")
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]signing.Target{}
	for _, role := range []string{signing.RoleDatabase, signing.RoleRestrictions} {
		targets, err := repo.Targets(role)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, t := range targets {
			out[t.Path] = t
		}
	}
	return out
}

func (s *shop) file(t signing.Target) string {
	return filepath.Join(s.dir, "public", "targets", filepath.FromSlash(t.Name()))
}

// record is the release record that is served.
func (s *shop) record() *dbformat.ReleaseRecord {
	s.t.Helper()
	t, ok := s.targets()[dbformat.ReleaseTarget]
	if !ok {
		return nil
	}
	b, err := os.ReadFile(s.file(t))
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := dbformat.ParseReleaseRecord(b)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// check proves that all that is signed is there, that the bundles are the layers of the release, and that no file
// is half written.
func (s *shop) check() {
	s.t.Helper()
	targets := s.targets()
	for _, t := range targets {
		b, err := os.ReadFile(s.file(t))
		if err != nil || int64(len(b)) != t.Length || dbformat.Digest(sum(dbformat.SHA256, b)) != t.SHA256 {
			s.t.Errorf("target %s is not what is signed: %v", t.Path, err)
		}
	}
	if r := s.record(); r != nil {
		for _, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
			d := r.Stable.Layer(l).Digest
			if _, err := readBundle(s.file(targets[dbformat.BundleTarget(l, d)]), l, d); err != nil {
				s.t.Errorf("release %d: %v", r.Stable.Version, err)
			}
		}
	}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, partial) || filepath.Base(path) == "pending.json" {
			s.t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

func withPolicy(t testing.TB, text string) func(*Options) {
	f := filepath.Join(folder(t, map[string]string{"p.yaml": text}), "p.yaml")
	return func(o *Options) { o.Policy = f }
}

func TestReportIsTheContract(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", line(1, 10, "A")+line(1, 10, "B")+line(2, 10, "Gone")+"broken\n")
	s.put("b.ign2", "Gone\n")
	first := s.publish()
	s.put("a.hsb", lines(0, 2000, "A"))
	s.publish()
	s.put("c.hashes", hexSHA256+",New\n")
	r := s.publish(func(o *Options) { o.Version = 7 })
	for _, c := range []struct {
		r    *Report
		want string
	}{
		{first, `{"version":1,"previous":0,"created":"2026-03-01T12:01:00Z","published":true,"pending":false,"accepted":4,"rejected":1,` +
			`"rejects":[{"file":"SRC/a.hsb","line":4,"reason":"want HASH:SIZE:NAME[:minFL[:maxFL]]"}],"rejected_by":{"want HASH:SIZE:NAME[:minFL[:maxFL]]":1},"duplicates":1,"ignored":1,` +
			`"layers":{"light":{"digest":"LIGHT","records":2,"bundle_bytes":LB,"deltas":[]},"rest":{"digest":"REST","records":2,"bundle_bytes":RB,"deltas":[]}},` +
			`"variants":["light","full"],"restrictions_epoch":0,"warnings":[]}`},
		{r, `{"version":7,"previous":2,"created":"2026-03-01T12:03:00Z","published":true,"pending":false,"accepted":2002,"rejected":0,` +
			`"rejects":[],"rejected_by":{},"duplicates":0,"ignored":0,` +
			`"layers":{"light":{"digest":"LIGHT","records":2002,"bundle_bytes":LB,"deltas":[{"from":2,"bytes":LD}]},"rest":{"digest":"REST","records":2002,"bundle_bytes":RB,"deltas":[{"from":2,"bytes":RD}]}},` +
			`"variants":["light","full"],"restrictions_epoch":0,"warnings":[]}`},
	} {
		b, err := json.Marshal(c.r)
		if err != nil {
			t.Fatal(err)
		}
		l, r := c.r.Layers.Light, c.r.Layers.Rest
		replace := []string{"SRC/", filepath.ToSlash(s.src) + "/", "LIGHT", l.Digest.String(), "REST", r.Digest.String(), "LB", fmt.Sprint(l.BundleBytes), "RB", fmt.Sprint(r.BundleBytes)}
		if len(l.Deltas) > 0 && len(r.Deltas) > 0 {
			replace = append(replace, "LD", fmt.Sprint(l.Deltas[0].Bytes), "RD", fmt.Sprint(r.Deltas[0].Bytes))
		}
		want := strings.NewReplacer(replace...).Replace(c.want)
		if got := strings.ReplaceAll(string(b), `\\`, "/"); got != want {
			t.Errorf("report\n%s\nwant\n%s", got, want)
		}
	}
	s.check()
}

func TestUnchangedContentPublishesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 100, "A"))
	first := s.publish()
	before := s.targets()
	s.put("a.hsb", lines(50, 100, "A"))
	s.put("b.hsb", lines(0, 60, "A"))
	r := s.publish()
	if r.Published || r.Version != 1 || r.Previous != 1 || r.Accepted != 110 || r.Duplicates != 10 || r.Created != first.Created ||
		r.Layers.Light.Digest != first.Layers.Light.Digest || r.Layers.Light.BundleBytes != first.Layers.Light.BundleBytes {
		t.Errorf("report %+v", r)
	}
	if after := s.targets(); !equalTargets(before, after) {
		t.Errorf("targets changed from %v to %v", before, after)
	}
	s.check()
}

func equalTargets(a, b map[string]signing.Target) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestFreshRepositoriesAgreeWhateverTheOrder(t *testing.T) {
	t.Parallel()
	var digests []string
	for i := range 2 {
		s := newShop(t)
		all := strings.Split(strings.TrimSpace(lines(0, 3000, "A")), "\n")
		if i == 1 {
			slices.Reverse(all)
		}
		s.put(fmt.Sprintf("%d.hsb", i), strings.Join(all, "\n"))
		s.put(fmt.Sprintf("%d.sfp", 9-i), lines(5000, 5010, "ok"))
		r := s.publish()
		digests = append(digests, r.Layers.Light.Digest.String()+r.Layers.Rest.Digest.String())
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %q", digests)
	}
}

func TestRestrictionsTravelAlone(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 2000, "A"))
	s.publish()
	s.put("b.hsb", lines(2000, 2001, "A"))
	second := s.publish()
	before := s.targets()
	set := func(f string) func(*Options) { return func(o *Options) { o.Restrictions = f } }
	r := s.publish(set(setFile(t, 3, record("a", "disable", 1, 0.5, ""))))
	if !r.Published || r.Version != 3 || r.RestrictionsEpoch != 3 || r.Layers.Light.Digest != second.Layers.Light.Digest ||
		len(r.Layers.Light.Deltas) != len(second.Layers.Light.Deltas) || r.Layers.Rest.BundleBytes != second.Layers.Rest.BundleBytes || len(r.Warnings) != 1 {
		t.Errorf("report %+v", r)
	}
	for path, target := range s.targets() {
		if path != dbformat.ReleaseTarget && path != dbformat.RestrictionsTarget && before[path] != target {
			t.Errorf("a release of restrictions alone has the new target %s", path)
		}
	}
	if rec := s.record(); rec.Stable.Light.Since != 2 || rec.Stable.Version != 3 {
		t.Errorf("record %+v", rec)
	}
	if r := s.publish(); r.Published || r.RestrictionsEpoch != 3 {
		t.Errorf("no flag: %+v", r)
	}
	if r := s.publish(set(NoRestrictions)); !r.Published || r.RestrictionsEpoch != 4 || r.Version != 4 {
		t.Errorf("none: %+v", r)
	}
	if r := s.publish(set(NoRestrictions)); r.Published || r.RestrictionsEpoch != 4 {
		t.Errorf("none again: %+v", r)
	}
	if _, err := Publish(context.Background(), s.options(set(setFile(t, 4, record("a", "limit", 1, 1, ""))))); !errors.Is(err, ErrRestrictions) {
		t.Errorf("the epoch of the empty set with records: error %v", err)
	}
	s.put("c.hsb", lines(3000, 3001, "A"))
	if r := s.publish(); r.RestrictionsEpoch != 4 || r.Version != 5 {
		t.Errorf("content alone: %+v", r)
	}
	s.check()
}

func TestVersionsGoUp(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 10, "A"))
	at := func(v uint64) func(*Options) { return func(o *Options) { o.Version = v } }
	if r := s.publish(at(41)); r.Version != 41 || r.Previous != 0 {
		t.Errorf("report %+v", r)
	}
	s.put("a.hsb", lines(0, 11, "A"))
	for _, v := range []uint64{40, 41, dbformat.MaxVersion + 1} {
		if _, err := Publish(context.Background(), s.options(at(v))); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "give a number from 42") {
			t.Errorf("version %d: error %v", v, err)
		}
	}
	if r := s.publish(); r.Version != 42 || r.Previous != 41 {
		t.Errorf("report %+v", r)
	}
}

func TestNoVersionIsSignedThatEndpointsRefuse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 10, "A"))
	at := func(v uint64) func(*Options) { return func(o *Options) { o.Version = v } }
	refuse := func(v uint64, words string) {
		t.Helper()
		_, err := Publish(context.Background(), s.options(at(v)))
		if e, ok := errors.AsType[*OptionsError](err); !ok || e.Option != "version" || !strings.Contains(err.Error(), words) {
			t.Errorf("version %d: error %v, want %q", v, err, words)
		}
	}
	const step = 1 << 32
	refuse(step+1, "4294967297 is more than 2^32 above release 0, and endpoints refuse such a step; give a number from 1 to 4294967296, or none")
	refuse(math.MaxUint64, "give a number from 1 to 4294967296")
	if r := s.publish(at(step)); r.Version != step {
		t.Fatalf("report %+v", r)
	}
	s.put("a.hsb", lines(0, 11, "A"))
	refuse(2*step+1, "give a number from 4294967297 to 8589934592, or none")
	if r := s.publish(at(2 * step)); r.Version != 2*step {
		t.Errorf("report %+v", r)
	}
	s.check()
}

func TestTheLastNumberIsTheFormats(t *testing.T) {
	for n, want := range map[uint64]uint64{0: 1 << 32, 7: 7 + 1<<32, dbformat.MaxVersion - 5: dbformat.MaxVersion, dbformat.MaxVersion: dbformat.MaxVersion} {
		if got := lastAfter(n); got != want {
			t.Errorf("lastAfter(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestVariantsAreThePolicys(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 10, "A"))
	s.publish()
	r := s.publish(withPolicy(t, "variants: [full]"))
	if !r.Published || s.record().Stable.Offers(dbformat.VariantLight) || !s.record().Stable.Offers(dbformat.VariantFull) {
		t.Errorf("report %+v, record %+v", r, s.record())
	}
	if r := s.publish(); !r.Published || !s.record().Stable.Offers(dbformat.VariantLight) {
		t.Errorf("report %+v, record %+v", r, s.record())
	}
}

func TestNothingAcceptedIsAnErrorWithItsRejects(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.ndb", "x\ny\n")
	r, err := Publish(context.Background(), s.options())
	if !errors.Is(err, ErrSources) || r == nil || len(r.Rejects) != 2 || r.Published {
		t.Errorf("report %+v, error %v", r, err)
	}
	if s.record() != nil {
		t.Error("a release was published")
	}
}

func TestAGuardRefusesTheLossOfMostRecords(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 12000, "A"))
	s.publish()
	s.put("a.hsb", lines(0, 6000, "A"))
	r, err := Publish(context.Background(), s.options())
	e, ok := errors.AsType[*GuardError](err)
	if !ok || !errors.Is(err, ErrGuard) || r.Published || r.Version != 1 || r.Accepted != 6000 || r.Layers.Rest.Records == 0 || len(e.Broken) != 2 || e.Broken[1].Changed != 6000 || e.Broken[1].Layer != dbformat.Rest {
		t.Fatalf("report %+v, error %v", r, err)
	}
	if s.record().Stable.Version != 1 {
		t.Error("the release was published")
	}
	if r := s.publish(withPolicy(t, "guards: {removed_percent: 60}")); !r.Published || r.Version != 2 {
		t.Errorf("report %+v", r)
	}
	s.put("b.sfp", lines(20000, 21500, "ok"))
	s.put("a.hsb", lines(0, 12000, "A"))
	s.publish(withPolicy(t, "guards: {allow_added: 1500}")) // 6003 records before: no guard would hold anyway
	s.put("b.sfp", lines(20000, 22600, "ok"))
	if _, err := Publish(context.Background(), s.options()); !errors.Is(err, ErrGuard) || !strings.Contains(err.Error(), "it adds 1100 allow records") {
		t.Errorf("error %v", err)
	}
	s.check()
}

func TestOnlyOnePublishesAtATime(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 10, "A"))
	repo, err := signing.OpenRepository(s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := repo.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(context.Background(), s.options()); !errors.Is(err, signing.ErrBusy) {
		t.Errorf("error %v", err)
	}
	unlock()
	s.publish()
}

func TestPublishNeedsNoOfflineKeys(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	if err := os.RemoveAll(filepath.Join(s.dir, "keys", "offline")); err != nil {
		t.Fatal(err)
	}
	s.put("a.hsb", lines(0, 10, "A"))
	s.publish()
	s.check()
}

func TestFilesOfThreeReleasesStayServed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var bundles []string
	foreign := filepath.Join(s.dir, "public", "targets", "light", "notes.txt")
	for i := range 6 {
		s.put("a.hsb", lines(0, 100+i, "A"))
		s.publish()
		bundles = append(bundles, s.file(s.targets()[dbformat.BundleTarget(dbformat.Light, s.record().Stable.Light.Digest)]))
		if i == 0 {
			if err := os.WriteFile(foreign, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, b := range bundles {
		if _, err := os.Stat(b); (err == nil) != (i >= 3) {
			t.Errorf("bundle of release %d: %v", i+1, err)
		}
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a file that is not ours is gone: %v", err)
	}
	s.check()
}

func TestContentThatComesBackHasItsOldNumber(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 1000, "A"))
	first := s.publish()
	s.put("a.hsb", lines(0, 1001, "A"))
	s.publish()
	s.put("a.hsb", lines(0, 1000, "A"))
	r := s.publish()
	if r.Version != 3 || r.Layers.Light.Digest != first.Layers.Light.Digest || s.record().Stable.Light.Since != 1 || s.record().Stable.Rest.Since != 1 {
		t.Errorf("report %+v, record %+v", r, s.record())
	}
	s.check()
}

// errKilled is what the hook returns where a run is to end.
var errKilled = errors.New("killed")

// TestACrashAnywhereLeavesOldOrNew stops a run before each of its changes, then demands the release before or
// the new one, and a next run that publishes and leaves nothing behind.
func TestACrashAnywhereLeavesOldOrNew(t *testing.T) {
	t.Parallel()
	before := newShop(t)
	for i := range 4 { // so that there is something to take off the mirror
		before.put("a.hsb", lines(0, 300+i, "A"))
		before.publish()
	}
	scenario := func(t *testing.T, stop int) (steps []string, done bool) {
		s := &shop{t: t, dir: filepath.Join(t.TempDir(), "repo"), src: t.TempDir(), now: before.now}
		if err := os.CopyFS(s.dir, os.DirFS(before.dir)); err != nil {
			t.Fatal(err)
		}
		s.put("a.hsb", lines(0, 310, "A"))
		old := s.record().Stable
		n := 0
		_, err := publish(context.Background(), s.options(func(o *Options) { o.Restrictions = setFile(t, 1, record("a", "limit", 1, 1, "")) }), disk{hook: func(step, name string) error {
			if n++; n > stop {
				return errKilled
			}
			steps = append(steps, step+" "+filepath.Base(name))
			return nil
		}})
		done = err == nil
		if !done && !errors.Is(err, errKilled) {
			t.Fatalf("after %q: %v", steps, err)
		}
		now := s.record().Stable
		if now.Version == old.Version && fmt.Sprint(now) != fmt.Sprint(old) || now.Version != old.Version && now.Version != old.Version+1 {
			t.Fatalf("after %q: release %+v, was %+v", steps, now, old)
		}
		if committed := slices.Contains(steps, "commit timestamp.json"); !committed && now.Version != old.Version || committed && now.Version == old.Version {
			t.Errorf("after %q: release %d", steps, now.Version)
		}
		s.put("b.hsb", lines(5000, 5001, "B"))
		r := s.publish()
		if !r.Published || len(r.Warnings) != 0 {
			t.Errorf("after %q the next run reports %+v", steps, r)
		}
		if len(r.Layers.Light.Deltas) < 4 || len(r.Layers.Rest.Deltas) < 4 {
			t.Errorf("after %q the next run has the deltas %v", steps, r.Layers)
		}
		s.check()
		files, err := filepath.Glob(filepath.Join(s.dir, "public", "targets", "light", "*.bundle"))
		if err != nil || len(files) > keptFiles {
			t.Errorf("after %q: bundles %q, %v", steps, files, err)
		}
		return steps, done
	}
	steps, done := scenario(t, math.MaxInt)
	if !done || len(steps) < 8 {
		t.Fatalf("an undisturbed run makes the changes %q, done %v", steps, done)
	}
	for stop := range steps {
		t.Run(fmt.Sprintf("before=%d", stop), func(t *testing.T) {
			t.Parallel()
			if steps, done := scenario(t, stop); done || len(steps) != stop {
				t.Errorf("stopped after %q, done %v", steps, done)
			}
		})
	}
}

func TestALostOrForeignStateCostsDeltasOnly(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*shop) error{
		"lost": func(s *shop) error { return os.RemoveAll(filepath.Join(s.dir, "state")) },
		"no JSON": func(s *shop) error {
			return os.WriteFile(filepath.Join(s.dir, "state", "state.json"), []byte("{"), 0o600)
		},
		"of others": func(s *shop) error {
			return os.WriteFile(filepath.Join(s.dir, "state", "state.json"), []byte(`{"schema":9}`), 0o600)
		},
	} {
		s := newShop(t)
		s.put("a.hsb", lines(0, 5000, "A"))
		s.publish()
		params := s.record().Stable
		if err := spoil(s); err != nil {
			t.Fatal(err)
		}
		if r := s.publish(); r.Published || r.Layers.Light.Digest != params.Light.Digest {
			t.Errorf("%s: the same sources give %+v", name, r)
		}
		s.put("a.hsb", lines(0, 5001, "A"))
		r := s.publish()
		if !r.Published || len(r.Layers.Light.Deltas) != 1 || len(r.Layers.Rest.Deltas) != 1 {
			t.Errorf("%s: the next release is %+v", name, r)
		}
		s.check()
	}
}

func TestADamagedReleaseFileIsNamed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 10, "A"))
	s.publish()
	f := s.file(s.targets()[dbformat.ReleaseTarget])
	b, err := os.ReadFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f, bytes.Replace(b, []byte("light"), []byte("rest!"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(context.Background(), s.options()); !errors.Is(err, signing.ErrRepository) || !strings.Contains(err.Error(), "is not what is signed") {
		t.Errorf("error %v", err)
	}
}

func TestGuardsAreNotPassedByLosingTheOldRelease(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 12000, "A"))
	s.publish()
	for _, dir := range []string{filepath.Join(s.dir, "state", "bundles"), filepath.Join(s.dir, "public", "targets", "rest")} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	s.put("a.hsb", lines(0, 100, "A"))
	if _, err := Publish(context.Background(), s.options()); !errors.Is(err, ErrGuard) || !strings.Contains(err.Error(), "guards.min_records") {
		t.Errorf("error %v", err)
	}
}
