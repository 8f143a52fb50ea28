package mirror_test

import (
	"errors"
	"testing"
	"time"

	"example.org/avdb/mirror"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status := func() mirror.Status {
		t.Helper()
		s, err := mirror.ReadStatus(w.dir, w.live(), w.now)
		must(t, err)
		return s
	}
	if _, err := mirror.ReadStatus(w.dir, "", w.now); !errors.Is(err, mirror.ErrNoMirror) {
		t.Errorf("no mirror: %v", err)
	}
	w.publish(100)
	w.mustSync()
	s, err := mirror.ReadStatus(w.dir, "", w.now)
	if err != nil || s.Live != nil || s.Stage.Version != 1 || s.Stage.Unproved == "" || !s.Stage.Verified.IsZero() || s.Stage.Unsettled != "" || len(s.Stage.Roles) != 6 {
		t.Errorf("a stage alone: %+v, %v", s, err)
	}
	for _, r := range s.Stage.Roles {
		if r.Role == "timestamp" && (r.Seconds != int64((7*24*time.Hour).Seconds()) || !r.Expires.Equal(w.now.Add(7*24*time.Hour))) {
			t.Errorf("timestamp: %+v", r)
		}
	}
	w.mustVerify()
	w.mustPromote()
	if s := status(); s.LagVersions != 0 || s.LagMinutes != 0 || s.Live.Version != 1 || s.Stage.Unproved != "" || s.Live.Unproved != "" || !s.Live.Verified.Equal(w.now) {
		t.Errorf("promoted: %+v, live %+v", s, s.Live)
	}
	w.publish(110)
	w.publish(120)
	w.mustSync()
	s = status()
	if s.LagVersions != 2 || s.LagMinutes != 120 || s.Stage.Version != 3 || s.Live.Version != 1 || s.Stage.Unproved == "" || len(s.Stage.Kept) != 2 || !s.Stage.Synced.Equal(w.now) {
		t.Errorf("behind: %+v, live %+v", s, s.Live)
	}
	// A run that ends before the timestamp is shown leaves something to do.
	w.publish(130)
	k := &killer{}
	k.at = 40
	w.disk = k
	if _, err := w.sync(); err == nil {
		t.Fatal("the run was not ended")
	}
	w.disk = nil
	if s := status(); s.Stage.Unsettled == "" || s.Stage.Version != 3 {
		t.Errorf("after a run that was ended: %+v", s.Stage)
	}
}
