package publisher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// bodies are lines of a .ndb file, each with 16 bytes of its own.
func bodies(from, to int, name string) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%s.%d:0:*:%x\n", name, i, body(i))
	}
	return b.String()
}

func body(i int) []byte {
	h := sum(dbformat.SHA256, fmt.Appendf(nil, "body %d", i))
	return h[:16]
}

// sectionHashes are lines of a .mdb file.
func sectionHashes(from, to int, name string) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		h := sum(dbformat.MD5, fmt.Appendf(nil, "section %d", i))
		fmt.Fprintf(&b, "%d:%x:%s.%d\n", 512*(i%9+1), h[:16], name, i)
	}
	return b.String()
}

// layerOf is a layer of the release that is served.
func (s *shop) layerOf(l dbformat.Layer) *dbformat.MemLayer {
	s.t.Helper()
	d := s.record().Stable.Layer(l).Digest
	layer, err := readBundle(s.file(s.targets()[dbformat.BundleTarget(l, d)]), l, d)
	if err != nil {
		s.t.Fatal(err)
	}
	return layer
}

// follow applies the deltas that lead from a release with these layers to the one that is served, as an endpoint does, and gives their bytes.
func (s *shop) follow(from *dbformat.Release, oldLight, oldRest *dbformat.MemLayer) (moved int64) {
	s.t.Helper()
	to, targets := s.record().Stable, s.targets()
	delta := func(l dbformat.Layer, old dbformat.Digest) []byte {
		if old == to.Layer(l).Digest {
			return nil
		}
		target, ok := targets[dbformat.DeltaTarget(l, from.Layer(l).Since, to.Layer(l).Since)]
		if !ok {
			s.t.Fatalf("release %d has no %s delta from release %d", to.Version, l, from.Version)
		}
		b, err := os.ReadFile(s.file(target))
		if err != nil {
			s.t.Fatal(err)
		}
		moved += target.Length
		return b
	}
	newLight := oldLight
	light := delta(dbformat.Light, oldLight.Header().Digest())
	if light != nil {
		var sink dbformat.MemSink
		h, err := dbformat.ApplyLightDelta(oldLight, bytes.NewReader(light), &sink)
		if err != nil || h.Digest() != to.Light.Digest {
			s.t.Fatalf("the light delta leads elsewhere: %v", err)
		}
		if newLight, err = sink.Layer(h); err != nil {
			s.t.Fatal(err)
		}
	}
	if rest := delta(dbformat.Rest, oldRest.Header().Digest()); rest != nil {
		var sink dbformat.MemSink
		var lightDelta io.Reader
		if light != nil {
			lightDelta = bytes.NewReader(light)
		}
		h, err := dbformat.ApplyRestDelta(oldLight, newLight, oldRest, lightDelta, bytes.NewReader(rest), &sink)
		if err != nil || h.Digest() != to.Rest.Digest {
			s.t.Fatalf("the rest delta leads elsewhere: %v", err)
		}
	}
	return moved
}

// Lines that come, go, get another name or move between the layers cost endpoints a few bytes each.
func TestChangesOfPatternsAreSmallDeltas(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("h.hsb", lines(0, 1000, "H"))
	s.put("a.ndb", bodies(0, 2000, "A"))
	s.put("s.mdb", sectionHashes(0, 2000, "S"))
	first := s.publish()
	if r := s.record().Stable; r.MinEngine != 3 || r.Light.Records != 1001 || r.Rest.Records != 1001+2001+2001 {
		t.Fatalf("release %+v", r)
	}
	for _, step := range []struct {
		what     string
		change   func()
		policy   string
		most     int64 // bytes of both deltas
		movement bool  // light changes
	}{
		{"one pattern comes", func() { s.put("b.ndb", bodies(5000, 5001, "New")) }, "", 200, false},
		{"ten section hashes come", func() { s.put("t.mdb", sectionHashes(5000, 5010, "New")) }, "", 500, false},
		{"one pattern goes", func() { s.put("a.ndb", bodies(1, 2000, "A")) }, "", 120, false},
		{"one pattern has another name", func() {
			s.put("a.ndb", strings.Replace(bodies(1, 2000, "A"), "A.7:", "Renamed.7:", 1))
		}, "", 200, false},
		{"one section hash has another name", func() {
			s.put("s.mdb", strings.Replace(sectionHashes(0, 2000, "S"), ":S.7\n", ":Renamed.7\n", 1))
		}, "", 200, false},
		{"both are whole by policy", func() {}, "whole: {names: ['Renamed.*']}", 900, true},
		{"and are not any more", func() {}, "", 900, true},
		{"all patterns of a source are unwanted ones", func() {
			s.put("u.ndu", bodies(1, 200, "A"))
			s.put("a.ndb", bodies(200, 2000, "A"))
		}, "", 9000, true},
	} {
		light, rest, from := s.layerOf(dbformat.Light), s.layerOf(dbformat.Rest), s.record().Stable
		step.change()
		var o []func(*Options)
		if step.policy != "" {
			o = append(o, withPolicy(t, step.policy))
		}
		r := s.publish(o...)
		if !r.Published {
			t.Fatalf("%s: nothing was published", step.what)
		}
		if r.Layers.Light.Digest != from.Light.Digest != step.movement {
			t.Errorf("%s: light changed: %v", step.what, !step.movement)
		}
		moved := s.follow(&from, light, rest)
		t.Logf("%s: %d bytes", step.what, moved)
		if moved > step.most {
			t.Errorf("%s: the deltas have %d bytes, want at most %d", step.what, moved, step.most)
		}
		if again := s.publish(o...); again.Published {
			t.Errorf("%s: published twice", step.what)
		}
	}
	if r := s.publish(); r.Layers.Rest.BundleBytes < first.Layers.Rest.BundleBytes/2 {
		t.Errorf("bundles %+v", r.Layers)
	}
	s.check()
}

// What the policy held in light stays there under a new name, as whole signatures of files do, and a lost state changes no cut.
func TestPatternsHeldInLightStayAndCutsAreRecovered(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	policy := withPolicy(t, "{whole: {names: ['Held.*']}, guards: {removed_percent: 100}}")
	s.put("a.ndb", bodies(0, 3000, "A")+bodies(9000, 9001, "Held"))
	s.put("b.mdb", sectionHashes(0, 8000, "S")+sectionHashes(9000, 9001, "Held"))
	s.publish(policy)
	cuts := s.params().RestCuts
	if len(cuts) != 2 || cuts[patterns].B == 0 || cuts[sectionsMD5].B == 0 {
		t.Fatalf("rest is cut by %v: too few rows for this test", cuts)
	}
	if err := os.Remove(filepath.Join(s.dir, "state", "state.json")); err != nil {
		t.Fatal(err)
	}
	// A third of the rows: cut anew, blocks would be larger.
	s.put("a.ndb", bodies(0, 1000, "A")+bodies(9000, 9001, "Held"))
	s.put("b.mdb", sectionHashes(0, 2500, "S")+sectionHashes(9000, 9001, "Held"))
	s.publish(policy)
	if again := s.params().RestCuts; again[patterns] != cuts[patterns] || again[sectionsMD5] != cuts[sectionsMD5] {
		t.Errorf("without its state the publisher cuts rest by %v, want %v", again, cuts)
	}
	s.put("a.ndb", bodies(0, 1000, "A")+bodies(9000, 9001, "Renamed"))
	s.put("b.mdb", sectionHashes(0, 2500, "S")+sectionHashes(9000, 9001, "Renamed"))
	s.publish(policy)
	light := s.layerOf(dbformat.Light)
	for _, id := range []dbformat.SectionID{patterns, sectionsMD5} {
		if _, h, ok := light.Header().Section(id); !ok || h.Rows() != 2 {
			t.Errorf("%s has not the held row and that of the self-test in light", id)
		}
	}
	s.check()
}

// params are the widths and cuts that the state remembers.
func (s *shop) params() dbformat.Params {
	s.t.Helper()
	st, err := readState(filepath.Join(s.dir, "state", "state.json"))
	if err != nil || st == nil {
		s.t.Fatalf("no state: %v", err)
	}
	return st.Params
}

func TestPublishWarnsOfTheFirstPatterns(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 50, "A"))
	s.publish()
	s.put("b.ndb", bodies(0, 5, "B"))
	s.put("c.mdb", sectionHashes(0, 5, "C"))
	w := levelWarnings(s.publish())
	const want = "release 2 needs engine level 3, release 1 needed level 1: the new one has hashes of sections of PE files (.mdb .msb .mdu .msu sources, section sections/md5) and " +
		"body patterns (.ndb .ndu .ldb .ldu sources, section patterns); endpoints"
	if len(w) != 1 || !strings.HasPrefix(w[0], want) {
		t.Errorf("warnings %q, want %q", w, want)
	}
	for _, name := range []string{"b.ndb", "c.mdb"} {
		if err := os.Remove(filepath.Join(s.src, name)); err != nil {
			t.Fatal(err)
		}
	}
	if r := s.publish(); s.record().Stable.MinEngine != 1 || len(levelWarnings(r)) != 0 {
		t.Errorf("without them it asks for level %d: %q", s.record().Stable.MinEngine, r.Warnings)
	}
}

func TestGuardsCountPatternsAndSectionHashes(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.ndb", bodies(0, 7000, "A"))
	s.put("b.mdb", sectionHashes(0, 7000, "B"))
	s.publish()
	s.put("a.ndb", bodies(0, 4000, "A"))
	s.put("b.mdb", sectionHashes(0, 5000, "B"))
	if _, err := Publish(t.Context(), s.options()); !errors.Is(err, ErrGuard) || !strings.Contains(err.Error(), "it removes 5000 of 14002 records of rest") {
		t.Errorf("error %v", err)
	}
	s.put("a.ndb", bodies(0, 6000, "A"))
	if r := s.publish(); !r.Published {
		t.Errorf("report %+v", r)
	}
}

// Neither lines nor files in another order, nor another spelling, make a release.
func TestReorderedPatternsPublishNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.ndb", bodies(0, 200, "A"))
	s.put("b.mdb", sectionHashes(0, 200, "B"))
	s.publish()
	s.put("a.ndb", bodies(100, 200, "A")+"\n# comment\n")
	s.put("z.ndb", strings.ReplaceAll(bodies(0, 110, "A"), ":0:*:", ":*:*:"))
	s.put("b.mdb", "")
	s.put("c.msb", sectionHashes(150, 200, "B")+sectionHashes(0, 160, "B"))
	if r := s.publish(); r.Published || r.Duplicates != 20 || r.Rejected != 0 {
		t.Errorf("report %+v", r)
	}
}

// No file of a repository holds a byte row of a signature as it is in a malicious file, or the content of a vector.
func TestNoFileOfARepositoryHoldsASignatureInClear(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	policy := withPolicy(t, "whole: {names: ['Held.*']}")
	s.put("a.ndb", bodies(0, 300, "A")+bodies(300, 600, "Held"))
	s.put("u.ldu", fmt.Sprintf("L;Target:0;0&1;%x;%x\n", body(700), body(701)))
	s.put("s.mdb", sectionHashes(0, 10, "S"))
	s.publish(policy)
	s.put("b.ndb", bodies(600, 650, "B"))
	s.publish(policy)
	wanted := append(selfTestPrograms(), selfTestTexts()...)
	for i := range 702 {
		wanted = append(wanted, body(i))
	}
	files := 0
	look := func(name string, b []byte) {
		files++
		for _, w := range wanted {
			if bytes.Contains(b, w[:min(len(w), 16)]) {
				t.Errorf("%s has %.16q in clear", name, w)
				return
			}
		}
	}
	err := filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		look(name, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		layer := s.layerOf(l)
		for i := range layer.Header().Sections {
			for n := range layer.Header().Sections[i].Blocks {
				b, err := layer.Block(i, n)
				if err != nil {
					t.Fatal(err)
				}
				look(fmt.Sprintf("block %d of %s in %s", n, layer.Header().Sections[i].ID, l), b)
			}
		}
	}
	if files < 20 {
		t.Errorf("only %d files and blocks", files)
	}
}
