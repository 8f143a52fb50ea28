package pattern

import "example.org/avdb/dbformat"

// Level is the functionality level that engine ranges are held against: that of ClamAV 1.4.0, whose formats this engine follows.
const Level = dbformat.FunctionalityLevel

// Limits. They hold for lines and for records alike, and are checked before anything of that size is allocated. What is longer or more
// than that is an error of [KindLimit].
const (
	MaxBodyLine      = 8 << 10     // bytes of a .ndb line without its end, a little above what clamscan reads
	MaxLogicalLine   = 32 << 10    // bytes of a .ldb line without its end, a little above what clamscan reads
	MaxName          = 255         // bytes of a name
	MaxRecord        = 64 << 10    // bytes of a record
	MaxParts         = 256         // parts of a body
	MaxElements      = 8 << 10     // elements of a part
	MaxExtent        = 16 << 10    // bytes that a part may span
	MaxBody          = 64 << 10    // bytes of all parts of a line with all of their alternatives
	MaxOptions       = 256         // options of an alternative
	MaxOptionLength  = 4 << 10     // bytes of an option
	MaxWays          = 256         // ways through the alternatives of a part: the product of the numbers of their options' different lengths
	MaxDistance      = 1<<31 - 1   // bytes of an offset, a shift or a gap
	MaxSection       = 1<<16 - 1   // number of a section
	MaxAnchor        = 32          // bytes between a part and a single byte next to it
	MaxSubsignatures = 64          // subsignatures of a logical signature
	MaxTerms         = 1 << 10     // indices and groups of an expression
	MaxDepth         = 32          // groups inside of one another
	MaxMatches       = 1<<31 - 1   // a number that matches are compared with
	MaxIntermediates = 16          // types of Intermediates
	maxRange         = 1<<32 - 1   // bounds of the ranges of a logical signature
	maxText          = 2 * MaxBody // digits of a body once its {n} are written as ??
)

// A Target says which files a signature is meant for, by ClamAV's numbers.
type Target uint8

// Targets. Unused and Internal are never the type of a file here. Other is that of data: of what is no text and of no other known type.
const (
	TargetAny      Target = 0
	TargetPE       Target = 1
	TargetOLE2     Target = 2
	TargetHTML     Target = 3 // normalised: see the package comment
	TargetMail     Target = 4
	TargetGraphics Target = 5
	TargetELF      Target = 6
	TargetASCII    Target = 7 // normalised
	TargetUnused   Target = 8
	TargetMachO    Target = 9
	TargetPDF      Target = 10
	TargetFlash    Target = 11
	TargetJava     Target = 12
	TargetInternal Target = 13
	TargetOther    Target = 14
)

// executable tells whether files of the target have an entry point and sections.
func (t Target) executable() bool { return t == TargetPE || t == TargetELF || t == TargetMachO }

// A Place is what an offset counts from.
type Place uint8

// The places.
const (
	PlaceAny          Place = iota // *: everywhere
	PlaceStart                     // n: from the start of the file
	PlaceEnd                       // EOF-n: back from its end
	PlaceAfterEntry                // EP+n: from the entry point
	PlaceBeforeEntry               // EP-n: back from the entry point; n is not 0, for that is EP+0
	PlaceSection                   // Sx+n: from the start of section x
	PlaceLastSection               // SL+n: from the start of the last section
	PlaceWholeSection              // SEx: anywhere in section x
)

// An Offset says where a match may start: at N bytes from the place, or up to Shift bytes behind that.
type Offset struct {
	Place   Place
	Section uint16 // of Sx+n and SEx, from 0
	N       uint32 // at most MaxDistance; 0 for * and SEx
	Shift   uint32 // at most MaxDistance; 0 for *
}

// A Body is a sequence of parts with gaps between them; each part has at least one run of two static bytes.
type Body struct {
	Parts []Part
}

// A Part is matched at one place as a whole. Its match starts with its first element and ends behind its last one: gaps and offsets are
// counted from there; boundaries and single bytes next to it are looked at and belong to no match.
type Part struct {
	Gap      Gap      // between the part before and this one; that of the first part is zero
	Before   Anchor   // a single byte before its start: aa[n-m]…
	Begin    Boundary // what must be at its start; never Not: a negated class at the start is an element
	Elements []Element
	End      Boundary // what must be at its end
	After    Anchor   // a single byte behind its end: …[n-m]aa
}

// A Gap is the number of bytes between two parts. The zero Gap is *: any number.
type Gap struct {
	Min, Max uint32 // at most MaxDistance; Max 0: no bound
}

// An Anchor is a single byte with Min to Max bytes of anything between it and its part.
type Anchor struct {
	Set      bool
	Value    byte
	Min, Max uint8 // at most MaxAnchor
}

// A Class is a class of characters: (B), (L) or (W).
type Class uint8

// The classes. ClassWideWord only occurs in a [Variant]: the word boundary of text of two bytes a character.
const (
	ClassNone Class = iota
	ClassBoundary
	ClassLine
	ClassWord
	ClassWideWord
)

// A Boundary is a class at an edge of a part.
type Boundary struct {
	Class Class
	Not   bool
}

// An Op says what an element matches.
type Op uint8

// The operations.
const (
	OpBytes        Op = iota + 1 // Bytes
	OpHigh                       // a?: a byte whose high digit is Value
	OpLow                        // ?a: a byte whose low digit is Value
	OpAny                        // ??: Count bytes of anything; characters, in a wide subsignature
	OpSkip                       // {n}: Count bytes of anything in a wide subsignature, where it is not the same as ??
	OpAlternatives               // (aa|bb): one of Options, or, if Not, as many bytes that are none of them
	OpClass                      // (B), (L), (W) inside of a part: one byte of the class, or a whole CR LF for (L)
)

// An Element is one step of a part. Fields that its Op does not name are zero.
type Element struct {
	Op      Op
	Not     bool   // of alternatives and classes
	Class   Class  // of OpClass
	Value   byte   // 0 to 15, of OpHigh and OpLow
	Count   int    // of OpAny and OpSkip
	Bytes   string // lower case if the subsignature is nocase
	Options []Option
}

// An Option is one of several alternatives: bytes, digits and wildcards, at least one. Negated alternatives have static options of one length.
type Option struct {
	Elements []Element
}

// A Subsignature is a body, where it may start, and how its bytes are compared.
type Subsignature struct {
	Offset   Offset
	Body     Body
	Nocase   bool // i: ASCII letters match in both cases
	Wide     bool // w: each byte is followed by a NUL
	ASCII    bool // a: beside Wide, the plain form is matched as well
	FullWord bool // f: (W) at both ends
}

// A Range is what Engine, FileSize, EntryPoint and NumberOfSections say: both ends belong to it.
type Range struct {
	Set      bool // false: not in the line
	Min, Max uint32
}

// Holds tells whether v lies in the range; one that is not set holds everything.
func (r Range) Holds(v uint64) bool { return !r.Set || uint64(r.Min) <= v && v <= uint64(r.Max) }

// A BodySignature is what a line of a .ndb file says beside its name.
type BodySignature struct {
	Target Target
	Offset Offset
	Body   Body
	Engine Range // functionality levels that it is meant for
}

// subsignature gives the body as the one subsignature without modifiers that it is.
func (s *BodySignature) subsignature() Subsignature {
	return Subsignature{Offset: s.Offset, Body: s.Body}
}

// A Logical is what a line of a .ldb file says beside its name.
type Logical struct {
	Target        Target
	Engine        Range // functionality levels that it is meant for
	FileSize      Range // bytes
	EntryPoint    Range // offset in the file; needs a parsed executable
	Sections      Range // NumberOfSections; needs a parsed executable
	Container     FileType
	Intermediates []FileType // containers around the file, the nearest last; TypeAny stands for none of them
	Expression    Expression
	Subsignatures []Subsignature // as many as the greatest index of the expression says, some perhaps without use
}

// A Term is what an expression consists of.
type Term uint8

// The terms.
const (
	TermIndex Term = iota // a subsignature
	TermAnd               // all of Children
	TermOr                // some of Children
)

// A Compare is how matches are compared with a number.
type Compare uint8

// The comparisons.
const (
	CompareNone  Compare = iota // matched at least once
	CompareEqual                // =n, and so =0 for never
	CompareMore                 // >n
	CompareLess                 // <n
)

// An Expression says which subsignatures must match how often. A group without a comparison never stands in one of the same operator.
type Expression struct {
	Term     Term
	Index    int          // of TermIndex, from 0
	Children []Expression // of groups, at least two
	Compare  Compare
	Count    uint32 // what is compared with
	Distinct uint32 // of groups with a comparison: at least that many different subsignatures; 0 for any
}
