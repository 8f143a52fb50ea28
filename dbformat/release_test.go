package dbformat_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

func sampleRecord() *dbformat.ReleaseRecord {
	return &dbformat.ReleaseRecord{Schema: 1, Stable: dbformat.Release{
		Version: 7, Created: dbformat.At(time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)), MinEngine: 1,
		Variants: []dbformat.Variant{dbformat.VariantLight, dbformat.VariantFull},
		Light:    dbformat.LayerInfo{Digest: dbformat.Digest{1}, Since: 5, Records: 10, Bytes: 1000},
		Rest:     dbformat.LayerInfo{Digest: dbformat.Digest{2}, Since: 7, Records: 9, Bytes: 4000},
	}}
}

func TestReleaseRecordRoundTrip(t *testing.T) {
	for _, candidate := range []bool{false, true} {
		r := sampleRecord()
		if candidate {
			c := r.Stable
			c.Version = 8
			r.Candidate = &dbformat.Candidate{Release: c, ShareBP: 500}
		}
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := dbformat.ParseReleaseRecord(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		again, err := got.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("re-encoded as %s, %v; want %s", again, err, b)
		}
		want := uint64(7)
		if candidate {
			want = 8
		}
		if got.Version() != want {
			t.Errorf("Version() = %d, want %d", got.Version(), want)
		}
	}
}

// Every broken record is refused with the reason, before any of it is used.
func TestReleaseRecordRefusals(t *testing.T) {
	good, err := sampleRecord().Encode()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string {
		s := strings.Replace(string(good), old, new, 1)
		if s == string(good) {
			t.Fatalf("nothing to replace: %s", old)
		}
		return s
	}
	for _, c := range []struct {
		name, doc, reason string
		kind              error
	}{
		{"empty", "", "too early", dbformat.ErrCorrupt},
		{"white space", " " + string(good), "canonical", dbformat.ErrCorrupt},
		{"line feed at the end", string(good) + "\n", "canonical", dbformat.ErrCorrupt},
		{"a second document", string(good) + "{}", "follows", dbformat.ErrCorrupt},
		{"unknown field", edit(`"schema":1`, `"schema":1,"extra":1`), "unknown field", dbformat.ErrCorrupt},
		{"key twice", edit(`"schema":1`, `"schema":1,"schema":1`), "twice", dbformat.ErrCorrupt},
		{"key in another case", edit(`"schema":1`, `"schema":1,"Stable":{}`), "lower case", dbformat.ErrCorrupt},
		{"later schema", edit(`"schema":1`, `"schema":2,"new":{}`), "schema 2", dbformat.ErrVersion},
		{"schema zero", edit(`"schema":1`, `"schema":0`), "schema 0", dbformat.ErrCorrupt},
		{"version zero", edit(`"version":7`, `"version":0`), "version 0", dbformat.ErrCorrupt},
		{"version beyond 2^53-1", edit(`"version":7`, `"version":9007199254740992`), "version", dbformat.ErrCorrupt},
		{"negative version", edit(`"version":7`, `"version":-7`), "", dbformat.ErrCorrupt},
		{"no digest", edit(strings.Repeat("0", 20), "") /* too short */, "digest", dbformat.ErrCorrupt},
		{"digest in capitals", edit(`"digest":"01`, `"digest":"0A`), "lower-case", dbformat.ErrCorrupt},
		{"since after version", edit(`"since":5`, `"since":8`), "since 8", dbformat.ErrCorrupt},
		{"no variant", edit(`["light","full"]`, `[]`), "variants", dbformat.ErrCorrupt},
		{"light only", edit(`["light","full"]`, `["light"]`), "variants", dbformat.ErrCorrupt},
		{"time with an offset", edit(`05:06:07Z`, `05:06:07+01:00`), "time", dbformat.ErrCorrupt},
		{"null stable", edit(`"stable":{`, `"candidate":null,"stable":{`), "canonical", dbformat.ErrCorrupt},
		{"endless", strings.Repeat(" ", dbformat.MaxReleaseRecord+1), "limit", dbformat.ErrCorrupt},
		{"deep", strings.Repeat("[", 1000), "deep", dbformat.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := dbformat.ParseReleaseRecord([]byte(c.doc))
			if r != nil || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("ParseReleaseRecord = %v, %v; want nil and an error of kind %q with %q", r, err, c.kind, c.reason)
			}
		})
	}
}

// Who is in at a share stays in at a greater one, and a share of p percent is p percent of a fleet.
func TestCohortSharesAreExactAndNested(t *testing.T) {
	r := sampleRecord()
	c := r.Stable
	c.Version = 8
	r.Candidate = &dbformat.Candidate{Release: c}
	const fleet = 100_000
	in := make([]bool, fleet)
	for _, share := range []uint32{100, 1000, 5000, 10000} {
		r.Candidate.ShareBP = share
		n := 0
		for i := range in {
			now := r.For(fmt.Sprintf("install-%d", i)).Version == 8
			if in[i] && !now {
				t.Fatalf("install %d was in at a smaller share and is out at %d", i, share)
			}
			if in[i] = now; now {
				n++
			}
		}
		if got, want := float64(n)/fleet, float64(share)/10000; got < want-0.005 || got > want+0.005 {
			t.Errorf("share_bp %d reaches %.4f of the fleet, want %.4f ± 0.005", share, got, want)
		}
	}
}

func FuzzParseReleaseRecord(f *testing.F) {
	seedDocument(f, releaseDocuments(f)...)
	f.Add([]byte(`{"schema":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := dbformat.ParseReleaseRecord(b)
		if err != nil {
			if r != nil || !errors.Is(err, dbformat.ErrCorrupt) && !errors.Is(err, dbformat.ErrVersion) {
				t.Fatalf("ParseReleaseRecord = %v, %v; want nil and a known error", r, err)
			}
			return
		}
		if v := r.For("install").Version; v != r.Stable.Version && v != r.Version() || !r.For("install").Offers(dbformat.VariantFull) {
			t.Fatalf("an install uses release %d of %s", v, b)
		}
		for _, l := range dbformat.VariantFull.Layers() {
			since := r.Stable.Layer(l).Since
			for _, name := range []string{dbformat.BundleTarget(l, r.Stable.Layer(l).Digest), dbformat.DeltaTarget(l, since, since+1)} {
				if !strings.HasPrefix(name, l.String()+"/") || strings.ContainsAny(name, " \\:") {
					t.Fatalf("the target of %s is %q", l, name)
				}
			}
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("re-encoded as %s, %v", again, err)
		}
	})
}
