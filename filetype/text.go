package filetype

// An encoding is what text detection finds.
type encoding uint8

const (
	noText encoding = iota
	ascii           // and what extends it, ISO 8859 and UTF-8 among others
	wideText
)

// plain says whether a byte below 128 occurs in text: what prints, and BEL, BS, HT, LF, FF, CR and ESC. Source: probe, each byte.
func plain(c byte) bool {
	return c >= ' ' && c < 0x7f || c >= 7 && c <= 10 || c == 12 || c == 13 || c == 0x1b
}

// textual finds the encoding of a head. Bytes from 128 on never speak against text. Source: probe.
func textual(b []byte) encoding {
	for _, c := range b {
		if c < 0x80 && !plain(c) {
			if isUTF16(b) {
				return wideText
			}
			return noText
		}
	}
	return ascii
}

// isUTF16 says whether b may be UTF-16: with a mark of its byte order anything but a mark of the other order, without one what is free of
// control characters when it is read as big-endian. Source: probe.
func isUTF16(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	little := b[0] == 0xff && b[1] == 0xfe
	marked := little || b[0] == 0xfe && b[1] == 0xff
	for i := 2; i+1 < len(b); i += 2 {
		c := uint16(b[i])<<8 | uint16(b[i+1])
		if little {
			c = c>>8 | c<<8
		}
		if c == 0xfffe || !marked && c < 0x80 && !plain(byte(c)) {
			return false
		}
	}
	return true
}

// IsTar says whether b begins with the header of a tar archive: the sum of its 512 bytes, with the eight of the checksum as blanks, is
// what these eight say in octal. Source: spec (POSIX, ustar Interchange Format), for archives older than its magic as well.
func IsTar(b []byte) bool {
	const size, at, width = 512, 148, 8
	if len(b) < size {
		return false
	}
	sum := width * int(' ')
	for i, c := range b[:size] {
		if i < at || i >= at+width {
			sum += int(c)
		}
	}
	said, i := 0, at
	for i < at+width && blank(b[i]) {
		i++
	}
	if i == at+width {
		return false
	}
	for ; i < at+width && b[i] >= '0' && b[i] <= '7'; i++ {
		said = said<<3 | int(b[i]-'0')
	}
	return sum == said && (i == at+width || b[i] == 0 || blank(b[i]))
}

func blank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
