package pattern

// A Window is the piece of a file in which a part is verified: at least [Part.Length] bytes, and [Part.Reach] on either side as far as the file goes.
type Window struct {
	Bytes      []byte
	Start, End bool // Bytes begins where the file begins, ends where it ends
}

// MatchPart tells whether part i matches from w.Bytes[at] on, and where its match ends. Where there are several ends it is the one that comes first
// in the order of the alternatives. It allocates nothing and takes at most MaxWays runs through the part. Safe for many goroutines at a time.
func (v *Variant) MatchPart(i int, w Window, at int) (end int, ok bool) {
	if at < 0 || at > len(w.Bytes) {
		return 0, false
	}
	p := &v.Parts[i]
	if !w.begins(p.Begin, at) || !w.anchored(p.Before, v.Nocase, at-1, -1) {
		return 0, false
	}
	return v.from(p, 0, &w, at)
}

// from matches the elements from the k-th on.
func (v *Variant) from(p *Part, k int, w *Window, at int) (int, bool) {
	for ; k < len(p.Elements); k++ {
		e := &p.Elements[k]
		if e.Op != OpAlternatives {
			n := e.match(w.Bytes, at, v.Nocase)
			if n < 0 {
				return 0, false
			}
			at += n
			continue
		}
		if e.Not {
			n := len(e.Options[0].Elements[0].Bytes)
			if at+n > len(w.Bytes) || v.option(e, w, at, n, len(e.Options)) {
				return 0, false
			}
			at += n
			continue
		}
		for j := range e.Options {
			n := matchOption(e.Options[j].Elements, w.Bytes, at, v.Nocase)
			if n < 0 || v.option(e, w, at, n, j) { // one of that length has been tried
				continue
			}
			if end, ok := v.from(p, k+1, w, at+n); ok {
				return end, true
			}
		}
		return 0, false
	}
	if !w.ends(p.End, at) || !w.anchored(p.After, v.Nocase, at, 1) {
		return 0, false
	}
	return at, true
}

// option tells whether one of the first few options matches with n bytes.
func (v *Variant) option(e *Element, w *Window, at, n, few int) bool {
	for j := range few {
		if matchOption(e.Options[j].Elements, w.Bytes, at, v.Nocase) == n {
			return true
		}
	}
	return false
}

// matchOption gives the length of an option's match, -1 for none.
func matchOption(elements []Element, b []byte, at int, nocase bool) int {
	length := 0
	for i := range elements {
		n := elements[i].match(b, at+length, nocase)
		if n < 0 {
			return -1
		}
		length += n
	}
	return length
}

// match gives the length of the match of an element that is no alternative, -1 for none.
func (e *Element) match(b []byte, at int, nocase bool) int {
	if e.Op == OpAny {
		if at+e.Count > len(b) {
			return -1
		}
		return e.Count
	}
	if at >= len(b) {
		return -1
	}
	switch c := b[at]; e.Op {
	case OpBytes:
		n := len(e.Bytes)
		if at+n > len(b) {
			return -1
		}
		if !nocase {
			if string(b[at:at+n]) != e.Bytes {
				return -1
			}
			return n
		}
		for i := range n {
			if lower(b[at+i]) != e.Bytes[i] {
				return -1
			}
		}
		return n
	case OpHigh:
		if c>>4 == e.Value {
			return 1
		}
	case OpLow:
		if c&15 == e.Value {
			return 1
		}
	case OpClass:
		if e.Class == ClassLine {
			length := 0
			switch {
			case c == '\n':
				length = 1
			case c == '\r' && at+1 < len(b) && b[at+1] == '\n':
				length = 2
			}
			switch {
			case e.Not && length == 0:
				return 1
			case !e.Not && length > 0:
				return length
			}
			return -1
		}
		in := e.Class == ClassBoundary && (opens(c) || closes(c)) || e.Class == ClassWord && !alphanumeric(c)
		if in != e.Not {
			return 1
		}
	}
	return -1
}

// begins tells whether a match may start at at.
func (w *Window) begins(b Boundary, at int) bool {
	if b.Class == ClassNone || at == 0 && w.Start {
		return true
	}
	switch b.Class {
	case ClassBoundary:
		return at > 0 && opens(w.Bytes[at-1])
	case ClassLine:
		return at > 0 && w.Bytes[at-1] == '\n'
	case ClassWord:
		return at > 0 && !alphanumeric(w.Bytes[at-1])
	}
	if at == 1 && w.Start { // a lone byte is no wide character
		return true
	}
	return at > 1 && !(alphanumeric(w.Bytes[at-2]) && w.Bytes[at-1] == 0)
}

// ends tells whether a match may end before w.Bytes[at].
func (w *Window) ends(b Boundary, at int) bool {
	if b.Class == ClassNone {
		return true
	}
	in := at == len(w.Bytes) && w.End
	if at < len(w.Bytes) {
		c := w.Bytes[at]
		next := at+1 < len(w.Bytes)
		switch b.Class {
		case ClassBoundary:
			in = closes(c)
		case ClassLine:
			in = c == '\n' || c == '\r' && next && w.Bytes[at+1] == '\n'
		case ClassWord:
			in = !alphanumeric(c)
		case ClassWideWord:
			in = !alphanumeric(c) || next && w.Bytes[at+1] != 0
		}
	}
	return in != b.Not
}

// anchored looks for a single byte from at on, in steps of one.
func (w *Window) anchored(a Anchor, nocase bool, at, step int) bool {
	if !a.Set {
		return true
	}
	for d := int(a.Min); d <= int(a.Max); d++ {
		i := at + d*step
		if i < 0 || i >= len(w.Bytes) {
			return false
		}
		if c := w.Bytes[i]; c == a.Value || nocase && lower(c) == a.Value {
			return true
		}
	}
	return false
}

// opens tells whether (B) holds behind c, closes whether it holds before c. The two sets are ClamAV's.
func opens(c byte) bool {
	switch c {
	case ' ', '-', '.', '/', '<', '@', '_':
		return true
	}
	return false
}

func closes(c byte) bool {
	switch c {
	case '\n', '\r', ' ', '"', '\'', '-', '/', '=', '>', '_':
		return true
	}
	return false
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'z'
}
