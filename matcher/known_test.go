package matcher

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// naiveKnown is the oracle: all records of the content, one by one.
func naiveKnown(c *dbformat.Content, a dbformat.Algorithm, bits uint8, value uint32) []Known {
	var want []byte
	want = binary.BigEndian.AppendUint32(want, value<<(32-bits))
	allow := c.Sections[dbformat.ClassAllow.Section(dbformat.SHA256)]
	var all []Known
	for id, records := range c.Sections {
		if id.Algorithm() != a || id == urlSection || id.Class() == dbformat.ClassAllow && a != dbformat.SHA256 {
			continue
		}
		for _, r := range records {
			if !same(r.Hash[:], want, int(bits)) {
				continue
			}
			k := Known{Sum: r.Hash, Size: r.Size, Name: r.Name, PUA: id.PUA(), Allowed: id.Class() == dbformat.ClassAllow}
			if k.Name == "" {
				k.Name = dbformat.DefaultName(a, r.Hash[:])
			}
			cancelled := a == dbformat.SHA256 && slices.ContainsFunc(allow, func(other dbformat.Record) bool {
				return other.Hash == r.Hash && (other.Size == dbformat.AnySize || other.Size == r.Size)
			})
			if k.Allowed || !cancelled && !slices.Contains(c.Ignore, k.Name) {
				all = append(all, k)
			}
		}
	}
	slices.SortFunc(all, compareKnown)
	return all
}

func compareKnown(a, b Known) int {
	number := func(k Known) int {
		n := 0
		if k.PUA {
			n = 1
		}
		if k.Allowed {
			n += 2
		}
		return n
	}
	return cmp.Or(bytes.Compare(a.Sum[:], b.Sum[:]), cmp.Compare(a.Size, b.Size), cmp.Compare(a.Name, b.Name), number(a)-number(b))
}

// known collects what the engine visits.
func known(t testing.TB, e *Engine, a dbformat.Algorithm, bits uint8, value uint32) []Known {
	t.Helper()
	var all []Known
	if err := e.WithPrefix(a, bits, value, func(k Known) bool { all = append(all, k); return true }); err != nil {
		t.Fatalf("%s, %d bits, %#x: %v", a, bits, value, err)
	}
	slices.SortFunc(all, compareKnown)
	return all
}

// knownOfAll collects what the engine visits for several prefixes, by their places.
func knownOfAll(t testing.TB, e *Engine, a dbformat.Algorithm, bits uint8, values []uint32) [][]Known {
	t.Helper()
	all, last := make([][]Known, len(values)), 0
	if err := e.WithPrefixes(a, bits, values, func(at int, k Known) bool {
		if at < last {
			t.Fatalf("prefix %d is visited after prefix %d", at, last)
		}
		last, all[at] = at, append(all[at], k)
		return true
	}); err != nil {
		t.Fatalf("%s, %d bits, %d prefixes: %v", a, bits, len(values), err)
	}
	for _, some := range all {
		slices.SortFunc(some, compareKnown)
	}
	return all
}

// naiveKnownURLs are the URLs of the content with a prefix, and knownURLs those that the engine visits.
func naiveKnownURLs(c *dbformat.Content, bits uint8, value uint32) []Known {
	var all []Known
	for _, r := range c.Sections[urlSection] {
		k := Known{Sum: r.Hash, Name: r.Name}
		if k.Name == "" {
			k.Name = urlSection.DefaultName(r.Hash[:])
		}
		if binary.BigEndian.Uint32(r.Hash[:])>>(32-bits) == value && !slices.Contains(c.Ignore, k.Name) {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, compareKnown)
	return all
}

func knownURLs(t testing.TB, e *Engine, bits uint8, value uint32) []Known {
	t.Helper()
	var all []Known
	if err := e.WithURLPrefixes(bits, []uint32{value}, func(_ int, k Known) bool { all = append(all, k); return true }); err != nil {
		t.Fatalf("URLs, %d bits, %#x: %v", bits, value, err)
	}
	if !slices.IsSortedFunc(all, func(a, b Known) int { return bytes.Compare(a.Sum[:], b.Sum[:]) }) {
		t.Fatalf("URLs, %d bits, %#x: not in order", bits, value)
	}
	slices.SortFunc(all, compareKnown)
	return all
}

// prefixesOf are prefixes of a content's hashes, their neighbours, both ends and a stranger.
func prefixesOf(rng *rand.Rand, c *dbformat.Content, a dbformat.Algorithm, bits uint8) []uint32 {
	most := uint32(1)<<bits - 1 // of 32 bits it wraps to all of them
	values := map[uint32]bool{0: true, 1: true, most: true, most - 1: true, rng.Uint32() & most: true}
	for id, records := range c.Sections {
		for i, r := range records {
			if id.Algorithm() == a && i%(1+len(records)/8) == 0 {
				v := binary.BigEndian.Uint32(r.Hash[:]) >> (32 - bits)
				values[v], values[(v+1)&most], values[(v-1)&most] = true, true, true
			}
		}
	}
	var all []uint32
	for v := range values {
		all = append(all, v)
	}
	return all
}

// Whatever the content, the parameters and the shape of the hashes: a prefix of any width gives the records that a search through all
// of them gives.
func TestWithPrefixGivesWhatTheNaiveSearchGives(t *testing.T) {
	seen, most := 0, 0
	for _, s := range shapes {
		for i, n := range []int{1, 20, 300, 1000} {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(100+i)))
			c := randomContent(rng, n, s)
			p := randomParams(rng, c)
			if rng.IntN(2) == 0 {
				p.Prefix = uint8(8 + 4*rng.IntN(7)) // narrower than what is asked for: the rest layer has to be searched
				p.URLPrefix = p.Prefix
				for id, cut := range p.Cuts {
					cut.B = min(cut.B, p.Prefix-1)
					cut.K = min(cut.K, cut.B)
					p.Cuts[id] = cut
				}
			}
			light, rest, err := dbformat.Build(c, p)
			if err != nil {
				t.Fatalf("%s, %d records: %v", s.name, n, err)
			}
			e, err := OpenGeneration(light, rest, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for bits := uint8(16); bits <= 32; bits++ {
				values := prefixesOf(rng, c, dbformat.SHA256, bits)
				for range 2 { // the second time blocks were read
					all := make([][]Known, len(values))
					if err := e.WithURLPrefixes(bits, values, func(at int, k Known) bool { all[at] = append(all[at], k); return true }); err != nil {
						t.Fatal(err)
					}
					for i, v := range values {
						slices.SortFunc(all[i], compareKnown)
						got, want := knownURLs(t, e, bits, v), naiveKnownURLs(c, bits, v)
						if !slices.Equal(got, want) || !slices.Equal(all[i], want) {
							t.Fatalf("%s, URLs, %d bits, %#x: got  %+v\namong others %+v\nwant %+v", s.name, bits, v, got, all[i], want)
						}
					}
				}
			}
			for _, a := range dbformat.Algorithms() {
				for bits := uint8(16); bits <= 32; bits++ {
					values := prefixesOf(rng, c, a, bits)
					before := knownOfAll(t, e, a, bits, values) // the first time nothing was read
					for i, v := range values {
						got, want := known(t, e, a, bits, v), naiveKnown(c, a, bits, v)
						if !slices.Equal(before[i], want) {
							t.Fatalf("%s, %s, %d bits, %#x among %d prefixes: got %+v\nwant %+v", s.name, a, bits, v, len(values), before[i], want)
						}
						if !slices.Equal(got, want) {
							t.Fatalf("%s, %d records, prefixes of %d bits, cuts %v: %s, %d bits, %#x: got %d records, want %d\ngot  %+v\nwant %+v",
								s.name, n, p.Prefix, p.Cuts, a, bits, v, len(got), len(want), got, want)
						}
						seen, most = seen+len(got), max(most, len(got))
					}
					values = append(values, values...) // some more than wait together, and twice the same
					for i, got := range knownOfAll(t, e, a, bits, values) {
						if want := before[i%len(before)]; !slices.Equal(got, want) {
							t.Fatalf("%s, %s, %d bits, %#x the second time: got %+v\nwant %+v", s.name, a, bits, values[i], got, want)
						}
					}
				}
			}
		}
	}
	if seen < 100_000 || most < 500 {
		t.Errorf("%d records were met, at most %d by one prefix: the test asks too little", seen, most)
	}
}

// Key ranges narrower than the prefix: it reaches into several of them, at the ends of blocks as well.
func TestWithPrefixOverManyRanges(t *testing.T) {
	for _, id := range []dbformat.SectionID{dbformat.ClassHash.Section(dbformat.SHA1), dbformat.ClassWhole.Section(dbformat.SHA1)} {
		for _, b := range []uint8{16, 17, 18} {
			rng := rand.New(rand.NewPCG(uint64(b), 5))
			var records []dbformat.Record
			for i := range 3000 {
				r := dbformat.Record{Name: fmt.Sprint("Test.", i)}
				randomHash(rng, r.Hash[:20])
				r.Hash[0], r.Hash[1] = byte(rng.IntN(2)*255), byte(rng.IntN(3)+254) // around the first and the last range
				records = append(records, r)
			}
			c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: records}}
			cut := dbformat.CutParams{B: b}
			if id.Split() {
				cut.K = 8
			}
			light, rest, err := dbformat.Build(c, dbformat.Params{Prefix: 20, Cuts: map[dbformat.SectionID]dbformat.CutParams{id: cut}})
			if err != nil {
				t.Fatal(err)
			}
			e, err := OpenGeneration(light, rest, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for bits := uint8(16); bits <= 20; bits++ {
				found := 0
				for _, first := range []uint32{0, 0xff << 24} {
					for v := range uint32(3) << (bits - 16) {
						v = (first>>(32-bits) + 0xfe<<(bits-16) + v) & (1<<bits - 1)
						got, want := known(t, e, dbformat.SHA1, bits, v), naiveKnown(c, dbformat.SHA1, bits, v)
						if !slices.Equal(got, want) {
							t.Fatalf("%s, 2^%d ranges, %d bits, %#x: got %d records, want %d", id, b, bits, v, len(got), len(want))
						}
						found += len(got)
					}
				}
				if found < 2000 {
					t.Fatalf("%s, 2^%d ranges, %d bits: %d records in all, the test asks for the wrong prefixes", id, b, bits, found)
				}
			}
		}
	}
}

func TestAllowRecordsCancelWhatTheyCover(t *testing.T) {
	bad := func(content string, size uint32, name string) dbformat.Record {
		r := listed(dbformat.SHA256, content, false, name)
		r.Size = size
		return r
	}
	e := full(t, Options{}, sections{
		"hash/sha256":     {bad("a", 1, "Test.A"), bad("b", 1, "Test.B"), bad("c", 1, "Test.C"), bad("d", 0, "Test.D"), bad("e", 0, "Test.E")},
		"pua/sha256":      {bad("a", 1, "PUA.A"), bad("c", 1, "PUA.C")},
		"wholepua/sha256": {bad("b", 1, "PUA.B")},
		"allow/sha256":    {bad("a", 0, "Good.A"), bad("b", 1, "Good.B"), bad("c", 2, "Good.C"), bad("d", 1, "Good.D")},
		"hash/md5":        {listed(dbformat.MD5, "a", true, "Test.M")},
		"allow/md5":       {listed(dbformat.MD5, "a", true, "Good.M")},
	})
	for content, want := range map[string][]string{
		"a": {"Good.A"},                            // for any size
		"b": {"Good.B"},                            // for the same size
		"c": {"Good.C", "Test.C", "PUA.C"},         // for another size
		"d": {"Good.D", "Test.D"}, "e": {"Test.E"}, // signatures for any size
	} {
		sum := listed(dbformat.SHA256, content, false, "").Hash
		var got []string
		for _, k := range known(t, e, dbformat.SHA256, 32, binary.BigEndian.Uint32(sum[:])) {
			if k.Sum != sum || k.Allowed != (k.Name[:2] == "Go") || k.PUA != (k.Name[:2] == "PU") {
				t.Errorf("%s: got %+v", content, k)
			}
			got = append(got, k.Name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", content, got, want)
		}
	}
	sum := listed(dbformat.MD5, "a", false, "").Hash
	if got := known(t, e, dbformat.MD5, 24, binary.BigEndian.Uint32(sum[:])>>8); len(got) != 1 || got[0].Name != "Test.M" || got[0].Size != 1 {
		t.Errorf("by MD5: got %+v, want the signature alone", got)
	}
	if got := e.Counts(); got[dbformat.SHA256] != 12 || got[dbformat.MD5] != 1 || got[dbformat.SHA1] != 0 {
		t.Errorf("counts %v, want 12 by SHA-256 and 1 by MD5", got)
	}
}

func TestWithPrefixRefuses(t *testing.T) {
	s := sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "")}}
	e := full(t, Options{}, s)
	never := func(Known) bool { t.Error("visited"); return true }
	for _, c := range []struct {
		a     dbformat.Algorithm
		bits  uint8
		value uint32
	}{
		{0, 24, 0}, {4, 24, 0}, {dbformat.MD5, 0, 0}, {dbformat.MD5, 15, 0}, {dbformat.MD5, 33, 0}, {dbformat.MD5, 255, 0},
		{dbformat.MD5, 16, 1 << 16}, {dbformat.MD5, 31, 1 << 31},
	} {
		several := e.WithPrefixes(c.a, c.bits, []uint32{1, c.value}, func(int, Known) bool { return never(Known{}) })
		if err := e.WithPrefix(c.a, c.bits, c.value, never); !errors.Is(err, ErrInput) || !errors.Is(several, ErrInput) {
			t.Errorf("%+v: %v, want ErrInput", c, err)
		}
	}
	light, _ := generation(t, s)
	l, err := OpenGeneration(light, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WithPrefix(dbformat.MD5, 24, 0, never); !errors.Is(err, ErrNotFull) {
		t.Errorf("over light: %v, want ErrNotFull", err)
	}
	if err := e.WithPrefix(dbformat.SHA1, 24, 0, never); err != nil {
		t.Errorf("an algorithm without records: %v", err)
	}
}

// What the visitor does is its own: it can stop at any record, and its panic is no damage of the database.
func TestVisitorsOfKnownRecords(t *testing.T) {
	var records []dbformat.Record
	for i := range 10 {
		r := dbformat.Record{Hash: [32]byte{1, 2, 3}, Name: fmt.Sprint("Test.", i)}
		r.Hash[31] = byte(i)
		records = append(records, r)
	}
	e := full(t, Options{}, sections{"hash/sha256": records[:6], "whole/sha256": records[6:]})
	for stop := range 11 {
		n := 0
		err := e.WithPrefix(dbformat.SHA256, 16, 0x0102, func(Known) bool { n++; return n < stop })
		if want := max(1, min(stop, 10)); err != nil || n != want {
			t.Errorf("%d records and %v, want %d", n, err, want)
		}
	}
	for _, panics := range []func(){func() { panic("mine") }, func() { _ = records[n(10)] }} {
		func() {
			defer func() {
				if p := recover(); p == nil {
					t.Error("the visitor's panic did not arrive")
				}
			}()
			err := e.WithPrefix(dbformat.SHA256, 16, 0x0102, func(Known) bool { panics(); return true })
			t.Errorf("error %v, want a panic", err)
		}()
	}
	if err := e.damage(); err != nil {
		t.Errorf("the visitor's panic counts as damage: %v", err)
	}
}

func n(i int) int { return i }

func TestMatcherGivesRecordsOfOneRelease(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 7, light, rest)
	m := openMatcher(t, d, Options{}, time.Hour)
	if got := m.Counts(); got[dbformat.SHA256] != 501 || len(got) != 1 {
		t.Errorf("counts %v, want 501 by SHA-256", got)
	}
	// Every record of the release, by all prefixes of 16 bits that it has, while another takes its place.
	next, nextRest := release(t, "two")
	seen := map[[32]byte]bool{}
	for i := range 500 {
		sum := listed(dbformat.SHA256, fmt.Sprint("other", i, "one"), true, "").Hash
		r, err := m.WithPrefix(dbformat.SHA256, 16, binary.BigEndian.Uint32(sum[:])>>16, func(k Known) bool {
			if i == 0 {
				d.install(t, 8, next, nextRest)
				if err := m.Refresh(t.Context()); err != nil || m.Generation().Version != 8 {
					t.Errorf("release %d, %v", m.Generation().Version, err)
				}
			}
			seen[k.Sum] = k.Name == "Test.Other"
			return true
		})
		if i == 0 {
			if err != nil || r != 7 || !seen[sum] {
				t.Fatalf("release %d, %v, the record was met: %t; want that of release 7", r, err, seen[sum])
			}
			continue
		}
		if err != nil || r != 8 || seen[sum] {
			t.Fatalf("release %d, %v, the record was met: %t; want release 8, which has it not", r, err, seen[sum])
		}
	}
	m.Close()
	if _, err := m.WithPrefix(dbformat.SHA256, 16, 0, func(Known) bool { return true }); !errors.Is(err, ErrClosed) || m.Counts() != nil {
		t.Errorf("after Close: %v, counts %v", err, m.Counts())
	}
	if n := d.stillOpen(); n != 0 {
		t.Errorf("%d layer files are still open", n)
	}
}

// Damage of the layers is an error of the question, never an answer without the records, and makes the matcher heal.
func TestWithPrefixOverDamage(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a mapped file cannot be cut there
	}
	sum := listed(dbformat.SHA256, "one", true, "").Hash
	value := binary.BigEndian.Uint32(sum[:]) >> 8
	for name, pick := range map[string]func(d *device, g store.Generation) string{
		"light": func(d *device, g store.Generation) string { return d.file(g.Light) },
		"rest":  func(d *device, g store.Generation) string { return d.file(*g.Rest) },
	} {
		for _, how := range []string{"flipped", "cut", "cut while in use"} {
			d := newDevice(t)
			light, rest := release(t, "one")
			g := d.install(t, 1, light, rest)
			openMatcher(t, d, Options{}, time.Hour) // stores the index: the next one reads no block when it is opened
			if how == "flipped" {
				spoilBlock(t, pick(d, g), map[string]*dbformat.MemLayer{"light": light, "rest": rest}[name], 0)
			}
			m := openMatcher(t, d, Options{}, time.Hour)
			ask := func() (n int, err error) {
				_, err = m.WithPrefix(dbformat.SHA256, 24, value, func(Known) bool { n++; return true })
				return n, err
			}
			if how == "cut while in use" {
				if n, err := ask(); n == 0 || err != nil {
					t.Fatalf("%d records, %v", n, err)
				}
			}
			if how != "flipped" {
				if err := os.Truncate(pick(d, g), 0); err != nil {
					t.Fatal(err)
				}
			}
			several := 0
			_, err := m.WithPrefixes(dbformat.SHA256, 24, []uint32{value, value + 1}, func(int, Known) bool { several++; return true })
			if !errors.Is(err, store.ErrStorage) || !errors.Is(m.Err(), store.ErrStorage) {
				t.Errorf("%s %s: %d records of two prefixes, %v, Err %v; want ErrStorage", name, how, several, err, m.Err())
			}
			if n, err := ask(); !errors.Is(err, store.ErrStorage) {
				t.Errorf("%s %s: %d records, %v; want ErrStorage", name, how, n, err)
			}
		}
	}
}

// Finding rows ahead reads no block for the first time: that is left to who says what is wrong with it.
func TestSeekReadsNoBlock(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	openMatcher(t, d, Options{}, time.Hour) // stores the index: the next one reads no block when it is opened
	m := openMatcher(t, d, Options{}, time.Hour)
	engine := m.now.Load().engine
	values := []uint32{0, 1, 0xffff}
	for bits := uint8(16); bits <= 32; bits++ {
		for _, a := range dbformat.Algorithms() {
			p := engine.prefix(a, bits)
			for _, s := range engine.by[a] {
				all := make([]stretch, len(values))
				p.seek(s, values, all)
				for i := range all {
					if all[i].s != nil {
						t.Errorf("%s, %d bits: rows of %#x are known before anything was read", s.id, bits, values[i])
					}
				}
			}
		}
	}
	for _, s := range engine.sections {
		for i := range s.prefixes {
			if s.prefixes[i].Load() != nil {
				t.Errorf("light block %d of %s was read", i, s.id)
			}
		}
		for i := range s.tails {
			if s.tails[i].Load() != nil {
				t.Errorf("rest block %d of %s was read", i, s.id)
			}
		}
	}
	if err := m.Err(); err != nil {
		t.Error(err)
	}
}

// The rest layer is read where a row has the prefix, and nowhere else.
func TestWithPrefixReadsOneRange(t *testing.T) {
	var records []dbformat.Record
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var r dbformat.Record
		randomHash(rng, r.Hash[:])
		records = append(records, r)
	}
	id := dbformat.ClassHash.Section(dbformat.SHA256)
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: records}}
	light, rest, err := dbformat.Build(c, dbformat.Params{Prefix: 48, Cuts: map[dbformat.SectionID]dbformat.CutParams{id: {B: 6, K: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := OpenGeneration(light, rest, Options{})
	if err != nil {
		t.Fatal(err)
	}
	read := func() (n int) {
		for i := range e.by[dbformat.SHA256][0].tails {
			if e.by[dbformat.SHA256][0].tails[i].Load() != nil {
				n++
			}
		}
		return n
	}
	first := binary.BigEndian.Uint32(records[0].Hash[:]) >> 8
	if got := known(t, e, dbformat.SHA256, 24, first+1); len(got) != 0 || read() != 0 {
		t.Errorf("a prefix of nothing: %d records, %d ranges of rest read", len(got), read())
	}
	if got := known(t, e, dbformat.SHA256, 24, first); len(got) != 1 || read() != 1 {
		t.Errorf("a prefix of one: %d records, %d ranges of rest read", len(got), read())
	}
}

func TestWithPrefixByManyAtOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	c := randomContent(rng, 300, shapes[0])
	light, rest, err := dbformat.Build(c, randomParams(rng, c))
	if err != nil {
		t.Fatal(err)
	}
	e, err := OpenGeneration(light, rest, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		rng := rand.New(rand.NewPCG(2, uint64(i)))
		wg.Go(func() {
			for _, a := range dbformat.Algorithms() {
				for _, v := range prefixesOf(rng, c, a, 24) {
					var got []Known
					err := e.WithPrefix(a, 24, v, func(k Known) bool { got = append(got, k); return true })
					slices.SortFunc(got, compareKnown)
					if err != nil || !slices.Equal(got, naiveKnown(c, a, 24, v)) {
						t.Errorf("%s, %#x: %d records, %v", a, v, len(got), err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// Names are all that is allocated.
func TestWithPrefixAllocatesNamesOnly(t *testing.T) {
	var records []dbformat.Record
	for i := range 100 {
		r := dbformat.Record{Hash: [32]byte{1, 2}, Name: fmt.Sprintf("Test.Name-%d", i)}
		r.Hash[20] = byte(i)
		records = append(records, r)
	}
	e := full(t, Options{}, sections{"hash/sha256": records[:70], "whole/sha256": records[70:], "allow/sha256": {listed(dbformat.SHA256, "good", false, "")}})
	for value, want := range map[uint32]float64{0x0102: 100, 0x0103: 0} {
		n := 0
		got := testing.AllocsPerRun(100, func() {
			n = 0
			if err := e.WithPrefix(dbformat.SHA256, 16, value, func(Known) bool { n++; return true }); err != nil {
				t.Fatal(err)
			}
		})
		if got != want || n != int(want) {
			t.Errorf("%d records with %v allocations, want %v of both", n, got, want)
		}
	}
}

// BenchmarkWithPrefix: one question of a client with the usual 24 bits, and with the fewest. most is the record that stands last in the fullest prefix.
func BenchmarkWithPrefix(b *testing.B) {
	const n = 5_000_000
	rng := rand.New(rand.NewPCG(1, n))
	records := make([]dbformat.Record, n)
	for i := range records {
		r := &records[i]
		for j := 0; j < 32; j += 8 {
			binary.LittleEndian.PutUint64(r.Hash[j:], rng.Uint64())
		}
		r.Size, r.Name = 1+rng.Uint32N(1<<22), fmt.Sprintf("Win.Trojan.Agent-%d", 1_000_000+rng.IntN(9_000_000))
	}
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{dbformat.ClassHash.Section(dbformat.SHA256): records}}
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		b.Fatal(err)
	}
	e, err := OpenGeneration(light, rest, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, bits := range []uint8{24, 16} {
		for _, hit := range []bool{true, false} {
			b.Run(fmt.Sprintf("records=%d/bits=%d/hit=%t", n, bits, hit), func(b *testing.B) {
				b.ReportAllocs()
				met, asked := 0, 0
				for b.Loop() {
					value := rng.Uint32() >> (32 - bits)
					if hit {
						value = binary.BigEndian.Uint32(records[rng.IntN(n)].Hash[:]) >> (32 - bits)
					}
					asked++
					if err := e.WithPrefix(dbformat.SHA256, bits, value, func(Known) bool { met++; return true }); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(met)/float64(asked), "records/op")
			})
		}
	}
	// Those of a batch, each with an entry, together and one after the other.
	values := make([]uint32, 256)
	for _, together := range []bool{true, false} {
		b.Run(fmt.Sprintf("records=%d/prefixes=%d/together=%t", n, len(values), together), func(b *testing.B) {
			b.ReportAllocs()
			met := 0
			for b.Loop() {
				for i := range values {
					values[i] = binary.BigEndian.Uint32(records[rng.IntN(n)].Hash[:]) >> 8
				}
				if together {
					err = e.WithPrefixes(dbformat.SHA256, 24, values, func(int, Known) bool { met++; return true })
				}
				for i := 0; i < len(values) && !together && err == nil; i++ {
					err = e.WithPrefix(dbformat.SHA256, 24, values[i], func(Known) bool { met++; return true })
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
