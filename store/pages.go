package store

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its pages: a page that is its own child makes it recurse until the process dies, which
// no recover can stop. checkPages reads the page tree without bbolt and refuses what is not a tree
// inside the file. It does not look at keys and values.
//
// The format (bbolt 1.5, file format 2, integers in the byte order of the machine, which is little-endian on each
// that we build for):
//
//	page     u64 id, u16 flags, u16 count, u32 overflow, then the elements
//	branch   count × (u32 pos, u32 key size, u64 child), pos counted from the element
//	leaf     count × (u32 flags, u32 pos, u32 key size, u32 value size); flags 1: the value is a bucket
//	bucket   u64 root page (0: the page follows inline), u64 sequence
//	free     count × u64 page; count 0xffff: the first u64 is the count
//	meta     after the page header: u32 magic, version, page size, flags, bucket root, u64 free list, u64 number
//	         of pages, u64 transaction, u64 FNV-1a of what is before
const (
	boltMagic     = 0xED0CDAED
	boltVersion   = 2
	boltPageSize  = 4096 // of every file that we make
	boltHeader    = 16
	boltElement   = 16
	boltMetaSum   = 56
	boltBranch    = 0x01
	boltLeaf      = 0x02
	boltMetaPage  = 0x04
	boltFreeList  = 0x10
	boltBucket    = 0x01
	maxBoltDepth  = 24
	maxBoltLevels = 4 // buckets in buckets
)

type boltMeta struct {
	root, free, pages, tx uint64
}

// pageChecker walks one file.
type pageChecker struct {
	r     io.ReaderAt
	pages uint64   // pages of the file, the bound of every page id
	seen  []uint64 // a bit for each page that the walk met
	spare [][]byte // room for beginnings of pages
}

// checkPages tells why bbolt must not see the file of this size. A finished file was written once and is complete:
// both of its meta pages are sound and it ends with its last page.
func checkPages(r io.ReaderAt, size int64, finished bool) error {
	m, err := checkMetas(r, size, finished)
	if err != nil {
		return err
	}
	c := &pageChecker{r: r, pages: m.pages, seen: make([]uint64, (m.pages+63)/64)}
	if err := c.page(m.root, 0, 0); err != nil {
		return err
	}
	return c.freeList(m.free)
}

// checkMetas is the part of checkPages that looks at the meta pages and at the length of the file. It gives the meta page that bbolt goes by.
func checkMetas(r io.ReaderAt, size int64, finished bool) (m boltMeta, err error) {
	if size < 4*boltPageSize || (finished && size%boltPageSize != 0) {
		return m, fmt.Errorf("%d bytes are no whole bbolt file", size)
	}
	var metas []boltMeta
	for i := range int64(2) {
		m, taken, err := readMeta(r, i)
		if err != nil && (finished || taken) {
			return m, err
		}
		if err == nil {
			metas = append(metas, m)
		}
	}
	if len(metas) == 0 {
		return m, fmt.Errorf("no sound meta page")
	}
	m = metas[0]
	if len(metas) == 2 && metas[1].tx > m.tx {
		m = metas[1]
	}
	have := uint64(size) / boltPageSize
	if m.pages > have || (finished && m.pages != have) {
		return m, fmt.Errorf("%d bytes, but the last page is number %d", size, m.pages-1)
	}
	return m, nil
}

// freeList checks the page that lists the free ones: one that is also in use, or outside, would be written to.
func (c *pageChecker) freeList(id uint64) error {
	p, err := c.look(id)
	if err == nil {
		err = c.takeAll(&p)
	}
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	at, count := int64(id)*boltPageSize+boltHeader, uint64(p.count)
	if count == 0xffff { // then the first entry is the number
		var b [8]byte
		if _, err := c.r.ReadAt(b[:], at); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		at, count = at+8, le.Uint64(b[:])
	}
	if p.flags != boltFreeList || count > p.length/8-4 {
		return fmt.Errorf("page %d is no sound free list", id)
	}
	list := make([]byte, 8*count)
	if _, err := c.r.ReadAt(list, at); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i := range count {
		p := le.Uint64(list[8*i:])
		if p < 2 || p >= c.pages || !c.take(p) {
			return fmt.Errorf("page %d lists page %d as free", id, p)
		}
	}
	return nil
}

// take marks a page as used and tells whether it was not.
func (c *pageChecker) take(p uint64) bool {
	if c.seen[p/64]&(1<<(p%64)) != 0 {
		return false
	}
	c.seen[p/64] |= 1 << (p % 64)
	return true
}

// A boltPage is a page that was read without bbolt.
type boltPage struct {
	id     uint64
	length uint64 // of it and of the pages that overflow from it
	flags  uint16
	count  int
	b      []byte // its beginning, with all elements of a branch or leaf
}

// look reads page id: its header is sound and its elements, if it is a branch or a leaf, lie inside.
func (c *pageChecker) look(id uint64) (p boltPage, err error) {
	if id < 2 || id >= c.pages {
		return p, fmt.Errorf("page %d of %d", id, c.pages)
	}
	p = boltPage{id: id, b: c.room()}
	if _, err := c.r.ReadAt(p.b, int64(id)*boltPageSize); err != nil {
		return p, fmt.Errorf("page %d: %w", id, err)
	}
	le := binary.LittleEndian
	more := uint64(le.Uint32(p.b[12:]))
	if le.Uint64(p.b) != id || more >= c.pages-id {
		return p, fmt.Errorf("page %d has a wrong header", id)
	}
	p.length, p.flags, p.count = (more+1)*boltPageSize, le.Uint16(p.b[8:]), int(le.Uint16(p.b[10:]))
	if p.flags != boltBranch && p.flags != boltLeaf {
		return p, nil
	}
	elements := boltHeader + boltElement*p.count
	if uint64(elements) > p.length {
		return p, fmt.Errorf("page %d has %d elements", id, p.count)
	}
	if elements > len(p.b) {
		p.b = make([]byte, elements)
		if _, err := c.r.ReadAt(p.b, int64(id)*boltPageSize); err != nil {
			return p, fmt.Errorf("page %d: %w", id, err)
		}
	}
	return p, nil
}

// room gives a buffer of one page, and done takes that of a page back.
func (c *pageChecker) room() []byte {
	n := len(c.spare)
	if n == 0 {
		return make([]byte, boltPageSize)
	}
	b := c.spare[n-1]
	c.spare = c.spare[:n-1]
	return b
}

func (c *pageChecker) done(p *boltPage) { c.spare = append(c.spare, p.b[:boltPageSize]) }

// element gives element i of a branch or leaf and where it begins in the page.
func (p *boltPage) element(i int) (e []byte, at uint64) {
	at = boltHeader + boltElement*uint64(i)
	return p.b[at:][:boltElement], at
}

// takeAll takes a page and those that overflow from it.
func (c *pageChecker) takeAll(p *boltPage) error {
	for i := p.id; i < p.id+p.length/boltPageSize; i++ {
		if !c.take(i) {
			return fmt.Errorf("page %d is used twice", i)
		}
	}
	return nil
}

// readMeta reads meta page i. taken tells whether bbolt would go by it: it looks at magic, version and sum alone, so that a page on which
// something else is wrong must not be passed over here, where another one, with another tree, would be checked in its place.
func readMeta(r io.ReaderAt, i int64) (m boltMeta, taken bool, err error) {
	var page [boltHeader + boltMetaSum + 8]byte
	if _, err := r.ReadAt(page[:], i*boltPageSize); err != nil {
		return boltMeta{}, false, fmt.Errorf("meta page %d: %w", i, err)
	}
	le := binary.LittleEndian
	b := page[boltHeader:]
	h := fnv.New64a()
	h.Write(b[:boltMetaSum])
	taken = le.Uint32(b) == boltMagic && le.Uint32(b[4:]) == boltVersion && le.Uint64(b[boltMetaSum:]) == h.Sum64()
	m = boltMeta{root: le.Uint64(b[16:]), free: le.Uint64(b[32:]), pages: le.Uint64(b[40:]), tx: le.Uint64(b[48:])}
	if !taken || le.Uint64(page[:]) != uint64(i) || le.Uint16(page[8:]) != boltMetaPage || le.Uint32(b[8:]) != boltPageSize {
		return m, taken, fmt.Errorf("meta page %d is not sound", i)
	}
	return m, true, nil
}

// freeListLies tells whether a free list lies outside the file or says that it lists more pages than the file can have. When bbolt opens a
// file for writing it makes room for as many before anything can be checked: memory that is not there ends the process.
func freeListLies(r io.ReaderAt, size int64) bool {
	for i := range int64(2) {
		m, taken, _ := readMeta(r, i)
		if !taken {
			continue
		}
		var b [boltHeader + 8]byte
		if m.free >= uint64(size)/boltPageSize {
			return true
		}
		if _, err := r.ReadAt(b[:], int64(m.free)*boltPageSize); err != nil {
			return true
		}
		if binary.LittleEndian.Uint16(b[10:]) == 0xffff && binary.LittleEndian.Uint64(b[boltHeader:]) > uint64(size)/boltPageSize {
			return true
		}
	}
	return false
}

// page checks page id and everything below it.
func (c *pageChecker) page(id uint64, depth, level int) error {
	if depth > maxBoltDepth || level > maxBoltLevels {
		return fmt.Errorf("page %d lies too deep", id)
	}
	p, err := c.look(id)
	if err == nil {
		err = c.takeAll(&p)
	}
	if err != nil {
		return err
	}
	defer c.done(&p)
	switch p.flags {
	case boltBranch:
		if err := p.branch(); err != nil {
			return err
		}
		for i := range p.count {
			e, _ := p.element(i)
			if err := c.page(binary.LittleEndian.Uint64(e[8:]), depth+1, level); err != nil {
				return err
			}
		}
		return nil
	case boltLeaf:
		return c.leaf(id, int64(id)*boltPageSize, p.length, p.b[boltHeader:][:boltElement*p.count], level)
	}
	return fmt.Errorf("page %d has flags %#x", id, p.flags)
}

// branch checks the elements of a branch page.
func (p *boltPage) branch() error {
	if p.count == 0 {
		return fmt.Errorf("page %d has no children", p.id)
	}
	le := binary.LittleEndian
	for i := range p.count {
		e, at := p.element(i)
		if at+uint64(le.Uint32(e))+uint64(le.Uint32(e[4:])) > p.length {
			return fmt.Errorf("page %d: key %d lies outside", p.id, i)
		}
	}
	return nil
}

// leaf checks the elements of a leaf page of this length at offset start of the file, or of an inline bucket.
func (c *pageChecker) leaf(id uint64, start int64, length uint64, elements []byte, level int) error {
	le := binary.LittleEndian
	for i := range len(elements) / boltElement {
		e := elements[boltElement*i:]
		key, value := uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
		at := boltHeader + boltElement*uint64(i) + uint64(le.Uint32(e[4:]))
		if at+key+value > length {
			return fmt.Errorf("page %d: value %d lies outside", id, i)
		}
		if le.Uint32(e)&boltBucket == 0 {
			continue
		}
		if value < 16 || level == maxBoltLevels {
			return fmt.Errorf("page %d: bucket %d is not sound", id, i)
		}
		if err := c.bucket(id, start+int64(at+key), value, level+1); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the bucket whose header lies at offset start of the file.
func (c *pageChecker) bucket(id uint64, start int64, length uint64, level int) error {
	var b [16 + boltHeader]byte
	n := min(length, uint64(len(b)))
	if _, err := c.r.ReadAt(b[:n], start); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	le := binary.LittleEndian
	if root := le.Uint64(b[:]); root != 0 {
		return c.page(root, 0, level)
	}
	count := uint64(le.Uint16(b[16+10:]))
	if n < uint64(len(b)) || le.Uint16(b[16+8:]) != boltLeaf || boltHeader+boltElement*count > length-16 {
		return fmt.Errorf("page %d holds an unsound bucket", id)
	}
	elements := make([]byte, boltElement*count)
	if _, err := c.r.ReadAt(elements, start+16+boltHeader); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return c.leaf(id, start+16, length-16, elements, level)
}
