package publisher

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
)

// Guards are the limits beyond which Publish refuses a release that the offline keys did not approve.
type Guards = dbformat.Guards

// ErrGuard is matched by the error of a release that a guard refuses: exit 16.
var ErrGuard = errors.New("refused by a guard")

// A GuardError names what a release would do beyond the guards, and both remedies. It matches [ErrGuard].
type GuardError struct {
	Dir     string                 // the repository
	Version uint64                 // that the release would have
	Broken  []dbformat.BrokenGuard // none where Err is set
	Err     error                  // why the previous release could not be read, so that nothing was counted; else nil

	// Endpoints tells that endpoints with the previous release would refuse this one, too, whatever the policy says.
	Endpoints bool
}

func (e *GuardError) Error() string {
	said, raise := []string{}, []string{}
	for _, b := range e.Broken {
		said = append(said, b.String())
		if key := "guards." + b.Guard; !slices.Contains(raise, key) {
			raise = append(raise, key)
		}
	}
	if e.Err != nil {
		said, raise = []string{fmt.Sprintf("what it removes cannot be counted, since the previous release cannot be read: %v", e.Err)}, []string{"guards." + dbformat.GuardMin}
	}
	s := fmt.Sprintf("release %d is refused by a guard: %s; check the sources, and if this is meant, have the offline keys approve it with %s and publish again, or raise %s in the policy file for this release",
		e.Version, strings.Join(said, "; "), approval(e.Dir, e.Version), strings.Join(raise, " and "))
	if e.Endpoints {
		s += " (endpoints heed the approval only and would refuse it)"
	}
	return s
}

// Is matches [ErrGuard].
func (e *GuardError) Is(target error) bool { return target == ErrGuard }

// approval is the command that has endpoints take a release beyond the guards.
func approval(dir string, version uint64) string {
	return fmt.Sprintf("`avdb repo approve %s %d`", dir, version)
}

// A stride is the step from an earlier release to the new one, as endpoints that have the earlier one judge it.
type stride struct {
	from   uint64
	broken []dbformat.BrokenGuard // of the guards of endpoints; none for a step that they take
}

// judge counts the step between two releases for endpoints of both variants and gives what it breaks of g. oldRest may be nil where it
// is not known.
func judge(g Guards, oldLight, oldRest, light, rest *dbformat.MemLayer) ([]dbformat.BrokenGuard, error) {
	if oldRest != nil {
		c, err := dbformat.CountChanges(oldLight, oldRest, light, rest)
		if err != nil {
			return nil, err
		}
		if broken := g.Broken(c); broken != nil {
			return broken, nil
		}
	}
	// Endpoints with light alone know prefixes only; a whole record that takes the place of one is new to them.
	c, err := dbformat.CountChanges(oldLight, nil, light, nil)
	if err != nil {
		return nil, err
	}
	return g.Broken(c), nil
}

// guard compares the new layers with those of the newest release. Beyond the guards of the policy the release is refused until the
// offline keys approve its version.
func (r *run) guard(light, rest *dbformat.MemLayer) error {
	p := r.previous()
	if p == nil || p.Light.Digest == light.Header().Digest() && p.Rest.Digest == rest.Header().Digest() {
		return nil
	}
	approved, err := r.repo.Approved()
	if err != nil {
		return err
	}
	if r.approved = slices.Contains(approved, r.version); r.approved {
		return nil
	}
	ours, theirs := r.policy.Guards, dbformat.DefaultGuards()
	if records := max(p.Light.Records, p.Rest.Records); records < ours.MinRecords && records < theirs.MinRecords {
		return nil
	}
	oldLight, err := r.layer(dbformat.Light, p.Light.Digest)
	var oldRest *dbformat.MemLayer
	if err == nil {
		oldRest, err = r.layer(dbformat.Rest, p.Rest.Digest)
	}
	var broken, refused []dbformat.BrokenGuard
	if err == nil {
		broken, err = judge(ours, oldLight, oldRest, light, rest)
	}
	if err == nil {
		refused, err = judge(theirs, oldLight, oldRest, light, rest)
	}
	switch {
	case err != nil && max(p.Light.Records, p.Rest.Records) < ours.MinRecords:
		r.warn("what release %d removes cannot be counted, since release %d cannot be read: endpoints judge it for themselves: %v", r.version, p.Version, err)
		return nil
	case err != nil:
		return &GuardError{Dir: r.o.Dir, Version: r.version, Err: err}
	case broken != nil:
		return &GuardError{Dir: r.o.Dir, Version: r.version, Broken: broken, Endpoints: refused != nil}
	}
	r.strides = append(r.strides, stride{p.Version, refused})
	return nil
}

// stride judges the step from an earlier release for the endpoints that still have it. What cannot be counted is for them to judge.
func (r *run) stride(from uint64, oldLight, oldRest, light, rest *dbformat.MemLayer) {
	if r.approved || len(r.strides) > 0 && r.strides[0].from == from {
		return
	}
	if broken, err := judge(dbformat.DefaultGuards(), oldLight, oldRest, light, rest); err == nil {
		r.strides = append(r.strides, stride{from, broken})
	}
}

// warnOfStrides tells which endpoints will refuse the release that was published, although it was not refused here.
func (r *run) warnOfStrides(version, previous uint64) {
	var refused []stride
	newest := false
	for _, s := range r.strides {
		if s.broken != nil {
			refused = append(refused, s)
			newest = newest || s.from == previous
		}
	}
	if len(refused) == 0 {
		return
	}
	oldest := slices.MinFunc(refused, func(a, b stride) int { return cmp.Compare(a.from, b.from) })
	said := make([]string, len(oldest.broken))
	for i, b := range oldest.broken {
		said[i] = b.String()
	}
	who := fmt.Sprintf("with release %d", oldest.from)
	if n := len(refused); n > 1 {
		who = fmt.Sprintf("with one of %d earlier releases, the oldest of them %d,", n, oldest.from)
	}
	if newest {
		who += " (the policy file lets this publisher pass and NO ENDPOINT)"
	}
	r.warn("endpoints %s will refuse release %d: from release %d %s; have the offline keys approve it with %s",
		who, version, oldest.from, strings.Join(said, "; "), approval(r.o.Dir, version))
}

// warnOfLight tells that endpoints with light alone will refuse the release that takes light from them: nothing on them shows what its
// rest would take away.
func (r *run) warnOfLight(next *dbformat.Release) error {
	p := r.previous()
	if p == nil || !p.Offers(dbformat.VariantLight) || next.Offers(dbformat.VariantLight) || p.Light.Records < dbformat.DefaultGuards().MinRecords {
		return nil
	}
	approved, err := r.repo.Approved()
	if err != nil || slices.Contains(approved, next.Version) {
		return err
	}
	r.warn("endpoints with light alone will refuse release %d, which is not offered as light, and those after it, unless their users ask for full; have the offline keys approve it with %s",
		next.Version, approval(r.o.Dir, next.Version))
	return nil
}

// warnOfLevel tells that engines which took the release before will not take this one, and which of its sections they do not know.
func (r *run) warnOfLevel(next *dbformat.Release, layers ...*dbformat.Header) {
	p := r.previous()
	if p == nil || next.MinEngine <= p.MinEngine {
		return
	}
	var features []string
	for _, h := range layers {
		for i := range h.Sections {
			if f := feature(h.Sections[i].ID); h.Sections[i].ID.EngineLevel() > p.MinEngine && !slices.Contains(features, f) {
				features = append(features, f)
			}
		}
	}
	r.warn("release %d needs engine level %d, release %d needed level %d: the new one has %s; endpoints with an engine below level %d end each update with exit code 17 "+
		"and keep what they have, until avdb is updated there or a release is without", next.Version, next.MinEngine, p.Version, p.MinEngine, strings.Join(features, " and "), next.MinEngine)
}

// feature names what a section came with, as those know it who write sources.
func feature(id dbformat.SectionID) string {
	switch {
	case id.OfURLs():
		return "signatures of URLs (.urls sources, section " + id.String() + ")"
	case id.OfPatterns():
		return "body patterns (.ndb .ndu .ldb .ldu sources, section " + id.String() + ")"
	case id.OfPESections():
		return "hashes of sections of PE files (.mdb .msb .mdu .msu sources, section " + id.String() + ")"
	}
	return "section " + id.String()
}
