package signing

import "example.org/avdb/signing/internal/exchange"

// The bounds of every document, which the forge and the tests of shapes go up to.
const (
	maxValues  = exchange.MaxValues
	maxInteger = exchange.MaxInteger
)
