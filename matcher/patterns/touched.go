package patterns

import "math/bits"

// A touched is values by number, for the few of very many numbers that an object touches: its room follows these, not the signatures of a set. What an object
// before left there has another epoch, so that nothing has to be cleared between objects.
type touched[T any] struct {
	epoch uint32
	used  int
	slots []slot[T] // open addressing over a power of two
}

type slot[T any] struct {
	epoch uint32 // 0 in a slot that was never used
	id    uint32
	value T
}

// reset forgets everything.
func (t *touched[T]) reset() {
	t.used = 0
	if t.epoch++; t.epoch == 0 { // all epochs that are about would be taken for new ones
		clear(t.slots)
		t.epoch = 1
	}
}

// find gives the value of a number, nil if it has none. It stays where it is until get is called for another number.
func (t *touched[T]) find(id uint32) *T {
	if t.used == 0 {
		return nil
	}
	if s := t.slot(id); s.epoch == t.epoch {
		return &s.value
	}
	return nil
}

// get gives the value of a number, a zero one if it had none.
func (t *touched[T]) get(id uint32) *T {
	if 2*t.used >= len(t.slots) {
		t.grow()
	}
	s := t.slot(id)
	if s.epoch != t.epoch {
		*s = slot[T]{epoch: t.epoch, id: id}
		t.used++
	}
	return &s.value
}

// slot is where a number is, or where it goes. Numbers that meet in one slot go on in steps that differ, so that an object which makes many of them meet gains
// little.
func (t *touched[T]) slot(id uint32) *slot[T] {
	last := uint32(len(t.slots) - 1)
	h := id * 0x9e3779b1
	for i := h >> (32 - bits.Len32(last)); ; i += h | 1 {
		if s := &t.slots[i&last]; s.epoch != t.epoch || s.id == id {
			return s
		}
	}
}

func (t *touched[T]) grow() {
	old := t.slots
	t.slots = make([]slot[T], max(64, 2*len(old)))
	for i := range old {
		if s := &old[i]; s.epoch == t.epoch {
			*t.slot(s.id) = *s
		}
	}
}
