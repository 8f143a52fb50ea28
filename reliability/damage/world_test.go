//go:build check

package damage_test

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// policy has some signatures whole in light, so that each class of sections is there.
const policy = "whole:\n  names: [\"Damage.Whole*\", \"PUA.Damage.Whole*\"]\n"

// An entry is one record that was published, with the answer that a look-up of it must have. It comes from the text of the
// sources, not from the files that are damaged.
type entry struct {
	id      dbformat.SectionID
	hash    []byte
	size    int64 // -1: any
	name    string
	verdict matcher.Verdict
}

// lookupSize is the size that a look-up of the record gives.
func (e *entry) lookupSize() int64 {
	if e.size < 0 {
		return 77
	}
	return e.size
}

// content is the text of sources by file name, and what is in it.
type content struct {
	files   map[string]string
	entries []entry
}

// newContent makes n signatures of every class and algorithm, some held whole by light, allow records and ignored names.
func newContent(of string, n int) *content {
	text := map[string]*strings.Builder{}
	add := func(file, format string, args ...any) {
		if text[file] == nil {
			text[file] = new(strings.Builder)
		}
		fmt.Fprintf(text[file], format+"\n", args...)
	}
	c := &content{files: map[string]string{}}
	record := func(class dbformat.Class, extension string, of []byte, size int64, name string) {
		verdict := matcher.Malicious
		if class == dbformat.ClassAllow {
			verdict = matcher.Allowed
		}
		a := dbformat.Algorithms()[int(of[len(of)-1])%3]
		var hash []byte
		switch s1, s2, s3 := md5.Sum(of), sha1.Sum(of), sha256.Sum256(of); a {
		case dbformat.MD5:
			hash = s1[:]
		case dbformat.SHA1:
			hash = s2[:]
		default:
			hash, size = s3[:], -1
		}
		c.entries = append(c.entries, entry{class.Section(a), hash, size, name, verdict})
		file := fmt.Sprintf("%s%d", a, class)
		if size < 0 {
			add(file+extension, "%x:*:%s:73", hash, name)
		} else {
			add(file+extension, "%x:%d:%s", hash, size, name)
		}
	}
	for i := range n {
		text, size := fmt.Appendf(nil, "%s %d", of, i), int64(i%5000+1)
		name := fmt.Sprintf("Damage.Family%d.%s-%d", i%97, of, i)
		switch {
		case i%50 == 1:
			record(dbformat.ClassWhole, ".hsb", text, size, "Damage.Whole."+name)
		case i%50 == 2:
			record(dbformat.ClassWholePUA, ".hsu", text, size, "PUA.Damage.Whole."+name)
		case i%5 == 0:
			record(dbformat.ClassPUA, ".hsu", text, size, "PUA."+name)
		default:
			record(dbformat.ClassHash, ".hsb", text, size, name)
		}
		if i%20 == 3 {
			record(dbformat.ClassAllow, ".sfp", fmt.Appendf(nil, "%s allowed %d", of, i), size, fmt.Sprintf("allowed-%d", i))
		}
		if i%1000 == 4 {
			add("names.ign2", "Damage.Ignored.%d", i)
		}
	}
	for name, b := range text {
		c.files[name] = b.String()
	}
	slices.SortFunc(c.entries, func(x, y entry) int {
		return cmp.Or(cmp.Compare(x.id, y.id), bytes.Compare(x.hash, y.hash))
	})
	return c
}

// A block is a stretch of a file whose bytes only certain look-ups read: a block of a layer, or a piece of the index.
type block struct {
	start, end int64 // in the file
	bytes      []byte
	entries    []entry // what look-ups of it must say, in the order of its rows
	row        func(b *block, at int) int
	opening    bool // also read when a generation is opened
}

// A file is one of a generation's, as it was installed.
type file struct {
	name   string // "light", "rest", "index"
	path   string
	keep   string // a second name of the same file
	whole  []byte
	blocks []block // ascending
}

// A generation is installed by the product itself: published, signed, fetched over a file source, decoded, activated.
type generation struct {
	dir   string
	all   []entry
	files []*file
}

// newGeneration installs the full variant of n signatures.
func newGeneration(t testing.TB, n int) *generation {
	t.Helper()
	c := newContent("world", n)
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	if r := p.Publish(c.files, p.WithPolicy(policy)); r.Rejected != 0 || r.Duplicates != 0 {
		t.Fatalf("the publisher takes %d lines for bad, %d for double", r.Rejected, r.Duplicates)
	}
	home := fixtures.MemoryDir(t)
	g := &generation{dir: filepath.Join(home, "state"), all: c.entries}
	e := fixtures.NewEndpoint(t, g.dir, p.Root(), nil, p.FileURL())
	if _, err := e.Update(updater.Options{}); err != nil {
		t.Fatal(err)
	}
	current, light, rest, err := e.Store.OpenCurrent()
	if err != nil {
		t.Fatal(err)
	}
	defer light.Close()
	defer rest.Close()
	key := "cl64-1-" + current.Light.Digest.String()
	index, err := e.Store.OpenIndex(key)
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	for name, path := range map[string]string{"light": light.Path(), "rest": rest.Path(), "index": index.Path()} {
		f := &file{name: name, path: path, keep: filepath.Join(home, name)}
		if f.whole, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(path, f.keep); err != nil {
			t.Fatal(err)
		}
		g.files = append(g.files, f)
	}
	slices.SortFunc(g.files, func(x, y *file) int { return cmp.Compare(len(x.whole), len(y.whole)) })
	g.file("light").addBlocks(t, light, g.all)
	g.file("rest").addBlocks(t, rest, g.all)
	g.file("index").addPieces(t, index, light.Header(), g.all)
	return g
}

func (g *generation) file(name string) *file {
	for _, f := range g.files {
		if f.name == name {
			return f
		}
	}
	return nil
}

// add finds the bytes in the file.
func (f *file) add(t testing.TB, from int64, b block) int64 {
	t.Helper()
	at := bytes.Index(f.whole[from:], b.bytes)
	if at < 0 {
		t.Fatalf("%s: bytes of block %d are not in the file", f.name, len(f.blocks))
	}
	b.bytes = bytes.Clone(b.bytes)
	b.start = from + int64(at)
	b.end = b.start + int64(len(b.bytes))
	f.blocks = append(f.blocks, b)
	return b.end
}

func (f *file) addBlocks(t testing.TB, l *store.LayerFile, all []entry) {
	t.Helper()
	h, from := l.Header(), int64(0)
	for i := range h.Sections {
		s := &h.Sections[i]
		for j := range s.Blocks {
			data, err := l.Block(i, j)
			if err != nil {
				t.Fatal(err)
			}
			b := block{bytes: data, opening: s.ID == dbformat.ClassIgnore.Section(0)}
			if s.ID.Rows() {
				b.entries = within(all, s.ID, uint64(j)<<(64-(s.B-s.K)), s.B-s.K)
				b.row = rowOf(h.Layer, s)
			}
			from = f.add(t, from, b)
		}
	}
}

// within are the entries of a section whose hashes begin with the first n bits of prefix.
func within(all []entry, id dbformat.SectionID, prefix uint64, n uint8) []entry {
	from, _ := slices.BinarySearchFunc(all, prefix, func(e entry, p uint64) int {
		return cmp.Or(cmp.Compare(e.id, id), cmp.Compare(binary.BigEndian.Uint64(e.hash), p))
	})
	to := from
	for to < len(all) && all[to].id == id && (n == 0 || binary.BigEndian.Uint64(all[to].hash)>>(64-n) == prefix>>(64-n)) {
		to++
	}
	return all[from:to]
}

// rowOf tells which row of a block a byte belongs to. The publisher's own self-test signature may stand before it: rows are
// right but for one.
func rowOf(l dbformat.Layer, s *dbformat.SectionHeader) func(b *block, at int) int {
	if s.ID.Split() && l == dbformat.Light {
		return func(_ *block, at int) int { return max(0, at-4<<s.K) * 8 / int(s.P-s.B) }
	}
	return func(b *block, at int) int {
		rows, width := int(binary.BigEndian.Uint32(b.bytes)), int(b.bytes[4])
		key := 8*s.ID.Algorithm().Size() - int(s.P)
		keys := (rows*key + 7) / 8
		switch at -= 5; {
		case at < keys:
			return max(0, at) * 8 / key
		case at < keys+rows*width:
			return (at - keys) / width
		case at < keys+rows*width+rows:
			return at - keys - rows*width
		}
		lengths := b.bytes[5+keys+rows*width:]
		at -= keys + rows*width + rows
		row := 0
		for row < rows-1 && at >= int(lengths[row]) {
			at -= int(lengths[row])
			row++
		}
		return row
	}
}

// addPieces finds the pieces of the index. Each has 1024 lines of 64 bytes, a section after the other, 20 rows a line.
func (f *file) addPieces(t testing.TB, x *store.IndexFile, h *dbformat.Header, all []entry) {
	t.Helper()
	var byLine [][]entry // what has its tag in each line
	for i := range h.Sections {
		s := &h.Sections[i]
		if !s.ID.Rows() {
			continue
		}
		lines := (s.Rows() + 19) / 20
		first := len(byLine)
		byLine = append(byLine, make([][]entry, lines)...)
		for _, e := range within(all, s.ID, 0, 0) {
			key := binary.BigEndian.Uint64(e.hash)
			if s.P > 0 {
				key &^= 1<<(64-s.P) - 1
			}
			line, _ := bits.Mul64(key, lines)
			byLine[first+int(line)] = append(byLine[first+int(line)], e)
		}
	}
	from := int64(0)
	for i := range x.Pieces() {
		data, err := x.Piece(i)
		if err != nil {
			t.Fatal(err)
		}
		b := block{bytes: data, opening: i == 0}
		if i > 0 {
			lines := byLine[(i-1)*1024:][:len(data)/64]
			starts := make([]int, len(lines))
			for j, line := range lines {
				starts[j] = len(b.entries)
				b.entries = append(b.entries, line...)
			}
			b.row = func(b *block, at int) int { return starts[at/64] + max(0, at%64-4)/2 }
		}
		from = f.add(t, from, b)
	}
}
