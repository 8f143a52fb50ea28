package ksn

import (
	"errors"
	"strings"
	"time"
)

// ErrRefused is matched by every error that says no because of consent, policy or a
// restriction. Asking again changes nothing until somebody, or time, removes the cause.
var ErrRefused = errors.New("refused")

// A RefusedError says what was refused, why, and what helps.
type RefusedError struct {
	What   string    // what was asked for: "enable", "lookup of a file"
	Why    string    // "no statement is accepted"
	Remedy string    // what the user can do, "" for nothing but waiting
	Record string    // id of the restriction that refused, "" for another cause
	Retry  time.Time // not before; zero if time alone does not help
}

// Error says all of it in one line.
func (e *RefusedError) Error() string {
	var b strings.Builder
	b.WriteString(e.What + " refused: " + e.Why)
	if e.Record != "" {
		b.WriteString(" (restriction " + e.Record + ")")
	}
	if !e.Retry.IsZero() {
		b.WriteString("; not before " + e.Retry.UTC().Format(time.RFC3339))
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Is matches [ErrRefused].
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }
