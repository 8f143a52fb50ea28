package main

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// The demo's test file is the public one: its SHA-256 is in every vendor's list.
func TestEicarIsThePublicTestFile(t *testing.T) {
	sum := sha256.Sum256(eicar())
	const want = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("SHA-256 of the test file is %s, want %s", got, want)
	}
}
