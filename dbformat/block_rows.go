package dbformat

import (
	"bytes"
	"encoding/binary"
	"sort"
)

// rowHead is the length of what stands before the columns: the number of rows (4
// bytes) and the width of a size (1 byte).
const rowHead = 5

// rowBlock is a view of the columns that tail, whole and allow blocks share: key
// bits from p to the end of the hash, sizes, lengths of names, names.
type rowBlock struct {
	keys  []byte
	sizes []byte
	lens  []byte
	names []byte
	steps []uint32 // where the names of rows 0, nameStep, 2*nameStep … begin; nil if IndexNames was not called
	p     int      // first bit of the keys
	nib   int      // half bytes of a key
	w     int      // bytes of a size
	rows  int
	index int
	id    SectionID
}

func parseRowBlock(data []byte, id SectionID, p uint8, index int) (rowBlock, error) {
	what := func() string { return blockName(id, index) }
	switch {
	case len(data) > MaxBlock:
		return rowBlock{}, corrupt(what(), MaxBlock, "%d bytes, at most %d are allowed", len(data), MaxBlock)
	case len(data) < rowHead:
		return rowBlock{}, corrupt(what(), int64(len(data)), "ends within the first %d bytes", rowHead)
	}
	rows, w := int64(binary.BigEndian.Uint32(data)), int64(data[4])
	if most := int64(sizeWidth(id.maxSize())); w > most {
		return rowBlock{}, corrupt(what(), 4, "sizes of %d bytes, at most %d are defined", w, most)
	}
	keyBits := int64(8*id.Algorithm().Size()) - int64(p)
	keys := (rows*keyBits + 7) / 8
	rest := int64(len(data)) - rowHead - keys - rows*w - rows
	if rest < 0 {
		return rowBlock{}, corrupt(what(), 0, "%d rows do not fit into %d bytes", rows, len(data))
	}
	b := rowBlock{p: int(p), nib: int(keyBits / 4), w: int(w), rows: int(rows), index: index, id: id}
	data = data[rowHead:]
	b.keys, data = data[:keys:keys], data[keys:]
	b.sizes, data = data[:rows*w:rows*w], data[rows*w:]
	b.lens, b.names = data[:rows:rows], data[rows:]
	var sum int64
	for _, n := range b.lens {
		sum += int64(n)
	}
	if sum != rest {
		return rowBlock{}, corrupt(what(), rowHead+keys+rows*w, "names have %d bytes, their lengths say %d", rest, sum)
	}
	if !paddingZero(b.keys, rows*keyBits) {
		return rowBlock{}, corrupt(what(), rowHead+keys-1, "padding bits are not zero")
	}
	return b, nil
}

// Rows is the number of rows.
func (b *rowBlock) Rows() int { return b.rows }

// Size is the size of row i, or AnySize.
func (b *rowBlock) Size(i int) uint32 {
	var v uint32
	for _, c := range b.sizes[i*b.w : (i+1)*b.w] {
		v = v<<8 | uint32(c)
	}
	return v
}

// Name is the name of row i; empty means [DefaultName]. It refers to the block.
// It reads the lengths of all names before it, or of up to 63 where IndexNames was called: it is meant for hits.
func (b *rowBlock) Name(i int) []byte {
	off := 0
	if b.steps == nil {
		off = sumBytes(b.lens[:i])
	} else {
		off = int(b.steps[i/nameStep]) + sumBytes(b.lens[i&^(nameStep-1):i])
	}
	return b.names[off : off+int(b.lens[i])]
}

// nameStep is how many rows apart the names are whose places IndexNames remembers: as many as there are lengths in a line of memory.
const nameStep = 64

// IndexNames makes Name of every row about as quick as that of the first one, for 4 bytes of memory for each 64 rows. The view must not be in use
// elsewhere yet.
func (b *rowBlock) IndexNames() {
	steps := make([]uint32, 0, b.rows/nameStep+1)
	off := 0
	for at := 0; at < b.rows; at += nameStep {
		steps = append(steps, uint32(off))
		off += sumBytes(b.lens[at:min(at+nameStep, b.rows)])
	}
	b.steps = steps
}

// Touch reads a byte of each line of memory that Hash, Size and Name of row i are likely to read after IndexNames, and none of these reads waits for another one:
// whoever will look at rows of many blocks touches all of them first, and waits for memory once instead of each time. i may be any number, and what Touch
// gives means nothing.
func (b *rowBlock) Touch(i int) (sum byte) {
	if i < 0 || i >= b.rows || len(b.steps) == 0 {
		return 0
	}
	first := i &^ (nameStep - 1)
	key := i * b.nib / 2
	sum = b.lens[first] + b.lens[i] + b.keys[key] + b.keys[min(key+b.nib/2, len(b.keys)-1)]
	if b.w > 0 {
		sum += b.sizes[i*b.w]
	}
	if end := len(b.names); end > 0 {
		from, to, rows := int(b.steps[i/nameStep]), end, min(nameStep, b.rows-first)
		if next := i/nameStep + 1; next < len(b.steps) {
			to = int(b.steps[next])
		}
		at := from + (to-from)*(i-first)/rows // where the name is if those of this step have one length
		sum += b.names[min(at, end-1)] + b.names[min(at+(to-from)/rows, end-1)]
	}
	return sum
}

// Hash copies the bits that the block has of row i's hash to their place in
// hash: a tail block has those from p on. The other bits stay as they are.
func (b *rowBlock) Hash(i int, hash *[32]byte) {
	copyNibbles(hash[:], b.p/4, b.keys, i*b.nib, b.nib)
}

// Match tells whether the bits that the block has of row i's hash are those of hash.
func (b *rowBlock) Match(i int, hash []byte) bool {
	var h [32]byte
	n := copy(h[:], hash)
	b.Hash(i, &h)
	return bytes.Equal(h[:n], hash[:n])
}

// checkRows proves what a block can prove by itself: that sizes have the least
// width and are allowed, and that names are.
func (b *rowBlock) checkRows() error {
	var most uint32
	off := 0
	for i := range b.rows {
		size := b.Size(i)
		if size > MaxSize {
			return corrupt(blockName(b.id, b.index), -1, "row %d has size %d, at most %d is allowed", i, size, MaxSize)
		}
		most = max(most, size)
		if n := int(b.lens[i]); n > 0 {
			if err := checkNameBytes(b.names[off : off+n]); err != nil {
				return corrupt(blockName(b.id, b.index), -1, "row %d: %v", i, err)
			}
			off += n
		}
	}
	if sizeWidth(most) != b.w {
		return corrupt(blockName(b.id, b.index), 4, "sizes of %d bytes, %d suffice", b.w, sizeWidth(most))
	}
	return nil
}

// A TailBlock is a view of one block of a rest section: for each row of its range
// the bits of the hash after the prefix, the size and the name. It refers to the bytes
// that it was parsed from and is safe for concurrent use.
type TailBlock struct{ rowBlock }

// ParseTailBlock checks the lengths and the padding of block index of section s of
// a rest layer, so that no later call can fail; [TailBlock.Check] checks the rows. The view
// does not copy data.
func ParseTailBlock(data []byte, s *SectionHeader, index int) (TailBlock, error) {
	if !s.ID.Split() {
		return TailBlock{}, corrupt(blockName(s.ID, index), -1, "section has no tails")
	}
	b, err := parseRowBlock(data, s.ID, s.P, index)
	if err != nil {
		return TailBlock{}, err
	}
	return TailBlock{b}, nil
}

// Check proves what the block can prove without the prefixes: sizes and names.
// [CheckTails] proves the rest.
func (b TailBlock) Check() error { return b.checkRows() }

// Find gives the first row in [first, end) with the tail of hash and the size size or AnySize,
// an exact size before AnySize; -1 if there is none.
func (b TailBlock) Find(first, end int, hash []byte, size uint32) int {
	return b.find(first, end, hash, size)
}

func (b *rowBlock) find(first, end int, hash []byte, size uint32) int {
	found := -1
	for i := first; i < end; i++ {
		if !b.Match(i, hash) {
			continue
		}
		switch b.Size(i) {
		case size:
			return i
		case AnySize:
			if found < 0 {
				found = i
			}
		}
	}
	return found
}

// A RecordBlock is a view of one block of a section that is whole: a signature
// or allow record a row. It refers to the bytes that it was parsed from and is safe for
// concurrent use.
type RecordBlock struct {
	rowBlock
	b uint8
}

// ParseRecordBlock checks the lengths of block index of section s, so that no
// later call can fail; [RecordBlock.Check] checks the rows. The view does not copy data.
func ParseRecordBlock(data []byte, s *SectionHeader, index int) (RecordBlock, error) {
	if !s.ID.Rows() || s.ID.Split() {
		return RecordBlock{}, corrupt(blockName(s.ID, index), -1, "section has no whole records")
	}
	b, err := parseRowBlock(data, s.ID, 0, index)
	if err != nil {
		return RecordBlock{}, err
	}
	return RecordBlock{b, s.B}, nil
}

// key is the hash of row i where it stands.
func (b RecordBlock) key(i int) []byte { return b.keys[i*b.nib/2 : (i+1)*b.nib/2] }

// Check proves that the rows are in order, belong to the block's range and are
// canonical. It reads all of them.
func (b RecordBlock) Check() error {
	if err := b.checkRows(); err != nil {
		return err
	}
	what, off := blockName(b.id, b.index), 0
	for i := range b.rows {
		key := b.key(i)
		if hashPrefix(key, b.b) != uint64(b.index) {
			return corrupt(what, -1, "row %d does not belong to this range", i)
		}
		if i > 0 {
			c := bytes.Compare(b.key(i-1), key)
			if c > 0 || c == 0 && b.Size(i-1) >= b.Size(i) {
				return corrupt(what, -1, "row %d is not greater than the row before it", i)
			}
		}
		n := int(b.lens[i])
		if isDefaultName(b.id, key, b.names[off:off+n]) {
			return corrupt(what, -1, "row %d spells the default name", i)
		}
		off += n
	}
	return nil
}

// Find gives the rows [first, end) with hash, one for each size.
func (b RecordBlock) Find(hash []byte) (first, end int) {
	first = sort.Search(b.rows, func(i int) bool { return bytes.Compare(b.key(i), hash) >= 0 })
	for end = first; end < b.rows && bytes.Equal(b.key(end), hash); end++ {
	}
	return first, end
}

// FindSize gives the row with hash and size or AnySize, an exact size before
// AnySize; -1 if there is none.
func (b RecordBlock) FindSize(hash []byte, size uint32) int {
	first, end := b.Find(hash)
	return b.find(first, end, hash, size)
}

// isDefaultName tells whether name is the section's DefaultName of hash, without building it
// unless it looks like it.
func isDefaultName(id SectionID, hash, name []byte) bool {
	word := id.defaultWord()
	return len(name) > len(word) && string(name[:len(word)]) == word && string(name) == id.DefaultName(hash)
}

// CheckTails proves that the rows of a rest block are those of range r of the light
// block: as many, in order of (hash, size), no two alike, none with a default name.
func CheckTails(light PrefixBlock, r int, rest TailBlock) error {
	what := blockName(rest.id, rest.index)
	first, end := light.Range(r)
	if end-first != rest.rows || light.FirstRange()+r != rest.index || int(light.p) != rest.p {
		return corrupt(what, 0, "%d rows, range %d of the light layer has %d", rest.rows, light.FirstRange()+r, end-first)
	}
	if err := rest.Check(); err != nil {
		return err
	}
	var prev, hash [32]byte
	var prevSize uint32
	off := 0
	for i := range rest.rows {
		v := uint64(rest.index)<<light.LowBits() | light.Low(first+i)
		binary.BigEndian.PutUint64(hash[:], v<<(64-light.p))
		rest.Hash(i, &hash)
		size := rest.Size(i)
		if i > 0 {
			c := bytes.Compare(prev[:], hash[:])
			if c > 0 || c == 0 && prevSize >= size {
				return corrupt(what, -1, "row %d is not greater than the row before it", i)
			}
		}
		n := int(rest.lens[i])
		if isDefaultName(rest.id, hash[:], rest.names[off:off+n]) {
			return corrupt(what, -1, "row %d spells the default name", i)
		}
		off += n
		prev, prevSize = hash, size
	}
	return nil
}

// A rowEncoder makes the canonical bytes of row blocks one after the other in one
// buffer.
type rowEncoder struct {
	buf   []byte
	keys  []byte // packed
	nibs  int    // half bytes in keys
	sizes []uint32
	lens  []byte
	names []byte
}

func (e *rowEncoder) reset() {
	e.keys, e.nibs, e.sizes, e.lens, e.names = e.keys[:0], 0, e.sizes[:0], e.lens[:0], e.names[:0]
}

func (e *rowEncoder) rows() int { return len(e.sizes) }

// add appends a row: bits [p, end) of hash, whose length is the algorithm's.
func (e *rowEncoder) add(hash []byte, p int, size uint32, name []byte) {
	n := 2*len(hash) - p/4
	for len(e.keys)*2 < e.nibs+n {
		e.keys = append(e.keys, 0)
	}
	copyNibbles(e.keys, e.nibs, hash, p/4, n)
	e.nibs += n
	e.sizes = append(e.sizes, size)
	e.lens = append(e.lens, byte(len(name)))
	e.names = append(e.names, name...)
}

// bytes gives the block; it is valid until the next call.
func (e *rowEncoder) bytes() []byte {
	var most uint32
	for _, s := range e.sizes {
		most = max(most, s)
	}
	w := sizeWidth(most)
	e.buf = binary.BigEndian.AppendUint32(e.buf[:0], uint32(len(e.sizes)))
	e.buf = append(e.buf, byte(w))
	e.buf = append(e.buf, e.keys...)
	for _, s := range e.sizes {
		var full [4]byte
		binary.BigEndian.PutUint32(full[:], s)
		e.buf = append(e.buf, full[4-w:]...)
	}
	e.buf = append(e.buf, e.lens...)
	e.buf = append(e.buf, e.names...)
	return e.buf
}
