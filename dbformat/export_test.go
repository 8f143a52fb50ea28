package dbformat

import "bytes"

// EncodePrefixBlock writes a block again from its rows.
func EncodePrefixBlock(b PrefixBlock) []byte {
	var e prefixEncoder
	for r := range b.Ranges() {
		first, end := b.Range(r)
		for i := first; i < end; i++ {
			e.add(b.Low(i))
		}
		e.endRange()
	}
	return bytes.Clone(e.bytes(b.LowBits()))
}

// EncodeTailBlock writes a block again from its rows.
func EncodeTailBlock(b TailBlock) []byte {
	var e rowEncoder
	for i := range b.Rows() {
		var hash [32]byte
		b.Hash(i, &hash)
		e.add(hash[:b.id.Algorithm().Size()], b.p, b.Size(i), b.Name(i))
	}
	return bytes.Clone(e.bytes())
}
