package publisher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sort"
	"strings"

	"example.org/avdb/dbformat"
)

// ErrGuard is matched by the error of a release that a guard refuses: exit 16.
var ErrGuard = errors.New("refused by a guard")

// A GuardError names what a release would do beyond the guards. It matches [ErrGuard].
type GuardError struct {
	Broken []BrokenGuard // at least one
}

// A BrokenGuard is one guard that refuses, with its figures.
type BrokenGuard struct {
	Guard   string         // its key in the policy file: "removed_percent" or "allow_added"
	Layer   dbformat.Layer // that would lose records
	Changed uint64         // records that would go (removed_percent) or come (allow_added)
	Records uint64         // of the layer in the previous release
	Limit   uint64         // percent, or records
	Err     error          // why the previous release could not be read, so that nothing was counted; else nil
}

func (b BrokenGuard) String() string {
	switch {
	case b.Err != nil:
		return fmt.Sprintf("what it removes cannot be counted, the previous release's %s layer cannot be read: %v", b.Layer, b.Err)
	case b.Guard == guardAllow:
		return fmt.Sprintf("it adds %d allow records, at most %d are allowed", b.Changed, b.Limit)
	}
	percent := 100 * float64(b.Changed) / float64(b.Records)
	return fmt.Sprintf("it removes %d of %d records of %s (%.1f %%), at most %d %% are allowed", b.Changed, b.Records, b.Layer, percent, b.Limit)
}

// Keys of guards in a policy file.
const (
	guardRemoved = "removed_percent"
	guardAllow   = "allow_added"
	guardMin     = "min_records"
)

func (e *GuardError) Error() string {
	var said []string
	keys := map[string]bool{}
	for _, b := range e.Broken {
		said = append(said, b.String())
		if keys[b.Guard] = true; b.Err != nil {
			keys[guardMin] = true
		}
	}
	var raise []string
	for _, k := range []string{guardRemoved, guardAllow, guardMin} {
		if keys[k] {
			raise = append(raise, "guards."+k)
		}
	}
	return "release refused by a guard: " + strings.Join(said, "; ") +
		"; check the sources, and if this is meant, raise " + strings.Join(raise, " and ") + " in the policy file for this release"
}

// Is matches [ErrGuard].
func (e *GuardError) Is(target error) bool { return target == ErrGuard }

// A change is what a release does to the records of the one before.
type change struct {
	removedLight, removedRest uint64
	allowAdded                uint64
}

// check compares a change with the guards; records are those of the previous release's layers.
func (g Guards) check(c change, light, rest uint64) error {
	var broken []BrokenGuard
	removed := func(l dbformat.Layer, n, of uint64) {
		if of >= g.MinRecords && of > 0 && float64(n)*100 > float64(g.RemovedPercent)*float64(of) {
			broken = append(broken, BrokenGuard{Guard: guardRemoved, Layer: l, Changed: n, Records: of, Limit: uint64(g.RemovedPercent)})
		}
	}
	removed(dbformat.Light, c.removedLight, light)
	removed(dbformat.Rest, c.removedRest, rest)
	if light >= g.MinRecords && c.allowAdded > g.AllowAdded {
		broken = append(broken, BrokenGuard{Guard: guardAllow, Layer: dbformat.Light, Changed: c.allowAdded, Records: light, Limit: g.AllowAdded})
	}
	if broken == nil {
		return nil
	}
	return &GuardError{Broken: broken}
}

// compare counts what changes from the layers of the previous release to content, whose sections are sorted. A signature that
// moves between sections (whole or not, unwanted or not) stays in light, and leaves rest if its new section is not split.
func compare(light, rest dbformat.LayerReader, content *dbformat.Content) (c change, err error) {
	kept := map[dbformat.SectionID]uint64{}
	for i := range light.Header().Sections {
		id := light.Header().Sections[i].ID
		if !id.Rows() {
			continue
		}
		records := content.Sections[id]
		for r, err := range layerRecords(light, rest, i) {
			if err != nil {
				return change{}, err
			}
			for len(records) > 0 && compareKeys(&records[0], &r) < 0 {
				records = records[1:]
			}
			if len(records) > 0 && compareKeys(&records[0], &r) == 0 {
				kept[id]++
				continue
			}
			inLight, inRest := false, false
			if id.Detects() {
				inLight, inRest = elsewhere(content, id.Algorithm(), &r)
			}
			if !inLight {
				c.removedLight++
			}
			if id.Split() && !inRest {
				c.removedRest++
			}
		}
	}
	for _, a := range dbformat.Algorithms() {
		id := dbformat.ClassAllow.Section(a)
		c.allowAdded += uint64(len(content.Sections[id])) - kept[id]
	}
	return c, nil
}

// elsewhere tells in which layers any section of signatures has the key of r.
func elsewhere(content *dbformat.Content, a dbformat.Algorithm, r *dbformat.Record) (light, rest bool) {
	for _, class := range detecting {
		id := class.Section(a)
		records := content.Sections[id]
		i := sort.Search(len(records), func(i int) bool { return compareKeys(&records[i], r) >= 0 })
		if i < len(records) && compareKeys(&records[i], r) == 0 {
			light, rest = true, rest || id.Split()
		}
	}
	return light, rest
}

// layerRecords gives the keys of section i of light in their order, without names. It reads rest for a split section.
func layerRecords(light, rest dbformat.LayerReader, i int) iter.Seq2[dbformat.Record, error] {
	s := &light.Header().Sections[i]
	if s.ID.Split() {
		return splitRecords(light, rest, i)
	}
	return func(yield func(dbformat.Record, error) bool) {
		for n := range s.Blocks {
			data, err := light.Block(i, n)
			if err != nil {
				yield(dbformat.Record{}, err)
				return
			}
			b, err := dbformat.ParseRecordBlock(data, s, n)
			if err != nil {
				yield(dbformat.Record{}, err)
				return
			}
			for row := range b.Rows() {
				r := dbformat.Record{Size: b.Size(row)}
				b.Hash(row, &r.Hash)
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

func splitRecords(light, rest dbformat.LayerReader, i int) iter.Seq2[dbformat.Record, error] {
	s := &light.Header().Sections[i]
	return func(yield func(dbformat.Record, error) bool) {
		fail := func(err error) { yield(dbformat.Record{}, err) }
		ri, rs, ok := rest.Header().Section(s.ID)
		if !ok {
			fail(fmt.Errorf("section %s is not in rest", s.ID))
			return
		}
		var prefixes []uint64
		for n := range s.Blocks {
			data, err := light.Block(i, n)
			if err != nil {
				fail(err)
				return
			}
			b, err := dbformat.ParsePrefixBlock(data, s, n)
			if err != nil {
				fail(err)
				return
			}
			prefixes = b.AppendPrefixes(prefixes[:0])
			for r := range b.Ranges() {
				first, end := b.Range(r)
				data, err := rest.Block(ri, b.FirstRange()+r)
				if err != nil {
					fail(err)
					return
				}
				tails, err := dbformat.ParseTailBlock(data, rs, b.FirstRange()+r)
				if err == nil && tails.Rows() != end-first {
					err = fmt.Errorf("section %s range %d: light has %d rows, rest %d", s.ID, b.FirstRange()+r, end-first, tails.Rows())
				}
				if err != nil {
					fail(err)
					return
				}
				for row := range tails.Rows() {
					rec := dbformat.Record{Size: tails.Size(row)}
					binary.BigEndian.PutUint64(rec.Hash[:], prefixes[first+row]<<(64-s.P))
					tails.Hash(row, &rec.Hash)
					if !yield(rec, nil) {
						return
					}
				}
			}
		}
	}
}
