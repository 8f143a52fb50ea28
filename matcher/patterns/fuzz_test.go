package patterns

import (
	"strings"
	"testing"

	"example.org/avdb/pattern"
)

// FuzzScan: lines of either format, one below the other, against an object that comes in blocks of any size. What the lines say is what is found.
func FuzzScan(f *testing.F) {
	for seed := range uint64(40) {
		w := newWriter(seed)
		target := targets()[w.IntN(4)]
		all := w.records(target, 1+w.IntN(3))
		var lines []string
		for _, r := range all {
			if r.Body != nil {
				lines = append(lines, "A:"+r.Body.String())
			} else {
				lines = append(lines, "A;"+r.Logical.String())
			}
		}
		f.Add(strings.Join(lines, "\n"), w.object(all, 1+w.IntN(300)), seed)
	}
	f.Fuzz(func(t *testing.T, lines string, data []byte, seed uint64) {
		data = data[:min(len(data), 3000)]
		var all []pattern.Record
		for line := range strings.SplitSeq(lines, "\n") {
			if len(all) == 8 {
				break
			}
			if _, s, err := pattern.ParseBodyLine(line); err == nil {
				all = append(all, pattern.Record{Body: &s})
			} else if _, l, err := pattern.ParseLogicalLine(line); err == nil {
				all = append(all, pattern.Record{Logical: &l})
			}
		}
		var kept []pattern.Record
		for _, r := range all {
			_, engine := targetOf(r)
			if _, err := pattern.AppendRecord(nil, r); err == nil && engine.Holds(uint64(pattern.Level)) {
				kept = append(kept, r)
			}
		}
		w := newWriter(seed)
		o := w.facts(targets()[w.IntN(4)], len(data))
		most := 1 + w.IntN(1+w.IntN(3000))
		check(t, mustBuild(t, kept).NewScanner(), kept, o, data, func() int { return 1 + w.IntN(most) })
	})
}
