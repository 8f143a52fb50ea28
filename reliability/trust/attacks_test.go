//go:build check

package trust

import (
	"math"
	"testing"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// The ten attacks that the TUF specification lists, against the whole product.
// https://theupdateframework.github.io/specification/latest/#goals-to-protect-against-specific-attacks
func TestAttacksOfTheSpecification(t *testing.T) {
	attacks := []struct {
		name  string
		stage func(c *cell)
	}{
		{"arbitrary software installation", func(c *cell) {
			c.refused(newThief(c.t, c.Publisher, c.trees[3], 0).plant(c.evil(4)).forge(c.at), signing.ErrUntrusted)
		}},
		{"rollback", func(c *cell) {
			// A new device has seen nothing yet: it believes a state that has not expired. Once it has seen the newest, no older one.
			c.must(3)
			c.was = c.installed()
			for _, older := range []int{2, 1, 0} {
				c.refused(c.trees[older], signing.ErrUntrusted)
			}
		}},
		{"fast-forward", func(c *cell) {
			th := newThief(c.t, c.Publisher, c.trees[3], 0, signing.RoleTimestamp)
			c.refused(th.version(signing.RoleTimestamp, math.MaxUint32*4).forge(c.at), signing.ErrUntrusted)
		}},
		{"indefinite freeze", func(c *cell) {
			c.at = c.at.Add(signing.LifeTimestamp + time.Hour)
			c.refused(c.trees[3], signing.ErrUntrusted)
			c.Renew() // the publisher is alive: its own clock went on
			c.Advance(signing.LifeTimestamp + time.Hour)
			c.Renew()
		}},
		{"endless data", func(c *cell) {
			for _, file := range []string{"/metadata/timestamp.json", "/metadata/*.database.json", "/targets/light/", "/targets/rest/"} {
				c.Heal()
				c.Tamper(file, fixtures.Endless())
				r, err := c.update()
				if err == nil && r.Result != updater.ResultCurrent {
					c.t.Errorf("endless %s was taken", file)
				}
				c.installed()
			}
			c.Heal()
			c.Tamper("/", fixtures.Endless())
			c.was = c.installed()
			c.refused(nil, signing.ErrUntrusted)
		}},
		{"extraneous dependencies", func(c *cell) {
			th := newThief(c.t, c.Publisher, c.trees[3], 0, signing.RoleTimestamp, signing.RoleSnapshot)
			th.change(signing.RoleTargets, func(o object) {
				roles := o["delegations"].(object)["roles"].([]any)
				o["delegations"].(object)["roles"] = append(roles, roles[0])
			})
			c.refused(th.forge(c.at), signing.ErrUntrusted)
		}},
		{"mix and match", func(c *cell) {
			mixed := c.trees[3]
			for _, name := range []string{c.file(2, signing.RoleDatabase), c.file(2, signing.RoleSnapshot)} {
				mixed = mixed.With(name, c.trees[2].File(name))
			}
			// The newest timestamp with the snapshot of before under the name that the timestamp leads to, and the same with the role.
			c.refused(mixed.With(c.file(3, signing.RoleSnapshot), c.trees[2].File(c.file(2, signing.RoleSnapshot))), signing.ErrUntrusted)
			c.refused(mixed.With(c.file(3, signing.RoleDatabase), c.trees[2].File(c.file(2, signing.RoleDatabase))), signing.ErrUntrusted)
		}},
		{"wrong software installation", func(c *cell) {
			// The right names with the content of another release.
			swapped := c.trees[3]
			from, to := c.targets(2), c.targets(3)
			for path, name := range to {
				if other, ok := from[path]; ok && other != name {
					swapped = swapped.With(name, c.trees[2].File(other))
				}
			}
			c.refused(swapped, signing.ErrUntrusted)
		}},
		{"malicious mirrors preventing updates", func(c *cell) {
			c.hasty = true
			var sources []string
			for _, bad := range []fixtures.Tamper{fixtures.NotFound(), fixtures.FlipByte(40), fixtures.Endless(), fixtures.Truncate(9), fixtures.Stall(5)} {
				p := fixtures.NewPublisher(c.t, fixtures.PublisherOptions{})
				p.Serve(c.trees[3])
				p.Tamper("/", bad)
				sources = append(sources, p.URL())
			}
			c.e.SetSources(append(sources, c.URL())...)
			c.must(3)
		}},
		{"slow retrieval", func(c *cell) {
			c.hasty = true
			for _, file := range []string{"/metadata/timestamp.json", "/metadata/*.database.json", "/targets/light/"} {
				c.Heal()
				c.Tamper(file, fixtures.Stall(3))
				begin := time.Now()
				c.refused(nil, updater.ErrUnavailable)
				if d := time.Since(begin); d > time.Minute {
					c.t.Errorf("it took %v", d)
				}
			}
		}},
	}
	cells := 0
	for _, a := range attacks {
		for _, ph := range []phase{first, running} {
			cells++
			t.Run(a.name+"/"+string(ph), func(t *testing.T) {
				t.Parallel()
				c := newCell(t, ph, 0)
				a.stage(c)
				c.heals()
			})
		}
	}
	t.Cleanup(func() { summary(t, "C3 attacks of the specification", cells) })
}

func summary(t *testing.T, what string, cells int) {
	broken := "0 broken"
	if t.Failed() {
		broken = "broken: see above"
	}
	t.Logf("%s: %d cells, %s", what, cells, broken)
}

// file is the name of a role's document in the tree of release n.
func (c *cell) file(n int, role string) string {
	return (&thief{t: c.t, tree: c.trees[n]}).file(role)
}

// targets are the files of the targets in the tree of release n, by their paths with digests taken out.
func (c *cell) targets(n int) map[string]string {
	m := map[string]string{}
	th := &thief{t: c.t, tree: c.trees[n]}
	for _, role := range []string{signing.RoleDatabase, signing.RoleRestrictions} {
		for path, v := range th.signed(role)["targets"].(object) {
			m[kind(path)] = fileOf(path, v.(object)["hashes"].(object)["sha256"].(string))
		}
	}
	return m
}
