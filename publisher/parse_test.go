package publisher

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/filetype"
	"example.org/avdb/urlhash"
)

const (
	hexMD5    = "44d88612fea8a8f36de82e1278abb02f"
	hexSHA1   = "3395856ce81f2b7382dee72602f798b642f14140"
	hexSHA256 = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
)

func TestHashLines(t *testing.T) {
	for _, c := range []struct {
		promise string
		line    string
		reason  string
		alg     dbformat.Algorithm
		size    uint32
		name    string
	}{
		{"an MD5 is told by its length", hexMD5 + ":68:Win.Test", "", dbformat.MD5, 68, "Win.Test"},
		{"so is a SHA-1", hexSHA1 + ":68:Win.Test", "", dbformat.SHA1, 68, "Win.Test"},
		{"so is a SHA-256", hexSHA256 + ":68:Win.Test", "", dbformat.SHA256, 68, "Win.Test"},
		{"upper-case hex is the same hash", strings.ToUpper(hexMD5) + ":68:N", "", dbformat.MD5, 68, "N"},
		{"real names hold a slash", hexMD5 + ":68:a/b-1 c", "", dbformat.MD5, 68, "a/b-1 c"},
		{"names are UTF-8", hexMD5 + ":68:Żółw.1", "", dbformat.MD5, 68, "Żółw.1"},
		{"the least size", hexMD5 + ":1:N", "", dbformat.MD5, 1, "N"},
		{"the greatest size", hexMD5 + ":4294967294:N", "", dbformat.MD5, dbformat.MaxSize, "N"},
		{"no size is 0", hexMD5 + ":0:N", reasonSize, 0, 0, ""},
		{"one above the greatest size", hexMD5 + ":4294967295:N", reasonSize, 0, 0, ""},
		{"a size that overflows", hexMD5 + ":18446744073709551617:N", reasonSize, 0, 0, ""},
		{"a signed size", hexMD5 + ":+5:N", reasonSize, 0, 0, ""},
		{"an empty size", hexMD5 + "::N", reasonSize, 0, 0, ""},
		{"any size from level 73 on", hexMD5 + ":*:N:73", "", dbformat.MD5, dbformat.AnySize, "N"},
		{"any size with both levels", hexMD5 + ":*:N:73:255", "", dbformat.MD5, dbformat.AnySize, "N"},
		{"any size below level 73", hexMD5 + ":*:N:72", reasonSizeAny, 0, 0, ""},
		{"any size without a level", hexMD5 + ":*:N", reasonSizeAny, 0, 0, ""},
		{"levels around this engine's", hexMD5 + ":5:N:1:255", "", dbformat.MD5, 5, "N"},
		{"a range that is this level alone", hexMD5 + ":5:N:210:210", "", dbformat.MD5, 5, "N"},
		{"only for later engines", hexMD5 + ":5:N:211", reasonLevelRange, 0, 0, ""},
		{"only for earlier engines", hexMD5 + ":5:N:1:209", reasonLevelRange, 0, 0, ""},
		{"a level that is no number", hexMD5 + ":5:N:x", reasonLevel, 0, 0, ""},
		{"an empty level", hexMD5 + ":5:N:", reasonLevel, 0, 0, ""},
		{"levels the wrong way round", hexMD5 + ":5:N:255:73", reasonLevelOrder, 0, 0, ""},
		{"too many fields", hexMD5 + ":5:N:73:255:1", reasonFields, 0, 0, ""},
		{"too few fields", hexMD5 + ":5", reasonFields, 0, 0, ""},
		{"no fields at all", "this is no signature", reasonFields, 0, 0, ""},
		{"an empty name", hexMD5 + ":5:", reasonNoName, 0, 0, ""},
		{"a name of 255 bytes", hexMD5 + ":5:" + strings.Repeat("n", 255), "", dbformat.MD5, 5, strings.Repeat("n", 255)},
		{"a name of 256 bytes", hexMD5 + ":5:" + strings.Repeat("n", 256), reasonNameLong, 0, 0, ""},
		{"a name that is not UTF-8", hexMD5 + ":5:a\xffb", reasonNameUTF8, 0, 0, ""},
		{"an escape sequence in a name", hexMD5 + ":5:a\x1b[2Jb", reasonNameControl, 0, 0, ""},
		{"a carriage return inside a name", hexMD5 + ":5:a\rb", reasonNameControl, 0, 0, ""},
		{"a name that turns the text around", hexMD5 + ":5:a\u202eb", reasonNameControl, 0, 0, ""},
		{"a hash that is too short", hexMD5[1:] + ":5:N", reasonHashLength, 0, 0, ""},
		{"a SHA-512", hexSHA256 + hexSHA256 + ":5:N", reasonHashLength, 0, 0, ""},
		{"a hash with a letter too far", "g" + hexMD5[1:] + ":5:N", reasonHashDigit, 0, 0, ""},
	} {
		e, reason := parseHash([]byte(c.line), false)
		if reason != c.reason || e.alg != c.alg || e.size != c.size || string(e.name) != c.name {
			t.Errorf("%s: %s gives %v size %d name %q reason %q; want %v size %d name %q reason %q",
				c.promise, c.line, e.alg, e.size, e.name, reason, c.alg, c.size, c.name, c.reason)
		}
		if reason == "" && !strings.EqualFold(hex.EncodeToString(e.hash[:e.alg.Size()]), strings.Split(c.line, ":")[0]) {
			t.Errorf("%s: hash %x of %s", c.promise, e.hash, c.line)
		}
	}
}

func TestSectionLines(t *testing.T) {
	for _, c := range []struct {
		promise string
		line    string
		reason  string
		alg     dbformat.Algorithm
		size    uint32
	}{
		{"the size stands first", "512:" + hexMD5 + ":N", "", dbformat.MD5, 512},
		{"a SHA-1", "512:" + hexSHA1 + ":N", "", dbformat.SHA1, 512},
		{"a SHA-256 in capitals", "512:" + strings.ToUpper(hexSHA256) + ":N:73:255", "", dbformat.SHA256, 512},
		{"any size from level 73 on", "*:" + hexMD5 + ":N:73", "", dbformat.MD5, dbformat.AnySize},
		{"any size without a level", "*:" + hexMD5 + ":N", reasonSizeAny, 0, 0},
		{"the greatest section", "1073741824:" + hexMD5 + ":N", "", dbformat.MD5, 1 << 30},
		{"a section that nobody hashes", "1073741825:" + hexMD5 + ":N", reasonSectionSize, 0, 0},
		{"no size is 0", "0:" + hexMD5 + ":N", reasonSize, 0, 0},
		{"the order of files' lines", hexMD5 + ":512:N", reasonHashLength, 0, 0},
		{"too few fields", "512:" + hexMD5, reasonSectionLine, 0, 0},
		{"too many fields", "512:" + hexMD5 + ":N:1:2:3", reasonSectionLine, 0, 0},
		{"for later engines", "512:" + hexMD5 + ":N:211", reasonLevelRange, 0, 0},
		{"an empty name", "512:" + hexMD5 + ":", reasonNoName, 0, 0},
		{"a name with an escape sequence", "512:" + hexMD5 + ":\x1b[m", reasonNameControl, 0, 0},
	} {
		e, reason := parseSection([]byte(c.line))
		if reason != c.reason || e.alg != c.alg || e.size != c.size || reason == "" && string(e.name) != "N" {
			t.Errorf("%s: %s gives %v size %d name %q reason %q", c.promise, c.line, e.alg, e.size, e.name, reason)
		}
	}
	if maxSection != filetype.MaxHashed || reasonSectionSize != fmt.Sprintf("sections of more than %d bytes are never hashed", filetype.MaxHashed) {
		t.Errorf("limit %d, reason %q: matchers hash sections of up to %d bytes", maxSection, reasonSectionSize, filetype.MaxHashed)
	}
}

func TestWeakAllowRecordsNeedASize(t *testing.T) {
	for _, c := range []struct{ line, reason string }{
		{hexMD5 + ":68:id", ""},
		{hexSHA1 + ":68:id", ""},
		{hexSHA256 + ":68:id", ""},
		{hexMD5 + ":*:id:73", reasonAllowSize},
		{hexSHA1 + ":*:id:73", reasonAllowSize},
		{hexSHA256 + ":*:id:73", ""},
	} {
		if _, reason := parseHash([]byte(c.line), true); reason != c.reason {
			t.Errorf("%s: reason %q, want %q", c.line, reason, c.reason)
		}
	}
}

func TestLinesOfHashLists(t *testing.T) {
	for _, c := range []struct{ line, reason, name string }{
		{hexMD5, "", ""},
		{hexSHA1 + ",Name", "", "Name"},
		{hexSHA256 + "\tName", "", "Name"},
		{hexSHA256 + " Name with spaces", "", "Name with spaces"},
		{hexSHA256 + "  two blanks, as checksum tools write", "", "two blanks, as checksum tools write"},
		{hexSHA256 + " , Name ", "", "Name"},
		{"  " + hexMD5 + "  ", "", ""},
		{hexMD5 + ",", "", ""},
		{hexMD5 + ",a:b", "", "a:b"},
		{hexMD5 + ",a,b", "", "a,b"},
		{",Name", reasonHashesLine, ""},
		{hexMD5 + ";Name", reasonHashLength, ""},
		{hexMD5[:31] + "x", reasonHashDigit, ""},
		{hexMD5 + ",a\x00b", reasonNameControl, ""},
		{hexMD5 + "," + strings.Repeat("n", 256), reasonNameLong, ""},
	} {
		e, reason := parseHashLine([]byte(c.line))
		if reason != c.reason || string(e.name) != c.name || e.size != dbformat.AnySize {
			t.Errorf("%q: name %q size %d reason %q, want name %q reason %q", c.line, e.name, e.size, reason, c.name, c.reason)
		}
	}
}

func TestIgnoreLines(t *testing.T) {
	for _, c := range []struct {
		line, reason, name string
		exact              bool
	}{
		{"Win.Test-1", "", "Win.Test-1", false},
		{"Win.Test-1:" + hexMD5, "", "Win.Test-1", true},
		{"Win.Test-1:" + strings.ToUpper(hexMD5), "", "Win.Test-1", true},
		{"Win.Test-1:abc", reasonIgnoreMD5, "", false},
		{"Win.Test-1:" + hexMD5 + ":", reasonIgnoreMD5, "", false},
		{":" + hexMD5, reasonNoName, "", false},
		{"Avdb.SelfTest.hash/md5", reasonSelfTestName, "", false},
		{"a\x07b", reasonNameControl, "", false},
	} {
		e, reason := parseIgnore([]byte(c.line))
		if reason != c.reason || string(e.name) != c.name || e.exact != c.exact {
			t.Errorf("%q: name %q exact %v reason %q", c.line, e.name, e.exact, reason)
		}
	}
	for _, c := range []struct{ line, reason, name string }{
		{"main.db:12:Win.Test-1", "", "Win.Test-1"},
		{"Win.Test-1", reasonIgnoreOld, ""},
		{"a:b:c:d", reasonIgnoreOld, ""},
		{"a:b:", reasonNoName, ""},
	} {
		e, reason := parseIgnoreOld([]byte(c.line))
		if reason != c.reason || string(e.name) != c.name || e.exact {
			t.Errorf("%q: name %q reason %q", c.line, e.name, reason)
		}
	}
}

func TestKindsByExtension(t *testing.T) {
	for name, want := range map[string]kind{
		"a.hdb": kindSignature, "a.HSB": kindSignature, "a.hdu": kindPUA, "a.hsu.gz": kindPUA, "x/a.fp": kindAllow,
		"a.sfp.zst": kindAllow, "a.ign": kindIgnoreOld, "a.ign2": kindIgnore, "a.hashes.GZ": kindHashes,
		"a.mdb": kindSection, "a.msb": kindSection, "a.mdu": kindSectionPUA, "a.msu.zst": kindSectionPUA, "a.ndb": kindBody, "a.ndu": kindBodyPUA,
		"a.ldb": kindLogical, "a.LDU.gz": kindLogicalPUA, "a.urls": kindURLs, "a.URLS.zst": kindURLs,
	} {
		if k, ok := kindOf(name); !ok || k != want {
			t.Errorf("%s: kind %d, %v; want %d", name, k, ok, want)
		}
	}
	for _, name := range []string{"a", "a.txt", "a.gz", "hdb", "a.hdb.xz", "a.hdb.gz.zst", ""} {
		if k, ok := kindOf(name); ok {
			t.Errorf("%s: kind %d, want none", name, k)
		}
	}
}

func TestReasonsNameTheRealLimits(t *testing.T) {
	if want := fmt.Sprintf("not meant for this engine's functionality level (%d)", dbformat.FunctionalityLevel); reasonLevelRange != want {
		t.Errorf("reason %q, want %q", reasonLevelRange, want)
	}
	if want := fmt.Sprintf("name is longer than %d bytes", dbformat.MaxName); reasonNameLong != want {
		t.Errorf("reason %q, want %q", reasonNameLong, want)
	}
	if want := fmt.Sprintf("line is longer than %d bytes", MaxLine); reasonLong != want {
		t.Errorf("reason %q, want %q", reasonLong, want)
	}
}

func TestEachLineCountsAsEditorsDo(t *testing.T) {
	long := strings.Repeat("x", MaxLine+1)
	in := "\xef\xbb\xbfa\r\n\n# c\n" + long + "\n" + long[1:] + "\nlast"
	var got []string
	if err := eachLine(strings.NewReader(in), func(n int, line []byte) error {
		text := string(content(line))
		if line == nil {
			text = "(long)"
		} else if text == long[1:] {
			text = "(longest)"
		}
		got = append(got, fmt.Sprintf("%d %s", n, text))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 a", "2 ", "3 ", "4 (long)", "5 (longest)", "6 last"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q", got, want)
	}
}

// render writes an entry in the one form that parseHash reads back.
func render(e entry) []byte {
	size := fmt.Sprint(e.size)
	level := ""
	if e.size == dbformat.AnySize {
		size, level = "*", ":73"
	}
	return fmt.Appendf(nil, "%x:%s:%s%s", e.hash[:e.alg.Size()], size, e.name, level)
}

// checkEntry holds what is true of every line: an entry or a reason, never both, and what was read says
// the same when it is written and read again.
func checkEntry(t *testing.T, e entry, reason string, allow bool) {
	if reason != "" {
		if e.alg != 0 || e.hash != [32]byte{} || e.size != 0 || e.name != nil {
			t.Fatalf("entry %+v beside the reason %q", e, reason)
		}
		return
	}
	if nameFault(e.name) != "" || e.size > dbformat.MaxSize || e.alg.Size() == 0 {
		t.Fatalf("entry %+v is out of bounds", e)
	}
	for _, c := range e.hash[e.alg.Size():] {
		if c != 0 {
			t.Fatalf("entry %+v has bytes behind its hash", e)
		}
	}
	if len(e.name) == 0 || bytes.IndexByte(e.name, ':') >= 0 {
		return // .hashes only
	}
	again, reason := parseHash(render(e), allow)
	if reason != "" || again.alg != e.alg || again.hash != e.hash || again.size != e.size || !bytes.Equal(again.name, e.name) {
		t.Fatalf("%s reads back as %+v, %q; want %+v", render(e), again, reason, e)
	}
}

func FuzzParseHash(f *testing.F) {
	for _, s := range []string{hexMD5 + ":68:N", hexSHA1 + ":*:N:73", hexSHA256 + ":4294967294:a/b:73:255", "::", "a:b:c:d:e:f"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, line []byte, allow bool) {
		e, reason := parseHash(line, allow)
		checkEntry(t, e, reason, allow)
		if reason == "" && allow && e.size == dbformat.AnySize && e.alg != dbformat.SHA256 {
			t.Fatalf("allow record %+v of any size", e)
		}
	})
}

func FuzzParseHashLine(f *testing.F) {
	for _, s := range []string{hexMD5, hexSHA1 + ",N", hexSHA256 + "\tN", hexMD5 + " a b", ", ", " ", hexMD5 + "," + strings.Repeat("n", 300), hexSHA1 + ":N"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, reason := parseHashLine(line)
		if e.size != dbformat.AnySize {
			t.Fatalf("size %d without a size in the line", e.size)
		}
		checkEntry(t, e, reason, false)
	})
}

// FuzzParseURL: an accepted line is found by a look-up of what it says, and a reason is one of those that urlhash has.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"evil.example", "http://evil.example/a/b?x=1", "co.uk", "github.io/", "*.evil.example", "1.2.3.4", "a\tb", "0.0.0.0 evil.example",
		"\tevil.example", "evil.example\t", " \v evil.example", "evil.example:65536", "http://evil.example:65535/", "http://evil.example:99999/a", "evil.example#", "\xff", "https://b\u00fccher.example/\u00fc", selfTestURL} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		hash, reason := parseURL(line)
		if reason != "" {
			if hash != (urlhash.Hash{}) || len(reason) > 200 {
				t.Fatalf("hash %x beside the reason %q", hash, reason)
			}
			return
		}
		if u, err := urlhash.Canonicalize(string(line)); err != nil || !slices.Contains(u.Hashes(), hash) {
			t.Fatalf("%q is accepted and not found: %q, %v", line, u, err)
		}
	})
}

func FuzzParseIgnore(f *testing.F) {
	for _, s := range []string{"Win.Test", "Win.Test:" + hexMD5, "a:b:c", ":", selfTestPrefix + "x", "a b", "Win.Test:" + hexSHA1, strings.Repeat("n", 300)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, parse := range []func([]byte) (ignoreEntry, string){parseIgnore, parseIgnoreOld} {
			e, reason := parse(line)
			if reason != "" {
				if e.name != nil || e.exact || e.line != [md5.Size]byte{} {
					t.Fatalf("entry %+v beside the reason %q", e, reason)
				}
				continue
			}
			if len(e.name) == 0 || nameFault(e.name) != "" || bytes.HasPrefix(e.name, []byte(selfTestPrefix)) {
				t.Fatalf("name %q is accepted", e.name)
			}
			text := append([]byte(nil), e.name...)
			if e.exact {
				text = fmt.Appendf(text, ":%x", e.line)
			}
			again, reason := parseIgnore(text)
			if reason != "" || !bytes.Equal(again.name, e.name) || again.exact != e.exact || again.line != e.line {
				t.Fatalf("%s reads back as %+v, %q", text, again, reason)
			}
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"", "variants: [full]", "whole: {names: ['Held.*'], hashes: f}\nguards: {removed_percent: 5}", "a: b", "- x", "whole: {names: [&a x, *a]}",
		"whole: {names:!00 00000000}", "guards: {removed_percent: 101}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, hashes, err := parsePolicy(b)
		if err != nil {
			if p != nil || hashes != "" {
				t.Fatalf("policy %+v beside the error %v", p, err)
			}
			if _, ok := err.(*PolicyError); !ok {
				t.Fatalf("error %T", err)
			}
			return
		}
		if p.Guards.RemovedPercent < 0 || p.Guards.RemovedPercent > 100 || len(p.Variants) == 0 {
			t.Fatalf("policy %+v is out of bounds", p)
		}
	})
}
