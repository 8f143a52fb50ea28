package updater_test

import (
	"testing"

	"example.org/avdb/updater"
)

func TestReleaseByDeltas(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 4000))
	w.mustUpdate(updater.Options{})
	w.publish(signatures(0, 4001))
	r := w.mustUpdate(updater.Options{})
	if show(r) != "light delta, rest delta" || r.Steps[0].From != 1 || r.Steps[0].To != 2 || r.Steps[0].Bytes+r.Steps[1].Bytes > 500 {
		t.Errorf("steps %+v; want two deltas of under 500 bytes", r.Steps)
	}
	w.mustBe("2 full")
}

// Guard: a delta that is not what was signed costs the bundle, once, and no more.
func TestFlippedByteInDeltasOnly(t *testing.T) {
	w := attacked(t)
	w.hostile(only(w.altered(flip), "light.delta", "rest.delta"))
	r := w.mustUpdate(updater.Options{})
	if show(r) != "restrictions set, light bundle, rest bundle" || !hasNote(r, "delta_refused") {
		t.Errorf("report %+v", r)
	}
	w.mustBe("2 full")
}
