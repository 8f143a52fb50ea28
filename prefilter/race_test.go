//go:build race

package prefilter

// raced says that the race detector is on: what runs in one goroutine takes ten times as long and shows nothing more.
const raced = true
