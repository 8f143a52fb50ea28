package dbformat

import "math/bits"

// ChooseParams chooses the widths for c. prev, which may be nil, holds those of the
// release before: its prefix width, that of files as well as that of URLs, is kept while the number of rows is at most
// four times and at least a sixteenth of what it was chosen for (another width costs
// every endpoint a bundle), its cuts while blocks keep a useful size (another cut
// costs a delta nothing, but an endpoint rewrites all blocks). The choice does not
// depend on the order of records.
func ChooseParams(c *Content, prev *Params) Params {
	var files, urls uint64
	for id, records := range c.Sections {
		switch {
		case id.OfURLs():
			urls += uint64(len(records))
		case id.Detects() && id.OfFiles():
			files += uint64(len(records))
		}
	}
	p := Params{Rows: files, Prefix: prefixFor(files), Cuts: map[SectionID]CutParams{}}
	if urls > 0 {
		p.URLRows, p.URLPrefix = urls, prefixFor(urls*hashesOfURL)
	}
	if prev != nil && prev.Prefix != 0 && keepPrefix(files, prev.Rows) {
		p.Rows, p.Prefix = prev.Rows, prev.Prefix
	}
	if prev != nil && prev.URLPrefix != 0 && urls > 0 && keepPrefix(urls, prev.URLRows) {
		p.URLRows, p.URLPrefix = prev.URLRows, prev.URLPrefix
	}
	for id, records := range c.Sections {
		if !id.Rows() || len(records) == 0 {
			continue
		}
		width := p.prefix(id)
		size := rowBytes(id, records, width)
		cut := chooseCut(id, size, prevCuts(prev, Light))
		if id.Split() {
			cut.B = min(cut.B, width-1)
			cut.K = groupFor(len(records), width, cut.B)
		}
		p.Cuts[id] = cut
	}
	for id, records := range c.RestSections {
		if id.Placed() && id.Rows() && len(records) > 0 {
			p.cutRest(id, rowBytes(id, records, 0), prev)
		}
	}
	for id, records := range c.Patterns {
		if id.OfPatterns() && len(records) > 0 {
			p.Cuts[id] = chooseCut(id, patternBytes(records), prevCuts(prev, Light))
		}
	}
	for id, records := range c.RestPatterns {
		if id.OfPatterns() && len(records) > 0 {
			p.cutRest(id, patternBytes(records), prev)
		}
	}
	return p
}

// cutRest chooses the cut of a placed section in rest, whose rows have size bytes there.
func (p *Params) cutRest(id SectionID, size int64, prev *Params) {
	if p.RestCuts == nil {
		p.RestCuts = map[SectionID]CutParams{}
	}
	p.RestCuts[id] = chooseCut(id, size, prevCuts(prev, Rest))
}

// prevCuts are the cuts of the release before; nil where there is none.
func prevCuts(prev *Params, l Layer) map[SectionID]CutParams {
	switch {
	case prev == nil:
		return nil
	case l == Rest:
		return prev.RestCuts
	}
	return prev.Cuts
}

// chooseCut is the cut of a section whose rows have size bytes: the old one while it is of use.
func chooseCut(id SectionID, size int64, prev map[SectionID]CutParams) CutParams {
	if old, ok := prev[id]; ok && keepCut(size, old.B) {
		return CutParams{B: old.B}
	}
	return CutParams{B: cutFor(size, 0)}
}

// hashesOfURL is the most hashes that a look-up of one URL has: as many chances of a false hit.
const hashesOfURL = 30

// keepPrefix tells whether a width that was chosen for so many rows is kept for n.
func keepPrefix(n, chosenFor uint64) bool { return n <= chosenFor*4 && n >= chosenFor/16 }

// prefixFor is ceil(log2 n) + 22 rounded up to a multiple of 4: one false hit in
// four million clean files.
func prefixFor(n uint64) uint8 {
	log := 0
	if n > 1 {
		log = bits.Len64(n - 1)
	}
	return uint8(min((log+22+3)/4*4, MaxPrefix))
}

// rowBytes is the canonical length of the rows that are cut by it: those of rest for
// a split section, its own for a whole one.
func rowBytes(id SectionID, records []Record, p uint8) int64 {
	var names int64
	var most uint32
	for i := range records {
		r := &records[i]
		most = max(most, r.Size)
		if !isDefaultName(id, r.Hash[:], []byte(r.Name)) {
			names += int64(len(r.Name))
		}
	}
	rows := int64(len(records))
	return (rows*int64(8*id.Algorithm().Size()-int(p))+7)/8 + rows*int64(sizeWidth(most)+1) + names
}

// patternBytes is the canonical length of rows of patterns.
func patternBytes(records []PatternRecord) int64 {
	var n int64
	most := 0
	for i := range records {
		n += int64(len(records[i].Name) + len(records[i].Pattern))
		most = max(most, len(records[i].Pattern))
	}
	return n + int64(len(records))*int64(1+sizeWidth(uint32(most)))
}

// cutFor is the least b >= least with size/2^b <= blockTarget.
func cutFor(size int64, least uint8) uint8 {
	b := least
	for b < MaxCut && size > blockTarget<<b {
		b++
	}
	return b
}

// keepCut tells whether blocks of a section of size bytes still have between a
// sixteenth and four times the size that they are cut for.
func keepCut(size int64, b uint8) bool {
	return size <= 4*blockTarget<<b && (b == 0 || size >= blockTarget<<b/16)
}

// groupFor is the greatest k <= b with light blocks of at most blockTarget bytes.
func groupFor(rows int, p, b uint8) uint8 {
	for k := min(b, MaxGroup); k > 0; k-- {
		if int64(4)<<k+int64(rows)*int64(p-b)/8>>(b-k) <= blockTarget {
			return k
		}
	}
	return 0
}
