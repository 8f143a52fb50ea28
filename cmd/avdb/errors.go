package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.org/avdb/dbformat"
)

// The exit codes, one for each reaction of the caller.
const (
	exitOK          = 0
	exitFinding     = 1
	exitError       = 2
	exitNoDatabase  = 10
	exitLocked      = 11
	exitUntrusted   = 12
	exitUnavailable = 13
	exitCoolDown    = 14
	exitStorage     = 15
	exitRefused     = 16
	exitVersion     = 17
	exitAvailable   = 100
)

// A verdictError is an exit code that is a result and no failure: the command has
// said what there is to say.
type verdictError int

func (e verdictError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// The results that are told by the exit code alone.
const (
	errFinding   = verdictError(exitFinding)   // a threat, or something to attend to
	errUnread    = verdictError(exitError)     // a file that could not be scanned; already named
	errAvailable = verdictError(exitAvailable) // update --check
)

// A usageError is a command line that makes no sense.
type usageError struct {
	text    string
	command string // its help is pointed at; "" for none
	remedy  string // said before the help is pointed at; "" for none
}

func (e *usageError) Error() string { return e.text }

// Remedy is what to do about it.
func (e *usageError) Remedy() string {
	switch {
	case e.command == "":
		return e.remedy
	case e.remedy == "":
		return fmt.Sprintf("run %q for help", e.command+" --help")
	}
	return fmt.Sprintf("%s\nrun %q for help", e.remedy, e.command+" --help")
}

func usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// A hintError adds what to do to an error.
type hintError struct {
	err    error
	remedy string
}

func (e *hintError) Error() string  { return e.err.Error() }
func (e *hintError) Unwrap() error  { return e.err }
func (e *hintError) Remedy() string { return e.remedy }

func hint(err error, format string, args ...any) error {
	return &hintError{err: err, remedy: fmt.Sprintf(format, args...)}
}

// kinds maps errors to exit codes and to what can be done when the error itself does not
// say. The first that matches counts: where an error is of several kinds (no
// source was good), the order is that of the worst first.
var kinds = []struct {
	is     error
	code   int
	remedy string
}{
	{dbformat.ErrVersion, exitVersion, "the database in place stays in use; install a newer avdb"},
}

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var v verdictError
	if errors.As(err, &v) {
		return int(v)
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return k.code
		}
	}
	return exitError
}

// remedy is what to do about err: what the error itself says, else what its kind
// advises, else "".
func remedy(err error) string {
	var r interface{ Remedy() string }
	if errors.As(err, &r) {
		if s := r.Remedy(); s != "" {
			return s
		}
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return k.remedy
		}
	}
	return ""
}

// A failure is the JSON document of a command that failed and had nothing of its own
// to say.
type failure struct {
	Error  string `json:"error"`
	Remedy string `json:"remedy,omitempty"`
	Exit   int    `json:"exit"`
}

// fail says what went wrong and returns the exit code.
func (a *app) fail(ctx context.Context, err error) int {
	code := exitCode(err)
	var v verdictError
	if err == nil || errors.As(err, &v) {
		return code
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = hint(errors.New("interrupted"), "what is installed stays in use; run the command again to go on")
	}
	f := failure{Error: strings.TrimSpace(err.Error()), Remedy: remedy(err), Exit: code}
	a.say(levelError, f.Error, f.Remedy)
	if a.json && !a.answered {
		if werr := a.document(f); werr != nil {
			return exitError
		}
	}
	return code
}
