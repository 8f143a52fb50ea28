//go:build !check

package dbformat_test

// How much of what there is to break tests break. The build tag check has them break more.
const (
	flipStep  = 29 // distance of bits that are flipped; no factor of 8, so that every position of a byte has its turn
	valueStep = 29 // distance of the values that a byte is changed to
	cutStep   = 7  // distance of places where input is cut
	histories = 4  // random histories
	pairs     = 20 // random pairs of releases that are compared
	starts    = 12 // of fuzz targets that make releases of a number
	damages   = 60
	dense     = 2 // of so many reads and writes each one fails, of later ones ever fewer
)
