package dbformat_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/fixtures"
)

// The dumps in docs/format are vectors, byte by byte; those of files are what Describe says of them.
func TestDumpsInTheDocuments(t *testing.T) {
	for page, want := range map[string][]string{
		"layer.md": {"prefix/three_rows", "tail/two_rows", "record/one_hash_two_sizes", "pattern/two_rows", "ignore/two_names", "selftest/two_vectors",
			"header/smallest"},
		"bundle.md": {"bundle-light/smallest", "bundle-light/smallest_pattern", "bundle-rest/smallest", "bundle-light/column_compressed"},
		"delta.md":  {"delta-light/smallest", "delta-rest/by_hand", "delta-light-placed/by_hand", "delta-rest-placed/by_hand"},
	} {
		text, err := os.ReadFile(filepath.Join("..", "docs", "format", page))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for part := range strings.SplitSeq(strings.ReplaceAll(string(text), "\r\n", "\n"), "<!-- vector ") {
			name, rest, ok := strings.Cut(part, " -->\n```text\n")
			if !ok {
				continue
			}
			dump, _, ok := strings.Cut(rest, "```\n")
			if !ok {
				t.Fatalf("%s: the dump of %s has no end", page, name)
			}
			found = append(found, name)
			kind, file, _ := strings.Cut(name, "/")
			checkDump(t, page, fixtures.VectorNamed(t, kind, file), dump)
		}
		if !slices.Equal(found, want) {
			t.Errorf("%s shows %q, want %q", page, found, want)
		}
	}
}

func checkDump(t *testing.T, page string, v fixtures.Vector, dump string) {
	t.Helper()
	if b := dumped(t, dump); !bytes.Equal(b, v.Data) {
		t.Errorf("%s: the dump of %s/%s has the bytes %x, the vector %x", page, v.Kind, v.Name, b, v.Data)
	}
	if v.Kind != "header" && !strings.Contains(v.Kind, "-") {
		return // no file: Describe does not know it
	}
	if text, err := describe(t, v.Data); err != nil || text != dump {
		t.Errorf("%s: the dump of %s/%s should be (%v)\n%s", page, v.Kind, v.Name, err, text)
	}
}

// dumped gives the bytes that a dump shows.
func dumped(t *testing.T, dump string) []byte {
	t.Helper()
	var b []byte
	for line := range strings.Lines(dump) {
		off, _ := fieldOf(t, line)
		if off != len(b) {
			t.Fatalf("%q: at byte %d", line, len(b))
		}
		line = strings.TrimRight(line, "\n")
		v, err := hex.DecodeString(strings.ReplaceAll(line[10:min(len(line), 57)], " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		b = append(b, v...)
	}
	return b
}
