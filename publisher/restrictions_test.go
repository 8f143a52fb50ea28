package publisher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// record writes one record; extra is JSON beginning with a comma, or nothing.
func record(id, action string, priority int, days float64, extra string) string {
	expires := noon.Add(time.Duration(days * 24 * float64(time.Hour))).Format(time.RFC3339)
	if action == "limit" {
		extra += `,"limit":{"sample_bp":100}`
	}
	return fmt.Sprintf(`{"id":%q,"action":%q,"priority":%d,"expires":%q%s}`, id, action, priority, expires, extra)
}

func setFile(t testing.TB, epoch int, records ...string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "r.json")
	text := fmt.Sprintf(`{"schema":1,"epoch":%d,"records":[%s]}`, epoch, strings.Join(records, ","))
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEpochsOfRestrictions(t *testing.T) {
	one := record("a", "disable", 1, 0.5, "")
	previous, changed, _, err := nextSet(setFile(t, 5, one), nil, noon, true)
	if err != nil || !changed || previous.Epoch != 5 || !previous.Signed.Equal(noon) {
		t.Fatalf("first set %+v, changed %v, error %v", previous, changed, err)
	}
	for _, c := range []struct {
		promise string
		choice  string
		epoch   uint64
		records int
		changed bool
		err     string
	}{
		{"no flag keeps the set", KeepRestrictions, 5, 1, false, ""},
		{"none empties it under the next epoch", NoRestrictions, 6, 0, true, ""},
		{"the same again changes nothing", setFile(t, 5, one), 5, 1, false, ""},
		{"a higher epoch replaces it", setFile(t, 9, one), 9, 1, true, ""},
		{"the same epoch with other records is refused", setFile(t, 5, record("b", "disable", 1, 0.5, "")), 0, 0, false, "epoch 5, and epoch 5 is published with other records; raise epoch to 6 or more"},
		{"a lower epoch is refused", setFile(t, 4, one), 0, 0, false, "epoch 4, and epoch 5 is published"},
	} {
		set, changed, _, err := nextSet(c.choice, previous, noon.Add(time.Hour), true)
		if c.err != "" {
			if !errors.Is(err, ErrRestrictions) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.promise, err, c.err)
			}
			continue
		}
		if err != nil || changed != c.changed || set.Epoch != c.epoch || len(set.Records) != c.records {
			t.Errorf("%s: set %+v, changed %v, error %v", c.promise, set, changed, err)
		}
		if !changed && !set.Signed.Equal(noon) {
			t.Errorf("%s: signed again at %v", c.promise, set.Signed)
		}
	}
	for _, p := range []*dbformat.RestrictionSet{nil, {Schema: 1, Epoch: 3, Records: []dbformat.Restriction{}}} {
		if set, changed, _, err := nextSet(NoRestrictions, p, noon, true); err != nil || changed || set != p {
			t.Errorf("none where there is none: %+v, changed %v, error %v", set, changed, err)
		}
	}
}

func TestNoEpochIsSignedThatEndpointsRefuse(t *testing.T) {
	const step = 1 << 32
	at := func(epoch uint64) *dbformat.RestrictionSet {
		return &dbformat.RestrictionSet{Schema: 1, Epoch: epoch, Records: []dbformat.Restriction{}}
	}
	one := record("a", "disable", 1, 0.5, "")
	for _, c := range []struct {
		previous *dbformat.RestrictionSet
		epoch    int
		err      string
	}{
		{nil, step, ""},
		{nil, step + 1, "epoch 4294967297 is more than 2^32 above the last one, 0, and endpoints refuse such a step; set epoch to 4294967296 or less"},
		{at(5), step + 5, ""},
		{at(5), step + 6, "set epoch to 4294967301 or less"},
		{at(dbformat.MaxVersion - 2), dbformat.MaxVersion, ""},
	} {
		set, _, _, err := nextSet(setFile(t, c.epoch, one), c.previous, noon, true)
		switch {
		case c.err == "" && (err != nil || set.Epoch != uint64(c.epoch)):
			t.Errorf("epoch %d after %+v: %v", c.epoch, c.previous, err)
		case c.err != "" && (!errors.Is(err, ErrRestrictions) || !strings.Contains(err.Error(), c.err)):
			t.Errorf("epoch %d after %+v: error %v, want %q", c.epoch, c.previous, err, c.err)
		}
	}
}

func TestLintsOfRestrictions(t *testing.T) {
	for _, c := range []struct {
		promise string
		records []string
		err     string
		warn    []string
	}{
		{"a short disable of a small cohort", []string{record("a", "disable", 1, 0.5, `,"match":{"cohort":{"salt":"x","from":0,"to":4999}}`)}, "", nil},
		{"no expiry", []string{`{"id":"a","action":"disable","priority":1}`}, "expires: is required", nil},
		{"more than 30 days", []string{record("a", "limit", 1, 30.1, "")}, `record "a": expires more than 30 days from now; set expires to 2026-03-31T12:00:00Z or earlier`, nil},
		{"an id twice", []string{record("a", "limit", 1, 1, ""), record("a", "limit", 1, 1, "")}, "stands twice", nil},
		{"an allow below a disable of everything", []string{record("a", "disable", 5, 2, ""), record("b", "allow", 4, 1, "")}, `record "b": can never win: "a" (disable, priority 5)`, nil},
		{"an allow beside a limit", []string{record("a", "limit", 5, 2, ""), record("b", "allow", 5, 1, `,"scope":{"objects":["url"]}`)}, "can never win", nil},
		{"an allow above wins", []string{record("a", "disable", 5, 0.5, ""), record("b", "allow", 6, 1, "")}, "", []string{"a\": is new and reaches"}},
		{"an allow that lasts longer wins in the end", []string{record("a", "limit", 5, 1, ""), record("b", "allow", 4, 2, "")}, "", []string{"a\": is new"}},
		{"an allow whose jitter outlasts the limit wins in the end", []string{record("a", "limit", 5, 1, ""), record("b", "allow", 4, 1, `,"expire_jitter_s":60`)}, "", []string{"a\": is new"}},
		{"an allow whose jitter does not", []string{record("a", "limit", 5, 2, ""), record("b", "allow", 4, 1, `,"expire_jitter_s":60`)}, "can never win", nil},
		{"an allow for more than the disable", []string{record("a", "limit", 5, 2, `,"scope":{"objects":["file"]}`), record("b", "allow", 4, 1, "")}, "", []string{"a\": is new"}},
		{"an allow for another cohort", []string{record("a", "limit", 5, 2, `,"match":{"cohort":{"salt":"x","from":0,"to":99}}`), record("b", "allow", 4, 1, `,"match":{"cohort":{"salt":"x","from":50,"to":199}}`)}, "", nil},
		{"an allow inside the cohort", []string{record("a", "limit", 5, 2, `,"match":{"cohort":{"salt":"x","from":0,"to":99}}`), record("b", "allow", 4, 1, `,"match":{"cohort":{"salt":"x","from":50,"to":99}}`)}, "can never win", nil},
		{"disable for days", []string{record("a", "disable", 1, 2, `,"match":{"cohort":{"salt":"x","from":0,"to":9}}`)}, "", []string{"stops look-ups for more than 24 hours"}},
		{"disable for days of full installs", []string{record("a", "disable", 1, 2, `,"match":{"variants":["full"],"cohort":{"salt":"x","from":0,"to":9}}`)}, "", nil},
		{"disable for days of statistics", []string{record("a", "disable", 1, 2, `,"scope":{"services":["stats"]},"match":{"cohort":{"salt":"x","from":0,"to":9}}`)}, "", nil},
		{"a first cohort of more than half", []string{record("a", "limit", 1, 1, `,"match":{"cohort":{"salt":"x","from":0,"to":5000}}`)}, "", []string{"is new and reaches more than half"}},
		{"expired already", []string{record("a", "limit", 1, -1, "")}, "", []string{"expired at 2026-02-28T12:00:00Z"}},
	} {
		_, _, warnings, err := nextSet(setFile(t, 1, c.records...), nil, noon, true)
		if c.err != "" {
			if !errors.Is(err, ErrRestrictions) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.promise, err, c.err)
			}
			continue
		}
		if err != nil || len(warnings) != len(c.warn) {
			t.Errorf("%s: warnings %q, error %v; want %q", c.promise, warnings, err, c.warn)
			continue
		}
		for i, w := range c.warn {
			if !strings.Contains(warnings[i], w) {
				t.Errorf("%s: warning %q, want %q", c.promise, warnings[i], w)
			}
		}
	}
}

func TestAWideCohortOfAKnownRecordIsNoSurprise(t *testing.T) {
	previous, _, _, err := nextSet(setFile(t, 1, record("a", "limit", 1, 1, `,"match":{"cohort":{"salt":"x","from":0,"to":99}}`)), nil, noon, true)
	if err != nil {
		t.Fatal(err)
	}
	_, _, warnings, err := nextSet(setFile(t, 2, record("a", "limit", 1, 1, "")), previous, noon, true)
	if err != nil || len(warnings) != 0 {
		t.Errorf("warnings %q, error %v", warnings, err)
	}
}

func TestNoLightVariantNoWarningAboutIt(t *testing.T) {
	_, _, warnings, err := nextSet(setFile(t, 1, record("a", "disable", 1, 2, `,"match":{"cohort":{"salt":"x","from":0,"to":9}}`)), nil, noon, false)
	if err != nil || len(warnings) != 0 {
		t.Errorf("warnings %q, error %v", warnings, err)
	}
}
