package pattern

import "fmt"

// A Kind says why a line is refused. It is few and constant, so that a publisher can count rejects by it.
type Kind uint8

// The kinds. ClamAV refuses a database with a malformed line as a whole, passes over lines of the kinds engine, target and attribute without
// a word, and takes those of the others.
const (
	KindMalformed   Kind = iota + 1 // breaks ClamAV's own grammar: clamscan refuses it as well
	KindLoose                       // what clamscan makes of it, if it takes it, is not what it says, or not documented
	KindLimit                       // beyond a limit of this package
	KindEngine                      // not meant for this engine's functionality level
	KindTarget                      // a target above 14, which ClamAV passes over
	KindAttribute                   // an attribute or file type that ClamAV 1.4 does not know and passes over
	KindPCRE                        // a regular expression
	KindByteCompare                 // a comparison of numbers in the file
	KindFuzzyImage                  // a perceptual hash of an image
	KindMacro                       // a macro group: offset $g$ or subsignature ${a-b}g$
	KindIcon                        // IconGroup1, IconGroup2
	KindHandler                     // HandlerType: scan again as another type instead of a detection
	KindVersionInfo                 // offset VI: the version information of a PE file
	KindNested                      // alternatives inside of alternatives
)

// Kinds is the number of kinds: they are 1 to Kinds.
const Kinds = int(KindNested)

// String gives the reason that a report shows.
func (k Kind) String() string {
	switch k {
	case KindMalformed:
		return "malformed"
	case KindLoose:
		return "meaning is not documented"
	case KindLimit:
		return "over a limit"
	case KindEngine:
		return "not meant for this engine's functionality level"
	case KindTarget:
		return "unknown target"
	case KindAttribute:
		return "unknown attribute or file type"
	case KindPCRE:
		return "regular expressions are not supported"
	case KindByteCompare:
		return "byte comparisons are not supported"
	case KindFuzzyImage:
		return "fuzzy image hashes are not supported"
	case KindMacro:
		return "macro groups are not supported"
	case KindIcon:
		return "icon groups are not supported"
	case KindHandler:
		return "handler types are not supported"
	case KindVersionInfo:
		return "version information is not supported"
	case KindNested:
		return "nested alternatives are not supported"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// An Error says what of a line or a record cannot be taken.
type Error struct {
	Kind   Kind
	Where  string // "target", "offset", "subsignature 2", …; for records "record"
	Reason string // what is wrong there
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s (%s)", e.Where, e.Reason, e.Kind) }

// fault makes an error that has no place yet; at gives it one.
func fault(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Reason: fmt.Sprintf(format, args...)}
}

// at names the place of an error that has none, and keeps nil.
func (e *Error) at(where string) *Error {
	if e != nil && e.Where == "" {
		e.Where = where
	}
	return e
}
