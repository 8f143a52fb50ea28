package publisher

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"

	"example.org/avdb/dbformat"
	"example.org/avdb/pattern"
)

// placedContent is the fixed public content that the self-test signature of a placed section detects: its rows in light and those in rest are
// tested apart, for one variant must find the first and not the second. Of patterns it is a text, of hashes of sections of PE files the program whose only section
// holds that text: one for all of them, since each section of the layer must know it. As little as selfTestContent it may ever change.
func placedContent(id dbformat.SectionID, l dbformat.Layer) []byte {
	if id.OfPESections() {
		return program(selfTestContent("sections in " + l.String()))
	}
	return selfTestContent(id.String() + " in " + l.String())
}

// benignProgram is a program that no generation may report.
func benignProgram() []byte {
	return program([]byte("avdb tests with this program that a database does not detect everything.\n"))
}

// The parts of a program, in bytes.
const (
	programHead = 512 // headers, and what fills them up to the alignment of sections in the file
	programBody = 512 // the only section
)

// programCode returns 0 to whoever runs the program: xor eax, eax; ret.
var programCode = []byte{0x31, 0xc0, 0xc3}

// program is a PE file of 1024 bytes for 32-bit Windows whose only section holds code that does nothing, text, and zeros.
func program(text []byte) []byte {
	const (
		peAt      = 64 // of the signature
		base      = 0x400000
		alignment = 0x1000
		entry     = alignment
	)
	b := make([]byte, programHead, programHead+programBody)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint16(b[4:], 2)     // pages of the file
	le.PutUint16(b[8:], 4)     // paragraphs of the header
	le.PutUint16(b[24:], peAt) // relocations of DOS, of which there are none
	le.PutUint32(b[60:], peAt)

	copy(b[peAt:], "PE\x00\x00")
	coff := b[peAt+4:]
	le.PutUint16(coff[0:], 0x014c)  // i386
	le.PutUint16(coff[2:], 1)       // sections
	le.PutUint16(coff[16:], 224)    // bytes of the optional header
	le.PutUint16(coff[18:], 0x0103) // executable, 32 bits, no relocations

	optional := coff[20:]
	le.PutUint16(optional[0:], 0x010b) // PE32
	le.PutUint32(optional[4:], programBody)
	le.PutUint32(optional[16:], entry)
	le.PutUint32(optional[20:], alignment) // where code begins
	le.PutUint32(optional[28:], base)
	le.PutUint32(optional[32:], alignment)   // of sections in memory
	le.PutUint32(optional[36:], programBody) // and in the file
	le.PutUint16(optional[40:], 4)           // least version of the system
	le.PutUint16(optional[48:], 4)           // and of its subsystem
	le.PutUint32(optional[56:], 2*alignment) // size in memory
	le.PutUint32(optional[60:], programHead)
	le.PutUint16(optional[68:], 3) // console
	le.PutUint32(optional[72:], 1<<20)
	le.PutUint32(optional[76:], alignment)
	le.PutUint32(optional[80:], 1<<20)
	le.PutUint32(optional[84:], alignment)
	le.PutUint32(optional[92:], 16) // directories, all of them empty

	section := optional[224:]
	copy(section, ".text")
	le.PutUint32(section[8:], programBody)
	le.PutUint32(section[12:], alignment)
	le.PutUint32(section[16:], programBody)
	le.PutUint32(section[20:], programHead)
	le.PutUint32(section[36:], 0x60000020) // code that is read and run

	b = append(append(b, programCode...), text...)
	return append(b, make([]byte, programHead+programBody-len(b))...)
}

// programSection is the raw content of the only section of a program.
func programSection(program []byte) []byte { return program[programHead:] }

// programFacts are those of each program.
func programFacts() pattern.Facts {
	return pattern.Facts{Target: pattern.TargetPE, Header: pattern.HeaderParsed, EntryPoint: programHead,
		Sections: []pattern.Section{{Offset: programHead, Size: programBody}}}
}

// selfTestPattern is the record of a logical signature that needs two pieces of the content: what only this content says, and its end.
func selfTestPattern(content []byte) []byte {
	head, tail, ok := bytes.Cut(content, []byte(": "))
	if !ok {
		panic("the content has no second part")
	}
	sub := func(b []byte) pattern.Subsignature {
		return pattern.Subsignature{Body: pattern.Body{Parts: []pattern.Part{{Elements: []pattern.Element{{Op: pattern.OpBytes, Bytes: string(b)}}}}}}
	}
	l := pattern.Logical{
		Expression:    pattern.Expression{Term: pattern.TermAnd, Children: []pattern.Expression{{Index: 0}, {Index: 1}}},
		Subsignatures: []pattern.Subsignature{sub(head), sub(tail)},
	}
	record, err := pattern.AppendRecord(nil, pattern.Record{Logical: &l})
	if err != nil {
		panic(err)
	}
	return record
}

// addPlacedTests adds to the rows that a placed section has in a layer one over fixed content of their own, and the vectors. Where light holds prefixes, one chance
// in a million is that one of them hits the content of rest: then there is no vector of it, for light must not know it.
func addPlacedTests(c *dbformat.Content) {
	programs := false
	suspected := suspects(c)
	for _, id := range placed {
		for _, l := range layers {
			sections, patterns, light := c.Sections, c.Patterns, dbformat.ExpectMalicious
			if l == dbformat.Rest {
				sections, patterns, light = c.RestSections, c.RestPatterns, dbformat.ExpectClean
			}
			if len(sections[id]) == 0 && len(patterns[id]) == 0 {
				continue
			}
			content := placedContent(id, l)
			name := selfTestPrefix + id.String()
			if id.OfPESections() {
				programs = true
				data := programSection(content)
				r := dbformat.Record{Hash: sum(id.Algorithm(), data), Size: uint32(len(data)), Name: name}
				i := sort.Search(len(sections[id]), func(i int) bool { return compareKeys(&sections[id][i], &r) >= 0 })
				sections[id] = slices.Insert(sections[id], i, r)
			} else {
				patterns[id] = append(patterns[id], dbformat.PatternRecord{Name: name, Pattern: selfTestPattern(content)})
			}
			if light == dbformat.ExpectMalicious || !suspected(content) {
				c.Vectors = append(c.Vectors, dbformat.Vector{Section: id.String(), Content: content, Light: light, Full: dbformat.ExpectMalicious})
			}
		}
	}
	if b := benignProgram(); programs && !suspected(b) {
		c.Vectors = append(c.Vectors, dbformat.Vector{Content: b, Light: dbformat.ExpectClean, Full: dbformat.ExpectClean})
	}
}

// selfTestFiles are the contents of all vectors as patterns see them. A line that matches one of them, by accident or not, would have every endpoint
// refuse the release.
type selfTestFiles struct {
	files []pattern.File
	all   []byte // the folded bytes of all files, 0 apart
}

func newSelfTestFiles() *selfTestFiles {
	t := &selfTestFiles{}
	add := func(data []byte, facts pattern.Facts) {
		t.files = append(t.files, pattern.File{Data: data, Facts: facts})
		t.all = append(append(t.all, folded(data)...), 0)
	}
	for _, b := range selfTestTexts() {
		add(b, pattern.Facts{})
		// What normalisation makes of a text, with and without an end.
		normal := folded(b)
		add(normal, pattern.Facts{Target: pattern.TargetASCII})
		add(bytes.TrimSpace(normal), pattern.Facts{Target: pattern.TargetASCII})
	}
	for _, b := range selfTestPrograms() {
		add(b, programFacts())
	}
	return t
}

// folded is b with ASCII letters in lower case.
func folded(b []byte) []byte {
	b = bytes.Clone(b)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

// matches tells whether the signature matches the content of any vector.
func (t *selfTestFiles) matches(r *pattern.Record) bool {
	if !t.possible(r) {
		return false
	}
	for i := range t.files {
		f := &t.files[i]
		if r.Body != nil && r.Body.Match(f) {
			return true
		}
		if r.Logical != nil {
			if ok, _ := r.Logical.Match(f); ok {
				return true
			}
		}
	}
	return false
}

// possible rules nearly all signatures out at little cost: those with no subsignature whose literals all stand somewhere in the contents, unless they
// hold without a match.
func (t *selfTestFiles) possible(r *pattern.Record) bool {
	if r.Body != nil {
		return t.has(&pattern.Subsignature{Body: r.Body.Body})
	}
	if r.Logical.Expression.Evaluate(make([]int, len(r.Logical.Subsignatures))) {
		return true
	}
	return slices.ContainsFunc(r.Logical.Subsignatures, func(s pattern.Subsignature) bool { return t.has(&s) })
}

// has tells whether the longest literal of each part of a form of s stands in the contents, in whatever case.
func (t *selfTestFiles) has(s *pattern.Subsignature) bool {
	return slices.ContainsFunc(s.Variants(), func(v pattern.Variant) bool {
		for i := range v.Parts {
			longest := ""
			for _, l := range v.Parts[i].Literals() {
				if len(l.Bytes) > len(longest) {
					longest = l.Bytes
				}
			}
			if !bytes.Contains(t.all, folded([]byte(longest))) {
				return false
			}
		}
		return true
	})
}
