//go:build !check

package pattern_test

// compared is how many signatures of each kind are compared with clamscan; the build tag check compares more.
const compared = 40
