package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/matcher"
	"example.org/avdb/mirror"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
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
	{signing.ErrUntrusted, exitUntrusted, "what is installed stays in use; update from another source, or tell who runs this one"},
	{protocol.ErrUntrusted, exitUntrusted, "nothing was changed"},
	{matcher.ErrSelfTest, exitUntrusted, "what is installed stays in use; tell who publishes the database"},
	{dbformat.ErrVersion, exitVersion, "what is installed stays in use; install a newer avdb"},
	{store.ErrStorage, exitStorage, "make room, or make the folder writable, and update again"},
	{signing.ErrStorage, exitStorage, "make room, or make the folder writable, and try again"},
	{updater.ErrCoolDown, exitCoolDown, "what is installed stays in use; update again later, or from another source"},
	{updater.ErrUnavailable, exitUnavailable, "what is installed stays in use; check the network and the sources, and update again"},
	{ksn.ErrRefused, exitRefused, ""},
	{reputation.ErrCoolDown, exitCoolDown, "ask again then"},
	{reputation.ErrUnavailable, exitUnavailable, "what is known here stays in use; \"avdb ksn status\" says how things stand"},
	{publisher.ErrGuard, exitRefused, ""},
	{mirror.ErrRefused, exitRefused, ""},
	{signing.ErrBusy, exitLocked, "wait for it to end"},
	{store.ErrLocked, exitLocked, "wait for it to end, or end it"},
	{store.ErrNoDatabase, exitNoDatabase, "run \"avdb update\" to fetch one"},
	{updater.ErrNotSetUp, exitError, "name a source with \"avdb init --source URL\""},
	{signing.ErrNoTrust, exitError, "run \"avdb init\" first"},
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

// explain takes an error apart into what happened and what to do about it. Libraries
// write both into one text; here they stand on lines of their own.
func (a *app) explain(err error) (text, remedy string) {
	text = strings.TrimSpace(errorText(err))
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted", "what is installed stays in use; run the command again to go on"
	case errors.Is(err, fs.ErrPermission) && concerns(err, a.state):
		remedy = "run it as the user that it belongs to, or name another folder with --state"
	}
	if _, ok := errors.AsType[*updater.UpdateError](err); ok {
		// Its last line says what stays in use and what to do.
		i := strings.LastIndexByte(text, '\n')
		return text[:max(i, 0)], text[i+1:]
	}
	for _, r := range remedies(err) {
		if r == "" {
			continue
		}
		for _, form := range []string{"; " + escape(r), " (" + escape(r) + ")"} {
			if i := strings.LastIndex(text, form); i >= 0 {
				text = text[:i] + text[i+len(form):]
			}
		}
		if remedy == "" {
			remedy = r
		}
	}
	if remedy != "" {
		return text, remedy
	}
	if errors.Is(err, fs.ErrPermission) {
		return text, "run it as a user who may do this, or have the right given"
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return text, k.remedy
		}
	}
	return text, ""
}

// concerns tells whether err names something in the folder dir, or a folder on the way to it.
func concerns(err error, dir string) bool {
	if dir == "" {
		return false
	}
	if strings.Contains(err.Error(), dir) {
		return true
	}
	p, ok := errors.AsType[*fs.PathError](err)
	return ok && strings.HasPrefix(dir, strings.TrimRight(p.Path, string(filepath.Separator))+string(filepath.Separator))
}

// remedies lists what the errors in the chain of err advise, the outermost first.
func remedies(err error) (list []string) {
	var r interface{ Remedy() string }
	if errors.As(err, &r) {
		list = append(list, r.Remedy())
	}
	if e, ok := errors.AsType[*store.Error](err); ok {
		list = append(list, e.Remedy)
	}
	if e, ok := errors.AsType[*updater.SourceError](err); ok {
		list = append(list, e.Remedy)
	}
	if e, ok := errors.AsType[*signing.UntrustedError](err); ok {
		list = append(list, e.Remedy)
	}
	if e, ok := errors.AsType[*signing.RepositoryError](err); ok {
		list = append(list, e.Remedy)
	}
	if e, ok := errors.AsType[*ksn.RefusedError](err); ok {
		list = append(list, e.Remedy)
	}
	if e, ok := errors.AsType[*reputation.UnavailableError](err); ok {
		list = append(list, e.Remedy)
	}
	if e, ok := errors.AsType[*publisher.PolicyError](err); ok {
		list = append(list, e.Remedy)
	}
	if e, ok := errors.AsType[*publisher.RestrictionsError](err); ok {
		list = append(list, e.Remedy)
	}
	if e, ok := errors.AsType[*publisher.OptionsError](err); ok {
		list = append(list, e.Remedy)
	}
	return list
}

// A failure is the JSON document of a command that failed and had nothing of its own
// to say.
type failure struct {
	Error  string `json:"error"`
	Remedy string `json:"remedy,omitempty"`
	Exit   int    `json:"exit"`
}

// fail says what went wrong and returns the exit code.
func (a *app) fail(err error) int {
	code := exitCode(err)
	var v verdictError
	if err == nil || errors.As(err, &v) {
		return code
	}
	f := failure{Exit: code}
	f.Error, f.Remedy = a.explain(err)
	a.say(levelError, f.Error, f.Remedy)
	if a.json && !a.answered {
		if werr := a.document(f); werr != nil {
			return exitError
		}
	}
	return code
}
