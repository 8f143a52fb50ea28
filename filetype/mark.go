package filetype

import "bytes"

// A mark is what a head without a magic can be recognised by. The order is that of precedence.
type mark uint8

const (
	noMark mark = iota
	markPE
	markUniversal
	markSIS // packages of Symbian
	markPDF
	markJava
	markCompiled // Python
	markLHA
	markMBR // master boot records
	markHTML
	markMail
	markArchive // an archive behind something else: no kind
	markOther
	markIgnored
	allMarks
)

// overrides says whether a mark counts although one of a higher precedence was met before it. Source: probe.
func (m mark) overrides() bool { return m == markPE || m >= markArchive }

// marks are the ends of the last mark of each sort; 0 is none.
type marks [allMarks]int

func (m *marks) saw(which mark, end int) { m[which] = max(m[which], end) }

// winner is the mark that decides: the last of those that override, or one of higher precedence behind it.
func (m *marks) winner() mark {
	if m[markIgnored] > 0 {
		return markIgnored
	}
	w, at := noMark, 0
	for i := noMark + 1; i < allMarks; i++ {
		if i.overrides() && m[i] > at {
			w, at = i, m[i]
		}
	}
	for i := allMarks - 1; i > w; i-- {
		if !i.overrides() && m[i] > at {
			return i
		}
	}
	return w
}

// find gathers the marks in b, the first bytes of an object or their decoding. Source: ftm, the magics that are body patterns.
func (m *marks) find(b []byte) {
	m.atStart(b)
	m.tags(b)
	m.headers(b, len(b))
	m.xml(b)
	for _, p := range [...]struct {
		bytes string
		mark  mark
	}{
		{"PK\x03\x04", markArchive},
		{"Rar!\x1a\x07\x00", markArchive},
		{"MSCF\x00\x00\x00\x00", markArchive},
		{"7z\xbc\xaf\x27\x1c", markArchive},
		{"\xa3\x48\x4b\xbe\x98\x6c\x4a\xa9\x99\x4c\x53\x0a\x86\xd6\x48\x7dAU3!EA05", markOther}, // AutoIt
		{"\xa3\x48\x4b\xbe\x98\x6c\x4a\xa9\x99\x4c\x53\x0a\x86\xd6\x48\x7dAU3!EA06", markOther},
		{"\xef\xbe\xad\xdeNullsoftInst", markOther},
		{"\x00BEA01", markOther}, // UDF
		{"<xdp:xdp", markOther},
	} {
		if bytes.Contains(b, []byte(p.bytes)) {
			m.saw(p.mark, bytes.LastIndex(b, []byte(p.bytes))+len(p.bytes))
		}
	}
	m.gapped(b)
}

const ones = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

// atStart finds the marks that have a place.
func (m *marks) atStart(b []byte) {
	if len(b) >= 8 && bytes.HasPrefix(b, []byte("\xca\xfe\xba\xbe\x00\x00\x00")) {
		switch b[7] >> 4 {
		case 0, 1: // number of architectures
			m.saw(markUniversal, 8)
		case 2, 3: // version of the class format, without a minor one
			m.saw(markJava, 8)
		}
	}
	if len(b) >= 7 && b[2] == '-' && b[6] == '-' {
		switch s := string(b[3:6]); {
		case s[:2] == "lh" && (s[2] >= '0' && s[2] <= '7' || s[2] == 'd' || s[2] == 'x'), s == "lzs", s == "lz4", s == "lz5", s == "pm0":
			m.saw(markLHA, 7)
		}
	}
	for at := 8; at <= 8+12 && at+4 <= len(b); at++ {
		if string(b[at:at+4]) == "\x19\x04\x00\x10" {
			m.saw(markSIS, at+4)
		}
	}
	if len(b) >= 512 && b[510] == 0x55 && b[511] == 0xaa {
		m.saw(markMBR, 512)
	}
	if len(b) >= 516 && b[0] == 'E' && b[1] == 'R' && string(b[512:516]) == "PM\x00\x00" {
		m.saw(markOther, 516) // partition map of Apple
	}
	if bytes.HasPrefix(b, []byte("<%@ LANGUAGE =")) {
		m.saw(markHTML, 14)
	}
	image := []byte("/RGB\nID\n" + ones)
	if i := bytes.Index(b, image); i >= 0 && i <= 128 {
		m.saw(markIgnored, i+len(image)) // an image of a PDF file
	}
	if len(b) >= 4 && string(b[1:4]) == "\r\r\n" {
		m.saw(markCompiled, 4) // from 3.7 on
	}
}

// tags finds tags of HTML, in the spellings that ftm has.
func (m *marks) tags(b []byte) {
	anchor := -1
	for at := 0; ; at++ {
		i := bytes.IndexByte(b[at:], '<')
		if i < 0 {
			break
		}
		at += i
		if n := tag(b[at+1:]); n > 0 {
			m.saw(markHTML, at+1+n)
		} else if anchor < 0 && at+2 < len(b) && b[at+1]|0x20 == 'a' && b[at+2] == ' ' {
			anchor = at + 3
		}
	}
	if anchor < 0 {
		return
	}
	for i := len(b) - 4; i >= anchor; i-- {
		if b[i]|0x20 == 'h' && b[i+1]|0x20 == 'r' && (string(b[i+2:i+4]) == "EF" || string(b[i+2:i+4]) == "ef") {
			m.saw(markHTML, i+4)
			return
		}
	}
}

// tag is how many bytes of b, which follow a "<", are a tag that marks HTML; 0 for none.
func tag(b []byte) int {
	if len(b) < 3 {
		return 0
	}
	var names []string
	switch b[0] {
	case 'H', 'h':
		names = []string{"HEAD>", "HTML>", "head>", "html>", "Head>", "Html>"}
	case 'I', 'i':
		names = []string{"IMG", "img", "Img", "IFRAME", "iframe"}
	case 'O', 'o':
		names = []string{"OBJECT", "object", "Object"}
	case 'S', 's':
		names = []string{"SCRIPT", "script", "Script"}
	case 'T', 't':
		names = []string{"TABLE", "table"}
	}
	for _, n := range names {
		if bytes.HasPrefix(b, []byte(n)) {
			return len(n)
		}
	}
	return 0
}

// headers finds pairs of header lines of mail; the first of a pair must begin in the first bytes up to within.
func (m *marks) headers(b []byte, within int) {
	const none = -1 << 30
	from, mime, id, received, page := none, none, none, none, none // ends of the last line of each sort
	if n := line(b, "MIME-Version: "); n > 0 {
		page = n
	}
	for at := 0; ; at++ {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			break
		}
		at += i
		rest := b[at+1:]
		if len(rest) == 0 {
			break
		}
		switch rest[0] | 0x20 {
		case 'f':
			if n := line(rest, "From: "); n > 0 && at <= min(within, 1024) {
				from = at + 1 + n
			}
		case 'm':
			if n := line(rest, "MIME-Version: "); n > 0 {
				if at-from <= 1024 {
					m.saw(markMail, at+1+n)
				}
				page = at + 1 + n
				if at <= min(within, 1024) {
					mime = page
				}
			} else if n := line(rest, "Message-Id: "); n > 0 && at <= min(within, 1024) {
				id = at + 1 + n
			}
		case 'r':
			if n := line(rest, "Received: "); n > 0 && at <= min(within, 2048) {
				received = at + 1 + n
			}
		case 'c':
			if n := line(rest, "Content-Type: "); n > 0 {
				if at-from <= 2048 || at-mime <= 2048 || at-id <= 1024 || at-received <= 2048 {
					m.saw(markMail, at+1+n)
				}
				if at-page <= 1024 {
					m.saw(markOther, at+1+n) // a saved page (MHTML)
					page = none
				}
			}
		}
	}
	const to, by = "Delivered-To:", "Received:"
	if i := bytes.Index(b, []byte(to)); i >= 0 && i <= 1024 {
		rest := b[i+len(to):]
		if j := bytes.LastIndex(rest[:min(len(rest), 256+len(by))], []byte(by)); j >= 0 {
			m.saw(markMail, i+len(to)+j+len(by))
		}
	}
}

// line is len(name) if b begins with it, where the letters that are upper case in name may be lower case in b; otherwise 0.
func line(b []byte, name string) int {
	if len(b) < len(name) {
		return 0
	}
	for i := range len(name) {
		if c := name[i]; b[i] != c && (c < 'A' || c > 'Z' || b[i] != c|0x20) {
			return 0
		}
	}
	return len(name)
}

// xml finds documents that are XML.
func (m *marks) xml(b []byte) {
	const head, bom = `<?xml version="1.0"`, "\xef\xbb\xbf"
	if bytes.HasPrefix(b, []byte(bom+head)) && bytes.Contains(b, []byte("<HWPML")) {
		m.saw(markOther, len(b))
	}
	if !bytes.HasPrefix(b, []byte(head)) {
		return
	}
	for _, name := range [...]string{"Workbook", "wordDocument"} {
		for at := len(head); ; at++ {
			i := bytes.Index(b[at:], []byte(name))
			if i < 0 {
				break
			}
			if at += i; b[at-1] == '<' || b[at-1] == ':' && b[at-3] == '<' { // with a prefix of one letter, or without
				m.saw(markOther, at+len(name))
			}
		}
	}
	if i := bytes.Index(b, []byte(`progid="Word.Document"?>`)); i >= 0 {
		m.saw(markOther, i+24)
	}
}

// gapped finds the patterns with wildcards inside.
func (m *marks) gapped(b []byte) {
	for at := 0; ; at++ { // MZ, 60 to 300 bytes, and the signature of PE
		i := bytes.Index(b[at:], []byte("PE\x00\x00"))
		if i < 0 {
			break
		}
		at += i
		if bytes.Contains(b[max(at-302, 0):max(at-60, 0)], []byte("MZ")) {
			m.saw(markPE, at+4)
		}
	}
	for _, name := range [...]string{"%PDF-", "%pdf-"} {
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], []byte(name))
			if i < 0 {
				break
			}
			if at += i; at+6 < len(b) && b[at+6] == '.' {
				m.saw(markPDF, at+7)
			}
		}
	}
	for at := 0; ; at++ { // ARJ
		i := bytes.Index(b[at:], []byte("\x60\xea"))
		if i < 0 {
			break
		}
		if at += i; at+10 < len(b) && b[at+9] <= 2 && b[at+10] == 2 {
			m.saw(markArchive, at+11)
		}
	}
	const shield = "InstallShield\x00"
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], []byte(shield))
		if i < 0 {
			break
		}
		at += i
		if rest := b[at+len(shield):]; len(rest) >= 313 && string(rest[292:300]) == "\x06\x00\x00\x00\x00\x00\x00\x00" &&
			string(rest[308:313]) == "\x00\x00\x00\x00\x01" {
			m.saw(markOther, at+len(shield)+313)
		}
	}
}
