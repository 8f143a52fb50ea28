package mirror

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// A Status says how a stage and a live mirror stand.
type Status struct {
	Stage       Standing  `json:"stage"`
	Live        *Standing `json:"live"`         // null without one
	LagVersions uint64    `json:"lag_versions"` // releases by which Live is behind Stage
	LagMinutes  int64     `json:"lag_minutes"`  // between the times at which their states were signed
}

// A Standing is how one mirror stands.
type Standing struct {
	Dir       string    `json:"dir"`
	Version   uint64    `json:"version"` // of the release that is shown; 0 for none
	Signed    time.Time `json:"signed"`  // that state
	Shown     time.Time `json:"shown"`   // since when it is shown here
	Source    string    `json:"source"`  // of the last sync, or the stage that was promoted
	Synced    time.Time `json:"synced"`  // when that was
	Layers    []string  `json:"layers"`
	Kept      []uint64  `json:"kept"`      // releases whose files are here, newest first
	Verified  time.Time `json:"verified"`  // when what is shown was found good; zero if it was not
	Unproved  string    `json:"unproved"`  // why it is not verified; "" if it is
	Unsettled string    `json:"unsettled"` // what a run that ended early left to do; "" for nothing
	Roles     []Role    `json:"roles"`
}

// A Role is a role of the state that a mirror knows last, and when it expires.
type Role struct {
	Role    string    `json:"role"`
	Version uint64    `json:"version"`
	Expires time.Time `json:"expires"`
	Seconds int64     `json:"seconds"` // until then, below 0 behind it
}

// ReadStatus tells how the mirrors in two folders stand; live "" for none. It writes nothing and waits for no lock. What it tells is what runs wrote down: it is
// [Verify] that looks at the files.
func ReadStatus(stage, live string, now time.Time) (Status, error) {
	var s Status
	var err error
	if s.Stage, err = (folder{dir: stage}).standing(now); err != nil || live == "" {
		return s, err
	}
	l, err := folder{dir: live}.standing(now)
	if err != nil {
		return s, err
	}
	s.Live = &l
	s.LagVersions, s.LagMinutes = lag(s.Stage, l)
	return s, nil
}

// lag is how far a live mirror is behind its stage; one that shows nothing is behind by all versions, and by no time that could be told.
func lag(stage, live Standing) (versions uint64, minutes int64) {
	if stage.Version > live.Version {
		versions = stage.Version - live.Version
	}
	if !live.Signed.IsZero() && stage.Signed.After(live.Signed) {
		minutes = int64(stage.Signed.Sub(live.Signed) / time.Minute)
	}
	return versions, minutes
}

func (f folder) standing(now time.Time) (Standing, error) {
	x := Standing{Dir: f.dir, Layers: []string{}, Kept: []uint64{}, Roles: []Role{}}
	if s, err := os.Lstat(f.private()); err != nil || !s.IsDir() {
		return x, fmt.Errorf("%s: %w", f.dir, ErrNoMirror)
	}
	s, err := f.readState()
	if err != nil {
		return x, err
	}
	x.Source, x.Synced = s.Source, s.Synced
	x.Layers = append(x.Layers, s.Layers...)
	sum := f.shown()
	for _, p := range s.States {
		if p.Timestamp == sum {
			x.Version, x.Signed, x.Shown = p.Version, p.Signed, p.Shown
		}
		if !slices.Contains(x.Kept, p.Version) && !p.Shown.IsZero() {
			x.Kept = append(x.Kept, p.Version)
		}
	}
	if err := f.trusted(&x, sum, now); err != nil {
		return x, err
	}
	return x, nil
}

// shown is the digest of the timestamp that is shown; zero for none.
func (f folder) shown() dbformat.Digest {
	b, err := f.read(f.file(metadataDir+"/"+timestamp), signing.MaxTimestamp)
	if err != nil {
		return dbformat.Digest{}
	}
	return sha256.Sum256(b)
}

// trusted tells what the trust folder and the last verification say of what is shown.
func (f folder) trusted(x *Standing, shown dbformat.Digest, now time.Time) error {
	trust, err := signing.OpenTrust(f.private("trust"))
	if errors.Is(err, signing.ErrNoTrust) {
		x.Unproved = "this mirror trusts no root yet"
		return nil
	}
	if err != nil {
		return err
	}
	v, err := trust.Stored()
	if errors.Is(err, signing.ErrNothingStored) || errors.Is(err, signing.ErrUntrusted) {
		x.Unproved, x.Unsettled = "nothing is trusted here yet", firstLine(err)
		return nil
	}
	if err != nil {
		return err
	}
	for _, role := range []string{signing.RoleRoot, signing.RoleTargets, signing.RoleDatabase, signing.RoleRestrictions, signing.RoleSnapshot, signing.RoleTimestamp} {
		at := v.ExpiresOf(role).UTC()
		x.Roles = append(x.Roles, Role{Role: role, Version: v.Version(role), Expires: at, Seconds: int64(at.Sub(now).Seconds())})
	}
	docs := v.Documents()
	if sha256.Sum256(docs[len(docs)-1].Bytes) != shown {
		x.Unsettled = "a newer state was seen than the one that is shown; the next sync or promotion shows it"
	}
	ver, ok, err := f.readVerified()
	switch {
	case err != nil:
		return err
	case !ok:
		x.Unproved = "it was never verified"
	case ver.Failed != "":
		x.Unproved = "its last verification failed: " + ver.Failed
	case ver.Content != contentOf(v, wanted(v, x.Layers)):
		x.Unproved = "it has changed since it was verified"
	default:
		x.Verified = ver.Time
	}
	return nil
}

// ErrNoMirror says that a folder holds no mirror of this program.
var ErrNoMirror = errors.New("is no mirror that was synced here")
