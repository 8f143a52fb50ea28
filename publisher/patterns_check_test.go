//go:build check

package publisher_test

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/pattern"
	"example.org/avdb/publisher"
	"example.org/avdb/store"
)

// TestRealHistoriesOfPatternsPublish makes a release of each version of each corpus of body and logical signatures. Every line is accounted for, nearly all are
// accepted, what was not changed is not published again in another order, steps are deltas, and no file that comes of it has a piece of a signature in clear.
// It prints the figures of docs/COMPATIBILITY.md.
func TestRealHistoriesOfPatternsPublish(t *testing.T) {
	least := map[string]float64{"daily.ndb": 0.95, "main.ldb": 0.85, "ditekshen": 0.85} // share of the lines that must be accepted
	for _, corpus := range fixtures.OpenCorpora(t).Patterns() {
		t.Run(corpus.Name, func(t *testing.T) {
			p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
			var before, r *publisher.Report
			var last fixtures.Version
			var moved, whole int64
			var accepted, rejected uint64
			rejectedBy := map[string]uint64{}
			since := map[dbformat.Digest]uint64{}
			for v := range corpus.Versions() {
				r, last = p.Publish(v.Files, p.WithPolicy("guards: {removed_percent: 100}")), v
				checkLines(t, v, r)
				accepted, rejected = accepted+r.Accepted, rejected+r.Rejected
				for kind, n := range r.RejectedBy {
					rejectedBy[kind] += n
				}
				for _, l := range []publisher.LayerReport{r.Layers.Light, r.Layers.Rest} {
					if since[l.Digest] == 0 {
						since[l.Digest] = r.Version
					}
				}
				if before != nil {
					moved += stepBytes(before.Layers.Light, r.Layers.Light, since) + stepBytes(before.Layers.Rest, r.Layers.Rest, since)
					whole += r.Layers.Light.BundleBytes + r.Layers.Rest.BundleBytes
				}
				before = r
			}
			share := func(n uint64) float64 { return 100 * float64(n) / float64(accepted+rejected) }
			t.Logf("%s: %d releases, %d lines, %.2f %% accepted", corpus.Name, r.Version, accepted+rejected, share(accepted))
			for _, kind := range slices.SortedFunc(maps.Keys(rejectedBy), func(a, b string) int { return int(rejectedBy[b]) - int(rejectedBy[a]) }) {
				t.Logf("%6d lines, %.2f %%: %s", rejectedBy[kind], share(rejectedBy[kind]), kind)
			}
			t.Logf("last release: %d lines accepted, %d duplicates, %d records; bundles %d and %d bytes; steps move %d bytes, bundles %d", r.Accepted, r.Duplicates,
				r.Layers.Rest.Records, r.Layers.Light.BundleBytes, r.Layers.Rest.BundleBytes, moved, whole)
			if share(accepted) < 100*least[corpus.Name] {
				t.Errorf("%.2f %% of the lines are accepted, want at least %.0f %%", share(accepted), 100*least[corpus.Name])
			}
			if n := rejectedBy[pattern.KindMalformed.String()] + rejectedBy["it matches the self-test's own content: every endpoint would refuse the release"]; n > 0 {
				t.Errorf("%d lines of databases in use are called malformed, or match the self-test", n)
			}
			if r.Layers.Rest.Records != r.Accepted-r.Duplicates+1 {
				t.Errorf("%d records of %d accepted lines and %d duplicates, and one of the self-test", r.Layers.Rest.Records, r.Accepted, r.Duplicates)
			}
			if again := p.Publish(reversed(last)); again.Published || again.Version != r.Version {
				t.Errorf("the same lines in another order are published again: %+v", again)
			}
			unreadable(t, p, last)
		})
	}
}

// reversed is a version with its lines in the opposite order.
func reversed(v fixtures.Version) map[string]string {
	files := map[string]string{}
	for name, text := range v.Files {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		slices.Reverse(lines)
		files["z-"+name] = strings.Join(lines, "\n") + "\n"
	}
	return files
}

// unreadable proves that no file of the repository, and no layer file of a device, has a static run of a signature in clear, and that ClamAV, where it is
// installed, finds nothing in them with these very signatures. Runs that stand in names, or in what any repository holds ("signature"), are no pieces of them.
func unreadable(t *testing.T, p *fixtures.Publisher, v fixtures.Version) {
	t.Helper()
	const least = 8 // bytes: shorter ones occur everywhere
	plain := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	plain.Publish(fixtures.Samples("x", 10))
	var everyday bytes.Buffer
	eachFile(t, plain.Dir, func(_ string, b []byte) { everyday.Write(b) })
	all := map[string]bool{}
	for name, text := range v.Files {
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			everyday.WriteString(line[:max(0, strings.IndexAny(line, ":;"))] + "\n")
			for _, l := range literalsOf(filepath.Ext(name), line) {
				all[l] = true
			}
		}
	}
	literals := map[uint64][]string{}
	n := 0
	for l := range all {
		if len(l) >= least && varied(l) && !bytes.Contains(everyday.Bytes(), []byte(l)) {
			key := binary.LittleEndian.Uint64([]byte(l))
			literals[key] = append(literals[key], l)
			n++
		}
	}
	if n < 50 {
		t.Fatalf("only %d runs to look for", n)
	}
	found := func(b []byte) (at int, run string) {
		for i := 0; i+least <= len(b); i++ {
			for _, l := range literals[binary.LittleEndian.Uint64(b[i:])] {
				if bytes.HasPrefix(b[i:], []byte(l)) {
					return i, l
				}
			}
		}
		return -1, ""
	}
	for _, of := range literals {
		if at, _ := found([]byte("before " + of[0] + " behind")); at < 0 {
			t.Fatal("the search misses what it must find")
		}
	}
	files, size := 0, 0
	device := deviceOf(t, p)
	for _, dir := range []string{p.Dir, device} {
		eachFile(t, dir, func(name string, b []byte) {
			files, size = files+1, size+len(b)
			if at, run := found(b); at >= 0 {
				t.Errorf("%s has a run of a signature in clear at byte %d: %.40x", name, at, run)
			}
		})
	}
	t.Logf("looked for %d runs in %d files of %d bytes", n, files, size)

	program, err := exec.LookPath("clamscan")
	if err != nil {
		t.Log("clamscan is not installed: whether it finds a signature in our files is not tested")
		return
	}
	db := t.TempDir()
	for name, text := range v.Files {
		if err := os.WriteFile(filepath.Join(db, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(program, "-d", db, "--no-summary", "--infected", "--allmatch", "-r", p.Dir, device).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("clamscan: %v: %s", err, out)
	}
}

// eachFile reads each file below dir.
func eachFile(t *testing.T, dir string, f func(name string, b []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		f(name, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// varied tells whether l has enough different bytes not to occur by chance, in masked bytes above all.
func varied(l string) bool {
	seen := map[byte]bool{}
	for i := range len(l) {
		seen[l[i]] = true
	}
	return len(seen) >= 5
}

// literalsOf lists the static runs of a line; none of a reject.
func literalsOf(ext, line string) (all []string) {
	var subs []pattern.Subsignature
	if ext == ".ndb" {
		_, s, err := pattern.ParseBodyLine(line)
		if err != nil {
			return nil
		}
		subs = []pattern.Subsignature{{Body: s.Body}}
	} else {
		_, l, err := pattern.ParseLogicalLine(line)
		if err != nil {
			return nil
		}
		subs = l.Subsignatures
	}
	for i := range subs {
		for _, v := range subs[i].Variants() {
			for j := range v.Parts {
				for _, l := range v.Parts[j].Literals() {
					all = append(all, l.Bytes)
				}
			}
		}
	}
	return all
}

// deviceOf is a state folder with the layer files that a device makes of the release's bundles.
func deviceOf(t *testing.T, p *fixtures.Publisher) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "device")
	s, err := store.Create(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	made := 0
	for _, target := range p.Targets() {
		for _, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
			if !strings.HasPrefix(target.Path, l.String()+"/") || !strings.HasSuffix(target.Path, ".bundle") {
				continue
			}
			b, err := os.ReadFile(filepath.Join(p.Public(), "targets", filepath.FromSlash(target.Name())))
			if err != nil {
				t.Fatal(err)
			}
			w, err := s.NewLayer(l)
			if err != nil {
				t.Fatal(err)
			}
			h, err := dbformat.ReadBundle(bytes.NewReader(b), l, w)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Finish(h, h.Digest()); err != nil {
				t.Fatal(err)
			}
			made++
		}
	}
	if made != 2 {
		t.Fatalf("%d layer files", made)
	}
	return dir
}
