package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

//go:embed load.lua
var loadScript []byte

// errNoWrk is why there is no load from another process.
var errNoWrk = errors.New("no wrk on this machine (Debian: apt-get install wrk)")

// A generator sends load from a process of its own, one thread.
type generator struct {
	wrk, script, dir string
	files            int
}

func newGenerator(dir string) (*generator, error) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return nil, errNoWrk
	}
	g := &generator{wrk: wrk, script: filepath.Join(dir, "load.lua"), dir: dir}
	return g, os.WriteFile(g.script, loadScript, 0o644)
}

// A load is requests to one process.
type load struct {
	to   *process
	file string
}

// load writes requests, whole ones as they go over a connection, to a file.
func (g *generator) load(to *process, requests [][]byte) (load, error) {
	g.files++
	l := load{to, filepath.Join(g.dir, fmt.Sprintf("requests-%d", g.files))}
	f, err := os.Create(l.file)
	if err != nil {
		return l, err
	}
	w := bufio.NewWriter(f)
	for _, r := range requests {
		fmt.Fprintf(w, "%d\n%s", len(r), r)
	}
	return l, errors.Join(w.Flush(), f.Close())
}

// get is a GET request as it goes over a connection.
func get(path, token string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench\r\n%s\r\n", path, bearer(token))
}

// post is a POST request with a body of JSON.
func post(path, token string, body []byte) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, bearer(token), len(body), body)
}

func bearer(token string) string {
	if token == "" {
		return ""
	}
	return "Authorization: Bearer " + token + "\r\n"
}

// An outcome is what one run of a load came to, or the medians of several.
type outcome struct {
	perSecond, p50, p99 float64 // requests, microseconds
	cpu                 float64 // processor time of the process that was asked for each request, in nanoseconds; 0 where it is not known
	cores               float64 // that the process kept busy
}

// perCore is how many requests a second of processor time suffices for.
func (o outcome) perCore() float64 {
	if o.cpu == 0 {
		return 0
	}
	return 1e9 / o.cpu
}

// run sends the load for whole seconds over so many connections, and for longer where a machine stands still that long: nothing was measured then. An
// answer that is no 2xx, and a broken connection, are errors: such a run measures something else.
func (g *generator) run(ctx context.Context, l load, connections, seconds int) (o outcome, err error) {
	for try := 0; try < 5 && o.perSecond == 0 && err == nil; try++ {
		o, err = g.once(ctx, l, connections, seconds<<try)
	}
	if err == nil && o.perSecond == 0 {
		err = fmt.Errorf("of no request to %s an answer came in %d seconds", l.to.addr, seconds<<4)
	}
	return o, err
}

// once is run without a look at whether anything was answered: then the outcome is 0.
func (g *generator) once(ctx context.Context, l load, connections, seconds int) (outcome, error) {
	before, noProc := l.to.used()
	began := time.Now()
	out, err := exec.CommandContext(ctx, g.wrk, "-t1", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", seconds), "--timeout", "60s", "--latency", "-s", g.script,
		"http://"+l.to.addr, "--", l.file).CombinedOutput()
	took := time.Since(began)
	if err != nil {
		return outcome{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	var n [6]float64
	_, line, ok := bytes.Cut(out, []byte("load: "))
	fields := bytes.Fields(line)
	if !ok || len(fields) < len(n) {
		return outcome{}, fmt.Errorf("wrk says %q", out)
	}
	for i := range n {
		if n[i], err = strconv.ParseFloat(string(fields[i]), 64); err != nil {
			return outcome{}, fmt.Errorf("wrk says %q: %w", line, err)
		}
	}
	requests, micros := n[0], n[1]
	if n[4]+n[5] > 0 {
		return outcome{}, fmt.Errorf("of %.0f requests to %s %.0f were refused and %.0f got no answer", requests, l.to.addr, n[4], n[5])
	}
	if requests == 0 {
		return outcome{}, nil
	}
	o := outcome{perSecond: requests / micros * 1e6, p50: n[2], p99: n[3]}
	if noProc == nil {
		after, err := l.to.used()
		if err != nil {
			return outcome{}, err
		}
		o.cpu = float64(after-before) / requests
		o.cores = float64(after-before) / float64(took)
	}
	return o, nil
}

// compare runs loads in turn, round after round, and gives the medians of each.
func (g *generator) compare(ctx context.Context, rounds, connections, seconds int, loads ...load) ([]outcome, error) {
	all := make([][]outcome, len(loads))
	for range rounds {
		for i, l := range loads {
			o, err := g.run(ctx, l, connections, seconds)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], o)
		}
	}
	mid := make([]outcome, len(loads))
	for i, runs := range all {
		of := func(figure func(outcome) float64) float64 {
			var list []float64
			for _, o := range runs {
				list = append(list, figure(o))
			}
			return median(list)
		}
		mid[i] = outcome{
			perSecond: of(func(o outcome) float64 { return o.perSecond }),
			p50:       of(func(o outcome) float64 { return o.p50 }),
			p99:       of(func(o outcome) float64 { return o.p99 }),
			cpu:       of(func(o outcome) float64 { return o.cpu }),
			cores:     of(func(o outcome) float64 { return o.cores }),
		}
	}
	return mid, nil
}
