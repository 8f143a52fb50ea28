package dbformat

import (
	"fmt"
	"time"
)

// timeLayout is the form of times in signed documents: RFC 3339, UTC, whole seconds.
const timeLayout = "2006-01-02T15:04:05Z"

// A Time is a moment in a signed document: UTC, whole seconds, one spelling.
type Time struct{ time.Time }

// At cuts t to what a signed document can say.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Second)} }

// MarshalText gives RFC 3339 in UTC without fractions.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.UTC().Format(timeLayout)), nil }

// MarshalJSON gives the same in quotes; it hides the promoted method of [time.Time].
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalText takes exactly what MarshalText gives.
func (t *Time) UnmarshalText(b []byte) error {
	v, err := time.Parse(timeLayout, string(b))
	if err != nil || v.Format(timeLayout) != string(b) {
		return fmt.Errorf("time %q is not of the form %s", b, timeLayout)
	}
	t.Time = v
	return nil
}

// UnmarshalJSON takes exactly what MarshalJSON gives.
func (t *Time) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("time %s is not a string", b)
	}
	return t.UnmarshalText(b[1 : len(b)-1])
}
