//go:build !check

package patterns

// rounds is how many sets are made up; the build tag check makes more.
const rounds = 60
