//go:build check

package patterns

// rounds is how many sets are made up.
const rounds = 2000
