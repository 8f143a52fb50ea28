//go:build check

package trust

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/signing"
)

// TestNamesThatLeadElsewhere: who holds every online key signs targets under names that some system understands in a way of its own. They
// are refused before anything is fetched, and nothing appears outside of the state folder.
func TestNamesThatLeadElsewhere(t *testing.T) {
	names := []string{
		"../x", "/x", "light/../../x", "light//x", ".", "..", "", "light/\x00x", "light/\nx", `light\x`,
		`C:\x`, "C:x", "light/CON", "light/nul.bundle", "light/" + strings.Repeat("a", 255), "light/" + strings.Repeat("a/", 2048) + "a",
		"light/%2e%2e/x", "light/%2fx", "light/\u00e9.bundle", "light/e\u0301.bundle", "light/x.", "light/x ", "LIGHT/x.bundle", "light/X.bundle",
		"light/../release.json", "./release.json", "state.db", "light/./x", "light/~/x", "light/x:stream",
	}
	if len(names) != 30 {
		t.Fatalf("%d names, want 30", len(names))
	}
	// A plain name in our alphabet: files are named by hashes, so that no system sees it.
	plain := map[string]bool{"light/nul.bundle": true}
	t.Run("cells", func(t *testing.T) {
		for i, name := range names {
			t.Run(fmt.Sprintf("%d %.20q", i, name), func(t *testing.T) {
				t.Parallel()
				c := newCell(t, running, 0)
				outside := filepath.Dir(c.e.Dir)
				before := tree(t, outside)
				th := newThief(t, c.Publisher, c.trees[3], 0, signing.RoleDatabase, signing.RoleSnapshot, signing.RoleTimestamp)
				th.change(signing.RoleDatabase, func(o object) {
					targets := o["targets"].(object)
					for path, v := range targets {
						if kind(path) == "light.bundle" {
							targets[name] = v
							return
						}
					}
				})
				c.ForgetRequests()
				if plain[name] {
					c.Serve(th.forge(c.at))
					c.must(3)
				} else {
					c.refused(th.forge(c.at), signing.ErrUntrusted)
				}
				for _, asked := range c.LayerRequests() {
					if !plain[name] || strings.Contains(asked, "nul") {
						t.Errorf("asked for %q", asked)
					}
				}
				if after := tree(t, outside); after != before {
					t.Errorf("files were\n%sand are\n%s", before, after)
				}
				if !plain[name] {
					c.heals()
				}
			})
		}
	})
	summary(t, "F names of targets, 0 files outside", len(names))
}

// tree lists the paths at and below dir, but for those in the state folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "state" {
			return fs.SkipDir
		}
		b.WriteString(name + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
