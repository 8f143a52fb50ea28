package urlhash

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func canonical(t *testing.T, raw string) URL {
	t.Helper()
	u, err := Canonicalize(raw)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return u
}

// checkCanonical demands that raw has this canonical form, "" for an error, which is its own.
func checkCanonical(t *testing.T, raw, want string) {
	t.Helper()
	u, err := Canonicalize(raw)
	if u.String() != want || (err == nil) != (want != "") {
		t.Errorf("%q: %q, %v; want %q", raw, u.String(), err, want)
	}
	if err != nil {
		if _, ok := errors.AsType[Error](err); !ok || u != (URL{}) || u.Expressions() != nil || u.Hashes() != nil {
			t.Errorf("%q: error %T with URL %+v", raw, err, u)
		}
		return
	}
	if again, err := Canonicalize(u.String()); again != u || err != nil {
		t.Errorf("%q: its canonical form %q becomes %q, %v", raw, u, again, err)
	}
}

func TestPublicVectorsOfCanonicalForms(t *testing.T) {
	for _, v := range slices.Concat(documented, implemented) {
		checkCanonical(t, v.raw, v.canonical)
	}
	for _, raw := range refused {
		checkCanonical(t, raw, "")
	}
	for _, v := range departures {
		if checkCanonical(t, v.raw, v.ours); v.ours == v.theirs {
			t.Errorf("%q is no departure", v.raw)
		}
	}
}

func TestPublicVectorsOfExpressions(t *testing.T) {
	for _, v := range expressions {
		if got := canonical(t, v.raw).Expressions(); !slices.Equal(got, v.want) {
			t.Errorf("%q:\n got %q\nwant %q", v.raw, got, v.want)
		}
	}
}

// The hashes are those of FIPS 180-2, which the documentation names, and of google/safebrowsing (hash_test.go).
func TestPublicVectorsOfHashes(t *testing.T) {
	for text, want := range map[string]string{
		"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
		strings.Repeat("a", 1e6):                                   "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
		"foo.com/":                                                 "af30010e4c011fc77e1ab03ef898ab2f8dec17c0bd178a875ad0cd9b7a6e5973",
	} {
		if got := HashOf(text); hex.EncodeToString(got[:]) != want {
			t.Errorf("%.60q: %x", text, got)
		}
	}
	u := canonical(t, "http://a.b.example.co.uk/1/2.html?x=1")
	var want []Hash
	for _, e := range u.Expressions() {
		want = append(want, HashOf(e))
	}
	if got := u.Hashes(); !slices.Equal(got, want) || len(got) != 12 {
		t.Errorf("%d hashes, or others than those of the expressions", len(got))
	}
}

// What browsers take for one host must be one host here, and the host must be the one that they go to.
func TestNoSpellingHidesAHost(t *testing.T) {
	for _, v := range []struct{ raw, want string }{
		{"https://Bücher.example/Ü", "https://xn--bcher-kva.example/%C3%9C"},
		{"http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/"},
		{"http://BU\u0308CHER.example/", "http://xn--bcher-kva.example/"},
		{"http://XN--BCHER-KVA.example/", "http://xn--bcher-kva.example/"},
		{"http://faß.example/", "http://xn--fa-hia.example/"},
		{"http://ｅｖｉｌ。example．com｡/", "http://evil.example.com/"},
		{"http://。evil。。com。/", "http://evil.com/"},
		{"http://ev\u00adil.com/", "http://evil.com/"},
		{"http://bücher_x.evil.com/", "http://xn--bcher_x-n2a.evil.com/"},
		{"http://ab--ü.evil.com/", "http://xn--ab---3ra.evil.com/"},
		{"http://evil.com\\@good.example/", "http://evil.com/@good.example/"},
		{"http:\\\\evil.com\\a\\b?c\\d", "http://evil.com/a/b?c\\d"},
		{"http://good.example%2F@evil.com/", "http://evil.com/"},
		{"http://good.example%23@evil.com/", "http://evil.com/"},
		{"http://a@good.example@evil.com/", "http://evil.com/"},
		{"http://good.example:80@evil.com:81/", "http://evil.com/"},
		{"http://evil.com?@good.example/", "http://evil.com/?@good.example/"},
		{"http://evil.com#@good.example/", "http://evil.com/"},
		{"ht\ntp://ev\til.com\r/", "http://evil.com/"},
		{"\x00\x1fhttp://evil.com/\x1f", "http://evil.com/"},
		{"HTTPS://EVIL.COM:/", "https://evil.com/"},
		{"http://%65vil.com/", "http://evil.com/"},
		{"http://%25%36%35vil.com/", "http://evil.com/"},
		{"%68ttp%253a//evil.com/", "http://evil.com/"},
		{"http://１２７.1/", "http://127.0.0.1/"},
		{"http://0x7f.1/", "http://127.0.0.1/"},
		{"http://0x/", "http://0.0.0.0/"},
		{"http://0x" + strings.Repeat("0", 100) + "7f000001/", "http://127.0.0.1/"},
		{"http://127.0.0.1./", "http://127.0.0.1/"},
		{"http://[0:0:0:0:0:0:0:1]/", "http://[::1]/"},
		{"http://[2001:0db8:0000::1]/", "http://[2001:db8::1]/"},
		{"http://[::ffff:1.2.3.4]/", "http://1.2.3.4/"},
		{"http://[::FFFF:0102:0304]:8443/x", "http://1.2.3.4/x"},
		{"http://[64:ff9b::1.2.3.4]/", "http://1.2.3.4/"},
		{"http://[64:FF9B::102:304]/", "http://1.2.3.4/"},
		{"http://[64:ff9b:1::1.2.3.4]/", "http://[64:ff9b:1::102:304]/"}, // local to a network
		{"http://[%3A%3a1]/", "http://[::1]/"},
	} {
		checkCanonical(t, v.raw, v.want)
	}
}

func TestPathsAndQueries(t *testing.T) {
	for _, v := range []struct{ raw, want string }{
		{"http://a.com?x", "http://a.com/?x"},
		{"http://a.com/b/./c/../d", "http://a.com/b/d"},
		{"http://a.com/../../b/", "http://a.com/b/"},
		{"http://a.com/b/.", "http://a.com/b/"},
		{"http://a.com/b/c/..", "http://a.com/b/"},
		{"http://a.com/b//../c", "http://a.com/b/c"},
		{"http://a.com/.../.b/c.", "http://a.com/.../.b/c."},
		{"http://a.com/b%2f..%2Fc", "http://a.com/c"},
		{"http://a.com/b%5C..%5cc", "http://a.com/c"},
		{"http://a.com/b%3Fc/../d", "http://a.com/b?c/../d"},
		{"http://a.com/b?c/../d//e/./%2e%2E", "http://a.com/b?c/../d//e/./.."},
		{"http://a.com/?%3F%23%20%ff\xff", "http://a.com/??%23%20%FF%FF"},
		{"http://a.com/%00%7f%1F", "http://a.com/%00%7F%1F"},
		{"http://a.com/a b", "http://a.com/a%20b"},
		{"http://a.com/%%34%31", "http://a.com/A"},
		{"http://a.com/%%32%35%34%31", "http://a.com/A"},
		{"http://a.com/%2%35%34%31", "http://a.com/A"},
		{"http://a.com/CaSe?CaSe", "http://a.com/CaSe?CaSe"},
		{"http://a.com/%20/", "http://a.com/%20/"},
	} {
		checkCanonical(t, v.raw, v.want)
	}
}

func TestWhatIsNoURL(t *testing.T) {
	label := strings.Repeat("a", 63)
	name := strings.Join([]string{label, label, label, strings.Repeat("b", 61)}, ".") // of 253 bytes
	for raw, want := range map[string]error{
		"":                            errNoHost,
		"#x":                          errNoHost,
		"http://":                     errNoHost,
		"http://./":                   errNoHost,
		"http://。/":                   errNoHost,
		"http://\u00ad/":              errNoHost,
		"http://@/":                   errNoHost,
		"//evil.com/":                 errNoHost,
		"http:evil.com":               errSlashes,
		"http:/evil.com":              errSlashes,
		"https:":                      errSlashes,
		"ws://evil.com/":              errScheme,
		"file:///etc/passwd":          errScheme,
		"blob:https://evil.com/":      errScheme,
		"user:pass@evil.com":          errScheme,
		"evil.com:":                   errScheme,
		"a_b.com:/":                   errPort,
		"\ufeffhttp://evil.com":       errPort,
		"http://evil.com:80x/":        errPort,
		"http://evil.com:-1/":         errPort,
		"http://a:b:c/":               errPort,
		"http://[::1]x/":              errPort,
		"http://[::1]:x/":             errPort,
		"http://evil.com%00/":         errHostChar,
		"http://evil.com\x00/":        errHostChar,
		"http://evil.com%2Fx/":        errHostChar,
		"http://evil.com%5Cx/":        errHostChar,
		"http://evil.com%3Fx/":        errHostChar,
		"http://a%40evil.com/":        errHostChar,
		"http://evil.com%3A80/":       errHostChar,
		"http://evil]/":               errHostChar,
		"http://x[::1]/":              errPort,
		"http://[::1/":                errIPv6,
		"http://[]/":                  errIPv6,
		"http://[1.2.3.4]/":           errIPv6,
		"http://[fe80::1%25eth0]/":    errIPv6,
		"http://[::1%5D/":             errIPv6,
		"http://1.2.3.256/":           errIPv4,
		"http://1.2.3.4.5/":           errIPv4,
		"http://256.1/":               errIPv4,
		"http://1.16777216/":          errIPv4,
		"http://4294967296/":          errIPv4,
		"http://0x100000000/":         errIPv4,
		"http://18446744073709551617": errIPv4,
		"http://08/":                  errIPv4,
		"http://1.2.0x0g.4/":          errIPv4,
		"http://evil.com.1/":          errIPv4,
		"http://evil.0x1f/":           errIPv4,
		"http://\ufffd.com/":          errHostIDN,
		"http://ü％41.com/":            errHostIDN,
		"http://ü／x.com/":             errHostIDN,
		"http://\x83.ü.com/":          errHostIDN,
		"http://ü com/":               errHostIDN,
		"http://\u0301a.com/":         errHostIDN,
		"http://ü.xn--a/":             errHostIDN,
		"http://" + label + "a.com/":  errHostLong,
		"http://b" + name + "/":       errHostLong,
		"http://" + name + "b/":       errHostLong,
		"http://%5B/":                 errIPv6,
		"http://" + strings.Repeat("ü", 60) + ".com/":            errHostLong,
		"http://" + strings.Repeat("\u00ad", 2000) + "evil.com/": errHostLong,
		"http://a.com/" + strings.Repeat("a", MaxURL):            errLong,
		"http://a.com/?" + strings.Repeat("ü", MaxURL/4):         errLong,
	} {
		if u, err := Canonicalize(raw); err != want || u != (URL{}) {
			t.Errorf("%.60q: %.60q, %v; want %v", raw, u, err, want)
		}
	}
	checkCanonical(t, "http://"+name, "http://"+name+"/")
	long := "http://a.com/?" + strings.Repeat("x", MaxURL-len("http://a.com/?"))
	checkCanonical(t, long, long)
}

func TestHostsFollowThePublicSuffixList(t *testing.T) {
	for raw, want := range map[string]string{
		"a.b.c.d.e.example.co.uk": "a.b.c.d.e.example.co.uk c.d.e.example.co.uk d.e.example.co.uk e.example.co.uk example.co.uk",
		"b.c.d.e.example.com":     "b.c.d.e.example.com c.d.e.example.com d.e.example.com e.example.com example.com",
		"c.d.e.example.com":       "c.d.e.example.com d.e.example.com e.example.com example.com",
		"co.uk":                   "co.uk",
		"com":                     "com",
		"github.io":               "github.io",
		"user.github.io":          "user.github.io",
		"x.user.github.io":        "x.user.github.io user.github.io",
		"x.b.s3.dualstack.us-east-1.amazonaws.com": "x.b.s3.dualstack.us-east-1.amazonaws.com b.s3.dualstack.us-east-1.amazonaws.com",
		"a.www.ck":             "a.www.ck www.ck", // an exception to a rule with a wildcard
		"a.b.c.ck":             "a.b.c.ck b.c.ck",
		"müller.example.公司.cn": "xn--mller-kva.example.xn--55qx5d.cn example.xn--55qx5d.cn",
		"1.2.3.4":              "1.2.3.4",
		"[::1]":                "[::1]",
	} {
		if got := strings.Join(canonical(t, raw).hosts(), " "); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestThirtyExpressionsAtMost(t *testing.T) {
	all := canonical(t, "http://a.b.c.d.e.f.g/1/2/3/4/5.html?q").Expressions()
	if len(all) != MaxExpressions || all[0] != "a.b.c.d.e.f.g/1/2/3/4/5.html?q" || all[29] != "f.g/" || slices.Contains(all, "f.g/1/2/3/4/") {
		t.Errorf("%d: %q", len(all), all)
	}
}

func TestEntries(t *testing.T) {
	for line, want := range map[string]string{
		"http://evil.example/a/b?x=1":  "evil.example/a/b?x=1",
		"evil.example":                 "evil.example/",
		" Evil.Example. ":              "evil.example/",
		"evil.example:8080":            "evil.example/",
		"evil.example:65535":           "evil.example/",
		"http://evil.example:/":        "evil.example/",
		"http://evil.example:00065535": "evil.example/",
		"evil.example/x:99999":         "evil.example/x:99999",
		"http://u:99999@evil.example":  "evil.example/",
		"https://evil.example":         "evil.example/",
		"evil.example/a":               "evil.example/a",
		"evil.example/a?":              "evil.example/a", // an empty query makes no expression
		"evil.example/?x":              "evil.example/?x",
		"http://evil.example/%23/x":    "evil.example/%23/x",
		"bücher.example":               "xn--bcher-kva.example/",
		"a_b.evil.example":             "a_b.evil.example/",
		"user.github.io":               "user.github.io/",
		"github.io/phish":              "github.io/phish",
		"github.io/":                   "github.io/",
		"https://github.io":            "github.io/",
		"github.io?":                   "github.io/",
		"s3.amazonaws.com/bucket/":     "s3.amazonaws.com/bucket/",
		"co.uk/?x":                     "co.uk/?x",
		"0x7f.1":                       "127.0.0.1/",
		"[::ffff:1.2.3.4]":             "1.2.3.4/",
		"[2001:db8::1]":                "[2001:db8::1]/",
		"a.b.c.d.e.f.g.example":        "a.b.c.d.e.f.g.example/",
	} {
		got, err := ParseEntry(line)
		if got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
}

func TestRefusedEntries(t *testing.T) {
	for line, want := range map[string]error{
		"":                            errNoHost,
		"com":                         errNoDot,
		"localhost":                   errNoDot,
		"path/of/something":           errNoDot,
		"co.uk":                       errRegistry,
		"http://co.uk/":               errRegistry,
		"http://co.uk?":               errRegistry,
		"github.io":                   errBareZone,
		"duckdns.org":                 errBareZone,
		" DuckDNS.org. ":              errBareZone,
		"duckdns.org:80":              errBareZone,
		"foo.ck":                      errRegistry,
		"公司.cn":                       errRegistry,
		"*.evil.example":              errHostName,
		"||evil.example^":             errHostName,
		"evil.example,2024-01-01":     errHostName,
		"0.0.0.0 evil.example":        errHostName,
		"<http://evil.example/>":      errPort,
		"\"http://evil.example/\"":    errPort,
		"hxxp://evil.example/":        errScheme,
		"evil.example\t2024":          errLine,
		"evil.example\rb.example":     errLine,
		"evil.example\nb.example":     errLine,
		"\tevil.example":              errLine,
		" \t http://evil.example/":    errLine,
		"evil.example\t":              errLine,
		"evil.example\n":              errLine,
		"\x0bevil.example":            errControl,
		"evil.example\x0c ":           errControl,
		" \x00evil.example":           errControl,
		"\u00a0evil.example":          errHostIDN,
		"\u3000http://evil.example":   errPort,
		"evil.example:65536":          errPortHigh,
		"http://evil.example:99999/a": errPortHigh,
		"ftp://u:p@[::1]:065536":      errPortHigh,
		"evil.example:" + strings.Repeat("9", 1000): errPortHigh,
		"github.io:99999":             errPortHigh,
		"https://app.example/#/evil":  errFragment,
		"evil.example # a comment":    errFragment,
		"999.1.1.1":                   errIPv4,
		strings.Repeat("a", MaxURL+1): errLong,
	} {
		if e, err := ParseEntry(line); err != want || e != "" {
			t.Errorf("%.60q: %.60q, %v; want %v", line, e, err, want)
		}
	}
}

// What a list must not hold can be asked about all the same: a browser drops white space and control characters at the ends of what is typed in, and the
// port never counts.
func TestALookUpIsNotAsStrictAsAList(t *testing.T) {
	for _, raw := range []string{"\tevil.example", " \t http://evil.example/", "evil.example\n", "\x0bevil.example", "evil.example\x0c ", " \x00evil.example",
		"evil.example:65536", "http://evil.example:99999/"} {
		if u, err := Canonicalize(raw); err != nil || u.String() != "http://evil.example/" {
			t.Errorf("%q: %q, %v", raw, u, err)
		}
	}
}

// What an entry covers: the whole host with the hosts below, a folder, a page.
func TestEntriesAreFound(t *testing.T) {
	for _, v := range []struct {
		entry, url string
		want       bool
	}{
		{"evil.example", "https://EVIL.example:8443/any/thing?x#y", true},
		{"evil.example", "http://a.b.c.evil.example/", true},
		{"evil.example", "http://a.b.c.d.e.f.evil.example/x", true},
		{"evil.example", "http://notevil.example/", false},
		{"http://evil.example/a/", "http://sub.evil.example/a/b/c", true},
		{"http://evil.example/a/", "http://evil.example/a", false},
		{"http://evil.example/a", "http://evil.example/a?x", true},
		{"http://evil.example/a", "http://evil.example/a/b", false},
		{"http://evil.example/a?x=1", "http://evil.example/a?x=1", true},
		{"http://evil.example/a?x=1", "http://evil.example/a?x=1&y", false},
		{"http://evil.example/1/2/3/", "http://evil.example/1/2/3/4/5/6", true},
		{"http://evil.example/1/2/3/4/", "http://evil.example/1/2/3/4/5/6", false},
		{"c.d.e.evil.example", "http://a.b.c.d.e.evil.example/", true},
		{"b.c.d.e.evil.example", "http://a.b.c.d.e.evil.example/", false},
		{"user.github.io", "http://x.user.github.io/y", true},
		{"github.io/phish", "http://user.github.io/phish", false},
		{"github.io/", "http://github.io/phish", true},
		{"github.io/", "http://user.github.io/", false},
	} {
		e, err := ParseEntry(v.entry)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(canonical(t, v.url).Hashes(), HashOf(e)); got != v.want {
			t.Errorf("%s found by %s: %v, want %v", v.entry, v.url, got, v.want)
		}
	}
}

// Passes over the whole text until nothing changes would take ten seconds for some of these.
func TestTimeGrowsWithTheLengthOnly(t *testing.T) {
	fill := func(head, unit string) string { return head + strings.Repeat(unit, (MaxURL-len(head))/len(unit)) }
	begin := time.Now()
	n := 0
	units := []string{"25", "%25", "%2", "%", "%%2", "/..", "/.", "/", "//..", "a/", "?", "%2F",
		"%5C", "\\", "@", ".", ":", "\t", "#", " ", "xn--", "%ff", "ü", "\u00ad"}
	heads := []string{"http://a.com/%", "http://a.com/?%", "http://%", "%", "http://ü", "http://", "http://a.com/", "http://[", "ftp://a@"}
	for _, unit := range units {
		for _, head := range heads {
			n++
			if u, err := Canonicalize(fill(head, unit)); err == nil && len(u.Hashes()) == 0 {
				t.Errorf("%q and many %q: no hashes", head, unit)
			}
			_, _ = ParseEntry(fill(head, unit)) // only the time counts
		}
	}
	for i, distinct := range []string{"", "xn--"} { // Punycode is the one thing that takes a square
		var b strings.Builder
		for r := rune(0x4e00); b.Len() < maxWritten-10; r++ {
			b.WriteRune(r)
		}
		if _, err := Canonicalize("http://" + distinct + b.String()); err == nil {
			t.Errorf("%d: a label of %d characters is accepted", i, b.Len()/3)
		}
	}
	if d := time.Since(begin); d > time.Minute {
		t.Errorf("%d URLs of %d bytes took %v", n, MaxURL, d)
	} else {
		t.Logf("%d URLs of %d bytes took %v", n, MaxURL, d)
	}
}

// naiveUnescape passes over the whole text until nothing changes, as the rules are written.
func naiveUnescape(s string) string {
	for {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			if i+2 < len(s) && s[i] == '%' {
				if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
					b.Write(c)
					i += 2
					continue
				}
			}
			b.WriteByte(s[i])
		}
		if b.String() == s {
			return s
		}
		s = b.String()
	}
}

// netip knows dotted decimal without leading zeros, and every form of IPv6: where it reads a host, we have the same address.
func sameAsNetip(t *testing.T, host string) {
	t.Helper()
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return
	}
	want := a.Unmap().String()
	if a.Is6() {
		host = "[" + host + "]"
		if nat64.Contains(a) {
			b := a.As16()
			want = netip.AddrFrom4([4]byte(b[12:])).String()
		} else if !a.Is4In6() {
			want = "[" + want + "]"
		}
	}
	if u, err := Canonicalize("http://" + host); err != nil || u.host != want || !u.address {
		t.Errorf("%s: %q, %v; netip has %s", host, u.host, err, want)
	}
}
