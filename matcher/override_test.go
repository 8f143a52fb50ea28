package matcher

import (
	"context"
	"crypto/sha256"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// An administrator's word comes before everything else and needs no signature by SHA-256.
func TestOverrides(t *testing.T) {
	s := sections{
		"hash/md5":     {listed(dbformat.MD5, "bad", true, "Test.Bad")},
		"hash/sha1":    {listed(dbformat.SHA1, "suspected", true, "Test.Suspected")},
		"allow/sha1":   {listed(dbformat.SHA1, "good", true, "Good")},
		"wholepua/md5": {listed(dbformat.MD5, "unwanted", true, "PUA")},
	}
	type entry struct {
		verdict Verdict
		name    string
	}
	list := map[[32]byte]entry{}
	for content, e := range map[string]entry{
		"bad": {Allowed, "ours"}, "good": {Malicious, "Banned"}, "unknown": {Malicious, ""}, "suspected": {Allowed, "a\nb"},
		"clean": {Clean, "no such word"}, "unwanted": {Suspected, "no such word"}, "": {Malicious, "Empty"},
	} {
		list[sha256.Sum256([]byte(content))] = e
	}
	overrides := func(sum [32]byte) (Verdict, string, bool) {
		e, ok := list[sum]
		if !ok {
			return Malicious, "not on the list", false
		}
		return e.verdict, e.name, true
	}
	o := Options{Overrides: overrides, Cloud: cloudFunc(func(_ context.Context, hits []Hit) []Settled { return each(len(hits), Settled{Verdict: Clean}) })}
	for name, e := range map[string]*Engine{"full": full(t, o, s), "light": light(t, o, s)} {
		for content, want := range map[string]Result{
			"bad":       {Verdict: Allowed, Name: "ours", Source: SourceOverride},
			"good":      {Verdict: Malicious, Name: "Banned", Source: SourceOverride},
			"unknown":   {Verdict: Malicious, Name: "Hash.SHA256." + hexSHA256("unknown")[:16], Source: SourceOverride},
			"suspected": {Verdict: Allowed, Name: "Hash.SHA256." + hexSHA256("suspected")[:16], Source: SourceOverride},
			"":          {Verdict: Malicious, Name: "Empty", Source: SourceOverride},
			"clean":     {Verdict: Clean, Source: SourceLocal}, // a word that is none changes nothing
			"unwanted":  {Verdict: Clean, Source: SourceLocal},
			"unlisted":  {Verdict: Clean, Source: SourceLocal},
		} {
			path := write(t, filepath.Join(t.TempDir(), "f"), content)
			want.Path, want.SHA256, want.Size = path, hexSHA256(content), int64(len(content)) // the SHA-256 of clean files, too
			if got := e.ScanFile(t.Context(), path); got != want {
				t.Errorf("%s, %q:\ngot  %+v\nwant %+v", name, content, got, want)
			}
			for got := range scanAll(t, e, ScanOptions{}, path) {
				if got != want {
					t.Errorf("%s, %q in a scan:\ngot  %+v\nwant %+v", name, content, got, want)
				}
			}
			want.Path = ""
			if got := e.ScanReader(t.Context(), strings.NewReader(content)); got != want {
				t.Errorf("%s, %q from a reader:\ngot  %+v\nwant %+v", name, content, got, want)
			}
			sum := sha256.Sum256([]byte(content))
			if want.Verdict == Clean {
				want.SHA256 = ""
			}
			if got, err := e.Lookup(dbformat.SHA256, sum[:], want.Size); err != nil || got != want {
				t.Errorf("%s, %q by hash:\ngot  %+v, %v\nwant %+v", name, content, got, err, want)
			}
		}
	}
	// A file that is not listed is what it ever was, and so is a look-up that has no SHA-256.
	e := full(t, o, s)
	bad := listed(dbformat.MD5, "bad", true, "")
	if got, err := e.Lookup(dbformat.MD5, bad.Hash[:16], 3); err != nil || got.Name != "Test.Bad" || got.Source != SourceLocal {
		t.Errorf("by MD5: %+v, %v", got, err)
	}
	delete(list, sha256.Sum256([]byte("bad")))
	if got := e.ScanReader(t.Context(), strings.NewReader("bad")); got.Name != "Test.Bad" || got.Source != SourceLocal {
		t.Errorf("without its entry: %+v", got)
	}
}

// Without a list nothing more is hashed than the generation has records of.
func TestNoOverridesNoHash(t *testing.T) {
	s := sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "Test.Bad")}}
	none := func([32]byte) (Verdict, string, bool) { return "", "", false }
	for algs, e := range map[algSet]*Engine{
		algSet(0).with(dbformat.MD5):                       full(t, Options{}, s),
		algSet(0).with(dbformat.MD5).with(dbformat.SHA256): full(t, Options{Overrides: none}, s),
	} {
		if got := e.algorithms(false, anySize, &tally{}); got != algs {
			t.Errorf("algorithms %b, want %b", got, algs)
		}
	}
}
