package patterns

import (
	"runtime"

	"example.org/avdb/pattern"
)

// A memory is what a previous set knows.
type memory struct {
	set   *Set
	known map[[keySize]byte]remembered
}

type remembered struct {
	target    pattern.Target
	signature uint32
	always    bool
}

// remember lists the records of a set.
func remember(s *Set) *memory {
	m := &memory{set: s, known: make(map[[keySize]byte]remembered, s.size)}
	for t, g := range s.groups {
		if g == nil {
			continue
		}
		always := map[uint32]bool{}
		for n := range g.rows(sectionAlways) {
			always[g.number(sectionAlways, n)] = true
		}
		for n := range g.rows(sectionKeys) {
			m.known[[keySize]byte(g.row(sectionKeys, n, keySize))] = remembered{pattern.Target(t), n, always[n]}
		}
	}
	return m
}

// recall copies the unit of a record, if the previous set has it.
func (m *memory) recall(key [keySize]byte, u *unit) (ok bool) {
	if m == nil {
		return false
	}
	at, ok := m.known[key]
	if !ok {
		return false
	}
	defer func() {
		if p := recover(); p != nil {
			if _, damaged := p.(runtime.Error); !damaged {
				panic(p)
			}
			ok = false
		}
	}()
	g := m.set.groups[at.target]
	s := g.signature(at.signature)
	*u = unit{target: at.target, key: key, subs: u.subs[:0]}
	if s.head != none {
		u.head = g.head(s.head).bytes()
	}
	for n := s.first; n < s.last; n++ {
		x := g.sub(n)
		unit := unitSub{offset: x.offset, most: x.most, late: x.late, open: x.open}
		for i := x.first; i < x.last; i++ {
			c := g.chain(i)
			parts := make([]unitPart, 0, c.last-c.first)
			for j := c.first; j < c.last; j++ {
				p := g.part(j)
				program := g.program(p.program)
				parts = append(parts, unitPart{program: program[:hidden32(program[programSize:])], gap: p.gap, watched: p.watch != none})
			}
			unit.variants = append(unit.variants, parts)
		}
		u.subs = append(u.subs, unit)
	}
	u.always = at.always
	return true
}
