package dbformat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// mask is the byte that vectors' contents and patterns are XORed with wherever they are
// stored, so that no file of ours holds what engines look for. One byte for all keeps
// them as compressible as they are.
const mask = 0xa7

// xorMask appends src with every byte masked, or unmasked.
func xorMask(dst, src []byte) []byte {
	for _, c := range src {
		dst = append(dst, c^mask)
	}
	return dst
}

// IgnoreNames reads the block of the ignore section: the names of signatures that are not to
// be reported, in byte order. The names are copies.
func IgnoreNames(data []byte) ([]string, error) {
	what := blockName(ClassIgnore.Section(0), 0)
	if len(data) < 4 || len(data) > MaxBlock {
		return nil, corrupt(what, 0, "%d bytes, want 4 to %d", len(data), MaxBlock)
	}
	n := int64(binary.BigEndian.Uint32(data))
	if n == 0 || n > int64(len(data))-4 {
		return nil, corrupt(what, 0, "%d names in %d bytes", n, len(data))
	}
	lens, text := data[4:4+n], data[4+n:]
	names := make([]string, 0, n)
	for i, l := range lens {
		if int(l) > len(text) {
			return nil, corrupt(what, 4+int64(i), "name %d has %d bytes, %d are left", i, l, len(text))
		}
		name := string(text[:l])
		text = text[l:]
		if err := CheckName(name); err != nil {
			return nil, corrupt(what, -1, "name %d: %v", i, err)
		}
		if i > 0 && name <= names[i-1] {
			return nil, corrupt(what, -1, "name %d is not greater than the name before it", i)
		}
		names = append(names, name)
	}
	if len(text) > 0 {
		return nil, corrupt(what, int64(len(data)-len(text)), "%d bytes after the last name", len(text))
	}
	return names, nil
}

// appendIgnore encodes sorted, unique, valid names.
func appendIgnore(dst []byte, names []string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(names)))
	for _, n := range names {
		dst = append(dst, byte(len(n)))
	}
	for _, n := range names {
		dst = append(dst, n...)
	}
	return dst
}

// canonicalIgnore sorts and checks names.
func canonicalIgnore(names []string) ([]string, error) {
	names = slices.Clone(names)
	slices.Sort(names)
	for i, n := range names {
		if err := CheckName(n); err != nil {
			return nil, contentError("ignore", "%q: %v", n, err)
		}
		if i > 0 && n == names[i-1] {
			return nil, contentError("ignore", "%q stands twice", n)
		}
	}
	return names, nil
}

// vectorHead is what stands before a vector's content: section (2 bytes), expectation of
// light and of full (1 each), length (4).
const vectorHead = 8

// Vectors reads the block of the selftest section. The contents are unmasked copies.
func Vectors(data []byte) ([]Vector, error) {
	what := blockName(ClassSelfTest.Section(0), 0)
	if len(data) < 4 || len(data) > MaxBlock {
		return nil, corrupt(what, 0, "%d bytes, want 4 to %d", len(data), MaxBlock)
	}
	n := int64(binary.BigEndian.Uint32(data))
	if n == 0 || n > MaxVectors || n*vectorHead > int64(len(data))-4 {
		return nil, corrupt(what, 0, "%d vectors in %d bytes, want 1 to %d", n, len(data), MaxVectors)
	}
	vectors := make([]Vector, 0, n)
	b, off := data[4:], int64(4)
	for i := range int(n) {
		if len(b) < vectorHead {
			return nil, corrupt(what, off, "ends within vector %d", i)
		}
		id := SectionID(binary.BigEndian.Uint16(b))
		v := Vector{Light: Expectation(b[2]), Full: Expectation(b[3])}
		size := int64(binary.BigEndian.Uint32(b[4:]))
		if size > MaxVector || size > int64(len(b)-vectorHead) {
			return nil, corrupt(what, off+4, "content of %d bytes, %d are left and %d are allowed", size, len(b)-vectorHead, MaxVector)
		}
		if id != 0 {
			if !id.Keyed() || !id.Valid() {
				return nil, corrupt(what, off, "vector %d tests the unknown section %#04x", i, uint16(id))
			}
			v.Section = id.String()
		}
		if v.Light > ExpectAllowed || v.Full > ExpectAllowed {
			return nil, corrupt(what, off+2, "vector %d has an unknown expectation", i)
		}
		v.Content = xorMask(nil, b[vectorHead:vectorHead+size])
		b, off = b[vectorHead+size:], off+vectorHead+size
		if i > 0 && compareVectors(vectors[i-1], v) >= 0 {
			return nil, corrupt(what, off, "vector %d is not greater than the vector before it", i)
		}
		vectors = append(vectors, v)
	}
	if len(b) > 0 {
		return nil, corrupt(what, off, "%d bytes after the last vector", len(b))
	}
	return vectors, nil
}

// compareVectors orders by section id, then content.
func compareVectors(a, b Vector) int {
	if c := int(sectionOf(a)) - int(sectionOf(b)); c != 0 {
		return c
	}
	return bytes.Compare(a.Content, b.Content)
}

// sectionOf is the id of the section that v tests; 0 for a benign one. Section was
// checked before.
func sectionOf(v Vector) SectionID {
	if v.Section == "" {
		return 0
	}
	id, _ := ParseSection(v.Section)
	return id
}

// canonicalVectors sorts and checks vectors.
func canonicalVectors(vectors []Vector) ([]Vector, error) {
	vectors = slices.Clone(vectors)
	if len(vectors) > MaxVectors {
		return nil, contentError("selftest", "%d vectors, at most %d are allowed", len(vectors), MaxVectors)
	}
	for _, v := range vectors {
		if v.Section != "" {
			if id, err := ParseSection(v.Section); err != nil || !id.Keyed() {
				return nil, contentError("selftest", "no vector can test the section %q", v.Section)
			}
		}
		if len(v.Content) > MaxVector {
			return nil, contentError("selftest", "content of %d bytes, at most %d are allowed", len(v.Content), MaxVector)
		}
		if v.Light > ExpectAllowed || v.Full > ExpectAllowed {
			return nil, contentError("selftest", "unknown expectation %d, %d", v.Light, v.Full)
		}
	}
	slices.SortFunc(vectors, compareVectors)
	for i := 1; i < len(vectors); i++ {
		if compareVectors(vectors[i-1], vectors[i]) == 0 {
			return nil, contentError("selftest", "the same content stands twice for section %q", vectors[i].Section)
		}
	}
	return vectors, nil
}

// appendVectors encodes sorted, unique, valid vectors.
func appendVectors(dst []byte, vectors []Vector) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(vectors)))
	for _, v := range vectors {
		dst = binary.BigEndian.AppendUint16(dst, uint16(sectionOf(v)))
		dst = append(dst, byte(v.Light), byte(v.Full))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v.Content)))
		dst = xorMask(dst, v.Content)
	}
	return dst
}

// String is the verdict's word.
func (e Expectation) String() string {
	words := [...]string{"clean", "suspected", "malicious", "allowed"}
	if int(e) < len(words) {
		return words[e]
	}
	return fmt.Sprintf("expectation(%d)", uint8(e))
}
