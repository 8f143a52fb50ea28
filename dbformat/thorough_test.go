//go:build check

package dbformat_test

// How much of what there is to break tests break: see the other file for what it means.
const (
	flipStep  = 5
	valueStep = 1
	cutStep   = 1
	histories = 15
	pairs     = 100
	starts    = 56
	damages   = 500
	dense     = 1 << 30
)
