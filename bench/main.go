// Command bench measures avdb and writes what it found as tables and pictures. It is a module of its own, so that what it draws with never
// comes with the product.
//
//	cd bench && go run . [SECTION...] [--out DIR] [--quick] [--program FILE]
//
// Each section measures the real program in processes of its own on loopback, or packages of the product in this process, and ends in a page
// SECTION.md of tables and of demands with a plain yes or no, and in pictures beside it. What a row needs and this machine lacks (wrk,
// nginx, clamscan, yara, Linux's /proc) makes the row say so; a measurement that fails ends the section, and no page is written. All inputs are seeded.
// Machines are noisy: things that are compared are measured in turn, many times, and figures are medians. Where processor time can be read, costs are
// in processor time, which other work on the machine disturbs less than the clock.
//
// Vectorscan is compared with where it is built in: `go run -tags vectorscan .`, with a C compiler, pkg-config and libvectorscan-dev.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// A section measures one part of the product. A new one needs a line in sections and a function.
type section struct {
	name, title string
	run         func(context.Context, *bench) (*page, error)
}

func sections() []section {
	return []section{
		{"ksn", "KSN: the reputation network", measureKSN},
		{"matcher", "Matcher: files, patterns and hashes", measureMatcher},
	}
}

// A bench is what a section works with.
type bench struct {
	quick   bool   // small and short: shows that all of it works, and measures nothing
	root    string // of the product's module
	dir     string // for files, removed at the end
	program string // the avdb under test
	log     io.Writer
}

// note tells whoever waits what goes on.
func (b *bench) note(format string, args ...any) { fmt.Fprintf(b.log, "bench: "+format+"\n", args...) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// run is the command: args without the program's name.
func run(ctx context.Context, args []string, log io.Writer) error {
	if len(args) == 3 && args[0] == childArgument {
		return json.NewEncoder(os.Stdout).Encode(child(args[1:]))
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(log)
	out := f.String("out", "out", "`DIR` for pages and pictures")
	b := &bench{root: "..", log: log}
	f.BoolVar(&b.quick, "quick", false, "small and short: shows that all of it works, the figures mean nothing")
	f.StringVar(&b.program, "program", "", "measure this `FILE`, an avdb that is built already, where a process is measured")
	var names []string
	for { // flags may stand between sections
		if err := f.Parse(args); err != nil {
			return err
		}
		if f.NArg() == 0 {
			break
		}
		names, args = append(names, f.Arg(0)), f.Args()[1:]
	}
	var chosen []section
	var known []string
	for _, s := range sections() {
		known = append(known, s.name)
		if len(names) == 0 || slices.Contains(names, s.name) {
			chosen = append(chosen, s)
		}
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return fmt.Errorf("no section %q; there are: %s", n, strings.Join(known, ", "))
		}
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	for _, s := range chosen {
		if err := b.section(ctx, s, *out); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// section measures one section in a folder of its own and writes its page.
func (b *bench) section(ctx context.Context, s section, out string) (err error) {
	one, load := *b, otherWork()
	if one.dir, err = os.MkdirTemp("", "avdb-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(one.dir)) }()
	if one.program == "" {
		if one.program, err = build(ctx, &one); err != nil {
			return err
		}
	} else if one.program, err = filepath.Abs(one.program); err != nil {
		return err
	}
	p, err := s.run(ctx, &one)
	if err != nil {
		return err
	}
	p.name, p.title, p.quick, p.machine, p.load = s.name, s.title, b.quick, machine(), load
	if err := p.write(out); err != nil {
		return err
	}
	b.note("%s is written", filepath.Join(out, s.name+".md"))
	return nil
}
