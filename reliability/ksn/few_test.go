package ksn_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
)

// bigDatabase is the text of n signatures at random, in equal parts of each kind of hash, besides those of the files bad.
func bigDatabase(rng *rand.Rand, n int, bad [][]byte) map[string]string {
	var b strings.Builder
	kinds := dbformat.Algorithms()
	sum := make([]byte, 32)
	for i := range n - len(bad) {
		for j := range sum {
			sum[j] = byte(rng.Uint32())
		}
		fmt.Fprintf(&b, "%x,Bad.%d\n", sum[:kinds[i%len(kinds)].Size()], i)
	}
	for i, content := range bad {
		fmt.Fprintf(&b, "%x,Bad.file.%d\n", sumOf(kinds[i%len(kinds)], content), i)
	}
	return map[string]string{"a.hashes": b.String()}
}

// A scan of clean files asks less than one question for 1000 of them, and once something was asked, nobody is asked about it again: not by
// the same process, and not by the next one.
func TestFewRequests(t *testing.T) {
	const signatures = 100_000
	n := cells(2000, 10_000)
	rng := rand.New(rand.NewPCG(3, 4))
	clean, bad := make([][]byte, n), make([][]byte, 40)
	for i := range clean {
		clean[i] = contentOf(rng, i)
	}
	for i := range bad {
		bad[i] = contentOf(rng, n+i)
	}
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	report := p.Publish(bigDatabase(rng, signatures, bad))
	if report.Accepted != signatures {
		t.Fatalf("%d signatures, want %d", report.Accepted, signatures)
	}
	c := &clock{began: fast().began}
	s := newService(t, p, c)
	d := newDevice(t, p)
	d.update(dbformat.VariantLight)
	d.install(s.net)
	d.accept()
	d.enable()
	m := d.matcher(matcher.Options{})
	cleanDir, badDir := write(t, clean), write(t, bad)

	client := d.client(c)
	asked := func(dir string, want map[matcher.Verdict]int) int64 {
		t.Helper()
		before := s.requests.Load()
		if got := tally(scan(t, m, dir, false, client)); !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		return s.requests.Load() - before
	}
	allClean, allBad := map[matcher.Verdict]int{matcher.Clean: n}, map[matcher.Verdict]int{matcher.Malicious: len(bad)}
	first := asked(cleanDir, allClean)
	if first*1000 >= int64(n) {
		t.Errorf("%d requests for %d clean files, want less than one for 1000", first, n)
	}
	found := asked(badDir, allBad)
	if found == 0 {
		t.Error("the server was not asked about the bad files: nothing is counted")
	}
	again := asked(badDir, allBad) + asked(cleanDir, allClean)
	must(t, client.Close())
	client = d.client(c)
	restarted := asked(badDir, allBad) + asked(cleanDir, allClean)
	if again != 0 || restarted != 0 {
		t.Errorf("%d requests about the same files, %d in a new process, want none", again, restarted)
	}
	t.Logf("%d signatures: %d requests for %d clean files, %d for %d bad ones; %d for all of them again, %d in a new process",
		signatures, first, n, found, len(bad), again, restarted)
}
