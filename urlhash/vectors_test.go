package urlhash

// The public vectors. Facts only are taken over: what goes in and what must come out.

// documented are the examples of canonicalisation in the Safe Browsing documentation, "URLs and Hashing" (version 4; version 5
// has the same rules and no examples).
var documented = []struct{ raw, canonical string }{
	{"http://host/%25%32%35", "http://host/%25"},
	{"http://host/%25%32%35%25%32%35", "http://host/%25%25"},
	{"http://host/%2525252525252525", "http://host/%25"},
	{"http://host/asdf%25%32%35asd", "http://host/asdf%25asd"},
	{"http://host/%%%25%32%35asd%%", "http://host/%25%25%25asd%25%25"},
	{"http://www.google.com/", "http://www.google.com/"},
	{"http://%31%36%38%2e%31%38%38%2e%39%39%2e%32%36/%2E%73%65%63%75%72%65/%77%77%77%2E%65%62%61%79%2E%63%6F%6D/",
		"http://168.188.99.26/.secure/www.ebay.com/"},
	{"http://195.127.0.11/uploads/%20%20%20%20/.verify/.eBaysecure=updateuserdataxplimnbqmn-xplmvalidateinfoswqpcmlx=hgplmcx/",
		"http://195.127.0.11/uploads/%20%20%20%20/.verify/.eBaysecure=updateuserdataxplimnbqmn-xplmvalidateinfoswqpcmlx=hgplmcx/"},
	{"http://host%23.com/%257Ea%2521b%2540c%2523d%2524e%25f%255E00%252611%252A22%252833%252944_55%252B",
		"http://host%23.com/~a!b@c%23d$e%25f^00&11*22(33)44_55+"},
	{"http://3279880203/blah", "http://195.127.0.11/blah"},
	{"http://www.google.com/blah/..", "http://www.google.com/"},
	{"www.google.com/", "http://www.google.com/"},
	{"www.google.com", "http://www.google.com/"},
	{"http://www.evil.com/blah#frag", "http://www.evil.com/blah"},
	{"http://www.GOOgle.com/", "http://www.google.com/"},
	{"http://www.google.com.../", "http://www.google.com/"},
	{"http://www.google.com/foo\tbar\rbaz\n2", "http://www.google.com/foobarbaz2"},
	{"http://www.google.com/q?", "http://www.google.com/q?"},
	{"http://www.google.com/q?r?", "http://www.google.com/q?r?"},
	{"http://www.google.com/q?r?s", "http://www.google.com/q?r?s"},
	{"http://evil.com/foo#bar#baz", "http://evil.com/foo"},
	{"http://evil.com/foo;", "http://evil.com/foo;"},
	{"http://evil.com/foo?bar;", "http://evil.com/foo?bar;"},
	{"http://\x01\x80.com/", "http://%01%80.com/"},
	{"http://notrailingslash.com", "http://notrailingslash.com/"},
	{"http://www.gotaport.com:1234/", "http://www.gotaport.com/"},
	{"  http://www.google.com/  ", "http://www.google.com/"},
	{"http:// leadingspace.com/", "http://%20leadingspace.com/"},
	{"http://%20leadingspace.com/", "http://%20leadingspace.com/"},
	{"%20leadingspace.com/", "http://%20leadingspace.com/"},
	{"https://www.securesite.com/", "https://www.securesite.com/"},
	{"http://host.com/ab%23cd", "http://host.com/ab%23cd"},
	{"http://host.com//twoslashes?more//slashes", "http://host.com/twoslashes?more//slashes"},
}

// implemented are further vectors of the tests of google/safebrowsing (urls_test.go) and Chromium (v4_protocol_manager_util_unittest.cc).
// The former compares hosts and paths on their own; here they stand in whole URLs.
var implemented = []struct{ raw, canonical string }{
	{"ftp://ftp.myfiles.com/", "ftp://ftp.myfiles.com/"},
	{"http://www.\xC3\xBCmlat.com/", "http://www.xn--mlat-zra.com/"},
	{"http://[2001:470:1:18::114]/", "http://[2001:470:1:18::114]/"},
	{"http%3A%2F%2Fwackyurl.com:80/", "http://wackyurl.com/"},
	{"http://W!eird<>Ho$^.com/", "http://w!eird<>ho$^.com/"},
	{"http://i.have.way.too.many.dots.com/", "http://i.have.way.too.many.dots.com/"},
	{"http://www.google.com/q?r?s%3F", "http://www.google.com/q?r?s?"},

	{"http://www.google.com/foo.html", "http://www.google.com/foo.html"},
	{"http://google.com./foo.html", "http://google.com/foo.html"},
	{"http://google.com.:8080/foo.html", "http://google.com/foo.html"},
	{"http://google...com/foo.html", "http://google.com/foo.html"},
	{"http://..google.com/foo.html", "http://google.com/foo.html"},
	{"http://[FEDC:BA98:7654:3210:FEDC:BA98:7654:3210]:80/index.html", "http://[fedc:ba98:7654:3210:fedc:ba98:7654:3210]/index.html"},
	{"http://0x12.0x43.0x44.0x01", "http://18.67.68.1/"},
	{"http://192.168.0.1:80/index.html", "http://192.168.0.1/index.html"},

	{"http://a.com", "http://a.com/"},
	{"http://a.com/foo/.././bar/./../foo.html", "http://a.com/foo.html"},
	{"http://a.com/a/b/", "http://a.com/a/b/"},
	{"http://a.com/a/b/c", "http://a.com/a/b/c"},
	{"http://a.com//a//b///c////", "http://a.com/a/b/c/"},

	{"http://255.0.0.1", "http://255.0.0.1/"},
	{"http://12.0x12.01234", "http://12.18.2.156/"},
	{"http://012.034.01.055", "http://10.28.1.45/"},
	{"http://167838211", "http://10.1.2.3/"},
	{"http://4294967295", "http://255.255.255.255/"},
	{"http://1.2.3.00x0", "http://1.2.3.00x0/"}, // no address

	{"www.google.com:8080/foo.html", "http://www.google.com/foo.html"},
	{"www.google.com:80/", "http://www.google.com/"},
	{"www.google.com:80", "http://www.google.com/"},
	{"http://www.google.com:8080/foo.html", "http://www.google.com/foo.html"},

	{"http://host.com/%257Ea%2521b%2540c%2523d%2524e%25f%255E00%252611%252A22%252833%252944_55%252B",
		"http://host.com/~a!b@c%23d$e%25f^00&11*22(33)44_55+"},
	{"http://host%3e.com//twoslashes?more//slashes", "http://host>.com/twoslashes?more//slashes"},
	{"http://host.com/abc?val=xyz#anything", "http://host.com/abc?val=xyz"},
	{"http://abc:def@host.com/xyz", "http://host.com/xyz"},
	{"http://host%3e.com/abc/%2e%2e%2fdef", "http://host>.com/def"},
	{"http://.......host...com.....//abc/////def%2F%2F%2Fxyz", "http://host.com/abc/def/xyz"},
	{"ftp://host.com/foo?bar", "ftp://host.com/foo?bar"},
}

// refused are the URLs that these tests want refused.
var refused = []string{
	"", ":", "/blah", "#ref", "/blah#ref", "?query#ref", "/blah?query#ref", "/blah;param",
	"http://#ref", "http:///blah#ref", "http://?query#ref", "http:///blah?query#ref", "http:///blah;param", "http:///blah;param?query#ref",
	"mailto:bryner@google.com", "/asdf", ":8080/foo.html",
	"http:www.google.com:8080/foo.html", "www.google.com:xxyy/foo.html:80",
	"data:text/html;charset=utf-8,%0D%0A", "javascript:alert()", "mailto:abc@example.com",
}

// departures are the vectors of these tests that we do not follow, what we do instead ("" for an error), and why.
var departures = []struct{ raw, theirs, ours, why string }{
	{"http://[::192.9.5.5]/ipng", "http://[::192.9.5.5]/ipng", "http://[::c009:505]/ipng", "version 5 wants one form of each IPv6 address"},
	{"http://some%1bhost.com/%1b", "http://some%1bhost.com/%1b", "http://some%1Bhost.com/%1B", "all versions want capitals in escapes"},
	{"http://276.2.3", "http://20.2.0.3/", "", "a mistyped line would list somebody else's address"},
	{"http://123.123.0.0.1", "http://123.123.0.0.1/", "", "ends in a number and is no address: no client opens it"},
	{"http://10.192.95.89 xy", "http://10.192.95.89/", "http://10.192.95.89%20xy/",
		"no browser opens it, and expressions of names with blanks would become addresses"},
}

// expressions are those of the documentation (the first three of version 4, the next three of version 5) and of google/safebrowsing.
var expressions = []struct {
	raw  string
	want []string // most specific first
}{
	{"http://a.b.c/1/2.html?param=1", []string{
		"a.b.c/1/2.html?param=1", "a.b.c/1/2.html", "a.b.c/1/", "a.b.c/",
		"b.c/1/2.html?param=1", "b.c/1/2.html", "b.c/1/", "b.c/"}},
	{"http://a.b.c.d.e.f.g/1.html", []string{
		"a.b.c.d.e.f.g/1.html", "a.b.c.d.e.f.g/", "c.d.e.f.g/1.html", "c.d.e.f.g/", "d.e.f.g/1.html", "d.e.f.g/",
		"e.f.g/1.html", "e.f.g/", "f.g/1.html", "f.g/"}},
	{"http://1.2.3.4/1/", []string{"1.2.3.4/1/", "1.2.3.4/"}},

	{"http://a.b.com/1/2.html?param=1", []string{
		"a.b.com/1/2.html?param=1", "a.b.com/1/2.html", "a.b.com/1/", "a.b.com/",
		"b.com/1/2.html?param=1", "b.com/1/2.html", "b.com/1/", "b.com/"}},
	{"http://a.b.c.d.e.f.com/1.html", []string{
		"a.b.c.d.e.f.com/1.html", "a.b.c.d.e.f.com/", "c.d.e.f.com/1.html", "c.d.e.f.com/", "d.e.f.com/1.html", "d.e.f.com/",
		"e.f.com/1.html", "e.f.com/", "f.com/1.html", "f.com/"}},
	{"http://example.co.uk/1", []string{"example.co.uk/1", "example.co.uk/"}},

	{"http://a.b.c/1/2.html?param=1/2", []string{
		"a.b.c/1/2.html?param=1/2", "a.b.c/1/2.html", "a.b.c/1/", "a.b.c/",
		"b.c/1/2.html?param=1/2", "b.c/1/2.html", "b.c/1/", "b.c/"}},
	{"http://a.b.c/1/2/3/4/5/", []string{
		"a.b.c/1/2/3/4/5/", "a.b.c/1/2/3/", "a.b.c/1/2/", "a.b.c/1/", "a.b.c/",
		"b.c/1/2/3/4/5/", "b.c/1/2/3/", "b.c/1/2/", "b.c/1/", "b.c/"}},
	{"http://a.b.c.d.e/1.html", []string{
		"a.b.c.d.e/1.html", "a.b.c.d.e/", "b.c.d.e/1.html", "b.c.d.e/", "c.d.e/1.html", "c.d.e/", "d.e/1.html", "d.e/"}},
	{"http://b.c/1/2/3.html?param=1/2", []string{"b.c/1/2/3.html?param=1/2", "b.c/1/2/3.html", "b.c/1/2/", "b.c/1/", "b.c/"}},
	{"http://a.b/?", []string{"a.b/"}},
	{"http://[2001:470:1:18::114]/a/b", []string{"[2001:470:1:18::114]/a/b", "[2001:470:1:18::114]/a/", "[2001:470:1:18::114]/"}},
	{"[2001:470:1:18::114]/a/b", []string{"[2001:470:1:18::114]/a/b", "[2001:470:1:18::114]/a/", "[2001:470:1:18::114]/"}},
	{"http://1.2.3.4/a/b", []string{"1.2.3.4/a/b", "1.2.3.4/a/", "1.2.3.4/"}},
	{"http://a.b/", []string{"a.b/"}},
	{"http://b/", []string{"b/"}},
	{"http://www.google.com/foo.html", []string{"www.google.com/foo.html", "www.google.com/", "google.com/foo.html", "google.com/"}},
	{"http://a.b.c.com/foo.html", []string{
		"a.b.c.com/foo.html", "a.b.c.com/", "b.c.com/foo.html", "b.c.com/", "c.com/foo.html", "c.com/"}},
	{"http://a.com/a/b/c.html", []string{"a.com/a/b/c.html", "a.com/a/b/", "a.com/a/", "a.com/"}},
	{"http://a.com/a/b/c/d/e.html?123", []string{
		"a.com/a/b/c/d/e.html?123", "a.com/a/b/c/d/e.html", "a.com/a/b/c/", "a.com/a/b/", "a.com/a/", "a.com/"}},

	// google/safebrowsing makes six hosts beside the exact one, down to a bare public suffix; the documentation has four, from the
	// registrable domain on.
	{"https://a.b.c.d.e.f.g.h.i/", []string{"a.b.c.d.e.f.g.h.i/", "e.f.g.h.i/", "f.g.h.i/", "g.h.i/", "h.i/"}},
	{"http://a.b.c.d.e.f.kita.tokyo.jp", []string{
		"a.b.c.d.e.f.kita.tokyo.jp/", "c.d.e.f.kita.tokyo.jp/", "d.e.f.kita.tokyo.jp/", "e.f.kita.tokyo.jp/", "f.kita.tokyo.jp/"}},
}
