//go:build check

package pattern_test

// compared is how many signatures of each kind are compared with clamscan.
const compared = 200
