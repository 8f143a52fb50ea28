package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// A progress is a line on the terminal that is drawn over and over and goes away at
// the end. A nil one does nothing. It is safe for concurrent use.
type progress struct {
	w     io.Writer
	width func() int
	now   func() time.Time

	mu    sync.Mutex
	began time.Time
	drawn time.Time
	shown int // characters on the line
}

// progress returns a line for the terminal, nil when there is none to draw on, or when
// what is on standard output is for a program.
func (a *app) progress() *progress {
	if a.json || a.quiet || !terminal(a.stdout) || !terminal(a.stderr) {
		return nil
	}
	return a.newProgress()
}

// newProgress returns a line on standard error, which is a terminal.
func (a *app) newProgress() *progress {
	f, _ := asFile(a.stderr) // drawn without the escapes, for it has carriage returns
	width := func() int {
		w, _, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 80
		}
		return w
	}
	return &progress{w: f, width: width, now: time.Now, began: time.Now()}
}

// set draws the line, at most ten times a second. A total of 0 is not known.
func (p *progress) set(what string, done, total int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Sub(p.drawn) < drawEvery && (total == 0 || done < total) {
		return
	}
	p.drawn = now
	p.draw(progressText(what, done, total, now.Sub(p.began)))
}

// drawEvery keeps a terminal far away from being what takes the time.
const drawEvery = 100 * time.Millisecond

// progressText is the line for a moment.
func progressText(what string, done, total int64, took time.Duration) string {
	if done == 0 && total == 0 {
		return what
	}
	line := fmt.Sprintf("%s  %s", what, bytesText(done))
	if total > 0 {
		line = fmt.Sprintf("%s  %3d %%  %s of %s", what, 100*done/total, bytesText(done), bytesText(total))
	}
	if took >= time.Second && done > 0 {
		line += fmt.Sprintf("  %s/s", bytesText(int64(float64(done)/took.Seconds())))
	}
	return line
}

func (p *progress) draw(line string) {
	if w := p.width(); w > 1 && utf8.RuneCountInString(line) >= w {
		line = string([]rune(line)[:w-1])
	}
	n := utf8.RuneCountInString(line)
	// Spaces instead of an escape sequence: every terminal knows them.
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.shown-n)))
	p.shown = n
}

// end takes the line away, so that what follows starts on an empty one.
func (p *progress) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.shown))
		p.shown = 0
	}
}
