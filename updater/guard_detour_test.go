package updater_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/fixtures"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// tails are the signatures of many with other hashes behind the same prefixes: light cannot tell them apart, and nothing that was
// detected is detected any more.
func tails(from, to int) map[string]string {
	var b strings.Builder
	for i := from; i < to; i++ {
		h := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%d", i)))
		other := fmt.Sprintf("%x", sha256.Sum256([]byte(h)))
		fmt.Fprintf(&b, "%s%s:%d:Test.%d\n", h[:16], other[16:], 1+i%9, i)
	}
	return map[string]string{"a.hsb": b.String()}
}

// refusesAgainst demands that a release is refused as a step from another one.
func (h *heist) refusesAgainst(e *fixtures.Endpoint, variant string, version, against uint64) (paths []string) {
	h.t.Helper()
	g, asked := h.refuses(e, variant)
	if g.Version != version || g.Against != against {
		h.t.Errorf("%v; want that release %d is held against %d", g, version, against)
	}
	return asked
}

// Guard: a refusal stays with the release. What a device refused as full does not come in as light, to be full in the next step.
func TestRefusedReleaseTakesNoDetourOverLight(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 12000))
	e := h.device("full")
	h.Publish(tails(0, 12000), h.thief)
	h.refusesAgainst(e, "full", 2, 1)
	for _, variant := range []string{"light", "full", "light"} {
		if asked := h.refusesAgainst(e, variant, 2, 1); len(asked) > 0 {
			t.Errorf("what was refused is fetched again: %v", asked)
		}
	}
	h.approve(2)
	h.accepts(e, "light")
	h.accepts(e, "full")
	if r, ok := e.Store.Refusal(); ok {
		t.Errorf("the refusal %+v stands after the approval", r)
	}
	// The refusal is that of the release, not of its number: another one is judged for itself.
	h.Publish(content(0, 12000), h.thief)
	h.refusesAgainst(e, "full", 3, 2)
}

// Guard: rest is held against the newest full generation that is kept. The detour was taken before anything was refused, and goes on
// for as many releases as it takes to make the device forget.
func TestOtherTailsTakeNoDetourOverLight(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 12000))
	e := h.device("full")
	h.Publish(tails(0, 12000), h.thief)
	h.accepts(e, "light") // nothing that light knows has changed
	if asked := h.refusesAgainst(e, "full", 2, 1); len(asked) == 0 {
		t.Error("refused without having seen the rest")
	}
	for n := 1; n <= 3; n++ { // settings.Update.Keep is 1
		h.Publish(tails(0, 12000+n), h.thief)
		h.accepts(e, "light")
	}
	h.refusesAgainst(e, "full", 5, 1)
	// A refusal of another kind does not replace the measure.
	h.Publish(tails(0, 6000), h.thief)
	h.refusesAgainst(e, "light", 6, 5)
	for n := 4; n <= 5; n++ {
		h.Publish(tails(0, 12000+n), h.thief)
		h.accepts(e, "light")
	}
	h.refusesAgainst(e, "full", 8, 1)
	if c, err := e.Store.Current(); err != nil || len(c.Others) != 2 {
		t.Errorf("%d generations are kept beside, %v; want the one before and the measure", len(c.Others), err)
	}
	// The owner is back: what was there is there again, and the measure has done its work.
	h.Publish(content(0, 12500), h.thief)
	h.accepts(e, "full")
	if r, ok := e.Store.Refusal(); ok {
		t.Errorf("the refusal %+v stands beside a full generation", r)
	}
	h.Publish(content(0, 12600))
	h.accepts(e, "light")
	h.Publish(content(0, 12700))
	h.accepts(e, "light")
	if c, err := e.Store.Current(); err != nil || len(c.Others) != 1 {
		t.Errorf("%d generations are kept beside, %v; want one", len(c.Others), err)
	}
}

// Guard: a rest that nothing proves needs approval where the user did not ask for it. A thief does not offer light, and the devices with
// light alone have no rest to compare with.
func TestLightIsNotForcedToARestThatNothingProves(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	fullOnly := h.WithPolicy("variants: [full]\nguards: {removed_percent: 100, allow_added: 1000000}")
	h.Publish(content(0, 12000))
	e, other := h.device("light"), h.device("light")
	kept := h.device("full")
	h.accepts(kept, "light")
	h.Publish(tails(0, 12000), fullOnly)
	for range 2 {
		g, asked := h.refuses(e, "light")
		if !g.Unproved || g.Version != 2 || len(asked) > 0 {
			t.Errorf("%+v; asked for %v", g, asked)
		}
	}
	if g, _ := h.refuses(kept, "light"); g.Unproved || g.Against != 1 {
		t.Errorf("%+v; want one that compared rest with rest", g)
	}
	// Who asks for full takes it as it is, and is told.
	if r := h.accepts(other, "full"); !hasNote(r, updater.NoteRestUnproved) {
		t.Errorf("notes %q", r.Notes)
	}
	h.approve(2)
	if r := h.accepts(e, "light"); r.Variant != "full" || hasNote(r, updater.NoteRestUnproved) {
		t.Errorf("approved: %+v", r)
	}
	// Offered as light again, or small, it is no step of that kind.
	again := newHeist(t)
	again.Publish(content(0, 12000))
	e = again.device("light")
	again.Publish(content(0, 12001), fullOnly)
	again.refuses(e, "light")
	again.Publish(content(0, 12002))
	again.accepts(e, "light")
	small := newHeist(t)
	small.Publish(content(0, 9000))
	e = small.device("light")
	small.Publish(content(0, 9001), fullOnly)
	if r := small.accepts(e, "light"); hasNote(r, updater.NoteRestUnproved) {
		t.Errorf("notes %q for a database without guards", r.Notes)
	}
}

// What light took away, in steps that were judged, does not count again when rest comes back.
func TestGuardCountsTheTailsOnly(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 20000))
	e := h.device("full")
	change := func(c *updater.Config) { c.Keep = 5 }
	update := func(variant string, version uint64) {
		t.Helper()
		if r, err := e.Update(updater.Options{Variant: variant}, change); err != nil || r.To != version {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for i, n := range []int{15000, 11500} {
		h.Publish(content(0, n))
		update("light", uint64(i+2))
	}
	update("full", 3)
	h.Publish(content(0, 11000))
	update("light", 4)
	// An approved release that was taken as light: what its rest was is not known, and no rest before it says what should be.
	h.Publish(tails(0, 11000), h.thief)
	h.approve(5)
	update("light", 5)
	h.Publish(tails(0, 11001))
	update("light", 6)
	c, err := e.Store.Current()
	must(t, err)
	if !slices.ContainsFunc(c.Others, func(o store.Generation) bool { return o.Rest != nil }) {
		t.Error("no full generation is kept: the test shows nothing")
	}
	update("full", 6)
}

// A full generation that a rollback left is a measure as well, where no other one is kept.
func TestRestIsHeldAgainstWhatARollbackLeft(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	h.Publish(content(0, 12000))
	e := h.device("light")
	h.Publish(content(0, 12100))
	h.accepts(e, "full")
	lock, err := e.Store.Lock()
	must(t, err)
	back, err := e.Store.Rollback(false)
	lock.Unlock()
	if err != nil || back.Rest != nil || back.RolledBack == nil {
		t.Fatalf("%+v, %v; want light, and full left", back, err)
	}
	h.Publish(tails(0, 12100), h.thief)
	h.refusesAgainst(e, "full", 3, 2)
	h.Publish(content(0, 12200), h.thief) // the owner is back, with the same policy
	if r := h.accepts(e, "full"); hasNote(r, updater.NoteRestUnproved) {
		t.Errorf("notes %q", r.Notes)
	}
}
