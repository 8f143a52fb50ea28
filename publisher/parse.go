package publisher

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"math"
	"strings"
	"unicode/utf8"

	"example.org/avdb/dbformat"
	"example.org/avdb/urlhash"
)

// A kind is what the lines of a source say, told by the file's extension.
type kind uint8

const (
	kindSignature  kind = iota + 1 // HASH:SIZE:NAME[:minFL[:maxFL]]
	kindPUA                        // the same, potentially unwanted applications
	kindAllow                      // the same, files that are never reported
	kindIgnore                     // NAME or NAME:MD5
	kindIgnoreOld                  // DATABASE:LINE:NAME
	kindHashes                     // HASH, optional name
	kindURLs                       // a URL, or a host with or without a path
	kindSection                    // SIZE:HASH:NAME[:minFL[:maxFL]], of sections of PE files
	kindSectionPUA                 // the same, potentially unwanted applications
	kindBody                       // NAME:TARGET:OFFSET:HEX[:minFL[:maxFL]]
	kindBodyPUA                    // the same, potentially unwanted applications
	kindLogical                    // NAME;ATTRIBUTES;EXPRESSION;SUBSIGNATURE…
	kindLogicalPUA                 // the same, potentially unwanted applications
)

// kinds holds every extension that is known.
var kinds = map[string]kind{
	".hdb": kindSignature, ".hsb": kindSignature,
	".hdu": kindPUA, ".hsu": kindPUA,
	".fp": kindAllow, ".sfp": kindAllow,
	".ign": kindIgnoreOld, ".ign2": kindIgnore,
	".hashes": kindHashes,
	".urls":   kindURLs,
	".mdb":    kindSection, ".msb": kindSection,
	".mdu": kindSectionPUA, ".msu": kindSectionPUA,
	".ndb": kindBody, ".ndu": kindBodyPUA,
	".ldb": kindLogical, ".ldu": kindLogicalPUA,
}

// kindOf tells what a file holds by its name. Case does not matter, and .gz and .zst are looked through.
func kindOf(name string) (kind, bool) {
	name = strings.ToLower(name)
	for _, packed := range []string{".gz", ".zst"} {
		if s, ok := strings.CutSuffix(name, packed); ok {
			name = s
			break
		}
	}
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return 0, false
	}
	k, ok := kinds[name[i:]]
	return k, ok
}

// Reasons of rejects; those of URLs are urlhash's, those of patterns are made of pattern's kinds and places. They are few and constant, so that a
// list of ten million rejects holds no text of its own.
const (
	reasonLong         = "line is longer than 65536 bytes"
	reasonFields       = "want HASH:SIZE:NAME[:minFL[:maxFL]]"
	reasonSectionLine  = "want SIZE:HASH:NAME[:minFL[:maxFL]]"
	reasonSectionSize  = "sections of more than 1073741824 bytes are never hashed"
	reasonHashLength   = "hash has not 32, 40 or 64 hex digits"
	reasonHashDigit    = "hash holds something else than hex digits"
	reasonSize         = "size is neither * nor 1 to 4294967294"
	reasonSizeAny      = "size * needs a minimum functionality level of 73 or more"
	reasonLevel        = "functionality level is not a number"
	reasonLevelOrder   = "minimum functionality level is above the maximum"
	reasonLevelRange   = "not meant for this engine's functionality level (210)"
	reasonAllowSize    = "an MD5 or SHA-1 allow record needs a size"
	reasonNoName       = "name is empty"
	reasonNameLong     = "name is longer than 255 bytes"
	reasonNameUTF8     = "name is not UTF-8"
	reasonNameControl  = "name holds a control character"
	reasonHashesLine   = "want a hash and optionally a name after a comma, tab or space"
	reasonIgnore       = "want NAME or NAME:MD5"
	reasonIgnoreMD5    = "MD5 of the ignored line has not 32 hex digits"
	reasonIgnoreOld    = "want DATABASE:LINE:NAME"
	reasonSelfTestName = "the self-test cannot be ignored"
	reasonSelfTest     = "this is the self-test's own content: a record of it would make every endpoint refuse the release"
	reasonPattern      = "cannot be read"
	reasonSelfTestHit  = "it matches the self-test's own content: every endpoint would refuse the release"
)

// An entry is one valid line about a hash. Name points into the line.
type entry struct {
	alg  dbformat.Algorithm
	hash [32]byte
	size uint32 // dbformat.AnySize for *
	name []byte // empty for a line without one
}

// An ignoreEntry is one valid ignore line. Name points into the line.
type ignoreEntry struct {
	name  []byte
	line  [md5.Size]byte // of the text of the line that is ignored
	exact bool           // line counts: only that text is ignored
}

// content is what counts of a line: without its end, nil for a blank line or a comment.
func content(line []byte) []byte {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 || line[0] == '#' || len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	return line
}

// parseHash reads HASH:SIZE:NAME[:minFL[:maxFL]]. The reason is "" for a valid line.
func parseHash(line []byte, allow bool) (e entry, reason string) {
	field, ok := hashFields(line)
	if !ok {
		return entry{}, reasonFields
	}
	if e, reason = parseHashFields(field, field[0], field[1]); reason != "" {
		return entry{}, reason
	}
	if allow && e.size == dbformat.AnySize && e.alg != dbformat.SHA256 {
		// Colliding files of one MD5 or SHA-1 are cheap to make; one of a wanted size is less so.
		return entry{}, reasonAllowSize
	}
	return e, ""
}

// maxSection is the greatest size of a section that matchers, ClamAV's as well, hash: package filetype has it.
const maxSection = 1 << 30

// parseSection reads SIZE:HASH:NAME[:minFL[:maxFL]], of a section of a PE file: its own raw size, and the hash of its raw bytes.
func parseSection(line []byte) (e entry, reason string) {
	field, ok := hashFields(line)
	if !ok {
		return entry{}, reasonSectionLine
	}
	if e, reason = parseHashFields(field, field[1], field[0]); reason == "" && e.size > maxSection {
		return entry{}, reasonSectionSize
	}
	return e, reason
}

// hashFields cuts a line into its 3 to 5 fields.
func hashFields(line []byte) (field [][]byte, ok bool) {
	field = make([][]byte, 0, 5)
	for rest, more := line, true; more; {
		if len(field) == cap(field) {
			return nil, false
		}
		var f []byte
		f, rest, more = bytes.Cut(rest, []byte{':'})
		field = append(field, f)
	}
	return field, len(field) >= 3
}

// parseHashFields reads what lines of hashes have in common: the name is the third field, and levels follow.
func parseHashFields(field [][]byte, hash, length []byte) (e entry, reason string) {
	if reason = e.setHash(hash); reason != "" {
		return entry{}, reason
	}
	low, high, reason := levels(field[3:])
	if reason != "" {
		return entry{}, reason
	}
	if string(length) == "*" {
		if low < 73 {
			return entry{}, reasonSizeAny
		}
		e.size = dbformat.AnySize
	} else {
		size, ok := decimal(length)
		if !ok || size < 1 || size > dbformat.MaxSize {
			return entry{}, reasonSize
		}
		e.size = uint32(size)
	}
	if len(field[2]) == 0 {
		return entry{}, reasonNoName
	}
	if reason = nameFault(field[2]); reason != "" {
		return entry{}, reason
	}
	e.name = field[2]
	if dbformat.FunctionalityLevel < low || dbformat.FunctionalityLevel > high {
		return entry{}, reasonLevelRange
	}
	return e, ""
}

// levels reads the functionality levels, of which none, the least, or both may stand in a line.
func levels(field [][]byte) (low, high uint64, reason string) {
	high = math.MaxUint64
	for i, f := range field {
		v, ok := decimal(f)
		if !ok {
			return 0, 0, reasonLevel
		}
		if i == 0 {
			low = v
		} else {
			high = v
		}
	}
	if low > high {
		return 0, 0, reasonLevelOrder
	}
	return low, high, ""
}

// parseHashLine reads a line of a .hashes file: a hash, and optionally a name after a comma, a tab or a space.
func parseHashLine(line []byte) (e entry, reason string) {
	line = bytes.Trim(line, " \t")
	end := bytes.IndexAny(line, ", \t")
	if end < 0 {
		end = len(line)
	}
	if end == 0 {
		return entry{}, reasonHashesLine
	}
	if reason = e.setHash(line[:end]); reason != "" {
		return entry{}, reason
	}
	name := bytes.TrimLeft(line[end:], " \t")
	if len(name) > 0 && name[0] == ',' {
		name = bytes.TrimLeft(name[1:], " \t")
	}
	if reason = nameFault(name); reason != "" {
		return entry{}, reason
	}
	if len(name) > 0 {
		e.name = name
	}
	return e, ""
}

// parseURL reads a line of a .urls file. The hash is that of the one expression that it lists.
func parseURL(line []byte) (hash urlhash.Hash, reason string) {
	expression, err := urlhash.ParseEntry(string(line))
	if err != nil {
		return urlhash.Hash{}, err.Error()
	}
	return urlhash.HashOf(expression), ""
}

// parseIgnore reads NAME or NAME:MD5.
func parseIgnore(line []byte) (e ignoreEntry, reason string) {
	name, sum, exact := bytes.Cut(line, []byte{':'})
	if reason := ignoreNameFault(name); reason != "" {
		return ignoreEntry{}, reason
	}
	if exact {
		if len(sum) != hex.EncodedLen(md5.Size) || unhex(e.line[:], sum) >= 0 {
			return ignoreEntry{}, reasonIgnoreMD5
		}
	}
	e.name, e.exact = name, exact
	return e, ""
}

// parseIgnoreOld reads DATABASE:LINE:NAME, the form that came before .ign2. Only the name counts.
func parseIgnoreOld(line []byte) (e ignoreEntry, reason string) {
	field := bytes.Split(line, []byte{':'})
	if len(field) != 3 {
		return ignoreEntry{}, reasonIgnoreOld
	}
	if reason := ignoreNameFault(field[2]); reason != "" {
		return ignoreEntry{}, reason
	}
	return ignoreEntry{name: field[2]}, ""
}

func ignoreNameFault(name []byte) string {
	if len(name) == 0 {
		return reasonNoName
	}
	if bytes.HasPrefix(name, []byte(selfTestPrefix)) {
		return reasonSelfTestName
	}
	return nameFault(name)
}

// nameFault says what is wrong with a name, "" for nothing. An empty name is for the caller to judge.
func nameFault(name []byte) string {
	if len(name) > dbformat.MaxName {
		return reasonNameLong
	}
	plain := true
	for _, c := range name {
		plain = plain && c >= 0x20 && c < 0x7f
	}
	switch {
	case plain:
		return ""
	case !utf8.Valid(name):
		return reasonNameUTF8
	case dbformat.CheckName(string(name)) != nil:
		return reasonNameControl
	}
	return ""
}

// setHash reads hex digits of either case; their number tells the algorithm.
func (e *entry) setHash(text []byte) (reason string) {
	a, ok := dbformat.AlgorithmOfSize(len(text) / 2)
	if !ok || len(text)%2 != 0 {
		return reasonHashLength
	}
	if unhex(e.hash[:a.Size()], text) >= 0 {
		return reasonHashDigit
	}
	e.alg = a
	return ""
}

// unhex decodes text, of twice the length of dst, and gives the index of the first bad digit, -1 for none.
func unhex(dst, text []byte) int {
	for i := range dst {
		hi, lo := digit[text[2*i]], digit[text[2*i+1]]
		if hi|lo > 15 {
			return 2 * i
		}
		dst[i] = hi<<4 | lo
	}
	return -1
}

// digit gives the value of a hex digit, 255 for everything else.
var digit = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := range 10 {
		t['0'+i] = byte(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = byte(10+i), byte(10+i)
	}
	return t
}()

// decimal reads 1 to 10 digits and nothing else.
func decimal(text []byte) (v uint64, ok bool) {
	if len(text) < 1 || len(text) > 10 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	return v, true
}
