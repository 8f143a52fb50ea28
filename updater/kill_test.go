package updater_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/publisher"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

const childEnv = "AVDB_UPDATER_TEST_CHILD"

// An order tells the child process what to do: update, and die before a step comes for the nth time.
type order struct {
	State string
	Now   time.Time
	Step  string
	Nth   int
}

// child updates and kills itself, as kill -9 would, at the chosen place. It ends with 3 if the place never came.
func child() int {
	var o order
	err := json.Unmarshal([]byte(os.Getenv(childEnv)), &o)
	if err != nil {
		panic(err)
	}
	now := func() time.Time { return o.Now }
	s, err := store.Open(o.State, store.Options{Now: now})
	if err != nil {
		panic(err)
	}
	seen := 0
	u, err := updater.New(updater.Config{Store: s, Now: now, Step: func(name string) {
		if name != o.Step {
			return
		}
		if seen++; seen == o.Nth {
			self, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = self.Kill()
			}
			if err != nil {
				panic(err)
			}
			select {}
		}
	}})
	if err != nil {
		panic(err)
	}
	if _, err := u.Update(context.Background(), updater.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 3
}

// kill runs an update that is killed, and tells whether it got that far.
func kill(t *testing.T, o order) bool {
	t.Helper()
	b, err := json.Marshal(o)
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	out, err := cmd.CombinedOutput()
	e, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case !ok:
		t.Fatalf("%s %d: %v, %s", o.Step, o.Nth, err, out)
	case e.ExitCode() == 3:
		return false
	case e.ExitCode() >= 0 && os.PathSeparator == '/':
		t.Fatalf("%s %d: exit %d: %s", o.Step, o.Nth, e.ExitCode(), out)
	}
	return true
}

// A process that is killed before any step of the cycle leaves the old generation or the new one, whole, and no
// lock; the next run ends in the new one and leaves nothing behind.
func TestKilledAtEachStep(t *testing.T) {
	writing := []string{"fetch", "apply", "finish", "activate", "accept"}
	for _, c := range []struct {
		name  string
		steps []string       // before which it is killed
		from  []string       // what may be found after the kill
		ready func(w *world) // brings the endpoint to where the update begins
	}{
		{"first install", writing, []string{"none", "1 full"}, func(w *world) {
			w.publish(signatures(0, 600), withSet(w.t))
		}},
		{"release by deltas", updater.Steps(), []string{"1 full", "2 full"}, func(w *world) {
			w.publish(signatures(0, 600))
			w.mustUpdate(updater.Options{})
			w.publish(signatures(0, 601), withSet(w.t))
		}},
		{"switch to full", writing, []string{"1 light", "1 full"}, func(w *world) {
			w.publish(signatures(0, 600))
			w.mustUpdate(updater.Options{Variant: light})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.ready(w)
			begin := w.store.Dir()
			var mu sync.Mutex
			hits := map[string]int{}
			t.Cleanup(func() {
				var list []string
				for _, step := range c.steps {
					if hits[step] == 0 {
						t.Errorf("step %s was never reached", step)
					}
					list = append(list, fmt.Sprintf("%s %d", step, hits[step]))
				}
				t.Logf("killed before: %s", strings.Join(list, ", "))
			})
			for _, step := range c.steps {
				t.Run(step, func(t *testing.T) {
					t.Parallel()
					for nth := 1; killedAndHealed(t, *w, begin, order{Now: w.now, Step: step, Nth: nth}, c.from); nth++ {
						mu.Lock()
						hits[step]++
						mu.Unlock()
					}
				})
			}
		})
	}
}

// killedAndHealed kills one update of a copy of the endpoint in begin, and looks at what is left and at the next run. It
// tells whether the update got as far as it was to be killed.
func killedAndHealed(t *testing.T, w world, begin string, o order, states []string) bool {
	t.Helper()
	w.t = t
	o.State = filepath.Join(t.TempDir(), "state")
	must(t, os.CopyFS(o.State, os.DirFS(begin)))
	var err error
	w.store, err = store.Open(o.State, store.Options{Now: func() time.Time { return o.Now }})
	must(t, err)
	if !kill(t, o) {
		return false
	}
	if got := w.installed(); !slices.Contains(states, got) {
		t.Errorf("killed at %s %d: %q is installed, want one of %q", o.Step, o.Nth, got, states)
	}
	r := w.mustUpdate(updater.Options{})
	w.mustBe(states[len(states)-1])
	if l := w.leftovers(); len(l) != 0 {
		t.Errorf("killed at %s %d: the next run (%s) leaves %v", o.Step, o.Nth, show(r), l)
	}
	return true
}

func withSet(t *testing.T) func(*publisher.Options) {
	file := restrictionFile(t, 1)
	return func(o *publisher.Options) { o.Restrictions = file }
}
