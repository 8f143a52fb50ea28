package patterns

import (
	"bytes"
	"fmt"
	"io"

	"example.org/avdb/pattern"
)

// recount counts the matches of a subsignature by reading the object again, once for each variant, up to as many as make a difference. It is not known if
// there is no reader, or if the chain leaves more than maxAgain spans open.
func (s *state) recount(n uint32, r io.ReaderAt) (count uint32, known bool, err error) {
	sub := s.sub(n)
	first, last, ok := sub.offset.Bounds(s.scanner.object.Size, &s.scanner.facts)
	if !ok {
		return 0, true, nil
	}
	if r == nil {
		return 0, false, nil
	}
	for i := sub.first; i < sub.last && count < sub.most; i++ {
		k := s.searched(i, &sub)
		if known, err = s.rematch(&k, first, last, r, &count, sub.most); !known || err != nil {
			return 0, false, err
		}
	}
	return count, true, nil
}

// A search is a chain while an object is read again.
type search struct {
	parts []searchPart
	other program // the plain form of the only part: where it matches too, the wide one does not count; nil for none
}

// A searchPart is a part that is looked for by the bytes of its anchor.
type searchPart struct {
	program     program
	gap         pattern.Gap
	bytes       []byte
	fold        bool  // they may be in either case
	least, most int64 // how far behind a start they stand
	asked, next int64 // the last start that was asked about, and the first one from there on that may be
}

// searched makes a chain ready to be looked for, in memory that the scanner keeps.
func (s *state) searched(n uint32, sub *sub) search {
	c, x := s.scanner, s.chain(n)
	k := search{parts: c.parts[:0]}
	c.anchors = c.anchors[:0]
	for i := x.first; i < x.last; i++ {
		p := s.part(i)
		q := searchPart{program: s.program(p.program), gap: p.gap}
		q.least, q.most = q.program.lead()
		q.fold = q.program.nocase()
		from := len(c.anchors)
		c.anchors = append(c.anchors, q.program.anchor()...)
		q.bytes = c.anchors[from:len(c.anchors):len(c.anchors)]
		hide(q.bytes)
		k.parts = append(k.parts, q)
	}
	c.parts = k.parts
	if len(k.parts) == 1 && n+1 < sub.last {
		k.other = s.program(s.part(s.chain(n + 1).first).program)
	}
	return k
}

// rematch matches a chain whose first part starts at first to last: at each place this part, and of the others those that may start there.
func (s *state) rematch(k *search, first, last int64, r io.ReaderAt, count *uint32, most uint32) (known bool, err error) {
	c := s.scanner
	size, parts := c.object.Size, len(k.parts)
	if c.buffer == nil {
		c.buffer = make([]byte, again+c.set.history+c.set.ahead)
	}
	p := &s.again
	p.begin(parts)
	spans := 0 // of all gaps
	for at := first; at < size; {
		from := max(0, at-c.set.history)
		b := c.buffer[:min(int64(len(c.buffer)), size-from)]
		if got, err := r.ReadAt(b, from); got < len(b) {
			if err == nil || err == io.EOF {
				err = fmt.Errorf("%w: it ends at byte %d of %d: scan it again when nothing writes to it", ErrSize, from+int64(got), size)
			}
			return false, err
		}
		w := pattern.Window{Bytes: b, Start: from == 0, End: from+int64(len(b)) == size}
		to := from + int64(len(b))
		if !w.End {
			to -= c.set.ahead
		}
		for i := range k.parts {
			k.parts[i].asked = never
		}
		for {
			// The next place where some part that may start there may be, by its anchor.
			next := to
			for i := range k.parts {
				begin := at
				if i > 0 {
					was := p.reaches[i].live()
					begin = p.reaches[i].next(at)
					spans += p.reaches[i].live() - was
				} else if at > last {
					begin = never
				}
				if begin <= next && begin < to {
					next = min(next, k.parts[i].skip(b, from, begin, to))
				}
			}
			if at = next; at >= to {
				break
			}
			for i := range k.parts {
				q := &k.parts[i]
				if q.next != at || i == 0 && at > last {
					continue
				}
				if i > 0 {
					was := p.reaches[i].live()
					in := p.reaches[i].admits(at)
					if spans += p.reaches[i].live() - was; !in {
						continue
					}
				}
				s.step(1)
				end, ok := c.verifier.match(q.program, w, int(at-from))
				s.step(uint64(c.verifier.work) / workSteps)
				if !ok {
					continue
				}
				if i < parts-1 {
					was := p.reaches[i+1].live()
					s.step(p.reaches[i+1].add(k.parts[i+1].gap, from+int64(end)))
					if spans += p.reaches[i+1].live() - was; spans > maxAgain {
						s.again = progress{} // it had grown
						return false, nil
					}
					continue
				}
				if k.other != nil && most > 1 {
					if _, twice := c.verifier.match(k.other, w, int(at-from)); twice {
						continue
					}
				}
				if *count++; *count >= most {
					return true, nil
				}
			}
			if s.step(uint64(parts)); s.over {
				return false, nil
			}
			at++
		}
		if s.step(uint64(len(b)) / 64); s.over {
			return false, nil
		}
		if at > last && p.idle() {
			return true, nil
		}
	}
	return true, nil
}

// idle tells whether only the first part may start anywhere.
func (p *progress) idle() bool {
	for i := 1; i < len(p.reaches); i++ {
		if r := &p.reaches[i]; r.from < never || r.live() > 0 {
			return false
		}
	}
	return true
}

// skip finds the next place from at on where the part may start, because its anchor may be there; to if there is none before. b begins at from and
// has all bytes that a match which starts before to may have.
func (q *searchPart) skip(b []byte, from, at, to int64) int64 {
	if q.asked <= at && at <= q.next {
		return q.next
	}
	q.asked, q.next = at, to
	begin := min(at-from+q.least, int64(len(b)))
	i := 0
	if q.fold {
		i = indexFold(b[begin:], q.bytes)
	} else {
		i = bytes.Index(b[begin:], q.bytes)
	}
	if i >= 0 {
		q.next = min(to, max(at, from+begin+int64(i)-q.most))
	}
	return q.next
}

// indexFold is [bytes.Index] for small letters that match both cases.
func indexFold(b, low []byte) int {
	for i := 0; i+len(low) <= len(b); i++ {
		n := 0
		for n < len(low) && lower(b[i+n]) == low[n] {
			n++
		}
		if n == len(low) {
			return i
		}
	}
	return -1
}
