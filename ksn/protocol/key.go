package protocol

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"example.org/avdb/dbformat"
)

// A Type is a kind of key. Its text stands in paths, answers and caches.
type Type string

// The types.
const (
	FileSHA256 Type = "file-sha256"
	FileSHA1   Type = "file-sha1"
	FileMD5    Type = "file-md5"
	URL        Type = "url"
	Software   Type = "software"
)

// Types lists the types.
func Types() []Type { return []Type{FileSHA256, FileSHA1, FileMD5, URL, Software} }

// known is t itself, as a text that keeps nothing else in memory; "" if it is not of the list.
func (t Type) known() Type {
	switch t {
	case FileSHA256:
		return FileSHA256
	case FileSHA1:
		return FileSHA1
	case FileMD5:
		return FileMD5
	case URL:
		return URL
	case Software:
		return Software
	}
	return ""
}

// FileType is the type of keys of files by the hash function a; "" for an unknown one.
func FileType(a dbformat.Algorithm) Type {
	switch a {
	case dbformat.SHA256:
		return FileSHA256
	case dbformat.SHA1:
		return FileSHA1
	case dbformat.MD5:
		return FileMD5
	}
	return ""
}

// KeySize is the length of the type's keys in bytes, 0 for an unknown type.
func (t Type) KeySize() int {
	switch t {
	case FileSHA256, URL, Software:
		return 32
	case FileSHA1:
		return 20
	case FileMD5:
		return 16
	}
	return 0
}

// Limits of prefixes, in bits.
const (
	MinBits     = 16
	DefaultBits = 24
	MaxBits     = 32
)

// A Key names one object. Two keys are the same if they are equal.
type Key struct {
	Type Type
	Sum  [32]byte // the first Type.KeySize() bytes; the others are zero
}

// NewKey takes a hash of exactly the length that t's keys have.
func NewKey(t Type, sum []byte) (Key, error) {
	k := Key{Type: t}
	if n := t.KeySize(); n == 0 || len(sum) != n {
		return Key{}, fmt.Errorf("key of type %.40q has %d bytes, want %d", t, len(sum), n)
	}
	copy(k.Sum[:], sum)
	return k, nil
}

// ParseKey takes a hash of exactly the length that t's keys have, in lower-case hex.
func ParseKey(t Type, s string) (Key, error) {
	n := t.KeySize()
	if n == 0 || len(s) != 2*n || strings.ToLower(s) != s {
		return Key{}, fmt.Errorf("key %.80q of type %.40q: want %d lower-case hex digits", s, t, 2*n)
	}
	sum, err := hex.DecodeString(s)
	if err != nil {
		return Key{}, fmt.Errorf("key %.80q of type %.40q: want %d lower-case hex digits", s, t, 2*n)
	}
	return NewKey(t, sum)
}

// ParseTypedKey takes a key as [Key.String] writes it, and no other spelling.
func ParseTypedKey(s string) (Key, error) {
	t, digits, _ := strings.Cut(s, ":")
	return ParseKey(Type(t), digits)
}

// MaxSoftwareField bounds each text that makes a software key, in bytes.
const MaxSoftwareField = 1024

// SoftwareKey is the key of a piece of software: the SHA-256 over "avdb software", publisher, product and version, each
// preceded by its length in bytes (32 bits, big-endian). Texts are taken as they are; product must not be empty.
func SoftwareKey(publisher, product, version string) (Key, error) {
	var b []byte
	for _, f := range []struct{ name, text string }{{"", "avdb software"}, {"publisher", publisher}, {"product", product}, {"version", version}} {
		if len(f.text) > MaxSoftwareField {
			return Key{}, fmt.Errorf("software: %s has %d bytes, the limit is %d", f.name, len(f.text), MaxSoftwareField)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(f.text)))
		b = append(b, f.text...)
	}
	if product == "" {
		return Key{}, fmt.Errorf("software: the product is missing")
	}
	return Key{Software, sha256.Sum256(b)}, nil
}

// Bytes are those of the hash.
func (k *Key) Bytes() []byte { return k.Sum[:k.Type.KeySize()] }

// isCut tells whether the bytes behind the hash are zero, as those of all keys are.
func (k *Key) isCut() bool {
	for _, c := range k.Sum[k.Type.KeySize():] {
		if c != 0 {
			return false
		}
	}
	return true
}

// Hex is the hash in lower-case hex.
func (k Key) Hex() string { return hex.EncodeToString(k.Bytes()) }

// String is the type and the hash: "file-md5:00…".
func (k Key) String() string { return string(k.Type) + ":" + k.Hex() }

// Prefix is the first bits of the key; bits is MinBits to MaxBits.
func (k Key) Prefix(bits uint8) Prefix {
	return Prefix{Type: k.Type, Bits: bits, Value: binary.BigEndian.Uint32(k.Sum[:4]) >> (32 - bits)}
}

// A Prefix is the first bits of the keys of a type: what a question says, and the unit of answers and caches.
type Prefix struct {
	Type  Type
	Bits  uint8  // MinBits to MaxBits
	Value uint32 // the bits, in the low ones
}

// Hex is the prefix as lower-case hex digits, as few as hold its bits. The last digit's unused bits are zero.
func (p Prefix) Hex() string {
	return string(p.AppendHex(make([]byte, 0, 8)))
}

// AppendHex is Hex that appends to b.
func (p Prefix) AppendHex(b []byte) []byte {
	var bits [4]byte
	binary.BigEndian.PutUint32(bits[:], p.Value<<(32-p.Bits))
	n := len(b) + int(p.Bits+3)/4
	return hex.AppendEncode(b, bits[:])[:n]
}

// String is "file-md5/24/0a1b2c", as in paths, queries and answers.
func (p Prefix) String() string { return string(p.append(make([]byte, 0, 32))) }

// append is String that appends to b.
func (p Prefix) append(b []byte) []byte { return p.AppendHex(p.appendHead(b)) }

// appendHead adds what stands before the digits.
func (p Prefix) appendHead(b []byte) []byte {
	b = append(append(b, p.Type...), '/')
	return append(strconv.AppendUint(b, uint64(p.Bits), 10), '/')
}

// Path is that of a GET request for the prefix.
func (p Prefix) Path() string { return PathLookup + p.String() }

// Number is another one for each prefix, and none 0.
func (p Prefix) Number() uint64 {
	n := uint64(p.Bits)<<32 | uint64(p.Value)
	switch p.Type {
	case FileSHA256:
		return n | 1<<40
	case FileSHA1:
		return n | 2<<40
	case FileMD5:
		return n | 3<<40
	case URL:
		return n | 4<<40
	case Software:
		return n | 5<<40
	}
	return n
}

// Covers tells whether k begins with p.
func (p Prefix) Covers(k Key) bool { return k.Type == p.Type && k.Prefix(p.Bits) == p }

// ParsePrefix takes the three parts of a path. There is one spelling of each prefix.
func ParsePrefix(typ, bits, digits string) (Prefix, error) {
	t := Type(typ).known()
	n, err := strconv.ParseUint(bits, 10, 8)
	switch {
	case t == "":
		return Prefix{}, fmt.Errorf("unknown type %.40q", typ)
	case err != nil || n < MinBits || n > MaxBits || strconv.FormatUint(n, 10) != bits:
		return Prefix{}, fmt.Errorf("prefix of %.10q bits, want %d to %d", bits, MinBits, MaxBits)
	}
	p, ok := parseDigits(t, uint8(n), digits)
	switch want := int(n+3) / 4; {
	case ok:
		return p, nil
	case len(digits) == want && isHex(digits):
		return Prefix{}, fmt.Errorf("prefix %.20q is not the one spelling of its %d bits: the bits behind them are zero", digits, n)
	default:
		return Prefix{}, fmt.Errorf("prefix %.20q, want %d lower-case hex digits", digits, want)
	}
}

// ParseTypedPrefix takes a prefix as [Prefix.String] writes it, and no other spelling.
func ParseTypedPrefix(s string) (Prefix, error) {
	typ, rest, _ := strings.Cut(s, "/")
	bits, digits, ok := strings.Cut(rest, "/")
	if !ok {
		return Prefix{}, fmt.Errorf("prefix %.80q, want a type, a number of bits and hex digits, with / between them", s)
	}
	return ParsePrefix(typ, bits, digits)
}

// parseDigits reads the digits of a prefix of a known type and of MinBits to MaxBits bits.
func parseDigits(t Type, bits uint8, digits string) (Prefix, bool) {
	n := int(bits+3) / 4
	if len(digits) != n || !isHex(digits) {
		return Prefix{}, false
	}
	unused := uint(4*n) - uint(bits)
	v := hexValue(digits)
	p := Prefix{Type: t, Bits: bits, Value: v >> unused}
	return p, p.Value<<unused == v
}

// isValid tells whether p is one that ParsePrefix gives.
func (p Prefix) isValid() bool {
	return p.Type.KeySize() > 0 && p.Bits >= MinBits && p.Bits <= MaxBits && uint64(p.Value)>>p.Bits == 0
}

// noDigit marks the characters that are no lower-case hex digits.
const noDigit = 0xff

// digitValues are those of lower-case hex digits: a table, because whether the next one is a letter is nothing that a processor could guess.
var digitValues = func() (values [256]byte) {
	for c := range values {
		values[c] = noDigit
	}
	for i, c := range "0123456789abcdef" {
		values[c] = byte(i)
	}
	return values
}()

// isHex tells whether s is made of lower-case hex digits.
func isHex(s string) bool {
	var bad byte
	for i := range len(s) {
		bad |= digitValues[s[i]]
	}
	return bad < 16
}

// hexValue is the number that up to 8 lower-case hex digits say.
func hexValue(digits string) (v uint32) {
	for i := range len(digits) {
		v = v<<4 | uint32(digitValues[digits[i]])
	}
	return v
}
