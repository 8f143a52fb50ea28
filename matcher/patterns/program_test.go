package patterns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"example.org/avdb/pattern"
)

// programOf compiles a part of a variant.
func programOf(v *pattern.Variant, part int) program {
	return appendProgram(nil, v, part, &anchor{size: 2})
}

// At each place of each window, a program matches what the part matches that it was made of, and the match ends there.
func TestProgramsMatchWhatPartsMatch(t *testing.T) {
	var all []pattern.Record
	for _, line := range []string{
		"2:*:(61|6162)(6263|6364)7a7a",                   // what an inner alternative tried says nothing about the outer one
		"2:*:7a7a(61|6162|??)(62|6263|??63)!(63|64)6162", // several ways to one end
	} {
		all = append(all, body(t, line))
	}
	for seed := range uint64(rounds) {
		w := newWriter(seed)
		all = append(all, w.records(targets()[w.IntN(4)], 4)...)
	}
	var r verifier
	hits, misses := 0, 0
	for n, record := range all {
		w := newWriter(uint64(n))
		data := w.object([]pattern.Record{record}, 60)
		if n == 0 {
			data = []byte("abcdzz")
		}
		for _, s := range subsignaturesOf(record) {
			for _, v := range s.Variants() {
				for i := range v.Parts {
					p := programOf(&v, i)
					window := pattern.Window{Bytes: data, Start: w.IntN(2) == 0, End: w.IntN(2) == 0}
					for at := -1; at <= len(data)+1; at++ {
						end, ok := r.match(p, window, at)
						if wantEnd, want := v.MatchPart(i, window, at); ok != want || end != wantEnd {
							t.Fatalf("%s: part %d at %d of %q: %v to %d, want %v to %d", text(record), i, at, data, ok, end, want, wantEnd)
						}
						if ok {
							hits++
						} else {
							misses++
						}
					}
				}
			}
		}
	}
	if hits < 5*rounds || misses < 5*rounds {
		t.Errorf("%d hits, %d misses: this tests little", hits, misses)
	}
}

// Alternatives of one length are one way, however many there are.
func TestAlternativesOfOneLengthAreOneWay(t *testing.T) {
	s := body(t, "2:*:7a7a"+strings.Repeat("(61|??)", 60)+"7878")
	v := subsignaturesOf(s)[0].Variants()[0]
	var r verifier
	if _, ok := r.match(programOf(&v, 0), pattern.Window{Bytes: []byte("zz" + strings.Repeat("a", 80))}, 0); ok || r.work > 1000 {
		t.Errorf("%v after %d elements", ok, r.work)
	}
}

// mustPanic calls f, which meets damage.
func mustPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if _, ok := recover().(runtime.Error); !ok {
			t.Errorf("%s: no panic of the runtime", name)
		}
	}()
	f()
}

// What no compiler wrote ends the scan before it costs much.
func TestDamageIsNoticedBeforeItCostsMuch(t *testing.T) {
	head := func(elements int) []byte {
		b := make([]byte, programHead)
		binary.LittleEndian.PutUint16(b[programElements:], uint16(elements))
		return b
	}
	window := pattern.Window{Bytes: make([]byte, 1000)}
	many := append(head(1), codeAlternatives, 0, 0, 0, 0, 0xff, 0xff)
	many = append(many, make([]byte, 2*0xffff+100)...)
	ways := head(61)
	for range 60 {
		ways = append(ways, codeAlternatives, 10, 0, 0, 0, 2, 0, 1, 0, codeAny, 1, 0, 1, 0, codeAny, 2, 0)
	}
	ways = append(ways, codeBytes, 2, 0, 'a', 'a')
	for name, p := range map[string]program{"65535 alternatives": many, "2^60 ways": ways, "an unknown element": append(head(1), 99)} {
		hide(p)
		var r verifier
		mustPanic(t, name, func() { r.match(p, window, 0) })
	}
	deep := bytes.Repeat([]byte{byte(pattern.TermAnd), 1, 0}, 100)
	hide(deep)
	mustPanic(t, "a deep expression", func() { possible(deep, nil) })
	mustPanic(t, "a deep expression that is read", func() { readExpression(deep, &pattern.Expression{}, 0) })
	for section, at := range map[int]int{sectionSignatures: signatureSize + 4, sectionSubs: subSize + 4, sectionChains: chainSize + 4} {
		g := mustBuild(t, []pattern.Record{body(t, "0:*:6162636465")}).groups[0]
		copy(g.sections[section][at:], "\xff\xff\xff\x7f")
		mustPanic(t, fmt.Sprintf("section %d", section), func() {
			g.sub(0)
			g.chain(0)
			g.signature(0)
		})
	}
}

// What an object touched is there, and nothing of the objects before, also when epochs begin again.
func TestTouchedForgetsBetweenObjects(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var x touched[uint32]
	for round := range 60 {
		if round == 30 {
			x.epoch = 1<<32 - 5 // what the first rounds left has the epochs of those to come
		}
		x.reset()
		want := map[uint32]uint32{}
		for range r.IntN(400) {
			id := uint32(r.IntN(500)) * 64
			if got := x.find(id); (got != nil) != (want[id] != 0) || got != nil && *got != want[id] {
				t.Fatalf("%d: %v, want %d", id, got, want[id])
			}
			if r.IntN(2) == 0 {
				*x.get(id)++
				want[id]++
			}
		}
		if x.used != len(want) || len(x.slots) > 4096 {
			t.Fatalf("%d in %d slots, want %d", x.used, len(x.slots), len(want))
		}
	}
}

// Room for spans is not kept for objects to come.
func TestReachesKeepLittleRoom(t *testing.T) {
	var r reach
	r.reset()
	for i := range int64(5000) {
		r.add(pattern.Gap{Min: 1, Max: 2}, 10*i)
	}
	if r.live() != 5000 {
		t.Fatalf("%d spans", r.live())
	}
	if r.reset(); cap(r.spans) > keptSpans {
		t.Errorf("room for %d spans is kept", cap(r.spans))
	}
}
