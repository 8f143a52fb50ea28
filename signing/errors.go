package signing

import (
	"errors"
	"fmt"
	"time"
)

// Sentinels of the client side, one per reaction of the caller.
var (
	// ErrUntrusted is matched by every error that says that what a source offers, or what lies in the trust folder, must
	// not be believed. Details are in [UntrustedError].
	ErrUntrusted = errors.New("not trusted")

	// ErrStale is matched, beside [ErrUntrusted], by errors about metadata older than what was seen before:
	// the source lags behind or replays, another source may do.
	ErrStale = errors.New("older than what was seen before")

	// ErrNotFound is what a [Fetcher] returns, possibly wrapped, for a file that the source does not have.
	ErrNotFound = errors.New("not found at the source")

	// ErrNoTrust means that a trust folder holds no root: [InitTrust] has not been run.
	ErrNoTrust = errors.New("no trusted root")

	// ErrOtherRoot means that [InitTrust] was given a root that is not of the repository that is trusted already.
	ErrOtherRoot = errors.New("another root is trusted already")

	// ErrStorage is matched by errors of the disk under a trust folder: full, read-only, broken, or holding something else than was
	// written. They never match [ErrUntrusted]. In the chain is the system's error, or, for what is damaged, an
	// [io/fs.PathError] with the path around an error whose method Remedy says what to do.
	ErrStorage = errors.New("trust folder")

	// ErrNothingStored means that [Trust.Stored] has no verified metadata to read back.
	ErrNothingStored = errors.New("no verified metadata stored")
)

// Sentinels of the repository side.
var (
	// ErrRepository is matched by errors about a repository folder that does not hold what it should.
	ErrRepository = errors.New("damaged repository")

	// ErrExists means that CreateRepository was given a folder that holds a repository or a part of one.
	ErrExists = errors.New("repository exists")

	// ErrBusy means that another process is publishing.
	ErrBusy = errors.New("another process is publishing")

	// ErrChanged means that the repository moved on since the caller read what it wants to replace.
	ErrChanged = errors.New("repository changed meanwhile")

	// ErrOfflineKeys is matched by errors about something that only the offline keys can put right.
	ErrOfflineKeys = errors.New("offline keys needed")

	// ErrNoKey means that a private key that a signature needs is not in its folder.
	ErrNoKey = errors.New("private key missing")

	// ErrPending means that a change was prepared and lacks signatures of keys that are not here: [Repository.Sign] adds them where these are.
	// Until then the public state is as before.
	ErrPending = errors.New("more signatures needed")

	// ErrOtherPending means that another change waits for signatures, which this one would replace.
	ErrOtherPending = errors.New("waits for signatures already")

	// ErrNothingPending means that no change waits for signatures.
	ErrNothingPending = errors.New("nothing waits for signatures")

	// ErrClock means that the publishing host's clock is behind what was signed already.
	ErrClock = errors.New("clock is behind the newest signature")

	// ErrTarget means that a target path, its size or its file is not what a repository can hold.
	ErrTarget = errors.New("bad target")
)

// A Reason is the kind of an [UntrustedError]. Its text is stable.
type Reason string

// The reasons.
const (
	ReasonMalformed   Reason = "malformed"    // not the one spelling that the format allows
	ReasonTooLong     Reason = "too long"     // above the limit of the role
	ReasonSignature   Reason = "signature"    // fewer good signatures than the threshold
	ReasonExpired     Reason = "expired"      // a freeze, or a publisher that does not renew
	ReasonLifetime    Reason = "lifetime"     // lives longer than its role may: a freeze in the making
	ReasonRollback    Reason = "rollback"     // older than what was seen before
	ReasonFastForward Reason = "fast-forward" // a step that no publisher makes
	ReasonMismatch    Reason = "mismatch"     // not what the role above it names: length, hash, version
	ReasonDelegation  Reason = "delegation"   // names what it was not entrusted with
	ReasonInternal    Reason = "internal"     // the verifier itself gave way; nothing was believed
)

// An UntrustedError says which document is not believed, and why. It matches [ErrUntrusted], and [ErrStale] when it
// is a rollback.
type UntrustedError struct {
	Role    string    // root, timestamp, snapshot, targets, database, restrictions; release and epoch for what they sign
	Version uint64    // of the document offered, 0 when it could not be read
	Floor   uint64    // what was seen before, for rollback and fast-forward
	Expires time.Time // for expired
	Reason  Reason
	Detail  string // what exactly is wrong
	Remedy  string // what the operator may do
	Err     error  // the cause, nil if there is none
}

func (e *UntrustedError) Error() string {
	s := e.Role
	if e.Version != 0 {
		s += fmt.Sprintf(" version %d", e.Version)
	}
	s += " is not trusted: " + string(e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Is matches [ErrUntrusted], and [ErrStale] for a rollback.
func (e *UntrustedError) Is(target error) bool {
	return target == ErrUntrusted || target == ErrStale && e.Reason == ReasonRollback
}

// Unwrap is the cause.
func (e *UntrustedError) Unwrap() error { return e.Err }

// A RepositoryError names what keeps a repository from being read or signed.
type RepositoryError struct {
	Kind   error  // one of the sentinels above
	What   string // role, file or path
	Detail string
	Remedy string
	Err    error
}

func (e *RepositoryError) Error() string {
	s := e.What + ": " + e.Kind.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Is matches the kind.
func (e *RepositoryError) Is(target error) bool { return target == e.Kind }

// Unwrap is the cause.
func (e *RepositoryError) Unwrap() error { return e.Err }
