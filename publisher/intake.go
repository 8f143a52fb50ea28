package publisher

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"io"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
	"example.org/avdb/urlhash"
)

// Limits of sources.
const (
	MaxLine   = 64 << 10 // bytes of a line; a longer one is a reject
	MaxSource = 16 << 30 // bytes of one source once unpacked; a larger one is an error
)

// A family is a set of sections in which a key stands once.
type family uint8

const (
	familyNormal family = iota
	familyPUA
	familyAllow
	families
)

// Counts say what became of the lines of all sources.
type Counts struct {
	Accepted   uint64 `json:"accepted"`   // valid lines, those of allow and ignore sources included
	Rejected   uint64 `json:"rejected"`   // lines (and files of folders) that are no part of the release
	Duplicates uint64 `json:"duplicates"` // signatures and allow records whose key stands elsewhere as well
	Ignored    uint64 `json:"ignored"`    // signatures that an ignore line names
}

// An intake collects the valid lines of all sources.
type intake struct {
	Counts
	rejects      []Reject
	rejectedBy   map[string]uint64
	tables       [families][dbformat.SHA256 + 1]table
	sections     [familyPUA + 1][dbformat.SHA256 + 1]table // of PE files
	patterns     [familyPUA + 1]patternTable
	patternLine  patternReader
	urls         table
	ignore       map[string]*ignoreRule
	defaults     bool // some rule may name a record without a name
	names        arena
	reserved     map[reservedKey]bool  // content that only the publisher makes records of
	reservedPE   map[reservedKey]bool  // and its sections of PE files
	reservedURLs map[urlhash.Hash]bool // and URLs
}

// An ignoreRule says which lines with a name are ignored.
type ignoreRule struct {
	all   bool                    // every line
	lines map[[md5.Size]byte]bool // those whose text has one of these MD5s
}

// A reservedKey is a hash whatever the size.
type reservedKey struct {
	alg  dbformat.Algorithm
	hash [32]byte
}

// read takes in all files: ignore sources first, since they decide about the lines of the others.
func (in *intake) read(ctx context.Context, files []sourceFile, progress func(done, total int)) error {
	done := 0
	for _, ignore := range []bool{true, false} {
		for _, f := range files {
			if (f.kind == kindIgnore || f.kind == kindIgnoreOld) != ignore {
				continue
			}
			progress(done, len(files))
			if err := in.readFile(ctx, f); err != nil {
				return err
			}
			done++
		}
	}
	progress(done, len(files))
	return nil
}

func (in *intake) readFile(ctx context.Context, f sourceFile) error {
	file, err := osfile.Open(f.path)
	if err != nil {
		return &SourceError{File: f.path, Reason: "cannot be read", Err: bare(err)}
	}
	defer file.Close()
	r, err := dbformat.SourceReader(f.path, file, MaxSource)
	if err != nil {
		return &SourceError{File: f.path, Reason: "cannot be unpacked", Err: err}
	}
	defer r.Close()
	err = eachLine(r, func(n int, line []byte) error {
		// A line of a hostile pattern may take a second.
		if (n&0xffff == 0 || f.kind >= kindBody) && ctx.Err() != nil {
			return ctx.Err()
		}
		in.line(f, n, line)
		return nil
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	// Half a source would remove the other half from every endpoint: nothing is published.
	return &SourceError{File: f.path, Reason: "breaks off, so nothing is published; repair or remove it", Err: err}
}

// byteOrderMark is what some editors put at the head of a file.
var byteOrderMark = []byte("\xef\xbb\xbf")

// eachLine calls f for every line with its number, from 1. The line is valid during the call; it is nil if
// it is longer than [MaxLine].
func eachLine(r io.Reader, f func(n int, line []byte) error) error {
	b := bufio.NewReaderSize(r, MaxLine+1) // and its end
	for n := 1; ; n++ {
		line, err := b.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			long = true
			_, err = b.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return err
		}
		if long {
			line = nil
		} else if n == 1 {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		if long || len(line) > 0 {
			if err := f(n, line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// line takes in one line of a file.
func (in *intake) line(f sourceFile, n int, line []byte) {
	if line == nil {
		in.reject(f, n, reasonLong)
		return
	}
	text := content(line)
	if text == nil {
		return
	}
	var reason string
	switch f.kind {
	case kindSignature, kindPUA, kindAllow, kindHashes:
		reason = in.hashLine(f.kind, text)
	case kindURLs:
		reason = in.urlLine(text)
	case kindIgnore, kindIgnoreOld:
		reason = in.ignoreLine(f.kind, text)
	case kindSection, kindSectionPUA:
		reason = in.sectionLine(f.kind, text)
	case kindBody, kindBodyPUA, kindLogical, kindLogicalPUA:
		if fault := in.pattern(f.kind, text); fault.reason != "" {
			in.rejectBy(f, n, fault.reason, fault.kind)
			return
		}
	}
	if reason != "" {
		in.reject(f, n, reason)
		return
	}
	in.Accepted++
}

func (in *intake) reject(f sourceFile, n int, reason string) { in.rejectBy(f, n, reason, reason) }

// rejectBy lists a reject whose reason says more than the kind by which it is counted.
func (in *intake) rejectBy(f sourceFile, n int, reason, kind string) {
	in.rejects = append(in.rejects, Reject{File: f.path, Line: n, Reason: reason})
	in.rejectedBy[kind]++
	in.Rejected++
}

func (in *intake) hashLine(k kind, text []byte) (reason string) {
	var e entry
	if k == kindHashes {
		e, reason = parseHashLine(text)
	} else {
		e, reason = parseHash(text, k == kindAllow)
	}
	if reason != "" {
		return reason
	}
	if in.reserved[reservedKey{e.alg, e.hash}] {
		return reasonSelfTest
	}
	if k != kindAllow && in.ignores(&e, text) {
		in.Ignored++
		return ""
	}
	to := familyNormal
	switch k {
	case kindPUA:
		to = familyPUA
	case kindAllow:
		to = familyAllow
	}
	in.tables[to][e.alg].add(dbformat.Record{Hash: e.hash, Size: e.size, Name: in.name(dbformat.ClassHash, &e)})
	return ""
}

// sectionLine takes in the hash of a section of a PE file.
func (in *intake) sectionLine(k kind, text []byte) (reason string) {
	e, reason := parseSection(text)
	switch {
	case reason != "":
		return reason
	case in.reservedPE[reservedKey{e.alg, e.hash}]:
		return reasonSelfTest
	case in.ignores(&e, text):
		in.Ignored++
		return ""
	}
	to := familyNormal
	if k == kindSectionPUA {
		to = familyPUA
	}
	in.sections[to][e.alg].add(dbformat.Record{Hash: e.hash, Size: e.size, Name: in.name(dbformat.ClassPESection, &e)})
	return ""
}

// urlLine takes in a URL. It has no name of its own, but that of a signature without one may be ignored.
func (in *intake) urlLine(text []byte) (reason string) {
	hash, reason := parseURL(text)
	switch {
	case reason != "":
		return reason
	case in.reservedURLs[hash]:
		return reasonSelfTest
	case len(in.ignore) > 0 && in.ignore[urlSection.DefaultName(hash[:])].covers(text):
		in.Ignored++
		return ""
	}
	in.urls.add(dbformat.Record{Hash: hash, Size: dbformat.AnySize})
	return ""
}

// name keeps the name of e; one that says no more than the hash is kept as none.
func (in *intake) name(of dbformat.Class, e *entry) string {
	if isDefault(of, e) {
		return ""
	}
	return in.names.keep(e.name)
}

// defaultPrefix begins every name that dbformat makes for a record of a file without one, defaultSection that of a section of a PE file.
const (
	defaultPrefix  = "Hash."
	defaultSection = "Section."
)

func isDefault(of dbformat.Class, e *entry) bool {
	return (bytes.HasPrefix(e.name, []byte(defaultPrefix)) || bytes.HasPrefix(e.name, []byte(defaultSection))) &&
		string(e.name) == of.Section(e.alg).DefaultName(e.hash[:])
}

func (in *intake) ignoreLine(k kind, text []byte) (reason string) {
	var e ignoreEntry
	if k == kindIgnore {
		e, reason = parseIgnore(text)
	} else {
		e, reason = parseIgnoreOld(text)
	}
	if reason != "" {
		return reason
	}
	rule := in.ignore[string(e.name)]
	if rule == nil {
		rule = &ignoreRule{}
		in.ignore[string(e.name)] = rule
		in.defaults = in.defaults || bytes.HasPrefix(e.name, []byte(defaultPrefix))
	}
	if !e.exact {
		rule.all = true
		return ""
	}
	if rule.lines == nil {
		rule.lines = map[[md5.Size]byte]bool{}
	}
	rule.lines[e.line] = true
	return ""
}

// ignores tells whether an ignore line names the signature of e, whose line has that text.
func (in *intake) ignores(e *entry, text []byte) bool {
	if len(in.ignore) == 0 {
		return false
	}
	rule := in.ignore[string(e.name)]
	if len(e.name) == 0 {
		if !in.defaults {
			return false
		}
		rule = in.ignore[dbformat.DefaultName(e.alg, e.hash[:])]
	}
	return rule.covers(text)
}

// covers tells whether a line with the rule's name and that text is ignored; a rule that is nil covers none.
func (r *ignoreRule) covers(text []byte) bool {
	return r != nil && (r.all || r.lines[md5.Sum(text)])
}

// An arena keeps short texts in large pieces, so that ten million names are some hundred objects.
type arena struct {
	piece strings.Builder
	last  string
}

const arenaPiece = 1 << 20

// keep copies text. The copy lives as long as any text of its piece is in use.
func (a *arena) keep(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	if a.last == string(text) {
		return a.last
	}
	if a.piece.Cap()-a.piece.Len() < len(text) {
		a.piece = strings.Builder{}
		a.piece.Grow(max(arenaPiece, len(text)))
	}
	start := a.piece.Len()
	a.piece.Write(text)
	a.last = a.piece.String()[start:]
	return a.last
}
