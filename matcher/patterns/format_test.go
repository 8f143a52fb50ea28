package patterns

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
	"example.org/avdb/prefilter"
)

// oneModel is the model that sets have without one of their own, made once: with the race detector that takes longer than most sets.
var oneModel = sync.OnceValue(prefilter.DefaultModel)

func mustCompile(t testing.TB, records [][]byte, o Options) []byte {
	t.Helper()
	if o.Model == nil {
		o.Model = oneModel()
	}
	b, err := Compile(records, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustOpen(t testing.TB, b []byte) *Set {
	t.Helper()
	s, err := Open(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mixed makes up records for several targets.
func mixed(t testing.TB, seed uint64, n int) [][]byte {
	w := newWriter(seed)
	var records [][]byte
	for _, target := range targets() {
		records = append(records, encode(t, w.records(target, n))...)
	}
	w.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return records
}

// The dump in the format page is the set of its example.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/patternset.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, m := range regexp.MustCompile(`(?m)^    ([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)`).FindAllStringSubmatch(string(page), -1) {
		at, err := strconv.ParseUint(m[1], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		line, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil || int(at) < len(got) {
			t.Fatalf("%q: %v", m[0], err)
		}
		got = append(got, make([]byte, int(at)-len(got))...) // lines of zeros are left out
		got = append(got, line...)
	}
	want := mustCompile(t, encode(t, []pattern.Record{logical(t, "Target:0;0;41766462")}), Options{})
	size := int(load32(want[headerSize+4*sectionFilter:]))
	want = want[:len(want)-int(padded(int64(size)))]
	clear(want[40:56])                           // the model
	clear(want[headerSize+4*sectionFilter:][:4]) // the bytes of the prefilter set
	got = append(got, make([]byte, max(0, len(want)-len(got)))...)
	if !bytes.Equal(got, want) {
		t.Errorf("the page has\n%swant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

// The same records give the same bytes.
func TestSetsAreDeterministic(t *testing.T) {
	for seed := range uint64(6) {
		records := mixed(t, seed, 20)
		if first, err := Compile(records, Options{}); err != nil || !bytes.Equal(first, mustCompile(t, records, Options{Model: prefilter.DefaultModel()})) {
			t.Errorf("seed %d: two sets of the same records", seed)
		}
	}
}

// What is copied from a previous set is what would be planned: the bytes are those of a set that was made without it.
func TestPreviousSetsMakeNoDifference(t *testing.T) {
	for seed := range uint64(max(4, rounds/50)) {
		w := newWriter(seed)
		old, added := mixed(t, seed, 15), mixed(t, 100+seed, 3)
		records := append(slices.Clone(old), added...)
		w.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		records = records[:len(records)-w.IntN(10)]
		want := mustCompile(t, records, Options{})
		previous := mustOpen(t, mustCompile(t, old, Options{}))
		if got := mustCompile(t, records, Options{Previous: previous}); !bytes.Equal(got, want) {
			t.Errorf("seed %d: other bytes", seed)
		}
		c := compiler{previous: remember(previous)}
		if recalled := 0; true {
			for _, r := range records {
				if c.previous.recall(keyOf(r), &c.unit) {
					recalled++
				}
			}
			if recalled < len(old)/2 {
				t.Errorf("seed %d: %d of %d records were recalled", seed, recalled, len(old))
			}
		}
		// One of another model has other anchors.
		learner := prefilter.NewLearner()
		learner.Add(bytes.Repeat([]byte("abcab"), 1000))
		if got := mustCompile(t, records, Options{Previous: mustOpen(t, mustCompile(t, old, Options{Model: learner.Model(100)}))}); !bytes.Equal(got, want) {
			t.Errorf("seed %d: a set of another model was used", seed)
		}
	}
}

// Opening allocates as often for many signatures as for few, and no more than filters that are bounded.
func TestOpeningCostsTheSameForEverySet(t *testing.T) {
	cost := func(n int) (objects, size uint64) {
		w := newWriter(1)
		var all []pattern.Record
		for i := range n {
			all = append(all, body(t, fmt.Sprintf("%d:*:%x", i%2, randomBytes(w, 20))))
		}
		b := mustCompile(t, encode(t, all), Options{})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := mustOpen(t, b)
		c := s.NewScanner()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(c)
		size = after.TotalAlloc - before.TotalAlloc
		for _, g := range s.groups {
			if g != nil {
				size -= min(size, uint64(g.filter.FilterSize()))
			}
		}
		return after.Mallocs - before.Mallocs, size
	}
	fewObjects, few := cost(100)
	manyObjects, many := cost(20_000)
	if manyObjects > fewObjects+4 || many > few+16<<10 {
		t.Errorf("20000 signatures: %d allocations of %d bytes; 100: %d of %d", manyObjects, many, fewObjects, few)
	}
}

// What has no header of this version, or not the length that it says, is refused.
func TestOpeningRefusesWhatIsNoSet(t *testing.T) {
	good := mustCompile(t, mixed(t, 1, 5), Options{})
	for n := range setHead + 200 {
		if _, err := Open(good[:min(n*(1+n%7), len(good)-1)]); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut: %v", err)
		}
	}
	if _, err := Open(append(slices.Clone(good), make([]byte, 64)...)); !errors.Is(err, ErrFormat) {
		t.Errorf("64 bytes more: %v", err)
	}
	for at := range setHead {
		switch {
		case at >= 24 && at < 36 || at >= 40 && at < 56: // content: how many records, how much is looked at, by which model
			continue
		case at >= headerSize && (at-headerSize)%4 < 2: // may be the same after padding, with fewer rows
			continue
		}
		bad := slices.Clone(good)
		bad[at] ^= 0x41
		if _, err := Open(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
	for what, at := range map[string]int{"compiler": 36, "level": 56} {
		other := slices.Clone(good)
		other[at]++
		if _, err := Open(other); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "compile") {
			t.Errorf("of another %s: %v", what, err)
		}
	}
	bad := slices.Clone(good)
	copy(bad[28:], "\xff\xff\xff\x7f")
	if _, err := Open(bad); !errors.Is(err, ErrFormat) {
		t.Errorf("2 GiB around each place: %v", err)
	}
}

// No file of ours holds what an engine detects.
func TestSetsHoldNoPatternInClear(t *testing.T) {
	w := newWriter(2)
	var all []pattern.Record
	var bodies [][]byte
	for range 50 {
		b := randomBytes(w, 12)
		bodies = append(bodies, b)
		all = append(all, body(t, fmt.Sprintf("0:*:%x", b)), body(t, fmt.Sprintf("1:EP+0:%x", b[:6])), logical(t, fmt.Sprintf("Target:1;0&1;%x;%x*%x", b, b[:5], b[6:])))
	}
	set := mustCompile(t, encode(t, all), Options{})
	for _, b := range bodies {
		for i := range len(b) - 4 {
			if bytes.Contains(set, b[i:i+5]) {
				t.Fatalf("%x is in the set", b[i:i+5])
			}
		}
	}
}

// scanDamaged scans an object with a set that may be damaged, and tells how that ended. Another panic than one that the owner of the set takes for
// damage is the test's failure.
func scanDamaged(t *testing.T, b []byte, o Object, data []byte) (ended string) {
	s, err := Open(b)
	if err != nil {
		if !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		return "refused"
	}
	defer func() {
		if p := recover(); p != nil {
			err, ok := p.(error)
			if _, damaged := p.(runtime.Error); !damaged && !(ok && errors.Is(err, prefilter.ErrFormat)) {
				panic(p)
			}
			ended = "damage"
		}
	}()
	c := s.NewScanner()
	c.Begin(o)
	for left := data; len(left) > 0; left = left[min(len(left), 700):] {
		c.Write(left[:min(len(left), 700)])
	}
	if _, err := c.End(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return "result"
}

// A damaged set gives a wrong result or one of the panics that its owner takes for damage, and asks for no more memory than it has bytes, by far.
func TestDamagedSetsEndScans(t *testing.T) {
	ended := map[string]int{}
	for seed := range uint64(rounds / 10) {
		w := newWriter(seed)
		all := w.records(pattern.TargetPE, 12)
		good := mustCompile(t, encode(t, all), Options{})
		data := w.object(all, 3000)
		o := w.facts(pattern.TargetPE, len(data))
		o.MaxSteps = 1 << 20
		for range 150 {
			bad := slices.Clone(good)
			for range 1 + w.IntN(4) {
				at := w.IntN(len(bad))
				switch w.IntN(4) {
				case 0:
					bad[at] ^= 1 << w.IntN(8)
				case 1:
					bad[at] = byte(w.IntN(256))
				case 2:
					copy(bad[at&^3:], [][]byte{{0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 0}, {0, 0, 0, 0x80}, {0xa7, 0xa7, 0xa7, 0xa7}}[w.IntN(4)])
				case 3:
					copy(bad[at:], bad[w.IntN(len(bad)):][:w.IntN(20)%(len(bad)-at)])
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ended[scanDamaged(t, bad, o, data)]++
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
				t.Errorf("seed %d: %d bytes for a set of %d", seed, n, len(bad))
			}
		}
	}
	t.Log(ended)
	if ended["damage"] < 10 || ended["result"] < 10 {
		t.Errorf("%v: the changes test little", ended)
	}
}

// FuzzDamage changes a set that has everything, at places given by two bytes each, and scans with it.
func FuzzDamage(f *testing.F) {
	w := newWriter(9)
	all := w.records(pattern.TargetPE, 16)
	good := mustCompile(f, encode(f, all), Options{})
	data := w.object(all, 1500)
	o := Object{Size: int64(len(data)), Kind: filetype.PE, Layout: &filetype.Layout{Kind: filetype.PE, Entry: 40}, MaxSteps: 1 << 18}
	f.Add([]byte{0, 0, 0})
	f.Add([]byte{0x10, 0x40, 0xff, 0x11, 0x40, 0xff})
	f.Fuzz(func(t *testing.T, changes []byte) {
		bad := slices.Clone(good)
		for ; len(changes) >= 3; changes = changes[3:] {
			bad[(int(changes[0])<<8|int(changes[1]))%len(bad)] ^= changes[2]
		}
		scanDamaged(t, bad, o, data)
	})
}
