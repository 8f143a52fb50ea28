package updater_test

import (
	"errors"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// Who holds the online keys signs the release that is installed once more, with other layers. That its version was approved, or that the step
// is small, does not help.
func TestOneReleaseWithTwoContents(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	w.mustUpdate(updater.Options{})
	evil := anotherWorld(t)
	evil.publish(signatures(5000, 400))
	w.forge(func(_ *dbformat.ReleaseRecord, files map[string][]byte) {
		for _, target := range evil.signed() {
			files[target.Path] = evil.target(target.Path)
		}
	})
	for _, variant := range []string{"full", "light"} {
		_, err := w.update(updater.Options{Variant: variant})
		e, ok := errors.AsType[*updater.TwoContentsError](err)
		if !ok || !isOnly(err, signing.ErrUntrusted) || e.Version != 1 || e.Layer != dbformat.Light {
			t.Errorf("%s: %v", variant, err)
		}
		w.mustBe("1 full")
	}
	if _, err := w.update(updater.Options{Check: true}); !isOnly(err, signing.ErrUntrusted) {
		t.Errorf("with --check: %v", err)
	}
	w.publish(signatures(0, 401))
	if r := w.mustUpdate(updater.Options{}); r.To != 2 {
		t.Errorf("report %+v", r)
	}
}
