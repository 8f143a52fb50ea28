package updater

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

var (
	// ErrUnavailable is matched when a source, or every source, could not be reached or lacks what is needed. Trying
	// again later is the remedy; nothing on disk changed because of it.
	ErrUnavailable = errors.New("no source could be reached")

	// ErrCoolDown is matched when a source, or every source, asked to be left alone for a while. [CoolDownError]
	// says until when.
	ErrCoolDown = errors.New("told to come back later")

	// ErrNotSetUp is matched when no source is known: the device was never told where updates come from.
	ErrNotSetUp = errors.New("no source is set")
)

// A SourceError says what one source did not give. It matches [ErrUnavailable].
type SourceError struct {
	Source string // its URL without credentials
	File   string // what was asked for, below the source's URL
	Status int    // HTTP status, 0 where no answer came
	Reason string
	Remedy string // "" for none but to try again later
	Err    error  // the cause; may be nil
}

func (e *SourceError) Error() string {
	s := e.Source
	if e.File != "" {
		s += ": " + e.File
	}
	if e.Status != 0 {
		s += fmt.Sprintf(": status %d", e.Status)
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Is matches [ErrUnavailable].
func (e *SourceError) Is(target error) bool { return target == ErrUnavailable }

// Unwrap is the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// A TargetError says that a source gave a file that is not the one that was signed. It matches
// [signing.ErrUntrusted].
type TargetError struct {
	Source string
	Target string // the target's path
	Reason string
	Err    error // the cause; may be nil
}

func (e *TargetError) Error() string {
	s := fmt.Sprintf("%s: %s is not what was signed: %s", e.Source, e.Target, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is matches [signing.ErrUntrusted].
func (e *TargetError) Is(target error) bool { return target == signing.ErrUntrusted }

// Unwrap is the cause.
func (e *TargetError) Unwrap() error { return e.Err }

// A MetadataError says that a source's metadata is not believed; Err, from signing, says why. It matches what Err
// matches: [signing.ErrUntrusted], and [signing.ErrStale] if the source lags behind or replays.
type MetadataError struct {
	Source string
	Err    error
}

func (e *MetadataError) Error() string { return e.Source + ": " + e.Err.Error() }

// Unwrap is the cause.
func (e *MetadataError) Unwrap() error { return e.Err }

// A CoolDownError says until when a source is left alone. It matches [ErrCoolDown].
type CoolDownError struct {
	Source string
	Until  time.Time
	Reason string // what the source said
}

func (e *CoolDownError) Error() string {
	return fmt.Sprintf("%s: %s; it is left alone until %s", e.Source, e.Reason, e.Until.UTC().Format(time.RFC3339))
}

// Is matches [ErrCoolDown].
func (e *CoolDownError) Is(target error) bool { return target == ErrCoolDown }

// An UpdateError is what [Updater.Update] returns when no source was good enough. By errors.Is it matches
// exactly one kind, that of Kind, the worst among the sources' errors; all of them are in Causes.
type UpdateError struct {
	Kind      error     // signing.ErrUntrusted, dbformat.ErrVersion, store.ErrStorage, ErrCoolDown or ErrUnavailable
	Until     time.Time // for ErrCoolDown: when the first source may be asked again
	Installed uint64    // the release that stays in use; 0 for none
	Unusable  error     // why that one cannot be opened, nil if it can
	Causes    []error
}

func (e *UpdateError) Error() string {
	var b strings.Builder
	b.WriteString("update: " + e.Kind.Error())
	for _, c := range e.Causes {
		b.WriteString("\n  " + c.Error())
	}
	switch {
	case e.Installed != 0 && e.Unusable != nil:
		fmt.Fprintf(&b, "\n  release %d is installed and cannot be opened: %s", e.Installed, firstLine(e.Unusable))
		b.WriteString("\nnothing protects here until an update succeeds; ")
	case e.Installed != 0:
		fmt.Fprintf(&b, "\nrelease %d stays in use and keeps protecting; ", e.Installed)
	default:
		b.WriteString("\nno database is installed yet; ")
	}
	b.WriteString(e.remedy())
	return b.String()
}

func (e *UpdateError) remedy() string {
	switch e.Kind {
	case signing.ErrUntrusted:
		if slices.ContainsFunc(e.Causes, refusedByGuard) {
			s := "ask who runs the repository whether that is meant; once their offline keys approve the release (avdb repo approve), the next update installs it"
			if slices.ContainsFunc(e.Causes, unproved) {
				s += "; to take its rest unproved, ask for it with --variant full"
			}
			return s
		}
		return "update from another source, or tell who runs this one that its files are not what was signed"
	case dbformat.ErrVersion:
		return "install a newer engine"
	case store.ErrStorage:
		for _, c := range e.Causes {
			if d, ok := errors.AsType[*store.Error](c); ok && kindOf(c) == e.Kind && d.Remedy != "" {
				return d.Remedy
			}
		}
		return "make room or repair the disk, then update again"
	case ErrCoolDown:
		return "update again after " + e.Until.UTC().Format(time.RFC3339) + ", or from another source"
	}
	for _, c := range e.Causes {
		if d, ok := errors.AsType[*SourceError](c); ok && d.Remedy != "" {
			return d.Remedy
		}
	}
	return "check the network and the sources, then update again"
}

// Unwrap gives the causes of the worst kind, so that errors.As finds their details and errors.Is no
// other kind.
func (e *UpdateError) Unwrap() []error {
	list := []error{e.Kind}
	for _, c := range e.Causes {
		for _, leaf := range apart(c) {
			if kindOf(leaf) == e.Kind {
				list = append(list, leaf)
			}
		}
	}
	return list
}

// apart takes joined errors apart.
func apart(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, apart(e)...)
	}
	return list
}

// kindsWorstFirst is the order in which kinds outweigh each other.
func kindsWorstFirst() []error {
	return []error{signing.ErrUntrusted, dbformat.ErrVersion, store.ErrStorage, ErrCoolDown, ErrUnavailable}
}

// kindOf is the worst kind that err matches, nil for none. Bytes that a decoder refuses after their hash was
// found right, and a generation that fails its self-test,
// were signed by somebody who should not have: not trusted.
func kindOf(err error) error {
	for _, k := range kindsWorstFirst() {
		if errors.Is(err, k) {
			return k
		}
	}
	if errors.Is(err, dbformat.ErrCorrupt) || errors.Is(err, store.ErrDigestMismatch) || errors.Is(err, matcher.ErrSelfTest) {
		return signing.ErrUntrusted
	}
	return nil
}

// worst joins what the sources did into one error. An error that is of no kind, such as a cancelled
// context, is returned as it is.
func worst(causes []error, installed uint64) error {
	best := -1
	order := kindsWorstFirst()
	e := &UpdateError{Installed: installed, Causes: causes}
	for _, c := range causes {
		k := kindOf(c)
		if k == nil {
			return c
		}
		for i := range order {
			if order[i] == k && (best < 0 || i < best) {
				best = i
			}
		}
		if d, ok := errors.AsType[*CoolDownError](c); ok && (e.Until.IsZero() || d.Until.Before(e.Until)) {
			e.Until = d.Until
		}
	}
	if best < 0 {
		return nil
	}
	e.Kind = order[best]
	return e
}
