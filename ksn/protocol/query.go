package protocol

import (
	"strings"

	"example.org/avdb/dbformat"
)

// A Query is what POST /v1/lookup takes: 1 to [MaxBatch] questions, none twice.
type Query struct {
	V       int      `json:"v"`       // Version
	Queries []string `json:"queries"` // prefixes, as [Prefix.String]
}

// MaxQuery is the greatest length of a query in bytes.
const MaxQuery = 32 << 10

// queryBegins is how MarshalQuery spells the beginning of a query.
const queryBegins = `{"v":1,"queries":[`

// MarshalQuery is the request that asks for prefixes, 1 to [MaxBatch] different ones.
func MarshalQuery(prefixes []Prefix) ([]byte, error) {
	b := append(make([]byte, 0, len(queryBegins)+len(prefixes)*len(`"file-sha256/24/000000",`)+2), queryBegins...)
	for i, p := range prefixes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(p.append(append(b, '"')), '"')
	}
	b = append(b, "]}"...)
	if _, err := ParseQuery(b); err != nil {
		return nil, err
	}
	return b, nil
}

// ParseQuery reads a request. White space is allowed here: nothing of it is signed.
func ParseQuery(b []byte) ([]Prefix, error) {
	if len(b) > MaxQuery {
		return nil, invalid("query of %d bytes, the limit is %d", len(b), MaxQuery)
	}
	all, ok := parseUsualQuery(b)
	if !ok {
		var err error
		if all, err = parseAnyQuery(b); err != nil {
			return nil, err
		}
	}
	if err := checkTwice(all); err != nil {
		return nil, err
	}
	return all, nil
}

// parseAnyQuery reads a request in any spelling.
func parseAnyQuery(b []byte) ([]Prefix, error) {
	var q Query
	if err := dbformat.DecodeJSON(b, &q); err != nil {
		return nil, invalid("query: %v", err)
	}
	if q.V != Version {
		return nil, invalid("query of version %d, want %d", q.V, Version)
	}
	if n := len(q.Queries); n < 1 || n > MaxBatch {
		return nil, invalid("query of %d prefixes, want 1 to %d", n, MaxBatch)
	}
	all := make([]Prefix, len(q.Queries))
	for i, x := range q.Queries {
		p, err := ParseTypedPrefix(x)
		if err != nil {
			return nil, invalid("query %d: %v", i, err)
		}
		all[i] = p
	}
	return all, nil
}

// parseUsualQuery reads a good request that is spelled as MarshalQuery does it: a server reads many of them. Of everything else it says false, and
// parseAnyQuery what is wrong.
func parseUsualQuery(b []byte) ([]Prefix, bool) {
	rest, ok := strings.CutPrefix(string(b), queryBegins)
	if !ok {
		return nil, false
	}
	all := make([]Prefix, 0, min(MaxBatch, 1+len(rest)/len(`"url/24/000000",`)))
	kind := "" // what stands before the digits of the last prefix
	for len(all) < MaxBatch {
		if rest == "" || rest[0] != '"' {
			return nil, false
		}
		rest = rest[1:]
		i := strings.IndexByte(rest, '"')
		if i < 0 {
			return nil, false
		}
		var p Prefix
		if digits, same := strings.CutPrefix(rest[:i], kind); same && kind != "" {
			last := &all[len(all)-1]
			if p, ok = parseDigits(last.Type, last.Bits, digits); !ok {
				return nil, false
			}
		} else {
			var err error
			if p, err = ParseTypedPrefix(rest[:i]); err != nil {
				return nil, false
			}
			kind = rest[:strings.LastIndexByte(rest[:i], '/')+1]
		}
		all = append(all, p)
		switch rest = rest[i+1:]; {
		case rest == "]}":
			return all, true
		case rest == "" || rest[0] != ',':
			return nil, false
		}
		rest = rest[1:]
	}
	return nil, false
}

// checkTwice refuses a question that is asked twice.
func checkTwice(all []Prefix) error {
	var seen [4 * MaxBatch]uint64 // by some of its bits, or behind; no number is 0
	for i, p := range all {
		n := p.Number()
		at := n * 0x9e3779b97f4a7c15 >> (64 - 10)
		for ; seen[at] != 0; at = (at + 1) % uint64(len(seen)) {
			if seen[at] == n {
				return invalid("query %d: %s stands twice", i, p)
			}
		}
		seen[at] = n
	}
	return nil
}
