//go:build check

package publisher_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/publisher"
	"example.org/avdb/urlhash"
)

// TestRealHistoriesPublish makes a release of each version of each corpus of hashes. Every line must be accounted for, every hash
// that the texts list must be in the content, and the steps together must move less than a tenth of the bundles.
func TestRealHistoriesPublish(t *testing.T) {
	for _, corpus := range fixtures.OpenCorpora(t).Hashes() {
		t.Run(corpus.Name, func(t *testing.T) {
			t.Parallel()
			p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
			var before *publisher.Report
			var moved, whole int64
			since := map[dbformat.Digest]uint64{} // the lowest release that has a layer
			for v := range corpus.Versions() {
				r := p.Publish(v.Files)
				checkLines(t, v, r)
				for _, l := range []publisher.LayerReport{r.Layers.Light, r.Layers.Rest} {
					if since[l.Digest] == 0 {
						since[l.Digest] = r.Version
					}
				}
				if before != nil && !corpus.Mass[v.Name] {
					moved += stepBytes(before.Layers.Light, r.Layers.Light, since) + stepBytes(before.Layers.Rest, r.Layers.Rest, since)
					whole += r.Layers.Light.BundleBytes + r.Layers.Rest.BundleBytes
				}
				before = r
			}
			t.Logf("%d releases, the last with %d records; steps move %d bytes, bundles %d", before.Version, before.Layers.Rest.Records, moved, whole)
			t.Logf("of the last %d lines %.2f %% are accepted, rejects: %v", before.Accepted+before.Rejected, 100*float64(before.Accepted)/float64(before.Accepted+before.Rejected), before.RejectedBy)
			limit := whole / 10
			if corpus.Additive { // random MD5s have no fewer bytes than these
				limit = int64(before.Layers.Rest.Records) * 16 * 6 / 5
			}
			if moved > limit {
				t.Errorf("steps move %d bytes, want at most %d (all bundles have %d)", moved, limit, whole)
			}
		})
	}
}

// stepBytes is what an endpoint that follows every release downloads of a layer.
func stepBytes(from, to publisher.LayerReport, since map[dbformat.Digest]uint64) int64 {
	if from.Digest == to.Digest {
		return 0
	}
	for _, d := range to.Deltas {
		if d.From == since[from.Digest] {
			return d.Bytes
		}
	}
	return to.BundleBytes
}

// checkLines proves that each line is accepted, or a reject with its file, line and reason.
func checkLines(t *testing.T, v fixtures.Version, r *publisher.Report) {
	t.Helper()
	var lines uint64
	for _, text := range v.Files {
		for line := range bytes.Lines([]byte(text)) {
			if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
				lines++
			}
		}
	}
	if r.Accepted+r.Rejected != lines || uint64(len(r.Rejects)) != r.Rejected {
		t.Errorf("%s: %d lines, %d accepted and %d rejected (%d listed)", v.Name, lines, r.Accepted, r.Rejected, len(r.Rejects))
	}
	for _, reject := range r.Rejects {
		if reject.File == "" || reject.Line == 0 || reject.Reason == "" {
			t.Errorf("%s: reject %+v", v.Name, reject)
		}
	}
}

// TestEveryListedHashIsInTheContent compares what is compiled with a reading of the texts that knows no parser: a hash is
// in the content, or its line is a reject.
func TestEveryListedHashIsInTheContent(t *testing.T) {
	for _, corpus := range fixtures.OpenCorpora(t).Hashes() {
		t.Run(corpus.Name, func(t *testing.T) {
			t.Parallel()
			v := corpus.Last()
			c := fixtures.Compile(t, v.Files)
			type key struct {
				a dbformat.Algorithm
				h [32]byte
			}
			have := map[key]bool{}
			for _, id := range slices.Sorted(maps.Keys(c.Content.Sections)) {
				for _, rec := range c.Content.Sections[id] {
					have[key{id.Algorithm(), rec.Hash}] = true
				}
			}
			type place struct {
				file string
				line int
			}
			rejected := map[place]bool{}
			for _, r := range c.Rejects {
				rejected[place{filepath.Base(r.File), r.Line}] = true
			}
			listed := 0
			for l := range v.ListedHashes() {
				k := key{a: l.Algorithm}
				copy(k.h[:], l.Hash)
				if listed++; !have[k] && !rejected[place{l.File, l.Line}] {
					t.Errorf("%s %x is not in the content", l.Algorithm, l.Hash)
				}
			}
			if listed < 100 {
				t.Errorf("only %d hashes are listed", listed)
			}
		})
	}
}

// TestRealHistoriesOfURLsPublish makes a release of each version of each list of URLs. Every line is accounted for: of those that are accepted one stands
// for each URL, the others are duplicates of it in another spelling, and the few rejects are no domains. What is listed is what a
// matcher detects, and what came and went between the lists is what the steps move.
func TestRealHistoriesOfURLsPublish(t *testing.T) {
	for _, corpus := range fixtures.OpenCorpora(t).URLs() {
		t.Run(corpus.Name, func(t *testing.T) {
			t.Parallel()
			p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
			var before, r *publisher.Report
			var last fixtures.Version
			var moved, whole int64
			releases, since := 0, map[dbformat.Digest]uint64{}
			for v := range corpus.Versions() {
				if r, last = p.Publish(v.Files, p.WithPolicy("guards: {removed_percent: 100}")), v; r.Version == r.Previous {
					continue
				}
				checkLines(t, v, r)
				urls, lines := map[urlhash.Hash]bool{}, 0
				for line := range strings.Lines(v.Files["list.urls"]) {
					if e, err := urlhash.ParseEntry(line[:len(line)-1]); err == nil {
						urls[urlhash.HashOf(e)] = true
						lines++
					}
				}
				if r.Accepted != uint64(lines) || r.Duplicates != uint64(lines-len(urls)) || r.Layers.Rest.Records != uint64(len(urls)+1) || r.Layers.Light.Records != r.Layers.Rest.Records {
					t.Errorf("%s: %d URLs in %d lines, and the report %d accepted, %d duplicates, %d records", v.Name, len(urls), lines, r.Accepted, r.Duplicates, r.Layers.Rest.Records)
				}
				if r.Rejected > r.Accepted/1000+2 {
					t.Errorf("%s: %d of %d lines are rejected: %v", v.Name, r.Rejected, r.Accepted, r.Rejects)
				}
				for _, l := range []publisher.LayerReport{r.Layers.Light, r.Layers.Rest} {
					if since[l.Digest] == 0 {
						since[l.Digest] = r.Version
					}
				}
				if before != nil {
					moved += stepBytes(before.Layers.Light, r.Layers.Light, since) + stepBytes(before.Layers.Rest, r.Layers.Rest, since)
					whole += r.Layers.Light.BundleBytes + r.Layers.Rest.BundleBytes
				}
				before = r
				releases++
			}
			t.Logf("%d releases, the last with %d records, %d lines rejected and %d duplicates; steps move %d bytes, bundles %d; the last bundles have %d and %d",
				releases, before.Layers.Rest.Records, before.Rejected, before.Duplicates, moved, whole, before.Layers.Light.BundleBytes, before.Layers.Rest.BundleBytes)
			for _, reject := range before.Rejects {
				t.Logf("line %d: %s", reject.Line, reject.Reason)
			}
			if corpus.Name == "polkadot" && moved > whole/10 {
				t.Errorf("steps move %d bytes, want at most a tenth of the %d of all bundles", moved, whole)
			}
			detected(t, last)
		})
	}
}

// detected looks each domain of a list up, as the address of a page there: full must know it, light must suspect it, neither may know a neighbour.
func detected(t *testing.T, v fixtures.Version) {
	t.Helper()
	c := fixtures.Compile(t, v.Files)
	light, rest, err := dbformat.Build(c.Content, dbformat.ChooseParams(c.Content, nil))
	if err != nil {
		t.Fatal(err)
	}
	alone, err := matcher.OpenGeneration(light, nil, matcher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	full, err := matcher.OpenGeneration(light, rest, matcher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	known, wrongly := 0, 0
	for line := range strings.Lines(v.Files["list.urls"]) {
		line = line[:len(line)-1]
		if _, err := urlhash.ParseEntry(line); err != nil {
			continue
		}
		u, err := urlhash.Canonicalize("https://" + line + "/login?user=1")
		if err != nil {
			t.Fatal(err)
		}
		a, errA := alone.LookupURL(u)
		f, errF := full.LookupURL(u)
		if errA != nil || errF != nil || a.Verdict != matcher.Suspected || f.Verdict != matcher.Malicious {
			t.Errorf("%q: light %+v, %v; full %+v, %v", line, a, errA, f, errF)
		}
		known++
		if u, err = urlhash.Canonicalize("https://" + line + ".not-listed.example/login?user=1"); err != nil {
			continue // too long
		}
		if f, err := full.LookupURL(u); err != nil || f.Verdict != matcher.Clean {
			t.Errorf("a neighbour of %q: %+v, %v", line, f, err)
		}
		if a, err := alone.LookupURL(u); err != nil || a.Verdict != matcher.Clean {
			wrongly++
		}
	}
	t.Logf("%d domains are detected; light suspects %d of their neighbours", known, wrongly)
	if known < 40000 || wrongly > 1 {
		t.Errorf("%d domains are detected, light suspects %d neighbours", known, wrongly)
	}
}

// TestOneLineAmongAMillionMovesLittle is about what endpoints download after the smallest change, with both layers.
func TestOneLineAmongAMillionMovesLittle(t *testing.T) {
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	var b strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&b, "%x:%d:Made.Up-%d\n", sha256.Sum256(fmt.Append(nil, i)), i%100000+1, i)
	}
	files := map[string]string{"a.hsb": b.String()}
	p.Publish(files)
	for i := range 3 {
		files["b.hashes"] += fmt.Sprintf("%x,New.One-%d\n", sha256.Sum256(fmt.Append(nil, "new", i)), i)
		r := p.Publish(files)
		light, rest := r.Layers.Light.Deltas, r.Layers.Rest.Deltas
		if len(light) != i+1 || len(rest) != i+1 || light[0].Bytes+rest[0].Bytes >= 500 {
			t.Errorf("deltas %v and %v, want %d of less than 500 bytes together", light, rest, i+1)
		}
		t.Logf("light %v, rest %v", light, rest)
	}
}
