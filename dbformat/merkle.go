package dbformat

import (
	"crypto/sha256"
	"encoding/binary"
)

// What is hashed begins with one of these bytes, so that no hash of one kind is a
// hash of another.
const (
	tagLeaf    = 0x00 // rows, bytes and digest of a block
	tagNode    = 0x01 // two subtrees
	tagBlock   = 0x02 // a block's bytes and place
	tagSection = 0x03 // a section's parameters and its tree
	tagLayer   = 0x04 // all sections of a layer
)

// BlockDigest is the digest of a block's canonical bytes bound to its place.
func BlockDigest(l Layer, id SectionID, index int, data []byte) Digest {
	h := sha256.New()
	head := [8]byte{tagBlock, byte(l)}
	binary.BigEndian.PutUint16(head[2:], uint16(id))
	binary.BigEndian.PutUint32(head[4:], uint32(index))
	h.Write(head[:])
	h.Write(data)
	var d Digest
	h.Sum(d[:0])
	return d
}

// hash is the Merkle leaf: it binds the two numbers too, so that nothing in a header can
// be changed without changing the root.
func (l Leaf) hash() Digest {
	var b [1 + 4 + 4 + 32]byte
	b[0] = tagLeaf
	binary.BigEndian.PutUint32(b[1:], l.Rows)
	binary.BigEndian.PutUint32(b[5:], l.Bytes)
	copy(b[9:], l.Digest[:])
	return sha256.Sum256(b[:])
}

// merkleRoot is the root of the tree over leaves, whose number is a power of two.
func merkleRoot(leaves []Leaf) Digest {
	level := make([]Digest, len(leaves))
	for i, l := range leaves {
		level[i] = l.hash()
	}
	for len(level) > 1 {
		for i := range len(level) / 2 {
			var b [65]byte
			b[0] = tagNode
			copy(b[1:], level[2*i][:])
			copy(b[33:], level[2*i+1][:])
			level[i] = sha256.Sum256(b[:])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}

// Root is the digest of section i: of its parameters, the number of its rows and its tree.
func (h *Header) Root(i int) Digest {
	s := &h.Sections[i]
	b := []byte{tagSection, byte(h.Layer)}
	b = s.appendParams(b, h.Layer)
	b = binary.BigEndian.AppendUint64(b, s.Rows())
	root := merkleRoot(s.Blocks)
	return sha256.Sum256(append(b, root[:]...))
}

// Digest is the layer's digest: of its kind, the format version and the roots of its
// sections. It is computed anew at each call (a few milliseconds for a large layer).
func (h *Header) Digest() Digest {
	b := []byte{tagLayer, FormatVersion, byte(h.Layer), byte(len(h.Sections))}
	for i := range h.Sections {
		root := h.Root(i)
		b = append(b, root[:]...)
	}
	return sha256.Sum256(b)
}
