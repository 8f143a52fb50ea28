package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

// The first signal asks, the second or the end of patience does not.
func TestSignalsEndTheProcess(t *testing.T) {
	for _, c := range []struct {
		name     string
		signals  []os.Signal
		patience time.Duration
		want     int
	}{
		{"patience ends", []os.Signal{syscall.SIGTERM}, time.Millisecond, 128 + 15},
		{"a second one", []os.Signal{syscall.SIGTERM, os.Interrupt}, time.Hour, 128 + 2},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		signals := make(chan os.Signal, 2)
		for _, s := range c.signals {
			signals <- s
		}
		code := 0
		obey(ctx, cancel, signals, c.patience, func(n int) {
			if ctx.Err() == nil {
				t.Errorf("%s: ended without having asked", c.name)
			}
			code = n
		})
		if code != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, code, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	obey(ctx, cancel, make(chan os.Signal), 0, func(int) { t.Error("ended without a signal") })
}
