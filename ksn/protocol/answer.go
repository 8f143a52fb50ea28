package protocol

import (
	"bytes"
	"cmp"
	"encoding/hex"
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
	maxPathUp   = 4       // nodes above an answer among MaxBatch
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

// A Head is what all answers of a reply have in common. It is signed with them: an answer is worth nothing under another head.
type Head struct {
	V       int           // Version
	Issued  dbformat.Time //
	TTL     uint32        // seconds for which the entries hold
	NegTTL  uint32        // seconds for which it holds that no other key is known
	Release uint64        // of the database that the answers were made from, 0 for none
}

// An Answer says all that a network knows of the keys with one prefix. The zero value is none.
type Answer struct {
	Head
	Prefix  Prefix
	Entries []Entry // in ascending order of key, size, verdict and name
}

// An Entry is what is known of one key.
type Entry struct {
	Key        Key            // has the answer's type
	Size       uint32         // the entry is about objects of this size only; 0 for all
	Verdict    Verdict        //
	Name       string         // of the threat or the software
	Category   string         // "malware", "pua", "phishing", …
	FirstSeen  *dbformat.Time //
	Popularity uint64         // number of users, rounded down to a power of ten
	Signer     string         // of the file's own signature
	Regions    []string       // where it is seen most, ISO 3166 codes
	TTL        uint32         // seconds, where it is not the head's
}

// About gives the entries that are about k and an object of the given size in bytes; a negative size, for one that is not known,
// fits every entry. Entries with a verdict that is not of the list are left out.
func (a *Answer) About(k Key, size int64) []Entry {
	var found []Entry
	for _, e := range a.Entries {
		if e.Key == k && e.Verdict.Rank() > 0 && (e.Size == 0 || size < 0 || int64(e.Size) == size) {
			found = append(found, e)
		}
	}
	return found
}

// Life is how long what an answer under the head says of a key holds, within the caps: that of the shortest of found, as [Answer.About] gives them; of its
// silence if there are none.
func (h *Head) Life(found []Entry) time.Duration {
	if len(found) == 0 {
		return min(seconds(h.NegTTL), MaxLife)
	}
	life := MaxTrustedLife
	for i := range found {
		e, ttl := &found[i], seconds(h.TTL)
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
		return invalid("answer for %s: issued at %s, more than %s from now", a.Prefix, issued.Format(time.RFC3339), MaxAhead)
	case !now.Before(issued.Add(a.Longest())):
		return invalid("answer for %s: issued at %s, it has expired", a.Prefix, issued.Format(time.RFC3339))
	}
	return nil
}

// append adds the canonical spelling.
func (h *Head) append(b []byte) []byte {
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, int64(h.V), 10)
	b = append(b, `,"issued":`...)
	b = appendTime(b, h.Issued)
	b = append(b, `,"ttl":`...)
	b = strconv.AppendUint(b, uint64(h.TTL), 10)
	b = append(b, `,"neg_ttl":`...)
	b = strconv.AppendUint(b, uint64(h.NegTTL), 10)
	b = append(b, `,"release":`...)
	b = strconv.AppendUint(b, h.Release, 10)
	return append(b, '}')
}

// appendEntries adds the canonical spelling of a list of entries.
func appendEntries(b []byte, entries []Entry) []byte {
	b = append(b, '[')
	for i := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = entries[i].append(b)
	}
	return append(b, ']')
}

func (e *Entry) append(b []byte) []byte {
	b = append(b, `{"key":"`...)
	b = hex.AppendEncode(b, e.Key.Bytes())
	b = append(b, '"')
	b = appendNumber(b, `,"size":`, uint64(e.Size))
	b = append(b, `,"verdict":`...)
	b = appendString(b, string(e.Verdict))
	b = appendText(b, `,"name":`, e.Name)
	b = appendText(b, `,"category":`, e.Category)
	if e.FirstSeen != nil {
		b = append(b, `,"first_seen":`...)
		b = appendTime(b, *e.FirstSeen)
	}
	b = appendNumber(b, `,"popularity":`, e.Popularity)
	b = appendText(b, `,"signer":`, e.Signer)
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
	b = appendNumber(b, `,"ttl":`, uint64(e.TTL))
	return append(b, '}')
}

// appendText adds a field that is left out where it is empty.
func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, name...), s)
}

// appendNumber likewise.
func appendNumber(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(b, name...), n, 10)
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

// check says what is wrong with a head.
func (h *Head) check() error {
	switch {
	case h.V != Version:
		return invalid("reply of version %d, want %d", h.V, Version)
	case h.Issued.IsZero() || h.Issued.Year() > 9999 || h.Issued.Nanosecond() != 0:
		return invalid("reply: the time of issue is missing, or no whole second")
	case h.Release > maxReleases:
		return invalid("reply: release %d", h.Release)
	}
	return nil
}

// checkEntries says what is wrong with an answer.
func checkEntries(p Prefix, entries []Entry) error {
	if len(entries) > MaxEntries {
		return invalid("answer for %s: %d entries, the limit is %d", p, len(entries), MaxEntries)
	}
	for i := range entries {
		if err := entries[i].check(p); err != nil {
			return err
		}
		if i > 0 && entries[i-1].Compare(&entries[i]) >= 0 {
			return invalid("answer for %s: entry %d is not in ascending order", p, i)
		}
	}
	return nil
}

// Check says why no answer can have the entry. The error matches [ErrInvalid].
func (e *Entry) Check() error {
	if e.Key.Type.KeySize() == 0 {
		return invalid("entry of the unknown type %.40q", e.Key.Type)
	}
	return e.check(e.Key.Prefix(MaxBits))
}

func (e *Entry) check(p Prefix) error {
	switch {
	case !p.Covers(e.Key):
		return invalid("entry %s does not begin with %s", e.Key, p)
	case !e.Key.isCut():
		return invalid("entry %s: bytes behind the key", e.Key)
	case e.Verdict == "" || e.Size > dbformat.MaxSize:
		return invalid("entry %s: a verdict, or a size that can be, is missing", e.Key)
	case len(e.Regions) > MaxRegions:
		return invalid("entry %s: %d regions, the limit is %d", e.Key, len(e.Regions), MaxRegions)
	case e.FirstSeen != nil && (e.FirstSeen.IsZero() || e.FirstSeen.Year() > 9999 || e.FirstSeen.Nanosecond() != 0):
		return invalid("entry %s: first_seen is no time of whole seconds", e.Key)
	}
	for _, text := range [...]string{string(e.Verdict), e.Name, e.Category, e.Signer} {
		if err := checkText(text); err != nil {
			return invalid("entry %s: %v", e.Key, err)
		}
	}
	for _, r := range e.Regions {
		if err := checkText(r); err != nil {
			return invalid("entry %s: %v", e.Key, err)
		}
	}
	return nil
}

// Compare is the order of entries.
func (e *Entry) Compare(f *Entry) int {
	return cmp.Or(bytes.Compare(e.Key.Sum[:], f.Key.Sum[:]), cmp.Compare(e.Size, f.Size), cmp.Compare(e.Verdict, f.Verdict), cmp.Compare(e.Name, f.Name))
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
