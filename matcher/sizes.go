package matcher

import (
	"encoding/binary"
	"slices"
	"sync/atomic"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// A sizeList is the sizes that the rows of a section are listed with.
type sizeList struct {
	any   bool   // some are for any size
	sizes []byte // all others, ascending, each once: 4 bytes, little-endian

	stored *storedSizes // whose bytes these are; nil for what is believed
	at     int          // where they begin there
}

// storedSizes are the mapped lists of all sections, of which no byte is believed before its checksum was looked at: they are megabytes, of which a look-up reads twenty sizes.
type storedSizes struct {
	file   *store.IndexFile
	rotten atomic.Pointer[error] // the first damage that was met
}

// prove looks at the checksums of the bytes from one offset up to another.
func (p *storedSizes) prove(from, to int) error {
	err := p.file.Prove(genSizes, from, to)
	if err != nil {
		p.rotten.CompareAndSwap(nil, &err)
	}
	return err
}

// has tells whether a row may be of the given size; anySize, of an object whose size is not known, may be any. Where the list is damaged any size may be.
func (l *sizeList) has(size int64) bool {
	switch {
	case l.any || size < 0:
		return true
	case size > dbformat.MaxSize:
		return false
	}
	for low, high := 0, len(l.sizes)/4; low < high; {
		i := int(uint(low+high) / 2)
		if l.stored != nil && l.stored.prove(l.at+4*i, l.at+4*i+4) != nil {
			return true // nobody knows
		}
		switch got := int64(binary.LittleEndian.Uint32(l.sizes[4*i:])); {
		case got == size:
			return true
		case got < size:
			low = i + 1
		default:
			high = i
		}
	}
	return false
}

// sized tells whether the sizes of a section's rows can be known: prefixes have none.
func (s *section) sized() bool { return !s.id.OfURLs() && (!s.id.Split() || s.rest != nil) }

// sizesOf reads the sizes of all rows of a section that has them.
func (s *section) sizesOf() (*sizeList, error) {
	var l sizeList
	var all []uint32
	add := func(size uint32) {
		if size == dbformat.AnySize {
			l.any = true
		} else {
			all = append(all, size)
		}
	}
	for i := range s.tails {
		if rows := int(s.restHead.Blocks[i].Rows); rows > 0 {
			v, err := s.tail(i, rows)
			if err != nil {
				return nil, err
			}
			for row := range rows {
				add(v.Size(row))
			}
		}
	}
	for i := range s.records {
		v, err := s.record(i)
		if err != nil {
			return nil, err
		}
		for row := range v.Rows() {
			add(v.Size(row))
		}
	}
	slices.Sort(all)
	for _, size := range slices.Compact(all) {
		l.sizes = binary.LittleEndian.AppendUint32(l.sizes, size)
	}
	return &l, nil
}

// lists tells whether a row of the section may be of the given size. Where that is not known, any may be.
func (s *section) lists(size int64) bool {
	l := s.listed.Load()
	return l == nil || l.has(size)
}
