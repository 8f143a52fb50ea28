//go:build check && linux

package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/updater"
)

// nobody is a user that owns nothing here, stranger another one.
const (
	nobody   = 65534
	stranger = 54321
)

// A run is what one run of the program did.
type run struct {
	args   []string
	code   int
	stdout string
	stderr string
	took   time.Duration
	report updater.Report // of update --json
}

// documented are the exit codes that the contract has for what these tests do.
var documented = map[int]bool{0: true, 1: true, 2: true, 10: true, 11: true, 12: true, 13: true, 15: true}

// avdb is the program, built once for all tests of the package.
var avdb string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "avdb-local")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		avdb = filepath.Join(dir, "avdb")
		if out, err := exec.Command("go", "build", "-o", avdb, "example.org/avdb/cmd/avdb").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// exec runs the program on a state folder as user uid (where the tests run as root), at most for a time.
func execute(t *testing.T, limit time.Duration, uid int, umask string, args ...string) run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, avdb, args...)
	if umask != "" {
		c = exec.CommandContext(ctx, "sh", append([]string{"-c", "umask " + umask + `; exec "$0" "$@"`, avdb}, args...)...)
	}
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	c.Env = []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}
	c.Dir = "/"
	c.WaitDelay = time.Minute
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	r := run{args: args}
	begin := time.Now()
	err := c.Run()
	r.took = time.Since(begin)
	r.stdout, r.stderr = out.String(), errs.String()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		t.Errorf("%s hangs: killed after %v", strings.Join(args, " "), limit)
	}
	if strings.Contains(r.stderr, "goroutine ") || strings.Contains(r.stderr, "panic:") {
		t.Errorf("%s: panic\n%s", strings.Join(args, " "), r.stderr)
	}
	if len(args) > 0 && args[len(args)-1] == "--json" {
		_ = json.Unmarshal(out.Bytes(), &r.report) // other documents have none of its fields
	}
	return r
}

// A world is a publisher with two releases, and a device on the first whose folder belongs to nobody.
type world struct {
	t *testing.T
	*fixtures.Publisher
	home  string
	e     *fixtures.Endpoint
	known map[fixtures.Installed]bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, home: openTempDir(t), known: map[fixtures.Installed]bool{{}: true}}
	w.Publisher = fixtures.NewPublisher(t, fixtures.PublisherOptions{Start: time.Now().Add(-24 * time.Hour)})
	w.release(1)
	w.e = fixtures.NewEndpoint(t, filepath.Join(w.home, "state"), w.Root(), nil, w.URL())
	w.mustReach(1)
	w.release(2)
	return w
}

// openTempDir is a temporary folder that every user may enter.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "avdb-local")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (w *world) release(n int) {
	w.t.Helper()
	w.Advance(time.Hour)
	set := fmt.Sprintf(`{"schema":1,"epoch":%d,"records":[{"id":"r%d","action":"disable","expires":%q}]}`, n, n,
		time.Now().Add(48*time.Hour).UTC().Format("2006-01-02T15:04:05Z"))
	r := w.Publish(fixtures.Samples("sample", 200+n), w.WithRestrictions(set))
	w.known[fixtures.Installed{Version: r.Version, Light: r.Layers.Light.Digest, Rest: r.Layers.Rest.Digest}] = true
}

// own gives the state folder to nobody.
func (w *world) own() {
	w.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	err := filepath.WalkDir(w.home, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, nobody, nobody)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) update() run {
	w.t.Helper()
	return execute(w.t, 2*time.Minute, nobody, "", "--state", w.e.Dir, "update", "--json")
}

// mustReach updates in this process.
func (w *world) mustReach(version uint64) {
	w.t.Helper()
	r, err := w.e.Update(updater.Options{})
	if err != nil || r.To != version {
		w.t.Fatalf("honest update: to %d, %v; want %d", r.To, err, version)
	}
}

func (w *world) installed() fixtures.Installed {
	w.t.Helper()
	i, err := w.e.Installed()
	if err != nil {
		w.t.Errorf("the installed generation is not sound: %v", err)
	}
	if !w.known[i] {
		w.t.Errorf("%v is installed, which the publisher never made", i)
	}
	return i
}

// all tells whether every cell is asked for, not only CI's sample.
func all() bool { return os.Getenv("AVDB_CELLS") == "all" }

func summary(t *testing.T, format string, args ...any) {
	t.Helper()
	verdict := ", 0 wrong"
	if t.Failed() {
		verdict = ", wrong: see above"
	}
	t.Logf(format+verdict, args...)
}

// copy is the world with a copy of its device, in a folder of its own.
func (w *world) copy(t *testing.T) *world {
	t.Helper()
	c := *w
	c.t, c.home = t, openTempDir(t)
	dir := filepath.Join(c.home, "state")
	if out, err := exec.Command("cp", "-a", w.e.Dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	c.e = fixtures.OpenEndpoint(t, dir, nil)
	return &c
}
