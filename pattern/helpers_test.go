package pattern_test

import (
	"errors"
	"reflect"
	"testing"

	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
)

// textOf gives the canonical line of a record without its name, "" for none.
func textOf(r pattern.Record) string {
	switch {
	case r.Body != nil:
		return r.Body.String()
	case r.Logical != nil:
		return r.Logical.String()
	}
	return ""
}

// parseRecord gives what a line says without its name.
func parseRecord(extension, line string) (pattern.Record, error) {
	if extension == "ndb" {
		_, s, err := pattern.ParseBodyLine(line)
		return pattern.Record{Body: &s}, err
	}
	_, l, err := pattern.ParseLogicalLine(line)
	return pattern.Record{Logical: &l}, err
}

// roundTrip writes a record as text and as bytes and reads both again. It gives the number of bytes.
func roundTrip(t *testing.T, extension string, r pattern.Record) int {
	t.Helper()
	line := "Name:" + textOf(r)
	if extension == "ldb" {
		line = "Name;" + textOf(r)
	}
	again, err := parseRecord(extension, line)
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Fatalf("the text %q gives %v, %v", line, textOf(again), err)
	}
	b, err := pattern.AppendRecord(nil, r)
	if err != nil {
		t.Fatalf("%q has no record: %v", line, err)
	}
	back, err := pattern.ParseRecord(b)
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Fatalf("the record of %q is read as %q, %v", line, textOf(back), err)
	}
	return len(b)
}

// kindOf gives the kind of an error, 0 for none.
func kindOf(err error) pattern.Kind {
	var e *pattern.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

// parseLine gives the error of a line.
func parseLine(extension, line string) error {
	var err error
	if extension == "ndb" {
		_, _, err = pattern.ParseBodyLine(line)
	} else {
		_, _, err = pattern.ParseLogicalLine(line)
	}
	return err
}

// alternate gives every other line static bytes that are mostly letters, so that modifiers and boundaries have something to do.
func alternate(w *patterntest.Writer, i int) {
	if w.Alphabet, w.Noise = "", 8; i%2 == 0 {
		w.Alphabet = "abcdefgABCXYZ019 _-.\n"
	}
}
