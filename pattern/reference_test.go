package pattern_test

import (
	"fmt"
	"strings"
	"testing"

	"example.org/avdb/pattern"
)

// logical parses a line without its name.
func logical(t *testing.T, text string) *pattern.Logical {
	t.Helper()
	_, l, err := pattern.ParseLogicalLine("A;" + text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return &l
}

// How often a subsignature matches, construct by construct.
func TestSubsignaturesAreCounted(t *testing.T) {
	for _, c := range []struct {
		sub, data string
		want      int
	}{
		{"61616161", "aaaaaaaa", 5}, // matches overlap
		{"6161", "aa aa", 2},
		{"6162::i", "ab AB aB Ab bA", 4},
		{"4142::i", "ab AB", 2},
		{"6162::w", "a\x00b\x00ab", 1},
		{"6162::wa", "a\x00b\x00ab", 2},
		{"6162::iwa", "A\x00b\x00aB", 2},
		{"6162??63::w", "a\x00b\x00x\x00c\x00a\x00b\x00xxc\x00", 1},
		{"6162{2}63::w", "a\x00b\x00xxc\x00", 1},
		{"6162??63", "abxc abc", 1},
		{"6162{2-4}6364", "abxcd abxxcd abxxxxcd abxxxxxcd", 2},
		{"6162{-1}6364", "abcd abxcd abxxcd", 2},
		{"6162{6-}6364", "abxxcd abxxcd", 1},
		{"6162*6364", "cd ab cd cd", 2},      // places of the last part
		{"6162*6364*6566", "ab ef cd ef", 1}, // in order
		{"6162{1-1}6364::wa", "a\x00b\x00xc\x00d\x00abxcd", 2},
		{"61626?6?", "abcd abnx", 1},
		{"6162?3?4", "ab\x03\x94abcd", 2},
		{"6162(63|64)65", "abce abde abfe", 2},
		{"6162!(63|64)65", "abce abde abfe abe", 1},
		{"6162(6364|6566)67", "abcdg abefg abcfg", 2},
		{"6162!(6364|6566)67", "abcdg abefg abcfg abg", 1},
		{"6162(63|636465)66", "abcf abcdef abcdf", 2},
		{"6162(63|6364)64", "abcd abcdd abd", 2},
		{"(61|6162)6364", "acd abcd bcd", 2},
		{"(B)6162", "ab .ab xab =ab", 2},
		{"6162(B)", "ab ab= abx ab.ab", 3},
		{"6162!(B)", "ab abx abx", 2},
		{"(L)6162", "ab\nab\r\nab\rab ab", 3},
		{"6162(L)", "ab\nab\r\nab\rab ab", 3},
		{"(W)6162(W)", "ab abx xab .ab=", 2},
		{"6162::f", "ab abx xab .ab=", 2},
		{"6162::fw", "xa\x00b\x00", 1}, // a lone byte is no character
		{"6162::fw", "\x00xa\x00b\x00", 1},
		{"6162::fw", "x\x00a\x00b\x00", 0},
		{"6162::fw", "a\x00b\x00x", 0}, // and yet it is one at the end of the file
		{"6162::fw", "a\x00b\x00x\x01", 1},
		{"6162::fw", "a\x00b\x00 \x00x\x00a\x00b\x00.\x00a\x00b\x00", 2},
		{"6162(B)63", "ab c abbc ab.c ab-cab/c", 4},
		{"!(B)6162", "ab xab .ab", 1},
		{"6162(L)6364", "ab\ncd ab\r\ncd ab\rcd", 2},
		{"6162!(L)6364", "ab\ncd ab\r\ncd ab\rcd abxcd", 2},
		{"6162(W)63", "ab c abxc ab.c", 2},
		{"78[1-2]6162", "xab x.ab x..ab x...ab", 2},
		{"6162[0-2]78", "abx ab.x ab..x ab...x", 3},
		{"0:6162", "abab", 1},
		{"2:6162", "abab", 1},
		{"1,1:6162", "ababab", 1},
		{"0,4:6162", "ababab", 3},
		{"EOF-2:6162", "abab", 1},
		{"EOF-4,2:6162", "ababab", 2},
		{"EOF-9:6162", "abab", 0},
		{"0:6162*6364", "abcd abcd", 2}, // an offset is the first part's
	} {
		l := logical(t, "Target:2;0;"+c.sub)
		f := &pattern.File{Data: []byte(c.data), Facts: pattern.Facts{Target: pattern.TargetOLE2}}
		if got := l.Subsignatures[0].Matches(f); got != c.want {
			t.Errorf("%s matches %q %d times, want %d", c.sub, c.data, got, c.want)
		}
		verifyEverywhere(t, l.Subsignatures[0], f.Data)
	}
}

// Entry point and sections move offsets, and only if the header was parsed.
func TestOffsetsFollowTheHeader(t *testing.T) {
	facts := pattern.Facts{Target: pattern.TargetPE, Header: pattern.HeaderParsed, EntryPoint: 4,
		Sections: []pattern.Section{{Offset: 2, Size: 3}, {Offset: 8, Size: 2}}}
	data := []byte("abababababab")
	for _, c := range []struct {
		offset string
		want   int
	}{
		{"EP+0", 1}, {"EP+1", 0}, {"EP+1,1", 1}, {"EP-2", 1}, {"EP-5", 0}, {"S0+0", 1}, {"S1+2", 1}, {"S2+0", 0}, {"SL+0", 1}, {"SL+0,2", 2}, {"SE0", 2}, {"SE1", 2}, {"SE0,1", 3},
		{"SE2", 0}, {"EOF-2", 1}, {"0", 1},
	} {
		l := logical(t, "Engine:51-255,Target:1;0;"+c.offset+":6162")
		f := &pattern.File{Data: data, Facts: facts}
		if got := l.Subsignatures[0].Matches(f); got != c.want {
			t.Errorf("%s matches %d times, want %d", c.offset, got, c.want)
		}
		f.Header = pattern.HeaderBroken
		want := 0
		if c.offset == "0" {
			want = 1
		}
		if got := l.Subsignatures[0].Matches(f); got != want {
			t.Errorf("%s matches %d times with a broken header, want %d", c.offset, got, want)
		}
	}
}

func TestExpressionsAreEvaluated(t *testing.T) {
	for _, c := range []struct {
		expression string
		matches    []int
		want       bool
	}{
		{"0&1", []int{1, 1}, true}, {"0&1", []int{1, 0}, false},
		{"0|1", []int{0, 2}, true}, {"0|1", []int{0, 0}, false},
		{"0=0&1", []int{0, 1}, true}, {"0=0&1", []int{1, 1}, false},
		{"0>2&1", []int{3, 1}, true}, {"0>2&1", []int{2, 1}, false},
		{"0<2&1", []int{1, 1}, true}, {"0<2&1", []int{2, 1}, false},
		{"(0|1)>2", []int{1, 2}, true}, {"(0|1)>2", []int{0, 2}, false},
		{"(0|1)=3,2", []int{1, 2}, true}, {"(0|1)=3,2", []int{3, 0}, false},
		{"(0&1)=0", []int{5, 0}, true}, {"(0&1)=0", []int{1, 1}, false}, // a group that does not hold counts 0
		{"(0|1|2)>1,3", []int{1, 1, 1}, true}, {"(0|1|2)>1,3", []int{2, 2, 0}, false},
		{"((0|1)>0|2)>1,2", []int{1, 1, 1}, false},                        // who was counted in a comparison is forgotten outside of it
		{"0|1&2", []int{1, 0, 0}, true}, {"0&1|2", []int{0, 0, 1}, false}, // from the right
		{"(0&1|2)", []int{0, 0, 1}, true}, // inside of parentheses the last one last
		{"(0|0)=4", []int{2}, true},
	} {
		l := logical(t, "Target:2;"+c.expression+strings.Repeat(";6162", len(c.matches)))
		if got := l.Expression.Evaluate(c.matches); got != c.want {
			t.Errorf("%s with the matches %v: %v, want %v", c.expression, c.matches, got, c.want)
		}
	}
}

func TestAttributesDecide(t *testing.T) {
	zip, _ := pattern.FileTypeOf("CL_TYPE_ZIP")
	pdf, _ := pattern.FileTypeOf("CL_TYPE_PDF")
	executable := pattern.Facts{Target: pattern.TargetPE, Header: pattern.HeaderParsed, EntryPoint: 4, Sections: make([]pattern.Section, 2)}
	inside := func(types ...pattern.FileType) pattern.Facts {
		f := executable
		f.Containers = types
		return f
	}
	broken := executable
	broken.Header = pattern.HeaderBroken
	for _, c := range []struct {
		attributes string
		facts      pattern.Facts
		want       bool
	}{
		{"Target:0", pattern.Facts{}, true}, {"Target:1", executable, true}, {"Target:1", pattern.Facts{}, false}, {"Target:0", executable, true},
		{"Engine:51-255,Target:0,FileSize:2-4", executable, true}, {"Engine:51-255,Target:0,FileSize:5-9", executable, false},
		{"Engine:51-255,Target:1,EntryPoint:4-4", executable, true}, {"Engine:51-255,Target:1,EntryPoint:5-9", executable, false}, {"Engine:51-255,Target:1,EntryPoint:0-9", broken, false},
		{"Engine:51-255,Target:1,NumberOfSections:2-2", executable, true}, {"Engine:51-255,Target:1,NumberOfSections:3-9", executable, false},
		{"Engine:51-255,Target:0,Container:CL_TYPE_ZIP", inside(zip, pdf), true}, {"Engine:51-255,Target:0,Container:CL_TYPE_ZIP", inside(pdf, zip), false},
		{"Engine:51-255,Target:0,Container:CL_TYPE_ANY", executable, true}, {"Engine:51-255,Target:0,Container:CL_TYPE_ANY", inside(zip), false},
		{"Engine:51-255,Target:0,Intermediates:CL_TYPE_PDF>CL_TYPE_ZIP", inside(zip, pdf), true}, {"Engine:51-255,Target:0,Intermediates:CL_TYPE_PDF>CL_TYPE_ZIP", inside(zip), false},
		{"Engine:51-255,Target:0,Intermediates:CL_TYPE_PDF>CL_TYPE_ANY", inside(pdf, zip), true}, // ANY stands for no container
		{"Engine:51-255,Target:0,Intermediates:CL_TYPE_PDF>CL_TYPE_ANY", inside(zip, pdf), false},
	} {
		l := logical(t, c.attributes+";0;6162")
		if got, n := l.Match(&pattern.File{Data: []byte("abc"), Facts: c.facts}); got != c.want {
			t.Errorf("%s with %+v: %v (%v), want %v", c.attributes, c.facts, got, n, c.want)
		}
	}
}

// A part with every alternative that is allowed does not take time without end.
func TestHostileAlternativesAreBounded(t *testing.T) {
	text := "6162"
	for range 8 {
		text += "(61|6161)"
	}
	l := logical(t, "Target:2;0;"+text+"62")
	data := make([]byte, 4096)
	for i := range data {
		data[i] = 'a'
	}
	copy(data[100:], "ab")
	if n := l.Subsignatures[0].Matches(&pattern.File{Data: data, Facts: pattern.Facts{Target: pattern.TargetOLE2}}); n != 0 {
		t.Errorf("%d matches", n)
	}
	if _, _, err := pattern.ParseLogicalLine(fmt.Sprintf("A;Target:2;0;%s(61|6161)62", text)); kindOf(err) != pattern.KindLimit {
		t.Errorf("nine alternatives of two lengths: %v, want a limit of %d ways", err, pattern.MaxWays)
	}
}
