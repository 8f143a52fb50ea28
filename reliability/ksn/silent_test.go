package ksn_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/matcher"
)

// Before the statement is accepted, before KSN is enabled, after it was declined and after it was disabled no connection is made, neither to the servers nor to a
// proxy: not by scans with suspicions among the files, and not by anything else that a client does.
func TestNoConnections(t *testing.T) {
	n := cells(2000, 10_000)
	rng := rand.New(rand.NewPCG(5, 6))
	contents := make([][]byte, n)
	var listed [][]byte
	for i := range contents {
		contents[i] = contentOf(rng, i)
		if i%20 == 0 {
			listed = append(listed, contents[i])
		}
	}
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	p.Publish(bigDatabase(rng, 2*len(listed), listed))
	dir := write(t, contents)
	global, direct, proxy := newFake(t), newFake(t), newFake(t)
	d := newDevice(t, p)
	d.update(dbformat.VariantLight)
	d.install(newNetwork(t, protocol.Global, global.url()))
	d.install(newNetwork(t, protocol.Private, direct.url()))
	m := d.matcher(matcher.Options{})
	connections := func() int64 { return global.count() + direct.count() + proxy.count() }

	// everything has a device do all that could lead to a connection, directly and over the proxy.
	everything := func(files string) (suspected int, made int64) {
		before := connections()
		for _, proxies := range [][]string{nil, {proxy.url()}} {
			client := d.client(fast(), proxies...)
			suspected = tally(scan(t, m, files, true, client))[matcher.Suspected]
			errands(t, client)
			must(t, client.Close())
		}
		return suspected, connections() - before
	}
	some := write(t, listed[:2])
	began := time.Now()
	for _, act := range []struct {
		name  string
		do    func()
		wants bool // connections
	}{
		{"nothing was decided", func() {}, false},
		{"declined", func() {
			d.decide(func(c ksn.Consent) (ksn.Consent, error) { return c.Decline(statement(t), time.Now()) })
		}, false},
		{"accepted, not enabled", d.accept, false},
		{"enabled", d.enable, true},
		{"disabled", d.disable, false},
	} {
		act.do()
		files := dir
		if act.wants {
			files = some
		}
		suspected, made := everything(files)
		if (made > 0) != act.wants || suspected < len(listed) && !act.wants || suspected == 0 {
			t.Errorf("%s: %d connections with %d suspected files, want some: %t", act.name, made, suspected, act.wants)
		}
		t.Logf("%s: %d connections, %d suspected, in two scans and all other errands", act.name, made, suspected)
	}
	if global.count() != 0 {
		t.Error("the global network was connected to, with a private one installed")
	}

	// A client that asked a moment ago stops with the next request.
	d.enable()
	client := d.client(fast())
	defer client.Close()
	scan(t, m, some, true, client)
	was := connections()
	d.disable()
	scan(t, m, dir, true, client)
	errands(t, client)
	if made := connections() - was; was == 0 || made != 0 {
		t.Errorf("a client at work made %d connections, and %d after KSN was disabled", was, made)
	}
	t.Logf("%d files in each scan; %s", n, time.Since(began).Round(time.Second))
}

// errands are what a client does besides scans.
func errands(t *testing.T, c *reputation.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var key protocol.Key
	key.Type, key.Sum[0] = protocol.URL, 1
	for _, o := range []ksn.Origin{ksn.OriginOnAccess, ksn.OriginOnDemand, ksn.OriginManual, ksn.OriginBackground} {
		c.Lookup(ctx, o, []reputation.Object{{Keys: []protocol.Key{key}, Size: -1}})
	}
	c.CheckConnection(ctx)
	if _, err := c.Info(ctx); err == nil {
		t.Error("a fake told what it offers")
	}
	if err := c.SendStats(ctx, []byte(`{}`)); err == nil {
		t.Error("a fake took statistics")
	}
	c.DatabaseChanged()
	// Nothing is deferred without consent, and then draining is no error.
	_, _ = c.DrainDeferred(ctx, func(reputation.Deferred, reputation.Verdict) { t.Error("a fake settled what was deferred") })
}
