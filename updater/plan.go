package updater

import (
	"fmt"
	"math"
	"slices"

	"example.org/avdb/dbformat"
)

// How a layer comes to the digest that the release names.
type How string

// The ways, cheapest first. HowSet is for the restriction set, which is no layer.
const (
	HowNone   How = "none"   // the current generation has it
	HowReuse  How = "reuse"  // another generation on disk has it
	HowDelta  How = "delta"  // a delta from a layer on disk
	HowBundle How = "bundle" // the whole layer
	HowSet    How = "set"    // a restriction set, whole
)

// An OnDisk is a layer file that a step may start from or end at.
type OnDisk struct {
	Layer  dbformat.Layer
	Digest dbformat.Digest
	Since  uint64          // the lowest release that has the digest; 0 where not known, then no delta starts here
	With   dbformat.Digest // rest only: the light layer of its generation
}

// An Installed is the current generation as a plan sees it.
type Installed struct {
	Version uint64
	Light   dbformat.Digest
	Rest    dbformat.Digest // zero where the generation is light alone
}

// Variant is what the generation is.
func (i Installed) Variant() dbformat.Variant {
	if i.Rest.IsZero() {
		return dbformat.VariantLight
	}
	return dbformat.VariantFull
}

func (i Installed) has(l dbformat.Layer, d dbformat.Digest) bool {
	return l == dbformat.Light && i.Light == d || l == dbformat.Rest && i.Rest == d
}

// A Hold keeps releases from being installed after a rollback.
type Hold struct {
	All     bool   // no layer changes at all
	Version uint64 // the release that was left: it and lower ones are not installed
}

// A PlanInput is everything that [MakePlan] looks at.
type PlanInput struct {
	Current *Installed                           // nil where no generation is current
	OnDisk  []OnDisk                             // usable layer files, those of Current included
	Record  dbformat.ReleaseRecord               // verified
	Targets func(path string) (n int64, ok bool) // length of a target that the verified metadata names
	Wanted  dbformat.Variant
	Cohort  uint32 // place of this install in the candidate's roll-out, see [dbformat.Cohort]
	Hold    Hold
	Engine  int // what this engine understands, [dbformat.EngineLevel]
}

// A Plan is what to do, as [MakePlan] decides it.
type Plan struct {
	Release *dbformat.Release // to be reached; nil where the plan ends without one
	Variant dbformat.Variant  // to be reached: the wanted one, or full where light is not offered
	Steps   []Step            // one for each layer of Variant, light first
	Bytes   int64             // that the first options move together
	Change  bool              // something is to be done: a layer, the version or the variant
	Pending dbformat.Variant  // wanted and not reached even if every step succeeds; else ""
	Behind  bool              // the offered release is below the installed one, which stays: another source may have more
	Notes   []string
	Err     error // why nothing can be done: matches dbformat.ErrVersion; nil otherwise
}

// A Step brings one layer to the digest that the release names.
type Step struct {
	Layer   dbformat.Layer
	Info    dbformat.LayerInfo
	Options []Option // in the order in which they are tried; empty: no way is published
}

// bytes that the option moves, the light delta that it leans on included where no other step fetches it.
func (o Option) bytes() int64 { return o.Bytes + o.Extra }

// An Option is one way for a step.
type Option struct {
	How        How
	Why        string
	From, To   uint64          // the lowest releases that have the layer's digests; From 0 for a bundle
	Target     string          // the target's path; "" where nothing is fetched
	Bytes      int64           // of the target
	Base       dbformat.Digest // delta: the layer on disk that it starts from
	BaseLight  dbformat.Digest // rest delta: the light layer that belongs to Base
	LightDelta string          // rest delta: the light delta that it leans on; "" where light did not change between the two
	Extra      int64           // bytes of LightDelta where the light step does not fetch it anyway
}

// MakePlan decides how an install gets from what is on disk to what the release record offers. It
// reads no file, no network and no clock.
//
// The release is the candidate for installs of its cohort and for those that have it already, else the stable
// one. Each layer of the variant is brought to its digest by the ways that move the fewest bytes for both
// layers together. A rest delta counts with the light delta that it leans on, which must be fetched for it even
// where light itself is on disk already. What a failed option is replaced with follows it in its step.
func MakePlan(in PlanInput) Plan {
	p := Plan{Variant: in.Wanted}
	rel := choose(in)
	if rel.MinEngine > in.Engine {
		p.Err = fmt.Errorf("release %d asks for engine level %d and this engine has %d; the installed version keeps protecting; install a newer engine: %w",
			rel.Version, rel.MinEngine, in.Engine, dbformat.ErrVersion)
		p.Pending = pending(in)
		return p
	}
	if note, behind := stays(in, rel); note != "" {
		p.Notes = append(p.Notes, note)
		p.Pending, p.Behind = pending(in), behind
		return p
	}
	p.Release = rel
	if !rel.Offers(p.Variant) {
		p.Variant = dbformat.VariantFull
		p.Notes = append(p.Notes, NoteLightUnavailable)
	}
	p.Steps = steps(in, rel, p.Variant)
	p.Change = in.Current == nil || in.Current.Version != rel.Version || in.Current.Variant() != p.Variant
	for _, s := range p.Steps {
		if len(s.Options) == 0 {
			p.Change = true
			continue
		}
		p.Bytes += s.Options[0].bytes()
		p.Change = p.Change || s.Options[0].How != HowNone
	}
	return p
}

// choose picks the release: a candidate outside its cohort, or one that this engine is too old for, is as
// if it were not there. An install that has the candidate keeps to it whatever the share becomes.
func choose(in PlanInput) *dbformat.Release {
	if c := in.Record.Candidate; c != nil && c.Release.MinEngine <= in.Engine {
		if in.Cohort < c.ShareBP || in.Current != nil && in.Current.Version == c.Release.Version {
			return &c.Release
		}
	}
	return &in.Record.Stable
}

// stays tells why the installed generation is kept, "" where nothing keeps it; and whether that is because the offer is behind it.
func stays(in PlanInput, rel *dbformat.Release) (note string, behind bool) {
	switch {
	case in.Hold.All:
		return NoteHeld + ": layers stay until the hold is released", false
	case in.Current != nil && in.Current.Version > rel.Version: // before the hold to a release, which says nothing of what another source has
		return fmt.Sprintf("%s: release %d is installed and %d is offered", NoteInstalledNewer, in.Current.Version, rel.Version), true
	case in.Hold.Version >= rel.Version:
		return fmt.Sprintf("%s: release %d was rolled back; a higher one will be installed", NoteHeld, in.Hold.Version), false
	}
	return "", false
}

// pending is the wanted variant where the plan leaves another one, or none, installed.
func pending(in PlanInput) dbformat.Variant {
	if in.Current != nil && in.Current.Variant() == in.Wanted {
		return ""
	}
	return in.Wanted
}

// steps lists, for every layer of v, all ways that are worth trying, the best ones for both layers
// together first.
func steps(in PlanInput, rel *dbformat.Release, v dbformat.Variant) []Step {
	light := Step{Layer: dbformat.Light, Info: rel.Light, Options: ways(in, dbformat.Light, rel)}
	if v == dbformat.VariantLight {
		light.Options = ordered(light.Options, cheapest(light.Options))
		return []Step{light}
	}
	rest := Step{Layer: dbformat.Rest, Info: rel.Rest, Options: ways(in, dbformat.Rest, rel)}
	bestLight, bestRest, least := -1, -1, int64(math.MaxInt64)
	for i, l := range light.Options {
		for j, r := range rest.Options {
			// Strictly less: on a tie the earlier way of each list wins, which is the one that needs
			// fewer files.
			if n := l.Bytes + r.Bytes + extra(l, r); n < least {
				bestLight, bestRest, least = i, j, n
			}
		}
	}
	if bestLight < 0 { // one of the two cannot be had: the other one is brought up to date alone
		bestLight, bestRest = cheapest(light.Options), cheapest(rest.Options)
	}
	light.Options = ordered(light.Options, bestLight)
	rest.Options = ordered(rest.Options, bestRest)
	for j := range rest.Options {
		if len(light.Options) > 0 {
			rest.Options[j].Extra = extra(light.Options[0], rest.Options[j])
		}
	}
	return []Step{light, rest}
}

// extra is what the light delta under a rest delta costs beside the light step's own way; the length that
// the metadata gives stands in Extra until the two are chosen.
func extra(light, rest Option) int64 {
	if rest.LightDelta == "" || light.Target == rest.LightDelta {
		return 0
	}
	return rest.Extra
}

// ways lists the possible ways to one layer: none or reuse alone, else deltas in the order of the disk, then the bundle.
func ways(in PlanInput, layer dbformat.Layer, rel *dbformat.Release) []Option {
	info := rel.Layer(layer)
	if in.Current != nil && in.Current.has(layer, info.Digest) && onDisk(in, layer, info.Digest) {
		return []Option{{How: HowNone, From: info.Since, To: info.Since,
			Why: fmt.Sprintf("the installed %s is already that of release %d", layer, rel.Version)}}
	}
	if onDisk(in, layer, info.Digest) {
		return []Option{{How: HowReuse, From: info.Since, To: info.Since,
			Why: fmt.Sprintf("the %s of release %d is on disk from before", layer, rel.Version)}}
	}
	bundle, hasBundle := in.Targets(dbformat.BundleTarget(layer, info.Digest))
	var list []Option
	for _, d := range in.OnDisk {
		if o, ok := delta(in, layer, rel, d); ok && (!hasBundle || o.Bytes < bundle) {
			o.Why = fmt.Sprintf("a delta of %d bytes from release %d", o.Bytes, o.From)
			if hasBundle {
				o.Why += fmt.Sprintf(" instead of the bundle of %d", bundle)
			}
			list = append(list, o)
		}
	}
	if hasBundle {
		list = append(list, Option{How: HowBundle, To: info.Since, Bytes: bundle,
			Target: dbformat.BundleTarget(layer, info.Digest), Why: whyBundle(in, layer, len(list))})
	}
	return list
}

// delta is the way from d to the layer that the release names, if one is published and everything
// that it leans on can be had.
func delta(in PlanInput, layer dbformat.Layer, rel *dbformat.Release, d OnDisk) (Option, bool) {
	info := rel.Layer(layer)
	if d.Layer != layer || d.Since == 0 || d.Since == info.Since {
		return Option{}, false
	}
	path := dbformat.DeltaTarget(layer, d.Since, info.Since)
	n, ok := in.Targets(path)
	if !ok {
		return Option{}, false
	}
	o := Option{How: HowDelta, From: d.Since, To: info.Since, Target: path, Bytes: n, Base: d.Digest}
	if layer == dbformat.Light {
		return o, true
	}
	o.BaseLight = d.With
	i := slices.IndexFunc(in.OnDisk, func(l OnDisk) bool {
		return l.Layer == dbformat.Light && l.Digest == d.With
	})
	if i < 0 {
		return Option{}, false
	}
	if d.With == rel.Light.Digest {
		return o, true
	}
	base := in.OnDisk[i]
	if base.Since == 0 || base.Since == rel.Light.Since {
		return Option{}, false
	}
	o.LightDelta = dbformat.DeltaTarget(dbformat.Light, base.Since, rel.Light.Since)
	o.Extra, ok = in.Targets(o.LightDelta)
	return o, ok
}

func whyBundle(in PlanInput, layer dbformat.Layer, deltas int) string {
	has := slices.ContainsFunc(in.OnDisk, func(d OnDisk) bool { return d.Layer == layer })
	switch {
	case deltas > 0:
		return "in place of a delta that cannot be used"
	case has:
		return fmt.Sprintf("no delta from the %s on disk is published, or none that is smaller", layer)
	}
	return fmt.Sprintf("no %s is on disk", layer)
}

func onDisk(in PlanInput, layer dbformat.Layer, digest dbformat.Digest) bool {
	return slices.ContainsFunc(in.OnDisk, func(d OnDisk) bool { return d.Layer == layer && d.Digest == digest })
}

// cheapest is the index of the option that moves the fewest bytes, the first of equals; -1 for none.
func cheapest(list []Option) int {
	best := -1
	for i, o := range list {
		if best < 0 || o.bytes() < list[best].bytes() {
			best = i
		}
	}
	return best
}

// ordered is what is tried for a step: the chosen way once, then the bundle once.
func ordered(list []Option, chosen int) []Option {
	if chosen < 0 {
		return nil
	}
	out := []Option{list[chosen]}
	if last := list[len(list)-1]; list[chosen].How == HowDelta && last.How == HowBundle {
		out = append(out, last)
	}
	return out
}
