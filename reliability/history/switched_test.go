//go:build check

package history

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"example.org/avdb/fixtures"
)

// switched are guards in the code itself: a line, and the same line without its effect. Histories must find that it is
// gone, by the invariant named, within so many of them.
var switched = []struct {
	guard, file, on, off string
	want                 string
	within               int
}{
	{"files are synced before they are renamed", "store/store.go", "err = f.Sync()", "err = nil", "I2", 10},
}

// With a guard of the code switched off, histories fail.
func TestGuardsAreNeeded(t *testing.T) {
	for _, c := range switched {
		t.Run(c.guard, func(t *testing.T) {
			cmd := exec.Command("go", "test", "-tags=check", "-short", "-vet=off", "-count=1", "-timeout=30m", "-overlay="+fixtures.Overlay(t, fixtures.Edit{c.file, c.on, c.off}), "-run=^TestHistories$", ".")
			cmd.Env = append(os.Environ(), "AVDB_SEED=", fmt.Sprintf("AVDB_CELLS=%d", c.within))
			out, err := cmd.CombinedOutput()
			found := regexp.MustCompile(`seed (\d+): [^:]*: (I\d): .*`).FindSubmatch(out)
			switch {
			case err == nil:
				t.Errorf("%d histories do not notice", c.within)
			case found == nil:
				t.Errorf("the histories could not be run:\n%s", out)
			case !regexp.MustCompile("^" + c.want + "$").Match(found[2]):
				t.Errorf("want %s, found is %s", c.want, found[0])
			default:
				t.Logf("found by %s", found[0])
			}
		})
	}
}
