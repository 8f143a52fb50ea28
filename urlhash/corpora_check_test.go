//go:build check

package urlhash

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"example.org/avdb/dbformat"
)

// newestList reads the domains of the newest version of a list of phishing domains. It is no part of the repository: it lies where
// the environment's AVDB_CORPORA says, else beside the module's folder in ../shared/corpora. Without it the test fails.
func newestList(t *testing.T) (version string, domains []string) {
	t.Helper()
	dir := os.Getenv("AVDB_CORPORA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpora")
	}
	name := filepath.Join(dir, "urls-history", "polkadot-phishing-all.json.consecutive40.tar.zst")
	f, err := os.Open(name)
	if err != nil {
		t.Fatalf("put the corpora there, or set AVDB_CORPORA to their folder: %v", err)
	}
	defer f.Close()
	r, err := dbformat.SourceReader(name, f, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return version, domains
		} else if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || filepath.Ext(h.Name) != ".json" {
			continue
		}
		if h.Name <= version {
			t.Fatalf("%s comes after %s", h.Name, version)
		}
		var list struct{ Deny []string }
		if err := json.NewDecoder(tr).Decode(&list); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		version, domains = h.Name, list.Deny
	}
}

// Every domain of a real list is an entry that a look-up of its pages finds, and nearly every one is found for the hosts below it; the
// few that are refused are so for a reason that their publisher can act on.
func TestARealListIsEntries(t *testing.T) {
	version, domains := newestList(t)
	if len(domains) < 40000 {
		t.Fatalf("%s has %d domains", version, len(domains))
	}
	why := map[error][]string{}
	hashes := map[Hash]bool{}
	var alone []string
	for _, d := range domains {
		e, err := ParseEntry(d)
		if err != nil {
			why[err] = append(why[err], d)
			continue
		}
		hashes[HashOf(e)] = true
		u, err := Canonicalize("https://" + d + ":80/login?x=1")
		if err != nil || !slices.Contains(u.Hashes(), HashOf(e)) {
			t.Errorf("%q does not find the entry %q of %q: %v", u, e, d, err)
		}
		if u.address {
			continue
		}
		if u, err = Canonicalize("HTTP://www." + d + "/a/b/"); err != nil {
			t.Errorf("below %q: %v", d, err)
		} else if !slices.Contains(u.Hashes(), HashOf(e)) {
			alone = append(alone, d)
		}
	}
	n := 0
	for err, refused := range why {
		n += len(refused)
		t.Logf("%d refused, %v: %q", len(refused), err, refused)
	}
	t.Logf("%s: %d domains, %d hashes, %d refused", version, len(domains), len(hashes), n)
	t.Logf("%d are too deep to be found for hosts below them: %q", len(alone), alone)
	if n+len(alone) > len(domains)/1000 {
		t.Errorf("%d of %d domains are refused, %d stand for one host", n, len(domains), len(alone))
	}
}
