package statuspage

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestCleanShowsNothingHidden(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "",
		"https://ksn.example.net/a?b=c#d":   "https://ksn.example.net/a?b=c#d",
		"<script>alert('1')</script> & \"x": "<script>alert('1')</script> & \"x", // escaping is the page's affair
		"größer, שלום, 漢字, é":               "größer, שלום, 漢字, é",
		"a\nb\tc\x00d\x1b[31m":              `a\nb\tc\x00d\x1b[31m`,
		"invoice\u202egpj.exe":              `invoice\u202egpj.exe`,
		"a\u200fb\u2066c\u2069\ufeff":       `a\u200fb\u2066c\u2069\ufeff`,
		"zero\u200bwidth\u00adhyphen":       `zero\u200bwidth\u00adhyphen`,
		"a\u2028b\u00a0c":                   `a\u2028b\u00a0c`,
		"bad\xffbyte\xc3":                   `bad\xffbyte\xc3`,
		"the real \ufffd":                   "the real \ufffd",
		"tag\U000e0041":                     `tag\U000e0041`,
		"e\u0301\u0302\u0303\u0304x":        "e\u0301\u0302" + `\u0303\u0304` + "x", // more would paint over the line above
		"\\ and \"":                         "\\ and \"",
	} {
		if got := clean(in, maxText); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"12345", 5, "12345"}, {"123456", 5, "1234…"}, {"1234\n", 5, "1234…"}, {"123\n", 5, `123\n`}, {"123\nx", 5, "123…"},
		{strings.Repeat("ü", 1<<20), 3, "üü…"}, {strings.Repeat("\xff", 1<<20), 9, `\xff\xff…`},
	} {
		if got := clean(c.in, c.most); got != c.want {
			t.Errorf("clean(%.20q, %d) = %q, want %q", c.in, c.most, got, c.want)
		}
	}
}

// What clean gives can be seen, is not longer than it may be, and is what it gives for its own result.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "plain", "a\u202eb", "\xff\xfe", "e\u0301\u0301\u0301\u0301", strings.Repeat("x", 300), "…", "\\n"} {
		f.Add(s, 20)
	}
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 1 || most > 1000 {
			return
		}
		got := clean(s, most)
		if n := utf8.RuneCountInString(got); n > most {
			t.Fatalf("clean(%q, %d) has %d characters", s, most, n)
		}
		if !utf8.ValidString(got) {
			t.Fatalf("clean(%q) is not UTF-8: %q", s, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("clean(%q) has %U", s, r)
			}
		}
		if again := clean(got, most); again != got {
			t.Fatalf("clean(%q) = %q, and of that %q", s, got, again)
		}
	})
}

func TestNumbersAsPeopleReadThem(t *testing.T) {
	same := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -999: "-999", -1000: "-1,000", 1234567: "1,234,567",
		math.MaxInt64: "9,223,372,036,854,775,807", math.MinInt64: "-9,223,372,036,854,775,808"} {
		same(count(n), want)
	}
	for n, want := range map[int64]string{0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.00 KiB", 1536: "1.50 KiB", 10 << 10: "10.0 KiB",
		1023<<10 + 1000: "1.00 MiB", 256 << 20: "256 MiB", 1000 << 20: "1000 MiB", 5 << 40: "5.00 TiB",
		math.MaxInt64: "8.00 EiB", -2048: "-2.00 KiB", math.MinInt64: "-8.00 EiB"} {
		same(size(n), want)
	}
	for s, want := range map[float64]string{0: "0 s", 60e-9: "0.06 µs", 12e-6: "12 µs", 0.00099949: "999 µs", 0.00099951: "1 ms", 0.0123: "12.3 ms",
		0.9999: "1 s", 1.254: "1.25 s", 59.94: "59.9 s", 59.96: "1 min", 61: "1 min 1 s", 3599.6: "1 h",
		3660: "1 h 1 min", 86400: "1 d", 90000: "1 d 1 h", 1e9: "11,574 d 1 h", -5: "-5 s",
		math.MaxFloat64: "11,574,074 d 1 h"} {
		same(span(s), want)
	}
	for x, want := range map[float64]string{0: "0.0 %", 0.0001: "< 0.1 %", 0.5: "50.0 %", 0.8149: "81.5 %", 0.9999: "> 99.9 %", 1: "100.0 %"} {
		same(share(x), want)
	}
	for x, want := range map[float64]string{0: "0", 0.5: "0.5", 3.04: "3", 99.5: "99.5", 100.4: "100", 12345.6: "12,346"} {
		same(decimal(x), want)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{0: "now", 400 * time.Millisecond: "now", -5 * time.Second: "5 s ago", 61 * time.Second: "in 1 min 1 s",
		-9*time.Minute - 20*time.Second: "9 min ago", -25 * time.Hour: "1 d 1 h ago"} {
		same(distance(now.Add(d), now), want)
	}
	if got := distance(time.Time{}, now); !strings.HasSuffix(got, " ago") { // further than a Duration reaches
		t.Error(got)
	}
	same(moment(time.Date(2026, 3, 1, 13, 0, 0, 999, time.FixedZone("", 3600))), "2026-03-01T12:00:00Z")
}
