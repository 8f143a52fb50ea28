package mirror

import (
	"strings"
	"testing"
)

func TestChanges(t *testing.T) {
	const n = leastCounted
	one := func(records, bytes uint64) map[string]Counts { return map[string]Counts{"light": {records, bytes}} }
	for _, c := range []struct {
		what    string
		was, is map[string]Counts
		most    int
		want    string // words of what is said
	}{
		{"nothing before", nil, one(n, 1), 30, ""},
		{"the same", one(n, 100), one(n, 100), 30, ""},
		{"up to the limit", one(n, 100), one(n*13/10, 130), 30, ""},
		{"one more", one(n, 100), one(n*13/10+1, 130), 30, "light has 13001 records"},
		{"down to the limit", one(2*n, 100), one(2*n*7/10, 70), 30, ""},
		{"one less", one(2*n, 100), one(2*n*7/10-1, 70), 30, "records"},
		{"bytes", one(n, 100), one(n, 131), 30, "light has 131 bytes"},
		{"small lists", one(10, 100), one(n-1, 100_000), 30, ""},
		{"all gone", one(n, 100), one(0, 0), 30, "light has 0 records"},
		{"from nothing", one(0, 0), one(n, 100), 30, "light has 10000 records"},
		{"huge", one(1<<63, 1), one(1<<64-1, 1), 98, "records"},
		{"another layer", one(n, 100), map[string]Counts{"rest": {1, 1}}, 30, ""},
	} {
		got := strings.Join(changes(c.was, c.is, c.most), "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
