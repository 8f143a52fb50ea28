package dbformat

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
)

// An Algorithm is a hash function that identifies objects. Its value is part of
// section ids and never changes.
type Algorithm uint8

// The algorithms of hash signatures and allow records, weakest first: a higher
// value is a stronger kind (an allow record cancels its own and weaker kinds).
const (
	MD5    Algorithm = 1
	SHA1   Algorithm = 2
	SHA256 Algorithm = 3
)

// Algorithms lists every algorithm, weakest first.
func Algorithms() []Algorithm { return []Algorithm{MD5, SHA1, SHA256} }

// Size is the length of a hash in bytes, 0 for an unknown algorithm.
func (a Algorithm) Size() int {
	switch a {
	case MD5:
		return 16
	case SHA1:
		return 20
	case SHA256:
		return 32
	}
	return 0
}

// String is the name used in sections, flags and output: "md5", "sha1", "sha256".
func (a Algorithm) String() string {
	switch a {
	case MD5:
		return "md5"
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	}
	return fmt.Sprintf("algorithm(%d)", uint8(a))
}

// AlgorithmOfSize tells which algorithm makes hashes of n bytes.
func AlgorithmOfSize(n int) (Algorithm, bool) {
	for _, a := range Algorithms() {
		if a.Size() == n {
			return a, true
		}
	}
	return 0, false
}

// A Digest is a SHA-256: of a layer (a Merkle root), of a section, or of a file.
type Digest [32]byte

// String is the digest in lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero tells whether d is the zero value, which no layer has.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText gives lower-case hex.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes exactly 64 lower-case hex digits.
func (d *Digest) UnmarshalText(b []byte) error {
	v, err := ParseDigest(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// ParseDigest takes exactly 64 lower-case hex digits: there is one spelling.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != hex.EncodedLen(len(d)) {
		return Digest{}, fmt.Errorf("digest has %d characters, want 64 hex digits", len(s))
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Digest{}, fmt.Errorf("digest holds %q, want lower-case hex digits", c)
		}
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("digest: %w", err)
	}
	return d, nil
}

// A Layer is one of the two disjoint parts of a release's content.
type Layer uint8

// Light works offline; Rest turns its prefixes into exact signatures.
const (
	Light Layer = 1
	Rest  Layer = 2
)

// String is the word used in target paths, reports and flags.
func (l Layer) String() string {
	switch l {
	case Light:
		return "light"
	case Rest:
		return "rest"
	}
	return fmt.Sprintf("layer(%d)", uint8(l))
}

// ParseLayer is the inverse of [Layer.String].
func ParseLayer(s string) (Layer, error) {
	switch s {
	case "light":
		return Light, nil
	case "rest":
		return Rest, nil
	}
	return 0, fmt.Errorf("unknown layer %q, want light or rest", s)
}

// A Variant is what an endpoint wants: VariantLight is {light}, VariantFull is
// {light, rest}. Its text form is stable.
type Variant string

// The variants.
const (
	VariantLight Variant = "light"
	VariantFull  Variant = "full"
)

// Layers lists the layers that v consists of, in the order in which they are
// applied; nil for an unknown variant.
func (v Variant) Layers() []Layer {
	switch v {
	case VariantLight:
		return []Layer{Light}
	case VariantFull:
		return []Layer{Light, Rest}
	}
	return nil
}

// A SectionID names a section of a layer: its class in the high byte, its
// algorithm (0 where none applies) in the low one. Sections of a layer stand in
// ascending order of their ids.
type SectionID uint16

// A Class says what the records of a section are.
type Class uint8

// The classes of format version 1. Values from 0x0d on are kept for the classes to come.
const (
	ClassHash         Class = 0x01 // split: prefixes in light, the other bits, size and name in rest
	ClassPUA          Class = 0x02 // as ClassHash, for potentially unwanted applications
	ClassWhole        Class = 0x03 // whole in light
	ClassWholePUA     Class = 0x04 // as ClassWhole, for potentially unwanted applications
	ClassAllow        Class = 0x05 // allow records, whole in light
	ClassIgnore       Class = 0x06 // names of signatures that are not to be reported, light
	ClassSelfTest     Class = 0x07 // vectors with the expected verdict of each variant, light
	ClassURL          Class = 0x08 // split: SHA-256 of Safe Browsing expressions (package urlhash), any size; needs EngineLevel 2
	ClassPESection    Class = 0x09 // placed: hashes of sections of PE files; needs EngineLevel 3, as the classes below
	ClassPESectionPUA Class = 0x0a // as ClassPESection, for potentially unwanted applications
	ClassPattern      Class = 0x0b // placed: body patterns
	ClassPatternPUA   Class = 0x0c // as ClassPattern, for potentially unwanted applications
)

// Section makes the id of a class's section for an algorithm.
func (c Class) Section(a Algorithm) SectionID { return SectionID(c)<<8 | SectionID(a) }

// Class is the high byte.
func (id SectionID) Class() Class { return Class(id >> 8) }

// Algorithm is the low byte: of the hashes by which the section's rows are keyed; 0 for ignore and selftest. That of patterns is
// the hash of the record itself: no object is looked up by it.
func (id SectionID) Algorithm() Algorithm { return Algorithm(id) }

// Split tells whether the section has a part in each layer.
func (id SectionID) Split() bool {
	return id.Class() == ClassHash || id.Class() == ClassPUA || id.Class() == ClassURL
}

// Placed tells whether each row of the section stands whole in one of the layers, as the publisher chose: the section may be part of
// light, of rest, or of both with different rows.
func (id SectionID) Placed() bool {
	return id.Class() >= ClassPESection && id.Class() <= ClassPatternPUA
}

// PUA tells whether the section's signatures are reported only when potentially
// unwanted applications are asked for.
func (id SectionID) PUA() bool {
	switch id.Class() {
	case ClassPUA, ClassWholePUA, ClassPESectionPUA, ClassPatternPUA:
		return true
	}
	return false
}

// Detects tells whether a record of the section is a signature (and not an allow
// record, an ignored name or a vector).
func (id SectionID) Detects() bool {
	return id.Class() >= ClassHash && id.Class() <= ClassWholePUA || id.Class() == ClassURL || id.Placed()
}

// OfFiles tells whether the section's records are about whole files, known by their hashes.
func (id SectionID) OfFiles() bool { return id.Class() >= ClassHash && id.Class() <= ClassAllow }

// OfURLs tells whether the section's records are about URLs.
func (id SectionID) OfURLs() bool { return id.Class() == ClassURL }

// OfPESections tells whether the section's records are about sections of PE files, known by their hashes.
func (id SectionID) OfPESections() bool {
	return id.Class() == ClassPESection || id.Class() == ClassPESectionPUA
}

// OfPatterns tells whether the section's rows are body patterns.
func (id SectionID) OfPatterns() bool {
	return id.Class() == ClassPattern || id.Class() == ClassPatternPUA
}

// Valid tells whether format version 1 defines the section.
func (id SectionID) Valid() bool {
	switch id.Class() {
	case ClassHash, ClassPUA, ClassWhole, ClassWholePUA, ClassAllow, ClassPESection, ClassPESectionPUA:
		return id.Algorithm().Size() != 0
	case ClassIgnore, ClassSelfTest:
		return id.Algorithm() == 0
	case ClassURL, ClassPattern, ClassPatternPUA:
		return id.Algorithm() == SHA256
	}
	return false
}

// String is the section's name: "hash/sha256", "pua/md5", "whole/sha1",
// "wholepua/sha1", "allow/md5", "ignore", "selftest", "url/sha256", "sections/sha256", "sectionspua/md5", "patterns",
// "patternspua": without the algorithm where no object is looked up by a hash.
func (id SectionID) String() string {
	var class string
	switch id.Class() {
	case ClassHash:
		class = "hash"
	case ClassPUA:
		class = "pua"
	case ClassWhole:
		class = "whole"
	case ClassWholePUA:
		class = "wholepua"
	case ClassAllow:
		class = "allow"
	case ClassIgnore:
		return "ignore"
	case ClassSelfTest:
		return "selftest"
	case ClassURL:
		class = "url"
	case ClassPESection:
		class = "sections"
	case ClassPESectionPUA:
		class = "sectionspua"
	case ClassPattern:
		class = "patterns"
	case ClassPatternPUA:
		class = "patternspua"
	default:
		return fmt.Sprintf("%#04x", uint16(id))
	}
	if id.OfPatterns() && id.Valid() {
		return class
	}
	return class + "/" + id.Algorithm().String()
}

// AnySize is the size of a record that matches objects of every size.
const AnySize = 0

// MaxSize is the largest size that a record can name: ClamAV's formats have
// 1 to 2^32-2.
const MaxSize = math.MaxUint32 - 1

// maxSize is the largest size that a record of the section can name: a URL has none.
func (id SectionID) maxSize() uint32 {
	if id.OfURLs() {
		return AnySize
	}
	return MaxSize
}

// MaxName is the greatest length of a signature's name in bytes.
const MaxName = 255

// A Record is one signature or allow record. Its key is (Hash, Size).
type Record struct {
	Hash [32]byte // the first Algorithm.Size() bytes, the others zero
	Size uint32   // exact size in bytes (of a section of a PE file: its own), or AnySize, which all records about URLs have
	Name string   // printable UTF-8, at most MaxName bytes; "" means the section's DefaultName
}

// A PatternRecord is one signature that is found by what is in an object. Its key is [PatternKey], of all of it.
type PatternRecord struct {
	Name    string // printable UTF-8, 1 to MaxName bytes: there is no default name
	Pattern []byte // 1 to MaxPattern bytes in clear; how they say what to look for is no part of this format
}

// DefaultName is the name of a hash record of the section without one: that of [DefaultName], of a URL "URL.SHA256." and of a section of
// a PE file "Section.SHA256." (or MD5, SHA1), each with the first 16 hex digits of its hash. It is never stored.
func (id SectionID) DefaultName(hash []byte) string {
	name := DefaultName(id.Algorithm(), hash)
	return id.defaultWord() + strings.TrimPrefix(name, hashWord)
}

// hashWord begins the default names of signatures of files.
const hashWord = "Hash."

// defaultWord begins the section's default names.
func (id SectionID) defaultWord() string {
	switch {
	case id.OfURLs():
		return "URL."
	case id.OfPESections():
		return "Section."
	}
	return hashWord
}

// DefaultName is the name of a record about files without one: "Hash.SHA256." and the first
// 16 hex digits of its hash. It is never stored.
func DefaultName(a Algorithm, hash []byte) string {
	word := "SHA256"
	switch a {
	case MD5:
		word = "MD5"
	case SHA1:
		word = "SHA1"
	}
	return hashWord + word + "." + hex.EncodeToString(hash[:8])
}

// An Expectation is what matching a vector must yield.
type Expectation uint8

// The expectations of a vector.
const (
	ExpectClean     Expectation = 0
	ExpectSuspected Expectation = 1
	ExpectMalicious Expectation = 2
	ExpectAllowed   Expectation = 3
)

// A Vector is content with the verdict that a generation must give it before it
// becomes current. In layers, bundles and deltas the content is masked.
type Vector struct {
	Section string      // the section of rows that it tests, "" for a benign one
	Content []byte      // at most MaxVector bytes, in clear
	Light   Expectation // with the light layer alone
	Full    Expectation // with both layers
}

// Content is everything that a release says, before it is cut into layers. Order
// does not matter; Build sorts. Keys are unique within a section, of a placed one in both layers together.
type Content struct {
	Sections     map[SectionID][]Record        // hash records; of placed sections those that stand in light
	RestSections map[SectionID][]Record        // hash records of placed sections that stand in rest
	Patterns     map[SectionID][]PatternRecord // that stand in light
	RestPatterns map[SectionID][]PatternRecord // that stand in rest
	Ignore       []string
	Vectors      []Vector
}

// Params are the choices that are part of a section's canonical bytes. A publisher keeps
// them from release to release as long as [ChooseParams] says.
type Params struct {
	Rows      uint64                  `json:"rows"`                 // N that Prefix was chosen for: signatures of files
	Prefix    uint8                   `json:"prefix"`               // p: bits of each hash of a file in light, a multiple of 4
	URLRows   uint64                  `json:"url_rows,omitempty"`   // that URLPrefix was chosen for: signatures of URLs
	URLPrefix uint8                   `json:"url_prefix,omitempty"` // p of the url section, 0 where there is none
	Cuts      map[SectionID]CutParams `json:"cuts"`
	RestCuts  map[SectionID]CutParams `json:"rest_cuts,omitempty"` // of placed sections in rest
}

// prefix is p of a section.
func (p *Params) prefix(id SectionID) uint8 {
	switch {
	case !id.Split():
		return 0
	case id.OfURLs():
		return p.URLPrefix
	}
	return p.Prefix
}

// CutParams say how a section's rows are cut into blocks.
type CutParams struct {
	B uint8 `json:"b"` // 2^B key ranges
	K uint8 `json:"k"` // a block of a light split section covers 2^K ranges; 0 elsewhere
}

// A Header is what is known of a layer beside its blocks: the parameters and the
// leaf table of each section. Its digest is the layer's.
type Header struct {
	Layer    Layer
	Sections []SectionHeader // ascending ids
}

// A SectionHeader describes one section of a layer.
type SectionHeader struct {
	ID      SectionID
	P, B, K uint8
	Pair    Digest // in rest, of a split section: the root of the light section that it belongs to; else zero
	Blocks  []Leaf // in key order
}

// A Leaf is what a header says of one block.
type Leaf struct {
	Rows   uint32 // records in the block
	Bytes  uint32 // its canonical length
	Digest Digest // [BlockDigest] of the block; the Merkle leaf binds all three
}

// A LayerReader gives the canonical blocks of one layer, wherever they are kept.
// Implementations are safe for concurrent use.
type LayerReader interface {
	// Header is the layer's header; it must not be changed.
	Header() *Header
	// Block returns block i of Header().Sections[section]. The bytes are valid as long as the
	// reader is open and must not be changed. A block that is absent or does not
	// have its leaf's digest is an error.
	Block(section, i int) ([]byte, error)
}

// A Sink takes the canonical blocks of a layer as they are decoded, in the order of sections
// and blocks. It must not keep b.
type Sink interface {
	PutBlock(id SectionID, i int, b []byte) error
}

// ErrCorrupt is matched by every error about bytes that break the format.
var ErrCorrupt = errors.New("corrupt data")

// ErrVersion is matched by every error about data that needs a newer engine.
var ErrVersion = errors.New("needs a newer engine")

// A FormatError says where bytes break the format.
type FormatError struct {
	What   string // what was read: "bundle", "light delta", "block hash/md5 3", …
	Offset int64  // of the first bad byte, -1 where no offset is known
	Reason string // "unknown flag 0x80"
}

func (e *FormatError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s: %s", e.What, e.Reason)
	}
	return fmt.Sprintf("%s at byte %d: %s", e.What, e.Offset, e.Reason)
}

// Is matches [ErrCorrupt].
func (e *FormatError) Is(target error) bool { return target == ErrCorrupt }

// MaxVersion is the bound of release versions: below 2^53, so that every JSON reader keeps them exact.
const MaxVersion = 1<<53 - 1

// EngineLevel is what this engine understands; a release may ask for a least level, that of its [Header.EngineLevel]:
//
//	1  every class of sections but those below
//	2  ClassURL as well
//	3  placed sections as well
const EngineLevel = 3

// EngineLevel is the least [EngineLevel] of an engine that knows sections of this kind.
func (id SectionID) EngineLevel() int {
	switch {
	case id.Placed():
		return 3
	case id.OfURLs():
		return 2
	}
	return 1
}

// FunctionalityLevel is the one level against which the FLEVEL ranges of ClamAV lines are
// checked: that of the ClamAV release whose formats this engine follows (1.4).
const FunctionalityLevel = 210
