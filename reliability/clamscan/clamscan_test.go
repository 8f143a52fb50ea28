//go:build check

package clamscan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/filetype"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/matcher/patterns"
	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
	"example.org/avdb/updater"
)

func everything() bool { return os.Getenv("AVDB_CELLS") == "all" }

func cells(sample, all int) int {
	if everything() {
		return all
	}
	return sample
}

func filetypeTarget(b []byte) filetype.Target {
	t := filetype.Detect(b[:min(len(b), filetype.HeadSize)], int64(len(b))).Target()
	if normalised(pattern.Target(t)) || t == filetype.TargetData {
		return filetype.TargetAny
	}
	return t
}

func normalised(t pattern.Target) bool {
	return t == pattern.TargetHTML || t == pattern.TargetMail || t == pattern.TargetASCII
}

// A signature is a line that was accepted.
type signature struct {
	name, ext, line string
	logical         *pattern.Logical // of a body signature one that says the same
	record          []byte
}

// A world is both programs with the same lines.
type world struct {
	t       *testing.T
	m       *maker
	program string
	folder  string // of clamscan's databases
	sigs    []signature
	matcher *matcher.Matcher
	set     *patterns.Set
	names   map[string][]int

	cells, detected, pairs, differ int
	left                           int // files that make clamscan crash
	excused                        map[string]int
	problems                       []string // the first few

	lines, normalised, rejected, signatures int
	made, hit, never, unmade                int
}

// clamscan gives the path of the program, or skips the test; where CI is set it has to be there.
func clamscan(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("clamscan")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("clamscan is not installed, and CI is set: install the package clamav")
	} else if err != nil {
		t.Skip("NOT COMPARED WITH CLAMSCAN: it is not installed")
	}
	return path
}

// newWorld publishes lines, by the names of files; what is rejected, or for normalised files, is left out for both.
func newWorld(t *testing.T, m *maker, files map[string][]string) *world {
	t.Helper()
	w := &world{t: t, m: m, program: clamscan(t), folder: t.TempDir(), names: map[string][]int{}, excused: map[string]int{}}
	var err error
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	sources, left, lines := map[string]string{}, 0, 0
	for name, all := range files {
		var kept []string
		for _, line := range all {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			lines++
			if s, err := parse(filepath.Ext(name), line); err == nil && normalised(s.logical.Target) {
				left++
				continue
			}
			kept = append(kept, line)
		}
		sources[name] = strings.Join(kept, "\n") + "\n"
	}
	report := p.Publish(sources)
	type place struct {
		file string
		line int
	}
	rejected := map[place]bool{}
	for _, r := range report.Rejects {
		rejected[place{filepath.Base(r.File), r.Line}] = true
	}
	byRecord := map[string]signature{}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		for i, line := range strings.Split(strings.TrimSpace(sources[name]), "\n") {
			if line == "" || rejected[place{name, i + 1}] {
				continue
			}
			s, err := parse(filepath.Ext(name), line)
			if err != nil {
				t.Fatalf("%s was accepted and cannot be parsed: %v", line, err)
			}
			if old, ok := byRecord[string(s.record)]; !ok || s.name < old.name { // of lines that say the same, the name that is published
				byRecord[string(s.record)] = s
			}
		}
	}
	var records [][]byte
	texts := map[string]*strings.Builder{}
	for _, key := range slices.Sorted(maps.Keys(byRecord)) {
		s := byRecord[key]
		w.names[s.name] = append(w.names[s.name], len(w.sigs))
		w.sigs = append(w.sigs, s)
		records = append(records, s.record)
		if texts[s.ext] == nil {
			texts[s.ext] = &strings.Builder{}
		}
		texts[s.ext].WriteString(s.line + "\n")
	}
	for ext, text := range texts {
		must(t, os.WriteFile(filepath.Join(w.folder, "same"+ext), []byte(text.String()), 0o600))
	}
	if w.set, err = patterns.Build(records, patterns.Options{}); err != nil {
		t.Fatal(err)
	}
	e := fixtures.NewEndpoint(t, filepath.Join(t.TempDir(), "state"), p.Root(), nil, p.URL())
	if _, err := e.Update(updater.Options{Variant: "full"}); err != nil {
		t.Fatal(err)
	}
	if w.matcher, err = matcher.Open(e.Store, matcher.Options{Archives: matcher.Archives{Off: true}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, w.matcher.Close()) })
	w.lines, w.normalised, w.rejected = lines, left, int(report.Rejected)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func parse(ext, line string) (s signature, err error) {
	s.ext, s.line = ext, line
	var r pattern.Record
	switch ext {
	case ".ndb":
		var b pattern.BodySignature
		if s.name, b, err = pattern.ParseBodyLine(line); err != nil {
			return s, err
		}
		r.Body = &b
		s.logical = &pattern.Logical{Target: b.Target, Subsignatures: []pattern.Subsignature{{Offset: b.Offset, Body: b.Body}}}
	case ".ldb":
		var l pattern.Logical
		if s.name, l, err = pattern.ParseLogicalLine(line); err != nil {
			return s, err
		}
		r.Logical, s.logical = &l, &l
	default:
		return s, errors.New("no file of patterns: " + ext)
	}
	s.record, err = pattern.AppendRecord(nil, r)
	return s, err
}

// clamscan gives all names that it has for each file. It unpacks and normalises nothing, and has no limit of its own that a file reaches.
func (w *world) clamscan(files []string) map[string]map[string]bool {
	w.t.Helper()
	return runClamscan(w.t, w.program, w.folder, files, "--scan-archive=no", "--scan-pe=no", "--max-filesize=2000M", "--max-scansize=2000M")
}

// runClamscan gives all names that it has for each file. It normalises nothing.
func runClamscan(t *testing.T, program, folder string, files []string, args ...string) map[string]map[string]bool {
	t.Helper()
	list := filepath.Join(t.TempDir(), "files")
	must(t, os.WriteFile(list, []byte(strings.Join(files, "\n")+"\n"), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancel()
	args = append(args, "--allmatch", "--no-summary", "--infected", "--stdout", "--bytecode=no", "--phishing-sigs=no", "--heuristic-alerts=no", "--disable-cache",
		"--max-scantime=0", "--tempdir="+t.TempDir(), "--database="+folder, "--file-list="+list)
	for _, kind := range []string{"elf", "ole2", "pdf", "swf", "html", "mail", "xmldocs", "hwp3", "onenote", "image"} {
		args = append(args, "--scan-"+kind+"=no")
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("clamscan: %v\n%s", err, out.Bytes()[max(0, out.Len()-1000):])
	}
	found := map[string]map[string]bool{}
	for line := range strings.Lines(out.String()) {
		rest, ok := strings.CutSuffix(strings.TrimSpace(line), ".UNOFFICIAL FOUND")
		at := strings.LastIndex(rest, ": ")
		if !ok || at < 0 {
			continue
		}
		if found[rest[:at]] == nil {
			found[rest[:at]] = map[string]bool{}
		}
		found[rest[:at]][rest[at+2:]] = true
	}
	return found
}

// objectOf is what a scanner is told about a file.
func objectOf(r io.ReaderAt, size int64) (patterns.Object, error) {
	o := patterns.Object{Size: size}
	head := make([]byte, min(filetype.MaxHead, size))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return o, err
	}
	var err error
	if o.Kind = filetype.Detect(head, size); o.Kind.Executable() {
		if o.Layout, err = filetype.Read(r, size, o.Kind); errors.Is(err, filetype.ErrFormat) {
			o.Layout, err = nil, nil
		}
	}
	return o, err
}

// all gives the names of all signatures that match a file.
func (w *world) all(scanner *patterns.Scanner, path string) (names map[string]bool, kind filetype.Kind) {
	f, err := os.Open(path)
	must(w.t, err)
	defer f.Close()
	info, err := f.Stat()
	must(w.t, err)
	buf := make([]byte, 256<<10)
	o, err := objectOf(f, info.Size())
	must(w.t, err)
	scanner.Begin(o)
	r := io.NewSectionReader(f, 0, o.Size)
	for {
		n, err := r.Read(buf)
		scanner.Write(buf[:n])
		if err == io.EOF {
			break
		}
		must(w.t, err)
	}
	result, err := scanner.End(f)
	must(w.t, err)
	if result.Undecided != nil || result.Limited {
		w.t.Errorf("%s: undecided %v, limited %t", path, result.Undecided, result.Limited)
	}
	names = map[string]bool{}
	for _, i := range result.Matched {
		names[w.sigs[i].name] = true
	}
	return names, o.Kind
}

// compare holds both programs against each other over files, and gives all names that are ours.
func (w *world) compare(files []string) map[string]map[string]bool {
	w.t.Helper()
	files = slices.DeleteFunc(files, func(path string) bool { // clamscan 1.4.6 crashes when it looks for the last section of a file without sections
		f, err := os.Open(path)
		must(w.t, err)
		defer f.Close()
		info, err := f.Stat()
		must(w.t, err)
		o, err := objectOf(f, info.Size())
		must(w.t, err)
		if crashes := o.Layout != nil && o.Kind != filetype.PE && len(o.Layout.Sections) == 0; !crashes {
			return false
		}
		w.left++
		return true
	})
	theirs := w.clamscan(files)
	ours := map[string]map[string]bool{}
	scanner := w.set.NewScanner()
	err := w.matcher.Scan(w.t.Context(), slices.Values(files), matcher.ScanOptions{}, func(r matcher.Result) {
		w.cells++
		if r.Err != nil {
			w.tell("%s: %v", r.Path, r.Err)
			w.differ++
			return
		}
		all, kind := w.all(scanner, r.Path)
		ours[r.Path] = all
		w.pairs += len(all)
		if r.Verdict == matcher.Malicious {
			w.detected++
		}
		if (r.Verdict == matcher.Malicious) != (len(all) > 0) || len(all) > 0 && !all[r.Name] {
			w.tell("%s: the matcher says %s %s, its patterns %v", r.Path, r.Verdict, r.Name, names(all))
			w.differ++
			return
		}
		wrong, reason := false, ""
		for name := range all {
			if !theirs[r.Path][name] {
				if kind == filetype.Ignored && theirs[r.Path] == nil {
					reason = "audio, video and databases of SQLite, at which clamscan does not look"
					continue
				}
				if why := w.excuse(name); why != "" {
					reason = why
					continue
				}
				wrong = true
				w.tell("%s: %s: ours alone: %s", r.Path, name, w.line(name))
			}
		}
		for name := range theirs[r.Path] {
			if !all[name] {
				if why := w.excuse(name); why != "" {
					reason = why
					continue
				}
				wrong = true
				w.tell("%s: %s: clamscan's alone: %s", r.Path, name, w.line(name))
			}
		}
		if wrong {
			w.differ++
		} else if reason != "" {
			w.excused[reason]++
		}
	})
	must(w.t, err)
	for path := range theirs {
		if ours[path] == nil {
			w.t.Errorf("clamscan says something about %q, which is none of the files", path)
		}
	}
	return ours
}

func names(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }

func (w *world) line(name string) string {
	for _, i := range w.names[name] {
		return fmt.Sprintf("%.400s", w.sigs[i].line)
	}
	return "no such signature"
}

func (w *world) tell(format string, args ...any) {
	if len(w.problems) < 20 {
		w.problems = append(w.problems, fmt.Sprintf(format, args...))
	}
}

// finish prints what the cells came to.
func (w *world) finish(what string) {
	w.t.Helper()
	for _, p := range w.problems {
		w.t.Error(p)
	}
	w.t.Logf("%s: %d cells, %d detected, %d names in all, %d differ; %d files without sections, on which clamscan crashes, left out", what, w.cells, w.detected,
		w.pairs, w.differ, w.left)
	for _, reason := range slices.Sorted(maps.Keys(w.excused)) {
		w.t.Logf("%s: %d cells differ as explained: %s", what, w.excused[reason], reason)
	}
}

// excuse gives the reason why a signature may match otherwise in clamscan, "" for none.
func (w *world) excuse(name string) string {
	for _, i := range w.names[name] {
		for _, s := range w.sigs[i].logical.Subsignatures {
			if why := patterntest.Peculiar(&s); why != "" {
				return why
			}
		}
	}
	return ""
}

// realLines gives the lines of the real databases, every n-th of the large one.
func realLines(t *testing.T) map[string][]string {
	files := map[string][]string{}
	for _, c := range fixtures.OpenCorpora(t).Patterns() {
		for name, text := range c.Last().Files {
			all := strings.Split(strings.TrimSpace(text), "\n")
			every := max(1, len(all)/cells(1200, len(all)))
			var kept []string
			for i := 0; i < len(all); i += every {
				kept = append(kept, all[i])
			}
			files[c.Name+"-"+name] = kept
		}
	}
	return files
}

// hitsAndMisses makes files that signatures match, and near misses of them, and compares. It publishes 4000 lines at a time: with all of them clamscan takes
// minutes for what takes it seconds so.
func hitsAndMisses(t *testing.T, what string, misses int, m *maker, lines map[string][]string) {
	const batch = 4000
	type numbered struct{ file, line string }
	var all []numbered
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		for _, line := range lines[name] {
			all = append(all, numbered{name, line})
		}
	}
	sum := &world{t: t, excused: map[string]int{}}
	for some := range slices.Chunk(all, batch) {
		files := map[string][]string{}
		for _, l := range some {
			files[l.file] = append(files[l.file], l.line)
		}
		newWorld(t, m, files).addTo(sum, misses)
	}
	sum.finish(what)
	t.Logf("%s: %d lines: %d for normalised files left out, %d rejected, %d signatures", what, sum.lines, sum.normalised, sum.rejected, sum.signatures)
	t.Logf("%s: %d have a file made for them, of which %d are hits; %d are for files in containers or of no kind, %d found no bytes or places",
		what, sum.made, sum.hit, sum.never, sum.unmade)
	if sum.hit < sum.signatures*3/4 {
		t.Errorf("only %d of %d signatures are hit: the files test little", sum.hit, sum.signatures)
	}
}

// addTo makes and compares the files of w, and adds what they came to.
func (w *world) addTo(sum *world, misses int) {
	made, hit, never, unmade := 0, 0, 0, 0
	dir := w.t.TempDir()
	var files []string
	owner := map[string]string{}
	put := func(b []byte, i int, kind string) string {
		path := filepath.Join(dir, fmt.Sprintf("%d-%s", i, kind))
		must(w.t, os.WriteFile(path, b, 0o600))
		files = append(files, path)
		return path
	}
	for i := range w.sigs {
		s := &w.sigs[i]
		nobody := []pattern.Target{pattern.TargetUnused, pattern.TargetInternal, pattern.TargetOther}
		if s.logical.Container != 0 || s.logical.Intermediates != nil || slices.Contains(nobody, s.logical.Target) {
			never++
			continue
		}
		f, ok := w.fileOf(s, i)
		if !ok {
			unmade++
			continue
		}
		made++
		owner[put(f.Data, i, "hit")] = s.name
		for j := range misses {
			if len(f.Static) > 0 {
				put(w.m.Miss(f), i, fmt.Sprintf("miss%d", j))
			}
		}
	}
	ours := w.compare(files)
	for path, name := range owner {
		if ours[path][name] {
			hit++
		}
	}
	must(w.t, os.RemoveAll(dir))
	sum.made, sum.hit, sum.never, sum.unmade = sum.made+made, sum.hit+hit, sum.never+never, sum.unmade+unmade
	sum.lines, sum.normalised, sum.rejected, sum.signatures = sum.lines+w.lines, sum.normalised+w.normalised, sum.rejected+w.rejected, sum.signatures+len(w.sigs)
	sum.cells, sum.detected, sum.pairs, sum.differ, sum.left = sum.cells+w.cells, sum.detected+w.detected, sum.pairs+w.pairs, sum.differ+w.differ, sum.left+w.left
	for reason, n := range w.excused {
		sum.excused[reason] += n
	}
	sum.problems = append(sum.problems, w.problems...)
	must(w.t, w.matcher.Close())
}

// fileOf tries a few times: pieces at fixed places may lie over one another.
func (w *world) fileOf(s *signature, index int) (best patterntest.Made, ok bool) {
	scanner := w.set.NewScanner()
	for range 8 {
		f, made := w.m.Whole(s.logical, maxFile)
		if !made {
			continue
		}
		best, ok = f, true
		o, err := objectOf(bytes.NewReader(f.Data), int64(len(f.Data)))
		must(w.t, err)
		scanner.Begin(o)
		scanner.Write(f.Data)
		r, err := scanner.End(bytes.NewReader(f.Data))
		must(w.t, err)
		if slices.Contains(r.Matched, index) {
			break
		}
	}
	return best, ok
}

// Of the files that are made from the lines of real databases, and of near misses of them, both programs say the same.
func TestRealSignaturesAgree(t *testing.T) {
	clamscan(t)
	hitsAndMisses(t, "real signatures", 1, newMaker(1), realLines(t))
}

// Of signatures of every construct of the language, too.
func TestMadeUpSignaturesAgree(t *testing.T) {
	clamscan(t)
	m := newMaker(2)
	files := map[string][]string{}
	for i := range cells(1500, 6000) {
		ext, line := m.line(fmt.Sprintf("Made.%d", i))
		files["made"+ext] = append(files["made"+ext], line)
	}
	hitsAndMisses(t, "made-up signatures", 2, m, files)
}

// The comparison can fail: a signature that one of both programs lacks, or has with another name or another byte, is a difference.
func TestComparisonSeesADifference(t *testing.T) {
	w := newWorld(t, newMaker(4), map[string][]string{"a.ndb": {"One:0:*:0102030405060708090a", "Two:0:*:1112131415161718191a"}})
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, append(w.m.Filler(100), "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a"...), 0o600))
	for text, want := range map[string]int{
		"One:0:*:0102030405060708090a\nTwo:0:*:1112131415161718191a": 0,
		"Two:0:*:1112131415161718191a":                               1,
		"One:0:*:0102030405060708090b\nTwo:0:*:1112131415161718191a": 1,
		"New:0:*:0102030405060708090a\nTwo:0:*:1112131415161718191a": 1,
		"One:0:*:0102030405060708090a\nTwo:0:*:02030405060708090a":   1,
	} {
		must(t, os.WriteFile(filepath.Join(w.folder, "same.ndb"), []byte(text+"\n"), 0o600))
		w.differ = 0
		if w.compare([]string{file}); w.differ != want {
			t.Errorf("%d cells differ, want %d, where clamscan has\n%s", w.differ, want, text)
		}
	}
}

// Of the system's own files, with the real lines and with lines that were made of pieces of these files.
func TestSystemFilesAgree(t *testing.T) {
	clamscan(t)
	var paths []string
	for _, root := range []string{"/usr/bin", "/usr/lib"} {
		must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.ContainsAny(path, "\n") {
				return err
			}
			if info, err := d.Info(); err == nil && info.Size() > 5 && info.Size() < int64(cells(2<<20, 1<<30)) { // ClamAV looks at none of up to 5 bytes
				paths = append(paths, path)
			}
			return nil
		}))
	}
	every := max(1, len(paths)/cells(600, 12_000))
	m := newMaker(3)
	var files []string
	lines, pieces := realLines(t), 0
	each := max(1, len(paths)/every/cells(200, 3000))
	for i := 0; i < len(paths); i += every {
		files = append(files, paths[i])
		if b, err := os.ReadFile(paths[i]); err == nil && len(b) > 100 && len(files)%each == 0 {
			for range 2 {
				ext, line := m.excerpt(fmt.Sprintf("Piece.%d", pieces), b)
				pieces++
				lines["piece"+ext] = append(lines["piece"+ext], line)
			}
		}
	}
	w := newWorld(t, m, lines)
	w.compare(files)
	w.finish("system files")
	t.Logf("%d of %d files of /usr/bin and /usr/lib, %d lines: %d for normalised files left out, %d rejected, %d signatures", len(files), len(paths), w.lines,
		w.normalised, w.rejected, len(w.sigs))
	if w.detected < cells(100, 3000) {
		t.Errorf("only %d files are detected", w.detected)
	}
}
