package matcher

import (
	"testing"

	"example.org/avdb/dbformat"
)

// FuzzLines puts any bytes in the place of the lines. They can hide records (which is why pieces have
// checksums) but must never make one up, end the program or read outside.
func FuzzLines(f *testing.F) {
	s := sections{
		"hash/sha256":  nil,
		"whole/sha256": {listed(dbformat.SHA256, "whole", true, "Test.Whole")},
	}
	for i := range 40 {
		s["hash/sha256"] = append(s["hash/sha256"], listed(dbformat.SHA256, string(rune('a'+i)), true, "Test.Split"))
	}
	light, rest := generation(f, s)
	e, err := OpenGeneration(light, rest, Options{})
	if err != nil {
		f.Fatal(err)
	}
	right := *e.index.pieces[0].Load()
	wrong := make([]byte, len(right))
	for i := range wrong {
		wrong[i] = 0xff
	}
	f.Add(right)
	f.Add(wrong)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := make([]byte, len(right))
		copy(lines, b)
		e.index.pieces[0].Store(&lines)
		for section, records := range s {
			for _, r := range records {
				got, err := e.Lookup(dbformat.SHA256, r.Hash[:], int64(r.Size))
				if err != nil || got.Verdict == Malicious && got.Signature != section || got.Verdict != Malicious && got.Verdict != Clean {
					t.Fatalf("%s: %+v, %v", section, got, err)
				}
				r.Hash[31] ^= 1
				if got, err := e.Lookup(dbformat.SHA256, r.Hash[:], int64(r.Size)); err != nil || got.Verdict != Clean {
					t.Fatalf("a stranger: %+v, %v", got, err)
				}
			}
		}
	})
}
