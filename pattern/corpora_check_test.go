//go:build check

package pattern_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"example.org/avdb/pattern"
)

// corpora gives the folder of real body signatures, or skips the test: it is no part of the repository.
func corpora(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("AVDB_CORPORA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpora")
	}
	dir = filepath.Join(dir, "bodysigs")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the corpora are not in %s: real signatures are not parsed here (AVDB_CORPORA names another folder)", dir)
	}
	return dir
}

// unpacked reads a zstd file.
func unpacked(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// versions gives the files of a packed history that have an extension.
func versions(t *testing.T, path, extension string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(unpacked(t, path))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, extension) {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			all[h.Name] = b
		}
	}
	return all
}

// Nearly all real signatures are taken, each of them has one text and one record, and nothing of them is lost in either.
func TestRealSignaturesAreTaken(t *testing.T) {
	dir := corpora(t)
	main := map[string][]byte{"main.ldb": unpacked(t, filepath.Join(dir, "clamav-main.ldb.zst"))}
	for _, c := range []struct {
		name      string
		extension string
		files     map[string][]byte
		least     float64 // share of the lines that must be taken
	}{
		{"daily.ndb", "ndb", versions(t, filepath.Join(dir, "clamav-daily-ndb.tar.zst"), ".ndb"), 0.95},
		{"main.ldb", "ldb", main, 0.85},
		{"ditekshen", "ldb", versions(t, filepath.Join(dir, "ditekshen-clamav-ldb.tar.zst"), ".ldb"), 0.85},
	} {
		t.Run(c.name, func(t *testing.T) {
			if len(c.files) == 0 {
				t.Fatal("no file: the corpus has changed")
			}
			lines, taken, text, record, longest := 0, 0, 0, 0, 0
			kinds := map[pattern.Kind]int{}
			examples := map[pattern.Kind]string{}
			for _, content := range c.files {
				s := bufio.NewScanner(bytes.NewReader(content))
				s.Buffer(nil, 1<<20)
				for s.Scan() {
					line := strings.TrimRight(s.Text(), "\r")
					if line == "" || line[0] == '#' {
						continue
					}
					lines++
					r, err := parseRecord(c.extension, line)
					if err != nil {
						kinds[kindOf(err)]++
						examples[kindOf(err)] = err.Error() + " in " + line[:min(len(line), 150)]
						continue
					}
					taken++
					n := roundTrip(t, c.extension, r)
					text, record, longest = text+len(line), record+n, max(longest, n)
				}
				if err := s.Err(); err != nil {
					t.Fatal(err)
				}
			}
			share := float64(taken) / float64(lines)
			t.Logf("%d files, %d lines, %d taken (%.2f %%), %d bytes of text, %d bytes of records, the longest has %d", len(c.files), lines, taken, 100*share, text, record, longest)
			for k := pattern.Kind(1); int(k) <= pattern.Kinds; k++ {
				if kinds[k] > 0 {
					t.Logf("%6d  %s: %s", kinds[k], k, examples[k])
				}
			}
			if share < c.least {
				t.Errorf("%.2f %% of the lines are taken, want at least %.0f %%", 100*share, 100*c.least)
			}
			if kinds[pattern.KindMalformed] > 0 {
				t.Errorf("%d lines of a database in use are called malformed", kinds[pattern.KindMalformed])
			}
		})
	}
}
