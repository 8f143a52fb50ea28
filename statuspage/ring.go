package statuspage

import "math"

// minutes is how long histories are.
const minutes = 60

// A ring holds what a series came to at the ends of the last minutes, the newest last: one more than there are minutes between them.
type ring[T any] struct {
	at    [minutes + 1]T
	known [minutes + 1]bool
}

// restart forgets everything: v is what the series comes to now.
func (r *ring[T]) restart(v T) {
	*r = ring[T]{}
	r.at[minutes], r.known[minutes] = v, true
}

// push notes v at the end of a minute; at the ends of the missed minutes before it nothing was noted.
func (r *ring[T]) push(v T, missed int) {
	by := min(missed, minutes) + 1
	n := copy(r.at[:], r.at[min(by, len(r.at)):])
	copy(r.known[:], r.known[min(by, len(r.known)):])
	clear(r.at[n:])
	clear(r.known[n:])
	r.at[minutes], r.known[minutes] = v, true
}

// oldest is the first value that is known, if any is.
func (r *ring[T]) oldest() (v T, ok bool) {
	for i, known := range r.known {
		if known {
			return r.at[i], true
		}
	}
	return v, false
}

// steps calls f for each minute that lies between two known values: minute i, of 0 to 59, is one of the n minutes from one to the other.
func (r *ring[T]) steps(f func(i, n int, from, to T)) {
	last := -1
	for i, known := range r.known {
		if !known {
			continue
		}
		for k := last; last >= 0 && k < i; k++ {
			f(k, i-last, r.at[last], r.at[i])
		}
		last = i
	}
}

// unknown is a history of which nothing is known.
func unknown() []float64 {
	h := make([]float64, minutes)
	for i := range h {
		h[i] = math.NaN()
	}
	return h
}

// peak and least are the highest and the lowest known value of h; NaN if none is known.
func peak(h []float64) float64  { return best(h, func(a, b float64) bool { return a > b }) }
func least(h []float64) float64 { return best(h, func(a, b float64) bool { return a < b }) }

func best(h []float64, better func(a, b float64) bool) float64 {
	b := math.NaN()
	for _, v := range h {
		if !math.IsNaN(v) && (math.IsNaN(b) || better(v, b)) {
			b = v
		}
	}
	return b
}
