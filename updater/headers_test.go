package updater

import (
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	for _, c := range []struct {
		v    string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true}, {"120", 2 * time.Minute, true}, {" 5 ", 5 * time.Second, true},
		{"9223372036", 9223372036 * time.Second, true}, {"9223372037", math.MaxInt64, true}, {"99999999999999999999", math.MaxInt64, true},
		{"Sun, 01 Mar 2026 12:01:00 GMT", time.Minute, true}, {"Sun, 01 Mar 2020 12:01:00 GMT", 0, true},
		{"", 0, false}, {"-1", 0, false}, {"1.5", 0, false}, {"+1", 0, false}, {"soon", 0, false}, {"1e9", 0, false},
	} {
		if got, ok := parseRetryAfter(c.v, noon); got != c.want || ok != c.ok {
			t.Errorf("parseRetryAfter(%q) = %v, %v; want %v, %v", c.v, got, ok, c.want, c.ok)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for _, c := range []struct {
		v    string
		want contentRange
		ok   bool
	}{
		{"bytes 0-9/10", contentRange{0, 9, 10}, true}, {"bytes 5-9/*", contentRange{5, 9, -1}, true},
		{"bytes 5-9/9", contentRange{}, false}, {"bytes 9-5/10", contentRange{}, false}, {"bytes */10", contentRange{}, false},
		{"bytes 05-9/10", contentRange{}, false}, {"bytes -5-9/10", contentRange{}, false}, {"items 0-9/10", contentRange{}, false},
		{"bytes 0-9", contentRange{}, false}, {"bytes 0-99999999999999999999/*", contentRange{}, false}, {"", contentRange{}, false},
	} {
		if got, ok := parseContentRange(c.v); got != c.want || ok != c.ok {
			t.Errorf("parseContentRange(%q) = %+v, %v; want %+v, %v", c.v, got, ok, c.want, c.ok)
		}
	}
}

// What is accepted has one spelling and makes sense; what is not gives the zero value.
func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes 1-0/2", "bytes */1", "bytes 0-0/1", "bytes 00-1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := parseContentRange(s)
		if !ok {
			if r != (contentRange{}) {
				t.Fatalf("%q is refused with %+v", s, r)
			}
			return
		}
		total := "*"
		if r.Total >= 0 {
			total = fmt.Sprint(r.Total)
		}
		if again := fmt.Sprintf("bytes %d-%d/%s", r.First, r.Last, total); again != s || r.First > r.Last || r.Total >= 0 && r.Last >= r.Total {
			t.Fatalf("%q is read as %+v", s, r)
		}
	})
}

// No header makes a wait negative, and what is accepted is a number or a date.
func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"0", "120", "99999999999999999999", "Sun, 01 Mar 2026 12:01:00 GMT", "-1", " 1 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := parseRetryAfter(s, noon)
		if d < 0 || !ok && d != 0 {
			t.Fatalf("parseRetryAfter(%q) = %v, %v", s, d, ok)
		}
	})
}

func TestBackoffGrowsToItsCapWithJitter(t *testing.T) {
	for attempt, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		if got := backoff(100, 1000, attempt, 0); got != want/2 {
			t.Errorf("attempt %d, lowest: %d, want %d", attempt, got, want/2)
		}
		if got := backoff(100, 1000, attempt, 0.999); got < want*9/10 || got > want {
			t.Errorf("attempt %d, highest: %d, want just under %d", attempt, got, want)
		}
	}
	if got := backoff(100, 1000, 1<<30, 0); got != 500 {
		t.Errorf("after very many attempts %d, want 500", got)
	}
}

func TestRetryAfterMeansNothingElsewhere(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Retry-After": {"9"}}}
	if _, ok := toldToWait(resp, noon); ok {
		t.Error("a 200 with Retry-After is waited for")
	}
}
