//go:build !unix

package main

// nonBlocking is for systems where a folder can hold pipes.
const nonBlocking = 0
