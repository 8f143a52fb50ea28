package signing

import (
	"fmt"
	"maps"
	"time"

	"example.org/avdb/dbformat"
)

// PublishNetwork has the offline keys of targets name b as the provider file of the global network, in the place of the one before. What b
// says is the caller's to check. It needs the keys of targets, snapshot and timestamp. The same bytes again change nothing and need no key.
// Where the keys at hand are too few, the change is kept for other hosts to sign: [ErrPending].
//
// Errors match [ErrNoKey], [ErrOtherPending], [ErrClock], [ErrBusy], [ErrRepository].
func (r *Repository) PublishNetwork(b []byte, now time.Time) error {
	was := r.hold(true) // the file is out of sight until the signatures are there, on this host or on another one
	t, err := r.AddTargetBytes(dbformat.NetworkTarget, b)
	r.hold(was)
	if err != nil {
		return err
	}
	s, end, err := r.begin()
	if err != nil {
		return err
	}
	defer end()
	targets := *s.docs[RoleTargets]
	if targets.targets[t.Path] == t {
		return nil // the next change removes what is held back for nobody
	}
	if err := s.clock(now); err != nil {
		return err
	}
	targets.targets = maps.Clone(targets.targets)
	if targets.targets == nil {
		targets.targets = map[string]Target{}
	}
	targets.targets[t.Path] = t
	return r.change(s, s.withDoc(&targets), ChangeKeys, fmt.Sprintf("network %.16s", t.SHA256),
		[]string{RoleTargets, RoleSnapshot, RoleTimestamp}, now)
}
