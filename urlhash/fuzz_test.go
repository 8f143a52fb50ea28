package urlhash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

// seeds are the raw URLs of all vectors.
func seeds(f *testing.F) []string {
	var all []string
	for _, v := range slices.Concat(documented, implemented) {
		all = append(all, v.raw, v.canonical)
	}
	for _, v := range departures {
		all = append(all, v.raw)
	}
	for _, v := range expressions {
		all = append(append(all, v.raw), v.want...)
	}
	if all = append(all, refused...); len(all) < 200 {
		f.Fatalf("%d seeds: the vectors have moved", len(all))
	}
	return append(all,
		"公司.cn", "http://ｅｖｉｌ。com", "[64:ff9b::1.2.3.4]", "http:\\\\a\\b", "http://a%2F@b/%3F%5C..", "a.github.io:1", "\x83.ݘm\tA0000.A")
}

// FuzzCanonicalize: a canonical form is its own and printable, its expressions are few, distinct and their own entries unless there is one of
// the reasons in the documentation.
func FuzzCanonicalize(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if len(raw) < 1000 { // the yardstick takes the square
			if got, want := unescape(raw), naiveUnescape(raw); got != want {
				t.Fatalf("%q without escapes: %q, want %q", raw, got, want)
			}
		}
		u, err := Canonicalize(raw)
		if err != nil {
			if _, ok := errors.AsType[Error](err); !ok || u != (URL{}) {
				t.Fatalf("%q: %+v, %T", raw, u, err)
			}
			return
		}
		text := u.String()
		if again, err := Canonicalize(text); again != u || err != nil {
			t.Fatalf("%q: its canonical form %q becomes %q, %v", raw, text, again, err)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 || len(text) > MaxURL {
			t.Fatalf("%q: %q of %d bytes has byte %d", raw, text, len(text), i)
		}
		all := u.Expressions()
		if n := len(all); n == 0 || n > MaxExpressions || len(slices.Compact(slices.Sorted(slices.Values(all)))) != n {
			t.Fatalf("%q: expressions %q", raw, all)
		}
		for i, h := range u.Hashes() {
			if h != HashOf(all[i]) {
				t.Fatalf("%q: hash %d is none of %q", raw, i, all[i])
			}
		}
		for _, e := range all {
			checkExpression(t, e)
		}
	})
}

// checkExpression demands that an expression is its own entry, or is refused as it must be.
func checkExpression(t *testing.T, e string) {
	t.Helper()
	host, path, _ := strings.Cut(e, "/")
	want := error(nil)
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil {
		suffix, registry := publicsuffix.PublicSuffix(host)
		switch {
		case strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "":
			want = errHostName
		case !strings.Contains(host, "."):
			want = errNoDot
		case path == "" && suffix == host && registry:
			want = errRegistry
		}
	}
	switch got, err := ParseEntry(e); {
	case err != want:
		t.Fatalf("expression %q as an entry: %v, want %v", e, err, want)
	case err == nil && got != e:
		t.Fatalf("expression %q as an entry: %q", e, got)
	}
}

// FuzzParseEntry: what is accepted is an expression of the URL that it was made from, is its own entry, and has no more than spaces around it.
func FuzzParseEntry(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	for _, s := range []string{"\tevil.example", "evil.example\v", " evil.example ", "evil.example:65536", "http://[::1]:00065535/", "a.example:" + strings.Repeat("0", 100) + "1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, err := ParseEntry(line)
		if err != nil {
			if _, ok := errors.AsType[Error](err); !ok || e != "" {
				t.Fatalf("%q: %q, %T", line, e, err)
			}
			return
		}
		if blank := strings.Trim(line, " "); trimmed(blank) != blank || strings.ContainsAny(line, "\t\r\n") {
			t.Fatalf("%q is accepted with more than spaces around it", line)
		}
		if again, err := ParseEntry(e); again != e || err != nil {
			t.Fatalf("%q: its expression %q becomes %q, %v", line, e, again, err)
		}
		for _, raw := range []string{line, "https://" + e} {
			u, err := Canonicalize(raw)
			if err != nil || !slices.Contains(u.Expressions(), e) {
				t.Fatalf("%q: %q is no expression of %q (%v)", line, e, u, err)
			}
		}
	})
}

// FuzzAddresses: each form of an IPv4 or IPv6 address is that address, and what netip reads we read alike.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{
		"1.2.3.4", "255.255.255.255", "01.2.3.4", "::1", "::ffff:1.2.3.4", "64:ff9b::1.2.3.4", "2001:DB8::0:1", "1:2:3:4:5:6:7:8", "fe80::1%x",
	} {
		f.Add(s, []byte("0123456789abcdef"), uint8(len(s)))
	}
	f.Fuzz(func(t *testing.T, host string, b []byte, form uint8) {
		sameAsNetip(t, host)
		if len(b) < 16 {
			return
		}
		a6 := netip.AddrFrom16([16]byte(b))
		sameAsNetip(t, a6.String())
		sameAsNetip(t, a6.StringExpanded())
		sameAsNetip(t, "::ffff:"+netip.AddrFrom4([4]byte(b)).String())

		host, want := spell(binary.BigEndian.Uint32(b), form), netip.AddrFrom4([4]byte(b)).String()
		sameAsNetip(t, host)
		if u, err := Canonicalize("http://" + host + "/"); err != nil || u.host != want || !u.address {
			t.Fatalf("%s: %q, %v; want %s", host, u.host, err, want)
		}
	})
}

// spell writes an IPv4 address in one of 256 forms: the number of parts, and the base of each (that of the fourth is the first's).
func spell(address uint32, form uint8) string {
	last := int(form & 3)
	var b strings.Builder
	for i := range last + 1 {
		part := address >> (24 - 8*i) & 0xff
		if i == last {
			part = address & (1<<(32-8*i) - 1)
		}
		if i > 0 {
			b.WriteByte('.')
		}
		fmt.Fprintf(&b, [...]string{"%d", "0%o", "0x%x", "0X%08X"}[form>>(2+2*(i%3))&3], part)
	}
	return b.String()
}
