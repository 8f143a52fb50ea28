package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"example.org/avdb/matcher"
)

// endedEarly is an error of a scan that did not look at all files. What it has found holds.
type endedEarly interface {
	error
	Remedy() string
	endedEarly()
}

// A timeoutError is a scan that took longer than --timeout allows.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("the scan was ended after %s (--timeout); files after the last result were not looked at", durationText(e.after))
}

// Remedy is what to do about it.
func (e *timeoutError) Remedy() string { return "give it more time, or scan less at once" }

func (e *timeoutError) endedEarly() {}

// An interruptedError is a scan that a signal ended. It is no [context.Canceled]: what is said of updates then does not hold for scans.
type interruptedError struct{ scanned int64 }

func (e *interruptedError) Error() string {
	return fmt.Sprintf("the scan was interrupted after %s; files after the last result were not looked at", plural(int(e.scanned), "file"))
}

// Remedy is what to do about it.
func (e *interruptedError) Remedy() string { return "what was found holds; scan again for the rest" }

func (e *interruptedError) endedEarly() {}

// stdinPath stands for standard input where a path is asked for, and in the results of programs.
const stdinPath = "-"

// scanName is a path for people: standard input is called as clamscan calls it.
func scanName(path string) string {
	if path == stdinPath {
		return "stdin"
	}
	return pathText(path)
}

// notUnpacked is what the matcher says was not looked at of an archive, "" for nothing.
func notUnpacked(r matcher.Result) string {
	switch {
	case r.Limits == "":
		return r.Unread
	case r.Unread == "":
		return r.Limits
	}
	return r.Limits + "; " + r.Unread
}

// failureText is what went wrong with a file, with its path where that does not stand in it: an error of a member names the member.
func failureText(r matcher.Result) string {
	if r.Path != stdinPath && strings.Contains(r.Error, r.Path) {
		return r.Error
	}
	return scanName(r.Path) + ": " + r.Error
}

// advise says in a result what users of the program can do about a limit that ended it: the matcher, which is a library, knows no flags.
func advise(r *matcher.Result) {
	r.Limits = adviseLimit(r.Limits)
	switch {
	case errors.Is(r.Err, matcher.ErrTime):
		r.Error += "; --max-time gives it more"
	case errors.Is(r.Err, matcher.ErrLimit):
		r.Error += "; it looks made to hold up scans, and no flag gives it more: look at it by hand"
	default:
		return
	}
	if r.Path != stdinPath {
		r.Error += ", or leave it out with --exclude"
	}
}

// adviseLimit names the flag of a limit of unpacking instead of having it raised. The names of members stand before what is looked for, whatever they are.
func adviseLimit(text string) string {
	const limit, advice = "over the limit of ", "raise it or scan the content by itself"
	at := strings.LastIndex(text, limit)
	if at < 0 {
		return text
	}
	before, after, ok := strings.Cut(text[at:], advice)
	name, _, _ := strings.Cut(strings.TrimPrefix(before, limit), " (")
	if !ok {
		return text
	}
	return text[:at] + before + limitAdvice(name) + after
}

// limitAdvice is what to do about a limit, by the text form of an archive.Limit.
func limitAdvice(limit string) string {
	const byHand = "unpack it and scan what it holds"
	switch limit {
	case "depth":
		return fmt.Sprintf("--max-depth raises it (up to %d), or %s", maxArchiveDepth, byHand)
	case "members", "entries":
		return "--max-members raises it, or " + byHand
	case "member bytes", "total bytes", "bytes read":
		return "--max-unpacked raises it, or " + byHand
	case "memory":
		return "make room in the folder for temporary files"
	}
	return "no flag raises it: " + byHand // a ratio that bombs have, or a window that few decoders take
}
