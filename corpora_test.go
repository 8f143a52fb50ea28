//go:build check

package avdb_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// An endpoint has a state folder of its own and trusts one publisher.
type endpoint struct {
	t     *testing.T
	store *store.Store
	u     *updater.Updater
}

func newEndpoint(t *testing.T, p *fixtures.Publisher) *endpoint {
	t.Helper()
	s, err := store.Create(filepath.Join(t.TempDir(), "state"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := signing.InitTrust(s.TrustDir(), p.Root(), false); err != nil {
		t.Fatal(err)
	}
	u, err := updater.New(updater.Config{Store: s, Sources: updater.Sources(p.URL())})
	if err != nil {
		t.Fatal(err)
	}
	return &endpoint{t, s, u}
}

func (e *endpoint) update(v dbformat.Variant) updater.Report {
	e.t.Helper()
	r, err := e.u.Update(e.t.Context(), updater.Options{Variant: string(v)})
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// matcher gives the matcher of what is installed; it is closed with the test.
func (e *endpoint) matcher(o matcher.Options) *matcher.Matcher {
	e.t.Helper()
	m, err := matcher.Open(e.store, o)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			e.t.Error(err)
		}
	})
	return m
}

// Every hash that a corpus lists is detected or allowed by a device that installed it; with the light
// layer alone each of them is suspected, detected or allowed as well. The lists are read by a reader that knows no parser of ours.
func TestEveryListedHashIsFoundOnADevice(t *testing.T) {
	corpora := fixtures.OpenCorpora(t).Hashes()
	all := fixtures.Version{Name: "all", Files: map[string]string{}}
	for _, c := range corpora {
		v := c.Last()
		for name, text := range v.Files {
			all.Files[c.Name+"-"+filepath.Base(name)] = text
		}
		t.Run(c.Name, func(t *testing.T) { findAll(t, v) })
	}
	t.Run("all together", func(t *testing.T) { findAll(t, all) })
}

func findAll(t *testing.T, v fixtures.Version) {
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	report := p.Publish(v.Files)
	e := newEndpoint(t, p)

	if r := e.update(dbformat.VariantFull); r.To != report.Version || r.Variant != dbformat.VariantFull {
		t.Fatalf("update: %+v", r)
	}
	refused := refusedLines(t, v, report)
	full := tally(t, v, refused, e.matcher(matcher.Options{PUA: true}), matcher.Malicious, matcher.Allowed)

	p.ForgetRequests()
	if r := e.update(dbformat.VariantLight); r.Variant != dbformat.VariantLight || len(p.LayerRequests()) != 0 {
		t.Errorf("full to light: %+v, fetched %v", r, p.LayerRequests())
	}
	light := tally(t, v, refused, e.matcher(matcher.Options{PUA: true}), matcher.Malicious, matcher.Allowed, matcher.Suspected)
	t.Logf("%d accepted, %d rejected; full %s; light %s", report.Accepted, report.Rejected, full, light)
}

// refusedLines are the beginnings of the lines that the report lists as rejects: the texts hold a few that lost their line feed.
func refusedLines(t *testing.T, v fixtures.Version, report *publisher.Report) map[string]bool {
	t.Helper()
	refused := map[string]bool{}
	for _, r := range report.Rejects {
		for name, text := range v.Files {
			if lines := strings.Split(text, "\n"); strings.HasSuffix(filepath.ToSlash(r.File), name) && r.Line <= len(lines) {
				hash, _, _ := strings.Cut(lines[r.Line-1], ":")
				refused[hash] = true
			}
		}
		if r.Reason == "" {
			t.Errorf("%s:%d was rejected without a reason", r.File, r.Line)
		}
	}
	if len(refused) > 20 {
		t.Errorf("%d lines were rejected: real lists have fewer broken ones", len(refused))
	}
	return refused
}

// tally looks every listed hash up and demands one of the verdicts.
func tally(t *testing.T, v fixtures.Version, refused map[string]bool, m *matcher.Matcher, good ...matcher.Verdict) string {
	t.Helper()
	counts := map[matcher.Verdict]int{}
	wrong := 0
	for l := range v.ListedHashes() {
		r, err := m.Lookup(l.Algorithm, l.Hash, l.Size)
		if err != nil {
			t.Fatal(err)
		}
		counts[r.Verdict]++
		if refused[fmt.Sprintf("%x", l.Hash)] {
			continue
		}
		ok := false
		for _, g := range good {
			ok = ok || r.Verdict == g
		}
		if !ok {
			if wrong++; wrong <= 5 {
				t.Errorf("%s %x of %d bytes: %s", l.Algorithm, l.Hash, l.Size, r.Verdict)
			}
		}
	}
	if wrong > 5 {
		t.Errorf("%d hashes in all have a wrong verdict", wrong)
	}
	return strings.TrimPrefix(fmt.Sprint(counts), "map")
}

// The same content makes no release, and two publishers with the same sources in another order agree on every
// layer, byte by byte.
func TestContentDecidesAloneOnTheLayers(t *testing.T) {
	v := fixtures.OpenCorpora(t).Corpus("neo23x0").Last()
	a, b := fixtures.NewPublisher(t, fixtures.PublisherOptions{}), fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	first := a.Publish(v.Files)
	if again := a.Publish(v.Files); again.Published || again.Version != first.Version {
		t.Errorf("the same content again: %+v", again)
	}
	reversed := map[string]string{}
	for name, text := range v.Files {
		lines := strings.SplitAfter(text, "\n")
		for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
			lines[i], lines[j] = lines[j], lines[i]
		}
		reversed["z-"+name] = strings.Join(lines, "")
	}
	other := b.Publish(reversed)
	for _, pair := range [][2]publisher.LayerReport{{first.Layers.Light, other.Layers.Light}, {first.Layers.Rest, other.Layers.Rest}} {
		if pair[0].Digest != pair[1].Digest || pair[0].Digest.IsZero() {
			t.Errorf("digests %s and %s", pair[0].Digest, pair[1].Digest)
		}
	}
}
