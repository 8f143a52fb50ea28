package main

import (
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// A scanLine is the progress of a scan: a line on standard error, when that is a terminal. A nil
// one does nothing.
type scanLine struct{ *progress }

// scanProgress returns the line of a scan. Unlike other jobs a scan has one also while its results
// go elsewhere, and none while they are a document on the same terminal or a line for every file.
func (a *app) scanProgress(format string) scanLine {
	if a.quiet || a.verbose || !terminal(a.stderr) || terminal(a.stdout) && format != "text" {
		return scanLine{}
	}
	return scanLine{a.newProgress()}
}

// before takes the line away whenever something is written to w.
func (l scanLine) before(w io.Writer) io.Writer {
	if l.progress == nil {
		return w
	}
	return clearing{l.progress, w}
}

type clearing struct {
	p *progress
	w io.Writer
}

func (c clearing) Write(b []byte) (int, error) {
	c.p.end()
	return c.w.Write(b)
}

// show draws how far the scan has come, now and then.
func (l scanLine) show(t *scanTally, path string) {
	p := l.progress
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Sub(p.drawn) < drawEvery {
		return
	}
	p.drawn = now
	p.draw(scanText(t, path, now.Sub(p.began), p.width()-1))
}

// scanText is the line for a moment, of at most width characters. Of a long path its end is shown.
func scanText(t *scanTally, path string, took time.Duration, width int) string {
	line := fmt.Sprintf("%s  %s", plural(int(t.Scanned), "file"), bytesText(t.Bytes))
	if took >= time.Second {
		line += fmt.Sprintf("  %s/s", bytesText(int64(float64(t.Bytes)/took.Seconds())))
	}
	if n := t.Malicious + t.Suspected; n > 0 {
		line += fmt.Sprintf("  %s found", countText(n))
	}
	if t.Errors > 0 {
		line += fmt.Sprintf("  %s unreadable", countText(t.Errors))
	}
	const least = 8 // characters of a path that still say something
	room := width - utf8.RuneCountInString(line) - 2
	name := []rune(escape(path))
	switch {
	case room < least:
		return line
	case len(name) > room:
		name = append([]rune("…"), name[len(name)-room+1:]...)
	}
	return line + "  " + string(name)
}
