package matcher

import "example.org/avdb/archive"

// An embeddedZip is the search for the first local header of a zip in an object that is no container, while it is read.
type embeddedZip struct {
	on    bool
	found bool
	at    int64   // where it was found, or how much was looked at
	last  [3]byte // the bytes before that, which may be its beginning
	n     int
}

// write looks at the next bytes.
func (z *embeddedZip) write(b []byte) {
	if !z.on || z.found {
		return
	}
	var edge [2 * len(z.last)]byte
	n := copy(edge[:], z.last[:z.n])
	m := n + copy(edge[n:], b[:min(len(b), len(z.last))])
	if i := archive.FindEmbedded(edge[:m]); i >= 0 && n > 0 {
		z.found, z.at = true, z.at-int64(n)+int64(i)
		return
	}
	if i := archive.FindEmbedded(b); i >= 0 {
		z.found, z.at = true, z.at+int64(i)
		return
	}
	z.at += int64(len(b))
	if len(b) >= len(z.last) {
		z.n = copy(z.last[:], b[len(b)-len(z.last):])
	} else { // edge holds all of b
		z.n = copy(z.last[:], edge[max(0, m-len(z.last)):m])
	}
}
