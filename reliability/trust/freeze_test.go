//go:build check

package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// A mirror that is frozen, or a publisher that has stopped to sign, is told by the program itself: update ends with 12 and the date, status
// names the date and asks for attention, scan goes on.
func TestFreezeIsTold(t *testing.T) {
	program := filepath.Join(t.TempDir(), "avdb")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", program, "example.org/avdb/cmd/avdb").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	const day = 24 * time.Hour
	rows := []struct {
		name   string
		frozen time.Duration
		update int // exit code
		check  int // of status --check
	}{
		{"two days without news", 2 * day, 0, 0},
		{"a day after", signing.LifeTimestamp + day, 12, 1},
		{"a day after the snapshot, too", signing.LifeSnapshot + day, 12, 1},
		{"a day after all roles", signing.LifeDelegated + day, 12, 1},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			begin := time.Now().Add(-r.frozen)
			p := fixtures.NewPublisher(t, fixtures.PublisherOptions{Start: begin})
			p.Publish(fixtures.Samples("sample", 10))
			sample := filepath.Join(t.TempDir(), "sample")
			if err := os.WriteFile(sample, []byte("sample 3"), 0o600); err != nil {
				t.Fatal(err)
			}
			e := fixtures.NewEndpoint(t, filepath.Join(t.TempDir(), "state"), p.Root(), p.Now, p.URL())
			if _, err := e.Update(updater.Options{}); err != nil {
				t.Fatal(err)
			}
			run := func(want int, args ...string) string {
				t.Helper()
				c := exec.Command(program, append([]string{"--state", e.Dir}, args...)...)
				var out bytes.Buffer
				c.Stdout, c.Stderr = &out, &out
				err := c.Run()
				code := 0
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					code = exit.ExitCode()
				} else if err != nil {
					t.Fatal(err)
				}
				if code != want {
					t.Errorf("%s: exit %d, want %d\n%s", strings.Join(args, " "), code, want, out.String())
				}
				return out.String()
			}
			expired := begin.Add(signing.LifeTimestamp).UTC().Format("2006-01-02")
			if out := run(r.update, "update"); r.update != 0 && !strings.Contains(out, expired) {
				t.Errorf("update does not say when it expired (%s):\n%s", expired, out)
			}
			if out := run(r.check, "status", "--check"); r.check != 0 && !strings.Contains(out, expired) {
				t.Errorf("status does not say when it expired (%s):\n%s", expired, out)
			}
			if out := run(1, "scan", sample); !strings.Contains(out, "Test.sample.3 FOUND") {
				t.Errorf("scan: %s", out)
			}
			var report struct {
				Sources []struct {
					LastError string `json:"last_error"`
				} `json:"sources"`
			}
			if err := json.Unmarshal([]byte(run(0, "status", "--json")), &report); err != nil || len(report.Sources) != 1 {
				t.Errorf("status --json: %v, %+v", err, report)
			} else if told := strings.Contains(report.Sources[0].LastError, expired); told != (r.update != 0) {
				t.Errorf("status --json says of the source: %q", report.Sources[0].LastError)
			}
		})
	}
	t.Cleanup(func() { summary(t, "C7 freezes", len(rows)) })
}
