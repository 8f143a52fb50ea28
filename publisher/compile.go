package publisher

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"

	"example.org/avdb/dbformat"
)

// layers lists both layers.
var layers = []dbformat.Layer{dbformat.Light, dbformat.Rest}

// Compiled is what sources say under a policy: the content of a release, and what became of their lines.
type Compiled struct {
	Counts
	Rejects    []Reject          // by file in the order of reading, then by line
	RejectedBy map[string]uint64 // how many there are of each kind; of most kinds that is the reason
	Content    *dbformat.Content
}

// Compile reads the sources (files and folders), judges every line, and puts the valid ones together under the policy. A
// nil policy is the default one. The content depends on neither the order of files nor that of lines.
//
// Errors match [ErrSources]: a source that cannot be read to its end (no release is made of a part), an argument of
// unknown kind, or nothing that was accepted; in the last case Compiled is given too, without content, since its rejects say why.
func Compile(ctx context.Context, sources []string, policy *Policy) (*Compiled, error) {
	return compile(ctx, sources, policy, nil, func(done, total int) {})
}

// compile is Compile; what held tells to be whole stays whole.
func compile(ctx context.Context, sources []string, policy *Policy, held map[wholeKey]bool, progress func(done, total int)) (*Compiled, error) {
	if policy == nil {
		policy = DefaultPolicy()
	}
	if len(sources) == 0 {
		return nil, &SourceError{Reason: "none given, name files or folders"}
	}
	files, rejects, err := findSources(sources)
	if err != nil {
		return nil, err
	}
	in := &intake{rejects: rejects, rejectedBy: map[string]uint64{}, ignore: map[string]*ignoreRule{},
		reserved: reservedKeys(), reservedPE: reservedSections(), reservedURLs: reservedURLs()}
	in.Rejected = uint64(len(rejects))
	for _, r := range rejects {
		in.rejectedBy[r.Reason]++
	}
	if err := in.read(ctx, files, progress); err != nil {
		return nil, err
	}
	out := &Compiled{Counts: in.Counts, Rejects: in.rejects, RejectedBy: in.rejectedBy}
	if in.Accepted == 0 {
		return out, &SourceError{Reason: "no line was accepted" + firstReject(in.rejects)}
	}
	out.Content, out.Duplicates = in.content(policy, held)
	addSelfTest(out.Content)
	return out, nil
}

func firstReject(rejects []Reject) string {
	if len(rejects) == 0 {
		return ": they hold nothing but blank lines and comments"
	}
	r := rejects[0]
	return ", the first reject: " + r.String()
}

// String is the reject as one line: FILE:LINE: REASON.
func (r Reject) String() string {
	if r.Line == 0 {
		return r.File + ": " + r.Reason
	}
	return r.File + ":" + strconv.Itoa(r.Line) + ": " + r.Reason
}

// content puts the tables together, which it uses up.
func (in *intake) content(policy *Policy, held map[wholeKey]bool) (c *dbformat.Content, duplicates uint64) {
	c = &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}, RestSections: map[dbformat.SectionID][]dbformat.Record{},
		Patterns: map[dbformat.SectionID][]dbformat.PatternRecord{}, RestPatterns: map[dbformat.SectionID][]dbformat.PatternRecord{}}
	put := func(class dbformat.Class, a dbformat.Algorithm, records []dbformat.Record) {
		if len(records) > 0 {
			c.Sections[class.Section(a)] = records
		}
	}
	for _, a := range dbformat.Algorithms() {
		var kept [families][]dbformat.Record
		var whole [families][]dbformat.Record
		for f := range families {
			records := in.tables[f][a].sorted()
			before := len(records)
			if f == familyPUA {
				records = without(without(records, kept[familyNormal]), whole[familyNormal])
			}
			var isWhole func(*dbformat.Record) bool
			if f != familyAllow {
				isWhole = policy.wholeFunc(dbformat.ClassHash, a, held)
			}
			kept[f], whole[f] = unique(records, isWhole)
			duplicates += uint64(before - len(kept[f]) - len(whole[f]))
		}
		put(dbformat.ClassHash, a, kept[familyNormal])
		put(dbformat.ClassPUA, a, kept[familyPUA])
		put(dbformat.ClassWhole, a, whole[familyNormal])
		put(dbformat.ClassWholePUA, a, whole[familyPUA])
		put(dbformat.ClassAllow, a, kept[familyAllow])
		duplicates += in.placeSections(c, a, policy.wholeFunc(dbformat.ClassPESection, a, held))
	}
	duplicates += in.placePatterns(c, policy, held)
	urls := in.urls.sorted()
	kept, _ := unique(urls, nil)
	duplicates += uint64(len(urls) - len(kept))
	put(urlSection.Class(), urlSection.Algorithm(), kept)
	for _, name := range slices.Sorted(maps.Keys(in.ignore)) {
		if in.ignore[name].all {
			c.Ignore = append(c.Ignore, name)
		}
	}
	return c, duplicates
}

// placeSections puts the hashes of sections of PE files into c: those of which isWhole holds into light, all others, which are whole as well, into rest.
func (in *intake) placeSections(c *dbformat.Content, a dbformat.Algorithm, isWhole func(*dbformat.Record) bool) (duplicates uint64) {
	var rest, light [familyPUA + 1][]dbformat.Record
	for f, class := range []dbformat.Class{dbformat.ClassPESection, dbformat.ClassPESectionPUA} {
		records := in.sections[f][a].sorted()
		before := len(records)
		if f == int(familyPUA) {
			records = without(without(records, rest[familyNormal]), light[familyNormal])
		}
		rest[f], light[f] = unique(records, isWhole)
		duplicates += uint64(before - len(rest[f]) - len(light[f]))
		if len(light[f]) > 0 {
			c.Sections[class.Section(a)] = light[f]
		}
		if len(rest[f]) > 0 {
			c.RestSections[class.Section(a)] = rest[f]
		}
	}
	return duplicates
}

// unique keeps the first of the records that have one key, in place, and puts those aside of which isWhole holds
// for any name that the sources give the key. isWhole may be nil.
func unique(records []dbformat.Record, isWhole func(*dbformat.Record) bool) (kept, whole []dbformat.Record) {
	kept = records[:0]
	for i := 0; i < len(records); {
		first, aside := records[i], isWhole != nil && isWhole(&records[i])
		for i++; i < len(records) && compareKeys(&records[i], &first) == 0; i++ {
			aside = aside || isWhole != nil && isWhole(&records[i])
		}
		if aside {
			whole = append(whole, first)
		} else {
			kept = append(kept, first)
		}
	}
	clear(records[len(kept):])
	return kept, whole
}

// without removes, in place, the records whose keys stand in other. Both are sorted.
func without(records, other []dbformat.Record) []dbformat.Record {
	kept := records[:0]
	for i := range records {
		for len(other) > 0 && compareKeys(&other[0], &records[i]) < 0 {
			other = other[1:]
		}
		if len(other) == 0 || compareKeys(&other[0], &records[i]) != 0 {
			kept = append(kept, records[i])
		}
	}
	return kept
}

// compareKeys orders by hash, then by size.
func compareKeys(x, y *dbformat.Record) int {
	a, b := binary.BigEndian.Uint64(x.Hash[:8]), binary.BigEndian.Uint64(y.Hash[:8])
	if a != b {
		if a < b {
			return -1
		}
		return 1
	}
	if c := bytes.Compare(x.Hash[8:], y.Hash[8:]); c != 0 {
		return c
	}
	if x.Size != y.Size {
		if x.Size < y.Size {
			return -1
		}
		return 1
	}
	return 0
}

// compareRecords orders by key, then by name in byte order. A record without a name comes last: it has no
// name that could win over one that somebody gave.
func compareRecords(x, y *dbformat.Record) int {
	if c := compareKeys(x, y); c != 0 {
		return c
	}
	if (x.Name == "") != (y.Name == "") {
		if x.Name == "" {
			return 1
		}
		return -1
	}
	return strings.Compare(x.Name, y.Name)
}
