//go:build check

package damage_test

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

// unguarded runs a test of this folder with lines of the product replaced, each of which must stand in its file once, and gives the output. It
// must fail.
func unguarded(t *testing.T, test string, edits ...[3]string) string {
	t.Helper()
	replace := map[string]string{}
	for _, e := range edits {
		path, err := filepath.Abs(filepath.Join("..", "..", filepath.FromSlash(e[0])))
		if err != nil {
			t.Fatal(err)
		}
		from := path
		if changed, again := replace[path]; again {
			from = changed
		}
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), e[1]); n != 1 {
			t.Fatalf("%s has the guard %d times, want once: it has moved, follow it", e[0], n)
		}
		changed := filepath.Join(t.TempDir(), filepath.Base(path))
		if err := os.WriteFile(changed, []byte(strings.Replace(string(b), e[1], e[2], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[path] = changed
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-vet=off", "-count=1", "-tags=check", "-timeout=5m", "-overlay="+overlay, "-run=^"+test+"$", "-v", ".")
	cmd.Env = append(os.Environ(), "AVDB_CELLS=", "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--- FAIL: "+test) {
		t.Fatalf("%s does not fail without the guard: %v\n%s", test, err, out)
	}
	return string(out)
}

// number is the one in front of words in a test's summary.
func number(t *testing.T, out, words string) (n int) {
	t.Helper()
	m := regexp.MustCompile(`(\d+) ` + words).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no number of %s in\n%s", words, out)
	}
	if _, err := fmt.Sscan(m[1], &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTheOracleSeesWhatGuardsStop: without the comparison of a block with its leaf and of a piece of the index with its CRC, the same
// cells end in silent wrong verdicts, and the tests say so. So they do if an absent block is passed over, or a fault not caught.
func TestTheOracleSeesWhatGuardsStop(t *testing.T) {
	leaf := [3]string{"store/layer.go", "if dbformat.BlockDigest(f.header.Layer, s.ID, i, b) != s.Blocks[i].Digest {", "if len(b) == 1<<30 {"}
	crc := [3]string{"store/index.go", "if castagnoli(p) != f.sums[i] {", "if len(p) == 1<<30 {"}
	damage := []string{"silent wrong verdicts", "crashes"}
	for name, c := range map[string]struct {
		test  string
		least int
		told  []string
		edits [][3]string
	}{
		"no leaf": {"TestA8FlippedBytes", 100, damage, [][3]string{leaf}},
		"no CRC":  {"TestA8FlippedBytes", 5, damage, [][3]string{crc}},
		"an absent block is an empty one": {"TestA8AbsentBlocks", 1, damage, [][3]string{leaf,
			{"store/layer.go", "if !bytes.Equal(k, blockKey(s.ID, j)) {", "if !bytes.Equal(k, blockKey(s.ID, j)) {\ncontinue\n}\nif k == nil {"},
			{"store/layer.go", "if k != nil {\n\t\treturn damaged(f.path, \"holds", "if false {\n\t\treturn damaged(f.path, \"holds"},
		}},
		"a matcher that takes the number of a generation and not its files": {"TestA11ReadersDuringSwaps", 1, []string{"mixed"}, [][3]string{
			{"matcher/matcher.go", "same := g.info.Load().SameContent(&c.Generation)", "same := c.Version > 0"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			out := unguarded(t, c.test, c.edits...)
			n := 0
			for _, words := range c.told {
				n += number(t, out, words)
			}
			if n < c.least {
				t.Errorf("only %d cells are told, want %d:\n%s", n, c.least, out)
			}
			t.Logf("%s: %d cells are told", name, n)
		})
	}
}
