package protocol

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// testKey makes the same key each time.
func testKey(t testing.TB, seed byte) *SigningKey {
	t.Helper()
	k, err := GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testKeys(t testing.TB, all ...*SigningKey) Keys {
	t.Helper()
	var public [][]byte
	for _, k := range all {
		public = append(public, k.Public())
	}
	ks, err := NewKeys(public...)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

var issued = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testHead() Head {
	return Head{V: Version, Issued: dbformat.At(issued), TTL: 3600, NegTTL: 600, Release: 7}
}

// spelled is the canonical spelling of an answer, without its head.
func spelled(a *Answer) []byte {
	return appendEntries(append(a.Prefix.append([]byte{'"'}), `":`...), a.Entries)
}

// answers makes n answers for different prefixes, the same ones for each seed.
func answers(n int, seed uint64) ([]Answer, []Prefix) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var all []Answer
	var prefixes []Prefix
	for i := range n {
		k := Key{FileSHA256, sha256.Sum256(fmt.Append(nil, seed, i))}
		p := k.Prefix(DefaultBits)
		a := Answer{Head: testHead(), Prefix: p}
		for j := range rnd.IntN(3) {
			e := Entry{Key: k, Size: uint32(j), Verdict: Untrusted, Name: `Win.Test "<&>\` + fmt.Sprint(i)}
			if j == 1 {
				at := dbformat.At(issued.Add(-time.Hour))
				e.FirstSeen, e.Popularity, e.Regions, e.Signer, e.Category, e.TTL = &at, 1000, []string{"DE", "RU"}, "Ünal", "malware", 60
			}
			a.Entries = append(a.Entries, e)
		}
		all, prefixes = append(all, a), append(prefixes, p)
	}
	return all, prefixes
}

// An answer is spelled in a reply as it is alone, whatever the answer before it has in common with it, and the head as it is without answers.
func TestAnswersAreSpelledAloneAndTogether(t *testing.T) {
	changes := map[string]func(a *Answer){
		"nothing": func(*Answer) {},
		"type":    func(a *Answer) { a.Prefix.Type, a.Entries = URL, nil },
		"bits":    func(a *Answer) { a.Prefix.Bits, a.Prefix.Value = 16, a.Prefix.Value>>8 },
		"digits":  func(a *Answer) { a.Prefix.Bits, a.Prefix.Value = 23, a.Prefix.Value>>1 },
		"entries": func(a *Answer) { a.Entries = nil },
	}
	for one, first := range changes {
		for other, second := range changes {
			all, _ := answers(6, 1)
			first(&all[2])
			second(&all[3])
			second(&all[4])
			b, err := SignReply(all, testKey(t, 1))
			if err != nil {
				t.Fatal(err)
			}
			r, ok := scanReply(b)
			if !ok || len(r.answers) != len(all) {
				t.Fatalf("%s, %s: %s", one, other, b)
			}
			if alone := all[0].Head.append(nil); !bytes.Equal(r.head, alone) {
				t.Errorf("%s, %s: the head is\n%s\nalone\n%s", one, other, r.head, alone)
			}
			for i := range all {
				if alone := spelled(&all[i]); !bytes.Equal(r.answers[i], alone) {
					t.Errorf("%s, %s: answer %d is\n%s\nalone\n%s", one, other, i, r.answers[i], alone)
				}
			}
		}
	}
}

// A reply has one head: answers with two are not signed together.
func TestAReplyHasOneHead(t *testing.T) {
	for what, change := range map[string]func(h *Head){
		"version": func(h *Head) { h.V++ },
		"issued":  func(h *Head) { h.Issued = dbformat.At(issued.Add(time.Second)) },
		"ttl":     func(h *Head) { h.TTL++ },
		"neg_ttl": func(h *Head) { h.NegTTL++ },
		"release": func(h *Head) { h.Release++ },
	} {
		all, _ := answers(3, 1)
		change(&all[2].Head)
		if b, err := SignReply(all, testKey(t, 1)); !errors.Is(err, ErrInvalid) || b != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A writer is used again: what one reply left in it is not in the next one, and a reply stands behind what was there.
func TestReplyWriterIsUsedAgain(t *testing.T) {
	k := testKey(t, 1)
	var w ReplyWriter
	for _, n := range []int{256, 1, 17, 5, 256} {
		all, _ := answers(n, uint64(n))
		want, err := SignReply(all, k)
		if err != nil {
			t.Fatal(err)
		}
		w.Begin([]byte("before"), all[0].Head)
		for i := range all {
			if err := w.Add(all[i].Prefix, all[i].Entries); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := w.Sign(k); err != nil || string(got) != "before"+string(want) {
			t.Errorf("%d answers: %v, or another reply than the first time", n, err)
		}
	}
}

// An answer that one reply spelled is in another one as if it was spelled there, under any head and in any company, and outlives the first.
func TestSpelledAnswersInOtherReplies(t *testing.T) {
	k := testKey(t, 1)
	all, prefixes := answers(40, 3)
	var w ReplyWriter
	var kept []Spelled
	w.Begin(nil, Head{V: Version, Issued: dbformat.At(issued.Add(-time.Hour)), Release: 3})
	for i := range all {
		if err := w.Add(all[i].Prefix, all[i].Entries); err != nil {
			t.Fatal(err)
		}
		if kept = append(kept, w.Last()); kept[i].Len() != len(spelled(&all[i])) {
			t.Fatalf("answer %d has %d bytes, it is spelled %s", i, kept[i].Len(), spelled(&all[i]))
		}
	}
	if _, err := w.Sign(k); err != nil {
		t.Fatal(err)
	}
	for every := range 4 { // how many of three are spelled anew
		w.Begin(nil, all[0].Head)
		for i := range all {
			err := error(nil)
			if i%3 < every {
				err = w.Add(all[i].Prefix, all[i].Entries)
			} else {
				err = w.AddSpelled(kept[i])
			}
			if last := w.Last(); err != nil || !bytes.Equal(last.b, kept[i].b) {
				t.Fatalf("answer %d: %v, spelled %s", i, err, last.b)
			}
		}
		got, err := w.Sign(k)
		if want, werr := SignReply(all, k); err != nil || werr != nil || !bytes.Equal(got, want) {
			t.Errorf("%d of three spelled anew: %v, or another reply", every, errors.Join(err, werr))
		}
		if _, err := testKeys(t, k).OpenAll(JoinReplies(got), prefixes); err != nil {
			t.Error(err)
		}
	}
	w.Begin(nil, all[0].Head)
	for range MaxBatch {
		if err := w.AddSpelled(kept[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AddSpelled(Spelled{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("none: %v", err)
	}
	if err := w.AddSpelled(kept[0]); !errors.Is(err, ErrInvalid) {
		t.Errorf("one more than %d: %v", MaxBatch, err)
	}
	if err := w.Add(all[0].Prefix, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("one more than %d: %v", MaxBatch, err)
	}
}

// Of a reply of any number of answers each one comes back, alone too, and by no other key.
func TestSignedAnswersComeBack(t *testing.T) {
	k := testKey(t, 1)
	ks := testKeys(t, k, testKey(t, 2))
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 20, 21, 64, 65, 100, 255, MaxBatch} {
		all, prefixes := answers(n, uint64(n))
		b, err := SignReply(all, k)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ks.OpenAll(JoinReplies(b), prefixes)
		if err != nil {
			t.Fatalf("%d answers: %v", n, err)
		}
		var singles [][]byte
		for i, s := range got {
			one, err := ks.Open(s.Bytes)
			if err != nil {
				t.Fatalf("%d answers, number %d alone: %v", n, i, err)
			}
			if string(spelled(&one.Answer)) != string(spelled(&all[i])) || one.Answer.Head != all[i].Head || !bytes.Equal(one.Bytes, s.Bytes) {
				t.Errorf("%d answers, number %d alone is another one", n, i)
			}
			singles = append(singles, s.Bytes)
		}
		if _, err := ks.OpenAll(JoinReplies(singles...), prefixes); err != nil {
			t.Errorf("%d answers joined anew: %v", n, err)
		}
		if _, err := testKeys(t, testKey(t, 3)).OpenAll(JoinReplies(b), prefixes); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%d answers under another key: %v, want ErrUntrusted", n, err)
		}
	}
}

// No byte of a signed answer can change: it then does not verify, or is not read.
func TestFlippedByteInAReply(t *testing.T) {
	k := testKey(t, 1)
	ks := testKeys(t, k)
	all, prefixes := answers(5, 3)
	b, err := SignReply(all, k)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ks.OpenAll(JoinReplies(b), prefixes)
	if err != nil {
		t.Fatal(err)
	}
	for _, whole := range [][]byte{b, got[4].Bytes, got[0].Bytes} {
		for i := range whole {
			for bit := range 8 {
				c := bytes.Clone(whole)
				c[i] ^= 1 << bit
				if s, err := ks.open(c); err == nil || s != nil || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUntrusted) {
					t.Fatalf("byte %d, bit %d: %d answers and error %v", i, bit, len(s), err)
				}
			}
			if _, err := ks.open(whole[:i]); err == nil {
				t.Fatalf("cut at byte %d: no error", i)
			}
		}
	}
}

// Whatever a server reads quickly, it reads as everything else is read: requests as MarshalQuery spells them, and no others, take the short way.
func FuzzParseQuery(f *testing.F) {
	_, prefixes := answers(3, 1)
	q, err := MarshalQuery(append(prefixes, Prefix{URL, 16, 7}, Prefix{Software, 32, 1}, Prefix{FileMD5, 17, 0x1ffff}, Prefix{FileSHA1, 20, 0}))
	if err != nil {
		f.Fatal(err)
	}
	if _, ok := parseUsualQuery(q); !ok {
		f.Fatal("the usual spelling does not take the short way")
	}
	f.Add(q)
	f.Add([]byte(`{"v":1,"queries":["file-md5/24/0a0b0c","file-md5/24/0a0b0c"]}`))
	f.Add([]byte(`{"v":1,"queries":["file-md5/24/0a0b0c"] }`))
	f.Add([]byte(`{"v":1,"queries":["file-md5/17/0a0b0"]}`))
	f.Add([]byte(`{"v":1,"queries":["file-md5\u002f24/0a0b0c"]}`))
	f.Add([]byte(`{"v":1,"queries":["file-md5/24/0a0b0c","file-md5/24/"]}`))
	f.Add([]byte(`{"v":1,"queries":["url/24/0a0b0c","/24/0a0b0c"]}`))
	f.Add([]byte(`{"v":1,"queries":[]}`))
	f.Add([]byte(`{"v":2,"queries":["url/016/0a0b"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseQuery(b)
		if usual, ok := parseUsualQuery(b); ok {
			if full, err := parseAnyQuery(b); err != nil || !slices.Equal(usual, full) {
				t.Fatalf("read as %v the short way, as %v (%v) the long one", usual, full, err)
			}
		}
		if err != nil {
			if got != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v and %v", got, err)
			}
			return
		}
		again, err := MarshalQuery(got)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseQuery(again); err != nil || !slices.Equal(back, got) {
			t.Fatalf("%v comes back as %v: %v", got, back, err)
		}
	})
}

// A question that stands twice is found wherever it stands, and no two different ones are taken for one.
func TestQuestionsStandOnce(t *testing.T) {
	var all []Prefix
	for i := range MaxBatch {
		all = append(all, Prefix{Types()[i%5], uint8(16 + i%17), uint32(i/85) << 3})
	}
	if _, err := MarshalQuery(all); err != nil {
		t.Fatal(err)
	}
	for _, at := range [][2]int{{0, 1}, {0, 255}, {254, 255}, {17, 200}} {
		twice := slices.Clone(all)
		twice[at[1]] = twice[at[0]]
		if _, err := MarshalQuery(twice); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "twice") {
			t.Errorf("question %d at %d again: %v", at[0], at[1], err)
		}
	}
}
