package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
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
	other, err := ParseKey(FileSHA1, strings.Repeat("abab", 9)+"ffff")
	if err != nil {
		t.Fatal(err)
	}
	a := Answer{Head: Head{V: 1, Issued: dbformat.At(issued), TTL: 30 * 86400, NegTTL: 60}, Prefix: p, Entries: []Entry{
		{Key: k, Size: 10, Verdict: Untrusted}, {Key: k, Verdict: "adorable"}, {Key: k, Verdict: Trusted}, {Key: other, Verdict: Untrusted}}}
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

// entryOf is an entry that an answer may have, changed.
func entryOf(a Answer, change func(e *Entry)) Entry {
	e := Entry{Key: Key{Type: a.Prefix.Type}, Verdict: Trusted}
	binary.BigEndian.PutUint32(e.Key.Sum[:], a.Prefix.Value<<(32-a.Prefix.Bits))
	change(&e)
	return e
}

// What breaks the protocol is not signed, so that no server gives what no client takes.
func TestSignRefusesWhatDoesNotOpen(t *testing.T) {
	k := testKey(t, 1)
	for what, change := range map[string]func(a *Answer){
		"version":               func(a *Answer) { a.V = 2 },
		"prefix of no type":     func(a *Answer) { a.Prefix.Type = "mail" },
		"prefix of 15 bits":     func(a *Answer) { a.Prefix.Bits = 15 },
		"prefix of 250 bits":    func(a *Answer) { a.Prefix.Bits = 250 },
		"a bit too many":        func(a *Answer) { a.Prefix.Value |= 1 << 24 },
		"no time":               func(a *Answer) { a.Issued = dbformat.Time{} },
		"half a second":         func(a *Answer) { a.Issued.Time = a.Issued.Add(time.Second / 2) },
		"release":               func(a *Answer) { a.Release = 1 << 53 },
		"key of another prefix": func(a *Answer) { a.Entries = []Entry{entryOf(*a, func(e *Entry) { e.Key.Sum[0] ^= 1 })} },
		"key of another type":   func(a *Answer) { a.Entries = []Entry{entryOf(*a, func(e *Entry) { e.Key.Type = URL })} },
		"more than a key": func(a *Answer) {
			a.Prefix.Type = FileMD5
			a.Entries = []Entry{entryOf(*a, func(e *Entry) { e.Key.Sum[31] = 1 })}
		},
		"no verdict":           func(a *Answer) { a.Entries = []Entry{entryOf(*a, func(e *Entry) { e.Verdict = "" })} },
		"line feed in a name":  func(a *Answer) { a.Entries = []Entry{entryOf(*a, func(e *Entry) { e.Name = "a\nb" })} },
		"the same entry twice": func(a *Answer) { e := entryOf(*a, func(*Entry) {}); a.Entries = []Entry{e, e} },
		"invalid UTF-8":        func(a *Answer) { a.Entries = []Entry{entryOf(*a, func(e *Entry) { e.Signer = "\xff" })} },
		"a thousand regions":   func(a *Answer) { a.Entries = []Entry{entryOf(*a, func(e *Entry) { e.Regions = make([]string, 1000) })} },
		"a name of 1000 bytes": func(a *Answer) {
			a.Entries = []Entry{entryOf(*a, func(e *Entry) { e.Name = strings.Repeat("n", 1000) })}
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

// A proof proves one answer, under one head: who knows signed replies can neither reorder, nor answer another question, nor swap.
func TestProofsProveOneAnswer(t *testing.T) {
	k := testKey(t, 1)
	ks := testKeys(t, k)
	all, prefixes := answers(7, 4)
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
	swapped := bytes.Replace(got[0].Bytes, spelled(&all[0]), spelled(&all[1]), 1)
	if _, err := ks.Open(swapped); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another answer under this proof: %v", err)
	}
	one, two := spelled(&all[0]), spelled(&all[1])
	reordered := bytes.Replace(bytes.Replace(bytes.Replace(b, one, []byte("@"), 1), two, one, 1), []byte("@"), two, 1)
	if _, err := ks.OpenAll(JoinReplies(reordered), prefixes); !errors.Is(err, ErrUntrusted) {
		t.Errorf("two answers in the other order: %v", err)
	}
	cutOff := bytes.Replace(b, append([]byte(","), spelled(&all[6])...), nil, 1)
	if _, err := ks.open(cutOff); len(cutOff) == len(b) || !errors.Is(err, ErrUntrusted) {
		t.Errorf("a reply without its last answer: %v", err)
	}
	for _, s := range []string{`"path":[`, `"sig":"`} {
		if i := bytes.Index(got[2].Bytes, []byte(s)); i < 0 {
			t.Fatalf("no %s in %s", s, got[2].Bytes)
		}
	}
	long := bytes.Replace(got[0].Bytes, []byte(`"path":[`), []byte(`"path":[`+strings.Repeat(`"0`+strings.Repeat("0", 64)+`",`, maxPathUp)), 1)
	if _, err := ks.Open(long); !errors.Is(err, ErrInvalid) {
		t.Errorf("a proof without end: %v", err)
	}
}

// Answers of one reply are worth nothing under the head of another one of the same key: neither all of them nor one that was cut out, whatever the heads differ in.
func TestAnswersUnderAnotherHead(t *testing.T) {
	k := testKey(t, 1)
	ks := testKeys(t, k)
	for what, change := range map[string]func(h *Head){
		"a later time":    func(h *Head) { h.Issued = dbformat.At(issued.Add(time.Second)) },
		"a longer life":   func(h *Head) { h.TTL *= 2 },
		"longer silence":  func(h *Head) { h.NegTTL *= 2 },
		"a later release": func(h *Head) { h.Release++ },
	} {
		for _, n := range []int{1, 2, 6, MaxBatch} {
			old, _ := answers(n, 4)
			later, _ := answers(n, 5)
			for i := range later {
				change(&later[i].Head)
			}
			reply := func(all []Answer) []byte {
				b, err := SignReply(all, k)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			a, b := reply(old), reply(later)
			under := func(doc []byte) []byte {
				changed := bytes.Replace(doc, old[0].Head.append(nil), later[0].Head.append(nil), 1)
				if bytes.Equal(changed, doc) {
					t.Fatalf("no head in %s", doc)
				}
				return changed
			}
			if got, err := ks.open(under(a)); !errors.Is(err, ErrUntrusted) || got != nil {
				t.Errorf("%d answers under %s: %v", n, what, err)
			}
			cut, err := ks.open(a)
			if err != nil {
				t.Fatal(err)
			}
			others, err := ks.open(b)
			if err != nil {
				t.Fatal(err)
			}
			for i := range cut {
				if _, err := ks.Open(under(cut[i].Bytes)); !errors.Is(err, ErrUntrusted) {
					t.Fatalf("answer %d of %d under %s: %v", i, n, what, err)
				}
				mine, theirs := bytes.Index(cut[i].Bytes, []byte(`,"proof":`)), bytes.Index(others[i].Bytes, []byte(`,"proof":`))
				if _, err := ks.Open(append(under(cut[i].Bytes[:mine]), others[i].Bytes[theirs:]...)); !errors.Is(err, ErrUntrusted) {
					t.Fatalf("answer %d of %d under %s, with the other reply's proof: %v", i, n, what, err)
				}
				if _, err := ks.Open(append(bytes.Clone(cut[i].Bytes[:mine]), others[i].Bytes[theirs:]...)); !errors.Is(err, ErrUntrusted) {
					t.Fatalf("answer %d of %d with the proof of a reply with %s: %v", i, n, what, err)
				}
			}
		}
	}
}

// No head can borrow bytes of the root, nor the root of the head: what is signed can be cut in one place.
func TestHeadAndRootAreApart(t *testing.T) {
	k := testKey(t, 1)
	all, _ := answers(1, 4)
	root, head := leafHash(spelled(&all[0])), all[0].Head.append(nil)
	if b := signed(root, head); !bytes.Equal(b[:32], root[:]) || !bytes.Equal(b[32:], head) {
		t.Fatalf("signed is %q", b)
	}
	for _, moved := range [][]byte{append(bytes.Clone(root[31:]), head...), head[1:]} {
		doc := append(append([]byte(`{"head":`), moved...), `,"answers":{`...)
		doc = append(append(doc, spelled(&all[0])...), `},"proof":`...)
		doc = append((&proof{KeyID: k.ID(), Sig: k.sign(domainReply, signed(root, head))}).append(doc), '}')
		if got, err := testKeys(t, k).open(doc); err == nil || got != nil {
			t.Errorf("the head %q is taken", moved)
		}
	}
}

// A node is no leaf, and a leaf no node: what is hashed begins with a mark. Whoever makes an answer of a signed tree's inner bytes, or hides a tree in an
// answer, proves nothing.
func TestNodesAreNoLeaves(t *testing.T) {
	k := testKey(t, 1)
	ks := testKeys(t, k)
	all, _ := answers(16, 4)
	leaves := make([]hash, len(all))
	for i := range all {
		leaves[i] = leafHash(spelled(&all[i]))
	}
	whole := newTree(leaves)
	var inside []byte // what a node is made of, but for its mark
	for _, h := range siblings(whole[0], 4) {
		inside = append(inside, h[:]...)
	}
	if leafHash(inside) == whole[1][1] {
		t.Error("what a node is made of has, as an answer, the hash of the node")
	}
	// One signature over the whole tree, for documents whose only "answer" is a node of it.
	sig := k.sign(domainReply, signed(whole.root(), all[0].Head.append(nil)))
	path := newTree(slices.Clone(whole[1])).path(1)
	for what, answer := range map[string][]byte{"the hashes": inside, "with their mark": append([]byte{nodeMark}, inside...),
		"as JSON": append(append([]byte(`"`), hex.EncodeToString(inside)...), `":[]`...)} {
		doc := append(append([]byte(`{"head":`), all[0].Head.append(nil)...), `,"answers":{`...)
		doc = append(append(doc, answer...), `},"proof":`...)
		doc = append((&proof{KeyID: k.ID(), Path: path, Sig: sig}).append(doc), '}')
		if got, err := ks.open(doc); err == nil || got != nil {
			t.Errorf("%s of a node as an answer: %v", what, got)
		}
		if top, err := follow(leafHash(answer), path); err == nil && top == whole.root() {
			t.Errorf("%s of a node lead to the root as a leaf", what)
		}
	}
	if top, err := follow(whole[1][1], path); err != nil || top != whole.root() {
		t.Fatalf("the path is none for the node either: %v", err)
	}
}

// A step of a proof has one spelling: the place, and as many hashes as a node has besides.
func TestStepsOfAProof(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	for _, good := range []string{"0" + zeros, "1" + zeros, "2" + zeros + zeros, "3" + zeros + zeros + zeros} {
		if _, err := follow(hash{}, []string{good}); err != nil {
			t.Errorf("%.3s, %d digits: %v", good, len(good)-1, err)
		}
	}
	for _, bad := range []string{"", "0", zeros, "2" + zeros, "4" + zeros + zeros + zeros, "/" + zeros, "l" + zeros, "0" + zeros[1:], "0" + zeros + "0", "0" + zeros[1:] + "g", "0" + zeros[1:] + "A",
		"0" + zeros + zeros + zeros + zeros, "-1" + zeros[1:]} {
		if _, err := follow(hash{}, []string{bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.3s, %d digits: %v", bad, len(bad)-1, err)
		}
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

// A token can stand in a header as it is, and what is wrong with one is told without a word of it.
func TestCheckToken(t *testing.T) {
	for _, good := range []string{"x", "two words", "grüße", strings.Repeat("t", MaxToken)} {
		if err := CheckToken(good); err != nil {
			t.Errorf("%.20q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "s3cret\n", "s3\ncret", "s3cret\r\n", "s3\tcret", "s3\x00cret", "s3\x7fcret", " s3cret", "s3cret ", strings.Repeat("t", MaxToken+1)} {
		if err := CheckToken(bad); err == nil || strings.Contains(err.Error(), "s3") || strings.Contains(err.Error(), "cret") || len(err.Error()) > 200 {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// Who signed a provider file is told also where this engine cannot read what it says; and of no file whose signature is wrong.
func TestProviderSignerOfALaterFormat(t *testing.T) {
	k := testKey(t, 5)
	raw := []byte(`{"later":true,"schema":2}`)
	b, err := marshal(signedProvider{raw, k.Public(), k.sign(domainProvider, raw)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenProvider(b); !errors.Is(err, ErrInvalid) {
		t.Errorf("OpenProvider: %v", err)
	}
	if got, err := ProviderSigner(b); err != nil || got != Fingerprint(k.Public()) {
		t.Errorf("ProviderSigner: %.16s, %v", got, err)
	}
	if got, err := ProviderSigner(bytes.Replace(b, []byte("true"), []byte("null"), 1)); !errors.Is(err, ErrUntrusted) || got != "" {
		t.Errorf("another content: %.16s, %v", got, err)
	}
}
