package main

import (
	"context"
	"os"
	"syscall"
	"time"
)

// patience is how long a command that was told to end may take to do so in good order.
const patience = 2 * time.Second

// obey ends a command when a signal comes: in good order after the first one; at once, by exit with 128 and
// the signal's number, after a second or when patience is at its end, as
// when the process waits for a pipe. It returns when ctx is done for another reason.
func obey(ctx context.Context, cancel context.CancelFunc, signals <-chan os.Signal, patience time.Duration, exit func(code int)) {
	var s os.Signal
	select {
	case s = <-signals:
	case <-ctx.Done():
		return
	}
	cancel()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case s = <-signals:
	case <-t.C:
	}
	code := exitError
	if n, ok := s.(syscall.Signal); ok {
		code = 128 + int(n)
	}
	exit(code)
}
