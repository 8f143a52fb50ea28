package ksn_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

const hour = time.Hour

func TestFreshness(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want string
	}{
		{-hour, "current"}, {0, "current"}, {72*hour - 1, "current"}, {72 * hour, "out_of_date"},
		{168*hour - 1, "out_of_date"}, {168 * hour, "very_out_of_date"}, {10000 * hour, "very_out_of_date"},
	} {
		if got := ksn.Freshness(noon.Add(-c.age), noon); got != c.want {
			t.Errorf("Freshness at an age of %s = %q, want %q", c.age, got, c.want)
		}
	}
	if got := ksn.Freshness(time.Time{}, noon); got != "none" {
		t.Errorf("Freshness without a database = %q", got)
	}
}

func TestDeviceStatus(t *testing.T) {
	working := ksn.NewStatus(situation(t))
	noNetwork := ksn.NewStatus(ksn.Situation{Facts: facts(t), Now: noon})
	off := situation(t)
	off.Facts.Consent = off.Facts.Consent.Disable(noon.Add(-2 * hour))
	disabled := ksn.NewStatus(off)
	down := situation(t)
	down.Link = down.Link.Failed(noon.Add(-hour), "refused", true)
	unavailable := ksn.NewStatus(down)
	restricted := situation(t)
	restricted.Set = set(t, 1, record("a", "disable", 1, ""))

	fine := ksn.Device{Published: noon.Add(-hour), Variant: dbformat.VariantFull, KSN: working, Now: noon}
	for _, c := range []struct {
		name   string
		change func(*ksn.Device)
		status ksn.Severity
		want   string // code severity age of each reason
	}{
		{"fine", func(*ksn.Device) {}, "ok", ""},
		{"no database", func(d *ksn.Device) { d.Published = time.Time{} }, "critical", "no_databases critical -"},
		{"3 days", func(d *ksn.Device) { d.Published = noon.Add(-75 * hour) }, "warning", "out_of_date warning 3h0m0s"},
		{"7 days", func(d *ksn.Device) { d.Published = noon.Add(-169 * hour) }, "critical", "very_out_of_date critical 1h0m0s"},
		{"KSN off, full", func(d *ksn.Device) { d.KSN = disabled }, "ok", ""},
		{"unavailable", func(d *ksn.Device) { d.KSN = unavailable }, "warning", "ksn_unavailable warning 1h0m0s"},
		{"unavailable is fine", func(d *ksn.Device) { d.KSN, d.IfUnavailable = unavailable, "ok" }, "ok", ""},
		{"unavailable is critical", func(d *ksn.Device) { d.KSN, d.IfUnavailable = unavailable, "critical" }, "critical", "ksn_unavailable critical 1h0m0s"},
		{"light, and KSN works", func(d *ksn.Device) { d.Variant = dbformat.VariantLight }, "ok", ""},
		{"light, and restricted", func(d *ksn.Device) { d.Variant, d.KSN = dbformat.VariantLight, ksn.NewStatus(restricted) }, "ok", ""},
		{"light without a network", func(d *ksn.Device) {
			d.Variant, d.KSN, d.LightSince = dbformat.VariantLight, noNetwork, noon.Add(-23*hour)
		}, "warning", "light_without_cloud warning 23h0m0s"},
		{"light without a network for a day", func(d *ksn.Device) {
			d.Variant, d.KSN, d.LightSince = dbformat.VariantLight, noNetwork, noon.Add(-24*hour)
		}, "critical", "light_without_cloud critical 24h0m0s"},
		{"light without a network, nobody knows since when", func(d *ksn.Device) {
			d.Variant, d.KSN = dbformat.VariantLight, noNetwork
		}, "warning", "light_without_cloud warning -"},
		{"light for long, KSN switched off now", func(d *ksn.Device) {
			d.Variant, d.KSN, d.LightSince = dbformat.VariantLight, disabled, noon.Add(-900*hour)
		}, "warning", "light_without_cloud warning 2h0m0s"},
		{"light, and unavailable", func(d *ksn.Device) { d.Variant, d.KSN, d.IfUnavailable = dbformat.VariantLight, unavailable, "ok" },
			"warning", "light_without_cloud warning 1h0m0s"},
		{"rolled back", func(d *ksn.Device) { d.RolledBack = noon.Add(-hour) }, "warning", "rolled_back warning 1h0m0s"},
		{"2 failures", func(d *ksn.Device) { d.FailedCycles = 2 }, "ok", ""},
		{"3 failures", func(d *ksn.Device) { d.FailedCycles, d.FailingSince = 3, noon.Add(-hour) }, "warning", "update_failing warning 1h0m0s"},
		{"a provider file that cannot be used", func(d *ksn.Device) { d.BadNetwork = "x" }, "warning", "network_unusable warning -"},
		{"a restriction set that cannot be proved", func(d *ksn.Device) { d.BadSet = "x" }, "warning", "restrictions_unproved warning -"},
		{"the worst comes first", func(d *ksn.Device) {
			d.Published, d.FailedCycles, d.Variant, d.KSN, d.LightSince = noon.Add(-73*hour), 9, dbformat.VariantLight, noNetwork, noon.Add(-48*hour)
		}, "critical", "light_without_cloud critical 48h0m0s, out_of_date warning 1h0m0s, update_failing warning -"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := fine
			c.change(&d)
			got := ksn.DeviceStatus(d)
			var reasons []string
			for _, r := range got.Reasons {
				age := "-"
				if r.Since != nil {
					age = noon.Sub(*r.Since).String()
				}
				reasons = append(reasons, fmt.Sprintf("%s %s %s", r.Code, r.Severity, age))
			}
			if got.Status != c.status || strings.Join(reasons, ", ") != c.want {
				t.Errorf("%s: %s\nwant %s: %s", got.Status, strings.Join(reasons, ", "), c.status, c.want)
			}
		})
	}
}

func TestDeviceStatusFields(t *testing.T) {
	b, err := json.Marshal(ksn.DeviceStatus(ksn.Device{Now: noon}))
	if want := `{"status":"critical","reasons":[{"code":"no_databases","severity":"critical","since":null}]}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v; want %s", b, err, want)
	}
	b, err = json.Marshal(ksn.DeviceStatus(ksn.Device{Now: noon, Published: noon, BadNetwork: "ksn/private.json: cut"}))
	if want := `{"status":"warning","reasons":[{"code":"network_unusable","severity":"warning","since":null,"text":"ksn/private.json: cut"}]}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v; want %s", b, err, want)
	}
	b, err = json.Marshal(ksn.DeviceStatus(ksn.Device{Now: noon, Published: noon}))
	if want := `{"status":"ok","reasons":[]}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v; want %s", b, err, want)
	}
}
