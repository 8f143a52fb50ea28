package dbformat

import (
	"fmt"
	"unicode/utf8"
)

// CheckName tells why a name cannot be a signature's: it must be valid UTF-8 of 1
// to [MaxName] bytes without control characters, line or paragraph separators,
// byte order marks and characters that change the direction of text. The list is
// fixed here, not taken from a Unicode table, so that it is the same for every
// engine. The error names the first bad character.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("name has %d bytes, at most %d are allowed", len(name), MaxName)
	}
	if err := checkPlain(name); err != nil {
		return fmt.Errorf("name %w", err)
	}
	return nil
}

// checkPlain refuses in any text what [CheckName] refuses in names, because a screen would show it as
// something else than it is. Any length is fine; the error begins with "has" or "is".
func checkPlain(text string) error {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
				return fmt.Errorf("is not valid UTF-8 at byte %d", i)
			}
		}
		if unprintable(r) {
			return fmt.Errorf("has the control character %U at byte %d", r, i)
		}
	}
	return nil
}

// plainName tells whether b is printable ASCII, which nearly all names are.
func plainName(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

// checkNameBytes is CheckName without a copy in the usual case.
func checkNameBytes(b []byte) error {
	if len(b) > 0 && len(b) <= MaxName && plainName(b) {
		return nil
	}
	return CheckName(string(b))
}

func unprintable(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f: // C0, DEL, C1
		return true
	case r == 0x2028, r == 0x2029: // line and paragraph separators
		return true
	case r == 0xfeff: // byte order mark
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // direction
		return true
	}
	return false
}

// ParseSection is the inverse of [SectionID.String].
func ParseSection(s string) (SectionID, error) {
	for _, id := range AllSections() {
		if id.String() == s {
			return id, nil
		}
	}
	return 0, fmt.Errorf("unknown section %q", s)
}

// AllSections lists the sections that format version 1 defines, in the order in which
// a layer has them.
func AllSections() []SectionID {
	var ids []SectionID
	for c := ClassHash; c <= ClassAllow; c++ {
		for _, a := range Algorithms() {
			ids = append(ids, c.Section(a))
		}
	}
	ids = append(ids, ClassIgnore.Section(0), ClassSelfTest.Section(0), ClassURL.Section(SHA256))
	for c := ClassPESection; c <= ClassPESectionPUA; c++ {
		for _, a := range Algorithms() {
			ids = append(ids, c.Section(a))
		}
	}
	return append(ids, ClassPattern.Section(SHA256), ClassPatternPUA.Section(SHA256))
}

// In tells whether layer l may have the section.
func (id SectionID) In(l Layer) bool {
	return id.Valid() && (l == Light || l == Rest && (id.Split() || id.Placed()))
}

// Rows tells whether the section's content is hash records (and not patterns, names or vectors).
func (id SectionID) Rows() bool {
	return id.OfFiles() || id.OfURLs() || id.OfPESections()
}

// Keyed tells whether the section's content is rows in the order of their keys, cut into ranges: hash records or patterns.
func (id SectionID) Keyed() bool { return id.Rows() || id.OfPatterns() }

// MarshalText gives the section's name, so that JSON shows it as a key or value.
func (id SectionID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText takes exactly what MarshalText gives.
func (id *SectionID) UnmarshalText(b []byte) error {
	v, err := ParseSection(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}
