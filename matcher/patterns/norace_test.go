//go:build !race

package patterns

// raced says that the race detector is on.
const raced = false
