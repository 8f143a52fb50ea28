package pattern

// MatchHere is how the reference matcher matches one part, for tests of the faster one.
func (v *Variant) MatchHere(i int, data []byte, start int) (end int, ok bool) {
	return matchHere(v.Parts[i], v.Nocase, data, start)
}
