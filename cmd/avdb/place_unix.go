//go:build !windows

package main

import "os"

// privileged tells whether the process may write the system's places.
func privileged() bool { return os.Geteuid() == 0 }
