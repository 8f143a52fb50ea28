package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"example.org/avdb/updater"
)

// hostile tells whether a character, or a byte that is none, could make a terminal do or show
// something else than it says: control characters, line and paragraph separators, and what
// turns the direction of text.
func hostile(r rune, size int) bool {
	switch {
	case r == utf8.RuneError && size == 1:
		return true
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// escape returns a text of somebody else, such as a file's name, so that it stays on its line and
// shows what it holds: what is hostile stands as \n, \x1b or \u202e.
func escape(s string) string { return escapeBut(s, "") }

// escapeBut is escape, which lets the characters of keep pass.
func escapeBut(s, keep string) string {
	var b strings.Builder
	done := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if hostile(r, size) && !strings.ContainsRune(keep, r) {
			b.WriteString(s[done:i])
			switch {
			case r == '\n':
				b.WriteString(`\n`)
			case r == '\r':
				b.WriteString(`\r`)
			case r == '\t':
				b.WriteString(`\t`)
			case r < 0x20 || size == 1 && r == utf8.RuneError:
				fmt.Fprintf(&b, `\x%02x`, s[i])
			default:
				fmt.Fprintf(&b, `\u%04x`, r) // which JSON knows too
			}
			done = i + size
		}
		i += size
	}
	if done == 0 {
		return s
	}
	return b.String() + s[done:]
}

// errorText is the text of err with everything hostile escaped. Line feeds stay where this program
// put them: between the parts of a joined error and between the lines of a report.
// Those inside of a part belong to a name or to a foreign text.
func errorText(err error) string {
	text := err.Error()
	if e, ok := err.(*configError); ok {
		lines := make([]string, len(e.problems))
		for i, p := range e.problems {
			lines[i] = escape(p.place() + ": " + p.Text)
		}
		return strings.Join(lines, "\n")
	}
	var parts []error
	between := func(s string) string { return escape(s) }
	switch e := err.(type) {
	case *updater.UpdateError:
		parts = append([]error{e.Kind}, e.Causes...)
		between = func(s string) string { return escapeBut(s, "\n") }
	case interface{ Unwrap() []error }:
		parts = e.Unwrap()
		between = func(s string) string {
			if s == "\n" {
				return s
			}
			return escape(s)
		}
	default:
		if inner := errors.Unwrap(err); inner != nil {
			parts = []error{inner}
		}
	}
	var b strings.Builder
	for _, p := range parts {
		inner := p.Error()
		if before, after, ok := strings.Cut(text, inner); ok && inner != "" {
			b.WriteString(between(before) + errorText(p))
			text = after
		}
	}
	return b.String() + between(text)
}

// escapedArgs makes the arguments of a message safe: texts, errors, and what prints itself.
func escapedArgs(args []any) []any {
	safe := make([]any, len(args))
	for i, v := range args {
		switch v := v.(type) {
		case string:
			safe[i] = escape(v)
		case error:
			safe[i] = errorText(v)
		case fmt.Stringer:
			safe[i] = escape(v.String())
		default:
			safe[i] = v
		}
	}
	return safe
}
