//go:build check

package avdb_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/updater"
)

// lines are n signatures; the same i always gives the same one.
func lines(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "%x:%d:Real.Looking.Name-%d\n", sha256.Sum256(fmt.Appendf(nil, "file %d", i)), 1000+i%100_000, i)
	}
	return out.String()
}

// One more signature among a million costs an endpoint under 500 bytes of layers, both together.
func TestOneLineOnAMillion(t *testing.T) {
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	p.Publish(map[string]string{"a.hsb": lines(1_000_000)})
	e := newEndpoint(t, p)
	first := e.update(dbformat.VariantFull)
	p.Publish(map[string]string{"a.hsb": lines(1_000_001)})
	r := e.update(dbformat.VariantFull)
	var layers int64
	for _, s := range r.Steps {
		if s.How != updater.HowDelta {
			t.Errorf("step %+v, want a delta", s)
		}
		layers += s.Bytes
	}
	if layers == 0 || layers >= 500 || len(r.Steps) != 2 {
		t.Errorf("%d bytes of layers in %d steps, want under 500 in 2", layers, len(r.Steps))
	}
	t.Logf("one line on 1,000,000: %d bytes of layers, %d in all, in %d requests; the first update %d bytes", layers, r.Bytes, r.Requests, first.Bytes)
}

// A release of restrictions only moves one small file, also when metadata lists as many deltas as it ever does.
func TestRestrictionsOnlyRelease(t *testing.T) {
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	const deltas, states = 24, 26 // more states than deltas start from
	for i := range states {
		p.Publish(map[string]string{"a.hsb": lines(5000 + i)})
	}
	e := newEndpoint(t, p)
	e.update(dbformat.VariantFull)
	set := fmt.Sprintf(`{"schema":1,"epoch":1,"records":[{"id":"t","action":"disable","priority":100,"expires":%q}]}`,
		time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339))
	report := p.Publish(map[string]string{"a.hsb": lines(5000 + states - 1)}, p.WithRestrictions(set))
	if n := len(report.Layers.Light.Deltas); n != deltas {
		t.Errorf("%d deltas of light are listed, want %d", n, deltas)
	}
	p.ForgetRequests()
	r := e.update(dbformat.VariantFull)
	var step int64
	for _, s := range r.Steps {
		step += s.Bytes
	}
	if step == 0 || step >= 4096 || len(p.LayerRequests()) != 0 || r.Result != updater.ResultUpdated {
		t.Errorf("report %+v, layer files %v", r, p.LayerRequests())
	}
	t.Logf("restrictions only: the set has %d bytes; with metadata that lists %d deltas a layer %d bytes in %d requests",
		step, deltas, r.Bytes, r.Requests)
}
