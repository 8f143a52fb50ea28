package ksn_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
)

// With the light database and a server, directly or behind a proxy, a scan finds exactly what it finds with the full database: signatures of every kind of
// hash, for one size or any, unwanted ones wanted or not, whole ones, allow records, ignored names, and neighbours that are none of these.
func TestLightAndServerAreFull(t *testing.T) {
	n := cells(1200, 20000)
	rng := rand.New(rand.NewPCG(1, 2))
	made := newMaker(rng)
	contents := make([][]byte, n)
	for i := range contents {
		contents[i] = contentOf(rng, i)
		for range rng.IntN(4) {
			made.about(contents[i])
		}
	}
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	report := p.Publish(made.files(), p.WithPolicy(policy))
	c := fast()
	s := newService(t, p, c)
	full := s.device.matcher(matcher.Options{})
	dir := write(t, contents)

	light := newDevice(t, p)
	light.update(dbformat.VariantLight)
	light.install(s.net)
	light.accept()
	light.enable()
	alone := light.matcher(matcher.Options{})
	t.Logf("%d files, %d records accepted, %d rejected, of %d kinds", n, report.Accepted, report.Rejected, len(made.kinds))

	for _, pua := range []bool{false, true} {
		want := scan(t, full, dir, pua, nil)
		suspected := tally(scan(t, alone, dir, pua, nil))[matcher.Suspected]
		if verdicts := tally(want); verdicts[matcher.Malicious] == 0 || verdicts[matcher.Allowed] == 0 || verdicts[matcher.Clean] == 0 || suspected == 0 {
			t.Fatalf("full: %v, light alone: %d suspected: that shows little", verdicts, suspected)
		}
		for route, proxies := range map[string][]string{"directly": nil, "over a proxy": {s.proxy(t)}} {
			t.Run(fmt.Sprintf("unwanted %t %s", pua, route), func(t *testing.T) {
				must(t, light.store.ClearCache())
				client := light.client(c, proxies...)
				defer client.Close()
				before := s.requests.Load()
				got := settledScan(t, alone, dir, pua, client)
				asked, result := s.requests.Load()-before, compare(want, got)
				if asked == 0 || len(got) != len(want) {
					t.Errorf("%d results, want %d; %d requests", len(got), len(want), asked)
				}
				for _, text := range result.wrong[:min(5, len(result.wrong))] {
					t.Error(text)
				}
				t.Logf("%v; %d suspected by light alone; %d differ; of the same verdict %d named by a whole signature, %d by a worse one; by source %v; %d requests",
					tally(got), suspected, len(result.wrong), result.wholes, result.worse, result.source, asked)
			})
		}
	}
}

// A comparison is what two scans of the same files differ in.
type comparison struct {
	wrong  []string       // one text for each file with another verdict or name
	wholes int            // named otherwise because light decided by a whole signature, and asked nobody
	worse  int            // named by a malicious signature of the hash, where full names an unwanted one that comes first
	source map[string]int // of the results
}

// compare holds the results of light with a server against those of full.
func compare(want, got map[string]matcher.Result) comparison {
	c := comparison{source: map[string]int{}}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w, g := want[name], got[name]
		c.source[g.Source]++
		switch {
		case g.Verdict == w.Verdict && g.Name == w.Name:
		case g.Verdict == w.Verdict && strings.HasPrefix(g.Signature, "whole"):
			c.wholes++
		case g.Verdict == w.Verdict && strings.HasPrefix(w.Signature, "pua/"):
			c.worse++
		default:
			c.wrong = append(c.wrong, fmt.Sprintf("%s: %s %q %s (%s), with the full database %s %q %s", name, g.Verdict, g.Name, g.Signature, g.Why,
				w.Verdict, w.Name, w.Signature))
		}
	}
	return c
}

// The comparison complains about another verdict, another name, and a result that is missing.
func TestComparisonSeesADifference(t *testing.T) {
	want := map[string]matcher.Result{"a": {Verdict: matcher.Malicious, Name: "A"}, "b": {Verdict: matcher.Clean}}
	for _, a := range []matcher.Result{{Verdict: matcher.Suspected}, {Verdict: matcher.Clean}, {Verdict: matcher.Malicious, Name: "B"}, {}} {
		if c := compare(want, map[string]matcher.Result{"a": a, "b": want["b"]}); len(c.wrong) != 1 {
			t.Errorf("%+v is taken for %+v", a, want["a"])
		}
	}
	if c := compare(want, want); len(c.wrong) != 0 {
		t.Error(c.wrong)
	}
}
