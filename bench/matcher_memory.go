package main

import (
	"bytes"
	"context"
	"fmt"

	"example.org/avdb/filetype"
	"example.org/avdb/matcher/patterns"
	"example.org/avdb/pattern"
)

// block is how many bytes a scan is given at once, as files are read.
const block = 256 << 10

// inMemory compares the pattern matcher with Vectorscan on texts in memory.
func (w *matcherWorld) inMemory(_ context.Context, p *page) error {
	if errNoVectorscan != nil {
		w.lack(errNoVectorscan, demandMemory1e3, demandMemory1e4, demandMemory1e5, demandMemoryRandom, demandWorst)
	}
	t := table{title: "In memory", how: fmt.Sprintf("Package `matcher/patterns`, as the product scans, given %d MB of programs and libraries in pieces of 256 KB, against Vectorscan's `hs_scan` of literals over the same text "+
		"at once; processor time of one thread, the two in turn. Patterns are random, cut from programs that are not in the text, or cut with the common ones dropped. The worst text is all bytes of all "+
		"patterns, 1 MB at least.", len(w.text)/1e6), columns: []string{"patterns", "made", "avdb", "Vectorscan", "ratio", "worst text, avdb", "worst text, Vectorscan", "ratio"}}
	for i, n := range w.sizes() {
		for _, kind := range []string{"random", "dropped", "undropped"} {
			w.note("%d %s patterns are looked for in memory", n, kind)
			literals := w.kinds()[kind](n)
			ours, theirs, err := w.compareMemory(literals, w.text)
			if err != nil {
				return err
			}
			worst := bytes.Join(literals, nil)
			for len(worst) < 1<<20 {
				worst = append(worst, worst...)
			}
			oursWorst, theirsWorst, err := w.compareMemory(literals, worst)
			if err != nil {
				return err
			}
			cells := []string{count(float64(n)), kind, speed(ours), "-", "-", speed(oursWorst), "-", "-"}
			w.least(demandWorstSpeed, oursWorst)
			if theirs > 0 {
				cells[3], cells[4], cells[6], cells[7] = speed(theirs), times(ours/theirs), speed(theirsWorst), times(oursWorst/theirsWorst)
				w.least(demandWorst, oursWorst/theirsWorst)
				switch {
				case i == 2 && kind == "random":
					w.least(demandMemoryRandom, ours/theirs)
				case i == 2 && kind == "dropped":
					w.least(demandMemory1e5, ours/theirs)
				case i < 2:
					w.least([]string{demandMemory1e3, demandMemory1e4}[i], ours/theirs)
				}
			}
			t.add(cells...)
		}
	}
	p.tables = append(p.tables, t)
	return nil
}

// compareMemory gives the speeds in GB/s; theirs is 0 without Vectorscan.
func (w *matcherWorld) compareMemory(literals [][]byte, text []byte) (ours, theirs float64, err error) {
	records := make([][]byte, len(literals))
	for i, l := range literals {
		_, body, err := pattern.ParseBodyLine(fmt.Sprintf("Bench.P-%d:0:*:%x", i, l))
		if err != nil {
			return 0, 0, err
		}
		if records[i], err = pattern.AppendRecord(nil, pattern.Record{Body: &body}); err != nil {
			return 0, 0, err
		}
	}
	set, err := patterns.Build(records, patterns.Options{})
	if err != nil {
		return 0, 0, err
	}
	c := set.NewScanner()
	var failed error
	calls := []func(){func() {
		c.Begin(patterns.Object{Size: int64(len(text)), Kind: filetype.Data})
		for left := text; len(left) > 0; left = left[min(block, len(left)):] {
			c.Write(left[:min(block, len(left))])
		}
		if _, err := c.End(bytes.NewReader(text)); err != nil {
			failed = err
		}
	}}
	if errNoVectorscan == nil {
		v, err := newVectorscan(literals)
		if err != nil {
			return 0, 0, err
		}
		defer v.close()
		calls = append(calls, func() {
			if _, err := v.scan(text); err != nil {
				failed = err
			}
		})
	}
	costs := measure(w.pace().turns, w.pace().slice, calls...)
	ours = float64(len(text)) / costs[0].cpu
	if len(costs) > 1 {
		theirs = float64(len(text)) / costs[1].cpu
	}
	return ours, theirs, failed
}
