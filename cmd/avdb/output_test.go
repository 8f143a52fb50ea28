package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 99_949: "99.9 kB", 123_456: "123 kB",
		999_499: "999 kB", 999_500: "1.00 MB", 5_000_000_000: "5.00 GB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCountText(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1 000", 1234567: "1 234 567"} {
		if got := countText(n); got != want {
			t.Errorf("countText(%d) = %q, want %q", n, got, want)
		}
	}
}

// The progress line never wraps, leaves nothing behind, and is not drawn too often.
func TestProgressLine(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{w: &out, width: func() int { return 20 }, now: func() time.Time { return now }, began: now}
	now = now.Add(2 * time.Second)
	p.set("light bundle of release 7", 500, 1000)
	p.set("light bundle of release 7", 600, 1000) // too early
	p.end()
	parts := strings.Split(out.String(), "\r")
	if len(parts) != 4 || len(parts[1]) != 19 || parts[2] != strings.Repeat(" ", 19) || parts[3] != "" {
		t.Errorf("wrote %q", out.String())
	}
	var none *progress
	none.set("nothing", 1, 2)
	none.end()
}

// Errors are said in the form that --log-format names, with the remedy apart.
func TestSay(t *testing.T) {
	for _, c := range []struct{ format, want string }{
		{"text", "avdb: first\navdb: second\navdb: do this\n"},
		{"json", `"msg":"first\nsecond","remedy":"do this"`},
	} {
		var out bytes.Buffer
		a := &app{stderr: &out, logFormat: c.format}
		a.say(levelError, "first\nsecond", "do this")
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: wrote %q, want %q", c.format, out.String(), c.want)
		}
	}
}

// Whatever wraps an error, its exit code stays.
func TestExitCode(t *testing.T) {
	for _, k := range kinds {
		if got := exitCode(fmt.Errorf("a: %w", errors.Join(fs.ErrExist, k.is))); got != k.code {
			t.Errorf("exitCode(%v) = %d, want %d", k.is, got, k.code)
		}
	}
	for err, want := range map[error]int{
		nil: 0, errFinding: 1, errUnread: 2, errAvailable: 100, errors.New("x"): 2, usagef("x"): 2,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("exitCode(%v) = %d, want %d", err, got, want)
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"one two three four", "one two\nthree four"},
		{"one\ntwo\n\nthree\n", "one two\n\nthree"},
		{"a list:\n\n  x  y  z and much more\n  z\nend of it", "a list:\n\n  x  y  z and much more\n  z\nend of it"},
		{"unbreakablelongword x", "unbreakablelongword\nx"},
		{"", ""},
	} {
		if got := fold(c.text, 10); got != c.want {
			t.Errorf("fold(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

// Every command has a short help, an example that names it, and flags that say what they are; no line of its
// help is wider than a terminal should be.
func TestHelpIsComplete(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || c.Short[0] >= 'A' && c.Short[0] <= 'Z' && !strings.HasPrefix(c.Short, "KSN") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: no example that names it", c.CommandPath())
		}
		if !c.HasSubCommands() && c.Args == nil {
			t.Errorf("%s: its arguments are not checked", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s says nothing", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&app{}))
}
