//go:build check

package ksn_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/ksn"
	"example.org/avdb/matcher"
)

// Of the hashes that real lists have, a device with the light database and a server says what a device with the full one says, by name.
func TestLightAndServerAreFullOnRealLists(t *testing.T) {
	files := map[string]string{}
	lists := map[string]fixtures.Version{}
	for _, c := range fixtures.OpenCorpora(t).Hashes() {
		v := c.Last()
		lists[c.Name] = v
		for name, text := range v.Files {
			files[c.Name+"-"+filepath.Base(name)] = text
		}
	}
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	report := p.Publish(files)
	c := fast()
	s := newService(t, p, c)
	full := s.device.matcher(matcher.Options{PUA: true})
	d := newDevice(t, p)
	d.update(dbformat.VariantLight)
	d.install(s.net)
	d.accept()
	d.enable()
	light := d.matcher(matcher.Options{PUA: true})
	client := d.client(c)
	t.Logf("%d records accepted", report.Accepted)
	for name, v := range lists {
		t.Run(name, func(t *testing.T) {
			total := 0
			for range v.ListedHashes() {
				total++
			}
			each := max(1, total/cells(2000, 20_000))
			x := pairs{t: t, full: full, light: light, cloud: client.Cloud(ksn.OriginOnDemand), counts: map[matcher.Verdict]int{}}
			began, before, i := time.Now(), s.requests.Load(), 0
			for l := range v.ListedHashes() {
				if i++; i%each == 0 {
					x.add(l)
				}
			}
			x.settle()
			if x.looked == 0 || x.looked < min(total, 1000) {
				t.Errorf("%d hashes were looked up", x.looked)
			}
			t.Logf("%d of %d listed hashes: %v; light alone suspects %d; %d differ, %d beside them named for a size; %d requests in %s",
				x.looked, total, x.counts, x.suspected, x.wrong, x.sized, s.requests.Load()-before, time.Since(began).Round(time.Second))
		})
	}
}

// pairs holds look-ups with light and a server against those with the full database.
type pairs struct {
	t           *testing.T
	full, light *matcher.Matcher
	cloud       matcher.Cloud

	hits                     []matcher.Hit
	want                     []matcher.Result
	looked, suspected, wrong int
	sized                    int // named by a signature for one size, where the list has no size and full looks at those for any size alone
	counts                   map[matcher.Verdict]int
}

func (x *pairs) add(l fixtures.Listed) {
	want, err := x.full.Lookup(l.Algorithm, l.Hash, l.Size)
	must(x.t, err)
	got, err := x.light.Lookup(l.Algorithm, l.Hash, l.Size)
	must(x.t, err)
	x.looked++
	x.counts[want.Verdict]++
	if got.Verdict != matcher.Suspected {
		if got.Verdict != want.Verdict || got.Name != want.Name {
			x.complain(l.Hash, got.Verdict, got.Name, "", &want)
		}
		return
	}
	x.suspected++
	h := matcher.Hit{Algorithm: l.Algorithm, Size: l.Size, PUA: true, Release: x.light.Generation().Version}
	copy(h.Sum[:], l.Hash)
	x.hits, x.want = append(x.hits, h), append(x.want, want)
	if len(x.hits) == 256 {
		x.settle()
	}
}

// settle asks about what is suspected, as a scan does.
func (x *pairs) settle() {
	if len(x.hits) == 0 {
		return
	}
	var answers []matcher.Settled
	for range patience {
		answers = x.cloud.Settle(x.t.Context(), slices.Clone(x.hits))
		if !slices.ContainsFunc(answers, func(s matcher.Settled) bool { return s.Verdict == matcher.Suspected }) {
			break
		}
	}
	for i, got := range answers {
		h, want := &x.hits[i], &x.want[i]
		name := got.Name
		if name == "" && got.Verdict == matcher.Malicious {
			name = dbformat.DefaultName(h.Algorithm, h.Sum[:h.Algorithm.Size()])
		}
		switch {
		case got.Verdict == want.Verdict && name == want.Name:
		case got.Verdict == want.Verdict && h.Size < 0:
			x.sized++
		default:
			x.complain(h.Sum[:h.Algorithm.Size()], got.Verdict, name, got.Why, want)
		}
	}
	x.hits, x.want = x.hits[:0], x.want[:0]
}

func (x *pairs) complain(sum []byte, v matcher.Verdict, name, why string, want *matcher.Result) {
	if x.wrong++; x.wrong <= 5 {
		x.t.Errorf("%x: %s %q (%s), with the full database %s %q %s", sum, v, name, why, want.Verdict, want.Name, want.Signature)
	}
}
