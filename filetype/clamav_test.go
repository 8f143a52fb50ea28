package filetype

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clamscan is the program that the rules of this package were observed with; without it the tests that compare are skipped.
func clamscan(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("clamscan")
	if err != nil {
		t.Skip("NOT COMPARED WITH CLAMAV: clamscan is not installed")
	}
	version, err := exec.Command(path, "--version").Output()
	if err != nil || !strings.HasPrefix(string(version), "ClamAV 1.4.") {
		t.Skipf("NOT COMPARED WITH CLAMAV: want 1.4, have %q, %v", version, err)
	}
	return path
}

// run starts clamscan over the files with a database of the given files, and returns what it printed, errors in their place. That it finds something is
// no error of the test.
func run(t *testing.T, database map[string]string, files []string, args ...string) []byte {
	t.Helper()
	program, dir := clamscan(t), t.TempDir()
	for name, content := range database {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := filepath.Join(t.TempDir(), "files")
	if err := os.WriteFile(list, []byte(strings.Join(files, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // it never ends with some archives that are damaged
	defer cancel()
	args = append(args, "--no-summary", "--stdout", "--tempdir="+t.TempDir(), "--database="+dir, "--file-list="+list)
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if e, ok := err.(*exec.ExitError); err != nil && (!ok || e.ExitCode() != 1) {
		t.Fatalf("clamscan: %v\n%s", err, tail(out.Bytes()))
	}
	return out.Bytes()
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

// lines calls f for each line.
func lines(b []byte, f func(line string)) {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		f(s.Text())
	}
}

// hits is which signatures clamscan finds in which file, all of them.
func hits(t *testing.T, database map[string]string, files []string) map[string]map[string]bool {
	t.Helper()
	found := map[string]map[string]bool{}
	for _, f := range files {
		found[f] = map[string]bool{}
	}
	lines(run(t, database, files, "--allmatch", "--heuristic-alerts=no", "--scan-archive=no"), func(line string) {
		path, rest, ok := strings.Cut(line, ": ")
		name, hit := strings.CutSuffix(rest, ".UNOFFICIAL FOUND")
		if ok && hit && found[path] != nil {
			found[path][name] = true
		}
	})
	return found
}

// types is what clamscan takes files for, without the prefix of its names; a file that it does not look at is missing.
func types(t *testing.T, files []string) map[string]string {
	t.Helper()
	const root = `"RootFileType":"CL_TYPE_`
	known := map[string]bool{}
	for _, f := range files {
		known[f] = true
	}
	all, seen, last := map[string]string{}, 0, ""
	database := map[string]string{"none.ndb": "None:1:*:" + strings.Repeat("deadbeef", 8) + "\n"}
	cmd := []string{"--debug", "--gen-json", "--max-recursion=2", "--heuristic-alerts=no"}
	lines(run(t, database, files, cmd...), func(line string) {
		if _, rest, ok := strings.Cut(line, root); ok {
			last, _, _ = strings.Cut(rest, `"`)
		}
		if path, _, ok := strings.Cut(line, ": "); ok && known[path] {
			if last != "" {
				all[path] = last
			}
			last = ""
			seen++
		}
	})
	if seen != len(files) {
		t.Fatalf("clamscan said something about %d of %d files", seen, len(files))
	}
	return all
}

// write puts contents into files of a new folder and returns their paths, by index.
func write(t *testing.T, contents [][]byte) []string {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for i, c := range contents {
		f := filepath.Join(dir, fmt.Sprintf("%05d", i))
		if err := os.WriteFile(f, c, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}
