package dbformat_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// records makes n seeded records of an algorithm, names in families.
func records(a dbformat.Algorithm, n int, seed uint64) []dbformat.Record {
	rng := rand.New(rand.NewPCG(seed, uint64(a)))
	out := make([]dbformat.Record, n)
	for i := range out {
		r := &out[i]
		for j := 0; j < a.Size(); j += 4 {
			binary.LittleEndian.PutUint32(r.Hash[j:], rng.Uint32())
		}
		if rng.IntN(4) > 0 {
			r.Size = 1 + rng.Uint32N(1<<22)
		}
		if rng.IntN(8) > 0 {
			r.Name = fmt.Sprintf("%s.%s.%s-%d", pick(rng, "Win", "Unix", "Doc", "Html"), pick(rng, "Trojan", "Malware", "Packed"),
				pick(rng, "Agent", "Emotet", "Mirai", "Generic", "Zbot"), 1_000_000+rng.IntN(9_000_000))
		}
	}
	return out
}

func pick(rng *rand.Rand, words ...string) string { return words[rng.IntN(len(words))] }

// urls is the section of URLs.
var urls = dbformat.ClassURL.Section(dbformat.SHA256)

// recordsOf makes records that the section can have.
func recordsOf(id dbformat.SectionID, n int, seed uint64) []dbformat.Record {
	out := records(id.Algorithm(), n, seed)
	for i := range out {
		if id.OfURLs() {
			out[i].Size = dbformat.AnySize
		}
	}
	return out
}

// The sections of patterns.
var (
	patterns    = dbformat.ClassPattern.Section(dbformat.SHA256)
	patternsPUA = dbformat.ClassPatternPUA.Section(dbformat.SHA256)
)

// patternRecords makes n seeded patterns in families, some of them alike but for their names, a few long ones among them.
func patternRecords(n int, seed uint64) []dbformat.PatternRecord {
	rng := rand.New(rand.NewPCG(seed, 11))
	families := make([][]byte, 5)
	for i := range families {
		families[i] = make([]byte, 10+rng.IntN(60))
		for j := range families[i] {
			families[i][j] = byte(rng.Uint32())
		}
	}
	out := make([]dbformat.PatternRecord, n)
	for i := range out {
		p := &out[i]
		p.Name = fmt.Sprintf("%s.Trojan.%s-%d", pick(rng, "Win", "Unix", "Doc"), pick(rng, "Agent", "Emotet", "Mirai"), int(seed)*1_000_000+i)
		p.Pattern = slices.Clone(families[rng.IntN(len(families))])
		for range rng.IntN(4) {
			p.Pattern = append(p.Pattern, byte(rng.Uint32()))
		}
		if rng.IntN(20) == 0 {
			p.Pattern = bytes.Repeat(p.Pattern, 1+rng.IntN(9))
		}
	}
	return out
}

// sample is content with every kind of section, the placed ones in both layers.
func sample(n int, seed uint64) *dbformat.Content {
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}, RestSections: map[dbformat.SectionID][]dbformat.Record{}}
	some := n/8 + 1
	c.Patterns = map[dbformat.SectionID][]dbformat.PatternRecord{patterns: patternRecords(some, seed), patternsPUA: patternRecords(2, seed+1)}
	c.RestPatterns = map[dbformat.SectionID][]dbformat.PatternRecord{patterns: patternRecords(2*some, seed+2), patternsPUA: patternRecords(some, seed+3)}
	for _, a := range dbformat.Algorithms() {
		for class := dbformat.ClassPESection; class <= dbformat.ClassPESectionPUA; class++ {
			c.Sections[class.Section(a)] = records(a, some, seed+uint64(class))
			c.RestSections[class.Section(a)] = records(a, some/2+1, seed+100+uint64(class))
		}
	}
	for class := dbformat.ClassHash; class <= dbformat.ClassAllow; class++ {
		for _, a := range dbformat.Algorithms() {
			c.Sections[class.Section(a)] = records(a, n, seed+uint64(class))
			n = n*2/3 + 1
		}
	}
	c.Sections[urls] = recordsOf(urls, n, seed+uint64(dbformat.ClassURL))
	c.Ignore = []string{"Win.Test.Ignored-2", "Win.Test.Ignored-1", "Naïve.Näme"}
	c.Vectors = []dbformat.Vector{
		{Section: "hash/sha256", Content: []byte("self-test content"), Light: dbformat.ExpectSuspected, Full: dbformat.ExpectMalicious},
		{Content: []byte("benign"), Light: dbformat.ExpectClean, Full: dbformat.ExpectClean},
		{Content: nil},
	}
	return c
}

func build(t testing.TB, c *dbformat.Content, p dbformat.Params) (light, rest *dbformat.MemLayer) {
	t.Helper()
	light, rest, err := dbformat.Build(c, p)
	if err != nil {
		t.Fatal(err)
	}
	return light, rest
}

// checkLayers proves everything that the format promises of a pair of layers.
func checkLayers(t testing.TB, light, rest dbformat.LayerReader) {
	t.Helper()
	if err := dbformat.CheckPair(light.Header(), rest.Header()); err != nil {
		t.Fatal(err)
	}
	for i := range light.Header().Sections {
		s := &light.Header().Sections[i]
		for j := range s.Blocks {
			data, err := light.Block(i, j)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case s.ID.Split():
				checkSplit(t, s, j, data, rest)
			case s.ID.Keyed():
				if err := checkBlock(t, dbformat.Light, s, j, data); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for i := range rest.Header().Sections {
		s := &rest.Header().Sections[i]
		for j := range s.Blocks {
			data, err := rest.Block(i, j)
			if err != nil {
				t.Fatal(err)
			}
			if s.ID.Placed() {
				if err := checkBlock(t, dbformat.Rest, s, j, data); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func checkSplit(t testing.TB, s *dbformat.SectionHeader, j int, data []byte, rest dbformat.LayerReader) {
	t.Helper()
	b, err := dbformat.ParsePrefixBlock(data, s, j)
	if err == nil {
		err = b.Check(s.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	k, rs, _ := rest.Header().Section(s.ID)
	for r := range b.Ranges() {
		data, err := rest.Block(k, b.FirstRange()+r)
		if err != nil {
			t.Fatal(err)
		}
		tails, err := dbformat.ParseTailBlock(data, rs, b.FirstRange()+r)
		if err != nil {
			t.Fatal(err)
		}
		if err := dbformat.CheckTails(b, r, tails); err != nil {
			t.Fatal(err)
		}
		checkNameIndex(t, tails)
	}
}

// checkNameIndex proves that an index changes no name of a block, and that any row may be touched.
func checkNameIndex(t testing.TB, plain dbformat.TailBlock) {
	t.Helper()
	indexed := plain
	indexed.IndexNames()
	for i := range plain.Rows() {
		if got, want := indexed.Name(i), plain.Name(i); !bytes.Equal(got, want) {
			t.Fatalf("row %d of %d has the name %q with an index, %q without", i, plain.Rows(), got, want)
		}
		indexed.Touch(i)
	}
	for _, i := range []int{-1, plain.Rows(), math.MaxInt, math.MinInt} {
		indexed.Touch(i)
	}
	plain.Touch(0)
}

// lookup finds a record the way a matcher does.
func lookup(t testing.TB, light, rest dbformat.LayerReader, id dbformat.SectionID, hash []byte, size uint32) (name string, ok bool) {
	t.Helper()
	i, s, found := light.Header().Section(id)
	if !found {
		return "", false
	}
	rng := int(binary.BigEndian.Uint64(hash) >> (64 - s.B))
	if s.B == 0 {
		rng = 0
	}
	data, err := light.Block(i, rng>>s.K)
	if err != nil {
		t.Fatal(err)
	}
	if !id.Split() {
		b, err := dbformat.ParseRecordBlock(data, s, rng)
		if err != nil {
			t.Fatal(err)
		}
		row := b.FindSize(hash, size)
		if row < 0 {
			return "", false
		}
		return string(b.Name(row)), true
	}
	b, err := dbformat.ParsePrefixBlock(data, s, rng>>s.K)
	if err != nil {
		t.Fatal(err)
	}
	first, end := b.Find(hash)
	lo, _ := b.Range(rng - b.FirstRange())
	k, rs, _ := rest.Header().Section(id)
	if data, err = rest.Block(k, rng); err != nil {
		t.Fatal(err)
	}
	tails, err := dbformat.ParseTailBlock(data, rs, rng)
	if err != nil {
		t.Fatal(err)
	}
	row := tails.Find(first-lo, end-lo, hash, size)
	if row < 0 {
		return "", false
	}
	return string(tails.Name(row)), true
}

func TestEveryRecordIsFound(t *testing.T) {
	c := sample(6000, 1)
	p := dbformat.ChooseParams(c, nil)
	light, rest := build(t, c, p)
	checkLayers(t, light, rest)
	cuts := 0
	for id, recs := range c.Sections {
		cuts += int(p.Cuts[id].B) + int(p.Cuts[id].K)
		for _, r := range recs {
			hash := r.Hash[:id.Algorithm().Size()]
			size := r.Size
			if size == dbformat.AnySize {
				size = 12345
			}
			name, ok := lookup(t, light, rest, id, hash, size)
			if !ok || name != r.Name {
				t.Fatalf("%s %x: found %q %t, want %q", id, hash, name, ok, r.Name)
			}
			if r.Size != dbformat.AnySize {
				if _, ok := lookup(t, light, rest, id, hash, size+1); ok {
					t.Fatalf("%s %x is found with another size", id, hash)
				}
			}
		}
	}
	if cuts == 0 {
		t.Fatal("the sample is not cut: the test shows nothing about ranges")
	}
	for id, recs := range c.RestSections { // of placed sections, which are read in rest as in light
		for _, r := range recs {
			size := max(r.Size, 1)
			if name, ok := lookup(t, rest, nil, id, r.Hash[:id.Algorithm().Size()], size); !ok || name != r.Name {
				t.Fatalf("%s %x: found %q %t in rest, want %q", id, r.Hash, name, ok, r.Name)
			}
		}
	}
}

// Every pattern stands where it was placed, in clear for who reads it, under its key.
func TestEveryPatternIsFound(t *testing.T) {
	c := sample(40000, 1)
	p := dbformat.ChooseParams(c, nil)
	if p.Cuts[patterns].B == 0 || p.RestCuts[patterns].B == 0 {
		t.Fatalf("cuts %+v and %+v: the sample is not cut", p.Cuts[patterns], p.RestCuts[patterns])
	}
	light, rest := build(t, c, p)
	for _, side := range []struct {
		l    dbformat.LayerReader
		want map[dbformat.SectionID][]dbformat.PatternRecord
	}{{light, c.Patterns}, {rest, c.RestPatterns}} {
		for id, want := range side.want {
			found := patternsIn(t, side.l, id)
			for _, r := range want {
				key := dbformat.PatternKey(r.Name, r.Pattern)
				if got, ok := found[key]; !ok || got.Name != r.Name || !bytes.Equal(got.Pattern, r.Pattern) {
					t.Fatalf("%s of %s: %x is %+v, want %+v", id, side.l.Header().Layer, key, got, r)
				}
			}
			if len(found) != len(want) {
				t.Errorf("%s of %s has %d patterns, want %d", id, side.l.Header().Layer, len(found), len(want))
			}
		}
	}
}

// patternsIn reads all patterns of a section, in both ways that there are.
func patternsIn(t testing.TB, l dbformat.LayerReader, id dbformat.SectionID) map[[32]byte]dbformat.PatternRecord {
	t.Helper()
	found := map[[32]byte]dbformat.PatternRecord{}
	at, s, ok := l.Header().Section(id)
	if !ok {
		return nil
	}
	for j := range s.Blocks {
		data, err := l.Block(at, j)
		if err != nil {
			t.Fatal(err)
		}
		b, err := dbformat.ParsePatternBlock(data, s, j)
		if err != nil || b.Check() != nil {
			t.Fatal(err, b.Check())
		}
		i := 0
		for name, pattern := range b.All() {
			if i%16 == 0 && (string(b.Name(i)) != string(name) || !bytes.Equal(b.AppendPattern(nil, i), pattern)) {
				t.Fatalf("row %d is %q %x, or %q %x", i, b.Name(i), b.AppendPattern(nil, i), name, pattern)
			}
			found[dbformat.PatternKey(string(name), pattern)] = dbformat.PatternRecord{Name: string(name), Pattern: bytes.Clone(pattern)}
			i++
		}
		if i != b.Rows() {
			t.Fatalf("%d of %d rows", i, b.Rows())
		}
		for range b.All() { // who has seen enough may stop
			break
		}
	}
	return found
}

func TestBuildDoesNotDependOnOrder(t *testing.T) {
	a, b := sample(3000, 2), sample(3000, 2)
	for _, sections := range []map[dbformat.SectionID][]dbformat.Record{b.Sections, b.RestSections} {
		for _, recs := range sections {
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
		}
	}
	slices.Reverse(b.Patterns[patterns])
	slices.Reverse(b.RestPatterns[patterns])
	slices.Reverse(b.Ignore)
	slices.Reverse(b.Vectors)
	la, ra := build(t, a, dbformat.ChooseParams(a, nil))
	lb, rb := build(t, b, dbformat.ChooseParams(b, nil))
	if la.Header().Digest() != lb.Header().Digest() || ra.Header().Digest() != rb.Header().Digest() {
		t.Fatal("the same content in another order has another digest")
	}
}

func TestDefaultNameIsNotStored(t *testing.T) {
	for _, class := range []dbformat.Class{dbformat.ClassHash, dbformat.ClassWhole, dbformat.ClassURL, dbformat.ClassPESection} {
		id := class.Section(dbformat.SHA256)
		a, b := recordsOf(urls, 10, 3), recordsOf(urls, 10, 3)
		for i := range a {
			a[i].Name = ""
			b[i].Name = id.DefaultName(b[i].Hash[:])
		}
		p := dbformat.Params{Prefix: 28, URLPrefix: 32}
		la, ra := build(t, &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: a}}, p)
		lb, rb := build(t, &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: b}}, p)
		if la.Header().Digest() != lb.Header().Digest() || ra.Header().Digest() != rb.Header().Digest() {
			t.Errorf("%s: a default name that is spelled out changes the digest", id)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	one := func(id dbformat.SectionID, r ...dbformat.Record) *dbformat.Content {
		return &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: r}}
	}
	md := dbformat.ClassHash.Section(dbformat.MD5)
	long := dbformat.Record{}
	long.Hash[16] = 1
	big := make([]dbformat.Record, 20000)
	for i := range big {
		binary.BigEndian.PutUint32(big[i].Hash[8:], uint32(i))
		big[i].Name = strings.Repeat("n", 255)
	}
	sections := dbformat.ClassPESection.Section(dbformat.SHA1)
	placed := func(id dbformat.SectionID, light, rest []dbformat.Record) *dbformat.Content {
		return &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: light}, RestSections: map[dbformat.SectionID][]dbformat.Record{id: rest}}
	}
	texts := func(id dbformat.SectionID, light, rest []dbformat.PatternRecord) *dbformat.Content {
		return &dbformat.Content{Patterns: map[dbformat.SectionID][]dbformat.PatternRecord{id: light}, RestPatterns: map[dbformat.SectionID][]dbformat.PatternRecord{id: rest}}
	}
	pattern := func(name string, n int) []dbformat.PatternRecord {
		return []dbformat.PatternRecord{{Name: name, Pattern: make([]byte, n)}}
	}
	many := make([]dbformat.PatternRecord, 70)
	for i := range many {
		many[i] = dbformat.PatternRecord{Name: fmt.Sprint(i), Pattern: make([]byte, dbformat.MaxPattern)}
	}
	for name, tc := range map[string]struct {
		c       *dbformat.Content
		section string
	}{
		"placed in both layers":            {placed(sections, make([]dbformat.Record, 1), []dbformat.Record{{Name: "Other"}}), "sections/sha1"},
		"key twice in rest":                {placed(sections, nil, make([]dbformat.Record, 2)), "sections/sha1"},
		"whole records in rest":            {placed(dbformat.ClassWhole.Section(dbformat.SHA1), nil, make([]dbformat.Record, 1)), "whole/sha1"},
		"split records in rest":            {placed(md, nil, make([]dbformat.Record, 1)), "hash/md5"},
		"records for patterns":             {one(patterns, dbformat.Record{}), "patterns"},
		"records for patterns in rest":     {placed(patterns, nil, make([]dbformat.Record, 1)), "patterns"},
		"patterns for records":             {texts(sections, pattern("A", 1), nil), "sections/sha1"},
		"patterns for records in rest":     {texts(sections, nil, pattern("A", 1)), "sections/sha1"},
		"patterns by MD5":                  {texts(0x0b01, pattern("A", 1), nil), "patterns/md5"},
		"pattern of nothing":               {texts(patterns, pattern("A", 0), nil), "patterns"},
		"pattern too long":                 {texts(patternsPUA, nil, pattern("A", dbformat.MaxPattern+1)), "patternspua"},
		"pattern without a name":           {texts(patterns, pattern("", 1), nil), "patterns"},
		"pattern with a control character": {texts(patterns, nil, pattern("A\n", 1)), "patterns"},
		"pattern twice":                    {texts(patterns, append(pattern("A", 1), pattern("A", 1)...), nil), "patterns"},
		"pattern in both layers":           {texts(patterns, pattern("A", 1), pattern("A", 1)), "patterns"},
		"block of patterns too large":      {texts(patterns, many, nil), "patterns"},
		"vector of no section":             {&dbformat.Content{Vectors: []dbformat.Vector{{Section: "ignore"}}}, "selftest"},

		"key twice":           {one(md, dbformat.Record{Name: "a"}, dbformat.Record{Name: "b"}), "hash/md5"},
		"hash too long":       {one(md, long), "hash/md5"},
		"size too large":      {one(md, dbformat.Record{Size: dbformat.MaxSize + 1}), "hash/md5"},
		"control character":   {one(md, dbformat.Record{Name: "a\x1b[0m"}), "hash/md5"},
		"direction override":  {one(md, dbformat.Record{Name: "a\u202eb"}), "hash/md5"},
		"invalid UTF-8":       {one(md, dbformat.Record{Name: "a\xff"}), "hash/md5"},
		"name too long":       {one(md, dbformat.Record{Name: strings.Repeat("n", 256)}), "hash/md5"},
		"block too large":     {one(md, big...), "hash/md5"},
		"records for ignore":  {one(dbformat.ClassIgnore.Section(0), dbformat.Record{}), "ignore"},
		"unknown section":     {one(0x0d01, dbformat.Record{}), "0x0d01"},
		"URL by MD5":          {one(0x0801, dbformat.Record{}), "url/md5"},
		"URL with a size":     {one(urls, dbformat.Record{Size: 7}), "url/sha256"},
		"URL without a width": {one(urls, dbformat.Record{}), "url/sha256"},
		"ignored name twice":  {&dbformat.Content{Ignore: []string{"a", "a"}}, "ignore"},
		"ignored name empty":  {&dbformat.Content{Ignore: []string{""}}, "ignore"},
		"vector twice":        {&dbformat.Content{Vectors: []dbformat.Vector{{}, {}}}, "selftest"},
		"vector too large":    {&dbformat.Content{Vectors: []dbformat.Vector{{Content: make([]byte, dbformat.MaxVector+1)}}}, "selftest"},
		"vector of nothing":   {&dbformat.Content{Vectors: []dbformat.Vector{{Section: "hash/crc"}}}, "selftest"},
		"unknown expectation": {&dbformat.Content{Vectors: []dbformat.Vector{{Full: 4}}}, "selftest"},
	} {
		t.Run(name, func(t *testing.T) {
			light, rest, err := dbformat.Build(tc.c, dbformat.Params{Prefix: 24})
			var ce *dbformat.ContentError
			if !errors.Is(err, dbformat.ErrContent) || !errors.As(err, &ce) || ce.Section != tc.section {
				t.Fatalf("Build = %v, want an error about section %s", err, tc.section)
			}
			if light != nil || rest != nil {
				t.Fatal("an error and a layer")
			}
		})
	}
}

func TestTheSameHashWithSeveralSizes(t *testing.T) {
	id := dbformat.ClassHash.Section(dbformat.SHA1)
	r := records(dbformat.SHA1, 1, 4)[0]
	any, small, large := r, r, r
	any.Size, any.Name = dbformat.AnySize, "Any"
	small.Size, small.Name = 10, "Small"
	large.Size, large.Name = 1<<31, "Large"
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: {large, any, small}}}
	light, rest := build(t, c, dbformat.Params{Prefix: 24})
	checkLayers(t, light, rest)
	for size, want := range map[uint32]string{10: "Small", 1 << 31: "Large", 11: "Any"} {
		if name, ok := lookup(t, light, rest, id, r.Hash[:20], size); !ok || name != want {
			t.Errorf("size %d: %q, want %q", size, name, want)
		}
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	light, rest := build(t, sample(2000, 5), dbformat.ChooseParams(sample(2000, 5), nil))
	empty, _ := build(t, &dbformat.Content{}, dbformat.Params{})
	for _, l := range []dbformat.LayerReader{light, rest, empty} {
		b := l.Header().Encode()
		h, err := dbformat.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(h.Encode(), b) || h.Digest() != l.Header().Digest() {
			t.Fatal("header changes when it is read and written again")
		}
	}
}

// Whatever bit of a header is flipped, its digest changes or it is refused: there is
// nothing in it that the digest does not bind.
func TestHeaderDigestBindsEveryBit(t *testing.T) {
	for _, layer := range both(t, sample(300, 6)) {
		b := layer.Header().Encode()
		want := layer.Header().Digest()
		for i := range len(b) * 8 {
			b[i/8] ^= 1 << (i % 8)
			if h, err := dbformat.ParseHeader(b); err == nil && h.Digest() == want {
				t.Fatalf("bit %d of byte %d is not bound", i%8, i/8)
			}
			b[i/8] ^= 1 << (i % 8)
		}
	}
}

func both(t testing.TB, c *dbformat.Content) []*dbformat.MemLayer {
	light, rest := build(t, c, dbformat.ChooseParams(c, nil))
	return []*dbformat.MemLayer{light, rest}
}

func TestParamsAreKept(t *testing.T) {
	content := func(n int) *dbformat.Content {
		return &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{
			dbformat.ClassHash.Section(dbformat.SHA256): make([]dbformat.Record, n)}}
	}
	first := dbformat.ChooseParams(content(1<<14), nil)
	if first.Prefix != 36 || first.Rows != 1<<14 {
		t.Fatalf("%+v for 2^14 rows, want p 36", first)
	}
	for n, want := range map[int]uint64{1 << 14: 1 << 14, 1 << 16: 1 << 14, 1<<16 + 1: 1<<16 + 1, 1 << 10: 1 << 14, 1<<10 - 1: 1<<10 - 1} {
		if got := dbformat.ChooseParams(content(n), &first); got.Rows != want {
			t.Errorf("%d rows after 2^14: chosen for %d, want %d", n, got.Rows, want)
		}
	}
	if p := dbformat.ChooseParams(content(0), nil); p.Prefix != 24 {
		t.Errorf("p = %d for nothing, want 24", p.Prefix)
	}
}

// URLs have a width of their own, which their number alone chooses, and keeps as that of files is kept. What was stored before there were
// URLs says nothing about them.
func TestURLsHaveAWidthOfTheirOwn(t *testing.T) {
	content := func(files, links int) *dbformat.Content {
		return &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{
			dbformat.ClassHash.Section(dbformat.SHA256): make([]dbformat.Record, files), urls: make([]dbformat.Record, links)}}
	}
	var before dbformat.Params
	if err := json.Unmarshal([]byte(`{"rows":16384,"prefix":36,"cuts":{"hash/sha256":{"b":3,"k":1}}}`), &before); err != nil {
		t.Fatal(err)
	}
	first := dbformat.ChooseParams(content(1<<14, 1<<10), &before)
	if first.Rows != 1<<14 || first.Prefix != 36 || first.URLRows != 1<<10 || first.URLPrefix != 40 { // 10 bits, 5 for 30 expressions, and 22
		t.Fatalf("%+v for 2^14 files and 2^10 URLs, want p 36 and 40", first)
	}
	for n, want := range map[int]uint64{1 << 12: 1 << 10, 1<<12 + 1: 1<<12 + 1, 1 << 6: 1 << 10, 1<<6 - 1: 1<<6 - 1} {
		if got := dbformat.ChooseParams(content(1<<14, n), &first); got.URLRows != want || got.Rows != 1<<14 {
			t.Errorf("%d URLs after 2^10: chosen for %d, and %d files; want %d and 2^14", n, got.URLRows, got.Rows, want)
		}
	}
	if got := dbformat.ChooseParams(content(1<<14, 0), &first); got.URLRows != 0 || got.URLPrefix != 0 {
		t.Errorf("%+v without URLs", got)
	}
	for _, p := range []dbformat.Params{before, first} {
		var again dbformat.Params
		if b, err := json.Marshal(p); err != nil || json.Unmarshal(b, &again) != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("%+v is read back as %+v", p, again)
		}
	}
}

// Only a layer with URLs asks for an engine that knows them, and only one with placed sections for one that knows these.
func TestEngineLevels(t *testing.T) {
	levels := func(c *dbformat.Content) [2]int {
		light, rest := build(t, c, dbformat.ChooseParams(c, nil))
		return [2]int{light.Header().EngineLevel(), rest.Header().EngineLevel()}
	}
	files := map[dbformat.SectionID][]dbformat.Record{dbformat.ClassHash.Section(dbformat.MD5): records(dbformat.MD5, 3, 3)}
	pe := map[dbformat.SectionID][]dbformat.Record{dbformat.ClassPESectionPUA.Section(dbformat.MD5): records(dbformat.MD5, 3, 3)}
	texts := map[dbformat.SectionID][]dbformat.PatternRecord{patterns: patternRecords(2, 3)}
	for what, tc := range map[string]struct {
		c    *dbformat.Content
		want [2]int
	}{
		"nothing":                  {&dbformat.Content{}, [2]int{1, 1}},
		"files":                    {&dbformat.Content{Sections: files}, [2]int{1, 1}},
		"URLs":                     {&dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{urls: recordsOf(urls, 3, 3)}}, [2]int{2, 2}},
		"sections of PE files":     {&dbformat.Content{Sections: pe}, [2]int{3, 1}},
		"sections of them in rest": {&dbformat.Content{Sections: files, RestSections: pe}, [2]int{1, 3}},
		"patterns":                 {&dbformat.Content{Patterns: texts}, [2]int{3, 1}},
		"patterns in rest":         {&dbformat.Content{RestPatterns: texts}, [2]int{1, 3}},
		"all of them":              {sample(20, 3), [2]int{3, 3}},
	} {
		if got := levels(tc.c); got != tc.want {
			t.Errorf("%s: levels %v of light and rest, want %v", what, got, tc.want)
		}
	}
	if dbformat.EngineLevel != 3 {
		t.Errorf("this engine has level %d, it knows all of these", dbformat.EngineLevel)
	}
}

// What a section is to those who use it.
func TestWhatAURLSectionIs(t *testing.T) {
	id, err := dbformat.ParseSection("url/sha256")
	if err != nil || id != 0x0803 || !id.Valid() || !id.Split() || !id.Rows() || !id.Detects() || !id.OfURLs() || id.PUA() ||
		!id.In(dbformat.Light) || !id.In(dbformat.Rest) || id.Algorithm() != dbformat.SHA256 {
		t.Errorf("%#04x %s, %v", uint16(id), id, err)
	}
	if all := dbformat.AllSections(); len(all) != dbformat.MaxSections || !slices.IsSorted(all) || !slices.Contains(all, id) {
		t.Errorf("sections %v", all)
	}
	for _, other := range dbformat.AllSections() {
		if other.OfURLs() && other != id {
			t.Errorf("%s is about URLs", other)
		}
	}
}

// What the placed sections are to those who use them, and that nothing else is placed.
func TestWhatPlacedSectionsAre(t *testing.T) {
	type traits struct{ rows, patterns, pua bool }
	placed := map[string]traits{"patterns": {false, true, false}, "patternspua": {false, true, true}}
	for _, a := range dbformat.Algorithms() {
		placed["sections/"+a.String()], placed["sectionspua/"+a.String()] = traits{true, false, false}, traits{true, false, true}
	}
	for _, id := range dbformat.AllSections() {
		want, ok := placed[id.String()]
		if id.Placed() != ok || id.In(dbformat.Rest) != (ok || id.Split()) || !id.In(dbformat.Light) {
			t.Errorf("%s: placed %t, in rest %t", id, id.Placed(), id.In(dbformat.Rest))
		}
		if id.OfPatterns() != want.patterns || id.OfPESections() != (ok && want.rows) || id.OfFiles() && (ok || id.OfURLs()) || id.Keyed() != (id.Rows() || id.OfPatterns()) {
			t.Errorf("%s is of patterns: %t, of sections: %t, of files: %t", id, id.OfPatterns(), id.OfPESections(), id.OfFiles())
		}
		if ok && (id.Rows() != want.rows || id.PUA() != want.pua || !id.Detects() || id.Split() || !id.Keyed()) {
			t.Errorf("%s: rows %t, unwanted %t, detects %t, split %t", id, id.Rows(), id.PUA(), id.Detects(), id.Split())
		}
		delete(placed, id.String())
	}
	if len(placed) > 0 || patterns != 0x0b03 || patternsPUA != 0x0c03 || dbformat.SectionID(0x0b00).Valid() {
		t.Errorf("not among all sections: %v; patterns have the ids %#04x and %#04x", placed, uint16(patterns), uint16(patternsPUA))
	}
}

// A cut of a placed section is chosen and kept for each layer by what stands in it; it counts for no prefix.
func TestCutsOfPlacedSections(t *testing.T) {
	c := &dbformat.Content{
		Sections:     map[dbformat.SectionID][]dbformat.Record{dbformat.ClassPESection.Section(dbformat.MD5): records(dbformat.MD5, 100, 1)},
		RestSections: map[dbformat.SectionID][]dbformat.Record{dbformat.ClassPESection.Section(dbformat.MD5): records(dbformat.MD5, 20000, 2)},
		Patterns:     map[dbformat.SectionID][]dbformat.PatternRecord{patterns: patternRecords(10000, 3)},
		RestPatterns: map[dbformat.SectionID][]dbformat.PatternRecord{patterns: patternRecords(100, 4)},
	}
	p := dbformat.ChooseParams(c, nil)
	id := dbformat.ClassPESection.Section(dbformat.MD5)
	if p.Rows != 0 || p.Prefix != 24 || p.Cuts[id].B != 0 || p.RestCuts[id].B < 3 || p.Cuts[patterns].B < 3 || p.RestCuts[patterns].B != 0 {
		t.Fatalf("%+v", p)
	}
	c.RestSections[id], c.Patterns[patterns] = c.RestSections[id][:8000], c.Patterns[patterns][:4000]
	q := dbformat.ChooseParams(c, &p)
	if !reflect.DeepEqual(q, p) {
		t.Errorf("%+v, want %+v as before", q, p)
	}
	if fresh := dbformat.ChooseParams(c, nil); reflect.DeepEqual(fresh, p) {
		t.Error("it would have been chosen anyway: the test shows nothing")
	}
	light, rest := build(t, c, q)
	checkLayers(t, light, rest)
	if none := dbformat.ChooseParams(benchContent(10), nil); none.RestCuts != nil {
		t.Errorf("%+v without placed sections", none)
	}
}

// A rest layer with placed sections alone fits any light layer that has nothing split, and with tails only the light layer of these.
func TestPlacedSectionsHaveNoPair(t *testing.T) {
	split := map[dbformat.SectionID][]dbformat.Record{dbformat.ClassHash.Section(dbformat.MD5): records(dbformat.MD5, 3, 3)}
	texts := map[dbformat.SectionID][]dbformat.PatternRecord{patterns: patternRecords(2, 3)}
	nothing, placedRest := build(t, &dbformat.Content{RestPatterns: texts}, dbformat.Params{})
	whole, _ := build(t, &dbformat.Content{Patterns: texts}, dbformat.Params{})
	files, filesRest := build(t, &dbformat.Content{Sections: split, RestPatterns: texts}, dbformat.Params{Prefix: 24})
	for _, p := range []struct {
		what        string
		light, rest *dbformat.MemLayer
		ok          bool
	}{
		{"patterns in rest", nothing, placedRest, true},
		{"patterns in both", whole, placedRest, true},
		{"tails and patterns", files, filesRest, true},
		{"no tails", files, placedRest, false},
		{"tails of nothing", nothing, filesRest, false},
	} {
		if err := dbformat.CheckPair(p.light.Header(), p.rest.Header()); (err == nil) != p.ok || err != nil && !errors.Is(err, dbformat.ErrCorrupt) {
			t.Errorf("%s: %v", p.what, err)
		}
	}
	for _, s := range filesRest.Header().Sections {
		if s.Pair.IsZero() != s.ID.Placed() {
			t.Errorf("%s has the pair %s", s.ID, s.Pair)
		}
	}
}

// Patterns are masked wherever they stand: in layers, bundles and deltas.
func TestPatternsAreMasked(t *testing.T) {
	text := []byte("the pattern that no stored byte sequence may hold")
	masked := bytes.Clone(text)
	for i := range masked {
		masked[i] ^= 0xa7
	}
	c := &dbformat.Content{Patterns: map[dbformat.SectionID][]dbformat.PatternRecord{patterns: {{Name: "A", Pattern: text}}},
		RestPatterns: map[dbformat.SectionID][]dbformat.PatternRecord{patterns: {{Name: "B", Pattern: text}}}}
	r := makeRelease(t, c, dbformat.Params{})
	before := makeRelease(t, &dbformat.Content{}, dbformat.Params{})
	light, rest := step(t, before, r)
	all := map[string][]byte{"light delta": light, "rest delta": rest}
	for _, l := range []*dbformat.MemLayer{r.light, r.rest} {
		block, err := l.Block(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		all[l.Header().Layer.String()+" block"], all[l.Header().Layer.String()+" bundle"] = block, bundle(t, l)
	}
	for name, b := range all {
		if bytes.Contains(b, text[:8]) || !bytes.Contains(b, masked) {
			t.Errorf("%s holds %q", name, b)
		}
	}
}

// The longest pattern there may be, and the longest name, come back.
func TestPatternsOfEveryLength(t *testing.T) {
	for _, n := range []int{1, 255, 256, dbformat.MaxPattern} {
		r := dbformat.PatternRecord{Name: strings.Repeat("n", dbformat.MaxName), Pattern: bytes.Repeat([]byte{0xa7}, n)}
		c := &dbformat.Content{Patterns: map[dbformat.SectionID][]dbformat.PatternRecord{patterns: {r, {Name: "A", Pattern: []byte{1}}}}}
		light, _ := build(t, c, dbformat.Params{})
		got := patternsIn(t, readBundle(t, bundle(t, light), dbformat.Light), patterns)
		if p := got[dbformat.PatternKey(r.Name, r.Pattern)]; len(got) != 2 || !bytes.Equal(p.Pattern, r.Pattern) {
			t.Errorf("%d bytes: %d patterns, one of %d bytes", n, len(got), len(p.Pattern))
		}
	}
}

func TestBlocksHaveTheSizeTheyAreCutFor(t *testing.T) {
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{
		dbformat.ClassHash.Section(dbformat.MD5):   records(dbformat.MD5, 40000, 7),
		dbformat.ClassAllow.Section(dbformat.SHA1): records(dbformat.SHA1, 30000, 7),
	}}
	for _, l := range both(t, c) {
		for _, s := range l.Header().Sections {
			if mean := s.Bytes() / int64(len(s.Blocks)); mean > 64<<10 || mean <= 16<<10 {
				t.Errorf("%s %s: mean block has %d bytes", l.Header().Layer, s.ID, mean)
			}
		}
	}
}

func TestSelfTestContentIsMasked(t *testing.T) {
	content := []byte("the content that no stored byte sequence may hold")
	c := &dbformat.Content{Vectors: []dbformat.Vector{{Section: "allow/md5", Content: content, Light: dbformat.ExpectAllowed, Full: dbformat.ExpectAllowed}}}
	light, _ := build(t, c, dbformat.Params{})
	b, err := light.Block(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, content[:8]) {
		t.Fatal("content stands in clear")
	}
	v, err := dbformat.Vectors(b)
	if err != nil || len(v) != 1 || !bytes.Equal(v[0].Content, content) || v[0].Section != "allow/md5" || v[0].Light != dbformat.ExpectAllowed {
		t.Fatalf("Vectors = %v, %v", v, err)
	}
}

func TestIgnoreNamesAreSorted(t *testing.T) {
	light, _ := build(t, &dbformat.Content{Ignore: []string{"b", "a", "c"}}, dbformat.Params{})
	b, _ := light.Block(0, 0)
	names, err := dbformat.IgnoreNames(b)
	if err != nil || !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Fatalf("IgnoreNames = %q, %v", names, err)
	}
}

func TestDefaultNames(t *testing.T) {
	m, s, l := md5.Sum(nil), sha1.Sum(nil), sha256.Sum256(nil)
	for want, got := range map[string]string{
		"Hash.MD5.d41d8cd98f00b204":       dbformat.DefaultName(dbformat.MD5, m[:]),
		"Hash.SHA1.da39a3ee5e6b4b0d":      dbformat.DefaultName(dbformat.SHA1, s[:]),
		"Hash.SHA256.e3b0c44298fc1c14":    dbformat.DefaultName(dbformat.SHA256, l[:]),
		"URL.SHA256.e3b0c44298fc1c14":     urls.DefaultName(l[:]),
		"Section.MD5.d41d8cd98f00b204":    dbformat.ClassPESection.Section(dbformat.MD5).DefaultName(m[:]),
		"Section.SHA256.e3b0c44298fc1c14": dbformat.ClassPESectionPUA.Section(dbformat.SHA256).DefaultName(l[:]),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
