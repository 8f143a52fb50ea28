package ksn_test

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"example.org/avdb/dbformat"
)

// policy has signatures whole by name, and no guard in the way of what is made at random.
const policy = "whole: {names: [\"Held.*\"]}\nguards: {removed_percent: 100, allow_added: 1000000}\n"

// ignored are the names that the database ignores.
var ignored = []string{"Bad.Ignored", "Held.Ignored", "Bad.7"}

// contentOf is the content of a file: of 8 to 71 bytes, never the same for two numbers.
func contentOf(rng *rand.Rand, i int) []byte {
	b := make([]byte, 8+rng.IntN(64))
	for j := range b {
		b[j] = byte(rng.Uint32())
	}
	binary.BigEndian.PutUint32(b, uint32(i))
	return b
}

func sumOf(a dbformat.Algorithm, b []byte) []byte {
	switch a {
	case dbformat.MD5:
		s := md5.Sum(b)
		return s[:]
	case dbformat.SHA1:
		s := sha1.Sum(b)
		return s[:]
	}
	s := sha256.Sum256(b)
	return s[:]
}

// A maker writes the sources of a database about files.
type maker struct {
	rng   *rand.Rand
	lines map[string]*strings.Builder // by extension
	kinds map[string]int
}

func newMaker(rng *rand.Rand) *maker {
	m := &maker{rng, map[string]*strings.Builder{}, map[string]int{}}
	m.line(".ign2", strings.Join(ignored, "\n"))
	return m
}

func (m *maker) line(ext, text string) {
	if m.lines[ext] == nil {
		m.lines[ext] = &strings.Builder{}
	}
	m.lines[ext].WriteString(text + "\n")
}

func (m *maker) files() map[string]string {
	all := map[string]string{}
	for ext, b := range m.lines {
		all["a"+ext] = b.String()
	}
	return all
}

// about adds one record at random about a file: its extension says what it is, its size and hash whether it covers the file or nearly does.
func (m *maker) about(b []byte) {
	a := dbformat.Algorithms()[m.rng.IntN(len(dbformat.Algorithms()))]
	sum := sumOf(a, b)
	name := fmt.Sprintf("Bad.%d", m.rng.IntN(20))
	class := "signature"
	ext := map[bool]string{true: ".hdb", false: ".hsb"}[a == dbformat.MD5]
	switch m.rng.IntN(10) {
	case 0, 1:
		class, ext = "pua", map[bool]string{true: ".hdu", false: ".hsu"}[a == dbformat.MD5]
	case 2, 3:
		class, ext, name = "allow", map[bool]string{true: ".fp", false: ".sfp"}[a == dbformat.MD5], "Good"
	case 4:
		class, name = "ignored", ignored[m.rng.IntN(len(ignored))]
	case 5:
		class, name = "whole", fmt.Sprintf("Held.%d", m.rng.IntN(20))
	}
	size, suffix, covers := fmt.Sprint(len(b)), "", "size"
	switch m.rng.IntN(5) {
	case 0:
		size, covers = fmt.Sprint(len(b)+1), "wrong size"
	case 1, 2:
		if class != "allow" || a == dbformat.SHA256 {
			size, suffix, covers = "*", ":73", "any size"
		}
	}
	if m.rng.IntN(4) == 0 { // the same prefix, another hash
		sum = append([]byte(nil), sum...)
		sum[len(sum)-1] ^= 1
		covers = "neighbour"
	}
	m.line(ext, fmt.Sprintf("%x:%s:%s%s", sum, size, name, suffix))
	m.kinds[fmt.Sprintf("%s %s, %s", class, a, covers)]++
}
