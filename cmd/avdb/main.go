// Command avdb publishes, fetches, verifies and matches an antivirus database.
//
// This package holds flags, output and exit codes and nothing else: what is decided
// is decided by the libraries, and a command is a call to one of them with its result
// printed.
//
// # Output
//
// Results go to standard output, everything else to standard error. Each line there
// begins with "avdb: ", is in lower case and ends without a full stop; what to do about
// an error stands on a line of its own after it. With --json a command prints one
// document, also when it fails; work that takes long prints JSON lines whose "type"
// says what each is. Times are RFC 3339 in UTC, sizes are bytes.
//
// # Where a value comes from
//
// A flag wins over the environment, that over the device's settings, those over the
// default. A key in the config file is the administrator's policy and wins over all
// four; a command that would change such a key is refused. The table of keys is in
// keys.go.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go obey(ctx, cancel, signals, patience, os.Exit)
	code := run(ctx, os.Args[1:], &app{
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		env:    os.Getenv,
	})
	os.Exit(code)
}

// An app is one run of the program: what it gets from outside, and the flags that
// every command has.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string

	json      bool
	quiet     bool
	verbose   bool
	logFormat string
	stateFlag string
	confFlag  string
	state     string // the state folder that the command works with, "" for none

	args []string // the command line, for --json after a flag that could not be read

	// answered is set once the command has printed its JSON document, so that a
	// failure after it adds no second one.
	answered bool
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, a *app) int {
	out, told := &output{Writer: a.stdout}, &output{Writer: a.stderr}
	a.stdout, a.stderr = out, told
	defer told.end()
	a.args = args
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	out.end()
	if out.err != nil && exitCode(err) == exitOK {
		err = fmt.Errorf("standard output: %w", out.err)
	}
	return a.fail(err)
}
