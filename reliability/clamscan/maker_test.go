//go:build check

package clamscan_test

import (
	"fmt"
	"strings"

	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
)

// maxFile is the size above which no file is made of a signature.
const maxFile = 4 << 20

// A maker makes lines, and files that they match.
type maker struct{ *patterntest.Writer }

func newMaker(seed uint64) *maker {
	m := &maker{patterntest.New(seed)}
	m.Least, m.Most, m.Reach = 4, 9, 3000
	return m
}

// line makes up a body signature or a logical signature.
func (m *maker) line(name string) (ext, line string) {
	ext, line, _ = m.Line(name, []pattern.Target{0, 0, 1, 1, 6, 6, 9, 2, 5, 10, 11, 12}[m.IntN(12)])
	return "." + ext, line
}

// excerpt makes a signature of bytes of a file, with wildcards and, often, one byte that is another.
func (m *maker) excerpt(name string, b []byte) (ext, line string) {
	n := 16 + m.IntN(30)
	at := m.IntN(len(b) - n)
	for range 20 { // bytes that do not occur everywhere
		seen := map[byte]bool{}
		for _, c := range b[at : at+n] {
			seen[c] = true
		}
		if len(seen) >= 10 {
			break
		}
		at = m.IntN(len(b) - n)
	}
	text := []byte(fmt.Sprintf("%x", b[at:at+n]))
	for range m.IntN(4) {
		text[8+m.IntN(len(text)-8)] = '?'
	}
	if m.IntN(3) == 0 {
		copy(text[2:], fmt.Sprintf("%02x", b[at+1]^byte(1+m.IntN(255))))
	}
	body := string(text)
	if gap := 20 + 2*m.IntN((len(text)-24)/2); m.IntN(3) == 0 && len(body)-gap > 24 && !strings.Contains(body, "?") {
		body = body[:gap-2] + m.Pick("{1-5}", "*", "{-3}") + body[gap:]
	}
	offset := m.Pick("*", "*", fmt.Sprint(at), fmt.Sprintf("%d,20", max(0, at-10)), fmt.Sprintf("EOF-%d", len(b)-at))
	t := pattern.Target(filetypeTarget(b))
	return ".ndb", fmt.Sprintf("%s:%d:%s:%s", name, []pattern.Target{t, 0}[m.IntN(2)], offset, body)
}
