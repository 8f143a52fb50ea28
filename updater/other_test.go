//go:build !unix

package updater

import "os"

// makePipe makes a folder where there are no pipes in folders.
func makePipe(p string) error { return os.Mkdir(p, 0o700) }
