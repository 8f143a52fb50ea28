package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/store"
)

// A release from the future has no age, and the report tells that a clock is wrong.
func TestStatusOfReleaseFromTheFuture(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		published time.Time
		ahead     bool
		age       int64
		text      string
	}{
		{now.Add(-2 * time.Hour), false, 7200, "(2 h ago, current)"},
		{now.Add(time.Minute), false, 0, "(0 s ago, current)"},
		{now.Add(time.Hour), true, 0, "(later than it is by the clock of this device, current)"},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), true, 0, "(later than it is by the clock of this device, current)"},
		{time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), false, 9223372036, "d ago, very_out_of_date)"},
	} {
		var r statusReport
		r.Records, r.Layers = map[string]uint64{}, map[string]statusLayer{}
		dev := ksn.Device{Now: now}
		(&device{}).describe(&r, &dev, store.Current{Generation: store.Generation{Version: 7, Published: c.published}})
		r.judge(dev)
		if r.Age != c.age {
			t.Errorf("%v: age %d s, want %d", c.published, r.Age, c.age)
		}
		told := false
		for _, x := range r.Device.Reasons {
			told = told || x.Code == "published_in_future" && x.Severity == ksn.SeverityWarning
		}
		if told != c.ahead || c.ahead && r.Device.Status != ksn.SeverityWarning {
			t.Errorf("%v: %+v, want a warning: %t", c.published, r.Device, c.ahead)
		}
		var out bytes.Buffer
		r.Wanted = dbformat.VariantLight
		(&app{stdout: &out}).statusText(r)
		if !strings.Contains(out.String(), c.text) {
			t.Errorf("%v: %s does not say %q", c.published, out.String(), c.text)
		}
	}
}

// The worst reason stays the first.
func TestAddReason(t *testing.T) {
	s := ksn.DeviceState{Reasons: []ksn.DeviceReason{{Code: "a", Severity: ksn.SeverityCritical}}}
	addReason(&s, ksn.DeviceReason{Code: "b", Severity: ksn.SeverityWarning})
	if s.Status != ksn.SeverityCritical || s.Reasons[0].Code != "a" || len(s.Reasons) != 2 {
		t.Errorf("%+v", s)
	}
}
