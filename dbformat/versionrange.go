package dbformat

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A VersionRange is a conjunction of comparisons with product versions: ">=2.0.0 <3.0.0". The zero value
// holds every version.
type VersionRange struct {
	terms []versionTerm
}

type versionTerm struct {
	op      string
	version [4]uint32
}

// maxRangeTerms bounds the comparisons of a range: two ends and some exceptions.
const maxRangeTerms = 8

// ParseVersionRange reads comparisons separated by single spaces, each one of = != < <= > >= followed by
// one to four dot-separated numbers; missing numbers are 0. "" holds every version.
func ParseVersionRange(s string) (VersionRange, error) {
	if s == "" {
		return VersionRange{}, nil
	}
	if len(s) > 200 {
		return VersionRange{}, fmt.Errorf("range of %d bytes, the limit is 200", len(s))
	}
	var r VersionRange
	for term := range strings.SplitSeq(s, " ") {
		number := strings.TrimLeft(term, "=!<>")
		op := term[:len(term)-len(number)]
		switch op {
		case "=", "!=", "<", "<=", ">", ">=":
		default:
			return VersionRange{}, fmt.Errorf("%q: want =, !=, <, <=, > or >= and a version such as 2.0.0", term)
		}
		v, err := parseVersion(number)
		if err != nil {
			return VersionRange{}, fmt.Errorf("%q: %w", term, err)
		}
		r.terms = append(r.terms, versionTerm{op, v})
	}
	if len(r.terms) > maxRangeTerms {
		return VersionRange{}, fmt.Errorf("%d comparisons, the limit is %d", len(r.terms), maxRangeTerms)
	}
	return r, nil
}

// Contains tells whether version is in the range. What follows the numbers after a '-' or '+' is not
// compared; a version that is no number is in the empty range only.
func (r VersionRange) Contains(version string) bool {
	if len(r.terms) == 0 {
		return true
	}
	if i := strings.IndexAny(version, "-+"); i >= 0 {
		version = version[:i]
	}
	v, err := parseVersion(version)
	if err != nil {
		return false
	}
	for _, t := range r.terms {
		c := 0
		for i := range v {
			if c = cmp.Compare(v[i], t.version[i]); c != 0 {
				break
			}
		}
		var ok bool
		switch t.op {
		case "=":
			ok = c == 0
		case "!=":
			ok = c != 0
		case "<":
			ok = c < 0
		case "<=":
			ok = c <= 0
		case ">":
			ok = c > 0
		case ">=":
			ok = c >= 0
		}
		if !ok {
			return false
		}
	}
	return true
}

func parseVersion(s string) ([4]uint32, error) {
	var v [4]uint32
	parts := strings.Split(s, ".")
	if len(parts) > len(v) {
		return v, fmt.Errorf("%d numbers, the limit is %d", len(parts), len(v))
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil || strconv.FormatUint(n, 10) != p {
			return [4]uint32{}, fmt.Errorf("%q is no number without leading zeros", p)
		}
		v[i] = uint32(n)
	}
	return v, nil
}
