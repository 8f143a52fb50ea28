//go:build unix

package main

import "syscall"

// nonBlocking keeps the opening of a pipe from waiting for a writer, and that of a terminal from
// making it ours.
const nonBlocking = syscall.O_NONBLOCK | syscall.O_NOCTTY
