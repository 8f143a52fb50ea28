package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A scanner is a program that looks at all files of a folder.
type scanner struct {
	name string
	args []string // without the folder
	one  int      // exit code of a find, which is no failure
}

// scan gives the processor time of a run.
func (s *scanner) scan(ctx context.Context, dir string) (time.Duration, error) {
	c := exec.CommandContext(ctx, s.args[0], append(s.args[1:len(s.args):len(s.args)], dir)...)
	var complaints bytes.Buffer
	c.Stderr = &complaints
	if err := c.Run(); err != nil {
		if x, ok := errors.AsType[*exec.ExitError](err); !ok || x.ExitCode() != s.one {
			return 0, fmt.Errorf("%s: %w: %.500s", s.name, err, complaints.Bytes())
		}
	}
	return c.ProcessState.UserTime() + c.ProcessState.SystemTime(), nil
}

func avdbScanner(program, state string) scanner {
	return scanner{name: "avdb", args: []string{program, "scan", "--jobs", "1", "--state", state}, one: 1}
}

// buildFor makes the program for a level of amd64.
func buildFor(ctx context.Context, b *bench, level string) (string, error) {
	file := filepath.Join(b.dir, "avdb-"+level)
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", file, "./cmd/avdb")
	c.Dir, c.Env = b.root, append(os.Environ(), "CGO_ENABLED=0", "GOAMD64="+level)
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build for GOAMD64=%s: %w: %s", level, err, out)
	}
	return file, nil
}

// clamscan is where it is.
type clamscan string

func newClamscan() (clamscan, error) {
	path, err := exec.LookPath("clamscan")
	if err != nil {
		return "", errors.New("no clamscan on this machine (Debian: apt-get install clamav)")
	}
	return clamscan(path), nil
}

// with scans for the signatures of a folder and does nothing else with files.
func (c clamscan) with(signatures string) scanner {
	return scanner{name: "clamscan", one: 1, args: []string{string(c), "--bytecode=no", "--phishing-sigs=no", "--heuristic-alerts=no", "--disable-cache", "--no-summary", "-i", "-r",
		"--max-filesize=2000M", "--max-scansize=2000M", "--scan-archive=no", "--scan-elf=no", "--scan-pe=no", "-d", signatures}}
}

// yara is where its compiler and its scanner are.
type yara struct{ compiler, scanner string }

func newYara() (yara, error) {
	compiler, err := exec.LookPath("yarac")
	scanner, err2 := exec.LookPath("yara")
	if errors.Join(err, err2) != nil {
		return yara{}, errors.New("no yara on this machine (Debian: apt-get install yara)")
	}
	return yara{compiler, scanner}, nil
}

// with compiles a rule for each pattern.
func (y yara) with(ctx context.Context, dir string, patterns [][]byte) (scanner, error) {
	var b strings.Builder
	for i, p := range patterns {
		fmt.Fprintf(&b, "rule p%d { strings: $a = { %x } condition: $a }\n", i, p)
	}
	source, compiled := filepath.Join(dir, "rules.yar"), filepath.Join(dir, "rules.yarc")
	if err := os.WriteFile(source, []byte(b.String()), 0o644); err != nil {
		return scanner{}, err
	}
	if out, err := exec.CommandContext(ctx, y.compiler, "-w", source, compiled).CombinedOutput(); err != nil {
		return scanner{}, fmt.Errorf("yarac: %w: %.500s", err, out)
	}
	return scanner{name: "yara", args: []string{y.scanner, "-C", "-p", "1", "-w", "-r", compiled}}, nil
}
