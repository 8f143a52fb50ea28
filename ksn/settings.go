package ksn

import (
	"fmt"
	"strconv"

	"example.org/avdb/store"
)

// ReadConsent takes the consent out of the device's settings. Settings that nobody can have consented by are
// an error that names the field, and the consent is then zero: in doubt nothing is sent.
func ReadConsent(k store.SettingsKSN) (Consent, error) {
	c := Consent{Mode: Mode(k.Mode), Since: k.Since}
	if a := k.Accepted; a != nil {
		version, err := readVersion(a.Version)
		if err != nil {
			return Consent{}, fmt.Errorf("settings, ksn.accepted.version: %w", err)
		}
		c.Accepted = &Acceptance{Version: version, Language: a.Language, SHA256: a.SHA256, Time: a.Time, Mode: Mode(a.Mode)}
	}
	for i, d := range k.Declined {
		version, err := readVersion(d.Version)
		if err != nil {
			return Consent{}, fmt.Errorf("settings, ksn.declined[%d].version: %w", i, err)
		}
		if c.Declined == nil || c.Declined.Version < version {
			c.Declined = &Refusal{Version: version, Language: d.Language, Time: d.Time}
		}
	}
	if err := c.Check(); err != nil {
		return Consent{}, fmt.Errorf("settings, ksn: %w", err)
	}
	return c, nil
}

// WriteConsent puts the consent into the device's settings and leaves the rest of them as it is.
func WriteConsent(k *store.SettingsKSN, c Consent) {
	k.Mode, k.Since, k.Accepted, k.Declined = string(c.Mode), c.Since, nil, nil
	if k.Mode == "" {
		k.Mode = string(ModeOff)
	}
	if a := c.Accepted; a != nil {
		k.Accepted = &store.SettingsConsent{Version: strconv.Itoa(a.Version), Language: a.Language, SHA256: a.SHA256,
			Time: a.Time, Mode: string(a.Mode)}
	}
	if d := c.Declined; d != nil {
		k.Declined = []store.SettingsDecline{{Version: strconv.Itoa(d.Version), Language: d.Language, Time: d.Time}}
	}
}

func readVersion(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%.40q is no statement version, want a number from 1", s)
	}
	return n, nil
}
