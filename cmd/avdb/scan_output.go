package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/avdb/matcher"
)

// A scanTally counts what a scan came to. It is the summary of every format.
type scanTally struct {
	Scanned   int64   `json:"scanned"` // files looked at, the ones that could not be read included
	Clean     int64   `json:"clean"`
	Malicious int64   `json:"malicious"`
	Suspected int64   `json:"suspected"`
	Allowed   int64   `json:"allowed"`
	Errors    int64   `json:"errors"` // files or folders that could not be read whole
	Skipped   int64   `json:"skipped"`
	Partly    int64   `json:"partly,omitempty"` // archives that were not looked into whole: for a limit, or because something is damaged or encrypted
	Bytes     int64   `json:"bytes"`            // of the files that were looked at
	Seconds   float64 `json:"seconds"`
	Version   uint64  `json:"version"` // of the database
	Variant   string  `json:"variant"`
	Ended     string  `json:"ended,omitempty"` // why it did not look at all files: "timeout" or "interrupted"
}

func (t *scanTally) add(r matcher.Result) {
	t.Scanned++
	if r.Size > 0 && r.Skipped == "" && !errors.Is(r.Err, matcher.ErrTime) {
		t.Bytes += r.Size
	}
	if r.Skipped != "" {
		t.Skipped++
	}
	if notUnpacked(r) != "" {
		t.Partly++
	}
	if r.Err != nil {
		t.Errors++
	}
	switch r.Verdict {
	case matcher.Clean:
		if r.Skipped == "" {
			t.Clean++
		}
	case matcher.Malicious:
		t.Malicious++
	case matcher.Suspected:
		t.Suspected++
	case matcher.Allowed:
		t.Allowed++
	}
}

// ended notes why a scan ended before its end, and returns that.
func (t *scanTally) ended(err error) error {
	if _, ok := errors.AsType[*timeoutError](err); ok {
		t.Ended = "timeout"
	} else if err != nil {
		t.Ended = "interrupted"
	}
	return err
}

// err is the scan's result as an exit code: a finding wins over what could not be read.
func (t *scanTally) err() error {
	switch {
	case t.Malicious+t.Suspected > 0:
		return errFinding
	case t.Errors > 0:
		return errUnread
	}
	return nil
}

// text is the summary in words.
func (t *scanTally) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s scanned, %s in %.1f s: %s malicious, %s suspected", plural(int(t.Scanned), "file"),
		bytesText(t.Bytes), t.Seconds, countText(t.Malicious), countText(t.Suspected))
	for _, extra := range []struct {
		n    int64
		word string
	}{{t.Allowed, "allowed"}, {t.Skipped, "skipped"}, {t.Partly, "looked into in part"}, {t.Errors, "unreadable"}} {
		if extra.n > 0 {
			fmt.Fprintf(&b, ", %s %s", countText(extra.n), extra.word)
		}
	}
	fmt.Fprintf(&b, " (release %d, %s)", t.Version, t.Variant)
	return b.String()
}

// A scanWriter prints the results of a scan as they come, so that a scan of a whole disk
// needs no more memory than one of a file. It belongs to one goroutine.
type scanWriter interface {
	result(matcher.Result) error
	end(*scanTally) error
}

// scanFormats are the words of --format.
func scanFormats() []string { return []string{"text", "json", "ndjson", "sarif"} }

// newScanWriter gives the writer for one of scanFormats.
func newScanWriter(format string, w io.Writer, verbose bool, now func() time.Time) (scanWriter, error) {
	b := bufio.NewWriter(w)
	switch format {
	case "text":
		return &textScan{b, verbose}, nil
	case "json":
		return &jsonScan{w: b}, nil
	case "ndjson":
		return &ndjsonScan{b}, nil
	case "sarif":
		return &sarifScan{w: b, now: now, began: now(), rules: map[string]int{}}, nil
	}
	return nil, fmt.Errorf("--format is %q, want one of %s", format, strings.Join(scanFormats(), ", "))
}

// textScan is one line for each finding, as clamscan prints them.
type textScan struct {
	w       *bufio.Writer
	verbose bool
}

func (t *textScan) result(r matcher.Result) error {
	path := scanName(r.Path)
	switch note := notUnpacked(r); {
	case r.Verdict == matcher.Malicious:
		fmt.Fprintf(t.w, "%s: %s FOUND\n", path, escape(r.Name))
	case r.Verdict == matcher.Suspected:
		fmt.Fprintf(t.w, "%s: %s SUSPECTED\n", path, escape(r.Name))
	case !t.verbose:
		return nil
	case r.Verdict == matcher.Allowed:
		fmt.Fprintf(t.w, "%s: %s ALLOWED\n", path, escape(r.Name))
	case r.Skipped != "":
		fmt.Fprintf(t.w, "%s: SKIPPED, %s\n", path, escape(r.Skipped))
	case r.Verdict == matcher.Clean && note != "":
		fmt.Fprintf(t.w, "%s: PARTLY OK, %s\n", path, escape(note))
	case r.Verdict == matcher.Clean:
		fmt.Fprintf(t.w, "%s: OK\n", path)
	}
	if t.verbose && r.Member != "" {
		fmt.Fprintf(t.w, "%s: IN %s\n", path, escape(r.Member))
	}
	return t.w.Flush() // a finding is seen when it is found
}

func (t *textScan) end(*scanTally) error { return t.w.Flush() }

// pathText keeps a path on its line: one that holds what a terminal would obey is quoted.
func pathText(path string) string {
	if escape(path) != path {
		return strconv.Quote(path)
	}
	return path
}

// ndjsonScan is one JSON object for each file, clean ones included.
type ndjsonScan struct{ w *bufio.Writer }

func (n *ndjsonScan) result(r matcher.Result) error {
	if err := encodeLine(n.w, r); err != nil {
		return err
	}
	return n.w.Flush()
}

func (n *ndjsonScan) end(*scanTally) error { return n.w.Flush() }

// encodeLine writes v as one line of JSON.
func encodeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// jsonScan is one document: {"files":[…],"summary":{…}}.
type jsonScan struct {
	w     *bufio.Writer
	begun bool
}

func (j *jsonScan) result(r matcher.Result) error {
	sep := ",\n"
	if !j.begun {
		j.begun, sep = true, "{\"files\":[\n"
	}
	return writeItem(j.w, sep, r)
}

func (j *jsonScan) end(t *scanTally) error {
	if !j.begun {
		j.w.WriteString("{\"files\":[")
	}
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	fmt.Fprintf(j.w, "],\n\"summary\":%s}\n", b)
	return j.w.Flush()
}

// writeItem writes v after a separator, without the line feed that the encoder adds.
func writeItem(w *bufio.Writer, sep string, v any) error {
	text, err := encodeText(v)
	if err != nil {
		return err
	}
	_, err = w.WriteString(sep + text)
	return err
}

// encodeText is v as JSON.
func encodeText(v any) (string, error) {
	var b strings.Builder
	err := encodeLine(&b, v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// sarifScan is a SARIF 2.1.0 log with one run: a result for each finding, a notification for
// each file that could not be read, or was not unpacked whole. Clean files are not in it. Results are written as they
// come; the tool with its rules and the notifications follow them, for both are known at the end only.
type sarifScan struct {
	w     *bufio.Writer
	now   func() time.Time
	began time.Time
	begun bool
	rules map[string]int // by name, the place of each in list
	list  []sarifRule
	notes []sarifNote
	more  int64 // notifications beyond maxSarifNotes
}

// What is kept until the end is bounded. A result whose rule is beyond maxSarifRules names
// the rule and does not point at it, which SARIF allows.
const (
	maxSarifNotes = 1000
	maxSarifRules = 10000
)

type (
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    *int              `json:"ruleIndex,omitempty"`
		Level        string            `json:"level"`
		Kind         string            `json:"kind"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"fingerprints,omitempty"`
		Properties   map[string]string `json:"properties,omitempty"`
	}
	sarifRule struct {
		ID      string    `json:"id"`
		Short   sarifText `json:"shortDescription"`
		Default struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
		} `json:"physicalLocation"`
	}
	sarifNote struct {
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifInvocation struct {
		Successful bool        `json:"executionSuccessful"`
		Start      string      `json:"startTimeUtc"`
		End        string      `json:"endTimeUtc"`
		Notes      []sarifNote `json:"toolExecutionNotifications,omitempty"`
	}
)

// head opens the document up to the list of results.
func (s *sarifScan) head() error {
	if s.begun {
		return nil
	}
	s.begun = true
	_, err := s.w.WriteString("{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":\"2.1.0\",\n\"runs\":[{\"results\":[")
	return err
}

// rule is the place of a rule in the list, nil when there is no room for it.
func (s *sarifScan) rule(name, level string) *int {
	i, ok := s.rules[name]
	if !ok {
		if len(s.list) == maxSarifRules {
			return nil
		}
		i = len(s.list)
		s.rules[name] = i
		r := sarifRule{ID: name, Short: message("signature " + name)}
		r.Default.Level = level
		s.list = append(s.list, r)
	}
	return &i
}

// note keeps a notification about a file, while there is room.
func (s *sarifScan) note(level, text, path string) {
	if len(s.notes) == maxSarifNotes {
		s.more++
		return
	}
	s.notes = append(s.notes, sarifNote{Level: level, Message: message(text), Locations: []sarifLocation{location(path)}})
}

// sarifMessage is a finding in words.
func sarifMessage(r matcher.Result) string {
	path := r.Path
	if path == stdinPath {
		path = scanName(path)
	}
	if r.Member == "" {
		return fmt.Sprintf("%s is %s: %s", path, r.Verdict, r.Name)
	}
	return fmt.Sprintf("%s is %s: %s in %s", path, r.Verdict, r.Name, r.Member)
}

func (s *sarifScan) result(r matcher.Result) error {
	first := !s.begun
	text := notUnpacked(r)
	switch {
	case r.Err != nil && text != "":
		s.note("error", r.Error+"; "+text, r.Path)
	case r.Err != nil:
		s.note("error", r.Error, r.Path)
	case text != "":
		s.note("warning", text, r.Path)
	}
	level := ""
	switch r.Verdict {
	case matcher.Malicious:
		level = "error"
	case matcher.Suspected:
		level = "warning"
	default:
		return nil
	}
	if err := s.head(); err != nil {
		return err
	}
	sep := ",\n"
	if first {
		sep = "\n"
	}
	res := sarifResult{RuleID: r.Name, RuleIndex: s.rule(r.Name, level), Level: level, Kind: "fail", Locations: []sarifLocation{location(r.Path)},
		Message:    message(sarifMessage(r)),
		Properties: map[string]string{"verdict": string(r.Verdict), "signature": r.Signature, "source": r.Source}}
	if r.Member != "" {
		res.Properties["member"] = r.Member
	}
	if r.MemberSHA256 != "" {
		res.Properties["member_sha256"] = r.MemberSHA256
	}
	if r.SHA256 != "" {
		res.Fingerprints = map[string]string{"sha256/v1": r.SHA256}
	}
	return writeItem(s.w, sep, res)
}

func (s *sarifScan) end(t *scanTally) error {
	if err := s.head(); err != nil {
		return err
	}
	if s.more > 0 {
		s.notes = append(s.notes, sarifNote{Level: "error", Message: sarifText{plural(int(s.more), "more file") + " could not be read, or not whole"}})
	}
	if t.Ended != "" {
		s.notes = append(s.notes, sarifNote{Level: "error", Message: sarifText{"the scan was ended before it had looked at all files: " + t.Ended}})
	}
	inv, err := encodeText([]sarifInvocation{{Successful: t.Errors == 0 && t.Ended == "", Start: stamp(s.began), End: stamp(s.now()), Notes: s.notes}})
	if err != nil {
		return err
	}
	driver, err := encodeText(struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		URI     string      `json:"informationUri"`
		Rules   []sarifRule `json:"rules"`
	}{"avdb", readVersion().Version, "https://example.org/avdb", append([]sarifRule{}, s.list...)})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.w, "],\n\"tool\":{\"driver\":%s},\n\"invocations\":%s}]}\n", driver, inv)
	return s.w.Flush()
}

// message is text in which nothing is a placeholder or a link: a file's name must not become one.
func message(text string) sarifText {
	return sarifText{strings.NewReplacer("{", "{{", "}", "}}", "[", `\[`, "]", `\]`).Replace(text)}
}

// location names a file by a URI reference: absolute for an absolute path.
func location(path string) (l sarifLocation) {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
		if !strings.HasPrefix(u.Path, "/") {
			u.Path = "/" + u.Path // C:/…
		}
	}
	l.Physical.Artifact.URI = u.String()
	return l
}

// formatFor resolves --format and --json: the one that was named, else what --json asks
// for, else text.
func formatFor(format string, js bool) (string, error) {
	switch {
	case format == "" && js:
		return "json", nil
	case format == "":
		return "text", nil
	case !slices.Contains(scanFormats(), format):
		return "", usagef("--format is %q, want one of %s", format, strings.Join(scanFormats(), ", "))
	}
	return format, nil
}
