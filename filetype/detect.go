package filetype

import "bytes"

const (
	// HeadSize is how many bytes of an object decide its kind; what follows can only turn text into HTML or mail.
	HeadSize = 1024
	// MaxHead is as far as [Detect] looks into text.
	MaxHead = 32 << 10

	smallest = 6 // bytes of the smallest object that ClamAV looks at (probe)
)

// Detect tells the kind of an object of size bytes that begins with head. The head may be longer than needed, MaxHead at most is looked at; where it
// is shorter than HeadSize and than the object, the kind is only that of the head. Detect is pure, never allocates and keeps nothing of head.
func Detect(head []byte, size int64) Kind {
	if size < smallest {
		return Unknown
	}
	head = head[:min(int64(len(head)), size, MaxHead)]
	b := head[:min(len(head), HeadSize)]
	if k, ok := byMagic(b); ok {
		return k
	}
	enc := textual(b)
	if bytes.HasPrefix(b, []byte("\x00\x00\x01\xb3")) || bytes.HasPrefix(b, []byte("\x00\x00\x01\xba")) {
		enc = noText // MPEG (ftm)
	}
	if enc == noText && IsTar(b) {
		return Tar
	}
	var m marks
	m.find(b)
	switch m.winner() {
	case noMark, markArchive:
		return unmarked(head, b, enc)
	case markPE:
		return PE
	case markUniversal:
		return Universal
	case markPDF:
		return PDF
	case markJava:
		return Java
	case markHTML:
		return HTML
	case markMail:
		return Mail
	case markIgnored:
		return Ignored
	case markCompiled:
		return Data
	}
	return Other
}

// unmarked is the kind of text or data without a mark in its first bytes b.
func unmarked(head, b []byte, enc encoding) Kind {
	var buf [HeadSize / 2]byte
	if hasTag(squeeze(buf[:0], b, 2, 0, true)) {
		return HTML
	}
	if width, least, ok := wide(b); ok && hasTag(squeeze(buf[:0], b, width, least, false)) {
		return HTML
	}
	switch enc {
	case ascii:
		return further(head)
	case wideText:
		return Text
	}
	return Data
}

// hasTag says whether what was decoded is HTML.
func hasTag(b []byte) bool {
	if bytes.IndexByte(b, '<') < 0 {
		return false
	}
	var m marks
	m.find(b)
	return m.winner() == markHTML
}

// squeeze appends a byte for each unit of width bytes in b, whose least byte is at place least: what ClamAV does before it looks
// for tags in UTF-16 (probe). Characters that are no ASCII become some other byte. Zeros are left out where the encoding is known.
func squeeze(dst, b []byte, width, least int, zeros bool) []byte {
	for ; len(b) >= width; b = b[width:] {
		next := least ^ 1 // the place of the second least byte, for two or four bytes in either order
		if c := b[next]<<4 + b[least]; c != 0 || zeros {
			dst = append(dst, c)
		}
	}
	return dst
}

// wide finds the width of a unit and the place of its least byte by a mark of the byte order, or by the beginning of XML.
// Source: spec (Extensible Markup Language, appendix F); probe.
func wide(b []byte) (width, least int, ok bool) {
	if len(b) < 4 {
		return 0, 0, false
	}
	switch s := string(b[:4]); {
	case s == "\x00\x00\xfe\xff", s == "\x00\x00\x00<":
		return 4, 3, true
	case s == "\xff\xfe\x00\x00", s == "<\x00\x00\x00":
		return 4, 0, true
	case s[:2] == "\xfe\xff", s == "\x00<\x00?":
		return 2, 1, true
	case s[:2] == "\xff\xfe", s == "<\x00?\x00":
		return 2, 0, true
	}
	return 0, 0, false
}

// further looks for marks in all of the head of what is ASCII in its first bytes.
func further(head []byte) Kind {
	if len(head) <= HeadSize {
		return Text
	}
	var m marks
	m.tags(head)
	m.headers(head, HeadSize*2)
	switch {
	case m[markMail] > 0:
		return Mail
	case m[markHTML] > 0:
		return HTML
	}
	return Text
}
