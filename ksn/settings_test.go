package ksn_test

import (
	"reflect"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/store"
)

// What is written into the settings is read back, and the rest of the settings stays.
func TestConsentInSettings(t *testing.T) {
	declined, err := enabled(t, ksn.ModeExtended).Decline(statement(t, "3", "de", "drei"), noon)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]ksn.Consent{
		"new": {Mode: ksn.ModeOff}, "accepted": accepted(t), "enabled": enabled(t, ksn.ModeExtended),
		"newer one declined": declined, "off again": declined.Disable(noon),
	} {
		t.Run(name, func(t *testing.T) {
			k := store.DefaultSettings().KSN
			k.UseProxy, k.Proxies = true, []string{"p1"}
			ksn.WriteConsent(&k, c)
			got, err := ksn.ReadConsent(k)
			if err != nil || mode(got) != mode(c) || !reflect.DeepEqual(got.Accepted, c.Accepted) || !reflect.DeepEqual(got.Declined, c.Declined) || !reflect.DeepEqual(got.Since, c.Since) {
				t.Errorf("read back %+v, %v; want %+v", got, err, c)
			}
			if !k.UseProxy || len(k.Proxies) != 1 {
				t.Errorf("the proxy settings changed: %+v", k)
			}
		})
	}
	got, err := ksn.ReadConsent(store.DefaultSettings().KSN)
	if err != nil || mode(got) != ksn.ModeOff {
		t.Errorf("the settings of a new device: %+v, %v", got, err)
	}
}

// Edited settings never amount to consent by accident.
func TestEditedSettingsAreNoConsent(t *testing.T) {
	good := func() store.SettingsKSN {
		k := store.DefaultSettings().KSN
		ksn.WriteConsent(&k, enabled(t, ksn.ModeBasic))
		return k
	}
	for _, c := range []struct {
		reason string
		edit   func(*store.SettingsKSN)
	}{
		{"ksn.accepted.version", func(k *store.SettingsKSN) { k.Accepted.Version = "" }},
		{"ksn.accepted.version", func(k *store.SettingsKSN) { k.Accepted.Version = "02" }},
		{"ksn.accepted.version", func(k *store.SettingsKSN) { k.Accepted.Version = "-1" }},
		{"SHA-256", func(k *store.SettingsKSN) { k.Accepted.SHA256 = dbformat.Digest{} }},
		{"ksn.declined[0].version", func(k *store.SettingsKSN) { k.Declined = []store.SettingsDecline{{Version: "x"}} }},
		{"KSN mode", func(k *store.SettingsKSN) { k.Mode = "on" }},
	} {
		k := good()
		c.edit(&k)
		got, err := ksn.ReadConsent(k)
		if err == nil || !strings.Contains(err.Error(), c.reason) || got != (ksn.Consent{}) {
			t.Errorf("ReadConsent = %+v, %v; want nothing and an error with %q", got, err, c.reason)
		}
	}
}
