package ksn

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/avdb/dbformat"
)

// MaxStatement is the greatest length of a statement in bytes.
const MaxStatement = 64 << 10

// A Statement tells a user what taking part means. The whole text is what is shown and hashed, its two
// header lines included:
//
//	KSN-Statement: 1
//	Language: en
//
//	…
//
// Only [ParseStatement] makes one, so that version and language are those of the text.
type Statement struct {
	version  int
	language string
	text     string
}

// Version is 1 or more and grows when a statement covers something new.
func (s Statement) Version() int { return s.version }

// Language is the tag of the text: "en", "de-AT".
func (s Statement) Language() string { return s.language }

// Text is what is shown, ending in a newline.
func (s Statement) Text() string { return s.text }

// SHA256 is that of Text.
func (s Statement) SHA256() dbformat.Digest { return sha256.Sum256([]byte(s.text)) }

// ParseStatement reads a statement file. The error names the line.
func ParseStatement(b []byte) (Statement, error) {
	bad := func(line int, format string, args ...any) (Statement, error) {
		return Statement{}, fmt.Errorf("statement, line %d: %s", line, fmt.Sprintf(format, args...))
	}
	if len(b) > MaxStatement {
		return Statement{}, fmt.Errorf("statement: %d bytes, the limit is %d", len(b), MaxStatement)
	}
	text := string(b)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if !utf8.ValidString(line) {
			return bad(i+1, "is not UTF-8")
		}
		if j := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); j >= 0 {
			return bad(i+1, "holds the control character %q; lines end in a single newline", line[j])
		}
	}
	number, ok := strings.CutPrefix(lines[0], "KSN-Statement: ")
	version, err := strconv.Atoi(number)
	if !ok || err != nil || version < 1 || version > 1e6 || strconv.Itoa(version) != number {
		return bad(1, `want "KSN-Statement: " and a version from 1 to 1000000`)
	}
	if len(lines) < 4 {
		return bad(len(lines), "the text ends here; want a language, an empty line and the statement")
	}
	language, ok := strings.CutPrefix(lines[1], "Language: ")
	if !ok || normalTag(language) == "" || strings.ContainsAny(language, "_.@") {
		return bad(2, `want "Language: " and a tag such as en or de-AT`)
	}
	if lines[2] != "" {
		return bad(3, "want an empty line")
	}
	if strings.TrimSpace(strings.Join(lines[3:], "")) == "" || !strings.HasSuffix(text, "\n") {
		return bad(4, "want the statement, ending in a newline")
	}
	return Statement{version, language, text}, nil
}

//go:embed statements/ksn_*.txt
var statementFiles embed.FS

// DefaultStatements are the texts that come with the engine, newest version first, then by language.
func DefaultStatements() []Statement {
	files, err := statementFiles.ReadDir("statements")
	if err != nil {
		panic("ksn: embedded statements: " + err.Error()) // part of the binary; a test reads them all
	}
	var all []Statement
	for _, f := range files {
		b, err := statementFiles.ReadFile("statements/" + f.Name())
		if err != nil {
			panic("ksn: embedded " + f.Name() + ": " + err.Error())
		}
		s, err := ParseStatement(b)
		if err != nil {
			panic("ksn: embedded " + f.Name() + ": " + err.Error())
		}
		all = append(all, s)
	}
	return SortStatements(all)
}

// SortStatements gives a sorted copy: newest version first, then by language.
func SortStatements(all []Statement) []Statement {
	return slices.SortedFunc(slices.Values(all), func(a, b Statement) int {
		return cmp.Or(cmp.Compare(b.version, a.version), cmp.Compare(a.language, b.language))
	})
}

// FindStatement picks a version in the best language that it exists in ([MatchLanguage]); version 0 is the newest. The
// error names the versions that exist.
func FindStatement(all []Statement, version int, language string) (Statement, error) {
	var versions, languages []string
	var found []Statement
	for _, s := range SortStatements(all) {
		if v := strconv.Itoa(s.version); !slices.Contains(versions, v) {
			versions = append(versions, v)
		}
		if version == 0 {
			version = s.version
		}
		if s.version == version {
			found = append(found, s)
			languages = append(languages, s.language)
		}
	}
	if len(found) == 0 {
		return Statement{}, fmt.Errorf("no statement of version %d; there is %s", version, cmp.Or(strings.Join(versions, ", "), "none"))
	}
	best := MatchLanguage(language, languages)
	for _, s := range found {
		if s.language == best {
			return s, nil
		}
	}
	return Statement{}, fmt.Errorf("statement %d exists in %s only, which does not serve %q", version, strings.Join(languages, ", "), language)
}
