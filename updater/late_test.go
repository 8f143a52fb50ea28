package updater_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// lateDisk makes every change, and says of one that it failed.
type lateDisk struct{ op, file string }

func (d lateDisk) Do(c signing.DiskCall, change func() error) error {
	err := change()
	if c.Op == d.op && filepath.Base(c.Path) == d.file {
		return errors.Join(err, &fs.PathError{Op: c.Op, Path: c.Path, Err: syscall.EIO})
	}
	return err
}

// A disk that fails although the new generation became current: the run failed, and its report names what is in use.
func TestReportNamesWhatIsInUseAfterALateFailure(t *testing.T) {
	w := installed.begin(t)
	w.publish(signatures(0, 401))
	var err error
	w.store, err = store.Open(w.store.Dir(), store.Options{Now: func() time.Time { return w.now }})
	must(t, err)
	failing, err := store.Open(w.store.Dir(), store.Options{Now: func() time.Time { return w.now }, Disk: lateDisk{"rename", "CURRENT"}})
	must(t, err)
	r, err := w.update(updater.Options{}, func(c *updater.Config) { c.Store = failing })
	if !isOnly(err, store.ErrStorage) || r.Result != updater.ResultFailed {
		t.Errorf("%s (%v), want that it failed by the disk", r.Result, err)
	}
	c, err := w.store.Current()
	must(t, err)
	if r.To != c.Version || r.Variant != c.Variant() {
		t.Errorf("the report says %d %s, in use is %d %s", r.To, r.Variant, c.Version, c.Variant())
	}
	w.mustUpdate(updater.Options{})
	w.mustBe("2 full")
}
