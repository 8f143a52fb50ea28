package patterns

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
	"example.org/avdb/prefilter"
)

// A meter is an object that counts what is read of it.
type meter struct {
	*bytes.Reader
	read int64
}

func (m *meter) ReadAt(b []byte, at int64) (int, error) {
	n, err := m.Reader.ReadAt(b, at)
	m.read += int64(n)
	return n, err
}

// metered scans an object, and tells how many bytes of it were read again.
func metered(t *testing.T, s *Set, o Object, data []byte) (Result, int64) {
	t.Helper()
	c, m := s.NewScanner(), &meter{Reader: bytes.NewReader(data)}
	c.Begin(o)
	c.Write(data)
	got, err := c.End(m)
	if err != nil {
		t.Fatal(err)
	}
	return got, m.read
}

// However many signatures an object has to be read again for: it is read again once.
func TestOneReadingCountsForAll(t *testing.T) {
	var all []pattern.Record
	var data []byte
	for i := range 300 {
		trigger, short := fmt.Sprintf("the-trigger-%04d-of-a-late-one", i), fmt.Sprintf("s%04d", i)
		switch i % 4 {
		case 0: // the short part behind it is there
			all = append(all, body(t, fmt.Sprintf("0:*:%x*%x", trigger, short)))
			data = append(data, trigger+short...)
		case 1: // or nowhere
			all = append(all, body(t, fmt.Sprintf("0:*:%x{-9}%x", trigger, short)))
			data = append(data, trigger...)
		case 2: // often enough
			all = append(all, logical(t, fmt.Sprintf("Target:0;0&1=3;%x;%x::i", trigger, short)))
			data = append(data, trigger+short+strings.ToUpper(short)+short...)
		case 3: // or too often
			all = append(all, logical(t, fmt.Sprintf("Target:0;0&1<3;%x;%x::iwa", trigger, short)))
			data = append(data, trigger+short+strings.ToUpper(short)+short...)
		}
	}
	data = append(data, make([]byte, 1<<20)...)
	s := mustBuild(t, all)
	got, read := metered(t, s, Object{Size: int64(len(data))}, data)
	var want []int
	for i := range all {
		if i%2 == 0 {
			want = append(want, i)
		}
	}
	if !slices.Equal(got.Matched, want) || got.Undecided != nil {
		t.Errorf("%+v, want %v", got, want)
	}
	if most := int64(len(data)) * 3 / 2; read < int64(len(data)) || read > most {
		t.Errorf("%d bytes of %d were read again, want one reading, %d at most", read, len(data), most)
	}
}

// A signature that asks for another kind of object, or holds whatever is not counted, is decided without.
func TestWhatNeedsNoCountIsNotReadAgain(t *testing.T) {
	trigger := fmt.Sprintf("%x", "the-trigger-of-a-late-one")
	late := trigger + "*6162"
	for _, c := range []struct {
		line    string
		matched bool
		again   bool
	}{
		{"Target:1;0;" + late, true, true},
		{"Engine:51-255,Target:1,NumberOfSections:2-2;0;" + late, false, false},
		{"Engine:51-255,Target:1,EntryPoint:7-7;0;" + late, false, false},
		{"Engine:51-255,Target:1,Container:CL_TYPE_ZIP;0;" + late, false, false},
		{"Engine:51-255,Target:1,EntryPoint:4-4;0;" + late, true, true},
		{"Target:1;0|1;" + late + ";" + trigger, true, false},
		{"Target:1;0|1>1;" + late + ";" + trigger, true, true},
		{"Target:1;0&1=0;" + late + ";" + trigger, false, false},
	} {
		s := mustBuild(t, []pattern.Record{logical(t, c.line)})
		data := []byte("the-trigger-of-a-late-one..ab..")
		o := Object{Size: int64(len(data)), Kind: filetype.PE, Layout: &filetype.Layout{Kind: filetype.PE, Entry: 4}}
		got, read := metered(t, s, o, data)
		if matched := got.Matched != nil; matched != c.matched || (read > 0) != c.again || got.Undecided != nil {
			t.Errorf("%s: %+v with %d bytes read again", c.line, got, read)
		}
	}
}

// What an object is filled up with takes nothing back: what holds whatever follows is told when the steps run out, in the first pass and while it is read again.
func TestWhatHoldsIsToldWhenStepsRunOut(t *testing.T) {
	noise := fmt.Sprintf("%x", "abababab")
	lines := []string{
		"Target:0;0&1;" + fmt.Sprintf("%x;%x", "the-first-of-two", "the-second-of-two"),
		"Target:0;0>1;" + fmt.Sprintf("%x", "the-second-of-two"),
		"Target:0;0&1=0;" + fmt.Sprintf("%x;%x", "the-first-of-two", "this-is-nowhere-in-it"), // until the end is seen nobody knows
		"Target:0;0=2;" + fmt.Sprintf("%x", "the-second-of-two"),                              // nor this
		"Target:0;0&1;" + fmt.Sprintf("%x;%x", "the-first-of-two", "this-is-nowhere-in-it"),
		"Target:0;0>4000000;" + noise + noise,
		"Target:0;0&1;" + fmt.Sprintf("%x*%x;%x", "the-first-of-two", "then", "the-second-of-two"), // late
		"Target:0;0&1=2;" + fmt.Sprintf("%x;%x", "the-first-of-two", "then"),
		"Target:0;0&1>4000000;" + fmt.Sprintf("%x;%x", "the-first-of-two", "abab"),
	}
	var all []pattern.Record
	for _, l := range lines {
		all = append(all, logical(t, l))
	}
	data := []byte("the-first-of-two, then the-second-of-two and then the-second-of-two")
	data = append(data, bytes.Repeat([]byte("ab"), 500_000)...)
	s := mustBuild(t, all)
	for _, c := range []struct {
		most    uint64
		limited bool
		want    []int
	}{
		{100_000, true, []int{0, 1}},            // while the noise is counted
		{2_200_000, true, []int{0, 1, 2, 3, 6}}, // while it is read again
		{0, false, []int{0, 1, 2, 3, 6, 7}},
	} {
		got, steps := run(t, s, data, true, c.most)
		if !slices.Equal(got.Matched, c.want) || got.Limited != c.limited || got.Undecided != nil {
			t.Errorf("with %d steps: %+v in %d, want %v", c.most, got, steps, c.want)
		}
	}
}

// Chains that leave too much open for one reading together are counted by the next ones. Of those that are too many for all readings the signatures are undecided.
func TestReadingsShareTheirRoom(t *testing.T) {
	hex := strings.Repeat("6162", 8)
	const gap = 4*maxKept + 20 // a span for each two bytes of it
	for _, c := range []struct{ chains, decided, readings int }{{1, 1, 1}, {3, 3, 1}, {9, 9, 3}, {14, 12, 4}} {
		var all []pattern.Record
		for i := range c.chains {
			all = append(all, body(t, fmt.Sprintf("0:*:%s{%d-%d}%s7879", hex, gap+2*i, gap+2*i, hex)))
		}
		data := append(bytes.Repeat([]byte("ab"), gap/2+100), "xy"...)
		got, read := metered(t, mustBuild(t, all), Object{Size: int64(len(data))}, data)
		if most := int64(len(data)) * int64(3*c.readings) / 2; len(got.Matched) < c.decided || len(got.Matched)+len(got.Undecided) != c.chains || read > most {
			t.Errorf("%d chains: %d match, %d are undecided, %d bytes of %d were read again", c.chains, len(got.Matched), len(got.Undecided), read, len(data))
		}
	}
}

// A cut object is an error while it is read again, and the scanner goes on with the next one.
func TestObjectsThatShrinkAreAnErrorWhenReadAgain(t *testing.T) {
	all := []pattern.Record{body(t, fmt.Sprintf("0:*:%x*6162", "the-trigger-of-a-late-one"))}
	c := mustBuild(t, all).NewScanner()
	data := append([]byte("the-trigger-of-a-late-one"), make([]byte, 300_000)...)
	data = append(data, "ab"...)
	for _, left := range []int{0, 1000, 200_000, len(data) - 1} {
		c.Begin(Object{Size: int64(len(data))})
		c.Write(data)
		if _, err := c.End(bytes.NewReader(data[:left])); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("of %d", len(data))) {
			t.Errorf("%d bytes are left: %v", left, err)
		}
		check(t, c, all, Object{Size: int64(len(data))}, data, whole)
	}
	c.Begin(Object{Size: int64(len(data))})
	c.Write(data)
	if _, err := c.End(failing{}); err != io.ErrClosedPipe {
		t.Errorf("a reader that fails: %v", err)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

// The runs of a program are bytes that stand at that distance in whatever matches.
func TestRunsStandAtTheirDistance(t *testing.T) {
	runs, m := 0, prefilter.DefaultModel()
	for seed := range uint64(rounds) {
		w := newWriter(4000 + seed)
		for _, r := range w.records(pattern.TargetAny, 3) {
			for _, s := range subsignaturesOf(r) {
				for _, v := range s.Variants() {
					for i := range v.Parts {
						p := &v.Parts[i]
						a := chooseAnchor(p, m)
						type run struct {
							text string
							at   int64
						}
						var got, want []run
						program(appendProgram(nil, &v, i, &a)).runs(func(b []byte, least, most int64) {
							b = bytes.Clone(b)
							hide(b)
							if got = append(got, run{string(b), least}); least != most {
								t.Fatalf("%s: %d to %d", text(r), least, most)
							}
						})
						for _, l := range p.Literals() {
							if l.Least == l.Most {
								want = append(want, run{l.Bytes, int64(l.Least)})
							}
						}
						// Those behind elements of several options are not worth the walk.
						if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
							t.Fatalf("%s: %v, want the first of %v", text(r), got, want)
						}
						runs += len(got)
					}
				}
			}
		}
	}
	if runs < rounds {
		t.Errorf("%d runs", runs)
	}
}
