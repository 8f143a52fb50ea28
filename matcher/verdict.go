package matcher

import (
	"example.org/avdb/dbformat"
)

// A Verdict is what is known of an object. Its text form is stable.
type Verdict string

// The verdicts, in the order in which they win: what stands earlier hides what
// stands later when one object has earned both.
const (
	Allowed   Verdict = "allowed"   // an allow record covers everything that was detected, or an administrator allows the object
	Malicious Verdict = "malicious" // an exact record of a signature
	Suspected Verdict = "suspected" // a prefix in the light layer, which only the cloud or the rest layer can settle
	Failed    Verdict = "error"     // the object or the database could not be read whole
	Clean     Verdict = "clean"     // nothing in this generation speaks against the object, or only what a cloud has settled
)

// Rank orders verdicts: of two for one object the one with the higher rank holds.
// An unknown verdict ranks below Clean.
func (v Verdict) Rank() int {
	switch v {
	case Allowed:
		return 5
	case Malicious:
		return 4
	case Suspected:
		return 3
	case Failed:
		return 2
	case Clean:
		return 1
	}
	return 0
}

// Finding tells whether v is something to report by name.
func (v Verdict) Finding() bool { return v == Allowed || v == Malicious || v == Suspected }

// outdoes tells whether the verdict v of a member takes the place of w, the verdict so far of the file that it is in. Only a finding does, and an allow record of the
// file, which leaves standing what is stronger than itself, gives way to it.
func outdoes(v, w Verdict) bool {
	return v == Malicious && w != Malicious || v == Suspected && w != Malicious && w != Suspected
}

// Values of Result.Source. What a [Cloud] has settled has the source that the cloud names, SourceCloud if it names none.
const (
	SourceLocal    = "local"    // the generation on this device
	SourceOverride = "override" // Options.Overrides
	SourceCloud    = "cloud"
)

// A Result is the verdict of one object and the reason for it. Of a container that was looked into the verdict is the strongest of its own and of those of its members; of
// equals its own counts, then that of the first member. Its strings are
// its own: they outlive the generation that gave them.
type Result struct {
	Path      string  `json:"path"`      // as it was asked for or walked to; "" for a look-up by hash or URL
	Verdict   Verdict `json:"verdict"`   //
	Name      string  `json:"name"`      // of the signature or allow record, "" without a finding
	Signature string  `json:"signature"` // the section that it stands in: "hash/sha256", of patterns "pattern" and "patternpua"; after a cloud's answer that of the prefix; "" by override
	Source    string  `json:"source"`    // who says so: SourceLocal or another
	SHA256    string  `json:"sha256"`    // lower-case hex, when it was computed; always with a finding; of a URL that of the expression that was found
	Size      int64   `json:"size"`      // in bytes, -1 when unknown

	// Member is the path in a container of the member that the finding is about: names, those of members inside each other with "//" between them. They are
	// for people, see archive.Member, and "content" where a container has none for what it holds. "" if the finding is about the object itself; SHA256 and Size are
	// those of the object always.
	Member string `json:"member,omitempty"`

	// MemberSHA256 is that of the content of the member, in lower-case hex; "" without one, and where it could not be read again. Of a member that could not be
	// unpacked whole it is that of what was matched.
	MemberSHA256 string `json:"member_sha256,omitempty"`

	// Limits says which of the limits of unpacking ended the way into a container before its end, and Unread what of one could not be unpacked: is damaged, encrypted
	// or packed by a method that is not known. Neither is an error: what there was was matched, and the verdict is about that. Of several the first is named.
	Limits string `json:"limits,omitempty"`
	Unread string `json:"unread,omitempty"`

	// Age is how long ago the answer was issued that settled a suspicion, in seconds; 0 for all other verdicts.
	Age int64 `json:"age,omitempty"`

	// Why says why a suspicion is not settled, where a [Cloud] was there to settle it.
	Why string `json:"why,omitempty"`

	// Skipped says why the content was not looked at at all ("larger than …"); the
	// verdict is then Clean, as clamscan has it, and this field tells it from a real one.
	Skipped string `json:"skipped,omitempty"`

	// Error says what could not be read. It is set with Failed, and also beside a
	// stronger verdict that holds in spite of it.
	Error string `json:"error"`

	// Err is the error that Error is the text of, for errors.Is: it matches
	// store.ErrStorage when the database and not the object is at fault.
	Err error `json:"-"`
}

// fail records err beside whatever is known already.
func (r *Result) fail(err error) {
	if r.Err == nil {
		r.Err, r.Error = err, err.Error()
	}
	if r.Verdict.Rank() < Failed.Rank() {
		r.Verdict = Failed
	}
}

// A finding is one record that covers an object.
type finding struct {
	verdict Verdict
	section dbformat.SectionID
	name    string
}

// A kind is how strong the evidence of a record is: the algorithm by which it knows whole objects, or kindContent.
type kind = dbformat.Algorithm

// kindContent is weaker than every algorithm. It is that of records which know an object by something in it: body patterns, and hashes of sections of
// a PE file, whichever their algorithm is.
const kindContent kind = 0

// kindOf is the kind of a section's records; ok is false for a section that detects and allows nothing.
func kindOf(id dbformat.SectionID) (k kind, ok bool) {
	if id.OfPatterns() || id.OfPESections() {
		return kindContent, true
	}
	return id.Algorithm(), id.Algorithm().Size() != 0
}

// signatureOf is what Result.Signature calls a section.
func signatureOf(id dbformat.SectionID) string {
	switch id.Class() {
	case dbformat.ClassPattern:
		return "pattern"
	case dbformat.ClassPatternPUA:
		return "patternpua"
	}
	return id.String()
}

// better is the order among findings of one kind: verdict, name, and at the
// last the section, so that the winner never depends on the order of look-ups.
func (f finding) better(g finding) bool {
	if f.verdict != g.verdict {
		return f.verdict.Rank() > g.verdict.Rank()
	}
	if f.name != g.name {
		return f.name < g.name
	}
	return f.section < g.section
}

// A tally collects what the sections say of one object and decides at the end. It
// keeps the best detection of each kind apart because an allow record that
// is met later can cancel some of them and not others. The zero value is empty.
type tally struct {
	found [dbformat.SHA256 + 1]finding // best detection by kind
	allow finding                      // the strongest allow record
	met   uint64                       // sections that had a record for the object, by sectionBit
	err   error                        // the first section that could not be read
}

// sectionBit gives each section of format version 1 its own bit.
func sectionBit(id dbformat.SectionID) uint64 {
	return 1 << (uint(id.Class()&15)<<2 | uint(id.Algorithm()&3))
}

// add takes one finding. A finding without a kind cannot be ranked and is a
// mistake of the caller, so it is not silently dropped but counted as an error.
func (t *tally) add(f finding) {
	a, ok := kindOf(f.section)
	if !ok {
		t.fail(&dbformat.FormatError{What: "section " + f.section.String(), Offset: -1, Reason: "has no algorithm"})
		return
	}
	t.met |= sectionBit(f.section)
	if f.verdict == Allowed {
		have := t.allow.section.Algorithm()
		if t.allow.verdict == "" || a > have || a == have && f.better(t.allow) {
			t.allow = f
		}
		return
	}
	if t.found[a].verdict == "" || f.better(t.found[a]) {
		t.found[a] = f
	}
}

// cancels tells whether an allow record cancels the detections of a kind: it does those of its own and of all weaker ones.
func (t *tally) cancels(k kind) bool {
	return t.allow.verdict == Allowed && k <= t.allow.section.Algorithm()
}

// empty tells whether no section had anything to say.
func (t *tally) empty() bool { return t.met == 0 && t.err == nil }

// fail keeps the first error.
func (t *tally) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// decide is the verdict algebra. An allow record cancels the detections of its own
// and of weaker kinds. What is left wins by verdict, then by the strength of its
// kind; if nothing is left, the allow record itself is the answer. An error
// stands behind every finding and before Clean.
func (t *tally) decide() finding {
	var best finding
	for k := len(t.found) - 1; k >= 0; k-- {
		if f := t.found[k]; f.verdict.Rank() > best.verdict.Rank() && !t.cancels(kind(k)) {
			best = f
		}
	}
	switch {
	case best.verdict != "":
		return best
	case t.allow.verdict == Allowed:
		return t.allow
	case t.err != nil:
		return finding{verdict: Failed}
	}
	return finding{verdict: Clean}
}
