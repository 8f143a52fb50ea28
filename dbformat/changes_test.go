package dbformat_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// crowded is content whose hashes share prefixes and whose signatures stand in several sections, as a hostile publisher would have it.
func crowded(rng *rand.Rand) *dbformat.Content {
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}}
	for _, a := range dbformat.Algorithms()[:1+rng.IntN(3)] {
		for class := dbformat.ClassHash; class <= dbformat.ClassAllow; class++ {
			seen := map[dbformat.Record]bool{}
			for range rng.IntN(40) {
				r := dbformat.Record{Size: rng.Uint32N(3)}
				// Few values of the first bytes, few of those after the shortest prefix, few at the end.
				r.Hash[0], r.Hash[1], r.Hash[2], r.Hash[a.Size()-1] = byte(rng.IntN(4))<<6, byte(rng.IntN(3))<<4, byte(rng.IntN(3)), byte(rng.IntN(2))
				if !seen[r] {
					seen[r] = true
					r.Name = pick(rng, "", "A", "B", "C")
					c.Sections[class.Section(a)] = append(c.Sections[class.Section(a)], r)
				}
			}
		}
	}
	seen := map[[32]byte]bool{}
	for range rng.IntN(40) {
		var r dbformat.Record // of a URL, whose hash may well be a file's too
		if r.Hash[0], r.Hash[1], r.Hash[31] = byte(rng.IntN(4))<<6, byte(rng.IntN(3))<<4, byte(rng.IntN(2)); !seen[r.Hash] {
			seen[r.Hash] = true
			r.Name = pick(rng, "", "A", "B", "C")
			c.Sections[urls] = append(c.Sections[urls], r)
		}
	}
	crowdPlaced(rng, c)
	if rng.IntN(3) == 0 {
		c.Ignore = []string{urls.DefaultName(make([]byte, 32)), pick(rng, "A", "Z", dbformat.DefaultName(dbformat.MD5, make([]byte, 16)))}
	}
	return c
}

// crowdPlaced adds rows of placed sections, of which few differ.
func crowdPlaced(rng *rand.Rand, c *dbformat.Content) {
	c.RestSections = map[dbformat.SectionID][]dbformat.Record{}
	c.Patterns, c.RestPatterns = map[dbformat.SectionID][]dbformat.PatternRecord{}, map[dbformat.SectionID][]dbformat.PatternRecord{}
	rows := []map[dbformat.SectionID][]dbformat.Record{c.Sections, c.RestSections}
	texts := []map[dbformat.SectionID][]dbformat.PatternRecord{c.Patterns, c.RestPatterns}
	for _, id := range dbformat.AllSections() {
		if !id.Placed() || rng.IntN(3) == 0 {
			continue
		}
		seen := map[string]bool{}
		for range rng.IntN(30) {
			name, layer := pick(rng, "A", "B", "C"), rng.IntN(2)
			r := dbformat.Record{Size: rng.Uint32N(2)}
			r.Hash[0], r.Hash[id.Algorithm().Size()-1] = byte(rng.IntN(4))<<6, byte(rng.IntN(3))
			key := fmt.Sprint(r)
			if id.OfPatterns() {
				key = name + string(r.Hash[:])
			}
			if seen[key] {
				continue
			}
			seen[key] = true
			if id.OfPatterns() {
				texts[layer][id] = append(texts[layer][id], dbformat.PatternRecord{Name: name, Pattern: r.Hash[:]})
				continue
			}
			r.Name = pick(rng, "", name)
			rows[layer][id] = append(rows[layer][id], r)
		}
	}
}

// anyParams are widths and cuts that a layer may have, whether or not they are wise.
func anyParams(rng *rand.Rand, c *dbformat.Content) dbformat.Params {
	p := dbformat.Params{Prefix: uint8(8 + 4*rng.IntN(5)), URLPrefix: uint8(8 + 4*rng.IntN(5)), Cuts: map[dbformat.SectionID]dbformat.CutParams{}}
	for id := range c.Sections {
		cut := dbformat.CutParams{B: uint8(rng.IntN(4))}
		if id.Split() {
			cut.K = uint8(rng.IntN(int(cut.B) + 1))
		}
		p.Cuts[id] = cut
	}
	p.RestCuts = map[dbformat.SectionID]dbformat.CutParams{}
	for _, id := range []dbformat.SectionID{patterns, patternsPUA, dbformat.ClassPESection.Section(dbformat.MD5)} {
		p.Cuts[id], p.RestCuts[id] = dbformat.CutParams{B: uint8(rng.IntN(4))}, dbformat.CutParams{B: uint8(rng.IntN(4))}
	}
	return p
}

// A pool is what the new release has to offer for the rows of the old one, by what they are known by.
type pool map[string]int

func (p pool) take(keys ...string) bool {
	for _, k := range keys {
		if p[k] > 0 {
			p[k]--
			return true
		}
	}
	return false
}

// naiveChanges counts with maps what CountChanges counts by merging.
type naiveChanges struct {
	exact  bool
	prefix uint8
	links  uint8 // prefix of URLs
	pool   pool
	rest   pool
}

func (n naiveChanges) key(id dbformat.SectionID, r *dbformat.Record, pua bool) string {
	kind, prefix := id.Algorithm().String(), n.prefix
	if id == urls {
		kind, prefix = "url", n.links
	}
	if id.Split() && !n.exact {
		return fmt.Sprintf("%s prefix %x %t", kind, binary.BigEndian.Uint64(r.Hash[:])>>(64-prefix), pua)
	}
	return fmt.Sprintf("%s %x %d %t", kind, r.Hash, r.Size, pua)
}

// prefixOnly is how light alone may still know a whole record.
func (n naiveChanges) prefixOnly(id dbformat.SectionID, r *dbformat.Record, pua bool) string {
	return n.key(dbformat.ClassHash.Section(id.Algorithm()), r, pua)
}

func (n naiveChanges) silent(ignore []string, id dbformat.SectionID, r *dbformat.Record) bool {
	name := r.Name
	if name == "" {
		name = id.DefaultName(r.Hash[:])
	}
	return slices.Contains(ignore, name) && (n.exact || !id.Split())
}

func naive(old, new *dbformat.Content, exact bool, prefix, links uint8) dbformat.Changes {
	n := naiveChanges{exact: exact, prefix: prefix, links: links, pool: pool{}, rest: pool{}}
	each := func(c *dbformat.Content, f func(dbformat.SectionID, *dbformat.Record)) {
		for _, id := range rowSections { // what is reported always, then what is unwanted
			if id.Placed() {
				continue
			}
			for i := range c.Sections[id] {
				f(id, &c.Sections[id][i])
			}
		}
	}
	var out dbformat.Changes
	allowed := map[string]bool{}
	each(new, func(id dbformat.SectionID, r *dbformat.Record) {
		if id.Detects() && !n.silent(new.Ignore, id, r) {
			n.pool[n.key(id, r, id.PUA())]++
			if id.Split() {
				n.rest[n.key(id, r, id.PUA())]++
			}
		}
		if !id.Detects() {
			allowed[n.key(id, r, false)] = true
			out.AllowAdded++
		}
	})
	each(old, func(id dbformat.SectionID, r *dbformat.Record) {
		out.Light.Records++
		if exact && id.Split() {
			out.Rest.Records++
		}
		switch k := n.key(id, r, false); {
		case !id.Detects() && allowed[k]:
			out.AllowAdded--
		case !id.Detects():
			out.Light.Removed++
		}
	})
	for _, pua := range []bool{false, true} {
		for _, whole := range []bool{false, true} {
			each(old, func(id dbformat.SectionID, r *dbformat.Record) {
				if !id.Detects() || id.PUA() != pua || id.Split() == whole || n.silent(old.Ignore, id, r) {
					return
				}
				keys := []string{n.key(id, r, pua), n.key(id, r, false)}
				if whole && !exact && !n.pool.take(keys...) {
					keys = []string{n.prefixOnly(id, r, pua), n.prefixOnly(id, r, false)}
				} else if whole && !exact {
					return
				}
				if !n.pool.take(keys...) {
					out.Light.Removed++
				}
				if exact && id.Split() && !n.rest.take(keys...) {
					out.Rest.Removed++
				}
			})
		}
	}
	naivePlaced(old, new, exact, &out)
	return out
}

// A placedRow is a row of a placed section by what it is known by.
type placedRow struct {
	key string
	pua bool
}

// placedRows lists the rows of placed sections that a layer has, and how many there are with those that nobody hears of. What is reported
// always stands before what is unwanted.
func placedRows(c *dbformat.Content, l dbformat.Layer) (rows []placedRow, n uint64) {
	records, texts := c.Sections, c.Patterns
	if l == dbformat.Rest {
		records, texts = c.RestSections, c.RestPatterns
	}
	for _, pua := range []bool{false, true} {
		for _, id := range dbformat.AllSections() {
			if !id.Placed() || id.PUA() != pua {
				continue
			}
			add := func(key, name string) {
				n++
				if !slices.Contains(c.Ignore, name) {
					rows = append(rows, placedRow{key, pua})
				}
			}
			for _, r := range records[id] {
				name := r.Name
				if name == "" {
					name = id.DefaultName(r.Hash[:])
				}
				add(fmt.Sprintf("%s %x %d", id.Algorithm(), r.Hash, r.Size), name)
			}
			for _, p := range texts[id] {
				add(fmt.Sprintf("%q %x", p.Name, p.Pattern), p.Name)
			}
		}
	}
	return rows, n
}

// naivePlaced counts the rows of placed sections.
func naivePlaced(old, new *dbformat.Content, exact bool, out *dbformat.Changes) {
	offer := func(l dbformat.Layer) pool {
		p := pool{}
		rows, _ := placedRows(new, l)
		for _, r := range rows {
			p[fmt.Sprint(r.key, r.pua)]++
		}
		return p
	}
	left := func(rows []placedRow, from pool) []placedRow {
		return slices.DeleteFunc(rows, func(r placedRow) bool { return from.take(fmt.Sprint(r.key, r.pua), fmt.Sprint(r.key, false)) })
	}
	light := offer(dbformat.Light)
	rows, n := placedRows(old, dbformat.Light)
	out.Light.Records += n
	out.Light.Removed += uint64(len(left(rows, light)))
	if exact {
		rows, n = placedRows(old, dbformat.Rest)
		out.Rest.Records += n
		out.Rest.Removed += uint64(len(left(left(rows, offer(dbformat.Rest)), light)))
	}
}

// checkChanges compares with the naive count, with and without rest.
func checkChanges(t testing.TB, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 77))
	old, new := crowded(rng), crowded(rng)
	if rng.IntN(2) == 0 { // a step that leaves most as it is
		new = clone(old)
		for id, list := range new.Sections {
			new.Sections[id] = list[:len(list)-rng.IntN(len(list)+1)]
			if id.Class() == dbformat.ClassPUA && rng.IntN(2) == 0 {
				delete(new.Sections, id)
				new.Sections[dbformat.ClassWhole.Section(id.Algorithm())] = list
			}
		}
		if rng.IntN(2) == 0 {
			new.Patterns, new.RestPatterns = new.RestPatterns, new.Patterns
		}
		if rng.IntN(2) == 0 {
			new.Patterns[patterns], new.Patterns[patternsPUA] = new.Patterns[patternsPUA], nil
			new.RestPatterns[patterns], new.RestPatterns[patternsPUA] = new.RestPatterns[patternsPUA], nil
		}
	}
	p, q := anyParams(rng, old), anyParams(rng, new)
	from, to := makeRelease(t, old, p), makeRelease(t, new, q)
	exact, err := dbformat.CountChanges(from.light, from.rest, to.light, to.rest)
	if want := naive(old, new, true, 0, 0); err != nil || exact != want {
		t.Fatalf("seed %d, with rest: %+v, %v; want %+v", seed, exact, err, want)
	}
	light, err := dbformat.CountChanges(from.light, nil, to.light, nil)
	if want := naive(old, new, false, min(p.Prefix, q.Prefix), min(p.URLPrefix, q.URLPrefix)); err != nil || light != want {
		t.Fatalf("seed %d, light alone: %+v, %v; want %+v", seed, light, err, want)
	}
	for _, one := range []struct{ old, new dbformat.LayerReader }{{from.rest, nil}, {nil, to.rest}} {
		if got, err := dbformat.CountChanges(from.light, one.old, to.light, one.new); err != nil || got != light {
			t.Fatalf("seed %d, with one rest: %+v, %v; want what light alone gives, %+v", seed, got, err, light)
		}
	}
}

func TestChangesAreThoseOfASetDifference(t *testing.T) {
	for seed := range uint64(pairs) {
		checkChanges(t, seed)
	}
}

func FuzzCountChanges(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { checkChanges(t, seed) })
}

// one is a release of one record, or of two.
func one(t *testing.T, prefix uint8, class dbformat.Class, tail byte, ignore ...string) release {
	return oneOf(t, prefix, class, 15, tail, ignore...)
}

// oneOf is one whose hash differs at a byte.
func oneOf(t *testing.T, prefix uint8, class dbformat.Class, at int, by byte, ignore ...string) release {
	r := dbformat.Record{Size: 7, Name: "N"}
	hash, _ := hex.DecodeString("00112233445566778899aabbccddeeff")
	copy(r.Hash[:], hash)
	r.Hash[at] ^= by
	id := class.Section(dbformat.MD5)
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: {r}}, Ignore: ignore}
	return makeRelease(t, c, dbformat.Params{Prefix: prefix})
}

// What takes protection away counts, what does not does not. Each line is a way that a thief of the database key could try.
func TestWhatCountsAsRemoved(t *testing.T) {
	const hash, pua, whole, wholePUA = dbformat.ClassHash, dbformat.ClassPUA, dbformat.ClassWhole, dbformat.ClassWholePUA
	for _, c := range []struct {
		promise            string
		old, new           release
		light, rest, alone uint64
	}{
		{"nothing changes", one(t, 24, hash, 0), one(t, 24, hash, 0), 0, 0, 0},
		{"other widths", one(t, 24, hash, 0), one(t, 8, hash, 0), 0, 0, 0},
		{"the same prefix with other bits after it: light cannot see it", one(t, 24, hash, 0), one(t, 24, hash, 1), 1, 1, 0},
		{"a longer prefix: light cannot see whether its new bits are right", one(t, 24, hash, 0), oneOf(t, 40, hash, 4, 1), 1, 1, 0},
		{"split becomes whole: rest has it no more, and light alone cannot know that it is the same", one(t, 24, hash, 0), one(t, 24, whole, 0), 0, 1, 1},
		{"whole becomes split", one(t, 24, whole, 0), one(t, 24, hash, 0), 0, 0, 0},
		{"whole becomes split with other bits", one(t, 24, whole, 0), one(t, 24, hash, 1), 1, 0, 0},
		{"another whole record with the same prefix", one(t, 24, whole, 0), one(t, 24, whole, 1), 1, 0, 1},
		{"becomes unwanted only", one(t, 24, hash, 0), one(t, 24, pua, 0), 1, 1, 1},
		{"whole, becomes unwanted only", one(t, 24, whole, 0), one(t, 24, wholePUA, 0), 1, 0, 1},
		{"was unwanted only", one(t, 24, pua, 0), one(t, 24, hash, 0), 0, 0, 0},
		{"its name is ignored", one(t, 24, hash, 0), one(t, 24, hash, 0, "N"), 1, 1, 0},
		{"its name is ignored, whole", one(t, 24, whole, 0), one(t, 24, whole, 0, "N"), 1, 0, 1},
		{"its name was ignored before", one(t, 24, whole, 0, "N"), one(t, 24, whole, 1), 0, 0, 0},
	} {
		got, err := dbformat.CountChanges(c.old.light, c.old.rest, c.new.light, c.new.rest)
		if err != nil || got.Light.Removed != c.light || got.Rest.Removed != c.rest {
			t.Errorf("%s: %+v, %v; want %d of light and %d of rest removed", c.promise, got, err, c.light, c.rest)
		}
		if got, err = dbformat.CountChanges(c.old.light, nil, c.new.light, nil); err != nil || got.Light.Removed != c.alone {
			t.Errorf("%s, light alone: %+v, %v; want %d removed", c.promise, got, err, c.alone)
		}
	}
}

// What counts as removed of what stands whole in one layer or the other: who has light alone must not lose it unnoticed.
func TestWhatCountsAsRemovedOfPlacedSections(t *testing.T) {
	in := func(id dbformat.SectionID, l dbformat.Layer, name string, ignore ...string) release {
		list := map[dbformat.SectionID][]dbformat.PatternRecord{id: {{Name: name, Pattern: []byte("x")}}}
		rows := map[dbformat.SectionID][]dbformat.Record{id: {{Size: 7, Name: name}}}
		c := &dbformat.Content{Ignore: ignore}
		switch {
		case l == dbformat.Light && id.OfPatterns():
			c.Patterns = list
		case id.OfPatterns():
			c.RestPatterns = list
		case l == dbformat.Light:
			c.Sections = rows
		default:
			c.RestSections = rows
		}
		return makeRelease(t, c, dbformat.Params{})
	}
	const light, rest = dbformat.Light, dbformat.Rest
	for _, ids := range [][2]dbformat.SectionID{{patterns, patternsPUA}, {dbformat.ClassPESection.Section(dbformat.SHA1), dbformat.ClassPESectionPUA.Section(dbformat.SHA1)}} {
		id, pua := ids[0], ids[1]
		renamed := uint64(0) // of a section of a PE file
		if id.OfPatterns() {
			renamed = 1
		}
		for _, c := range []struct {
			promise            string
			old, new           release
			light, rest, alone uint64
		}{
			{"nothing changes", in(id, light, "A"), in(id, light, "A"), 0, 0, 0},
			{"nothing changes in rest", in(id, rest, "A"), in(id, rest, "A"), 0, 0, 0},
			{"from light to rest", in(id, light, "A"), in(id, rest, "A"), 1, 0, 1},
			{"from rest to light", in(id, rest, "A"), in(id, light, "A"), 0, 0, 0},
			{"it goes", in(id, light, "A"), makeRelease(t, &dbformat.Content{}, dbformat.Params{}), 1, 0, 1},
			{"it goes from rest", in(id, rest, "A"), makeRelease(t, &dbformat.Content{}, dbformat.Params{}), 0, 1, 0},
			{"another name", in(id, light, "A"), in(id, light, "B"), renamed, 0, renamed},
			{"becomes unwanted only", in(id, light, "A"), in(pua, light, "A"), 1, 0, 1},
			{"becomes unwanted only in rest", in(id, rest, "A"), in(pua, rest, "A"), 0, 1, 0},
			{"was unwanted only", in(pua, rest, "A"), in(id, light, "A"), 0, 0, 0},
			{"its name is ignored", in(id, light, "A"), in(id, light, "A", "A"), 1, 0, 1},
			{"its name is ignored, in rest", in(id, rest, "A"), in(id, rest, "A", "A"), 0, 1, 0},
		} {
			got, err := dbformat.CountChanges(c.old.light, c.old.rest, c.new.light, c.new.rest)
			if err != nil || got.Light.Removed != c.light || got.Rest.Removed != c.rest || got.Light.Records+got.Rest.Records != 1 {
				t.Errorf("%s, %s: %+v, %v; want %d of light and %d of rest removed", id, c.promise, got, err, c.light, c.rest)
			}
			if got, err = dbformat.CountChanges(c.old.light, nil, c.new.light, nil); err != nil || got.Light.Removed != c.alone {
				t.Errorf("%s, %s, light alone: %+v, %v; want %d removed", id, c.promise, got, err, c.alone)
			}
		}
	}
}

// sheared is a layer with another header.
type sheared struct {
	dbformat.LayerReader
	h *dbformat.Header
}

func (s sheared) Header() *dbformat.Header { return s.h }

// swapped is a layer of which two blocks are exchanged, or bytes changed, as a disk or an attacker would; the digests that a store
// compares are left out.
type swapped struct {
	dbformat.LayerReader
	change func(section, i int, b []byte) []byte
}

func (s swapped) Block(section, i int) ([]byte, error) {
	b, err := s.LayerReader.Block(section, i)
	if err != nil {
		return nil, err
	}
	return s.change(section, i, slices.Clone(b)), nil
}

// A damaged layer is an error, whatever is wrong with it.
func TestChangesOfDamagedLayers(t *testing.T) {
	c := sample(300, 5)
	r := makeRelease(t, c, dbformat.ChooseParams(c, nil))
	small := makeRelease(t, sample(40, 6), dbformat.Params{Prefix: 32, URLPrefix: 32})
	header := func(l dbformat.LayerReader, f func(*dbformat.Header)) dbformat.LayerReader {
		h := *l.Header()
		h.Sections = slices.Clone(h.Sections)
		f(&h)
		return sheared{l, &h}
	}
	count := func(light, rest dbformat.LayerReader) error {
		_, err := dbformat.CountChanges(light, rest, r.light, r.rest)
		if err == nil {
			_, err = dbformat.CountChanges(light, nil, r.light, nil)
		}
		return err
	}
	for name, l := range map[string][2]dbformat.LayerReader{
		"layers exchanged":    {r.rest, r.light},
		"rest of another":     {r.light, small.rest},
		"a section too wide":  {header(r.light, func(h *dbformat.Header) { h.Sections[0].P = 64 }), r.rest},
		"a section lost":      {r.light, header(r.rest, func(h *dbformat.Header) { h.Sections = h.Sections[1:] })},
		"a section twice":     {header(r.light, func(h *dbformat.Header) { h.Sections[1] = h.Sections[0] }), r.rest},
		"fewer blocks listed": {header(r.light, func(h *dbformat.Header) { h.Sections[0].Blocks = nil }), r.rest},
	} {
		if err := count(l[0], l[1]); !errors.Is(err, dbformat.ErrCorrupt) {
			t.Errorf("%s: error %v, want one that matches ErrCorrupt", name, err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 400 {
		at, bit := rng.Uint64(), byte(1)<<rng.IntN(8)
		damage := func(section, i int, b []byte) []byte {
			if len(b) > 0 {
				b[at%uint64(len(b))] ^= bit
			}
			if at%7 == 0 {
				b = b[:len(b)/2]
			}
			return b
		}
		for _, l := range [][2]dbformat.LayerReader{{swapped{r.light, damage}, r.rest}, {r.light, swapped{r.rest, damage}}} {
			err := count(l[0], l[1])
			if err != nil && !errors.Is(err, dbformat.ErrCorrupt) {
				t.Fatalf("error %v, want one that matches ErrCorrupt", err)
			}
			if err != nil {
				refused++
			}
		}
	}
	if refused < 300 {
		t.Errorf("%d of 800 damaged layers were noticed: the test damages too little", refused)
	}
	left := 3
	if err := count(brokenLayer{r.light, &left}, r.rest); !errors.Is(err, errDisk) {
		t.Errorf("error %v, want the reader's", err)
	}
}

func TestGuardsOfAStep(t *testing.T) {
	g := dbformat.DefaultGuards()
	step := func(light, removedLight, rest, removedRest, allow uint64) dbformat.Changes {
		return dbformat.Changes{Light: dbformat.LayerChanges{Records: light, Removed: removedLight},
			Rest: dbformat.LayerChanges{Records: rest, Removed: removedRest}, AllowAdded: allow}
	}
	for _, c := range []struct {
		promise string
		c       dbformat.Changes
		want    string
	}{
		{"just 30 percent", step(10000, 3000, 10000, 3000, 0), ""},
		{"one record more", step(10000, 3001, 10000, 0, 0), "it removes 3001 of 10000 records of light (30.0 %), at most 30 % are allowed"},
		{"of rest alone", step(20000, 0, 10000, 5000, 0), "it removes 5000 of 10000 records of rest (50.0 %), at most 30 % are allowed"},
		{"a small layer has no guard", step(9999, 9999, 9999, 9999, 2000), ""},
		{"just 1000 allow records", step(10000, 0, 10000, 0, 1000), ""},
		{"one allow record more", step(10000, 0, 0, 0, 1001), "it adds 1001 allow records, at most 1000 are allowed"},
		{"both", step(10000, 9000, 0, 0, 1001), "it removes 9000 of 10000 records of light (90.0 %), at most 30 % are allowed|it adds 1001 allow records, at most 1000 are allowed"},
	} {
		var said []string
		for _, b := range g.Broken(c.c) {
			said = append(said, b.String())
		}
		if got := strings.Join(said, "|"); got != c.want {
			t.Errorf("%s: %q, want %q", c.promise, got, c.want)
		}
	}
	if b := (dbformat.Guards{RemovedPercent: 100, AllowAdded: dbformat.MaxVersion}).Broken(step(10000, 10000, 10000, 10000, 1<<40)); b != nil {
		t.Errorf("guards that are off refuse: %v", b)
	}
}
