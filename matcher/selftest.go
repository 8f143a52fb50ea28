package matcher

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"example.org/avdb/dbformat"
)

// ErrSelfTest is matched by the error of a generation that does not do what its own vectors
// demand. Such a generation must not become current.
var ErrSelfTest = errors.New("self-test failed")

// A SelfTestError says which vector a generation got wrong. It matches [ErrSelfTest].
type SelfTestError struct {
	Vector  int                  // its number among the layer's vectors, -1 if they are missing
	Section string               // the section that it tests, "" for a benign file
	Variant dbformat.Variant     // of the generation
	Want    dbformat.Expectation // what the vector demands
	Got     Verdict              // what matching gave
	Reason  string               // what else is wrong, "" if the verdict alone is
	Err     error                // why matching failed, nil if it did not
}

func (e *SelfTestError) Error() string {
	if e.Vector < 0 {
		return fmt.Sprintf("self-test of the %s variant: %s", e.Variant, e.Reason)
	}
	what := "benign content"
	if e.Section != "" {
		what = "section " + e.Section
	}
	s := fmt.Sprintf("self-test of the %s variant, vector %d (%s): verdict %s, want %s", e.Variant, e.Vector, what, e.Got, e.Want)
	if e.Reason != "" {
		s += ", " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is matches [ErrSelfTest].
func (e *SelfTestError) Is(target error) bool { return target == ErrSelfTest }

// Unwrap is why matching failed.
func (e *SelfTestError) Unwrap() error { return e.Err }

// SelfTest matches the vectors of a generation that is not yet current, exactly as files are matched, and looks those of
// URLs up, as [Engine.LookupURL] does; potentially unwanted applications included: each must get the verdict that it demands of the
// variant, and a vector of a section must be known to that very section. A generation with signatures and
// without vectors fails. rest is nil for the light variant. Other errors are those of [OpenGeneration].
func SelfTest(light, rest dbformat.LayerReader) error {
	e, err := OpenGeneration(light, rest, Options{PUA: true})
	if err != nil {
		return err
	}
	return e.selfTest(light)
}

func (e *Engine) selfTest(light dbformat.LayerReader) error {
	variant := dbformat.VariantLight
	if e.full {
		variant = dbformat.VariantFull
	}
	vectors, err := readVectors(light)
	if err != nil {
		return err
	}
	if len(vectors) == 0 && e.records > 0 {
		return &SelfTestError{Vector: -1, Variant: variant, Reason: "the light layer has signatures and no vectors"}
	}
	for i, v := range vectors {
		want := v.Light
		if e.full {
			want = v.Full
		}
		bad := &SelfTestError{Vector: i, Section: v.Section, Variant: variant, Want: want}
		id, err := dbformat.ParseSection(v.Section)
		if err != nil && v.Section != "" {
			return err
		}
		try := e.tryVector
		if id.OfURLs() {
			try = e.tryURL
		}
		got, t, err := try(v.Content)
		switch bad.Got = got; {
		case err != nil:
			bad.Got, bad.Err = Failed, err
			return bad
		case string(got) != want.String():
			return bad
		case v.Section == "" || want == dbformat.ExpectClean:
			continue
		}
		if t.met&sectionBit(id) == 0 {
			bad.Reason = "but the section itself does not know it"
			return bad
		}
	}
	return nil
}

// tryVector matches content and keeps the tally, which tells what each section knew.
func (e *Engine) tryVector(b []byte) (Verdict, *tally, error) {
	h := e.scanners.get()
	defer e.scanners.put(h)
	h.bytes.Reset(b)
	defer h.bytes.Reset(nil)
	var (
		o object
		t tally
	)
	l := look{e: e, h: h, pua: true}
	c := &content{r: &h.bytes, all: b, size: int64(len(b))}
	if err := l.inspect(context.Background(), c, e.algorithms(true, c.size, &t), &o, &t); err != nil {
		return Failed, nil, err
	}
	e.match(&o, true, &t)
	if t.err == nil {
		t.err = l.trouble
	}
	return t.decide().verdict, &t, t.err
}

// readVectors gives copies of the light layer's vectors, none if it has no such section.
func readVectors(light dbformat.LayerReader) (v []dbformat.Vector, err error) {
	defer guardError(debug.SetPanicOnFault(true), &err)
	at, _, ok := light.Header().Section(dbformat.ClassSelfTest.Section(0))
	if !ok {
		return nil, nil
	}
	b, err := light.Block(at, 0)
	if err != nil {
		return nil, err
	}
	return dbformat.Vectors(b)
}
