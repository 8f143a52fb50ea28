package main

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// A textHandler writes records of log/slog as lines for people:
// "avdb: message key=value". It is safe for concurrent use.
type textHandler struct {
	w     io.Writer
	level slog.Level
	attrs string // already formatted, with a leading space
	group string // prefix of keys, with its dot
	mu    sync.Mutex
}

// Enabled implements [slog.Handler].
func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements [slog.Handler]. One record is one write.
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("avdb: ")
	b.WriteString(escape(r.Message))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.group, a)
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

// WithAttrs implements [slog.Handler].
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	for _, a := range attrs {
		appendAttr(&b, h.group, a)
	}
	return &textHandler{w: h.w, level: h.level, attrs: h.attrs + b.String(), group: h.group}
}

// WithGroup implements [slog.Handler].
func (h *textHandler) WithGroup(name string) slog.Handler {
	return &textHandler{w: h.w, level: h.level, attrs: h.attrs, group: h.group + name + "."}
}

func appendAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		for _, sub := range v.Group() {
			appendAttr(b, group+a.Key+".", sub)
		}
		return
	}
	text := v.String()
	if text == "" || strings.ContainsAny(text, " \"=") || escape(text) != text {
		text = strconv.Quote(text)
	}
	b.WriteString(" " + group + a.Key + "=" + text)
}
