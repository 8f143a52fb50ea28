//go:build !unix

package publisher

// nonBlocking is for systems where a folder can hold pipes.
const nonBlocking = 0
