package ksn_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/matcher"
)

// A server, the cache of a device or that of a proxy which is a release behind makes no hit clean: what the new signatures detect stays suspected, is put off, and
// becomes malicious as soon as an answer is made from the new release. What only shares a prefix with them stays suspected too, and becomes clean.
func TestAReleaseBehind(t *testing.T) {
	n := cells(150, 450)
	for _, c := range []struct {
		name         string
		proxy, asked bool // over a proxy; the device asked about the files before they were detected
	}{{"server", false, false}, {"server and cache of the device", false, true}, {"server and cache of the proxy", true, true}} {
		t.Run(c.name, func(t *testing.T) { behind(t, n, c.proxy, c.asked) })
	}
}

func behind(t *testing.T, n int, proxy, ask bool) {
	rng := rand.New(rand.NewPCG(7, 8))
	contents, old := make([][]byte, 2*n), &strings.Builder{}
	for i := range contents {
		contents[i] = contentOf(rng, i)
	}
	fmt.Fprintf(old, "%x,Old\n", sumOf(dbformat.SHA256, []byte("old")))
	next := &strings.Builder{}
	next.WriteString(old.String())
	for i, b := range contents { // the even ones are detected, the others share the prefix of what is
		sum := sumOf(dbformat.Algorithms()[i/2%3], b)
		sum[len(sum)-1] ^= byte(i % 2)
		fmt.Fprintf(next, "%x,New.%d\n", sum, i)
	}
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	p.Publish(map[string]string{"a.hashes": old.String()})
	clock := fast()
	s := newService(t, p, clock)
	d := newDevice(t, p)
	d.update(dbformat.VariantLight)
	d.install(s.net)
	d.accept()
	d.enable()
	m := d.matcher(matcher.Options{})
	dir := write(t, contents)
	var proxies []string
	if proxy {
		proxies = append(proxies, s.proxy(t))
	}
	client := d.client(clock, proxies...)
	if ask {
		checkAll(t, client, contents)
	}
	if proxy { // the proxy alone has answers of the old release
		must(t, client.Close())
		must(t, d.store.ClearCache())
		client = d.client(clock, proxies...)
	}

	p.Publish(map[string]string{"a.hashes": next.String()})
	d.update(dbformat.VariantLight)
	must(t, m.Refresh(t.Context()))
	suspected := tally(scan(t, m, dir, false, client))
	if suspected[matcher.Suspected] != len(contents) {
		t.Errorf("with the server behind: %v, want all %d suspected", suspected, len(contents))
	}
	if left, err := client.DrainDeferred(t.Context(), func(d reputation.Deferred, v reputation.Verdict) {
		t.Errorf("%s is settled by an old answer: %+v", d.Path, v)
	}); err != nil || left != len(contents) {
		t.Errorf("%d put off, %v; want %d", left, err, len(contents))
	}

	s.update()
	clock.advance(2 * time.Hour) // the life of what a proxy has, and the device's pause after an old answer
	settled := map[protocol.Verdict]int{}
	left, err := client.DrainDeferred(t.Context(), func(o reputation.Deferred, v reputation.Verdict) {
		settled[v.Verdict]++
		if even := strings.ContainsAny(o.Path[len(o.Path)-1:], "02468"); (v.Verdict == protocol.Untrusted) != even {
			t.Errorf("%s: %+v", o.Path, v)
		}
	})
	if err != nil || left != 0 || settled[protocol.Untrusted] != n || settled[protocol.Unknown] != n {
		t.Errorf("after the server's update %v, %d left, %v; want %d of each", settled, left, err, n)
	}
	after := tally(settledScan(t, m, dir, false, client))
	if after[matcher.Malicious] != n || after[matcher.Clean] != n {
		t.Errorf("after the server's update a scan finds %v, want %d of each", after, n)
	}
	t.Logf("%d files detected by new signatures, %d neighbours: before %v, settled %v, then %v", n, n, suspected, settled, after)
}

// checkAll asks about files that nobody suspects.
func checkAll(t *testing.T, c *reputation.Client, contents [][]byte) {
	t.Helper()
	for i, b := range contents {
		a := dbformat.Algorithms()[i/2%3]
		k, err := protocol.NewKey(protocol.FileType(a), sumOf(a, b))
		must(t, err)
		if v := c.Lookup(t.Context(), ksn.OriginManual, []reputation.Object{{Keys: []protocol.Key{k}, Size: int64(len(b))}})[0]; v.Why != reputation.Settled || v.Verdict != protocol.Unknown {
			t.Fatalf("%+v", v)
		}
	}
}
