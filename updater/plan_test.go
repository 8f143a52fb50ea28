package updater

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// dig is a digest that shows what it stands for: the layer and the release that made it.
func dig(l dbformat.Layer, since uint64) dbformat.Digest {
	var d dbformat.Digest
	copy(d[:], fmt.Sprintf("%s of release %d", l, since))
	return d
}

func info(l dbformat.Layer, since uint64) dbformat.LayerInfo {
	return dbformat.LayerInfo{Digest: dig(l, since), Since: since, Records: 10, Bytes: 1000}
}

// rel is release v whose light and rest came with the releases given.
func rel(v, light, rest uint64, variants ...dbformat.Variant) dbformat.Release {
	if variants == nil {
		variants = []dbformat.Variant{dbformat.VariantLight, dbformat.VariantFull}
	}
	return dbformat.Release{Version: v, MinEngine: 1, Variants: variants,
		Light: info(dbformat.Light, light), Rest: info(dbformat.Rest, rest)}
}

func stable(r dbformat.Release) dbformat.ReleaseRecord {
	return dbformat.ReleaseRecord{Schema: 1, Stable: r}
}

func lightOnDisk(since uint64) OnDisk {
	return OnDisk{Layer: dbformat.Light, Digest: dig(dbformat.Light, since), Since: since}
}

func restOnDisk(since, with uint64) OnDisk {
	return OnDisk{Layer: dbformat.Rest, Digest: dig(dbformat.Rest, since), Since: since, With: dig(dbformat.Light, with)}
}

func installed(v, light, rest uint64) *Installed {
	i := &Installed{Version: v, Light: dig(dbformat.Light, light)}
	if rest != 0 {
		i.Rest = dig(dbformat.Rest, rest)
	}
	return i
}

// targets maps short names to lengths: "light/5" is the bundle of the light layer that came with release 5,
// "light/4-5" a delta.
func targets(m map[string]int64) func(string) (int64, bool) {
	full := make(map[string]int64)
	for name, n := range m {
		layer, what, _ := strings.Cut(name, "/")
		l, err := dbformat.ParseLayer(layer)
		if err != nil {
			panic(err)
		}
		var from, to uint64
		if _, err := fmt.Sscanf(what, "%d-%d", &from, &to); err == nil {
			full[dbformat.DeltaTarget(l, from, to)] = n
			continue
		}
		fmt.Sscanf(what, "%d", &from)
		full[dbformat.BundleTarget(l, dig(l, from))] = n
	}
	return func(p string) (int64, bool) { n, ok := full[p]; return n, ok }
}

// show is a plan in one line for each step: "light delta 5-6 10; else bundle 0-6 1000".
func show(p Plan) string {
	var lines []string
	for _, s := range p.Steps {
		var ways []string
		for _, o := range s.Options {
			w := fmt.Sprintf("%s %d-%d %d", o.How, o.From, o.To, o.Bytes)
			if o.LightDelta != "" {
				w += fmt.Sprintf(" on %s", o.LightDelta)
			}
			if o.Extra != 0 {
				w += fmt.Sprintf(" +%d", o.Extra)
			}
			ways = append(ways, w)
		}
		lines = append(lines, s.Layer.String()+" "+strings.Join(ways, "; else "))
	}
	return strings.Join(lines, "\n")
}

const full, light = dbformat.VariantFull, dbformat.VariantLight

func TestMakePlanTakesTheCheapestWayForBothLayers(t *testing.T) {
	bundles := map[string]int64{"light/6": 1000, "rest/6": 9000}
	with := func(more map[string]int64) map[string]int64 {
		m := map[string]int64{}
		for k, v := range bundles {
			m[k] = v
		}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	for _, c := range []struct {
		name    string
		current *Installed
		disk    []OnDisk
		wanted  dbformat.Variant
		targets map[string]int64
		want    string
		bytes   int64
		change  bool
	}{
		{"first install takes both bundles", nil, nil, full, bundles,
			"light bundle 0-6 1000\nrest bundle 0-6 9000", 10000, true},
		{"first install of light takes one", nil, nil, light, bundles, "light bundle 0-6 1000", 1000, true},
		{"nothing to do", installed(6, 6, 6), []OnDisk{lightOnDisk(6), restOnDisk(6, 6)}, full, bundles,
			"light none 6-6 0\nrest none 6-6 0", 0, false},
		{"a delta for each layer", installed(5, 5, 5), []OnDisk{lightOnDisk(5), restOnDisk(5, 5)}, full,
			with(map[string]int64{"light/5-6": 10, "rest/5-6": 20}),
			"light delta 5-6 10; else bundle 0-6 1000\nrest delta 5-6 20 on light/5-6.delta; else bundle 0-6 9000", 30, true},
		{"full to light moves nothing", installed(6, 6, 6), []OnDisk{lightOnDisk(6), restOnDisk(6, 6)}, light, bundles,
			"light none 6-6 0", 0, true},
		{"light to full fetches only rest", installed(6, 6, 0), []OnDisk{lightOnDisk(6)}, full, bundles,
			"light none 6-6 0\nrest bundle 0-6 9000", 9000, true},
		{"light to full with rest of an earlier generation on disk moves nothing", installed(6, 6, 0),
			[]OnDisk{lightOnDisk(6), restOnDisk(6, 6)}, full, bundles, "light none 6-6 0\nrest reuse 6-6 0", 0, true},
		{"a switch and a release at once", installed(5, 5, 5), []OnDisk{lightOnDisk(5), restOnDisk(5, 5)}, light,
			with(map[string]int64{"light/5-6": 10, "rest/5-6": 20}), "light delta 5-6 10; else bundle 0-6 1000", 10, true},
		{"rest delta fetches the light delta that it leans on though light is there", installed(6, 6, 0),
			[]OnDisk{lightOnDisk(6), lightOnDisk(5), restOnDisk(5, 5)}, full,
			with(map[string]int64{"light/5-6": 10, "rest/5-6": 20}),
			"light none 6-6 0\nrest delta 5-6 20 on light/5-6.delta +10; else bundle 0-6 9000", 30, true},
		{"rest delta is no use when its light delta costs more than the bundle saves", installed(6, 6, 0),
			[]OnDisk{lightOnDisk(6), lightOnDisk(5), restOnDisk(5, 5)}, full,
			map[string]int64{"light/6": 1000, "rest/6": 100, "light/5-6": 90, "rest/5-6": 20},
			"light none 6-6 0\nrest bundle 0-6 100", 100, true},
		{"rest delta is no use without the old light layer", installed(6, 6, 0),
			[]OnDisk{lightOnDisk(6), restOnDisk(5, 5)}, full, with(map[string]int64{"light/5-6": 10, "rest/5-6": 20}),
			"light none 6-6 0\nrest bundle 0-6 9000", 9000, true},
		{"rest delta is no use where the light delta is not published", installed(5, 5, 5),
			[]OnDisk{lightOnDisk(5), restOnDisk(5, 5)}, full, with(map[string]int64{"rest/5-6": 20}),
			"light bundle 0-6 1000\nrest bundle 0-6 9000", 10000, true},
		{"rest changes alone: its delta leans on nothing", installed(5, 6, 5), []OnDisk{lightOnDisk(6), restOnDisk(5, 6)}, full,
			with(map[string]int64{"rest/5-6": 20}), "light none 6-6 0\nrest delta 5-6 20; else bundle 0-6 9000", 20, true},
		{"a delta as large as the bundle is not used", installed(5, 5, 0), []OnDisk{lightOnDisk(5)}, light,
			with(map[string]int64{"light/5-6": 1000}), "light bundle 0-6 1000", 1000, true},
		{"the smaller of two deltas", installed(5, 5, 0), []OnDisk{lightOnDisk(5), lightOnDisk(4)}, light,
			with(map[string]int64{"light/5-6": 30, "light/4-6": 12}), "light delta 4-6 12; else bundle 0-6 1000", 12, true},
		{"the dearer light delta, because rest leans on it", installed(5, 5, 5),
			[]OnDisk{lightOnDisk(5), restOnDisk(5, 5), lightOnDisk(4)}, full,
			with(map[string]int64{"light/5-6": 30, "light/4-6": 12, "rest/5-6": 40}),
			"light delta 5-6 30; else bundle 0-6 1000\nrest delta 5-6 40 on light/5-6.delta; else bundle 0-6 9000", 70, true},
		{"a delta where the bundle is not published", installed(5, 5, 0), []OnDisk{lightOnDisk(5)}, light,
			map[string]int64{"light/5-6": 10}, "light delta 5-6 10", 10, true},
		{"an installed layer whose file is damaged or gone is fetched again", installed(6, 6, 6), []OnDisk{restOnDisk(6, 6)}, full,
			bundles, "light bundle 0-6 1000\nrest none 6-6 0", 1000, true},
		{"no way for rest leaves light's", installed(5, 5, 0), []OnDisk{lightOnDisk(5)}, full,
			map[string]int64{"light/6": 1000, "light/5-6": 10}, "light delta 5-6 10; else bundle 0-6 1000\nrest ", 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := MakePlan(PlanInput{Current: c.current, OnDisk: c.disk, Record: stable(rel(6, 6, 6)),
				Targets: targets(c.targets), Wanted: c.wanted, Engine: 1})
			if got := show(p); got != c.want {
				t.Errorf("steps:\n%s\nwant:\n%s", got, c.want)
			}
			if p.Bytes != c.bytes || p.Change != c.change || p.Err != nil || p.Pending != "" || p.Variant != c.wanted {
				t.Errorf("bytes %d, change %v, error %v, pending %q, variant %q; want %d, %v, none, none, %q",
					p.Bytes, p.Change, p.Err, p.Pending, p.Variant, c.bytes, c.change, c.wanted)
			}
			for _, s := range p.Steps {
				for _, o := range s.Options {
					if o.Why == "" {
						t.Errorf("%s %s gives no reason", s.Layer, o.How)
					}
				}
			}
		})
	}
}

// A retract publishes old content under a new number: the layer's Since goes back, the release does not.
func TestMakePlanRetractReusesTheOldLayers(t *testing.T) {
	p := MakePlan(PlanInput{Current: installed(6, 6, 6), OnDisk: []OnDisk{lightOnDisk(6), restOnDisk(6, 6), lightOnDisk(5), restOnDisk(5, 5)},
		Record: stable(rel(7, 5, 5)), Targets: targets(nil), Wanted: full, Engine: 1})
	if got, want := show(p), "light reuse 5-5 0\nrest reuse 5-5 0"; got != want || !p.Change || p.Release.Version != 7 {
		t.Errorf("steps %s, change %v; want %s to release 7", got, p.Change, want)
	}
	p = MakePlan(PlanInput{Current: installed(6, 6, 0), OnDisk: []OnDisk{lightOnDisk(6)},
		Record: stable(rel(7, 5, 5)), Targets: targets(map[string]int64{"light/6-5": 9, "light/5": 100}), Wanted: light, Engine: 1})
	if got, want := show(p), "light delta 6-5 9; else bundle 0-5 100"; got != want {
		t.Errorf("a delta back: %s, want %s", got, want)
	}
}

func TestMakePlanNewNumberWithTheSameLayersIsAChangeOfNoBytes(t *testing.T) {
	p := MakePlan(PlanInput{Current: installed(6, 6, 6), OnDisk: []OnDisk{lightOnDisk(6), restOnDisk(6, 6)},
		Record: stable(rel(7, 6, 6)), Targets: targets(nil), Wanted: full, Engine: 1})
	if !p.Change || p.Bytes != 0 || show(p) != "light none 6-6 0\nrest none 6-6 0" {
		t.Errorf("change %v, %d bytes, %s; want a change of 0 bytes", p.Change, p.Bytes, show(p))
	}
}

func TestMakePlanNotOfferedAsLightTakesFullAndSaysSo(t *testing.T) {
	p := MakePlan(PlanInput{Current: installed(5, 5, 0), OnDisk: []OnDisk{lightOnDisk(5)}, Record: stable(rel(6, 6, 6, full)),
		Targets: targets(map[string]int64{"light/6": 100, "rest/6": 900}), Wanted: light, Engine: 1})
	if p.Variant != full || len(p.Steps) != 2 || !slices.Contains(p.Notes, NoteLightUnavailable) {
		t.Errorf("variant %q, %d steps, notes %q; want full, 2, %s", p.Variant, len(p.Steps), p.Notes, NoteLightUnavailable)
	}
}

func TestMakePlanRollout(t *testing.T) {
	rec := stable(rel(6, 6, 6))
	rec.Candidate = &dbformat.Candidate{Release: rel(7, 7, 7), ShareBP: 2500}
	newer := rec
	newer.Candidate = &dbformat.Candidate{Release: rel(7, 7, 7), ShareBP: 10000}
	newer.Candidate.Release.MinEngine = 2
	for _, c := range []struct {
		name    string
		rec     dbformat.ReleaseRecord
		cohort  uint32
		current *Installed
		want    uint64
	}{
		{"inside the cohort", rec, 2499, nil, 7},
		{"outside the cohort the plan ends at stable", rec, 2500, nil, 6},
		{"who has the candidate keeps it", rec, 9999, installed(7, 7, 7), 7},
		{"a candidate for newer engines is as if it were not there", newer, 0, nil, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := MakePlan(PlanInput{Current: c.current, Record: c.rec, Cohort: c.cohort, Targets: targets(nil), Wanted: full, Engine: 1})
			if p.Release == nil || p.Release.Version != c.want {
				t.Errorf("release %+v, want %d", p.Release, c.want)
			}
		})
	}
}

func TestMakePlanRefusesWhatTheEngineIsTooOldFor(t *testing.T) {
	r := rel(6, 6, 6)
	r.MinEngine = 3
	p := MakePlan(PlanInput{Current: installed(5, 5, 0), Record: stable(r), Targets: targets(nil), Wanted: full, Engine: 2})
	if !errors.Is(p.Err, dbformat.ErrVersion) || p.Release != nil || p.Steps != nil || p.Change {
		t.Fatalf("error %v, release %v; want ErrVersion and nothing to do", p.Err, p.Release)
	}
	for _, word := range []string{"release 6", "level 3", "has 2", "keeps protecting", "newer engine"} {
		if !strings.Contains(p.Err.Error(), word) {
			t.Errorf("error %q does not say %q", p.Err, word)
		}
	}
	if p.Pending != full {
		t.Errorf("pending %q, want full", p.Pending)
	}
}

func TestMakePlanHold(t *testing.T) {
	for _, c := range []struct {
		name string
		hold Hold
		want string // the note, "" for a plan that goes on
	}{
		{"no hold", Hold{}, ""},
		{"the release that was left", Hold{Version: 6}, NoteHeld},
		{"a higher one than was left", Hold{Version: 5}, ""},
		{"everything", Hold{All: true}, NoteHeld},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := MakePlan(PlanInput{Current: installed(4, 4, 4), OnDisk: []OnDisk{lightOnDisk(4), restOnDisk(4, 4)},
				Record: stable(rel(6, 6, 6)), Hold: c.hold, Targets: targets(nil), Wanted: light, Engine: 1})
			held := len(p.Notes) > 0 && strings.HasPrefix(p.Notes[0], NoteHeld)
			if held != (c.want != "") || (p.Release == nil) != held || p.Behind || held && (p.Change || p.Pending != light) {
				t.Errorf("notes %q, release %v, change %v, pending %q", p.Notes, p.Release, p.Change, p.Pending)
			}
		})
	}
}

func TestMakePlanNeverGoesBackToALowerRelease(t *testing.T) {
	for _, hold := range []Hold{{}, {Version: 9}} { // after a rollback from 9 another source may have 10
		p := MakePlan(PlanInput{Current: installed(7, 7, 7), Record: stable(rel(6, 6, 6)), Hold: hold, Targets: targets(nil), Wanted: full, Engine: 1})
		if p.Release != nil || p.Change || !p.Behind || len(p.Notes) != 1 || !strings.HasPrefix(p.Notes[0], NoteInstalledNewer) {
			t.Errorf("release %v, change %v, behind %v, notes %q; want nothing to do", p.Release, p.Change, p.Behind, p.Notes)
		}
	}
}
