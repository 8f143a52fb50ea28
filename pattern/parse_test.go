package pattern_test

import (
	"fmt"
	"strings"
	"testing"

	"example.org/avdb/pattern"
)

// Each spelling of a meaning gives one canonical text.
func TestBodyLinesHaveOneSpelling(t *testing.T) {
	for _, c := range bodySpellings() {
		name, s, err := pattern.ParseBodyLine(c.line)
		if err != nil {
			if c.want != "" {
				t.Errorf("%s: %v", c.line, err)
			}
			continue
		}
		if got := s.String(); got != c.want || name != "A" {
			t.Errorf("%s is %q with the name %q, want %q", c.line, got, name, c.want)
		}
		roundTrip(t, "ndb", pattern.Record{Body: &s})
	}
}

func TestLogicalLinesHaveOneSpelling(t *testing.T) {
	for _, c := range logicalSpellings() {
		name, l, err := pattern.ParseLogicalLine(c.line)
		if err != nil {
			if c.want != "" {
				t.Errorf("%s: %v", c.line, err)
			}
			continue
		}
		if got := l.String(); got != c.want || name != "A" {
			t.Errorf("%s is %q with the name %q, want %q", c.line, got, name, c.want)
		}
		roundTrip(t, "ldb", pattern.Record{Logical: &l})
	}
}

// A line that is refused says why, by a kind that can be counted, and yields nothing else than its name.
func TestRefusedLinesSayWhy(t *testing.T) {
	for _, c := range refusals() {
		extension := "ndb"
		if strings.Contains(c.line, ";") {
			extension = "ldb"
		}
		err := parseLine(extension, c.line)
		if kindOf(err) != c.want {
			t.Errorf("%s: %v, want kind %q", c.line[:min(len(c.line), 60)], err, c.want)
		}
		if r, _ := parseRecord(extension, c.line); extension == "ndb" && fmt.Sprint(*r.Body) != fmt.Sprint(pattern.BodySignature{}) ||
			extension == "ldb" && r.Logical.Subsignatures != nil {
			t.Errorf("%s: a refused line yields a signature", c.line)
		}
	}
}

func TestEveryKindHasAReason(t *testing.T) {
	seen := map[string]bool{}
	for k := 1; k <= pattern.Kinds; k++ {
		reason := pattern.Kind(k).String()
		if reason == "" || strings.HasPrefix(reason, "kind ") || seen[reason] {
			t.Errorf("kind %d has the reason %q", k, reason)
		}
		seen[reason] = true
	}
	if s := pattern.Kind(pattern.Kinds + 1).String(); !strings.HasPrefix(s, "kind ") {
		t.Errorf("there are more kinds than Kinds says: %q", s)
	}
}

func TestFileTypesKeepTheirNumbers(t *testing.T) {
	for n, name := range map[pattern.FileType]string{1: "CL_TYPE_ANY", 2: "CL_TYPE_TEXT_ASCII", 19: "CL_TYPE_ZIP", 38: "CL_TYPE_PDF", 86: "CL_TYPE_LHA_LZH"} {
		if got, ok := pattern.FileTypeOf(name); got != n || !ok || n.String() != name {
			t.Errorf("%s is %d, and %d is %s: records hold these numbers", name, got, n, n)
		}
	}
	for _, name := range []string{"", "ZIP", "CL_TYPE_", "CL_TYPE_zip", "CL_TYPE_ZIP ", "CL_TYPE_ZIP RAR"} {
		if n, ok := pattern.FileTypeOf(name); ok {
			t.Errorf("%q is the type %d", name, n)
		}
	}
	if pattern.FileType(87).String() != "" || pattern.TypeNone.String() != "" {
		t.Error("numbers without a type have a name")
	}
}

// A spelling is a line, and the canonical text that it has without its name; "" for one that is refused.
type spelling struct{ line, want string }

func bodySpellings() []spelling {
	return []spelling{
		{"A:0:*:AABBcc", "0:*:aabbcc"},
		{"A:*:*:aabbcc", "0:*:aabbcc"},
		{"A:1:EP+0,0:aabb??cc", "1:EP+0:aabb??cc"},
		{"A:1:EP-0:aabb??cc", "1:EP+0:aabb??cc"},
		{"A:6:EP-7,9:aabbcc", "6:EP-7,9:aabbcc"},
		{"A:9:S12+0005:aabbcc", "9:S12+5:aabbcc"},
		{"A:9:SL+5,1:aabbcc", "9:SL+5,1:aabbcc"},
		{"A:1:SE3,4:aabbcc", "1:SE3,4:aabbcc"},
		{"A:3:EOF-100:aabbcc", "3:EOF-100:aabbcc"},
		{"A:2:17,18:aabbcc", "2:17,18:aabbcc"},
		{"A:0:*:aabbcc:51", "0:*:aabbcc:51"},
		{"A:0:*:aabbcc:51:255", "0:*:aabbcc:51:255"},
		{"A:0:*:aabb{2}cc{1}dd", "0:*:aabb????cc??dd"},
		{"A:0:*:aabb{3-5}ccdd{2}eeff", "0:*:aabb{3-5}ccdd{2-2}eeff"},
		{"A:0:*:aabb{127}cc", "0:*:aabb" + strings.Repeat("??", 127) + "cc"},
		{"A:0:*:aabb{128}ccdd", "0:*:aabb{128-128}ccdd"},
		{"A:0:*:aabb{0-5}ccdd{7-}eeff{-3}0011*2233", "0:*:aabb{-5}ccdd{7-}eeff{-3}0011*2233"},
		{"A:2:*:aa[1-3]bbcc[2]dd", "2:*:aa[1-3]bbcc[2-2]dd"},
		{"A:2:*:aa[1-3](B)bbcc!(W)[0-32]dd", "2:*:aa[1-3](B)bbcc!(W)[0-32]dd"},
		{"A:2:*:a??baabb(cc|dd)!(ee|ff)(0011|2233)(4|5)", ""},
		{"A:2:*:a??baabb(cc|dd)!(ee|ff)(0011|2233)(44|5566|7?)", "2:*:a??baabb(cc|dd)!(ee|ff)(0011|2233)(44|5566|7?)"},
		{"A:2:*:(B)(L)aabb!(B)cc(W)", "2:*:(B)(L)aabb!(B)cc(W)"},
		{"A:2:*:aabb(cc{2}dd|ee)", "2:*:aabb(cc????dd|ee)"},
	}
}

func logicalSpellings() []spelling {
	return []spelling{
		{"A;Target:0;0;aabb", "Target:0;0;aabb"},
		{"A;Engine:51-255,Target:1,FileSize:1-2,EntryPoint:3-4,NumberOfSections:5-6,Container:CL_TYPE_ZIP;0;aabb",
			"Engine:51-255,Target:1,FileSize:1-2,EntryPoint:3-4,NumberOfSections:5-6,Container:CL_TYPE_ZIP;0;aabb"},
		{"A;Engine:51-255,Container:CL_TYPE_ANY,Target:0,Intermediates:CL_TYPE_ZIP>CL_TYPE_ANY>CL_TYPE_PDF;0;aabb",
			"Engine:51-255,Target:0,Container:CL_TYPE_ANY,Intermediates:CL_TYPE_ZIP>CL_TYPE_ANY>CL_TYPE_PDF;0;aabb"},
		{"A;Target:0;(((0)))&((1));aabb;ccdd", "Target:0;0&1;aabb;ccdd"},
		{"A;Target:0;(0&1)&2|1;aabb;ccdd;eeff", "Target:0;0&1&(2|1);aabb;ccdd;eeff"},
		{"A;Target:0;0|1&2|1;aabb;ccdd;eeff", "Target:0;0|(1&(2|1));aabb;ccdd;eeff"},
		{"A;Target:0;(0&1|2|1)>1;aabb;ccdd;eeff", "Target:0;((0&(1|2))|1)>1;aabb;ccdd;eeff"},
		{"A;Target:0;(0=0&1>2&2<3)=4,2;aabb;ccdd;eeff", "Target:0;(0=0&1>2&2<3)=4,2;aabb;ccdd;eeff"},
		{"A;Target:0;1;aabb;ccdd", "Target:0;1;aabb;ccdd"},
		{"A;Target:0;0;*:aabb::", "Target:0;0;aabb"},
		{"A;Target:0;0;:aabb", ""},
		{"A;Target:0;0;5,6:41424C5b::ii", "Target:0;0;5,6:61626c5b::i"},
		{"A;Target:0;0;EOF-5:4142::wai", "Target:0;0;EOF-5:6162::iwa"},
		{"A;Target:0;0;4142::fa", "Target:0;0;4142::f"},
		{"A;Target:0;0;41{3}42{4}{130}4344{5}45::w", "Target:0;0;41{3}42{4}{130-130}4344{5-5}45::w"},
		{"A;Target:0;0;41{120}{120}42::w", "Target:0;0;41{127}{113}42::w"},
	}
}

type refusal struct {
	line string
	want pattern.Kind
}

func refusals() []refusal {
	return []refusal{
		{"A:0:*", pattern.KindMalformed},
		{"A:0:*:aabbcc:1:2:3", pattern.KindMalformed},
		{":0:*:aabbcc", pattern.KindMalformed},
		{"A:x:*:aabbcc", pattern.KindMalformed},
		{"A::*:aabbcc", pattern.KindLoose},
		{"A:15:*:aabbcc", pattern.KindTarget},
		{"A:0::aabbcc", pattern.KindLoose},
		{"A:0:EP+1:aabbcc", pattern.KindMalformed},
		{"A:1:EP+x:aabbcc", pattern.KindMalformed},
		{"A:1:S+1:aabbcc", pattern.KindLoose},
		{"A:1:VI:aabbcc", pattern.KindVersionInfo},
		{"A:1:$1$:aabbcc", pattern.KindMacro},
		{"A:1:2147483648:aabbcc", pattern.KindLimit},
		{"A:1:S65536+1:aabbcc", pattern.KindLimit},
		{"A:0:*:aabbcc:211", pattern.KindEngine},
		{"A:0:*:aabbcc:1:209", pattern.KindEngine},
		{"A:0:*:aabbcc:x", pattern.KindMalformed},
		{"A:0:*:aabbc", pattern.KindMalformed},
		{"A:0:*:aabbgg", pattern.KindMalformed},
		{"A:0:*:aabb", pattern.KindMalformed},
		{"A:1:5:aabb", pattern.KindLoose},
		{"A:0:*:aa??bb??cc", pattern.KindMalformed},
		{"A:0:*:aabb*cc", pattern.KindMalformed},
		{"A:0:*:*aabb", pattern.KindMalformed},
		{"A:0:*:aabb**ccdd", pattern.KindMalformed},
		{"A:0:*:aabb{0}ccdd", pattern.KindLoose},
		{"A:0:*:aabb{0-}ccdd", pattern.KindLoose},
		{"A:0:*:aabb{-}ccdd", pattern.KindLoose},
		{"A:0:*:aabb{5-3}ccdd", pattern.KindLoose},
		{"A:0:*:aabb{2147483648-}ccdd", pattern.KindLimit},
		{"A:0:*:aabb{5-6", pattern.KindMalformed},
		{"A:0:*:aabb(cc{5-6}dd|ee)", pattern.KindMalformed},
		{"A:0:*:aabb(cc*dd|ee)", pattern.KindMalformed},
		{"A:0:*:aabb((cc|dd)|ee)", pattern.KindNested},
		{"A:2:*:aabb!(cc|ddee)", pattern.KindMalformed},
		{"A:2:*:aabb!(c?|dd)", pattern.KindMalformed},
		{"A:2:*:aabb()", pattern.KindMalformed},
		{"A:2:*:aabb(cc", pattern.KindMalformed},
		{"A:2:*:aabb(cc|)", pattern.KindLoose},
		{"A:2:*:aabb[1-3]ccdd", pattern.KindMalformed},
		{"A:2:*:aa[3-1]bbcc", pattern.KindMalformed},
		{"A:2:*:aa[1-33]bbcc", pattern.KindMalformed},
		{"A:2:*:a?[1-3]bbcc", pattern.KindLoose},
		{"A:0:*:aa(bb|ccdd)eeff", pattern.KindMalformed}, // the prefilter
		{"A:0:*:aabb\xff", pattern.KindMalformed},
		{"A:0:*:aabb" + strings.Repeat("{127}", 300) + "cc", pattern.KindLimit},
		{"A:2:*:aabb" + strings.Repeat("(cc|ddee)", 9) + "ff", pattern.KindLimit},
		{"A:0:*:" + strings.Repeat("aa", 5000), pattern.KindLimit},
		{strings.Repeat("A", 256) + ":0:*:aabbcc", pattern.KindLimit},

		{"A;Target:0;0", pattern.KindMalformed},
		{"A;Target:0;0;aabb;ccdd", pattern.KindMalformed},
		{"A;Target:0;2;aabb;ccdd", pattern.KindMalformed},
		{"A;;0;aabb", pattern.KindMalformed},
		{"A;Engine:51-255;0;aabb", pattern.KindMalformed},
		{"A;Target:0,Engine:51-255;0;aabb", pattern.KindMalformed},
		{"A;Target:0,FileSize:1-2;0;aabb", pattern.KindMalformed},
		{"A;Engine:50-255,Target:0,FileSize:1-2;0;aabb", pattern.KindMalformed},
		{"A;Engine:51-255,Target:0,FileSize:2-1;0;aabb", pattern.KindLoose},
		{"A;Engine:51-255,Target:0,EntryPoint:1-2;0;aabb", pattern.KindMalformed},
		{"A;Engine:211-255,Target:0;0;aabb", pattern.KindEngine},
		{"A;Engine:51-209;0;aabb", pattern.KindEngine},
		{"A;Target:15;0;aabb", pattern.KindTarget},
		{"A;Target:0,Target:1;0;aabb", pattern.KindLoose},
		{"A;Target:0,Colour:1;0;aabb", pattern.KindAttribute},
		{"A;Engine:51-255,Target:0,Container:CL_TYPE_COLOUR;0;aabb", pattern.KindAttribute},
		{"A;Engine:51-255,Target:1,IconGroup1:A;0;aabb", pattern.KindIcon},
		{"A;Engine:51-255,Target:1,HandlerType:CL_TYPE_ZIP;0;aabb", pattern.KindHandler},
		{"A;Target:2;19" + strings.Repeat(";aabb"+strings.Repeat("{127}", 32), 20), pattern.KindLimit}, // 81 KB of bodies
		{"A;Target:2;0;aabb(cc" + strings.Repeat("|cc"+strings.Repeat("{127}", 30), 20) + ")::w", pattern.KindLimit},
		{"A;Target:0;0&;aabb", pattern.KindLoose},
		{"A;Target:0;(0;aabb", pattern.KindLoose},
		{"A;Target:0;0=2,;aabb", pattern.KindLoose},
		{"A;Target:0;0>1,1;aabb", pattern.KindLoose},
		{"A;Target:0;" + strings.Repeat("(", 40) + "0&0" + strings.Repeat(")", 40) + ";aabb", pattern.KindLimit},
		{"A;Target:0;0;aabb::x", pattern.KindMalformed},
		{"A;Target:0;0;aabb:x:i", pattern.KindLoose},
		{"A;Target:0;0;0:aabb::i:x", pattern.KindLoose},
		{"A;Target:0;0;aabb!(cc|dd)::i", pattern.KindMalformed},
		{"A;Target:0;0;(B)aabb::f", pattern.KindLoose},
		{"A;Target:0;0;aa[1-3]bbcc::w", pattern.KindLoose},
		{"A;Target:0;0;aa::wa", pattern.KindMalformed},
		{"A;Target:0;1;aabb;0/ab+c/i", pattern.KindPCRE},
		{"A;Target:0;1;aabb;0(>>4#hb2#=1)", pattern.KindByteCompare},
		{"A;Target:0;1;aabb;${1-2}3$", pattern.KindMacro},
		{"A;Target:0;1;aabb;fuzzy_img#af2ad01ed42993c7", pattern.KindFuzzyImage},
	}
}
