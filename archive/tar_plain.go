package archive

import (
	"bytes"
	"io"
	"math"
	"strings"
)

// The fields of a tar header that say where content is, and what clamscan 1.4.6 makes of its types.
const (
	tarName             = 100 // bytes, from 0 on
	tarSize, tarSizeEnd = 124, 136
	tarSum, tarSumEnd   = 148, 156
	tarType             = 156
	tarNoContent        = "123456V"   // nothing follows, whatever the size
	tarNoMember         = "AEIKLNXgx" // what follows is about other headers
	tarSpaces           = " \t\n\v\f\r"
)

// A span is a part of a tar file that is the content of a member.
type span struct{ from, to int64 }

// tarPlain visits the members of a tar file once more, as those take it who look at the name, size and type of a header and at nothing else, as clamscan does: no
// field that is no number spoils the others, and no extended header changes a size. Members that were read, in ascending order, do not come again.
func (v *visit) tarPlain(read []span) {
	var b [tarBlock]byte
	for at := int64(0); !v.done; {
		if at = v.nextHeader(at, &b); at < 0 {
			return
		}
		content := plainContent(&b, at+tarBlock, v.in.size)
		at = content.to
		for len(read) > 0 && read[0].from < content.from {
			read = read[1:]
		}
		if content.to == content.from || strings.IndexByte(tarNoMember, b[tarType]) >= 0 || len(read) > 0 && read[0] == content {
			continue
		}
		name, _, _ := bytes.Cut(b[:tarName], []byte{0})
		if !v.tarPlainMember(cleanName(name), content) {
			return
		}
	}
}

// plainContent is where the content of a header is that ends at a position, in a file of size bytes.
func plainContent(b *[tarBlock]byte, at, size int64) span {
	if strings.IndexByte(tarNoContent, b[tarType]) >= 0 {
		return span{at, at}
	}
	return span{at, at + plainSize(b[tarSize:tarSizeEnd], size-at)}
}

// tarPlainMember visits what lies there.
func (v *visit) tarPlainMember(name string, content span) bool {
	if err := v.b.entry(name); err != nil {
		return v.fail(err)
	}
	size := content.to - content.from
	m := &Member{Name: name, Size: size, Hidden: true}
	m.start = func() (io.Reader, error) {
		return &storedReader{&packedReader{in: v.in, at: content.from, end: min(content.to, v.in.size)}, size}, nil
	}
	return v.member(m)
}

// plainSize is the size that clamscan reads: 32 bits with a sign, of octal digits with anything behind them, and 0 for what is none. What does not fit into
// that is taken as it is if the file has room for it, which clamscan would not look at.
func plainSize(field []byte, room int64) int64 {
	n := octal(field)
	if field[0] == 0x80 {
		for _, c := range field[len(field)-8:] {
			n = n<<8 | int64(c)
		}
		if n <= math.MaxInt32 {
			n = 0
		}
	}
	if n > math.MaxInt32 && n <= room {
		return n
	}
	return int64(max(0, int32(n)))
}

// octal reads digits with anything behind them; 0 where there are none.
func octal(field []byte) (n int64) {
	digits := bytes.TrimPrefix(bytes.TrimLeft(field, tarSpaces), []byte("+"))
	for _, c := range digits {
		if c < '0' || c > '7' {
			break
		}
		n = n<<3 | int64(c-'0')
	}
	return n
}

// isHeader tells whether a block has the checksum of a header: the sum of its bytes, those of the checksum itself taken for spaces.
func isHeader(b *[tarBlock]byte) bool {
	want := octal(b[tarSum:tarSumEnd])
	if want == 0 { // most of what is looked at are zeros
		return false
	}
	unsigned, signed := int64((tarSumEnd-tarSum)*' '), int64((tarSumEnd-tarSum)*' ')
	for i, c := range b {
		if i < tarSum || i >= tarSumEnd {
			unsigned += int64(c)
			signed += int64(int8(c))
		}
	}
	return want == unsigned || want == signed
}
