package publisher

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"example.org/avdb/dbformat"
	"example.org/avdb/urlhash"
)

// selfTestPrefix begins the name of each signature that the publisher adds. The section follows.
const selfTestPrefix = "Avdb.SelfTest."

// urlSection is the section of URLs.
const urlSection = dbformat.SectionID(dbformat.ClassURL)<<8 | dbformat.SectionID(dbformat.SHA256)

// placed lists the sections whose rows stand in one of both layers each.
var placed = slices.DeleteFunc(dbformat.AllSections(), func(id dbformat.SectionID) bool { return !id.Placed() })

// The URL that the self-test signature of urlSection detects, and its expression. Nobody can own a host in .invalid. It must never
// change, as little as selfTestContent.
const (
	selfTestURL        = "http://" + selfTestExpression
	selfTestExpression = "self-test.avdb.invalid/no-threat"
)

// detecting lists the classes of signatures of files in the order of their ids.
var detecting = []dbformat.Class{dbformat.ClassHash, dbformat.ClassPUA, dbformat.ClassWhole, dbformat.ClassWholePUA}

// selfTestContent is the fixed public content that the self-test signature of a section about files detects. It
// must never change: releases are compared by their digests.
func selfTestContent(section string) []byte {
	return []byte("This is no virus. avdb tests its section " + section + " with this text: a database that does not detect it is broken.\n")
}

// benignWanted is the number of contents in a release that it must not report, benignSpares how many there are to choose from, and as many URLs.
const (
	benignWanted = 2
	benignSpares = 16
)

// benignContent is the i-th content that no generation may report.
func benignContent(i int) []byte {
	return fmt.Appendf(nil, "avdb tests with text number %d that a database does not detect everything.\n", i)
}

// benignContents picks contents that no prefix in light hits. A hit needs a hash that agrees with a signature's in as
// many bits as there are rows, and 20 more, which is at most the width of prefixes: one chance in a million for each.
func benignContents(c *dbformat.Content) (picked [][]byte) {
	suspected := suspects(c)
	for i := 0; i < benignSpares && len(picked) < benignWanted; i++ {
		if content := benignContent(i); !suspected(content) {
			picked = append(picked, content)
		}
	}
	return picked
}

// suspects gives a function that tells whether a prefix in light may hit content.
func suspects(c *dbformat.Content) func(content []byte) bool {
	var rows uint64
	ofFiles := map[dbformat.SectionID][]dbformat.Record{}
	for id, records := range c.Sections {
		if id.Detects() && id.OfFiles() {
			rows += uint64(len(records))
			ofFiles[id] = records
		}
	}
	width := bits.Len64(max(rows, 1)-1) + 20 // ceil(log2 rows), as prefixes are chosen
	return func(content []byte) bool {
		for id, records := range ofFiles {
			if prefixHit(records, sum(id.Algorithm(), content), width) {
				return true
			}
		}
		return false
	}
}

// benignURL is the i-th URL that no generation may report, as it is looked up and as its only expression. Each has a domain of its own, so that
// nothing that a source may list stands for all of them.
func benignURL(i int) (url, expression string) {
	expression = fmt.Sprintf("avdb-no-threat-%d.invalid/", i)
	return "http://" + expression, expression
}

// benignURLContent picks the first benign URL that no prefix in light hits, nil if there is none. As with files the width is at most that of
// prefixes, whichever release it was chosen for: the choice depends on the records alone.
func benignURLContent(records []dbformat.Record) []byte {
	width := bits.Len64(uint64(len(records))*urlhash.MaxExpressions-1) + 20
	for i := range benignSpares {
		if url, expression := benignURL(i); !prefixHit(records, urlhash.HashOf(expression), width) {
			return []byte(url)
		}
	}
	return nil
}

// prefixHit tells whether the first width bits (at most 64) of hash are those of one of the sorted records.
func prefixHit(records []dbformat.Record, hash [32]byte, width int) bool {
	first := func(h [32]byte) uint64 { return binary.BigEndian.Uint64(h[:]) >> (64 - width) }
	want := first(hash)
	i := sort.Search(len(records), func(i int) bool { return first(records[i].Hash) >= want })
	return i < len(records) && first(records[i].Hash) == want
}

// sum hashes b; the bytes after the algorithm's size are zero.
func sum(a dbformat.Algorithm, b []byte) (h [32]byte) {
	switch a {
	case dbformat.MD5:
		s := md5.Sum(b)
		copy(h[:], s[:])
	case dbformat.SHA1:
		s := sha1.Sum(b)
		copy(h[:], s[:])
	case dbformat.SHA256:
		h = sha256.Sum256(b)
	}
	return h
}

// reservedKeys are the hashes of all self-test content, whether this release uses it or not. A record of
// one in a source would make a vector fail, so that no endpoint would take the release.
func reservedKeys() map[reservedKey]bool {
	return keysOf(append(selfTestTexts(), selfTestPrograms()...))
}

// reservedSections are the hashes of the sections of all self-test programs.
func reservedSections() map[reservedKey]bool {
	var data [][]byte
	for _, p := range selfTestPrograms() {
		data = append(data, programSection(p))
	}
	return keysOf(data)
}

// keysOf are the hashes of each of the contents.
func keysOf(contents [][]byte) map[reservedKey]bool {
	keys := map[reservedKey]bool{}
	for _, b := range contents {
		for _, a := range dbformat.Algorithms() {
			keys[reservedKey{a, sum(a, b)}] = true
		}
	}
	return keys
}

// selfTestTexts are the contents of all vectors that are text.
func selfTestTexts() (all [][]byte) {
	for i := range benignSpares {
		all = append(all, benignContent(i))
	}
	for _, c := range slices.Concat(detecting, []dbformat.Class{dbformat.ClassAllow}) {
		for _, a := range dbformat.Algorithms() {
			all = append(all, selfTestContent(c.Section(a).String()))
		}
	}
	for _, id := range placed {
		for _, l := range layers {
			if id.OfPatterns() {
				all = append(all, placedContent(id, l))
			}
		}
	}
	return all
}

// selfTestPrograms are the contents of all vectors that are programs.
func selfTestPrograms() (all [][]byte) {
	for _, l := range layers {
		all = append(all, placedContent(dbformat.ClassPESection.Section(dbformat.SHA256), l))
	}
	return append(all, benignProgram())
}

// reservedURLs are the hashes of all self-test URLs, for the same reason.
func reservedURLs() map[urlhash.Hash]bool {
	hashes := map[urlhash.Hash]bool{urlhash.HashOf(selfTestExpression): true}
	for i := range benignSpares {
		_, expression := benignURL(i)
		hashes[urlhash.HashOf(expression)] = true
	}
	return hashes
}

// addSelfTest adds to each section with signatures one over its own fixed content, and to each section
// of allow records one that cancels a signature; and the vectors that say what must come of them.
//
// A vector states what a matcher with PUA reporting switched on must find: sections of potentially unwanted
// applications are tested as well as all others.
func addSelfTest(c *dbformat.Content) {
	var ids []dbformat.SectionID
	for id, records := range c.Sections {
		if id.Detects() && !id.Placed() && len(records) > 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		content := selfTestContent(id.String())
		if id.OfURLs() {
			content = []byte(selfTestURL)
		}
		addSelfTestRecord(c, id, id.String(), content)
		light := dbformat.ExpectMalicious
		if id.Split() {
			light = dbformat.ExpectSuspected
		}
		c.Vectors = append(c.Vectors, dbformat.Vector{Section: id.String(), Content: content, Light: light, Full: dbformat.ExpectMalicious})
	}
	for _, a := range dbformat.Algorithms() {
		allow := dbformat.ClassAllow.Section(a)
		if len(c.Sections[allow]) == 0 {
			continue
		}
		// An allow record cancels signatures of its own and weaker kinds: it is tested against the strongest of them.
		hit, ok := strongest(ids, a)
		if !ok {
			continue
		}
		content := selfTestContent(allow.String())
		addSelfTestRecord(c, allow, allow.String(), content)
		addSelfTestRecord(c, hit, allow.String(), content)
		c.Vectors = append(c.Vectors, dbformat.Vector{Section: allow.String(), Content: content,
			Light: dbformat.ExpectAllowed, Full: dbformat.ExpectAllowed})
	}
	addPlacedTests(c)
	for _, b := range benignContents(c) {
		c.Vectors = append(c.Vectors, dbformat.Vector{Content: b, Light: dbformat.ExpectClean, Full: dbformat.ExpectClean})
	}
	if urls := c.Sections[urlSection]; len(urls) > 0 {
		if b := benignURLContent(urls); b != nil {
			c.Vectors = append(c.Vectors, dbformat.Vector{Section: urlSection.String(), Content: b, Light: dbformat.ExpectClean, Full: dbformat.ExpectClean})
		}
	}
}

// strongest is the section with signatures of files whose algorithm is the strongest that is not above a.
func strongest(ids []dbformat.SectionID, a dbformat.Algorithm) (best dbformat.SectionID, ok bool) {
	for _, id := range ids {
		if id.OfFiles() && id.Algorithm() <= a && (!ok || id.Algorithm() > best.Algorithm()) {
			best, ok = id, true
		}
	}
	return best, ok
}

// addSelfTestRecord inserts a record where the section's order has it.
func addSelfTestRecord(c *dbformat.Content, id dbformat.SectionID, name string, content []byte) {
	r := dbformat.Record{Hash: sum(id.Algorithm(), content), Size: uint32(len(content)), Name: selfTestPrefix + name}
	if id.OfURLs() {
		r.Hash, r.Size = urlhash.HashOf(selfTestExpression), dbformat.AnySize
	}
	records := c.Sections[id]
	i := sort.Search(len(records), func(i int) bool { return compareKeys(&records[i], &r) >= 0 })
	c.Sections[id] = slices.Insert(records, i, r)
}
