package ksn

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// Ages of a database, counted from its publication.
const (
	OutOfDateAfter     = 3 * 24 * time.Hour
	VeryOutOfDateAfter = 7 * 24 * time.Hour
)

// lightGrace is how long light without a cloud is a warning before it is critical.
const lightGrace = 24 * time.Hour

// failingCycles is how many update cycles in a row must fail to be worth a warning.
const failingCycles = 3

// Freshness says how old a database is: "current", "out_of_date", "very_out_of_date", or "none" for a zero time of
// publication, which means that there is no database. now is [TimeUsed].
func Freshness(published, now time.Time) string {
	if published.IsZero() {
		return "none"
	}
	switch age := now.Sub(published); {
	case age >= VeryOutOfDateAfter:
		return "very_out_of_date"
	case age >= OutOfDateAfter:
		return "out_of_date"
	}
	return "current"
}

// A Severity is how bad something is.
type Severity string

// The severities.
const (
	SeverityOK       Severity = "ok"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// ParseSeverity takes exactly one of the words of the severities.
func ParseSeverity(s string) (Severity, error) {
	switch v := Severity(s); v {
	case SeverityOK, SeverityWarning, SeverityCritical:
		return v, nil
	}
	return "", fmt.Errorf("severity %.40q: want ok, warning or critical", s)
}

func (s Severity) rank() int {
	switch s {
	case SeverityCritical:
		return 2
	case SeverityWarning:
		return 1
	}
	return 0
}

// Device is all that the state of the device depends on. The zero value has no database.
type Device struct {
	Published     time.Time        // of the current generation; zero: there is no usable database
	Variant       dbformat.Variant // of the current generation
	LightSince    time.Time        // when the device went over to light; zero if not known
	RolledBack    time.Time        // when it was rolled back; zero if it was not
	FailedCycles  int              // update cycles in a row that failed
	FailingSince  time.Time        // the first of them
	KSN           Status
	BadNetwork    string    // what is wrong with the provider file, which it names; "" for nothing
	BadSet        string    // what is wrong with the stored restriction set, which it names; "" for nothing
	IfUnavailable Severity  // what unavailable KSN servers mean to the administrator; "" means warning
	Now           time.Time // as [TimeUsed]
}

// A DeviceState is the worst of its reasons.
type DeviceState struct {
	Status  Severity       `json:"status"`
	Reasons []DeviceReason `json:"reasons"` // worst first
}

// A DeviceReason is something to attend to.
type DeviceReason struct {
	Code     string     `json:"code"`
	Severity Severity   `json:"severity"`
	Since    *time.Time `json:"since"`          // null if not known
	Text     string     `json:"text,omitempty"` // what is wrong, where the code does not tell: names the file
}

// DeviceStatus judges the device. It is a pure function.
func DeviceStatus(d Device) DeviceState {
	out := DeviceState{Status: SeverityOK, Reasons: []DeviceReason{}}
	add := func(code string, s Severity, since time.Time) {
		out.Reasons = append(out.Reasons, DeviceReason{Code: code, Severity: s, Since: timeOrNil(since)})
	}
	because := func(code, text string) {
		if text != "" {
			out.Reasons = append(out.Reasons, DeviceReason{Code: code, Severity: SeverityWarning, Text: text})
		}
	}
	switch Freshness(d.Published, d.Now) {
	case "none":
		add("no_databases", SeverityCritical, time.Time{})
	case "very_out_of_date":
		add("very_out_of_date", SeverityCritical, d.Published.Add(VeryOutOfDateAfter))
	case "out_of_date":
		add("out_of_date", SeverityWarning, d.Published.Add(OutOfDateAfter))
	}
	if d.KSN.State == StateUnavailable {
		if s := cmp.Or(d.IfUnavailable, SeverityWarning); s != SeverityOK {
			add("ksn_unavailable", s, timeOf(d.KSN.Since))
		}
	}
	if since, ok := d.lightWithoutCloud(); ok {
		s := SeverityWarning
		if !since.IsZero() && d.Now.Sub(since) >= lightGrace {
			s = SeverityCritical
		}
		add("light_without_cloud", s, since)
	}
	because("network_unusable", d.BadNetwork)
	because("restrictions_unproved", d.BadSet)
	if !d.RolledBack.IsZero() {
		add("rolled_back", SeverityWarning, d.RolledBack)
	}
	if d.FailedCycles >= failingCycles {
		add("update_failing", SeverityWarning, d.FailingSince)
	}
	slices.SortStableFunc(out.Reasons, func(a, b DeviceReason) int { return b.Severity.rank() - a.Severity.rank() })
	if len(out.Reasons) > 0 {
		out.Status = out.Reasons[0].Severity
	}
	return out
}

// lightWithoutCloud tells whether the device holds the light variant and has no cloud that could settle a
// suspicion, and since when: both must be so, hence the later of the two.
func (d Device) lightWithoutCloud() (since time.Time, ok bool) {
	if d.Published.IsZero() || d.Variant != dbformat.VariantLight {
		return time.Time{}, false
	}
	since = d.LightSince
	switch {
	case d.KSN.State == StateDisabled, d.KSN.State == StateNotAuthorized, d.KSN.State == StateUnavailable:
		if s := timeOf(d.KSN.Since); s.After(since) {
			since = s
		}
		return since, true
	case !d.KSN.NetworkInstalled:
		return since, true
	}
	return time.Time{}, false
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
