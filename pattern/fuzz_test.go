package pattern_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
)

// knownError tells whether an error is one of ours with a kind, a place and a reason.
func knownError(err error) bool {
	var e *pattern.Error
	return errors.As(err, &e) && e.Kind >= 1 && int(e.Kind) <= pattern.Kinds && e.Where != "" && e.Reason != ""
}

// checkRecord holds what was parsed against its text, its bytes, and both matchers against one another.
func checkRecord(t *testing.T, extension string, r pattern.Record, data []byte) {
	t.Helper()
	b, err := pattern.AppendRecord(nil, r)
	if err != nil {
		if kindOf(err) != pattern.KindLimit {
			t.Fatalf("what was parsed has no record: %v", err)
		}
		return
	}
	back, err := pattern.ParseRecord(b)
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Fatalf("%x is read as %q, %v; want %q", b, textOf(back), err, textOf(r))
	}
	checkText(t, extension, r)
	data = data[:min(len(data), 200)]
	for _, s := range patterntest.Subsignatures(r) {
		verifyEverywhere(t, s, data)
	}
}

// checkText reads the canonical text again. That of a record may be too long for a line, or for an engine of another level.
func checkText(t *testing.T, extension string, r pattern.Record) {
	t.Helper()
	separator := map[string]string{"ndb": ":", "ldb": ";"}[extension]
	again, err := parseRecord(extension, "A"+separator+textOf(r))
	if k := kindOf(err); k == pattern.KindLimit || k == pattern.KindEngine {
		return
	}
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Fatalf("the text %q gives %q, %v", textOf(r), textOf(again), err)
	}
}

func FuzzParseBodyLine(f *testing.F) {
	for _, c := range bodySpellings() {
		f.Add(c.line, []byte("ab\xaa\xbb\xcc\xdd"))
	}
	for _, c := range refusals() {
		f.Add(c.line, []byte("ab"))
	}
	w := patterntest.New(41)
	for range 40 {
		f.Add(w.BodyLine("A", pattern.TargetPE), w.Filler(40))
	}
	f.Fuzz(func(t *testing.T, line string, data []byte) {
		name, s, err := pattern.ParseBodyLine(line)
		if err != nil {
			if !knownError(err) || !reflect.DeepEqual(s, pattern.BodySignature{}) {
				t.Fatalf("%+v, %v; want nothing and an error of this package", s, err)
			}
			return
		}
		if !strings.HasPrefix(line, name+":") {
			t.Fatalf("the name of %q is %q", line, name)
		}
		checkRecord(t, "ndb", pattern.Record{Body: &s}, data)
	})
}

func FuzzParseLogicalLine(f *testing.F) {
	for _, c := range logicalSpellings() {
		f.Add(c.line, []byte("ab\xaa\xbb\xcc\xdd"))
	}
	for _, c := range refusals() {
		f.Add(c.line, []byte("ab"))
	}
	w := patterntest.New(42)
	alternate(w, 0)
	for range 40 {
		f.Add(w.LogicalLine("A", pattern.TargetPE), w.Filler(40))
	}
	f.Fuzz(func(t *testing.T, line string, data []byte) {
		name, l, err := pattern.ParseLogicalLine(line)
		if err != nil {
			if !knownError(err) || !reflect.DeepEqual(l, pattern.Logical{}) {
				t.Fatalf("%+v, %v; want nothing and an error of this package", l, err)
			}
			return
		}
		if !strings.HasPrefix(line, name+";") {
			t.Fatalf("the name of %q is %q", line, name)
		}
		checkRecord(t, "ldb", pattern.Record{Logical: &l}, data)
	})
}

func FuzzParseBinary(f *testing.F) {
	w := patterntest.New(43)
	for i := range 80 {
		extension, line := "ndb", w.BodyLine("A", pattern.TargetELF)
		if i%2 > 0 {
			extension, line = "ldb", w.LogicalLine("A", pattern.TargetELF)
		}
		if r, err := parseRecord(extension, line); err == nil {
			b, err := pattern.AppendRecord(nil, r)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := pattern.ParseRecord(b)
		if err != nil {
			if !knownError(err) || r != (pattern.Record{}) {
				t.Fatalf("%+v, %v; want nothing and an error of this package", r, err)
			}
			return
		}
		if again, err := pattern.AppendRecord(nil, r); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x, %v", b, again, err)
		}
		extension := "ndb"
		if r.Logical != nil {
			extension = "ldb"
		}
		checkText(t, extension, r)
	})
}
