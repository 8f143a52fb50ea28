package pattern_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
)

// clamscan gives the path of the program, or skips the test.
func clamscan(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("clamscan")
	if err != nil {
		t.Skip("clamscan is not installed: what ClamAV itself does is not compared here")
	}
	return path
}

// loads tells whether clamscan takes a database with these lines, and how many signatures it then knows.
func loads(t *testing.T, program, extension string, lines ...string) (signatures int, ok bool) {
	t.Helper()
	dir := t.TempDir()
	db := filepath.Join(dir, "test."+extension)
	object := filepath.Join(dir, "object")
	if err := os.WriteFile(db, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(object, []byte{0, 1, 2, 3}, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "-d", db, object).CombinedOutput()
	m := regexp.MustCompile(`Known viruses: (\d+)`).FindSubmatch(out)
	if err != nil || m == nil {
		return 0, false
	}
	fmt.Sscan(string(m[1]), &signatures)
	return signatures, true
}

// What we take, clamscan takes; what we call malformed, clamscan refuses.
func TestClamscanTakesAndRefusesTheSameLines(t *testing.T) {
	program := clamscan(t)
	rounds := 400
	for _, extension := range []string{"ndb", "ldb"} {
		t.Run(extension, func(t *testing.T) {
			w := patterntest.New(11)
			var taken []string
			kinds := map[pattern.Kind]int{}
			refused := 0
			for i := range rounds {
				alternate(w, i)
				target := []pattern.Target{0, 1, 2, 6, 4}[w.IntN(5)]
				name := fmt.Sprintf("T%d", i)
				line := w.BodyLine(name, target)
				if extension == "ldb" {
					line = w.LogicalLine(name, target)
				}
				if i%3 > 0 {
					line = w.Mutate(line)
				}
				if strings.HasPrefix(line, "#") || strings.HasPrefix(line, name) == false {
					continue
				}
				err := parseLine(extension, line)
				kinds[kindOf(err)]++
				if err == nil && !strings.Contains(line, "Engine:51-255,") && extension == "ldb" {
					continue // a range that was changed may end below the level of the program, which is above ours
				}
				switch kindOf(err) {
				case 0:
					taken = append(taken, line)
				case pattern.KindMalformed:
					if refused++; refused > 120 {
						continue
					}
					if n, ok := loads(t, program, extension, line); ok {
						t.Errorf("clamscan loads %d signatures of %q, we say: %v", n, line, err)
					}
				}
			}
			t.Logf("kinds: %v", kinds)
			if len(taken) < rounds/5 || kinds[pattern.KindMalformed] < rounds/20 {
				t.Errorf("only %d lines were taken and %d refused: the lines test little", len(taken), kinds[pattern.KindMalformed])
			}
			if n, ok := loads(t, program, extension, taken...); ok && n == len(taken) {
				return
			}
			for _, line := range taken {
				if n, ok := loads(t, program, extension, line); !ok || n != 1 {
					t.Errorf("clamscan loads %d signatures of %q, which we take", n, line)
				}
			}
		})
	}
}

// The lines of our own tables are judged by clamscan as well.
func TestClamscanAgreesWithTheTables(t *testing.T) {
	program := clamscan(t)
	for extension, table := range map[string][]spelling{"ndb": bodySpellings(), "ldb": logicalSpellings()} {
		var lines []string
		for i, c := range table {
			if c.want != "" {
				lines = append(lines, fmt.Sprintf("B%d", i)+c.line[1:])
			}
		}
		if n, ok := loads(t, program, extension, lines...); !ok || n != len(lines) {
			t.Errorf("clamscan loads %d of %d lines of %s", n, len(lines), extension)
		}
	}
	for _, c := range refusals() {
		extension := "ndb"
		if strings.Contains(c.line, ";") {
			extension = "ldb"
		}
		if n, ok := loads(t, program, extension, c.line); ok && c.want == pattern.KindMalformed {
			t.Errorf("clamscan loads %d signatures of %q, which we call malformed", n, c.line)
		} else if !ok && (c.want == pattern.KindTarget || c.want == pattern.KindAttribute) {
			t.Errorf("clamscan refuses %q, which we say that it passes over", c.line)
		} else if !ok && c.want == pattern.KindLoose {
			t.Logf("clamscan refuses %q as well, which we call loose", c.line)
		}
	}
}

// found runs clamscan over files and gives the names that it reports for each of them.
func found(t *testing.T, program string, db map[string]string, files [][]byte) []map[string]bool {
	t.Helper()
	dir := t.TempDir()
	objects := filepath.Join(dir, "objects")
	if err := os.Mkdir(objects, 0o700); err != nil {
		t.Fatal(err)
	}
	args := []string{"--allmatch", "--no-summary", "--infected"}
	for extension, text := range db {
		path := filepath.Join(dir, "test."+extension)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-d", path)
	}
	for i, b := range files {
		if err := os.WriteFile(filepath.Join(objects, fmt.Sprint(i)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var errors bytes.Buffer
	cmd := exec.Command(program, append(args, objects)...)
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() > 1 {
		t.Fatalf("clamscan: %v: %s", err, errors.String())
	}
	all := make([]map[string]bool, len(files))
	for i := range all {
		all[i] = map[string]bool{}
	}
	for _, line := range strings.Split(string(out), "\n") {
		m := regexp.MustCompile(`objects/(\d+): (\S+)\.UNOFFICIAL FOUND$`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var i int
		fmt.Sscan(m[1], &i)
		all[i][m[2]] = true
	}
	return all
}

// What the reference matcher finds in a file, clamscan finds, and the other way round.
func TestClamscanFindsTheSame(t *testing.T) {
	program := clamscan(t)
	for _, c := range []struct {
		name   string
		target pattern.Target
		seed   uint64
	}{{"any", pattern.TargetAny, 21}, {"elf", pattern.TargetELF, 22}, {"pe", pattern.TargetPE, 23}} {
		t.Run(c.name, func(t *testing.T) {
			w := patterntest.New(c.seed)
			db := map[string]string{}
			records := map[string]pattern.Record{}
			var files []pattern.File
			var owner []string // the signature that a file was made for
			for i := 0; len(records) < compared; i++ {
				alternate(w, i)
				name := fmt.Sprintf("T%d", i)
				extension, line := "ndb", w.BodyLine(name, c.target)
				if i%3 > 0 {
					extension, line = "ldb", w.LogicalLine(name, c.target)
				}
				r, err := parseRecord(extension, line)
				if err != nil || slices.ContainsFunc(patterntest.Subsignatures(r), func(s pattern.Subsignature) bool { return patterntest.Peculiar(&s) != "" }) {
					continue
				}
				records[name] = r
				db[extension] += line + "\n"
				for range 3 {
					files = append(files, w.Some(c.target, patterntest.Subsignatures(r)))
					owner = append(owner, name)
				}
			}
			var data [][]byte
			for _, f := range files {
				data = append(data, f.Data)
			}
			// What clamscan takes for text it scans a second time in another form, where that which must be absent is absent.
			db["ldb"] += fmt.Sprintf("Again;Engine:51-255,Target:0;0=0;0:%x\n", files[0].Data[:6])
			theirs := found(t, program, db, data)
			hits, wrong, again := 0, 0, 0
			for i := range files {
				if theirs[i]["Again"] {
					again++
					continue
				}
				for _, name := range slices.Sorted(maps.Keys(records)) {
					r := records[name]
					if name != owner[i] && w.IntN(4) > 0 { // of the others, a few will do
						continue
					}
					ours := matches(r, &files[i])
					if ours && name == owner[i] {
						hits++
					}
					if ours != theirs[i][name] {
						if wrong++; wrong < 12 {
							t.Errorf("file %d: %s: ours %v, clamscan's %v; counts %v\n%s\n%x", i, name, ours, theirs[i][name], counts(r, &files[i]), textOf(r), files[i].Data)
						}
					}
				}
			}
			t.Logf("%d signatures, %d files, %d of them scanned twice, %d hits of the signature that the file was made for, %d differences", len(records), len(files), again, hits, wrong)
			if hits < len(files)/4 || again > len(files)/4 {
				t.Errorf("only %d hits in %d files: the files test little", hits, len(files))
			}
		})
	}
}

func matches(r pattern.Record, f *pattern.File) bool {
	if r.Body != nil {
		return r.Body.Match(f)
	}
	ok, _ := r.Logical.Match(f)
	return ok
}

func counts(r pattern.Record, f *pattern.File) []int {
	if r.Body != nil {
		return nil
	}
	_, n := r.Logical.Match(f)
	return n
}
