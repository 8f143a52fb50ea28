//go:build check && linux

package local

import (
	"bufio"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/fixtures"
)

// TestUpdatesAtOnce: 2, 8 and 32 updates of one device start together. One does the work; each other one finds the lock taken and
// leaves, or comes when all is done. Nothing is downloaded twice.
func TestUpdatesAtOnce(t *testing.T) {
	rounds := 5
	if all() {
		rounds = 100
	}
	base := newWorld(t)
	base.own()
	total := 0
	var slowest time.Duration
	for _, n := range []int{2, 8, 32} {
		for range rounds {
			total++
			w := base.copy(t)
			w.own()
			base.ForgetRequests()
			runs := make([]run, n)
			var wg sync.WaitGroup
			for i := range runs {
				wg.Go(func() { runs[i] = w.update() })
			}
			wg.Wait()
			updated := 0
			for _, r := range runs {
				switch {
				case r.code == 0 && r.report.Result == "updated":
					updated++
				case r.code == 0 && r.report.Result == "current":
				case r.code == 11:
					slowest = max(slowest, r.took)
				default:
					t.Errorf("exit %d, result %q\n%s", r.code, r.report.Result, r.stderr)
				}
			}
			if updated != 1 {
				t.Errorf("%d of %d updates did the work", updated, n)
			}
			seen := map[string]int{}
			for _, path := range base.LayerRequests() {
				seen[path]++
			}
			for path, times := range seen {
				if times > 1 {
					t.Errorf("%s was asked for %d times", path, times)
				}
			}
			if i := w.installed(); i.Version != 2 {
				t.Errorf("installed is %v", i)
			}
		}
	}
	t.Logf("the slowest that left because of the lock took %v, with up to 32 programs starting on this machine at once", slowest.Round(time.Millisecond))
	summary(t, "A10 updates at once: %d rounds", total)
}

// TestHolderKilled: the lock of an update that is killed is free at once.
func TestHolderKilled(t *testing.T) {
	w := newWorld(t)
	w.Tamper("/targets/light/", fixtures.Stall(10))
	w.ForgetRequests() // those of release 1
	w.own()
	c := exec.Command(avdb, "--state", w.e.Dir, "-v", "update")
	c.Env = []string{"HOME=/nonexistent"}
	errs, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() }) // where the test ends early
	go func() {                                // so that it never waits for us
		for s := bufio.NewScanner(errs); s.Scan(); {
			_ = strings.TrimSpace(s.Text())
		}
	}()
	for deadline := time.Now().Add(2 * time.Minute); len(w.LayerRequests()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the update asked for no layer")
		}
	}
	w.own()
	if r := w.update(); r.code != 11 {
		t.Errorf("beside a running update: exit %d, want 11\n%s", r.code, r.stderr)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	w.Heal()
	w.own()
	if r := w.update(); r.code != 0 || r.report.To != 2 {
		t.Errorf("right after it was killed: exit %d, release %d\n%s", r.code, r.report.To, r.stderr)
	}
}
