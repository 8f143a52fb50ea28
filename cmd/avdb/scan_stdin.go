package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"example.org/avdb/matcher"
)

// takeStdin takes "-" from the paths of a command line and tells whether it was there. A file of that name is "./-".
func takeStdin(args []string) (paths []string, stdin bool, err error) {
	if slices.Contains(args, "") {
		return nil, false, usagef("a PATH is empty: perhaps a variable that is not set")
	}
	paths = slices.DeleteFunc(slices.Clone(args), func(s string) bool { return s == stdinPath })
	switch len(args) - len(paths) {
	case 0:
		return paths, false, nil
	case 1:
		return paths, true, nil
	}
	return nil, false, usagef("- is standard input, which can be read once: name it once (a file of that name is ./-)")
}

// stdin scans standard input as one object.
func (x *scanning) stdin(ctx context.Context, m *matcher.Matcher) error {
	in, let := unblocked(ctx, x.job.a.stdin, x.job.limits.maxTime)
	defer let()
	r := m.ScanReader(ctx, in)
	if err := ctx.Err(); err != nil && !r.Verdict.Finding() {
		return err
	}
	r.Path = stdinPath
	x.take(r)
	return ctx.Err()
}

// unblocked is r as a reader whose reads end with ctx, and after most if that is above 0: a pipe may say nothing for hours. A regular file is itself, for it is
// read by position. let has to be called at the end.
func unblocked(ctx context.Context, r io.Reader, most time.Duration) (_ io.Reader, let func()) {
	if f, ok := r.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
			return f, func() {}
		}
	}
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r) // until out is closed, or for as long as the process lives
		in.CloseWithError(err)
	}()
	end := context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	late := func() bool { return true }
	if most > 0 {
		late = time.AfterFunc(most, func() { in.CloseWithError(context.DeadlineExceeded) }).Stop
	}
	return out, func() {
		end()
		late()
		out.Close()
	}
}

// strayValue refuses "true" and the like behind a flag that is set or not: it would be taken for a path, and the flag for set.
func strayValue(flags *pflag.FlagSet, args []string) error {
	for i := 0; i+1 < len(args) && args[i] != "--"; i++ {
		f := lastFlag(flags, args[i])
		switch {
		case f == nil:
		case f.Value.Type() != "bool":
			i++ // what follows is its value
		case slices.Contains([]string{"true", "false", "on", "off", "yes", "no"}, strings.ToLower(args[i+1])):
			return &usageError{text: "--" + f.Name + " takes a value behind an equals sign alone: --" + f.Name + "=true or --" + f.Name + "=false",
				remedy: "if a file is meant: ./" + args[i+1], command: "avdb scan"}
		}
	}
	return nil
}

// lastFlag is the flag that what follows arg could belong to; nil for none.
func lastFlag(flags *pflag.FlagSet, arg string) *pflag.Flag {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		return flags.Lookup(name) // none if it has its value
	}
	short, ok := strings.CutPrefix(arg, "-")
	if !ok || short == "" {
		return nil
	}
	for i := range len(short) {
		f := flags.ShorthandLookup(short[i : i+1])
		if f == nil || f.Value.Type() != "bool" && i+1 < len(short) {
			return nil // unknown, or the rest is its value
		}
		if i+1 == len(short) {
			return f
		}
	}
	return nil
}
