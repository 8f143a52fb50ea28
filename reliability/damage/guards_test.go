//go:build check

package damage_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"example.org/avdb/fixtures"
)

// unguarded runs a test of this folder with lines of the product replaced, each of which must stand in its file once, and gives the output. It
// must fail.
func unguarded(t *testing.T, test string, edits ...fixtures.Edit) string {
	t.Helper()
	cmd := exec.Command("go", "test", "-vet=off", "-count=1", "-tags=check", "-timeout=30m", "-overlay="+fixtures.Overlay(t, edits...), "-run=^"+test+"$", "-v", ".")
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
// cells end in silent wrong verdicts, and the tests say so. So they do if an absent block is passed over, or a fault not caught, and of
// bundles and deltas if what stands after a frame is not looked at.
func TestTheOracleSeesWhatGuardsStop(t *testing.T) {
	leaf := fixtures.Edit{"store/layer.go", "if dbformat.BlockDigest(f.header.Layer, s.ID, i, b) != s.Blocks[i].Digest {", "if len(b) == 1<<30 {"}
	crc := fixtures.Edit{"store/index.go", "if castagnoli(p[at*PieceCut:min(len(p), (at+1)*PieceCut)]) != want {", "if want == 0 && len(p) == 1<<30 {"}
	damage := []string{"silent wrong verdicts", "crashes"}
	for name, c := range map[string]struct {
		test  string
		least int
		told  []string
		edits []fixtures.Edit
	}{
		"no leaf": {"TestA8FlippedBytes", 100, damage, []fixtures.Edit{leaf}},
		"no CRC":  {"TestA8FlippedBytes", 5, damage, []fixtures.Edit{crc}},
		"an absent block is an empty one": {"TestA8AbsentBlocks", 1, damage, []fixtures.Edit{leaf,
			{"store/layer.go", "return nil, damaged(f.path, \"block %s %d is absent\", s.ID, i)", "return nil, nil"},
		}},
		"a frame is decompressed whatever its CRC": {"TestA9DamagedFiles", 20, []string{"accepted"}, []fixtures.Edit{
			{"dbformat/column.go", "if got != want {", "if got != want && n < 0 {"},
		}},
		"a matcher that takes the number of a generation and not its files": {"TestA11ReadersDuringSwaps", 1, []string{"mixed"}, []fixtures.Edit{
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
