package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const demoPicture = `
     signature files          plain files on any web server           this device
    ┌───────────────┐ publish ┌────────────────────────────┐ update ┌──────────────┐
    │ *.hsb  *.fp … ├────────▶│ metadata/   who says so    ├───────▶│ light ┐      │
    └───────────────┘  keys   │ targets/    light and rest │ trust  │ rest  ┴ scan │
                              └────────────────────────────┘        └──────────────┘
`

const demoHelp = `Live through the whole life of a database on this machine's loopback: a publisher makes
keys and a release, a web server serves it, an endpoint fetches, verifies and stores it and
scans two files; then a delta, attacks that must fail, cloud mode, a private KSN server, a
restriction, a roll-back. Each step runs this very program as a child process and is checked; the exit code
tells whether all of them held, so the demo is a test as well.

Nothing outside the working folder is touched, and the folder is removed at the end.
The test file that is detected is EICAR's, which is harmless; it is made when it is needed and
removed after each scan.`

func newDemo(a *app) *cobra.Command {
	var keep string
	c := &cobra.Command{
		Use:   "demo",
		Short: "see the whole life of a database, checked step by step",
		Long:  demoHelp,
		Example: `  avdb demo
  avdb demo --keep /tmp/avdb-demo      and look around afterwards`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), a, keep) },
	}
	c.Flags().StringVar(&keep, "keep", "", "work in `DIR`, which must be empty or absent, and leave it there")
	return c
}

// A demo is one run of it.
type demo struct {
	ctx  context.Context
	exe  string // this program
	dir  string // everything happens below it
	web  *web
	env  []string
	sigs int // signatures of the present release

	version uint64 // the release that the endpoint has
	bundles int64  // bytes of the first update
}

// A demoStep is one line of the demo: what is done, and a check of it. The detail
// says what was seen.
type demoStep struct {
	title string
	do    func(*demo) (detail string, err error)
}

// A demoLine is a step in JSON lines.
type demoLine struct {
	Type    string  `json:"type"` // "step"
	Step    int     `json:"step"`
	Title   string  `json:"title"`
	OK      bool    `json:"ok"`
	Detail  string  `json:"detail"`
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes"`    // bodies that the server sent
	Asked   int     `json:"requests"` // requests that the server answered
	Error   string  `json:"error,omitempty"`
}

// A demoResult is the last of the JSON lines.
type demoResult struct {
	Type    string  `json:"type"` // "result"
	OK      bool    `json:"ok"`
	Steps   int     `json:"steps"`
	Seconds float64 `json:"seconds"`
	Dir     string  `json:"dir,omitempty"` // where everything was left; absent when it was removed
	Error   string  `json:"error,omitempty"`
}

func runDemo(ctx context.Context, a *app, keep string) error {
	dir, remove, err := demoFolder(keep)
	if err != nil {
		return err
	}
	defer remove()
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("demo: where this program is: %w", err)
	}
	d := &demo{ctx: ctx, exe: exe, dir: dir}
	if err := os.WriteFile(d.path("avdb.yaml"), nil, 0o644); err != nil {
		return err
	}
	// Nothing of the user's own configuration reaches the children.
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AVDB_") {
			d.env = append(d.env, v)
		}
	}
	d.env = append(d.env, "AVDB_CONFIG="+d.path("avdb.yaml"))
	if d.web, err = serve(d.path("repo", "public")); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer d.web.close()

	show := a.demoText(dir)
	if a.json {
		put, flush := a.lines()
		show = func(v any) error { return errors.Join(put(v), flush()) }
	} else if !a.quiet {
		fmt.Fprint(a.stdout, demoPicture, "\n")
	}
	begin := time.Now()
	steps := demoStory()
	for i, s := range steps {
		d.web.forget()
		from := time.Now()
		detail, err := s.do(d)
		line := demoLine{Type: "step", Step: i + 1, Title: s.title, OK: err == nil, Detail: detail, Seconds: time.Since(from).Seconds()}
		for _, h := range d.web.log("") {
			line.Bytes, line.Asked = line.Bytes+h.bytes, line.Asked+1
		}
		if err != nil {
			line.Error = err.Error()
		}
		if werr := show(line); werr != nil {
			return werr
		}
		if err != nil {
			r := demoResult{Type: "result", Steps: i, Seconds: time.Since(begin).Seconds(), Dir: keep, Error: line.Error}
			if werr := show(r); werr != nil {
				return werr
			}
			return hint(fmt.Errorf("demo: step %d, %s: %w", i+1, strings.TrimSpace(s.title), err), "run %q to look at what is there", "avdb demo --keep DIR")
		}
	}
	return show(demoResult{Type: "result", OK: true, Steps: len(steps), Seconds: time.Since(begin).Seconds(), Dir: keep})
}

// demoFolder makes the working folder and says how to remove it.
func demoFolder(keep string) (dir string, remove func(), err error) {
	if keep == "" {
		dir, err = os.MkdirTemp("", "avdb-demo-")
		return dir, func() { os.RemoveAll(dir) }, err
	}
	if dir, err = filepath.Abs(keep); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	if names, err := f.Readdirnames(1); !errors.Is(err, io.EOF) {
		return "", nil, hint(fmt.Errorf("demo: %s is not empty (%s)", keep, strings.Join(names, "")), "name a folder that is empty or absent")
	}
	return dir, func() {}, nil
}

// demoText prints steps for people.
func (a *app) demoText(dir string) func(any) error {
	return func(v any) error {
		var err error
		switch v := v.(type) {
		case demoLine:
			mark := "✓"
			if !v.OK {
				mark = "✗"
			}
			net := ""
			if v.Asked > 0 {
				net = bytesText(v.Bytes)
			}
			_, err = fmt.Fprintf(a.stdout, "%s %-40s %5.0f ms %9s  %s\n", mark, v.Title, v.Seconds*1000, net, v.Detail)
		case demoResult:
			if v.OK {
				_, err = fmt.Fprintf(a.stdout, "\n%d steps held in %.1f s", v.Steps, v.Seconds)
				if v.Dir != "" {
					fmt.Fprintf(a.stdout, "; everything is in %s", pathText(dir))
				}
				fmt.Fprintln(a.stdout)
			}
		}
		return err
	}
}

// path is a place in the working folder.
func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

// avdb runs this program with --json, wants its exit code to be one of want, and reads its
// document into out (nil for none).
func (d *demo) avdb(out any, want []int, args ...string) error {
	if args[0] != "repo" && !slices.Contains(args, "--state") {
		args = append(args, "--state", d.path("device"))
	}
	cmd := d.command(append(args, "--json")...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		return err
	}
	for _, w := range want {
		if w != code {
			continue
		}
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
			return fmt.Errorf("avdb %s: its document: %w", strings.Join(args[:min(2, len(args))], " "), err)
		}
		return nil
	}
	return fmt.Errorf("avdb %s: exit code %d, want %d: %s", strings.Join(args, " "), code, want[0], firstLine(stderr.String()))
}

// command is this program, to be run in the working folder.
func (d *demo) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.ctx, d.exe, args...)
	cmd.Env, cmd.Dir = d.env, d.dir
	return cmd
}

// exits lists what a child may exit with.
func exits(codes ...int) []int { return codes }
