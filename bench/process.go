package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// build makes the program as it is shipped.
func build(ctx context.Context, b *bench) (string, error) {
	file := filepath.Join(b.dir, "avdb")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", file, "./cmd/avdb")
	c.Dir, c.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return file, nil
}

// avdb runs the program to its end in the section's folder and gives what it prints.
func (b *bench) avdb(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, b.program, args...)
	c.Dir = b.dir
	var complaints bytes.Buffer
	c.Stderr = &complaints
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("avdb %s: %w: %s", args[0], err, complaints.Bytes())
	}
	return string(out), nil
}

// A process is one that serves until stop is called.
type process struct {
	cmd  *exec.Cmd
	addr string // that it listens on
	once sync.Once
}

// serve starts the program, which says on standard error where it listens: "… on ADDRESS".
func (b *bench) serve(ctx context.Context, env []string, args ...string) (*process, error) {
	c := exec.CommandContext(ctx, b.program, args...)
	c.Dir, c.Env = b.dir, append(os.Environ(), env...)
	said, err := c.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: c}
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if _, addr, ok := strings.Cut(lines.Text(), " on 127.0.0.1:"); ok {
			p.addr = "127.0.0.1:" + addr
			go func() {
				for lines.Scan() {
				}
			}()
			return p, nil
		}
	}
	p.stop()
	return nil, fmt.Errorf("avdb %s ended before it listened", strings.Join(args[:2], " "))
}

// stop ends the process and waits for that.
func (p *process) stop() {
	p.once.Do(func() {
		p.cmd.Process.Signal(os.Interrupt)
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.cmd.Wait()
		}()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			p.cmd.Process.Kill()
			<-done
		}
	})
}

// errNoProc means that this system does not tell what another process uses.
var errNoProc = errors.New("no /proc to read the processor time of a process from")

// tick is the unit of processor time in /proc: Linux shows hundredths of a second to every program, whatever its kernel counts in.
const tick = 10 * time.Millisecond

// used is the processor time of the process and of its children so far.
func (p *process) used() (time.Duration, error) {
	pids := []string{strconv.Itoa(p.cmd.Process.Pid)}
	tasks, err := os.ReadFile(filepath.Join("/proc", pids[0], "task", pids[0], "children"))
	if err != nil {
		return 0, errNoProc
	}
	var all time.Duration
	for _, pid := range append(pids, strings.Fields(string(tasks))...) {
		b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil {
			return 0, err
		}
		_, after, _ := bytes.Cut(b, []byte(") ")) // what stands before may hold spaces
		fields := strings.Fields(string(after))
		if len(fields) < 13 {
			return 0, fmt.Errorf("/proc/%s/stat has %d fields", pid, len(fields))
		}
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, err
			}
			all += time.Duration(n) * tick
		}
	}
	return all, nil
}

// memory is the process's resident memory now, in bytes: all of it, and what of it is no file.
func (p *process) memory() (all, own int64, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		return 0, 0, errNoProc
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 3 && (f[0] == "VmRSS:" || f[0] == "RssAnon:") {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0, 0, err
			}
			if n <<= 10; f[0] == "VmRSS:" {
				all = n
			} else {
				own = n
			}
		}
	}
	return all, own, nil
}
