package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// eicar puts the EICAR test file together: 68 harmless bytes that every scanner is
// meant to detect. The halves stand here masked, so that neither the source nor the
// program is detected by other engines.
func eicar() []byte {
	halves := [2]string{`[6L"S&CBSX7_SY[67+S]*4@@*4~'`, `FJ@BQ.PWBMGBQG.BMWJUJQVP.WFPW.EJOF"'K(K)`}
	var b []byte
	for _, h := range halves {
		for _, c := range []byte(h) {
			b = append(b, c^eicarMask)
		}
	}
	return b
}

// eicarMask keeps the halves printable.
const eicarMask = 0x03

// madeUp writes n lines of a .hsb source, always the same for the same seed: hashes of
// texts that no file is, with a size and a name.
func madeUp(seed string, n int) []byte {
	var b strings.Builder
	for i := range n {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, i))
		fmt.Fprintf(&b, "%x:%d:Made.Up.%s-%d\n", sum, 1000+i%9000, seed, i)
	}
	return []byte(b.String())
}
