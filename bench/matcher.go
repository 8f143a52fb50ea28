package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The demands of the section. Those over several sets of patterns hold the least of their ratios.
const (
	demandClam1e4      = "files, 10 000 patterns cut from programs: clamscan's processor time against ours"
	demandYara1e4      = "files, 10 000 patterns cut from programs: yara's processor time against ours"
	demandClam1e5      = "files, 100 000 patterns cut from programs: clamscan's processor time against ours"
	demandYara1e5      = "files, 100 000 patterns cut from programs: yara's processor time against ours"
	demandDefaultBuild = "files, 10 000 patterns: the default build's speed against the best GOAMD64's"
	demandHashScan     = "files, 5 M SHA-256 signatures: clamscan's processor time against ours"
	demandMemory1e3    = "memory, 1000 patterns: speed against Vectorscan's"
	demandMemory1e4    = "memory, 10 000 patterns: speed against Vectorscan's"
	demandMemory1e5    = "memory, 100 000 patterns cut from programs, common windows dropped: speed against Vectorscan's"
	demandMemoryRandom = "memory, 100 000 random patterns: speed against Vectorscan's"
	demandWorst        = "memory, the text is all patterns: speed against Vectorscan's, least of all sets"
	demandWorstSpeed   = "memory, the text is all patterns: least speed of all sets"
	demandMiss1e6      = "hash miss among 1 M signatures, one of many"
	demandMiss1e7      = "hash miss among 10 M signatures, one of many"
	demandBolt         = "hash miss, one of many, against one Get of bbolt, least of both"
	demandEntry        = "bytes of the index an entry, of which a miss reads one line"
	demandFirst        = "first verdict after opening 5 M hashes and 100 000 patterns"
	demandFirstMemory  = "private memory of that beyond the runtime's"
)

// matcherWants are what the demands ask for.
func matcherWants() map[string]string {
	return map[string]string{
		demandClam1e4: "≥ 30×", demandYara1e4: "≥ 18×", demandClam1e5: "≥ 300×", demandYara1e5: "≥ 40×", demandDefaultBuild: "≥ 0.9×",
		demandHashScan: "≥ 10×", demandMemory1e3: "≥ 1.4×", demandMemory1e4: "≥ 2.0×", demandMemory1e5: "≥ 1.4×", demandMemoryRandom: "≥ 1.0×",
		demandWorst: "≥ 1.0×", demandWorstSpeed: "≥ 0.25 GB/s", demandMiss1e6: "≤ 20 ns", demandMiss1e7: "≤ 35 ns", demandBolt: "≥ 40×",
		demandEntry: "≤ 3.3 bytes", demandFirst: "≤ 5 ms", demandFirstMemory: "≤ 4 MiB",
	}
}

// A matcherWorld is files to scan and programs to cut patterns from. They have no file in common.
type matcherWorld struct {
	*bench
	tree, empty string
	treeBytes   int64
	lengths     []int    // of the tree's files
	text        []byte   // for what is measured in memory
	programs    [][]byte // to cut patterns from
	found       map[string]float64
	missing     map[string]string // demand -> why
}

// measureMatcher is the section matcher.
func measureMatcher(ctx context.Context, b *bench) (*page, error) {
	w := &matcherWorld{bench: b, found: map[string]float64{}, missing: map[string]string{}}
	if err := w.gather(); err != nil {
		return nil, err
	}
	p := &page{}
	for _, part := range []func(context.Context, *page) error{w.inMemory, w.files, w.hashFiles, w.misses, w.first} {
		if err := part(ctx, p); err != nil {
			return nil, err
		}
	}
	for _, d := range []struct {
		what string
		cell func(float64) string
		met  func(float64) bool
	}{
		{demandClam1e4, times, atLeast(30)}, {demandYara1e4, times, atLeast(18)}, {demandClam1e5, times, atLeast(300)}, {demandYara1e5, times, atLeast(40)},
		{demandDefaultBuild, times, atLeast(0.9)}, {demandHashScan, times, atLeast(10)},
		{demandMemory1e3, times, atLeast(1.4)}, {demandMemory1e4, times, atLeast(2)}, {demandMemory1e5, times, atLeast(1.4)}, {demandMemoryRandom, times, atLeast(1)},
		{demandWorst, times, atLeast(1)}, {demandWorstSpeed, speed, atLeast(0.25)},
		{demandMiss1e6, nanos, atMost(20)}, {demandMiss1e7, nanos, atMost(35)}, {demandBolt, times, atLeast(40)}, {demandEntry, perEntry, atMost(3.3)},
		{demandFirst, nanos, atMost(5e6)}, {demandFirstMemory, mebibytes, atMost(4 << 20)},
	} {
		x := demand{what: d.what, want: matcherWants()[d.what], why: w.missing[d.what]}
		if v, ok := w.found[d.what]; ok {
			x.got, x.met, x.why = d.cell(v), d.met(v), ""
		} else if x.why == "" {
			return nil, fmt.Errorf("%q was not measured", d.what)
		}
		p.demands = append(p.demands, x)
	}
	return p, nil
}

func atLeast(least float64) func(float64) bool { return func(v float64) bool { return v >= least } }
func atMost(most float64) func(float64) bool   { return func(v float64) bool { return v <= most } }

func speed(v float64) string     { return fmt.Sprintf("%.2f GB/s", v) }
func perEntry(v float64) string  { return fmt.Sprintf("%.2f bytes", v) }
func mebibytes(v float64) string { return fmt.Sprintf("%.1f MiB", v/(1<<20)) }

// least keeps the smallest of several figures of a demand.
func (w *matcherWorld) least(demand string, v float64) {
	if old, ok := w.found[demand]; !ok || v < old {
		w.found[demand] = v
	}
}

// lack says why demands are not measured.
func (w *matcherWorld) lack(why error, demands ...string) {
	w.note("%v: its rows are left out", why)
	for _, d := range demands {
		w.missing[d] = why.Error()
	}
}

// sizes are how many patterns are tried.
func (w *matcherWorld) sizes() []int {
	if w.quick {
		return []int{100, 300, 1000}
	}
	return []int{1_000, 10_000, 100_000}
}

// files is the end to end comparison: whole programs over one tree, start-up subtracted.
func (w *matcherWorld) files(ctx context.Context, p *page) error {
	t := table{title: "Files, patterns cut from programs", how: fmt.Sprintf("%d MB of this machine's programs and libraries, all in the page cache. Processor time of a process that scans them less that "+
		"of one that scans a single small file, so that loading counts nowhere. One thread each; clamscan without unpacking, heuristics and bytecode. The patterns have 20 to 60 bytes, cut from programs "+
		"that are not scanned; those whose every window is common were dropped, as whoever writes signatures does.", w.treeBytes/1e6),
		columns: []string{"patterns", "avdb", "avdb, GOAMD64=v3", "clamscan", "yara", "clamscan / avdb", "yara / avdb"}}
	best, err := buildFor(ctx, w.bench, "v3")
	if err != nil {
		return err
	}
	clam, clamErr := newClamscan()
	if clamErr != nil {
		w.lack(clamErr, demandClam1e4, demandClam1e5)
	}
	yara, yaraErr := newYara()
	if yaraErr != nil {
		w.lack(yaraErr, demandYara1e4, demandYara1e5)
	}
	sets := w.kinds()["dropped"]
	var labels []string
	ratios := map[string][]float64{}
	for i, n := range w.sizes() {
		w.note("files are scanned for %d patterns", n)
		patterns := sets(n)
		dir := filepath.Join(w.dir, fmt.Sprintf("patterns-%d", n))
		if err := w.publish(ctx, dir, map[string]string{"a.ndb": bodySignatures(patterns)}); err != nil {
			return err
		}
		state := filepath.Join(dir, "state")
		scanners := []scanner{avdbScanner(w.program, state), avdbScanner(best, state)}
		if clamErr == nil {
			scanners = append(scanners, clam.with(filepath.Join(dir, "src")))
		}
		if yaraErr == nil {
			x, err := yara.with(ctx, dir, patterns)
			if err != nil {
				return err
			}
			scanners = append(scanners, x)
		}
		costs, err := w.compareScanners(ctx, scanners)
		if err != nil {
			return err
		}
		labels = append(labels, count(float64(n)))
		cells := []string{count(float64(n)), seconds(costs[0]), seconds(costs[1]), "-", "-", "-", "-"}
		peers := []struct {
			name    string
			err     error
			demands []string // none for the first size
		}{{"clamscan", clamErr, []string{"", demandClam1e4, demandClam1e5}}, {"yara", yaraErr, []string{"", demandYara1e4, demandYara1e5}}}
		next := 2
		for k, peer := range peers {
			if peer.err != nil {
				continue
			}
			ratio := costs[next] / costs[0]
			cells[3+k], cells[5+k] = seconds(costs[next]), times(ratio)
			ratios[peer.name] = append(ratios[peer.name], ratio)
			if peer.demands[i] != "" {
				w.found[peer.demands[i]] = ratio
			}
			next++
		}
		if i == 1 {
			w.found[demandDefaultBuild] = costs[1] / costs[0]
		}
		t.add(cells...)
	}
	p.tables = append(p.tables, t)
	return w.picture(p, labels, ratios)
}

// picture shows how many times as long the peers take.
func (w *matcherWorld) picture(p *page, labels []string, ratios map[string][]float64) error {
	var all []series
	words := []string{}
	for _, peer := range []string{"clamscan", "yara"} {
		if len(ratios[peer]) == 0 {
			continue
		}
		all = append(all, series{peer, ratios[peer]})
		for i, r := range ratios[peer] {
			words = append(words, fmt.Sprintf("%s at %s patterns %s", peer, labels[i], times(r)))
		}
	}
	if len(all) == 0 {
		return nil
	}
	drawing, err := bars("Processor time of peers as a multiple of avdb's", "patterns", "times avdb's", labels, all)
	if err != nil {
		return err
	}
	x, err := render("matcher-files.svg", "Processor time of peers as a multiple of avdb's: "+strings.Join(words, ", "), drawing)
	if err != nil {
		return err
	}
	p.pictures = append(p.pictures, x)
	return nil
}

// hashFiles compares scans for whole files.
func (w *matcherWorld) hashFiles(ctx context.Context, p *page) error {
	clam, err := newClamscan()
	if err != nil {
		w.lack(err, demandHashScan)
		return nil
	}
	n := 5_000_000
	if w.quick {
		n = 20_000
	}
	w.note("files are scanned for %s hashes", count(float64(n)))
	dir := filepath.Join(w.dir, "hashes")
	if err := w.publish(ctx, dir, map[string]string{"a.hsb": w.hashSignatures(n)}); err != nil {
		return err
	}
	costs, err := w.compareScanners(ctx, []scanner{avdbScanner(w.program, filepath.Join(dir, "state")), clam.with(filepath.Join(dir, "src"))})
	if err != nil {
		return err
	}
	t := table{title: "Files, SHA-256 of whole files", how: "As above, for random hashes with the sizes of these files: each file has to be hashed by both.", columns: []string{"hashes", "avdb", "clamscan", "clamscan / avdb"}}
	t.add(count(float64(n)), seconds(costs[0]), seconds(costs[1]), times(costs[1]/costs[0]))
	w.found[demandHashScan] = costs[1] / costs[0]
	p.tables = append(p.tables, t)
	return errors.Join(os.RemoveAll(dir))
}

// publish makes a release of sources and a state that has it.
func (w *matcherWorld) publish(ctx context.Context, dir string, sources map[string]string) error {
	src := filepath.Join(dir, "src")
	if err := os.MkdirAll(src, 0o755); err != nil {
		return err
	}
	for name, text := range sources {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	repo := filepath.Join(dir, "repo")
	for _, args := range [][]string{
		{"repo", "init", repo},
		{"repo", "publish", repo, src},
		{"init", "--state", filepath.Join(dir, "state"), "--source", "file://" + filepath.ToSlash(repo) + "/public", "--root", filepath.Join(repo, "public", "metadata", "1.root.json")},
		{"update", "--state", filepath.Join(dir, "state")},
	} {
		if _, err := w.avdb(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// bodySignatures are patterns as lines of an .ndb file.
func bodySignatures(patterns [][]byte) string {
	var b strings.Builder
	for i, p := range patterns {
		fmt.Fprintf(&b, "Bench.P-%d:0:*:%x\n", i, p)
	}
	return b.String()
}

// hashSignatures are random SHA-256 hashes as lines of an .hsb file, for the sizes of the tree's files in turn: each file has to be hashed. clamscan takes no more
// than 2^22 hashes for any size.
func (w *matcherWorld) hashSignatures(n int) string {
	var b strings.Builder
	r := seeded(7)
	for i := range n {
		fmt.Fprintf(&b, "%x:%d:Bench.H-%d\n", randomBytes(r, 32), w.lengths[i%len(w.lengths)], i)
	}
	return b.String()
}

// compareScanners gives the processor time in seconds of each over the tree: the median of rounds in turn. One that takes more than a minute is run once.
func (w *matcherWorld) compareScanners(ctx context.Context, all []scanner) ([]float64, error) {
	rounds := 5
	if w.quick {
		rounds = 1
	}
	costs := make([][]float64, len(all))
	for r := range rounds {
		for i, s := range all {
			if r > 0 && costs[i][0] > 60 {
				continue
			}
			tree, err := s.scan(ctx, w.tree)
			if err != nil {
				return nil, err
			}
			nothing, err := s.scan(ctx, w.empty)
			if err != nil {
				return nil, err
			}
			costs[i] = append(costs[i], max(0.005, (tree-nothing).Seconds()))
		}
	}
	medians := make([]float64, len(all))
	for i := range all {
		medians[i] = median(slices.Clone(costs[i]))
	}
	return medians, nil
}

func seconds(s float64) string { return fmt.Sprintf("%.2f s", s) }
