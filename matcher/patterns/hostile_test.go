package patterns

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/pattern"
)

// run scans an object that is for no target, and gives what was found and the steps that it took.
func run(t *testing.T, s *Set, data []byte, reader bool, most uint64) (Result, uint64) {
	t.Helper()
	c := s.NewScanner()
	c.Begin(Object{Size: int64(len(data)), MaxSteps: most})
	for left := data; len(left) > 0; left = left[min(len(left), 256<<10):] {
		c.Write(left[:min(len(left), 256<<10)])
	}
	var got Result
	var err error
	if reader {
		got, err = c.End(bytes.NewReader(data))
	} else {
		got, err = c.End(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range c.active {
		kept := cap(x.events)
		for _, p := range c.reading.progress {
			kept += cap(p.reachesRoom())
		}
		for i := range x.progress {
			kept += cap(x.progress[i].reachesRoom())
		}
		if kept > 16*maxKept+8*maxAgain {
			t.Errorf("the scanner keeps room for %d matches and spans", kept)
		}
	}
	return got, c.steps
}

// reachesRoom is as long as the room of all spans.
func (p *progress) reachesRoom() []struct{} {
	n := 0
	for i := range p.reaches {
		n += cap(p.reaches[i].spans)
	}
	return make([]struct{}, n)
}

// An anchor that an object repeats a million times is verified a million times at most, and no more once that can make no difference.
func TestRepeatedAnchorsCostOneStepEach(t *testing.T) {
	repeats := 1_000_000
	if raced {
		repeats = 50_000
	}
	data := bytes.Repeat([]byte("ab"), repeats)
	size := uint64(len(data))
	hex := "61626162616261626162"
	for _, c := range []struct {
		name    string
		record  pattern.Record
		most    uint64 // steps
		matches bool
	}{
		{"one match is enough", body(t, "0:*:"+hex), size, true},
		{"a part that never matches", body(t, "0:*:"+hex+"63"), 100, false},
		{"and has no other anchor", body(t, "0:*:"+hex+"??63"), 2 * size, false},
		{"all are counted", logical(t, fmt.Sprintf("Target:0;0>%d;%s", 2*repeats, hex)), 2 * size, false},
		{"and are enough", logical(t, fmt.Sprintf("Target:0;0>%d;%s", repeats*9/10, hex)), 2 * size, true},
		{"a place for each of many starts", body(t, "0:*:(61|6162|616261|61626162)"+hex+"??63"), 8 * size, false},
		{"the second part never comes", body(t, "0:*:"+hex+"*"+hex+"??63"), 8 * size, false},
		{"nor behind a bounded gap", body(t, "0:*:"+hex+"{5-500}"+hex+"??63"), 8 * size, false},
		{"nor the third", body(t, "0:*:"+hex+"{6-6}"+hex+"{300-300}"+hex+"??63"), 12 * size, false},
		{"chains are counted", logical(t, fmt.Sprintf("Target:0;0>%d;%s{-300}%s*%s", 2*repeats, hex, hex, hex)), 12 * size, false},
	} {
		got, steps := run(t, mustBuild(t, []pattern.Record{c.record}), data, true, 0)
		if matched := len(got.Matched) > 0; matched != c.matches || got.Undecided != nil || steps > c.most {
			t.Errorf("%s: %+v in %d steps, want %v in %d", c.name, got, steps, c.matches, c.most)
		}
	}
}

// A long part whose bytes an object repeats is compared over and over: what that takes counts, and a limit of steps ends it.
func TestComparedBytesAreSteps(t *testing.T) {
	const long = 4000 // bytes
	data := bytes.Repeat([]byte("ab"), 20_000)
	set := mustBuild(t, []pattern.Record{body(t, "0:*:"+strings.Repeat("6162", long/2)+"??63")})
	starts := uint64(len(data)-long) / 2
	got, steps := run(t, set, data, true, 0)
	if least := starts * long / compareSteps; got.Matched != nil || steps < least || steps > 2*least {
		t.Errorf("%+v in %d steps, want at least %d", got, steps, least)
	}
	if got, steps := run(t, set, data, true, 10_000); !got.Limited || steps > 11_000 {
		t.Errorf("limited: %+v in %d steps", got, steps)
	}
}

// Signatures that share their anchor cost a step each wherever it is: the bytes of the object times the parts that are looked for. Those that are equal
// are verified once for all of them. A limit of steps ends that, and says so.
func TestSharedAnchorsAreBounded(t *testing.T) {
	const shared = 100
	var all, equal []pattern.Record
	for i := range shared {
		all = append(all, body(t, fmt.Sprintf("0:*:61626162616261626162??%02x", 0x80+i)))
		equal = append(equal, body(t, "0:*:61626162616261626162??80"))
	}
	data := bytes.Repeat([]byte("ab"), 50_000)
	size := uint64(len(data))
	if got, steps := run(t, mustBuild(t, all), data, true, 0); got.Matched != nil || steps > 2*shared*size {
		t.Errorf("%+v in %d steps", got, steps)
	}
	if got, steps := run(t, mustBuild(t, equal), data, true, 0); got.Matched != nil || steps > 2*size {
		t.Errorf("equal parts: %+v in %d steps", got, steps)
	}
	all = append(all, body(t, "0:0:61626162"))
	got, steps := run(t, mustBuild(t, all), data, true, 10_000)
	if !got.Limited || !slices.Equal(got.Matched, []int{shared}) || steps > 10_000+2*shared {
		t.Errorf("limited: %+v in %d steps", got, steps)
	}
	if got, _ := run(t, mustBuild(t, all), data, true, 1<<40); got.Limited {
		t.Error("a scan within its limit is called limited")
	}
}

// Where a gap leaves more places open than a scan keeps, the object is read again; without a reader, or with more places still, the signature is
// undecided and never said to match or not to.
func TestWhatLeavesTooMuchOpenIsReadAgain(t *testing.T) {
	hex := strings.Repeat("6162", 8)
	gap := 4*maxKept + 20
	all := []pattern.Record{
		body(t, fmt.Sprintf("0:*:%s{%d-%d}%s7879", hex, gap, gap, hex)),
		body(t, "0:*:"+hex+"7879"),
		body(t, fmt.Sprintf("0:*:%s{%d-%d}%s797a", hex, gap, gap, hex)),
	}
	s := mustBuild(t, all)
	data := bytes.Repeat([]byte("ab"), gap/2+100)
	data = append(data, "xy"...)
	for _, more := range []int{0, 1} { // the second object has no start at this distance
		object := slices.Clone(data)
		want := []int{0, 1}
		if more > 0 {
			at := len(object) - 2 - len(hex)/2 - gap - len(hex)/2
			for i := max(0, at-2); i < at+3; i++ {
				object[i] = '.'
			}
			want = []int{1}
		}
		got, steps := run(t, s, object, true, 0)
		if !slices.Equal(got.Matched, want) || got.Undecided != nil || steps > 10*uint64(len(object)) {
			t.Errorf("%d: %+v in %d steps, want %v", more, got, steps, want)
		}
		if got, _ := run(t, s, object, false, 0); !slices.Equal(got.Matched, []int{1}) || !slices.Equal(got.Undecided, []int{0, 2}) {
			t.Errorf("%d without a reader: %+v", more, got)
		}
	}
	gap = 4 * maxAgain
	s = mustBuild(t, []pattern.Record{body(t, fmt.Sprintf("0:*:%s{%d-%d}%s7879", hex, gap, gap, hex))})
	data = append(bytes.Repeat([]byte("ab"), gap/2+100), "xy"...)
	if got, steps := run(t, s, data, true, 0); got.Matched != nil || !slices.Equal(got.Undecided, []int{0}) || steps > 10*uint64(len(data)) {
		t.Errorf("too much even then: %+v in %d steps", got, steps)
	}
}

// What matched in one pass is told although the object is read again for others, which come first, until that is given up.
func TestWhatMatchedIsToldWhateverIsReadAgain(t *testing.T) {
	var all []pattern.Record
	var data []byte
	const late, limit = 100, 4000
	for i := range late { // the trigger is there, and the short part behind it nowhere
		trigger := fmt.Sprintf("trigger-%04d-of-a-late-one", i)
		all = append(all, logical(t, fmt.Sprintf("Target:0;0;%x*%x", trigger, "short-1234")))
		data = append(data, trigger...)
	}
	all = append(all, logical(t, fmt.Sprintf("Target:0;0&1;%x;%x", "the-first-of-two-parts", "the-second-of-two-parts")),
		body(t, fmt.Sprintf("0:*:%x", "a-body-signature-of-its-own")))
	data = append(data, "the-first-of-two-parts, the-second-of-two-parts, a-body-signature-of-its-own"...)
	data = append(data, make([]byte, 200_000)...)
	s := mustBuild(t, all)
	if got, steps := run(t, s, data, true, 0); !slices.Equal(got.Matched, []int{late, late + 1}) || steps < 2*limit {
		t.Fatalf("without a limit: %+v in %d steps, want more than are allowed below", got, steps)
	}
	if got, _ := run(t, s, data, true, limit); !got.Limited || !slices.Equal(got.Matched, []int{late, late + 1}) {
		t.Errorf("%+v, want %d and %d in spite of the limit", got, late, late+1)
	}
}

// What cannot be counted cheaply is counted only if nothing else rules the signature out.
func TestOtherPartsSpareReadingAgain(t *testing.T) {
	all := []pattern.Record{logical(t, "Target:0;0&1&2;6162;6162636465666768696a;6b6c6d6e6f707172737475")}
	s := mustBuild(t, all)
	for text, again := range map[string]bool{
		"ab ab ab ab": false, "abcdefghij ab": false, "klmnopqrstu ab": false, "klmnopqrstu abcdefghij ab": true,
	} {
		got, _ := run(t, s, []byte(text), false, 0)
		if undecided := got.Undecided != nil; undecided != again || got.Matched != nil {
			t.Errorf("%q: %+v", text, got)
		}
		if got, _ := run(t, s, []byte(text), true, 0); (got.Matched != nil) != again {
			t.Errorf("%q with a reader: %+v", text, got)
		}
	}
}
