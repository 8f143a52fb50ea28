//go:build check

package patterns

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"example.org/avdb/pattern"
)

// mainSignatures are those of a real database that package pattern takes; without the corpora the test is skipped.
func mainSignatures(t testing.TB) []pattern.Record {
	t.Helper()
	dir := os.Getenv("AVDB_CORPORA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpora")
	}
	f, err := os.Open(filepath.Join(dir, "bodysigs", "clamav-main.ldb.zst"))
	if err != nil {
		t.Skipf("the corpora are not here: %v (AVDB_CORPORA names another folder)", err)
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
	var all []pattern.Record
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if _, l, err := pattern.ParseLogicalLine(s.Text()); err == nil {
			all = append(all, pattern.Record{Logical: &l})
		}
	}
	if err := s.Err(); err != nil || len(all) < 1000 {
		t.Fatalf("%d signatures: %v", len(all), err)
	}
	return all
}

// Of real signatures, in objects that are made of some of them, the same match as by the reference matcher.
func TestRealSignaturesAgreeWithTheReference(t *testing.T) {
	real := mainSignatures(t)
	hits := 0
	for seed := range uint64(12) {
		w := newWriter(3000 + seed)
		var all []pattern.Record
		for len(all) < 400 {
			if r := real[w.IntN(len(real))]; r.Logical.Engine.Holds(uint64(pattern.Level)) {
				all = append(all, r)
			}
		}
		c := mustBuild(t, all).NewScanner()
		for _, target := range targets() {
			var some []pattern.Record
			for _, r := range all {
				if r.Logical.Target == target && len(some) < 4 {
					some = append(some, r)
				}
			}
			if len(some) == 0 {
				continue
			}
			// All subsignatures of one, so that it matches, and pieces of others.
			var data []byte
			subs := some[0].Logical.Subsignatures
			for i := range subs {
				data = append(data, w.chain(subs[i].Variants()[0])...)
			}
			data = append(data, w.object(some, 1000)...)
			hits += check(t, c, all, w.facts(target, len(data)), data, func() int { return 1 + w.IntN(20000) })
		}
	}
	t.Logf("%d signatures matched", hits)
	if hits < 15 {
		t.Error("the objects test little")
	}
}

// BenchmarkReal scans 64 MiB of files for the logical signatures of a real database.
func BenchmarkReal(b *testing.B) {
	benchmarkScan(b, encode(b, mainSignatures(b)))
}
