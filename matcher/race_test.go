//go:build race

package matcher

// raced says that the race detector is on.
const raced = true
