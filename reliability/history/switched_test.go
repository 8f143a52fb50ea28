//go:build check

package history

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
			path, err := filepath.Abs(filepath.Join("..", "..", filepath.FromSlash(c.file)))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), c.on); n != 1 {
				t.Fatalf("%s has the guard %d times, want once: it has moved, follow it", c.file, n)
			}
			dir := t.TempDir()
			changed, overlay := filepath.Join(dir, filepath.Base(path)), filepath.Join(dir, "overlay.json")
			j, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
			if err == nil {
				err = os.WriteFile(changed, []byte(strings.Replace(string(b), c.on, c.off, 1)), 0o600)
			}
			if err == nil {
				err = os.WriteFile(overlay, j, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "test", "-tags=check", "-short", "-vet=off", "-count=1", "-overlay="+overlay, "-run=^TestHistories$", ".")
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
