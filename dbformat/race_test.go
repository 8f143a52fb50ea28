//go:build race

package dbformat_test

// raceDetector tells that this test binary is an order of magnitude slower than usual.
const raceDetector = true
