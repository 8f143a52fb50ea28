//go:build check

package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// A device is the endpoint of one history, and the model of it.
type device struct {
	g     *graph
	dir   string
	disk  *disk
	store *store.Store // with the disk under it
	look  *store.Store // the oracle's, which changes nothing
	now   time.Time

	olds  map[string][][]byte   // what files were at earlier times, by path below dir
	spoil map[string][]byte     // what damage left in place of a file
	named map[string]generation // what a content of CURRENT stands for
	told  map[int][]time.Time   // when a source said to come back later

	trace   strings.Builder // one line a step: what came of it
	broken  string          // the first violation, "" for none
	sabot   func(*device)   // before each update, see TestOracleFindsBrokenGuards
	updates int
	most    int // requests of one update
}

// seeded gives names and an install id that are the same for each run of a seed.
type seeded struct{ r *rand.Rand }

func (s seeded) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.r.Uint32())
	}
	return len(p), nil
}

// readOnly refuses every change.
type readOnly struct{}

func (readOnly) Do(c signing.DiskCall, _ func() error) error {
	return &os.PathError{Op: c.Op, Path: c.Path, Err: errors.New("only looking")}
}

// newDevice makes the endpoint in a new folder dir.
func newDevice(g *graph, dir string, seed uint64) (*device, error) {
	d := &device{g: g, dir: dir, now: start, olds: map[string][][]byte{}, spoil: map[string][]byte{}, named: map[string]generation{}, told: map[int][]time.Time{}}
	now := func() time.Time { return d.now }
	random := seeded{rand.New(rand.NewPCG(seed, 2))}
	s, err := store.Create(dir, store.Options{Now: now, Rand: random})
	if err == nil {
		err = signing.InitTrust(s.TrustDir(), g.root, false)
	}
	if err == nil {
		err = s.UpdateSettings(func(v *store.Settings) error {
			v.KSN.Mode = "basic"
			v.KSN.Accepted = &store.SettingsConsent{Version: "1", Language: "en", Mode: "basic", Time: dbformat.At(start)}
			return nil
		})
	}
	if err == nil {
		d.disk, err = newDisk(dir)
	}
	if err == nil {
		d.store, err = store.Open(dir, store.Options{Now: now, Rand: random, Disk: d.disk})
	}
	if err == nil {
		d.look, err = store.Open(dir, store.Options{Now: now, Disk: readOnly{}})
	}
	return d, err
}

// violation notes the first thing that must not be.
func (d *device) violation(format string, args ...any) {
	if d.broken == "" {
		d.broken = fmt.Sprintf(format, args...)
	}
}

// live runs a history and then the undisturbed end, and tells what was violated, "" for nothing.
func (d *device) live(h history) string {
	for _, s := range h.steps {
		d.step(s)
		if d.broken != "" {
			return fmt.Sprintf("step %d: %s", s.number, d.broken)
		}
	}
	d.heal()
	if d.broken != "" {
		return "the undisturbed end: " + d.broken
	}
	return ""
}

// An outcome is what came of a step's operation.
type outcome struct {
	report updater.Report
	err    error
	ended  bool // it returned; else the process died in it
	panics string
	net    *network
}

// step does one step and has the oracle look at it.
func (d *device) step(s step) {
	tr := d.g.trees[s.tree]
	d.now = clocks[s.clock](tr.at.Add(time.Duration(s.hours) * time.Hour))
	for _, a := range s.before {
		d.act(a, tr)
	}
	before := d.observe()
	sure := d.sure()
	net := &network{g: d.g, sources: s.sources, told: make([]int, len(s.sources)), whole: map[string]int{}}
	d.disk.begin(s.fault, net.die)
	if d.sabot != nil {
		d.sabot(d)
	}
	o := d.run(s, net, before)
	fired, dead, changes := d.disk.end()
	if o.panics != "" {
		d.violation("I8: panic: %s", o.panics)
		return
	}
	if o.ended && !dead {
		d.truthful(s, o)
	}
	cut := s.cut != 0 && (dead || s.fault.how == "")
	if cut {
		if err := d.disk.cut(s.cut); err != nil {
			d.violation("the test itself: %v", err)
		}
	}
	after := d.observe()
	d.judge(s, before, after, sure, o, verdictOn{fired: fired, dead: dead || !o.ended, cut: cut})
	d.keep()
	d.remember(s)
	fmt.Fprintf(&d.trace, "   → %s, %s (%s)%s; %d changes%s\n", after, o.report.Result, kind(o.err), map[bool]string{true: " died"}[dead || !o.ended],
		changes, map[bool]string{true: ", fault at " + d.disk.last}[fired])
}

// die has the network forget the process.
func (n *network) die() {
	n.mu.Lock()
	n.dead = true
	n.mu.Unlock()
}

// run carries out the operation on a goroutine of its own, which a dying process ends.
func (d *device) run(s step, net *network, before seen) (o outcome) {
	o.net = net
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				o.panics = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
		}()
		o.report, o.err = d.operate(s, net, before)
		o.ended = true
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		return outcome{net: net, panics: "the step does not end"}
	}
	return o
}

func (d *device) operate(s step, net *network, before seen) (updater.Report, error) {
	switch s.op {
	case "update", "check":
		return d.update(s, net, before)
	}
	return updater.Report{}, d.local(s.op)
}

// local is an operation of a user at the device.
func (d *device) local(op string) error {
	lock, err := d.store.Lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	switch op {
	case "rollback":
		_, err = d.store.Rollback(false)
	case "hold":
		err = d.store.SetHold()
	case "release-hold":
		err = d.store.ReleaseHold()
	}
	return err
}

func (d *device) update(s step, net *network, before seen) (updater.Report, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	u, err := d.updater(net, func(name string) {
		if name != s.stop.step {
			return
		}
		if n++; n == s.stop.nth {
			d.interrupt(s, cancel, before)
		}
	})
	if err != nil {
		return updater.Report{}, err
	}
	d.updates++
	return u.Update(ctx, updater.Options{Variant: s.variant, Check: s.op == "check"})
}

func (d *device) updater(net *network, step func(string)) (*updater.Updater, error) {
	c := updater.Config{Store: d.store, Now: func() time.Time { return d.now }, Random: func() float64 { return 0.5 },
		Transport: net, Step: step, RateLimit: -1, UserAgent: "history", Limits: updater.Limits{
			Header: time.Minute, Idle: time.Minute, RetryWait: 1, RetryWaitMax: 1, RetryAfter: 1}}
	for i := range net.sources {
		c.Sources = append(c.Sources, updater.Source{URL: fmt.Sprintf("http://%d.test", i)})
	}
	return updater.New(c)
}

// interrupt is what happens in the midst of an update.
func (d *device) interrupt(s step, cancel func(), before seen) {
	switch s.stop.what {
	case "dies":
		d.disk.kill()
	case "cancelled":
		cancel()
	case "reader":
		if now := d.observe(); now.err != nil && before.err == nil {
			d.violation("I7: a reader before %s has %v", s.stop.step, now.err)
		}
	case "second update":
		if s.stop.step == "hooks" { // the lock is free again
			return
		}
		net := &network{g: d.g, sources: s.sources, told: make([]int, len(s.sources)), whole: map[string]int{}}
		u, err := d.updater(net, func(string) {})
		if err == nil {
			_, err = u.Update(context.Background(), updater.Options{})
		}
		if !errors.Is(err, store.ErrLocked) || net.requests > 0 {
			d.violation("I8: a second update gives %v after %d requests, want that it is locked", err, net.requests)
		}
	}
}

// remember notes which sources may have said to come back later.
func (d *device) remember(s step) {
	for i, src := range s.sources {
		if strings.HasPrefix(src.lie, "429 ") || strings.HasPrefix(src.lie, "503 ") {
			d.told[i] = append(d.told[i], d.now)
		}
	}
}

// cooling tells whether a source may be left alone now.
func (d *device) cooling(i int) bool {
	for _, at := range d.told[i] {
		if d.now.Before(at.Add(25*time.Hour)) && at.Before(d.now.Add(25*time.Hour)) {
			return true
		}
	}
	return false
}

// keep stores the present state of the files that an attacker may put back later.
func (d *device) keep() {
	for _, name := range []string{"db/CURRENT", "db/restrictions.json", "trust/floors.json", "trust/verified.json"} {
		b, err := os.ReadFile(filepath.Join(d.dir, filepath.FromSlash(name)))
		if err != nil || string(b) == string(d.spoil[name]) {
			continue
		}
		if l := d.olds[name]; len(l) == 0 || string(l[len(l)-1]) != string(b) {
			d.olds[name] = append(l, b)
		}
	}
}
