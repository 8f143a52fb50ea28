// Package pattern holds what lines of ClamAV's .ndb and .ldb files (and .ndu, .ldu) say, as typed values: body signatures ([BodySignature]) and
// logical signatures ([Logical]). It reads lines and writes them in one canonical spelling, turns values into the records that layers store and back
// ([AppendRecord], [ParseRecord]), lists what a prefilter can look for ([Variant], [Part.Literals]), verifies a part at one place
// ([Variant.MatchPart]), and matches whole files slowly and plainly ([BodySignature.Match], [Logical.Match]): that is the reference for faster
// matchers. It knows no files, clocks and logs; everything in it is a pure function, values are safe for many goroutines that only read them.
//
// What it takes, clamscan 1.4 takes, and finds with it what the reference finds; what it calls [KindMalformed], clamscan refuses. Both are tested
// against the program where it is installed. Lines of other kinds are refused with a reason that can be counted: see [Kind] and docs/format/patterns.md.
//
// # What a signature matches
//
// A body is a sequence of parts. Between two parts is a gap: * any number of bytes, {n-m} n to m, {-m} at most m, {n-} at least n. {n} is a row of
// n ?? within a part if n is 1 to 127 and no other gap in braces stands before it; else it is the gap {n-n}. A part matches at one place as a whole:
//
//	aa            the byte
//	a? ?a ??      a byte with that high or low digit, any byte
//	(aa|bbcc|d?)  one of the alternatives
//	!(aa|bb)      as many bytes that are none of them: static, of one length, and only in subsignatures without modifiers
//	(B) (L) (W)   inside: a byte that separates words; LF or CR LF; a byte that is no ASCII letter or digit; !(B) any other byte
//	aa[n-m]…      a byte aa before the part, with n to m bytes between; …[n-m]aa one behind it. It belongs to no match
//
// At the start of a part (B), (L), (W) ask for a word's start, a line's start, a non-alphanumeric byte, or the start of the file, and at its end
// for the like; they belong to no match. Negated, they do so at the end only: at the start, !(B) is an element. (B) holds at the start behind
// one of " -./<@_" and at the end before CR, LF or one of " \"'-/=>_", (L) behind LF and before LF or CR LF.
//
// The match of a part ends where its elements end; of several ways the first in the order of the alternatives counts. An offset bounds where
// the first part starts. EOF-n and everything about sections and entry points needs a header that could be parsed if the file is an executable.
//
// Modifiers: i folds ASCII letters; w puts a NUL behind each character, ?? included and {n} not; a, beside w, wants the plain form as well; f puts (W)
// at both ends, of which the form for w looks at two bytes.
//
// # How matches are counted
//
// A subsignature of one part has as many matches as there are places where it starts: they overlap. One of several parts has as many as there are
// places where its last part starts behind a chain of all others; with wa these are counted for both forms. In an expression n>2, n<2 and
// n=2 compare the count of subsignature n, and n alone means n>0. The count of a group is the sum over what holds in it: over all of an & that holds,
// over those of a | that hold, and 0 for a group that does not hold, so that (0&1)=0 is "not both". (…)>n,m also asks for m different
// subsignatures; those of an inner group with a comparison are not among them. Where & and | stand side by side, the rightmost ones are grouped
// first, but directly inside of parentheses the last one is the outermost.
//
// # Where clamscan differs
//
// It does otherwise than its documentation says, and than this package does, in these cases. The first three make it miss matches, the next two make it
// find what is not there, the last two change counts. All but those about large files were seen in clamscan 1.4; these are what its source says.
//
//   - A class inside of the first part together with an offset: the class counts as 0 bytes long when the offset is checked.
//   - Alternatives before the static bytes that a part is found by, one of which begins or ends another one: they are matched backwards,
//     and not all are tried. Likewise (L) there is LF alone, not CR LF.
//   - {n-m} behind a part that matches often: of each part 9 places are remembered, the first and the last eight. In a PE file of 256 KiB and more, SEx with a
//     static body is looked for at the start of the section only.
//   - A part with a class or alternatives of different lengths behind the static bytes that it is found by, cut off by the end of the file by as much as
//     these are longer than the shortest: what is missing counts as matched.
//   - Files of more than 128 KiB are searched in windows: their edges count as edges of the file, and matches of several parts in two of them count twice.
//   - Alternatives of different lengths before the static bytes that a part is found by: of two starts with the same static bytes one counts.
//   - Several parts with wa: a chain that starts before the last one of the other form is not counted.
//
// Targets 3 (HTML), 4 (mail) and 7 (ASCII) are matched by ClamAV in normalised forms of a file. That is no work of this package: who
// asks about such a file has to hand over the normalised bytes.
//
// # Records
//
// A record is the canonical encoding of one value without its name. Numbers are unsigned varints in their shortest form (seven bits a byte, the low ones
// first) unless a size is given. A record is in clear: what stores records (package dbformat, in layers) masks them, so that no file of ours holds what an engine
// would detect.
//
//	1   kind           1 body signature, 2 logical signature
//	1   target
//
// A body signature goes on with
//
//	1   flags          1 engine
//	    engine         if flagged: least, greatest level
//	    offset
//	    body
//
// and a logical signature with
//
//	1   flags          1 engine, 2 file size, 4 entry point, 8 sections, 16 container, 32 intermediates
//	    ranges         of the first four that are flagged: least, greatest
//	1   container      if flagged: number of the file type, from 1
//	    intermediates  if flagged: how many (1 to 16), then 1 byte each
//	    expression     a term
//	1   subsignatures  how many; then each:
//	1     flags        1 nocase, 2 wide, 4 ascii, 8 full word
//	      offset
//	      body
//
// An offset is
//
//	1   place          0 *, 1 n, 2 EOF-n, 3 EP+n, 4 EP-n, 5 Sx+n, 6 SL+n, 7 SEx
//	    x              of 5 and 7
//	    n              of 1 to 6
//	    shift          of 1 to 7
//
// A body is the number of its parts, and for each:
//
//	    gap            not of the first: least, greatest (0: no bound)
//	1   flags          1 byte before, 2 byte behind, bits 2-3 class at the start, bits 4-5 class at the end (0 none, 1 B, 2 L, 3 W), 64 class at the end negated
//	3   before         if flagged: byte, least distance, greatest distance
//	3   behind         likewise
//	    elements       how many, then each: a number value<<4 | code, and what belongs to it
//
//	code  value           followed by
//	1     bytes           that many static bytes
//	2     high digit
//	3     low digit
//	4     count of ??
//	5     n of {n}, in wide subsignatures
//	6     alternatives    for each: elements of the codes 1 to 5
//	7     alternatives    likewise, negated
//	8-10  1 if negated    classes B, L, W
//
// A term is a number value<<4 | comparison<<2 | term: term 0 an index (the value), 1 &, 2 | of as many children as the value says; comparison 0
// none, 1 =, 2 >, 3 <, followed by the count and, of & and |, by the number of different subsignatures. Children follow.
//
// There is one record for each meaning: runs of static bytes and of wildcards are joined, letters are lower case where case does not matter, EP-0 is EP+0,
// groups stand in no group of the same operator unless they have a comparison. What is not so is an error.
package pattern
