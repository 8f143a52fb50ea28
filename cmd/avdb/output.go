package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// The levels of what goes to standard error.
const (
	levelNote  = slog.LevelInfo
	levelWarn  = slog.LevelWarn
	levelError = slog.LevelError
)

// document prints v as the command's one JSON document.
func (a *app) document(v any) error {
	a.answered = true
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// lines returns a function that prints values as JSON lines; flush must be called
// at the end.
func (a *app) lines() (put func(v any) error, flush func() error) {
	a.answered = true
	w := bufio.NewWriter(a.stdout)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode, w.Flush
}

// say writes a message to standard error, and what to do about it on lines of its own.
func (a *app) say(level slog.Level, text, remedy string) {
	if a.logFormat == "json" {
		args := []any{}
		if remedy != "" {
			args = append(args, "remedy", remedy)
		}
		a.logger().Log(context.Background(), level, text, args...)
		return
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("avdb: " + strings.TrimRight(line, "\n") + "\n")
	}
	if remedy != "" {
		for line := range strings.Lines(remedy) {
			b.WriteString("avdb: " + strings.TrimRight(line, "\n") + "\n")
		}
	}
	io.WriteString(a.stderr, b.String())
}

// note tells something that is neither a result nor wrong; -q leaves it out.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		a.say(levelNote, fmt.Sprintf(format, escapedArgs(args)...), "")
	}
}

// warn tells something that the caller should look at; -q does not leave it out.
func (a *app) warn(format string, args ...any) {
	a.say(levelWarn, fmt.Sprintf(format, escapedArgs(args)...), "")
}

// logger is what libraries log to: only with -v, and in the form that --log-format
// names.
func (a *app) logger() *slog.Logger {
	level := levelWarn
	if a.verbose {
		level = slog.LevelDebug
	}
	if a.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(&textHandler{w: a.stderr, level: level})
}

// An output is where results go. It remembers the first write that failed, so that a result that
// nobody got is never reported as a success.
// Whatever could take hold of a terminal is escaped on its way, line feeds and tabs excepted. It is
// safe for concurrent use.
type output struct {
	io.Writer
	mu   sync.Mutex
	err  error
	held []byte // the beginning of a character whose rest is to come
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := append(o.held, b...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if at := len(text) - i; utf8.RuneStart(text[at]) {
			if !utf8.FullRune(text[at:]) {
				whole = at
			}
			break
		}
	}
	o.held = slices.Clone(text[whole:])
	return len(b), o.put(text[:whole])
}

// end writes what was held back.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.held) > 0 {
		o.put(o.held)
		o.held = nil
	}
}

func (o *output) put(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	_, err := io.WriteString(o.Writer, escapeBut(string(text), "\n\t"))
	if err != nil && o.err == nil {
		o.err = err
	}
	return err
}

// asFile is the file that f writes to.
func asFile(f any) (*os.File, bool) {
	if o, ok := f.(*output); ok {
		f = o.Writer
	}
	file, ok := f.(*os.File)
	return file, ok
}

// terminal tells whether f is a terminal.
func terminal(f any) bool {
	file, ok := asFile(f)
	return ok && term.IsTerminal(int(file.Fd()))
}

// stamp is a time as it is printed: RFC 3339, UTC, whole seconds; "-" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// bytesText is a size for people: exact up to a kilobyte, then three digits.
func bytesText(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for ; v >= 999.5 && i < 4; i++ {
		v /= unit
	}
	prec := 0
	switch {
	case v < 10:
		prec = 2
	case v < 100:
		prec = 1
	}
	return fmt.Sprintf("%.*f %cB", prec, v, "kMGTP"[i])
}

// countText is a number with its thousands apart: 1 234 567.
func countText[N ~int | ~int64 | ~uint64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// ago is a duration for people: "3 min", "2 h", "5 d".
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// reportJSON prints a library's report as the command's document; beside an error it also
// has the fields of a failure.
func (a *app) reportJSON(report any, err error) error {
	b, merr := json.Marshal(report)
	if merr != nil {
		return errors.Join(err, merr)
	}
	if _, isResult := errors.AsType[verdictError](err); err != nil && !isResult {
		f := failure{Exit: exitCode(err)}
		f.Error, f.Remedy = a.explain(err)
		more, merr := json.Marshal(f)
		if merr != nil {
			return errors.Join(err, merr)
		}
		b = append(append(bytes.TrimSuffix(b, []byte("}")), ','), more[1:]...)
	}
	if derr := a.document(json.RawMessage(b)); derr != nil {
		return errors.Join(err, derr)
	}
	return err
}

// firstLine cuts a text to its first line.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// plural is a number with its word: "1 file", "2 000 files".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%s %ss", countText(n), word)
}
