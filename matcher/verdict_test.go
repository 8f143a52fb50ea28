package matcher

import (
	"errors"
	"math/rand/v2"
	"testing"

	"example.org/avdb/dbformat"
)

func det(s string, v Verdict, name string) finding {
	id, err := dbformat.ParseSection(s)
	if err != nil {
		panic(err)
	}
	return finding{verdict: v, section: id, name: name}
}

// The rules of the verdict, one a row. Each holds in whatever order the findings come.
func TestVerdictRules(t *testing.T) {
	broken := errors.New("block is damaged")
	for name, c := range map[string]struct {
		findings []finding
		err      error
		want     finding
	}{
		"nothing is clean":               {want: finding{verdict: Clean}},
		"an error is no clean":           {err: broken, want: finding{verdict: Failed}},
		"a finding beats an error":       {findings: []finding{det("hash/md5", Suspected, "a")}, err: broken, want: det("hash/md5", Suspected, "a")},
		"an allow record beats an error": {findings: []finding{det("allow/md5", Allowed, "a")}, err: broken, want: det("allow/md5", Allowed, "a")},
		"exact beats prefix of a stronger kind": {findings: []finding{
			det("hash/sha256", Suspected, "a"), det("whole/md5", Malicious, "b")}, want: det("whole/md5", Malicious, "b")},
		"exact beats prefix of the same kind": {findings: []finding{
			det("hash/sha1", Suspected, "a"), det("whole/sha1", Malicious, "b")}, want: det("whole/sha1", Malicious, "b")},
		"sha256 before sha1 before md5": {findings: []finding{
			det("hash/md5", Malicious, "a"), det("hash/sha256", Malicious, "c"), det("hash/sha1", Malicious, "b")}, want: det("hash/sha256", Malicious, "c")},
		"then the name": {findings: []finding{
			det("pua/sha1", Malicious, "a"), det("hash/sha1", Malicious, "b")}, want: det("pua/sha1", Malicious, "a")},
		"then the section": {findings: []finding{
			det("whole/sha1", Malicious, "a"), det("hash/sha1", Malicious, "a")}, want: det("hash/sha1", Malicious, "a")},
		"a sha256 allow record cancels all": {findings: []finding{
			det("allow/sha256", Allowed, "ok"), det("hash/sha256", Malicious, "a"), det("hash/sha1", Malicious, "b"), det("hash/md5", Malicious, "c")}, want: det("allow/sha256", Allowed, "ok")},
		"a sha1 allow record cancels sha1 and md5": {findings: []finding{
			det("allow/sha1", Allowed, "ok"), det("hash/sha1", Malicious, "b"), det("hash/md5", Malicious, "c")}, want: det("allow/sha1", Allowed, "ok")},
		"a sha1 allow record does not cancel sha256": {findings: []finding{
			det("allow/sha1", Allowed, "ok"), det("hash/sha256", Suspected, "a"), det("hash/md5", Malicious, "c")}, want: det("hash/sha256", Suspected, "a")},
		"an md5 allow record cancels md5 only": {findings: []finding{
			det("allow/md5", Allowed, "ok"), det("hash/sha1", Malicious, "b"), det("hash/md5", Malicious, "c")}, want: det("hash/sha1", Malicious, "b")},
		"the strongest allow record counts": {findings: []finding{
			det("allow/md5", Allowed, "a"), det("allow/sha256", Allowed, "z"), det("allow/sha1", Allowed, "b"), det("hash/sha256", Malicious, "x")}, want: det("allow/sha256", Allowed, "z")},
		"of two allow records the first name": {findings: []finding{
			det("allow/sha1", Allowed, "b"), det("allow/sha1", Allowed, "a")}, want: det("allow/sha1", Allowed, "a")},
		"allowed without a detection": {findings: []finding{det("allow/sha1", Allowed, "b")}, want: det("allow/sha1", Allowed, "b")},
	} {
		rng := rand.New(rand.NewPCG(1, 1))
		for range 20 {
			rng.Shuffle(len(c.findings), func(i, j int) { c.findings[i], c.findings[j] = c.findings[j], c.findings[i] })
			var tally tally
			for _, f := range c.findings {
				tally.add(f)
			}
			if c.err != nil {
				tally.fail(c.err)
			}
			if got := tally.decide(); got != c.want {
				t.Fatalf("%s: %+v gave %+v, want %+v", name, c.findings, got, c.want)
			}
		}
	}
}

func TestAnErrorBesideAFindingIsNotLost(t *testing.T) {
	first, second := errors.New("block is damaged"), errors.New("another")
	r := Result{Verdict: Suspected, Name: "Prefix.MD5.00"}
	r.fail(first)
	r.fail(second)
	if r.Verdict != Suspected || r.Err != first || r.Error != first.Error() {
		t.Fatalf("got %+v, want suspected with the first error", r)
	}
	r = Result{Verdict: Clean}
	r.fail(second)
	if r.Verdict != Failed || r.Err != second {
		t.Fatalf("got %+v, want an error", r)
	}
}

func TestEverySectionHasItsBit(t *testing.T) {
	seen := map[uint64]dbformat.SectionID{}
	for _, id := range dbformat.AllSections() {
		if other, ok := seen[sectionBit(id)]; ok {
			t.Errorf("sections %s and %s share a bit", id, other)
		}
		seen[sectionBit(id)] = id
	}
}

func TestVerdictsRank(t *testing.T) {
	order := []Verdict{"", Clean, Failed, Suspected, Malicious, Allowed}
	for i := 1; i < len(order); i++ {
		if order[i].Rank() <= order[i-1].Rank() {
			t.Errorf("%q does not rank above %q", order[i], order[i-1])
		}
	}
}
