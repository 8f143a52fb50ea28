//go:build !race

package prefilter

// raced says that the race detector is on.
const raced = false
