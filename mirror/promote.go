package mirror

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// A PromoteConfig is what [Promote] works with. Stage and Live must be set.
type PromoteConfig struct {
	Stage string // a mirror that [Verify] found good
	Live  string // the mirror that is served
	Keep  int    // releases whose files stay in Live for slow clients; 0 means [DefaultKeep]
	Now   func() time.Time

	Disk signing.Disk // under Live, for tests; nil for none
}

// Promote shows in Live what Verify found good in Stage, nothing else: what changed in Stage since, by a sync or by damage, is refused, and so is
// what is older than Live ever showed. Everything is verified again while it is copied, and published in the order in which Sync publishes. Live trusts the
// root under which Stage was verified. Errors match [signing.ErrUntrusted] or [ErrRefused] for what is not promoted, and are otherwise those of [Sync].
func Promote(ctx context.Context, c PromoteConfig) (Report, error) {
	start := time.Now()
	if c.Now == nil {
		c.Now = time.Now
	}
	stage, live := folder{dir: c.Stage}, folder{c.Live, c.Disk}
	r := Report{Result: ResultCurrent, Dir: c.Live, Source: c.Stage}
	unlockStage, v, err := stage.openVerified()
	if err != nil {
		return r, err
	}
	defer unlockStage()
	r.Layers = v.Layers
	unlock, err := live.open()
	if err != nil {
		return r, err
	}
	defer unlock()
	err = live.promote(ctx, c, v, &r)
	r.Seconds = time.Since(start).Seconds()
	return r, err
}

// openVerified takes the lock of a stage and reads what Verify said of it.
func (f folder) openVerified() (unlock func(), v verified, err error) {
	if s, e := os.Lstat(f.private()); e != nil || !s.IsDir() {
		return nil, v, &UnverifiedError{f.dir, "it was never verified"}
	}
	if unlock, err = f.lock(); err != nil {
		return nil, v, err
	}
	v, ok, err := f.readVerified()
	switch {
	case err != nil:
	case !ok:
		err = &UnverifiedError{f.dir, "it was never verified"}
	case v.Failed != "":
		err = &UnverifiedError{f.dir, "its last verification failed: " + v.Failed}
	}
	if err != nil {
		unlock()
		return nil, v, err
	}
	return unlock, v, nil
}

// folderURL is the file:// URL of a folder.
func folderURL(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	s := filepath.ToSlash(abs)
	if !strings.HasPrefix(s, "/") {
		s = "/" + s
	}
	return "file://" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23").Replace(s), nil
}

func (f folder) promote(ctx context.Context, c PromoteConfig, ver verified, r *Report) error {
	url, err := folderURL(c.Stage)
	if err != nil {
		return err
	}
	x, err := f.look(ctx, Config{Dir: c.Live, Source: updater.Source{URL: url}, Root: []byte(ver.Root), Keep: c.Keep, Now: c.Now}, r)
	if err != nil {
		return err
	}
	defer x.close()
	if contentOf(x.v, wanted(x.v, r.Layers)) != ver.Content {
		return &UnverifiedError{c.Stage, "it has changed since it was verified"}
	}
	if !ver.Expiring {
		if late := expiring(x.v, c.Now()); late != nil {
			e := &GateError{Dir: c.Stage}
			e.add("--accept-expiring", late...)
			return e
		}
	}
	if err := x.publish(ctx); err != nil {
		return err
	}
	return f.writeVerified(ver)
}
