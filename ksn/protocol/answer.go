package protocol

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.org/avdb/dbformat"
)

// ErrInvalid is matched by every error about a document that breaks the protocol.
var ErrInvalid = errors.New("invalid KSN document")

// invalid makes such an error.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Version is that of all documents here.
const Version = 1

// Limits of answers.
const (
	MaxEntries  = 4096    // of one answer
	MaxAnswer   = 2 << 20 // bytes of one answer
	MaxReplies  = 8 << 20 // bytes of what POST /v1/lookup gives
	MaxName     = 255     // bytes of a name, category or signer
	MaxRegions  = 16      // of an entry
	maxPathUp   = 8       // neighbours of an answer among MaxBatch
	maxReleases = 1<<53 - 1
)

// Caps of lives that a server chooses, and how far ahead of us its clock may be.
const (
	MaxTrustedLife = 7 * 24 * time.Hour
	MaxLife        = 24 * time.Hour
	MaxAhead       = 10 * time.Minute
)

// A Verdict is what a network says of an object. Values that are not of the list are ignored by clients.
type Verdict string

// The verdicts.
const (
	Trusted             Verdict = "trusted"
	Untrusted           Verdict = "untrusted"
	PotentiallyUnwanted Verdict = "potentially_unwanted" // legitimate, and abused by intruders
	Unknown             Verdict = "unknown"
)

// Rank orders the verdicts of one object: of two the one with the higher rank holds. A verdict that is not of the list has rank 0.
func (v Verdict) Rank() int {
	switch v {
	case Untrusted:
		return 4
	case PotentiallyUnwanted:
		return 3
	case Trusted:
		return 2
	case Unknown:
		return 1
	}
	return 0
}

// An Answer says all that a network knows of the keys with one prefix. The zero value is none.
type Answer struct {
	V       int           `json:"v"` // Version
	Type    Type          `json:"type"`
	Bits    uint8         `json:"bits"`
	Prefix  string        `json:"prefix"` // hex, as [Prefix.Hex]
	Issued  dbformat.Time `json:"issued"`
	TTL     uint32        `json:"ttl"`     // seconds for which the entries hold
	NegTTL  uint32        `json:"neg_ttl"` // seconds for which it holds that no other key is known
	Release uint64        `json:"release"` // of the database that the answer was made from, 0 for none
	Entries []Entry       `json:"entries"` // in ascending order of key, size, verdict and name
}

// An Entry is what is known of one key.
type Entry struct {
	Key        string         `json:"key"`                  // hex, the whole key
	Size       uint32         `json:"size,omitempty"`       // the entry is about objects of this size only; 0 for all
	Verdict    Verdict        `json:"verdict"`              //
	Name       string         `json:"name,omitempty"`       // of the threat or the software
	Category   string         `json:"category,omitempty"`   // "malware", "pua", "phishing", …
	FirstSeen  *dbformat.Time `json:"first_seen,omitempty"` //
	Popularity uint64         `json:"popularity,omitempty"` // number of users, rounded down to a power of ten
	Signer     string         `json:"signer,omitempty"`     // of the file's own signature
	Regions    []string       `json:"regions,omitempty"`    // where it is seen most, ISO 3166 codes
	TTL        uint32         `json:"ttl,omitempty"`        // seconds, where it is not the answer's
}

// Of is the prefix that the answer is about. It is the zero value if the answer is not one that was verified.
func (a *Answer) Of() Prefix {
	p, err := makePrefix(a.Type, a.Bits, a.Prefix)
	if err != nil {
		return Prefix{}
	}
	return p
}

// About gives the entries that are about k and an object of the given size in bytes; a negative size, for one that is not known,
// fits every entry. Entries with a verdict that is not of the list are left out.
func (a *Answer) About(k Key, size int64) []Entry {
	var found []Entry
	want := k.Hex()
	for _, e := range a.Entries {
		if e.Key == want && e.Verdict.Rank() > 0 && (e.Size == 0 || size < 0 || int64(e.Size) == size) {
			found = append(found, e)
		}
	}
	return found
}

// Life is how long what the answer says of a key holds, within the caps: that of the shortest of found, as [Answer.About] gives them; of its
// silence if there are none.
func (a *Answer) Life(found []Entry) time.Duration {
	if len(found) == 0 {
		return min(seconds(a.NegTTL), MaxLife)
	}
	life := MaxTrustedLife
	for _, e := range found {
		ttl := seconds(a.TTL)
		if e.TTL > 0 {
			ttl = seconds(e.TTL)
		}
		if e.Verdict != Trusted {
			ttl = min(ttl, MaxLife)
		}
		life = min(life, ttl)
	}
	return life
}

// Longest is the longest life of anything that the answer says: how long a cache may keep it.
func (a *Answer) Longest() time.Duration {
	life := a.Life(nil)
	for i := range a.Entries {
		life = max(life, a.Life(a.Entries[i:i+1]))
	}
	return life
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// CheckTime refuses an answer from the future, or one that has nothing left to say at now.
func (a *Answer) CheckTime(now time.Time) error {
	switch issued := a.Issued.Time; {
	case issued.After(now.Add(MaxAhead)):
		return invalid("answer for %s: issued at %s, more than %s from now", a.Of(), issued.Format(time.RFC3339), MaxAhead)
	case !now.Before(issued.Add(a.Longest())):
		return invalid("answer for %s: issued at %s, it has expired", a.Of(), issued.Format(time.RFC3339))
	}
	return nil
}

// append adds the canonical spelling.
func (a *Answer) append(b []byte) []byte {
	return a.appendEntries(a.appendMiddle(appendString(a.appendHead(b), a.Prefix)))
}

// appendHead adds what stands before the prefix.
func (a *Answer) appendHead(b []byte) []byte {
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, int64(a.V), 10)
	b = append(b, `,"type":`...)
	b = appendString(b, string(a.Type))
	b = append(b, `,"bits":`...)
	b = strconv.AppendUint(b, uint64(a.Bits), 10)
	return append(b, `,"prefix":`...)
}

// appendMiddle adds what stands between the prefix and the entries.
func (a *Answer) appendMiddle(b []byte) []byte {
	b = append(b, `,"issued":`...)
	b = appendTime(b, a.Issued)
	b = append(b, `,"ttl":`...)
	b = strconv.AppendUint(b, uint64(a.TTL), 10)
	b = append(b, `,"neg_ttl":`...)
	b = strconv.AppendUint(b, uint64(a.NegTTL), 10)
	b = append(b, `,"release":`...)
	b = strconv.AppendUint(b, a.Release, 10)
	return append(b, `,"entries":[`...)
}

func (a *Answer) appendEntries(b []byte) []byte {
	for i := range a.Entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.Entries[i].append(b)
	}
	return append(b, "]}"...)
}

// likes tells whether two answers differ at most in prefix and entries.
func (a *Answer) likes(o *Answer) bool {
	return a.Type == o.Type && a.Issued == o.Issued && a.Release == o.Release && a.Bits == o.Bits && a.TTL == o.TTL && a.NegTTL == o.NegTTL && a.V == o.V
}

func (e *Entry) append(b []byte) []byte {
	text := func(name, s string) {
		if s != "" {
			b = append(b, name...)
			b = appendString(b, s)
		}
	}
	number := func(name string, n uint64) {
		if n != 0 {
			b = append(b, name...)
			b = strconv.AppendUint(b, n, 10)
		}
	}
	b = append(b, `{"key":`...)
	b = appendString(b, e.Key)
	number(`,"size":`, uint64(e.Size))
	b = append(b, `,"verdict":`...)
	b = appendString(b, string(e.Verdict))
	text(`,"name":`, e.Name)
	text(`,"category":`, e.Category)
	if e.FirstSeen != nil {
		b = append(b, `,"first_seen":`...)
		b = appendTime(b, *e.FirstSeen)
	}
	number(`,"popularity":`, e.Popularity)
	text(`,"signer":`, e.Signer)
	for i, r := range e.Regions {
		if i == 0 {
			b = append(b, `,"regions":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, r)
	}
	if len(e.Regions) > 0 {
		b = append(b, ']')
	}
	number(`,"ttl":`, uint64(e.TTL))
	return append(b, '}')
}

func appendTime(b []byte, t dbformat.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339) // whole seconds, as was checked; package time is quickest with this layout
	return append(b, '"')
}

// appendString adds a JSON string. Checked texts hold neither control characters nor invalid UTF-8.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	if strings.IndexByte(s, '"') < 0 && strings.IndexByte(s, '\\') < 0 {
		b = append(b, s...)
		return append(b, '"')
	}
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// check says what is wrong with an answer.
func (a *Answer) check() error {
	p, err := makePrefix(a.Type, a.Bits, a.Prefix)
	switch {
	case err != nil:
		return invalid("answer: %v", err)
	case a.V != Version:
		return invalid("answer of version %d, want %d", a.V, Version)
	case a.Issued.IsZero() || a.Issued.Year() > 9999 || a.Issued.Nanosecond() != 0:
		return invalid("answer: the time of issue is missing, or no whole second")
	case a.Release > maxReleases:
		return invalid("answer: release %d", a.Release)
	case len(a.Entries) > MaxEntries:
		return invalid("answer: %d entries, the limit is %d", len(a.Entries), MaxEntries)
	case a.Entries == nil:
		return invalid("answer: no list of entries")
	}
	for i := range a.Entries {
		if err := a.Entries[i].check(p); err != nil {
			return err
		}
		if i > 0 && a.Entries[i-1].compare(&a.Entries[i]) >= 0 {
			return invalid("answer: entry %d is not in ascending order", i)
		}
	}
	return nil
}

// Check says why no answer can have the entry, which is to be about k. The error matches [ErrInvalid].
func (e *Entry) Check(k Key) error {
	if e.Key != k.Hex() {
		return invalid("entry: key %.80q, want that of %s", e.Key, k)
	}
	return e.check(k.Prefix(MaxBits))
}

func (e *Entry) check(p Prefix) error {
	switch {
	case len(e.Key) != 2*p.Type.KeySize() || !isHex(e.Key):
		return invalid("entry: key %.80q of type %s: want %d lower-case hex digits", e.Key, p.Type, 2*p.Type.KeySize())
	case hexValue(e.Key[:8])>>(32-p.Bits) != p.Value:
		return invalid("entry %s does not begin with %s", e.Key, p.Hex())
	case e.Verdict == "" || e.Size > dbformat.MaxSize:
		return invalid("entry %s: a verdict, or a size that can be, is missing", e.Key)
	case len(e.Regions) > MaxRegions:
		return invalid("entry %s: %d regions, the limit is %d", e.Key, len(e.Regions), MaxRegions)
	case e.FirstSeen != nil && (e.FirstSeen.IsZero() || e.FirstSeen.Year() > 9999 || e.FirstSeen.Nanosecond() != 0):
		return invalid("entry %s: first_seen is no time of whole seconds", e.Key)
	}
	if err := cmp.Or(checkText(string(e.Verdict)), checkText(e.Name), checkText(e.Category), checkText(e.Signer)); err != nil {
		return invalid("entry %s: %v", e.Key, err)
	}
	for _, r := range e.Regions {
		if err := checkText(r); err != nil {
			return invalid("entry %s: %v", e.Key, err)
		}
	}
	return nil
}

// compare is the order of entries.
func (e *Entry) compare(f *Entry) int {
	return cmp.Or(cmp.Compare(e.Key, f.Key), cmp.Compare(e.Size, f.Size), cmp.Compare(e.Verdict, f.Verdict), cmp.Compare(e.Name, f.Name))
}

// checkText takes printable UTF-8 of at most MaxName bytes.
func checkText(s string) error {
	if len(s) > MaxName {
		return fmt.Errorf("a text of %d bytes, the limit is %d", len(s), MaxName)
	}
	if isASCII(s) {
		return nil
	}
	if !utf8.ValidString(s) {
		return errors.New("a text that is not UTF-8")
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("a text with the character %U", r)
		}
	}
	return nil
}

// isASCII tells whether s is printable ASCII, which nearly all texts are.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// RoundPopularity rounds down to a power of ten, so that an answer tells no exact numbers; 0 stays 0.
func RoundPopularity(n uint64) uint64 {
	p := uint64(1)
	for ; n >= 10; n /= 10 {
		p *= 10
	}
	return min(n, 1) * p
}
