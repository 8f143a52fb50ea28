package reputation

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrUnavailable is matched by every error that says that no permitted route gave an answer. Asking again later may help.
var ErrUnavailable = errors.New("KSN is unavailable")

// ErrCoolDown is matched by those of them where a server or proxy told us to come back later, and by no others.
var ErrCoolDown = errors.New("told to come back later")

// An UnavailableError says what got no answer and why.
type UnavailableError struct {
	What   string    // "info"
	Why    Why       //
	Retry  time.Time // not before; zero if not known
	Remedy string    // "" for nothing but waiting
	Err    error     // of the last route that was tried
}

// Error says all of it in one line.
func (e *UnavailableError) Error() string {
	var b strings.Builder
	b.WriteString(e.What + ": " + strings.ReplaceAll(string(e.Why), "_", " "))
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if !e.Retry.IsZero() {
		b.WriteString("; not before " + e.Retry.UTC().Format(time.RFC3339))
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Is matches [ErrUnavailable], and [ErrCoolDown] where that is why.
func (e *UnavailableError) Is(target error) bool {
	return target == ErrUnavailable || target == ErrCoolDown && e.Why == Busy
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// A RouteError says what came of asking one hop.
type RouteError struct {
	URL    string // of the server or proxy
	Status int    // of HTTP, 0 without an answer
	Reason string
	Record string // id of the restriction, as the network says
	Fault  Fault  // where Status does not say it
	Err    error
}

// A Fault is a kind of failure that no status of HTTP stands for.
type Fault uint8

// What can be wrong where there is no status, or a good one.
const (
	FaultNone       Fault = iota
	FaultConnection       // there was none, or it broke off
	FaultTimeout          // no answer by the deadline of those who waited
	FaultLength           // an answer longer than any can be
	FaultUnverified       // an answer that is not authentic, or of another time
)

func (e *RouteError) Error() string {
	s := e.URL + ": " + e.Reason
	if e.Status != 0 {
		s = fmt.Sprintf("%s: status %d: %s", e.URL, e.Status, e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *RouteError) Unwrap() error { return e.Err }
