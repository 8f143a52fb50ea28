package pattern_test

import (
	"testing"

	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
)

// samples calls f for made-up subsignatures and files in which some of them match.
func samples(t *testing.T, seed uint64, n int, f func(s pattern.Subsignature, file *pattern.File)) {
	t.Helper()
	w := patterntest.New(seed)
	for i, done := 0, 0; done < n; i++ {
		alternate(w, i)
		r, err := parseRecord("ldb", w.LogicalLine("A", pattern.TargetOLE2))
		if err != nil {
			continue
		}
		done++
		file := w.Some(pattern.TargetOLE2, r.Logical.Subsignatures)
		for _, s := range r.Logical.Subsignatures {
			f(s, &file)
		}
	}
}

// At every place of a file, a part is verified in the smallest window that is promised to do, and with the outcome of the reference matcher.
func TestPartsAreVerifiedInTheirWindow(t *testing.T) {
	hits := 0
	samples(t, 31, 250, func(s pattern.Subsignature, file *pattern.File) {
		hits += verifyEverywhere(t, s, file.Data)
	})
	if hits < 200 {
		t.Errorf("only %d hits: the files test little", hits)
	}
}

// verifyEverywhere holds the outcome at each place against the reference's, and counts the matches.
func verifyEverywhere(t *testing.T, s pattern.Subsignature, data []byte) (hits int) {
	t.Helper()
	for _, v := range s.Variants() {
		for i := range v.Parts {
			_, most := v.Parts[i].Length()
			before, after := v.Parts[i].Reach()
			for at := range len(data) + 1 {
				from, to := max(0, at-before), min(len(data), at+most+after)
				w := pattern.Window{Bytes: data[from:to], Start: from == 0, End: to == len(data)}
				end, ok := v.MatchPart(i, w, at-from)
				wantEnd, want := v.MatchHere(i, data, at)
				if ok != want || ok && end+from != wantEnd {
					t.Fatalf("part %d of %s at %d: %d, %v; want %d, %v\n%x", i, s.String(), at, end+from, ok, wantEnd, want, data)
				}
				if ok {
					hits++
				}
			}
		}
	}
	return hits
}

// A prefilter that looks for any one literal of a part misses no match of it.
func TestMatchesHaveTheirLiterals(t *testing.T) {
	hits := 0
	samples(t, 32, 250, func(s pattern.Subsignature, file *pattern.File) {
		for _, v := range s.Variants() {
			for i := range v.Parts {
				p := &v.Parts[i]
				literals := p.Literals()
				least, most := p.Length()
				long := 0
				for _, l := range literals {
					long = max(long, len(l.Bytes))
				}
				if long < 2 {
					t.Fatalf("part %d of %s has the literals %v: none has two bytes", i, s.String(), literals)
				}
				for at := range file.Data {
					end, ok := v.MatchHere(i, file.Data, at)
					if !ok {
						continue
					}
					hits++
					if n := end - at; n < least || n > most {
						t.Fatalf("a match of part %d of %s has %d bytes, not %d to %d", i, s.String(), n, least, most)
					}
					text := string(file.Data[at:end])
					if v.Nocase {
						text = lowerASCII(text)
					}
					for _, l := range literals {
						found := false
						for k := l.Least; k <= l.Most && k+len(l.Bytes) <= len(text); k++ {
							found = found || text[k:k+len(l.Bytes)] == l.Bytes
						}
						if !found {
							t.Fatalf("the match %q of part %d of %s has no %q at %d to %d", text, i, s.String(), l.Bytes, l.Least, l.Most)
						}
					}
				}
			}
		}
	})
	if hits < 200 {
		t.Errorf("only %d hits: the files test little", hits)
	}
}

// lowerASCII folds ASCII letters and leaves all other bytes alone.
func lowerASCII(text string) string {
	b := []byte(text)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 0x20
		}
	}
	return string(b)
}

func TestVerificationAllocatesNothing(t *testing.T) {
	l := logical(t, "Target:2;0&1;6162(63|6465)!(B)??(6?|7a7a)65::iw;ee[1-2]6162!(6364|6566)[0-3]ff")
	data := []byte("xxa\x00B\x00d\x00e\x00q\x00.\x00Z\x00z\x00E\x00..\xeeaabzz..\xff")
	for _, s := range l.Subsignatures {
		for _, v := range s.Variants() {
			w := pattern.Window{Bytes: data, Start: true, End: true}
			if n := testing.AllocsPerRun(20, func() {
				for at := range data {
					v.MatchPart(0, w, at)
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations", s.String(), n)
			}
		}
	}
}
