package dbformat

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// A ContentError says what of a [Content] cannot be encoded. It matches [ErrContent].
type ContentError struct {
	Section string // "hash/md5", "ignore", …
	Reason  string
}

func (e *ContentError) Error() string { return "section " + e.Section + ": " + e.Reason }

// Is matches [ErrContent].
func (e *ContentError) Is(target error) bool { return target == ErrContent }

func contentError(section, format string, args ...any) error {
	return &ContentError{Section: section, Reason: fmt.Sprintf(format, args...)}
}

// Build cuts content into the two layers. The result depends on what c holds, not on
// its order, and c is not changed. A section without an entry in p.Cuts has one
// block, as does a placed section of rest without one in p.RestCuts. Errors match [ErrContent]: a key that stands twice in a section (of a
// placed one: in both layers together), a hash, size, name or pattern that cannot be, a block above [MaxBlock] (choose a greater cut).
func Build(c *Content, p Params) (light, rest *MemLayer, err error) {
	var lightSink, restSink MemSink
	b := builder{
		light: newAssembler("light layer", Light, &lightSink),
		rest:  newAssembler("rest layer", Rest, &restSink),
		p:     p,
	}
	ids := slices.Sorted(maps.Keys(c.Sections))
	texts, _ := slices.BinarySearch(ids, ClassIgnore.Section(0)) // where ignore and selftest have their place
	if err := b.sections(c, ids[:texts]); err != nil {
		return nil, nil, err
	}
	if err := b.texts(c); err != nil {
		return nil, nil, err
	}
	if err := b.sections(c, ids[texts:]); err != nil {
		return nil, nil, err
	}
	if err := b.placed(c); err != nil {
		return nil, nil, err
	}
	return &MemLayer{b.light.h, lightSink.blocks}, &MemLayer{b.rest.h, restSink.blocks}, nil
}

// sections writes sections of records, of placed ones what stands in light.
func (b *builder) sections(c *Content, ids []SectionID) error {
	for _, id := range ids {
		if !id.Valid() || !id.Rows() {
			return contentError(id.String(), "holds no records")
		}
		if len(c.Sections[id]) == 0 {
			continue
		}
		if err := b.records(id, c.Sections[id]); err != nil {
			return contentFailure(id.String(), err)
		}
	}
	return nil
}

// contentFailure turns a format's limit into what it is when one builds: an error of
// the content.
func contentFailure(section string, err error) error {
	if e, ok := err.(*FormatError); ok {
		return &ContentError{Section: section, Reason: e.Reason}
	}
	return err
}

type builder struct {
	light, rest *assembler
	p           Params
}

func (b *builder) records(id SectionID, records []Record) error {
	rows, err := sortRecords(id, records)
	if err != nil {
		return err
	}
	cut := b.p.Cuts[id]
	s := SectionHeader{ID: id, B: cut.B, K: cut.K}
	if !id.Split() {
		return b.whole(b.light, s, records, rows)
	}
	s.P = b.p.prefix(id)
	return b.split(s, records, rows)
}

// whole writes the blocks of a section that has whole rows in the layer of asm.
func (b *builder) whole(asm *assembler, s SectionHeader, records []Record, rows []int32) error {
	if err := asm.begin(s); err != nil {
		return err
	}
	var enc rowEncoder
	for r := range 1 << s.B {
		enc.reset()
		rows = addRows(&enc, s, uint64(r), records, rows)
		if err := asm.put(enc.bytes(), enc.rows()); err != nil {
			return err
		}
	}
	return asm.end()
}

// placed writes what placed sections have in rest, and patterns.
func (b *builder) placed(c *Content) error {
	for _, id := range slices.Sorted(maps.Keys(c.RestSections)) {
		if !id.Valid() || !id.Rows() || !id.Placed() {
			return contentError(id.String(), "its records are not placed in rest")
		}
		if err := b.restRecords(id, c.RestSections[id]); err != nil {
			return contentFailure(id.String(), err)
		}
	}
	if err := b.allPatterns(b.light, c.Patterns, b.p.Cuts); err != nil {
		return err
	}
	if err := b.allPatterns(b.rest, c.RestPatterns, b.p.RestCuts); err != nil {
		return err
	}
	return placedOnce(c)
}

// allPatterns writes the sections of patterns that stand in the layer of asm.
func (b *builder) allPatterns(asm *assembler, sections map[SectionID][]PatternRecord, cuts map[SectionID]CutParams) error {
	for _, id := range slices.Sorted(maps.Keys(sections)) {
		if !id.Valid() || !id.OfPatterns() {
			return contentError(id.String(), "holds no patterns")
		}
		if err := b.patterns(asm, SectionHeader{ID: id, B: cuts[id].B, K: cuts[id].K}, sections[id]); err != nil {
			return contentFailure(id.String(), err)
		}
	}
	return nil
}

// restRecords writes the records of a placed section that stand in rest.
func (b *builder) restRecords(id SectionID, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	rows, err := sortRecords(id, records)
	if err != nil {
		return err
	}
	cut := b.p.RestCuts[id]
	return b.whole(b.rest, SectionHeader{ID: id, B: cut.B, K: cut.K}, records, rows)
}

// patterns writes the blocks of a section of patterns.
func (b *builder) patterns(asm *assembler, s SectionHeader, records []PatternRecord) error {
	if len(records) == 0 {
		return nil
	}
	keys, rows, err := sortPatterns(s.ID, records)
	if err != nil {
		return err
	}
	if err := asm.begin(s); err != nil {
		return err
	}
	var enc patternEncoder
	var masked []byte
	for r := range uint64(1) << s.B {
		enc.reset()
		for ; len(rows) > 0 && hashPrefix(keys[rows[0]][:], s.B) == r; rows = rows[1:] {
			p := &records[rows[0]]
			masked = xorMask(masked[:0], p.Pattern)
			enc.add([]byte(p.Name), masked)
		}
		if err := asm.put(enc.bytes(), enc.rows()); err != nil {
			return err
		}
	}
	return asm.end()
}

// sortPatterns checks patterns and gives their keys, and their numbers in the order of these.
func sortPatterns(id SectionID, records []PatternRecord) (keys [][32]byte, rows []int32, err error) {
	if len(records) > MaxRows {
		return nil, nil, contentError(id.String(), "%d patterns, at most %d are allowed", len(records), MaxRows)
	}
	keys, rows = make([][32]byte, len(records)), make([]int32, len(records))
	for i := range records {
		p := &records[i]
		if err := CheckName(p.Name); err != nil {
			return nil, nil, contentError(id.String(), "%q: %v", p.Name, err)
		}
		if n := len(p.Pattern); n < 1 || n > MaxPattern {
			return nil, nil, contentError(id.String(), "%q: pattern of %d bytes, want 1 to %d", p.Name, n, MaxPattern)
		}
		keys[i], rows[i] = PatternKey(p.Name, p.Pattern), int32(i)
	}
	slices.SortFunc(rows, func(i, j int32) int { return bytes.Compare(keys[i][:], keys[j][:]) })
	for i := 1; i < len(rows); i++ {
		if keys[rows[i-1]] == keys[rows[i]] {
			return nil, nil, contentError(id.String(), "the same pattern stands twice under the name %q", records[rows[i]].Name)
		}
	}
	return keys, rows, nil
}

// placedOnce proves that no row of a placed section stands in both layers.
func placedOnce(c *Content) error {
	type key struct {
		hash [32]byte
		size uint32
	}
	for id, rest := range c.RestSections {
		light := make(map[key]bool, len(c.Sections[id]))
		for i := range c.Sections[id] {
			light[key{c.Sections[id][i].Hash, c.Sections[id][i].Size}] = true
		}
		for i := range rest {
			if light[key{rest[i].Hash, rest[i].Size}] {
				return contentError(id.String(), "the key %x, size %d stands in both layers", rest[i].Hash[:id.Algorithm().Size()], rest[i].Size)
			}
		}
	}
	for id, rest := range c.RestPatterns {
		light := make(map[[32]byte]bool, len(c.Patterns[id]))
		for i := range c.Patterns[id] {
			light[PatternKey(c.Patterns[id][i].Name, c.Patterns[id][i].Pattern)] = true
		}
		for i := range rest {
			if light[PatternKey(rest[i].Name, rest[i].Pattern)] {
				return contentError(id.String(), "a pattern with the name %q stands in both layers", rest[i].Name)
			}
		}
	}
	return nil
}

// addRows adds the rows of range r, which stand first, and gives the others.
func addRows(enc *rowEncoder, s SectionHeader, r uint64, records []Record, rows []int32) []int32 {
	a := s.ID.Algorithm()
	for len(rows) > 0 {
		rec := &records[rows[0]]
		hash := rec.Hash[:a.Size()]
		if hashPrefix(hash, s.B) != r {
			break
		}
		name := []byte(rec.Name)
		if isDefaultName(s.ID, hash, name) {
			name = nil
		}
		enc.add(hash, int(s.P), rec.Size, name)
		rows = rows[1:]
	}
	return rows
}

// split writes the blocks of a section that both layers share.
func (b *builder) split(s SectionHeader, records []Record, rows []int32) error {
	if err := b.light.begin(s); err != nil {
		return err
	}
	tail := s
	tail.K = 0
	if err := b.rest.begin(tail); err != nil {
		return err
	}
	var prefixes prefixEncoder
	var tails rowEncoder
	for r := range 1 << s.B {
		tails.reset()
		left := addRows(&tails, s, uint64(r), records, rows)
		if err := b.rest.put(tails.bytes(), tails.rows()); err != nil {
			return err
		}
		for _, i := range rows[:len(rows)-len(left)] {
			prefixes.add(hashPrefix(records[i].Hash[:], s.P))
		}
		prefixes.endRange()
		rows = left
		if (r+1)&(1<<s.K-1) == 0 {
			if err := b.light.put(prefixes.bytes(uint(s.P-s.B)), len(prefixes.low)); err != nil {
				return err
			}
			prefixes.reset()
		}
	}
	if err := b.light.end(); err != nil {
		return err
	}
	b.rest.section().Pair = b.light.h.Root(len(b.light.h.Sections) - 1)
	return b.rest.end()
}

// texts writes the ignore and selftest sections.
func (b *builder) texts(c *Content) error {
	names, err := canonicalIgnore(c.Ignore)
	if err != nil {
		return err
	}
	vectors, err := canonicalVectors(c.Vectors)
	if err != nil {
		return err
	}
	one := func(id SectionID, rows int, block []byte) error {
		if rows == 0 {
			return nil
		}
		if err := b.light.begin(SectionHeader{ID: id}); err != nil {
			return err
		}
		return contentFailure(id.String(), b.light.put(block, rows))
	}
	if err := one(ClassIgnore.Section(0), len(names), appendIgnore(nil, names)); err != nil {
		return err
	}
	return one(ClassSelfTest.Section(0), len(vectors), appendVectors(nil, vectors))
}

// sortRecords checks records and gives their numbers in the order of (hash, size).
// It spreads them by the first 16 bits first, which leaves little to sort for hashes.
func sortRecords(id SectionID, records []Record) ([]int32, error) {
	if len(records) > MaxRows {
		return nil, contentError(id.String(), "%d records, at most %d are allowed", len(records), MaxRows)
	}
	size := id.Algorithm().Size()
	starts := make([]int32, 1<<16+1)
	for i := range records {
		if err := checkRecord(id, &records[i]); err != nil {
			return nil, contentError(id.String(), "record %x: %v", records[i].Hash[:size], err)
		}
		starts[int(binary.BigEndian.Uint16(records[i].Hash[:]))+1]++
	}
	for i := range 1 << 16 {
		starts[i+1] += starts[i]
	}
	rows := make([]int32, len(records))
	next := slices.Clone(starts[:1<<16])
	for i := range records {
		k := binary.BigEndian.Uint16(records[i].Hash[:])
		rows[next[k]] = int32(i)
		next[k]++
	}
	compare := func(i, j int32) int {
		a, b := &records[i], &records[j]
		if c := bytes.Compare(a.Hash[:], b.Hash[:]); c != 0 {
			return c
		}
		return cmp.Compare(a.Size, b.Size)
	}
	for k := range 1 << 16 {
		if starts[k+1]-starts[k] > 1 {
			slices.SortFunc(rows[starts[k]:starts[k+1]], compare)
		}
	}
	for i := 1; i < len(rows); i++ {
		if compare(rows[i-1], rows[i]) == 0 {
			r := &records[rows[i]]
			return nil, contentError(id.String(), "two records have the key %x, size %d", r.Hash[:size], r.Size)
		}
	}
	return rows, nil
}

func checkRecord(id SectionID, r *Record) error {
	size := id.Algorithm().Size()
	for _, c := range r.Hash[size:] {
		if c != 0 {
			return fmt.Errorf("hash is longer than %d bytes", size)
		}
	}
	if most := id.maxSize(); r.Size > most {
		return fmt.Errorf("size %d, at most %d is allowed", r.Size, most)
	}
	if r.Name == "" {
		return nil
	}
	return CheckName(r.Name)
}
