//go:build check

package trust

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/publisher"
	"example.org/avdb/updater"
)

// A phase is when the attack comes.
type phase string

const (
	first   phase = "first install"
	running phase = "running"
)

// A cell is a publisher with three releases, of which the thief has seen all, and an endpoint that has none of them or the second.
type cell struct {
	*fixtures.Publisher
	t       *testing.T
	phase   phase
	at      time.Time // the endpoint's clock
	e       *fixtures.Endpoint
	trees   []*fixtures.Tree            // trees[n] is what was served when release n was the newest; trees[0] had none
	made    map[uint64]bool             // releases that the publisher made
	genuine map[fixtures.Installed]bool // what a device may have installed
	was     fixtures.Installed
	hasty   bool // sources have five seconds
}

func newCell(t *testing.T, ph phase, threshold int) *cell {
	t.Helper()
	c := &cell{t: t, phase: ph, made: map[uint64]bool{}, genuine: map[fixtures.Installed]bool{{}: true}}
	c.Publisher = fixtures.NewPublisher(t, fixtures.PublisherOptions{Start: time.Now().Add(-60 * 24 * time.Hour), Threshold: threshold})
	c.trees = append(c.trees, c.Snapshot())
	c.at = c.Now()
	c.e = fixtures.NewEndpoint(t, filepath.Join(t.TempDir(), "state"), c.Root(), func() time.Time { return c.at }, c.URL())
	for n := 1; n <= 3; n++ {
		c.release(n)
		if n == 2 && ph == running {
			c.must(2)
		}
	}
	c.was = c.installed()
	return c
}

// release makes release n, an hour after the one before.
func (c *cell) release(n int) {
	c.t.Helper()
	c.Advance(time.Hour)
	r := c.Publish(fixtures.Samples("sample", 300+n), c.WithRestrictions(set(n, c.Now().Add(20*24*time.Hour))))
	c.made[r.Version] = true
	i := fixtures.Installed{Version: r.Version, Light: r.Layers.Light.Digest, Rest: r.Layers.Rest.Digest}
	c.genuine[i] = true
	c.genuine[fixtures.Installed{Version: i.Version, Light: i.Light}] = true // while rest cannot be had
	c.trees = append(c.trees, c.Snapshot())
	c.at = c.Now()
}

// set is a restriction file that differs for each n.
func set(n int, expires time.Time) string {
	return fmt.Sprintf(`{"schema":1,"epoch":%d,"records":[{"id":"r%d","action":"disable","expires":%q}]}`, n, n, stamp(expires))
}

// evil is a publisher of the thief's whose release has the number that would come next.
func (c *cell) evil(version uint64) *fixtures.Publisher {
	c.t.Helper()
	p := fixtures.NewPublisher(c.t, fixtures.PublisherOptions{Start: c.Now()})
	p.Publish(fixtures.Samples("evil", 10), func(o *publisher.Options) { o.Version = version })
	return p
}

// update has limits that no busy machine breaks, but for a cell that is to find a source slow.
func (c *cell) update() (updater.Report, error) {
	c.t.Helper()
	return c.e.Update(updater.Options{}, func(u *updater.Config) {
		if c.hasty {
			u.Limits.Header, u.Limits.Idle, u.Limits.Retries, u.Limits.Resumes = 5*time.Second, 5*time.Second, -1, -1
		}
	})
}

// must reaches a release from an honest mirror.
func (c *cell) must(version uint64) {
	c.t.Helper()
	r, err := c.update()
	if err != nil || r.To != version {
		c.t.Fatalf("honest update: to %d, %v; want %d", r.To, err, version)
	}
}

// installed proves the endpoint's state; what is not one of the true publisher's releases breaks the cell.
func (c *cell) installed() fixtures.Installed {
	c.t.Helper()
	i, err := c.e.Installed()
	if err != nil {
		c.t.Fatalf("the installed generation is not sound: %v", err)
	}
	if !c.genuine[i] {
		c.t.Fatalf("%v is installed, which the publisher never made", i)
	}
	return i
}

// refused demands that an attack changes neither the store nor a floor and ends with the kind of error.
func (c *cell) refused(tree *fixtures.Tree, kinds ...error) {
	c.t.Helper()
	floors := c.floors()
	if tree != nil {
		c.Serve(tree)
	}
	r, err := c.update()
	ok := len(kinds) == 0 && err == nil
	for _, k := range kinds {
		ok = ok || errors.Is(err, k)
	}
	if !ok {
		c.t.Errorf("the attack ended with %v (%s), want %v", err, r.Result, kinds)
	}
	if got := c.installed(); got != c.was {
		c.t.Errorf("installed is %v after the attack, was %v", got, c.was)
	}
	c.keep(floors)
}

// keep demands that no floor went back.
func (c *cell) keep(floors map[string]uint64) {
	c.t.Helper()
	for role, v := range c.floors() {
		if v < floors[role] {
			c.t.Errorf("the floor of %s went from %d back to %d", role, floors[role], v)
		}
	}
}

func (c *cell) floors() map[string]uint64 {
	c.t.Helper()
	f, err := c.e.Floors()
	if err != nil {
		c.t.Fatalf("floors: %v", err)
	}
	return f
}

// heals demands that the device reaches the newest release at once when the network is honest again, without leftovers.
func (c *cell) heals() {
	c.t.Helper()
	c.Heal()
	c.hasty = false
	if r, err := c.update(); err != nil {
		c.t.Errorf("honest update after the attack: %v (%+v)", err, r)
	}
	var newest uint64
	for v := range c.made {
		newest = max(newest, v)
	}
	if got := c.installed(); got.Version != newest {
		c.t.Errorf("installed is %v after the honest update, want release %d", got, newest)
	}
	if left, err := c.e.Leftovers(); err != nil || len(left) > 0 {
		c.t.Errorf("left behind: %v, %v", left, err)
	}
}
