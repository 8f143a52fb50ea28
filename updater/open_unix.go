//go:build unix

package updater

import (
	"os"
	"syscall"
)

// nonBlocking keeps the opening of a pipe in a source's folder from waiting for a writer.
const nonBlocking = syscall.O_NONBLOCK

// linked tells whether a file has a second name, which writing to it would change as well.
func linked(st os.FileInfo) bool {
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && s.Nlink > 1
}
