package ksn

import (
	"fmt"
	"time"

	"example.org/avdb/dbformat"
)

// A Mode says how much of KSN a device uses.
type Mode string

// The modes. The zero value counts as off.
const (
	ModeOff      Mode = "off"
	ModeBasic    Mode = "basic"    // look-ups
	ModeExtended Mode = "extended" // look-ups and statistics
)

// ParseMode takes exactly one of the words of the modes.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeOff, ModeBasic, ModeExtended:
		return m, nil
	}
	return "", fmt.Errorf("KSN mode %.40q: want off, basic or extended", s)
}

// On tells whether the mode uses KSN at all. What is no mode does not.
func (m Mode) On() bool { return m == ModeBasic || m == ModeExtended }

// Consent is what the user of a device decided. Its zero value is that of a new device: nothing was asked,
// nothing is allowed. The functions that change it return a changed copy, which the caller keeps in the settings.
type Consent struct {
	Mode     Mode           `json:"mode,omitempty"`     // as chosen; counts only with a statement accepted
	Since    *dbformat.Time `json:"since,omitempty"`    // when Mode last changed
	Accepted *Acceptance    `json:"accepted,omitempty"` // the statement in force
	Declined *Refusal       `json:"declined,omitempty"` // the newest statement that was declined
}

// An Acceptance records which text a user accepted. It is evidence, and nothing changes it afterwards.
type Acceptance struct {
	Version  int             `json:"version"`
	Language string          `json:"language"`
	SHA256   dbformat.Digest `json:"sha256"` // of the text shown
	Time     dbformat.Time   `json:"time"`
	Mode     Mode            `json:"mode"` // in force when the text was accepted
}

// A Refusal records which text a user declined.
type Refusal struct {
	Version  int           `json:"version"`
	Language string        `json:"language"`
	Time     dbformat.Time `json:"time"`
}

// Accept records that the user accepted s at now. It switches nothing on. A statement older than
// the accepted one is refused: it says less than what the device already does.
func (c Consent) Accept(s Statement, now time.Time) (Consent, error) {
	if s.version < 1 {
		return c, fmt.Errorf("accept: no statement given")
	}
	mode := c.inForce()
	if a := c.Accepted; a != nil {
		if s.version < a.Version {
			return c, &RefusedError{What: fmt.Sprintf("accepting statement %d", s.version),
				Why:    fmt.Sprintf("the newer statement %d is accepted", a.Version),
				Remedy: fmt.Sprintf("decline statement %d first to go back", a.Version)}
		}
		if a.Version == s.version && a.SHA256 == s.SHA256() {
			return c, nil // the first yes to this text is the record
		}
	}
	c.Accepted = &Acceptance{Version: s.version, Language: s.language, SHA256: s.SHA256(), Time: dbformat.At(now), Mode: mode}
	if c.Declined != nil && c.Declined.Version <= s.version {
		c.Declined = nil
	}
	return c, nil
}

// Decline records that the user declined s at now. A version newer than the accepted one leaves the accepted one in
// force; declining the accepted version (or any older one) withdraws consent and switches KSN off.
func (c Consent) Decline(s Statement, now time.Time) (Consent, error) {
	if s.version < 1 {
		return c, fmt.Errorf("decline: no statement given")
	}
	if c.Declined == nil || c.Declined.Version <= s.version {
		c.Declined = &Refusal{Version: s.version, Language: s.language, Time: dbformat.At(now)}
	}
	if c.Accepted != nil && s.version <= c.Accepted.Version {
		c.Accepted = nil
		c = c.Disable(now)
	}
	return c, nil
}

// Enable begins the mode basic or extended at now, or changes between them. Without an accepted statement it is refused.
func (c Consent) Enable(m Mode, now time.Time) (Consent, error) {
	if !m.On() {
		return c, fmt.Errorf("enable: KSN mode %.40q: want basic or extended", m)
	}
	if !c.hasAccepted() {
		return c, &RefusedError{What: "enabling KSN", Why: "no statement is accepted",
			Remedy: "read `avdb ksn statement show`, then run `avdb ksn statement accept`"}
	}
	return c.setMode(m, now), nil
}

// Disable ends KSN at now. The accepted statement stays accepted, so that it can begin again at any time.
func (c Consent) Disable(now time.Time) Consent { return c.setMode(ModeOff, now) }

func (c Consent) setMode(m Mode, now time.Time) Consent {
	if c.Mode == m || c.Mode == "" && m == ModeOff {
		return c
	}
	t := dbformat.At(now)
	c.Mode, c.Since = m, &t
	return c
}

// hasAccepted tells whether a statement is accepted: a record without a version, as an edited file may hold, is none.
func (c Consent) hasAccepted() bool { return c.Accepted != nil && c.Accepted.Version >= 1 }

// inForce is the mode that the user's own decisions amount to.
func (c Consent) inForce() Mode {
	if !c.hasAccepted() || !c.Mode.On() {
		return ModeOff
	}
	return c.Mode
}

// Answer says what the user said to a statement version: "accepted", "declined", "covered" (a newer one is accepted)
// or "open".
func (c Consent) Answer(version int) string {
	switch {
	case c.Accepted != nil && c.Accepted.Version == version:
		return "accepted"
	case c.Declined != nil && c.Declined.Version == version:
		return "declined"
	case c.Accepted != nil && c.Accepted.Version > version:
		return "covered"
	}
	return "open"
}

// Check says what is wrong with a consent that was read from a file that people can edit.
func (c Consent) Check() error {
	if c.Mode != "" {
		if _, err := ParseMode(string(c.Mode)); err != nil {
			return err
		}
	}
	if a := c.Accepted; a != nil {
		if _, err := ParseMode(string(a.Mode)); err != nil {
			return fmt.Errorf("accepted statement: %w", err)
		}
		if err := checkAnswer(a.Version, a.Language, a.Time); err != nil {
			return fmt.Errorf("accepted statement: %w", err)
		}
		if a.SHA256.IsZero() {
			return fmt.Errorf("accepted statement: the SHA-256 of the text is missing")
		}
	}
	if d := c.Declined; d != nil {
		if err := checkAnswer(d.Version, d.Language, d.Time); err != nil {
			return fmt.Errorf("declined statement: %w", err)
		}
	}
	return nil
}

func checkAnswer(version int, language string, at dbformat.Time) error {
	switch {
	case version < 1:
		return fmt.Errorf("version %d, want 1 or more", version)
	case normalTag(language) == "":
		return fmt.Errorf("language %.40q is no tag", language)
	case at.IsZero():
		return fmt.Errorf("the time is missing")
	}
	return nil
}
