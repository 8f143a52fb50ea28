package ksn_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/matcher"
	"example.org/avdb/urlhash"
)

// urlOf is an address at random, of few enough parts that lists of others' expressions cover some of it.
func urlOf(rng *rand.Rand) string {
	var b strings.Builder
	b.WriteString([]string{"http://", "https://", "HTTP://user@", "ftp://"}[rng.IntN(4)])
	for range rng.IntN(6) {
		fmt.Fprintf(&b, "h%d.", rng.IntN(3))
	}
	fmt.Fprintf(&b, "site-%d.%s", rng.IntN(200), []string{"example", "Example.co.uk", "github.io", "example.com."}[rng.IntN(4)])
	b.WriteString([]string{"", ":8080"}[rng.IntN(2)])
	for range rng.IntN(6) {
		fmt.Fprintf(&b, "/%s%d", []string{"p", "%70", "./p"}[rng.IntN(3)], rng.IntN(3))
	}
	b.WriteString([]string{"", "/", "?", "?x=1", "/?x=%31", "#top"}[rng.IntN(6)])
	return b.String()
}

// urlLists is a .urls source about one URL in so many of all, by one of its expressions, and an .ign2 source that ignores some of these.
func urlLists(t *testing.T, rng *rand.Rand, urls []urlhash.URL, each int) map[string]string {
	t.Helper()
	var list, ignore strings.Builder
	for i := 0; i < len(urls); i += each {
		all := urls[i].Expressions()
		e := all[rng.IntN(len(all))]
		if _, err := urlhash.ParseEntry(e); err != nil {
			continue // a public suffix
		}
		list.WriteString(e + "\n")
		if rng.IntN(10) == 0 {
			h := urlhash.HashOf(e)
			ignore.WriteString(named(h) + "\n")
		}
	}
	return map[string]string{"a.urls": list.String(), "b.ign2": ignore.String()}
}

// named is the name of the signature of an expression.
func named(h urlhash.Hash) string {
	return dbformat.ClassURL.Section(dbformat.SHA256).DefaultName(h[:])
}

// look gives what a device with the light database says of URLs: what that suspects is settled by the network.
func look(t *testing.T, m *matcher.Matcher, c *reputation.Client, urls []urlhash.URL) (all []matcher.Result, suspected int) {
	t.Helper()
	all = make([]matcher.Result, len(urls))
	var open []int
	var objects []reputation.Object
	for i, u := range urls {
		var err error
		all[i], err = m.LookupURL(u)
		must(t, err)
		if all[i].Verdict != matcher.Suspected {
			continue
		}
		o := reputation.Object{Size: -1, Suspected: true, Release: m.Generation().Version, Name: all[i].Name}
		for _, h := range u.Hashes() {
			o.Keys = append(o.Keys, protocol.Key{Type: protocol.URL, Sum: h})
		}
		open, objects = append(open, i), append(objects, o)
	}
	if c == nil {
		return all, len(open)
	}
	for range patience {
		for i, v := range c.Lookup(t.Context(), ksn.OriginManual, objects) {
			s := v.Settle(false)
			r := &all[open[i]]
			r.Verdict, r.Name, r.Source, r.Why = s.Verdict, s.Name, s.Source, s.Why
		}
		if !anySuspected(all) {
			break // what a busy machine did not answer in time is asked again
		}
	}
	return all, len(open)
}

func anySuspected(all []matcher.Result) bool {
	for i := range all {
		if all[i].Verdict == matcher.Suspected {
			return true
		}
	}
	return false
}

// With the light database and a server, directly or behind a proxy, every URL gets the verdict that the full database gives it, and the name of one of its
// expressions that are listed: of several, a kept answer about a less specific one ends the look-up, for nothing worse can come.
func TestLightAndServerAreFullAboutURLs(t *testing.T) {
	n := cells(1000, 10_000)
	rng := rand.New(rand.NewPCG(5, 6))
	urls := make([]urlhash.URL, n)
	for i := range urls {
		var err error
		urls[i], err = urlhash.Canonicalize(urlOf(rng))
		must(t, err)
	}
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	lists := urlLists(t, rng, urls, 10)
	listed := map[string]bool{}
	for line := range strings.Lines(lists["a.urls"]) {
		listed[named(urlhash.HashOf(strings.TrimSpace(line)))] = true
	}
	report := p.Publish(lists)
	c := fast()
	s := newService(t, p, c)
	full := s.device.matcher(matcher.Options{})
	light := newDevice(t, p)
	light.update(dbformat.VariantLight)
	light.install(s.net)
	light.accept()
	light.enable()
	alone := light.matcher(matcher.Options{})
	t.Logf("%d URLs, %d lines accepted, %d rejected, %d ignored, %d duplicates", n, report.Accepted, report.Rejected, report.Ignored, report.Duplicates)
	want, _ := look(t, full, nil, urls)
	counts := map[matcher.Verdict]int{}
	for _, r := range want {
		counts[r.Verdict]++
	}
	if report.Rejected != 0 || counts[matcher.Malicious] < n/20 || counts[matcher.Clean] < n/20 {
		t.Fatalf("full: %v, %v: that shows little", counts, report.Rejects)
	}
	for route, proxies := range map[string][]string{"directly": nil, "over a proxy": {s.proxy(t)}} {
		t.Run(route, func(t *testing.T) {
			must(t, light.store.ClearCache())
			client := light.client(c, proxies...)
			defer client.Close()
			before, wrong, others := s.requests.Load(), 0, 0
			got, suspected := look(t, alone, client, urls)
			for i := range got {
				w, g := &want[i], &got[i]
				switch {
				case g.Verdict == w.Verdict && g.Name == w.Name:
				case g.Verdict == w.Verdict && listed[g.Name] && slices.ContainsFunc(urls[i].Hashes(), func(h urlhash.Hash) bool { return named(h) == g.Name }):
					others++
				default:
					if wrong++; wrong <= 5 {
						t.Errorf("%s: %s %q (%s), with the full database %s %q", urls[i], g.Verdict, g.Name, g.Why, w.Verdict, w.Name)
					}
				}
			}
			asked := s.requests.Load() - before
			if asked == 0 || suspected < counts[matcher.Malicious] {
				t.Errorf("%d suspected, %d requests: nothing is shown", suspected, asked)
			}
			t.Logf("%v; %d suspected by light alone; %d differ; of the same verdict %d named by another expression that is listed; %d requests",
				counts, suspected, wrong, others, asked)
		})
	}
}

// A server that is a release behind does not clear a URL that its database lacks; what it knows it says; after its update all is as full has it. One that
// is ahead clears what the new release took away.
func TestAReleaseBehindAboutURLs(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	var old, new []urlhash.URL
	for i := range 40 {
		for list, host := range map[*[]urlhash.URL]string{&old: "old", &new: "new"} {
			u, err := urlhash.Canonicalize(fmt.Sprintf("http://www.%s-%d.example/%d", host, i, rng.IntN(9)))
			must(t, err)
			*list = append(*list, u)
		}
	}
	lines := func(host string) string {
		var b strings.Builder
		for i := range 40 {
			fmt.Fprintf(&b, "%s-%d.example\n", host, i)
		}
		return b.String()
	}
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	p.Publish(map[string]string{"a.urls": lines("old")})
	c := fast()
	s := newService(t, p, c)
	p.Publish(map[string]string{"a.urls": lines("old") + lines("new")})
	d := newDevice(t, p)
	d.update(dbformat.VariantLight)
	d.install(s.net)
	d.accept()
	d.enable()
	m := d.matcher(matcher.Options{})
	client := d.client(c)
	check := func(urls []urlhash.URL, want matcher.Verdict, why reputation.Why) {
		t.Helper()
		got, suspected := look(t, m, client, urls)
		for i, r := range got {
			if r.Verdict != want || r.Why != string(why) || suspected != len(urls) {
				t.Errorf("%s: %s (%s), want %s (%s)", urls[i], r.Verdict, r.Why, want, why)
			}
		}
	}
	check(old, matcher.Malicious, reputation.Settled)
	check(new, matcher.Suspected, reputation.ServerBehind)
	s.update()
	c.advance(2 * time.Hour) // the device's pause after an old answer
	check(new, matcher.Malicious, reputation.Settled)
	check(old, matcher.Malicious, reputation.Settled)

	// A later release takes URLs away again: the silence of a server that is ahead clears what light still suspects.
	p.Publish(map[string]string{"a.urls": lines("new")})
	s.update()
	must(t, client.Close())
	must(t, d.store.ClearCache())
	client = d.client(c)
	check(old, matcher.Clean, reputation.Settled)
	check(new, matcher.Malicious, reputation.Settled)
}
