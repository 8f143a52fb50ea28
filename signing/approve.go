package signing

import (
	"fmt"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// MaxApproved is how many approved releases targets names at most; the newest are kept.
const MaxApproved = 64

// Approved tells whether the offline keys approved a release, by its version, although it exceeds the guards.
func (v *Verified) Approved(version uint64) bool {
	return slices.Contains(v.set.docs[RoleTargets].approved, version)
}

// Approved lists the versions of the approved releases, ascending: those that endpoints take although they exceed the guards.
func (r *Repository) Approved() ([]uint64, error) {
	s, err := r.load()
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.docs[RoleTargets].approved), nil
}

// Approve has the offline keys of targets name a release that exceeds the guards, before it is published or when it is the one that is
// published now. It needs the keys of targets, snapshot and timestamp. A version that is approved already changes nothing and
// needs no key. Where the keys at hand are too few, the change is kept for other hosts to sign: [ErrPending]. When targets would name
// more than [MaxApproved] releases, the lowest are dropped.
//
// Errors match [ErrTarget] for a version below the published one, or more than 2^32 above it, [ErrNoKey], [ErrOtherPending], [ErrClock], [ErrBusy],
// [ErrRepository].
func (r *Repository) Approve(version uint64, now time.Time) error {
	s, end, err := r.begin()
	if err != nil {
		return err
	}
	defer end()
	targets := *s.docs[RoleTargets]
	if slices.Contains(targets.approved, version) {
		return nil
	}
	if err := s.clock(now); err != nil {
		return err
	}
	if err := r.approvable(s, version); err != nil {
		return err
	}
	targets.approved = approve(targets.approved, version)
	return r.change(s, s.withDoc(&targets), ChangeKeys, fmt.Sprintf("approval of release %d", version),
		[]string{RoleTargets, RoleSnapshot, RoleTimestamp}, now)
}

// approve adds a version to an ascending list and keeps the newest.
func approve(approved []uint64, version uint64) []uint64 {
	next := slices.Clone(approved)
	if i, found := slices.BinarySearch(next, version); !found {
		next = slices.Insert(next, i, version)
	}
	return next[max(0, len(next)-MaxApproved):]
}

// approvable refuses what nobody will ever be offered: typing errors.
func (r *Repository) approvable(s *set, version uint64) error {
	stable, newest, err := r.published(s)
	if err != nil {
		return err
	}
	bad := func(detail, remedy string) error {
		return &RepositoryError{Kind: ErrTarget, What: fmt.Sprintf("release %d", version), Detail: detail, Remedy: remedy}
	}
	switch last := min(newest+maxStep, dbformat.MaxVersion); {
	case version < max(stable, 1):
		return bad(fmt.Sprintf("release %d is published, and nobody is offered an older one", stable),
			fmt.Sprintf("approve the release that is to be published next, %d, or the published one", newest+1))
	case version > last:
		return bad(fmt.Sprintf("is more than 2^32 above release %d, and endpoints refuse such a step", newest),
			fmt.Sprintf("approve the release that is to be published next, %d", newest+1))
	case len(s.docs[RoleTargets].approved) == MaxApproved && version < s.docs[RoleTargets].approved[0]:
		return bad(fmt.Sprintf("%d later releases are approved already, and no more are kept", MaxApproved), "publish one of these")
	}
	return nil
}

// published gives the versions of the stable release and of the newest, which may be a candidate; 0 before the first.
func (r *Repository) published(s *set) (stable, newest uint64, err error) {
	c, err := r.content(s)
	if err != nil || c.release == nil {
		return 0, 0, err
	}
	return c.release.Stable.Version, c.version(), nil
}
