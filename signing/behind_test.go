package signing

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// A chain is a repository whose root moves on while a device is away: each root is signed by the keys of the one before it and by its own.
type chain struct {
	*forge
	tr     *Trust
	src    *mapSource
	newest uint64
	seed   uint64
	owner  []string // ids of the newest root's keys
}

func newChain(t *testing.T, keys, threshold int) *chain {
	t.Helper()
	r := newRepository(t, RepositoryOptions{Keys: keys, Threshold: threshold})
	publish(t, r, 1, day0)
	c := &chain{forge: newForge(t, r), tr: newTrust(t, r), newest: 1, seed: 1 << 20}
	c.src = c.source()
	c.owner = c.set.root.roles[RoleRoot].keyids
	return c
}

// rotate publishes the next root with n new keys under a threshold. signers, by default all keys old and new, sign it.
func (c *chain) rotate(n, threshold int, signers ...string) {
	old := c.owner
	c.owner = nil
	for range n {
		c.seed++
		id, key := c.newKey(c.seed)
		c.part("keys")[id] = key
		c.owner = append(c.owner, id)
	}
	for _, id := range old {
		delete(c.part("keys"), id)
	}
	c.say(threshold)
	if len(signers) == 0 {
		signers = append(slices.Clone(old), c.owner...)
	}
	c.publish(signers...)
}

// say lets the newest keys be those of root.
func (c *chain) say(threshold int) {
	role := c.part("roles", RoleRoot)
	ids := arr{}
	for _, id := range c.owner {
		ids = append(ids, id)
	}
	role["keyids"], role["threshold"] = ids, threshold
}

func (c *chain) part(path ...string) obj { return c.at(RoleRoot, path...) }

func (c *chain) publish(signers ...string) {
	c.newest++
	c.signed[RoleRoot]["version"] = json.Number(fmt.Sprint(c.newest))
	c.keys[RoleRoot] = signers
	c.src.files[fmt.Sprintf("%d.root.json", c.newest)] = c.sign(RoleRoot)
}

// arrive demands that the device comes to the newest root at once, remembers it, and asks for nothing it has the next time.
func (c *chain) arrive() {
	c.t.Helper()
	t := c.t.(*testing.T)
	v := refresh(t, c.tr, c.src, day0)
	if v.Version(RoleRoot) != c.newest {
		t.Errorf("root %d, want %d", v.Version(RoleRoot), c.newest)
	}
	if s, err := c.tr.Stored(); err != nil || s.Version(RoleRoot) != c.newest {
		t.Errorf("stored: %v", err)
	}
	c.src.log = nil
	refresh(t, c.tr, c.src, day0)
	if want := fmt.Sprintf("%d.root.json", c.newest+1); c.src.log[0] != want {
		t.Errorf("asked for %s, want %s", c.src.log[0], want)
	}
}

// stay demands that the device refuses the newest root and keeps the one before it.
func (c *chain) stay(reason Reason, kept uint64) {
	c.t.Helper()
	t := c.t.(*testing.T)
	refuse(t, c.tr, c.src, day0, RoleRoot, reason)
	have, err := c.tr.rootVersions()
	if err != nil || have[len(have)-1] != kept {
		t.Errorf("kept roots %v, %v; want up to %d", have, err, kept)
	}
}

// A device that was away for any number of roots, each with new keys, needs one refresh to come back, and no root is skipped on the way.
func TestRootsBehind(t *testing.T) {
	t.Parallel()
	cells := 0
	for _, behind := range []int{1, 2, 255, 256, 257, 600} {
		cells++
		t.Run(fmt.Sprint(behind), func(t *testing.T) {
			c := newChain(t, 1, 1)
			for range behind {
				c.rotate(1, 1)
			}
			if behind > 2 { // one link broken: that is as far as it goes
				middle := fmt.Sprintf("%d.root.json", behind/2)
				whole := c.src.files[middle]
				c.src.files[middle] = c.src.files[fmt.Sprintf("%d.root.json", behind/2+1)]
				c.stay(ReasonSignature, uint64(behind/2-1))
				c.src.files[middle] = whole
			}
			c.arrive()
		})
	}
	cells++
	t.Run("threshold up", func(t *testing.T) {
		c := newChain(t, 3, 1)
		first := c.owner
		c.rotate(3, 3)
		c.arrive()
		// From now on two are too few, however many of the first root sign as well.
		c.publish(slices.Concat(c.owner[:2], first)...)
		c.stay(ReasonSignature, 2)
		c.newest--
		c.publish(c.owner...)
		c.arrive()
	})
	cells++
	t.Run("threshold down", func(t *testing.T) {
		c := newChain(t, 3, 3)
		c.say(1)
		c.publish(c.owner[:2]...) // by its own word enough, by that of the one before too few
		c.stay(ReasonSignature, 1)
		c.newest--
		c.publish(c.owner...)
		c.publish(c.owner[:1]...)
		c.arrive()
	})
	cells++
	t.Run("expired on the way", func(t *testing.T) {
		c := newChain(t, 1, 1)
		c.signed[RoleRoot]["expires"] = "2026-02-01T00:00:00Z"
		c.rotate(1, 1)
		c.rotate(1, 1)
		c.stay(ReasonExpired, 3) // as the last one it freezes the device, and what was verified is kept
		c.signed[RoleRoot]["expires"] = "2028-02-01T00:00:00Z"
		c.rotate(1, 1)
		c.arrive()
	})
	t.Logf("C5 rotation: %d cells (1, 2, 255, 256, 257, 600 roots behind, threshold up and down, expired on the way)", cells)
}
