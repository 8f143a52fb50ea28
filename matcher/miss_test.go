package matcher

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// TestShortWaysAnswerAsLookupsDo: whatever the content, the shape of the hashes and the options, what finds a miss early, and what looks many up at
// once, say what the long way says, which is held against a naive search.
func TestShortWaysAnswerAsLookupsDo(t *testing.T) {
	missed, found := 0, 0
	for i, s := range shapes {
		rng := rand.New(rand.NewPCG(uint64(i), 5))
		c := randomContent(rng, 300, s)
		light, rest, err := dbformat.Build(c, randomParams(rng, c))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{}, {PUA: true}, {Overrides: func(sum [32]byte) (Verdict, string, bool) { return Malicious, "Own.Word", sum[31]%2 == 0 }}} {
			for _, rest := range []dbformat.LayerReader{nil, rest} {
				e, err := OpenGeneration(light, rest, o)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range dbformat.Algorithms() {
					var sums []byte
					var sizes []int64
					for _, q := range questions(rng, c) {
						if sum := q[a]; sum != nil {
							sums, sizes = append(sums, sum...), append(sizes, int64(rng.IntN(42))-1)
						}
					}
					rng.Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
					missed += shortWays(t, e, a, sums, sizes, &found)
					shortWays(t, e, a, sums, nil, &found)
				}
			}
		}
	}
	if missed < 1000 || found < 1000 {
		t.Errorf("%d misses and %d others: the test asks too little", missed, found)
	}
}

// shortWays compares Lookup and LookupMany with the long way. It tells how many were missed early, and adds those that are not clean to found.
func shortWays(t *testing.T, e *Engine, a dbformat.Algorithm, sums []byte, sizes []int64, found *int) (missed int) {
	t.Helper()
	var want, got []string
	text := func(i int, r Result) string { return fmt.Sprintf("%d: %+v", i, r) }
	for i := range len(sums) / a.Size() {
		sum, size := sums[i*a.Size():(i+1)*a.Size()], int64(anySize)
		if sizes != nil {
			size = sizes[i]
		}
		var r Result
		err := e.lookup(a, sum, size, &r)
		if one, e := e.Lookup(a, sum, size); text(i, one) != text(i, r) || !errors.Is(e, err) {
			t.Fatalf("%s %x of size %d: %+v, %v; the long way says %+v, %v", a, sum, size, one, e, r, err)
		}
		if e.misses(a, sum, size) {
			missed++
			if r.Verdict != Clean {
				t.Fatalf("%s %x is a miss, and %+v", a, sum, r)
			}
		}
		if r.Verdict != Clean {
			want = append(want, text(i, r))
		}
	}
	visit := func(i int, r Result) bool {
		got = append(got, text(i, r))
		return true
	}
	if err := e.LookupMany(a, sums, sizes, visit); err != nil || !slices.Equal(got, want) {
		t.Fatalf("%d hashes by %s: %v,\n%q, want\n%q", len(sums)/a.Size(), a, err, got, want)
	}
	for stop := range min(3, len(want)) { // it ends when it is told to
		n := 0
		err := e.LookupMany(a, sums, sizes, func(int, Result) bool { n++; return n <= stop })
		if err != nil || n != stop+1 {
			t.Fatalf("visited %d, want %d: %v", n, stop+1, err)
		}
	}
	*found += len(want)
	return missed
}

func TestLookupManyRefusesNonsense(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, time.Hour)
	none := func(int, Result) bool { t.Error("a visit"); return true }
	for what, err := range map[string]error{
		"half a hash":          m.LookupMany(dbformat.SHA256, make([]byte, 48), nil, none),
		"no algorithm":         m.LookupMany(0, nil, nil, none),
		"an unknown algorithm": m.LookupMany(200, make([]byte, 32), nil, none),
		"too few sizes":        m.LookupMany(dbformat.SHA256, make([]byte, 64), make([]int64, 1), none),
	} {
		if !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := m.LookupMany(dbformat.SHA256, nil, nil, none); err != nil {
		t.Errorf("nothing: %v", err)
	}
	var failed []int
	err := m.LookupMany(dbformat.SHA256, make([]byte, 96), []int64{1, -2, 3}, func(i int, r Result) bool {
		if r.Verdict == Failed && errors.Is(r.Err, ErrInput) {
			failed = append(failed, i)
		}
		return true
	})
	if err != nil || !slices.Equal(failed, []int{1}) {
		t.Errorf("sizes that cannot be: %v, %v; want that of 1", failed, err)
	}
	m.Close()
	if err := m.LookupMany(dbformat.SHA256, make([]byte, 32), nil, none); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestLookupManyAllocatesNothingOnMisses(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{PUA: true}, time.Hour)
	sums := make([]byte, 1000*32)
	randomHash(rand.New(rand.NewPCG(1, 2)), sums)
	visit := func(i int, r Result) bool { t.Errorf("%d: %+v", i, r); return true }
	if got := testing.AllocsPerRun(100, func() {
		if err := m.LookupMany(dbformat.SHA256, sums, nil, visit); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("%v allocations for a thousand look-ups that find nothing, want 0", got)
	}
}

// What is mapped may be cut at any time: then every one of many is an error, by either way, and never a miss.
func TestFaultsAreNoMisses(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a mapped file cannot be cut there
	}
	d := newDevice(t)
	light, rest := release(t, "one")
	g := d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, time.Hour)
	sums := make([]byte, 100*32)
	randomHash(rand.New(rand.NewPCG(3, 4)), sums)
	visited := 0
	visit := func(_ int, r Result) bool {
		if visited++; r.Verdict != Failed || !errors.Is(r.Err, store.ErrStorage) {
			t.Fatalf("a fault became %+v", r)
		}
		return true
	}
	if err := m.LookupMany(dbformat.SHA256, sums, nil, visit); err != nil || visited > 0 {
		t.Fatalf("%v, %d visits", err, visited) // from here on the lines are known
	}
	if err := os.Truncate(filepath.Join(d.Dir(), "db", "index", indexKey(g.Light.Digest)+".idx"), 0); err != nil {
		t.Fatal(err)
	}
	if err := m.LookupMany(dbformat.SHA256, sums, nil, visit); err != nil || visited != 100 {
		t.Fatalf("%v, %d visits, want 100", err, visited)
	}
	for i := 0; i < len(sums); i += 32 {
		if r, err := m.Lookup(dbformat.SHA256, sums[i:i+32], 1); r.Verdict != Failed || !errors.Is(err, store.ErrStorage) {
			t.Fatalf("a fault became %+v, %v", r, err)
		}
	}
}

// TestLookupHoldsOnToNothing: a goroutine that was on its way to the lines of a generation while that was replaced and let go of may find its pages
// gone. That ends nothing, and whoever asks the matcher is answered by the next one.
func TestLookupHoldsOnToNothing(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, -1)
	sums := make([]byte, 100*32)
	randomHash(rand.New(rand.NewPCG(5, 6)), sums)
	missed := func(e *Engine) (n int) {
		for i := 0; i < len(sums); i += 32 {
			if e.misses(dbformat.SHA256, sums[i:i+32], 1) {
				n++
			}
		}
		return n
	}
	if nameOf(t, m, "one") != "Test.one" {
		t.Fatal("the first generation finds nothing")
	}
	late := m.now.Load()                                                                                               // as somebody has it who was interrupted here
	if err := late.engine.LookupMany(dbformat.SHA256, sums, nil, func(int, Result) bool { return true }); err != nil { // which reads the lines
		t.Fatal(err)
	}
	if n := missed(late.engine); n < 90 {
		t.Fatalf("%d of 100 random hashes are missed", n)
	}
	light, rest = release(t, "two")
	d.install(t, 2, light, rest)
	if err := m.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := nameOf(t, m, "two"); got != "Test.two" {
		t.Fatalf("the second generation finds %q", got)
	}
	if late.holds.Load() != 0 {
		t.Fatalf("the first generation has %d holders", late.holds.Load())
	}
	missed(late.engine) // whatever it says, it comes back
	if got := nameOf(t, m, "one"); got != "" {
		t.Fatalf("the second generation finds %q of the first", got)
	}
	m.Close()
	if r, err := m.Lookup(dbformat.SHA256, sums[:32], 1); r.Verdict != Failed || !errors.Is(err, ErrClosed) {
		t.Fatalf("after Close: %+v, %v", r, err)
	}
}
