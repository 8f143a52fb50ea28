//go:build !unix

package main

import "time"

// spent is the clock: processor time is not read on this system.
func spent() time.Duration { return time.Duration(time.Now().UnixNano()) }
