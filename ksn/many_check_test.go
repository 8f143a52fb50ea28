//go:build check

package ksn_test

// gateSequences is how many random sets the gate is held against the naive one with.
const gateSequences = 2000
