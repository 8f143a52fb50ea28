//go:build check

package trust

import (
	"testing"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
)

// What each stolen key gives, in both phases, is what docs/THREATS.md says and no more. Each row ends with the key replaced by
// its true owner, after which the device goes on.
func TestStolenKeys(t *testing.T) {
	rows := []struct {
		name      string
		threshold int // of root and targets
		many      int // keys that are stolen of each role
		roles     []string
		stage     func(c *cell, th func(tree *fixtures.Tree) *thief)
	}{
		{"timestamp", 0, 0, []string{signing.RoleTimestamp}, func(c *cell, th func(*fixtures.Tree) *thief) {
			c.nothingNew(th)
			c.freezes(th, signing.LifeSnapshot)
			c.fastForwards(th)
		}},
		{"snapshot", 0, 0, []string{signing.RoleSnapshot}, func(c *cell, th func(*fixtures.Tree) *thief) {
			c.nothingNew(th)
			c.refused(th(c.trees[3]).change(signing.RoleSnapshot, nil).forge(c.at), signing.ErrUntrusted)
		}},
		{"timestamp and snapshot", 0, 0, []string{signing.RoleTimestamp, signing.RoleSnapshot}, func(c *cell, th func(*fixtures.Tree) *thief) {
			c.nothingNew(th)
			c.hides(th)
			c.freezes(th, signing.LifeDelegated)
			c.fastForwards(th)
		}},
		{"one key of two of targets", 2, 1, []string{signing.RoleTargets, signing.RoleTimestamp, signing.RoleSnapshot}, func(c *cell, th func(*fixtures.Tree) *thief) {
			c.nothingNew(th)
			c.refused(th(c.trees[3]).change(signing.RoleTargets, nil).forge(c.at), signing.ErrUntrusted)
		}},
		{"a delegated role: database without snapshot", 0, 0, []string{signing.RoleDatabase}, func(c *cell, th func(*fixtures.Tree) *thief) {
			c.nothingNew(th)
		}},
		{"one key of two of root", 2, 1, []string{signing.RoleRoot, signing.RoleTimestamp, signing.RoleSnapshot}, func(c *cell, th func(*fixtures.Tree) *thief) {
			c.nothingNew(th)
			thief := th(c.trees[3])
			root := thief.rootOf(1)
			root["version"] = 2
			root["roles"].(object)[signing.RoleTargets].(object)["threshold"] = 1
			c.refused(c.trees[3].With("metadata/2.root.json", thief.sign(signing.RoleRoot, root)), signing.ErrUntrusted)
		}},
	}
	cells := 0
	for _, r := range rows {
		for _, ph := range []phase{first, running} {
			cells++
			t.Run(r.name+"/"+string(ph), func(t *testing.T) {
				t.Parallel()
				c := newCell(t, ph, r.threshold)
				r.stage(c, func(tree *fixtures.Tree) *thief { return newThief(t, c.Publisher, tree, r.many, r.roles...) })
				c.Heal()
				for _, role := range r.roles {
					if err := c.Repository().Rotate(role, c.at, nil); err != nil {
						t.Fatalf("replace the key of %s: %v", role, err)
					}
				}
				c.heals()
			})
		}
	}
	t.Cleanup(func() { summary(t, "C4 stolen keys", cells) })
}

// nothingNew tries to install a release of the thief's, and older states under newer numbers.
func (c *cell) nothingNew(th func(*fixtures.Tree) *thief) {
	c.t.Helper()
	c.refused(th(c.trees[3]).plant(c.evil(4)).forge(c.at), signing.ErrUntrusted)
	c.refused(th(c.trees[3]).change(signing.RoleDatabase, func(o object) { o["targets"] = object{} }).forge(c.at), signing.ErrUntrusted)
	c.refused(th(c.trees[3]).change(signing.RoleRestrictions, func(o object) { o["targets"] = object{} }).forge(c.at), signing.ErrUntrusted)
}

// freezes holds the device on the state of release 2 with new timestamps, which works for as long as what they lead to lives.
func (c *cell) freezes(th func(*fixtures.Tree) *thief, life time.Duration) {
	c.t.Helper()
	begin := c.at
	// The state of release 2 was signed at about this time.
	for _, after := range []time.Duration{0, life / 2, life - 12*time.Hour} {
		c.at = begin.Add(after)
		c.Serve(c.prolonged(th, 2))
		r, err := c.update()
		if err != nil {
			c.t.Errorf("frozen for %v: %v; the page on threats says that this works", after, err)
		}
		if r.To != 2 || c.installed().Version != 2 {
			c.t.Errorf("frozen for %v: release %d, want 2", after, r.To)
		}
	}
	c.at = begin.Add(life + 12*time.Hour)
	c.was = c.installed()
	c.refused(c.prolonged(th, 2), signing.ErrUntrusted)
	// The true publisher was at work meanwhile.
	c.Advance(c.at.Sub(c.Now()))
	c.Renew()
}

// prolonged is the state of release n with all that the thief can sign signed again now.
func (c *cell) prolonged(th func(*fixtures.Tree) *thief, n int) *fixtures.Tree {
	thief := th(c.trees[n])
	if len(thief.keys[signing.RoleSnapshot]) > 0 {
		thief.change(signing.RoleSnapshot, func(o object) {
			o["expires"] = stamp(c.at.Add(signing.LifeSnapshot))
			o["version"] = number(o["version"]) + uint64(c.at.Sub(c.Now()).Hours())
		})
	}
	return thief.change(signing.RoleTimestamp, func(o object) {
		o["version"] = number(o["version"]) + uint64(c.at.Sub(c.Now()).Hours())
	}).forge(c.at)
}

// hides leaves the newest database out of the snapshot, for a device that saw it.
func (c *cell) hides(th func(*fixtures.Tree) *thief) {
	c.t.Helper()
	if c.phase == first {
		return
	}
	older := th(c.trees[3]).change(signing.RoleSnapshot, func(o object) {
		o["meta"].(object)["database.json"] = th(c.trees[1]).signed(signing.RoleSnapshot)["meta"].(object)["database.json"]
	}).forge(c.at)
	c.refused(older, signing.ErrUntrusted)
}

// fastForwards locks the device out of the true numbers, which lasts until the key is replaced.
func (c *cell) fastForwards(th func(*fixtures.Tree) *thief) {
	c.t.Helper()
	c.Serve(th(c.trees[3]).version(signing.RoleTimestamp, 1<<31).forge(c.at))
	if r, err := c.update(); err == nil && r.To > 3 {
		c.t.Errorf("release %d", r.To)
	}
	c.was = c.installed()
	c.refused(c.Snapshot(), signing.ErrUntrusted)
	if !c.genuine[c.was] {
		c.t.Errorf("%v is installed", c.was)
	}
}

// The oracle of these tests can fail: who holds every online key does install a release of its own, and is seen.
func TestOracleSeesWhatAThiefInstalled(t *testing.T) {
	c := newCell(t, running, 0)
	th := newThief(t, c.Publisher, c.trees[3], 0, signing.RoleDatabase, signing.RoleSnapshot, signing.RoleTimestamp)
	c.Serve(th.plant(c.evil(4)).forge(c.at))
	if r, err := c.update(); err != nil || r.To != 4 {
		t.Fatalf("all online keys are held, and still: release %d, %v", r.To, err)
	}
	if i, err := c.e.Installed(); err != nil || c.genuine[i] {
		t.Errorf("%v counts as genuine, %v", i, err)
	}
}
