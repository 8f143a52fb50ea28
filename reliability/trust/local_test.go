//go:build check

package trust

import (
	"os"
	"path/filepath"
	"testing"

	"example.org/avdb/signing"
)

// Somebody puts older files back into the state folder, or takes some away, while a mirror replays release 2 to a device that has
// seen release 3. It must be noticed, 8 of 8: no older release is installed by an update, and the run that finds it says so, as an
// error or as a note.
func TestStatePutBack(t *testing.T) {
	const (
		verified = "trust/verified.json"
		floors   = "trust/floors.json"
		current  = "db/CURRENT"
		root     = "trust/roots/2.root.json"
	)
	rows := []struct {
		name string
		back []string // replaced by what they were at release 2
		gone []string
	}{
		{name: "the stored set deleted", gone: []string{verified}},
		{name: "the stored set older", back: []string{verified}},
		{name: "the floors deleted", gone: []string{floors}},
		{name: "the floors older", back: []string{floors}},
		{name: "stored set and floors deleted", gone: []string{verified, floors}},
		{name: "stored set and floors older", back: []string{verified, floors}},
		{name: "the newest root deleted", gone: []string{root}},
		{name: "the database older", back: []string{current}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			c := newCell(t, running, 0)
			old := map[string][]byte{}
			for _, name := range r.back {
				old[name] = read(t, filepath.Join(c.e.Dir, name))
			}
			if err := c.Repository().Rotate(signing.RoleRoot, c.at, nil); err != nil {
				t.Fatal(err)
			}
			c.must(3)
			for name, b := range old {
				if err := os.WriteFile(filepath.Join(c.e.Dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range r.gone {
				if err := os.Remove(filepath.Join(c.e.Dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			before := c.installed()
			c.Serve(c.trees[2])
			report, err := c.update()
			if got := c.installed(); got.Version < before.Version {
				t.Errorf("the replay brought %v in the place of %v", got, before)
			}
			if err == nil && len(report.Notes) == 0 {
				t.Errorf("nobody noticed: %+v", report)
			}
			c.heals()
		})
	}
	t.Cleanup(func() { summary(t, "C6 state put back", len(rows)) })
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
