//go:build !unix

package updater

import "os"

// nonBlocking is for systems where a folder can hold pipes.
const nonBlocking = 0

// linked is not known here.
func linked(os.FileInfo) bool { return false }
