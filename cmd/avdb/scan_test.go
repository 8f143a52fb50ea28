package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.org/avdb/archive"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

var writeGolden = flag.Bool("golden", false, "write testdata/golden anew")

// results are a scan with one of each kind, and with paths that need care.
func results() []matcher.Result {
	sum := strings.Repeat("ab", 32)
	found := func(path, name string, v matcher.Verdict) matcher.Result {
		return matcher.Result{Path: path, Verdict: v, Name: name, Signature: "hash/sha256", Source: "local", SHA256: sum, Size: 10}
	}
	failed := errors.New("cannot scan: open gone: no such file or directory")
	return []matcher.Result{
		{Path: "clean.txt", Verdict: matcher.Clean, Source: "local", Size: 1000},
		found("sub/a file.com", "Test.One", matcher.Malicious),
		found("100%/#1?.com", "Test.One", matcher.Malicious),
		found("C:evil", "Test.Two", matcher.Malicious),
		found("line\nfeed\xff", "Prefix.SHA256.abab", matcher.Suspected),
		found("[here](https://example.org) {0}", "Test.Two", matcher.Malicious),
		found("allowed.com", "Test.Three", matcher.Allowed),
		{Path: "large.iso", Verdict: matcher.Clean, Source: "local", Size: 1 << 40, Skipped: "larger than the limit of 10 bytes"},
		{Path: "a.zip", Verdict: matcher.Malicious, Name: "Test.One", Signature: "pattern", Source: "local", SHA256: sum, Size: 20, Member: "b.tar//c", MemberSHA256: strings.Repeat("cd", 32)},
		{Path: "bomb.gz", Verdict: matcher.Clean, Source: "local", Size: 30, Limits: "container: not unpacked further: over the limit of depth (17)", Unread: "zip: damaged"},
		{Path: "gone", Verdict: matcher.Failed, Source: "local", Size: -1, Err: failed, Error: failed.Error()},
	}
}

// report is what a scan with these results prints.
func report(t *testing.T, format string, list []matcher.Result, ended string) string {
	t.Helper()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	w, err := newScanWriter(format, &b, true, func() time.Time { at = at.Add(time.Second); return at })
	if err != nil {
		t.Fatal(err)
	}
	tally := scanTally{Seconds: 1.5, Version: 7, Variant: "full", Ended: ended}
	for _, r := range list {
		tally.add(r)
		if err := w.result(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end(&tally); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What scripts read stays what it is. Run with -golden after a change that is meant.
func TestFormatsOfAScan(t *testing.T) {
	for _, format := range scanFormats() {
		got := report(t, format, results(), "")
		if format == "sarif" {
			got = strings.Replace(got, fmt.Sprintf("%q", readVersion().Version), `"VERSION"`, 1)
		}
		path := filepath.Join("testdata", "golden", "scan."+format)
		if *writeGolden {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is\n%s\nwant\n%s", format, got, want)
		}
	}
}

// sarifLog is what the standard demands or what we promise, and nothing else: unknown fields are errors.
type sarifLog struct {
	Schema  string `json:"$schema"`
	Version string `json:"version"`
	Runs    []struct {
		Results []struct {
			RuleID    string `json:"ruleId"`
			RuleIndex *int   `json:"ruleIndex"`
			Level     string `json:"level"`
			Kind      string `json:"kind"`
			Message   struct {
				Text string `json:"text"`
			} `json:"message"`
			Locations    []sarifPlace      `json:"locations"`
			Fingerprints map[string]string `json:"fingerprints"`
			Properties   map[string]string `json:"properties"`
		} `json:"results"`
		Tool struct {
			Driver struct {
				Name    string `json:"name"`
				Version string `json:"version"`
				URI     string `json:"informationUri"`
				Rules   []struct {
					ID    string `json:"id"`
					Short struct {
						Text string `json:"text"`
					} `json:"shortDescription"`
					Default struct {
						Level string `json:"level"`
					} `json:"defaultConfiguration"`
				} `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		Invocations []struct {
			Successful *bool  `json:"executionSuccessful"`
			Start      string `json:"startTimeUtc"`
			End        string `json:"endTimeUtc"`
			Notes      []struct {
				Level   string `json:"level"`
				Message struct {
					Text string `json:"text"`
				} `json:"message"`
				Locations []sarifPlace `json:"locations"`
			} `json:"toolExecutionNotifications"`
		} `json:"invocations"`
	} `json:"runs"`
}

type sarifPlace struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
	} `json:"physicalLocation"`
}

// readSarif holds a log to SARIF 2.1.0: the parts of the schema, and of the text beside it, that our logs touch.
func readSarif(t *testing.T, text string) sarifLog {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	var l sarifLog
	if err := d.Decode(&l); err != nil {
		t.Fatal(err)
	}
	if l.Version != "2.1.0" || l.Schema != "https://json.schemastore.org/sarif-2.1.0.json" || len(l.Runs) != 1 {
		t.Fatalf("version %q, schema %q, %d runs", l.Version, l.Schema, len(l.Runs))
	}
	levels := []string{"none", "note", "warning", "error"}
	run := l.Runs[0]
	place := func(p sarifPlace) {
		u, err := url.Parse(p.Physical.Artifact.URI)
		if err != nil || strings.ContainsAny(p.Physical.Artifact.URI, " \\\n\"<>") || u.Fragment != "" || u.RawQuery != "" || u.Scheme != "" && u.Scheme != "file" {
			t.Errorf("uri %q: %v", p.Physical.Artifact.URI, err)
		}
	}
	driver := run.Tool.Driver
	if driver.Name != "avdb" || driver.Version == "" || driver.Rules == nil {
		t.Errorf("driver %+v", driver)
	}
	ids := map[string]bool{}
	for _, r := range driver.Rules {
		if ids[r.ID] || r.ID == "" || r.Short.Text == "" || !slices.Contains(levels, r.Default.Level) {
			t.Errorf("rule %+v", r)
		}
		ids[r.ID] = true
	}
	if run.Results == nil {
		t.Error("results are absent: that means that the tool did not run")
	}
	for _, r := range run.Results {
		if r.RuleID == "" || r.Kind != "fail" || !slices.Contains(levels, r.Level) || r.Message.Text == "" || len(r.Locations) != 1 {
			t.Errorf("result %+v", r)
		}
		if r.RuleIndex != nil && (*r.RuleIndex < 0 || *r.RuleIndex >= len(driver.Rules) || driver.Rules[*r.RuleIndex].ID != r.RuleID) {
			t.Errorf("result of %s points at rule %d", r.RuleID, *r.RuleIndex)
		}
		for _, p := range r.Locations {
			place(p)
		}
	}
	if len(run.Invocations) != 1 || run.Invocations[0].Successful == nil {
		t.Fatalf("invocations %+v", run.Invocations)
	}
	for _, n := range run.Invocations[0].Notes {
		if n.Message.Text == "" || !slices.Contains(levels, n.Level) {
			t.Errorf("notification %+v", n)
		}
		for _, p := range n.Locations {
			place(p)
		}
	}
	for _, at := range []string{run.Invocations[0].Start, run.Invocations[0].End} {
		if _, err := time.Parse("2006-01-02T15:04:05Z", at); err != nil {
			t.Error(err)
		}
	}
	return l
}

func TestSarifKeepsToItsStandard(t *testing.T) {
	l := readSarif(t, report(t, "sarif", results(), ""))
	run := l.Runs[0]
	var uris, rules []string
	for _, r := range run.Results {
		uris = append(uris, r.Locations[0].Physical.Artifact.URI)
		if r.RuleIndex == nil {
			t.Errorf("%s has no rule", r.RuleID)
		}
	}
	for _, r := range run.Tool.Driver.Rules {
		rules = append(rules, r.ID+" "+r.Default.Level)
	}
	if want := []string{"sub/a%20file.com", "100%25/%231%3F.com", "./C:evil", "line%0Afeed%FF", "./%5Bhere%5D%28https://example.org%29%20%7B0%7D", "a.zip"}; !slices.Equal(uris, want) {
		t.Errorf("uris %q, want %q", uris, want)
	}
	slices.Sort(rules)
	if want := []string{"Prefix.SHA256.abab warning", "Test.One error", "Test.Two error"}; !slices.Equal(rules, want) {
		t.Errorf("rules %q, want %q", rules, want)
	}
	if got, want := run.Results[4].Message.Text, `\[here\](https://example.org) {{0}} is malicious: Test.Two`; got != want {
		t.Errorf("a name became a link: %q, want %q", got, want)
	}
	if *run.Invocations[0].Successful || len(run.Invocations[0].Notes) != 2 {
		t.Errorf("a file that could not be read, and one that was not unpacked whole: %+v", run.Invocations[0])
	}
	if l := readSarif(t, report(t, "sarif", []matcher.Result{{Path: "a.zip", Verdict: matcher.Clean, Limits: "too deep"}}, "")); !*l.Runs[0].Invocations[0].Successful || len(l.Runs[0].Invocations[0].Notes) != 1 {
		t.Error("a limit of unpacking is a failure, or is not said")
	}
	if l := readSarif(t, report(t, "sarif", nil, "")); len(l.Runs[0].Results) != 0 || !*l.Runs[0].Invocations[0].Successful {
		t.Error("a scan without files is a success without results")
	}
	if l := readSarif(t, report(t, "sarif", nil, "timeout")); *l.Runs[0].Invocations[0].Successful || len(l.Runs[0].Invocations[0].Notes) != 1 {
		t.Error("a scan that was ended is a success")
	}
}

func TestAbsolutePathsAreFileURIs(t *testing.T) {
	path, want := "/srv/a b", "file:///srv/a%20b"
	if runtime.GOOS == "windows" {
		path, want = `C:\srv\a b`, "file:///C:/srv/a%20b"
	}
	if got := location(path).Physical.Artifact.URI; got != want {
		t.Errorf("%s is %s, want %s", path, got, want)
	}
}

// A scan of millions of files keeps a bounded part of what it found.
func TestSarifIsBounded(t *testing.T) {
	w, err := newScanWriter("sarif", io.Discard, false, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var tally scanTally
	broken := errors.New("cannot scan")
	for i := range 3 * maxSarifRules {
		for _, r := range []matcher.Result{
			{Path: "f", Verdict: matcher.Malicious, Name: fmt.Sprint("Test.", i)},
			{Path: "g", Verdict: matcher.Failed, Err: broken, Error: broken.Error()},
		} {
			tally.add(r)
			if err := w.result(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := w.(*sarifScan)
	if len(s.list) != maxSarifRules || len(s.rules) != maxSarifRules || len(s.notes) != maxSarifNotes {
		t.Errorf("%d rules, %d notifications are kept", len(s.list), len(s.notes))
	}
	var list []matcher.Result
	for i := range maxSarifRules + 5 {
		list = append(list, matcher.Result{Path: "f", Verdict: matcher.Malicious, Name: fmt.Sprint("Test.", i), Err: broken, Error: broken.Error()})
	}
	run := readSarif(t, report(t, "sarif", list, "")).Runs[0]
	notes := run.Invocations[0].Notes
	if len(run.Results) != len(list) || run.Results[len(list)-1].RuleIndex != nil {
		t.Errorf("%d results, the last points at rule %v", len(run.Results), run.Results[len(run.Results)-1].RuleIndex)
	}
	if want := fmt.Sprintf("%s more files could not be read, or not whole", countText(len(list)-maxSarifNotes)); len(notes) != maxSarifNotes+1 || notes[maxSarifNotes].Message.Text != want {
		t.Errorf("%d notifications, the last: %+v", len(notes), notes[len(notes)-1])
	}
}

// A finding is told whatever else happened; time that was up is an error.
func TestHowAScanEnds(t *testing.T) {
	late := &timeoutError{time.Minute}
	for _, c := range []struct {
		tally scanTally
		err   error
		want  string
	}{
		{scanTally{}, nil, ""},
		{scanTally{}, late, "timeout"},
		{scanTally{Malicious: 1}, fmt.Errorf("scan: %w", late), "timeout"},
		{scanTally{}, errors.New("closed"), "interrupted"},
		{scanTally{}, &interruptedError{3}, "interrupted"},
	} {
		if got := c.tally.ended(c.err); got != c.err || c.tally.Ended != c.want {
			t.Errorf("%v: %q, want %q", c.err, c.tally.Ended, c.want)
		}
	}
	if exitCode(late) != exitError {
		t.Errorf("exit code %d", exitCode(late))
	}
}

// What the library says of a limit names flags of the program, and what has none is not to be raised. No name of a member makes up a limit.
func TestAdviceAboutLimits(t *testing.T) {
	for _, c := range []struct {
		limit archive.Limit
		want  string
	}{
		{archive.LimitDepth, "--max-depth"}, {archive.LimitMembers, "--max-members"}, {archive.LimitEntries, "--max-members"}, {archive.LimitMemberBytes, "--max-unpacked"},
		{archive.LimitTotalBytes, "--max-unpacked"}, {archive.LimitRead, "--max-unpacked"}, {archive.LimitRatio, "no flag"}, {archive.LimitWindow, "no flag"},
		{archive.LimitMemory, "temporary files"},
	} {
		for _, name := range []string{"", "x", "over the limit of depth (1); raise it or scan the content by itself"} {
			for _, more := range []string{"", "; and 3 more"} {
				r := matcher.Result{Limits: "a: " + (&archive.LimitError{Limit: c.limit, Max: 5, Member: name}).Error() + more}
				advise(&r)
				if i := strings.LastIndex(r.Limits, "over the limit of "+string(c.limit)+" (5); "); i < 0 || !strings.Contains(r.Limits[i:], c.want) || strings.Contains(r.Limits[i:], "raise it") ||
					!strings.HasSuffix(r.Limits, more) {
					t.Errorf("%s, member %q: %q, want %s", c.limit, name, r.Limits, c.want)
				}
			}
		}
	}
	r := matcher.Result{Limits: "too deep"}
	if advise(&r); r.Limits != "too deep" || r.Error != "" {
		t.Errorf("%+v", r)
	}
	for err, want := range map[error]string{matcher.ErrTime: "--max-time", matcher.ErrLimit: "by hand", errors.New("gone"): ""} {
		r := matcher.Result{Err: err, Error: "x"}
		if advise(&r); !strings.HasPrefix(r.Error, "x") || !strings.Contains(r.Error, want) || want == "" && r.Error != "x" {
			t.Errorf("%v: %q", err, r.Error)
		}
	}
}

// A list that never ends, and says nothing, holds up no scan whose time is up.
func TestAListThatWaitsEndsWithTheScan(t *testing.T) {
	from, to := io.Pipe()
	defer to.Close()
	l := pathList{args: []string{"a"}, from: from}
	go io.WriteString(to, "b\nc\n")
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for path := range l.all(ctx) {
		if got = append(got, path); path == "c" {
			cancel()
		}
	}
	if !slices.Equal(got, []string{"a", "b", "c"}) || l.err != nil {
		t.Errorf("%q, %v", got, l.err)
	}
}

func TestMaxAgeOfADatabase(t *testing.T) {
	for text, want := range map[string]days{"7d": days(7 * 24 * time.Hour), "36h": days(36 * time.Hour), "0": 0, "0d": 0} {
		var d, again days
		if err := d.Set(text); err != nil || d != want || again.Set(d.String()) != nil || again != d {
			t.Errorf("%s is %s, %v", text, &d, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "-1h", "1.5d", "7", "99999999d", "1w"} {
		if err := new(days).Set(text); err == nil {
			t.Errorf("%q is an age", text)
		}
	}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		age time.Duration
		max days
		ok  bool
	}{
		{time.Hour, 0, true}, {time.Hour, days(time.Hour), true}, {time.Hour + 1, days(time.Hour), false}, {-time.Hour, 1, true}, {10000 * time.Hour, 0, true},
	} {
		err := c.max.check(store.Generation{Version: 7, Published: now.Add(-c.age)}, now)
		if (err == nil) != c.ok || err != nil && exitCode(err) != exitError {
			t.Errorf("%s old, at most %s: %v", c.age, &c.max, err)
		}
	}
	if err := days(1).check(store.Generation{}, now); err == nil {
		t.Error("a database of no known age is new enough")
	}
}

func TestExclusions(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, path := range []string{"a.txt", "b.iso", "sub/c.txt", "sub/.git/d.txt", "sub/deep/e.iso", "sub/deep/f.txt", "other/g.txt"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.txt", "link.txt"); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	for _, c := range []struct {
		files, dirs []string
		roots, want []string
	}{
		{nil, nil, []string{".", "nowhere"}, []string{".", "nowhere"}},
		{[]string{"*.iso"}, []string{".git"}, []string{"."}, []string{"./a.txt", "./other/g.txt", "./sub/c.txt", "./sub/deep/f.txt"}},
		{[]string{"*.iso"}, nil, []string{"b.iso", "a.txt", "nowhere"}, []string{"a.txt", "nowhere"}},
		{nil, []string{"sub"}, []string{"sub", "other/"}, []string{"other/g.txt"}},
		{[]string{"sub/*.txt"}, []string{"sub/deep"}, []string{"sub", "a.txt"}, []string{"sub/.git/d.txt", "a.txt"}},
		{nil, []string{"*"}, []string{"sub", "a.txt"}, []string{"a.txt"}},
	} {
		x, err := newExclusions(c.files, c.dirs)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for path := range x.from(slices.Values(c.roots)) {
			got = append(got, filepath.ToSlash(path))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("without %q and %q: %q, want %q", c.files, c.dirs, got, c.want)
		}
	}
	for _, bad := range []string{"", "[", `[a-`} {
		if _, err := newExclusions(nil, []string{bad}); err == nil {
			t.Errorf("%q is a glob", bad)
		}
	}
}

// The line fits whatever the path is, and nothing in a path takes hold of the terminal.
func TestProgressOfAScan(t *testing.T) {
	tally := scanTally{Scanned: 1234, Bytes: 5_000_000, Malicious: 2, Errors: 1}
	const facts = "1 234 files  5.00 MB  2.50 MB/s  2 found  1 unreadable"
	for _, c := range []struct {
		path  string
		width int
		want  string
	}{
		{"/srv/file", 79, facts + "  /srv/file"},
		{"/srv/" + strings.Repeat("long/", 50) + "file", 79, facts + "  …ng/long/long/long/file"},
		{"/srv/\x1b[31m", 79, facts + `  /srv/\x1b[31m`},
		{"/srv/file", 60, facts},
		{"/srv/file", 10, facts}, // cut where it is drawn
	} {
		got := scanText(&tally, c.path, 2*time.Second, c.width)
		if got != c.want || c.width > 60 && utf8.RuneCountInString(got) > c.width {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	var out, results bytes.Buffer
	now := time.Unix(0, 0)
	l := scanLine{&progress{w: &out, width: func() int { return 40 }, now: func() time.Time { return now }, began: now}}
	now = now.Add(time.Second)
	l.show(&tally, "first")
	l.show(&tally, "second") // too early
	io.WriteString(l.before(&results), "a: Test FOUND\n")
	if strings.Contains(out.String(), "second") || !strings.HasSuffix(out.String(), strings.Repeat(" ", 39)+"\r") || results.String() != "a: Test FOUND\n" {
		t.Errorf("drawn %q, printed %q", out.String(), results.String())
	}
	var none scanLine
	none.show(&tally, "nothing")
	none.end()
	if w := none.before(&results); w != io.Writer(&results) {
		t.Error("something stands between a scan and its output")
	}
}

// An error always says which file it is about.
func TestFailuresNameTheFile(t *testing.T) {
	for want, r := range map[string]matcher.Result{
		"a/b.zip: member \"x\": no room to unpack it": {Path: "a/b.zip", Error: `member "x": no room to unpack it`},
		"open a/b: permission denied":                 {Path: "a/b", Error: "open a/b: permission denied"},
		"no path is known":                            {Error: "no path is known"},
	} {
		if got := failureText(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
