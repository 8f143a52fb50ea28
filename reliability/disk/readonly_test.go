//go:build check && linux

package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
)

// phases at which the file system becomes read-only: before the run, and before steps of it at which no file is open
// for writing (the kernel refuses it otherwise).
var phases = []string{"", "restrictions", "fetch", "apply", "self-test", "activate", "accept", "history"}

// TestReadOnly is row A7: the file system becomes read-only before the update or in the middle of it. The update ends with
// exit code 15 unless it had done all by then, and the program's own scan and status go on.
func TestReadOnly(t *testing.T) {
	needRoot(t)
	program := filepath.Join(t.TempDir(), "avdb")
	build := exec.Command("go", "build", "-o", program, "example.org/avdb/cmd/avdb")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	y := newTally(t, "A7 read-only before and in the middle")
	for _, s := range scenarios {
		if s.name == "first install" || s.name == "rollback" {
			continue // nothing to scan with; no steps
		}
		t.Run(s.name, func(t *testing.T) {
			sc := newScenario(t, s.name, s.build)
			for i, phase := range phases {
				name := phase
				if phase == "" {
					name = "before"
				}
				cell := fmt.Sprintf("%s %s", s.name, name)
				if y.wants(cell, i, 1) {
					y.count(t, cell, sc.readOnly(t, program, phase))
				}
			}
		})
	}
}

// readOnly runs the order on a disk that becomes read-only before a step, or before all of them if that is "".
func (sc *scenario) readOnly(t *testing.T, program, phase string) error {
	dir := tmpfs(t, 64<<20)
	must(t, sc.begin.writeTo(dir))
	o := sc.order
	o.State = stateIn(dir)
	must(t, o.setUpSources(sc.origin.FileURL()))
	flip := func(flags uintptr) error { return syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, "") }
	var failed error
	reached := phase == ""
	if reached {
		must(t, flip(syscall.MS_RDONLY))
	}
	o.step = func(name string) {
		if name == phase && !reached {
			reached, failed = true, flip(syscall.MS_RDONLY)
		}
	}
	a := o.carryOut()
	switch {
	case failed != nil:
		return fmt.Errorf("remount: %w", failed)
	case a.Panic != "":
		return errors.New(a.Panic)
	case !reached && a.Done:
		return nil // a switch of variants has no such step
	case a.Code != 0 && a.Code != 15: // 0 is for a run that had done all; see below
		return fmt.Errorf("exit code %d, want 15: %s", a.Code, a.Error)
	}
	is, err := sc.inspect(t, o.State)
	if err != nil {
		return fmt.Errorf("exit code %d, read-only: %w", a.Code, err)
	}
	if a.Done {
		if err := sc.isDone(o.State, is); err != nil {
			return fmt.Errorf("exit code 0, and %w", err)
		}
	}
	if err := sc.programGoesOn(t, program, o.State, is); err != nil {
		return fmt.Errorf("read-only: %w", err)
	}
	if err := flip(0); err != nil {
		return err
	}
	return sc.judgeIn(t, o.State, a.Done)
}

// programGoesOn runs update, status and scan of the program while nothing can be written. The update wants the newest release in
// full; where that is installed and its floors are kept there is nothing to write, and it says so.
func (sc *scenario) programGoesOn(t *testing.T, program, state string, is fixtures.Installed) error {
	want := 15
	if is.Version == sc.new.Version && variantOf(is) == dbformat.VariantFull && sc.raised(state) == nil {
		want = 0
	}
	avdb := func(args ...string) (string, int) {
		cmd := exec.Command(program, append([]string{"--state", state}, args...)...)
		out, err := cmd.CombinedOutput()
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			return string(out), e.ExitCode()
		}
		must(t, err)
		return string(out), 0
	}
	if out, code := avdb("update"); code != want {
		return fmt.Errorf("update: exit code %d with %s, want %d: %s", code, is, want, out)
	}
	want = 0
	if proved(state) != nil {
		want = 15 // a forged set, which this disk lets nobody replace, is never told to be fine
	}
	out, code := avdb("status", "--json")
	var status struct{ Version uint64 }
	if end := strings.LastIndex(out, "}"); end >= 0 { // an error is told behind the document
		out = out[:end+1]
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || code != want || status.Version != is.Version {
		return fmt.Errorf("status: exit code %d, want %d, release %d, want %d: %s", code, want, status.Version, is.Version, out)
	}
	file := filepath.Join(t.TempDir(), "clean")
	must(t, os.WriteFile(file, []byte("nothing bad"), 0o600))
	if out, code := avdb("scan", "-v", file); code != 0 || !strings.Contains(out, "OK") {
		return fmt.Errorf("scan: exit code %d: %s", code, out)
	}
	return nil
}
