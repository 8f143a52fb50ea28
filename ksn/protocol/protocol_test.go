package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// A prefix has one spelling, in paths and in documents, for each number of bits.
func TestPrefixesHaveOneSpelling(t *testing.T) {
	k, err := ParseKey(FileMD5, "89abcdef0123456789abcdef01234567")
	if err != nil {
		t.Fatal(err)
	}
	for bits, want := range map[uint8]string{16: "89ab", 17: "89ab8", 20: "89abc", 23: "89abcc", 24: "89abcd", 31: "89abcdee", 32: "89abcdef"} {
		p := k.Prefix(bits)
		if p.Hex() != want || !p.Covers(k) {
			t.Errorf("%d bits: %s, want %s", bits, p.Hex(), want)
		}
		if q, err := ParsePrefix("file-md5", fmt.Sprint(bits), want); err != nil || q != p {
			t.Errorf("%d bits: %v, %v", bits, q, err)
		}
	}
	for _, bad := range [][3]string{{"file-md5", "15", "89ab"}, {"file-md5", "33", "89abcdef0"}, {"file-md5", "024", "89abcd"}, {"file-md5", "24", "89ABCD"},
		{"file-md5", "24", "89abc"}, {"file-md5", "24", "89abcde"}, {"file-md5", "17", "89ab9"}, {"file-md5", "24", "+9abcd"}, {"file-md5", "24", "0x89ab"},
		{"file", "24", "89abcd"}, {"", "24", "89abcd"}, {"file-md5", "", ""}, {"file-md5", "-1", "89abcd"}} {
		if p, err := ParsePrefix(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%q is taken as %v", bad, p)
		}
	}
	other, err := ParseKey(FileMD5, "89abcdff0123456789abcdef01234567")
	if err != nil || !k.Prefix(24).Covers(other) || k.Prefix(32).Covers(other) {
		t.Error("a prefix covers another key than those that begin with it")
	}
}

// Publisher, product and version make a key together: none of their bytes can move to a neighbour.
func TestSoftwareKeys(t *testing.T) {
	seen := map[Key][3]string{}
	for _, f := range [][3]string{{"a", "b", "c"}, {"ab", "b", "c"}, {"a", "bb", "c"}, {"a", "b", "cc"}, {"", "ab", "c"}, {"", "a", "bc"}, {"a", "bc", ""}, {"A", "b", "c"}} {
		k, err := SoftwareKey(f[0], f[1], f[2])
		if err != nil {
			t.Fatal(err)
		}
		if was, twice := seen[k]; twice {
			t.Errorf("%q and %q have one key", f, was)
		}
		seen[k] = f
	}
	if _, err := SoftwareKey("a", "", "c"); err == nil {
		t.Error("software without a product has a key")
	}
	if _, err := SoftwareKey("a", strings.Repeat("x", MaxSoftwareField+1), "c"); err == nil {
		t.Error("a text of any length is taken")
	}
}

// A key has one text, which gives that key back.
func TestKeysHaveOneText(t *testing.T) {
	for _, typ := range Types() {
		k, err := NewKey(typ, bytes.Repeat([]byte{0xab}, typ.KeySize()))
		if err != nil {
			t.Fatal(err)
		}
		text := k.String()
		if got, err := ParseTypedKey(text); err != nil || got != k {
			t.Errorf("%s gives %v, %v", text, got, err)
		}
		for _, other := range []string{"", strings.ToUpper(text), " " + text, text + " ", text + "0", text[:len(text)-1], k.Hex(), ":" + k.Hex(), "mail:" + k.Hex(), string(typ), string(typ) + ":",
			string(typ) + "::" + k.Hex(), strings.Replace(text, ":", "/", 1)} {
			if got, err := ParseTypedKey(other); err == nil {
				t.Errorf("%q gives %v", other, got)
			}
		}
	}
}

// Sizes, unknown verdicts and lives, as a client uses them.
func TestWhatAnAnswerSaysOfAKey(t *testing.T) {
	k, err := ParseKey(FileSHA1, strings.Repeat("ab", 20))
	if err != nil {
		t.Fatal(err)
	}
	p := k.Prefix(16)
	a := Answer{V: 1, Type: p.Type, Bits: 16, Prefix: p.Hex(), Issued: dbformat.At(issued), TTL: 30 * 86400, NegTTL: 60, Entries: []Entry{
		{Key: k.Hex(), Size: 10, Verdict: Untrusted}, {Key: k.Hex(), Verdict: "adorable"}, {Key: k.Hex(), Verdict: Trusted}, {Key: strings.Repeat("abab", 9) + "ffff", Verdict: Untrusted}}}
	for size, want := range map[int64]int{10: 2, 11: 1, -1: 2} {
		if got := a.About(k, size); len(got) != want {
			t.Errorf("size %d: %d entries, want %d", size, len(got), want)
		}
	}
	for _, c := range []struct {
		found []Entry
		want  time.Duration
	}{{nil, time.Minute}, {[]Entry{{Verdict: Trusted}}, MaxTrustedLife}, {[]Entry{{Verdict: Untrusted}}, MaxLife},
		{[]Entry{{Verdict: Trusted}, {Verdict: Untrusted, TTL: 5}}, 5 * time.Second}} {
		if got := a.Life(c.found); got != c.want {
			t.Errorf("%v lives for %s, want %s", c.found, got, c.want)
		}
	}
	a.NegTTL = 1 << 31
	if got := a.Life(nil); got != MaxLife {
		t.Errorf("silence lives for %s", got)
	}
	for off, ok := range map[time.Duration]bool{-MaxAhead - time.Second: false, -MaxAhead: true, 0: true, MaxTrustedLife - 1: true, MaxTrustedLife: false} {
		if err := a.CheckTime(issued.Add(off)); (err == nil) != ok {
			t.Errorf("%s after it was issued: %v", off, err)
		}
	}
}

// What breaks the protocol is not signed, so that no server gives what no client takes.
func TestSignRefusesWhatDoesNotOpen(t *testing.T) {
	k := testKey(t, 1)
	for what, change := range map[string]func(a *Answer){
		"version":               func(a *Answer) { a.V = 2 },
		"prefix in capitals":    func(a *Answer) { a.Prefix = strings.ToUpper(a.Prefix) + "A" },
		"no time":               func(a *Answer) { a.Issued = dbformat.Time{} },
		"half a second":         func(a *Answer) { a.Issued.Time = a.Issued.Add(time.Second / 2) },
		"release":               func(a *Answer) { a.Release = 1 << 53 },
		"key of another prefix": func(a *Answer) { a.Entries = []Entry{{Key: strings.Repeat("00", 32), Verdict: Trusted}} },
		"key too short":         func(a *Answer) { a.Entries = []Entry{{Key: a.Prefix, Verdict: Trusted}} },
		"no verdict":            func(a *Answer) { a.Entries = []Entry{{Key: a.Prefix + strings.Repeat("0", 58)}} },
		"line feed in a name": func(a *Answer) {
			a.Entries = []Entry{{Key: a.Prefix + strings.Repeat("0", 58), Verdict: Trusted, Name: "a\nb"}}
		},
		"the same entry twice": func(a *Answer) {
			e := Entry{Key: a.Prefix + strings.Repeat("0", 58), Verdict: Trusted}
			a.Entries = []Entry{e, e}
		},
		"invalid UTF-8": func(a *Answer) {
			a.Entries = []Entry{{Key: a.Prefix + strings.Repeat("0", 58), Verdict: Trusted, Signer: "\xff"}}
		},
		"a thousand regions": func(a *Answer) {
			a.Entries = []Entry{{Key: a.Prefix + strings.Repeat("0", 58), Verdict: Trusted, Regions: make([]string, 1000)}}
		},
		"a name of 1000 bytes": func(a *Answer) {
			a.Entries = []Entry{{Key: a.Prefix + strings.Repeat("0", 58), Verdict: Trusted, Name: strings.Repeat("n", 1000)}}
		},
		"more entries than fits": func(a *Answer) { a.Entries = make([]Entry, MaxEntries+1) },
	} {
		all, _ := answers(1, 9)
		change(&all[0])
		if b, err := SignReply(all, k); !errors.Is(err, ErrInvalid) || b != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, n := range []int{0, MaxBatch + 1} {
		all, _ := answers(n, 1)
		if _, err := SignReply(all, k); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d answers: %v", n, err)
		}
	}
}

// A node of the tree is no leaf: who knows a signed tree cannot pass an inner node off as an answer, nor reorder, nor answer another question.
func TestProofsProveOneAnswer(t *testing.T) {
	k := testKey(t, 1)
	ks := testKeys(t, k)
	all, prefixes := answers(4, 4)
	b, err := SignReply(all, k)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ks.OpenAll(JoinReplies(b), prefixes)
	if err != nil {
		t.Fatal(err)
	}
	prefixes[0], prefixes[1] = prefixes[1], prefixes[0]
	if _, err := ks.OpenAll(JoinReplies(b), prefixes); !errors.Is(err, ErrInvalid) {
		t.Errorf("answers to other questions: %v", err)
	}
	if _, err := ks.OpenAll(JoinReplies(b), prefixes[:3]); !errors.Is(err, ErrInvalid) {
		t.Errorf("more answers than questions: %v", err)
	}
	swapped := bytes.Replace(got[0].Bytes, all[0].append(nil), all[1].append(nil), 1)
	if _, err := ks.Open(swapped); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another answer under this proof: %v", err)
	}
	for _, s := range []string{`"path":[`, `"sig":"`} {
		if i := bytes.Index(got[2].Bytes, []byte(s)); i < 0 {
			t.Fatalf("no %s in %s", s, got[2].Bytes)
		}
	}
	long := bytes.Replace(got[0].Bytes, []byte(`"path":[`), []byte(`"path":[`+strings.Repeat(`"l`+strings.Repeat("0", 64)+`",`, maxPathUp)), 1)
	if _, err := ks.Open(long); !errors.Is(err, ErrInvalid) {
		t.Errorf("a proof without end: %v", err)
	}
}

// Info speaks for one network, now.
func TestInfo(t *testing.T) {
	k := testKey(t, 1)
	ks := testKeys(t, k)
	network := Fingerprint(testKey(t, 9).Public())
	b, err := SignInfo(testInfo(network, 5), k)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := ks.OpenInfo(b, network, issued); err != nil || i.Release != 5 {
		t.Fatalf("%+v, %v", i, err)
	}
	for what, err := range map[string]error{
		"another network": second(ks.OpenInfo(b, Fingerprint(k.Public()), issued)),
		"too old":         second(ks.OpenInfo(b, network, issued.Add(time.Hour))),
		"the future":      second(ks.OpenInfo(b, network, issued.Add(-MaxAhead-time.Second))),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := second(testKeys(t, testKey(t, 2)).OpenInfo(b, network, issued)); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another key: %v", err)
	}
}

func second(_ Info, err error) error { return err }

// A private network's file is followed by a newer one of the same key only.
func TestSucceeds(t *testing.T) {
	sign := func(p Provider, seed byte) ProviderFile {
		f, err := SignProvider(p, testKey(t, seed))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	p := testProvider(t)
	old := sign(p, 5)
	p.Serial++
	newer := sign(p, 5)
	p.Name = "Other"
	twin := sign(p, 5)
	p.Serial++
	stranger := sign(p, 6)
	p.Network = Global
	global := sign(p, 5)
	for what, c := range map[string]struct {
		from, to ProviderFile
		ok       bool
	}{"the next serial": {old, newer, true}, "the same file": {old, old, true}, "back": {newer, old, false}, "the same serial, other content": {newer, twin, false},
		"another key": {old, stranger, false}, "another kind": {old, global, false}} {
		if err := c.from.Succeeds(&c.to); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// No byte of a provider file can change.
func TestFlippedByteInAProviderFile(t *testing.T) {
	f, err := SignProvider(testProvider(t), testKey(t, 5))
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Bytes {
		for bit := range 8 {
			b := bytes.Clone(f.Bytes)
			b[i] ^= 1 << bit
			if g, err := OpenProvider(b); err == nil && g.Fingerprint == f.Fingerprint || err != nil && !known(err) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
		}
	}
}

// A key comes back from its file, and says nothing secret when it is printed.
func TestKeyFiles(t *testing.T) {
	k := testKey(t, 7)
	b, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseSigningKey(b)
	if err != nil || !bytes.Equal(again.Public(), k.Public()) || again.ID() != k.ID() {
		t.Fatalf("%v, %v", again, err)
	}
	secret := hex.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%s %v", k, k)} {
		if strings.Contains(s, secret) || strings.Contains(s, "7 7 7") {
			t.Errorf("printed: %s", s)
		}
	}
	for what, b := range map[string][]byte{"nothing": nil, "two keys": append(bytes.Clone(b), b...), "text after it": append(bytes.Clone(b), 'x'),
		"another kind": []byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"), "1 MiB": make([]byte, 1<<20)} {
		if _, err := ParseSigningKey(b); err == nil {
			t.Errorf("%s is a key", what)
		}
	}
}

// Popularity tells an order of magnitude and no more.
func TestRoundPopularity(t *testing.T) {
	for n, want := range map[uint64]uint64{0: 0, 1: 1, 9: 1, 10: 10, 99: 10, 12345: 10000, 1<<64 - 1: 1e19} {
		if got := RoundPopularity(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
}

func BenchmarkSignReply(b *testing.B) {
	k := testKey(b, 1)
	for _, n := range []int{1, MaxBatch} {
		b.Run(fmt.Sprintf("answers=%d", n), func(b *testing.B) {
			all, _ := answers(n, 1)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := SignReply(all, k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpenAll(b *testing.B) {
	k := testKey(b, 1)
	ks := testKeys(b, k)
	for _, n := range []int{1, MaxBatch} {
		b.Run(fmt.Sprintf("answers=%d", n), func(b *testing.B) {
			all, prefixes := answers(n, 1)
			doc, err := SignReply(all, k)
			if err != nil {
				b.Fatal(err)
			}
			doc = JoinReplies(doc)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ks.OpenAll(doc, prefixes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
