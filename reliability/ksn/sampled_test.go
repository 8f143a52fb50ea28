package ksn_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A restriction that an update brings lets a quarter of the objects through, and on every retry of the day, also in a new process, the same ones.
func TestAQuarterIsSampled(t *testing.T) {
	const n = 200_000
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	expires := time.Now().Add(72 * time.Hour).UTC().Format(time.RFC3339)
	p.Publish(fixtures.Samples("of", 10), p.WithRestrictions(fmt.Sprintf(
		`{"schema":1,"epoch":1,"records":[{"id":"quarter","action":"limit","priority":1,"expires":%q,"scope":{"networks":["private"]},"limit":{"sample_bp":2500}}]}`, expires)))
	d := newDevice(t, p)
	d.update(dbformat.VariantLight)
	d.install(newNetwork(t, protocol.Private, "http://127.0.0.1:1"))
	d.accept()
	d.enable()
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	var first []byte
	for _, after := range []time.Duration{0, time.Second, 5 * time.Hour} {
		b, ok, err := d.store.Restrictions() // as a new process reads them
		if err != nil || !ok {
			t.Fatal("no restrictions came: ", err)
		}
		set, err := ksn.ParseSet(b)
		must(t, err)
		facts, _ := d.facts()
		passed, by := 0, make([]byte, n)
		for i := range n {
			k := protocol.Key{Type: protocol.FileSHA256}
			binary.BigEndian.PutUint32(k.Sum[:], uint32(i)*21474)
			q := ksn.Request{Service: ksn.ServiceLookup, Object: ksn.ObjectFile, Origin: ksn.OriginOnDemand, Network: ksn.NetworkPrivate, Route: ksn.RouteDirect,
				Key: k.Prefix(protocol.DefaultBits).String()}
			if decision, _ := ksn.Decide(q, set, facts, noon.Add(after), ksn.Counters{}); decision.Allowed {
				passed++
				by[i] = 1
			}
		}
		if passed < n*245/1000 || passed > n*255/1000 {
			t.Errorf("%d of %d objects pass, want 24.5 to 25.5 %%", passed, n)
		}
		if first == nil {
			first = by
		}
		if !bytes.Equal(by, first) {
			t.Errorf("after %s others pass", after)
		}
		t.Logf("after %s: %d of %d pass, %.2f %%, the same ones: %t", after, passed, n, 100*float64(passed)/n, bytes.Equal(by, first))
	}
}
