package main

import (
	"fmt"
	"slices"
	"time"
)

// median is that of some figures, which it sorts; 0 of none.
func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[len(all)/2]
}

// A cost is what one call took.
type cost struct {
	wall, cpu float64 // nanoseconds; cpu is of all threads, the collector's too
}

// measure calls each function in turn for slices of time, round after round, and gives the median cost of a call of each.
func measure(rounds int, slice time.Duration, all ...func()) []cost {
	calls := make([]int, len(all))
	for i, f := range all { // how many calls make a slice
		n := 1
		for {
			if took := timed(n, f).wall * float64(n); took >= float64(slice)/4 {
				calls[i] = max(1, int(float64(n)*float64(slice)/took))
				break
			}
			n *= 2
		}
	}
	wall, cpu := make([][]float64, len(all)), make([][]float64, len(all))
	for range rounds {
		for i, f := range all {
			c := timed(calls[i], f)
			wall[i], cpu[i] = append(wall[i], c.wall), append(cpu[i], c.cpu)
		}
	}
	costs := make([]cost, len(all))
	for i := range all {
		costs[i] = cost{median(wall[i]), median(cpu[i])}
	}
	return costs
}

// timed is the cost of each of n calls.
func timed(n int, f func()) cost {
	used, began := spent(), time.Now()
	for range n {
		f()
	}
	wall := time.Since(began)
	return cost{float64(wall) / float64(n), float64(spent()-used) / float64(n)}
}

// nanos is a duration as a cell: of nanoseconds, in a unit that fits.
func nanos(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e4:
		return fmt.Sprintf("%.2f µs", ns/1e3)
	case ns < 1e6:
		return fmt.Sprintf("%.0f µs", ns/1e3)
	case ns < 1e7:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	}
	return fmt.Sprintf("%.0f ms", ns/1e6)
}

// count is a large number as a cell, with spaces between its thousands.
func count(n float64) string {
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
