package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// What a terminal would obey is shown instead; all other text stays as it is.
func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain/ünï→.com":         "plain/ünï→.com",
		"\x1b[31m":               `\x1b[31m`,
		"a\nb\rc\td":             `a\nb\rc\td`,
		"\x7f\u0085\u009b":       `\u007f\u0085\u009b`,
		"\xff\xc3":               `\xff\xc3`,
		"x\u202egpj\u2066\u2069": `x\u202egpj\u2066\u2069`,
		"\u2028\u2029\ufffd":     `\u2028\u2029` + "\ufffd",
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %s, want %s", in, got, want)
		}
	}
}

// A line feed in a name begins no line; those between errors do.
func TestErrorTextKeepsOwnLines(t *testing.T) {
	bad := &fs.PathError{Op: "open", Path: "x\navdb: all is well", Err: fs.ErrNotExist}
	flat := `open x\navdb: all is well: file does not exist`
	for _, c := range []struct {
		err  error
		want string
	}{
		{bad, flat},
		{fmt.Errorf("a\nb: %w", bad), `a\nb: ` + flat},
		{errors.Join(bad, errors.New("second")), flat + "\nsecond"},
		{fmt.Errorf("both: %w", errors.Join(bad, errors.New("second"))), "both: " + flat + "\nsecond"},
		{&updater.UpdateError{Kind: signing.ErrUntrusted, Causes: []error{bad}},
			"update: " + signing.ErrUntrusted.Error() + "\n  " + flat + "\nno database is installed yet; update from another source, or tell who runs this one that its files are not what was signed"},
		{&configError{[]configProblem{{File: "a\nb", Line: 1, Text: "bad"}, {File: "c", Text: "worse"}}}, `a\nb:1: bad` + "\nc: worse"},
	} {
		if got := errorText(c.err); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

// Whatever reaches an output raw is escaped there, also when a character comes in two pieces.
func TestOutputEscapes(t *testing.T) {
	var b bytes.Buffer
	o := &output{Writer: &b}
	for _, s := range []string{"a\x1bb\n", "\xe2\x80", "\xaec\u009b", "é\xc3"} {
		if n, err := o.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", s, n, err)
		}
	}
	o.end()
	if got, want := b.String(), "a\\x1bb\n\\u202ec\\u009bé\\xc3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
