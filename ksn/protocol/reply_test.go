package protocol

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// answers makes n answers for different prefixes, the same ones for each seed.
func answers(n int, seed uint64) ([]Answer, []Prefix) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var all []Answer
	var prefixes []Prefix
	for i := range n {
		k := Key{FileSHA256, sha256.Sum256(fmt.Append(nil, seed, i))}
		p := k.Prefix(DefaultBits)
		a := Answer{V: Version, Type: p.Type, Bits: p.Bits, Prefix: p.Hex(), Issued: dbformat.At(issued), TTL: 3600, NegTTL: 600, Release: 7}
		for j := range rnd.IntN(3) {
			e := Entry{Key: k.Hex(), Size: uint32(j), Verdict: Untrusted, Name: `Win.Test "<&>\` + fmt.Sprint(i)}
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

// An answer is spelled in a reply as it is alone, whatever the answer before it has in common with it.
func TestAnswersAreSpelledAloneAndTogether(t *testing.T) {
	changes := map[string]func(a *Answer){
		"nothing": func(*Answer) {},
		"type":    func(a *Answer) { a.Type = URL },
		"bits":    func(a *Answer) { a.Bits, a.Prefix = 16, a.Prefix[:4] },
		"issued":  func(a *Answer) { a.Issued = dbformat.At(issued.Add(time.Second)) },
		"zone":    func(a *Answer) { a.Issued.Time = a.Issued.In(time.FixedZone("", 3600)) },
		"ttl":     func(a *Answer) { a.TTL++ },
		"neg_ttl": func(a *Answer) { a.NegTTL++ },
		"release": func(a *Answer) { a.Release++ },
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
			for i := range all {
				if alone := all[i].append(nil); !bytes.Equal(r.answers[i], alone) {
					t.Errorf("%s, %s: answer %d is\n%s\nalone\n%s", one, other, i, r.answers[i], alone)
				}
			}
		}
	}
}

// Of a reply of any number of answers each one comes back, alone too, and by no other key.
func TestSignedAnswersComeBack(t *testing.T) {
	k := testKey(t, 1)
	ks := testKeys(t, k, testKey(t, 2))
	for _, n := range []int{1, 2, 3, 5, 7, 8, 100, MaxBatch} {
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
			if string(one.Answer.append(nil)) != string(all[i].append(nil)) || !bytes.Equal(one.Bytes, s.Bytes) {
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
	f.Add([]byte(`{"v":1,"queries":[{"type":"file-md5","bits":24,"prefix":"0a0b0c"},{"type":"file-md5","bits":24,"prefix":"0a0b0c"}]}`))
	f.Add([]byte(`{"v":1,"queries":[{"type":"file-md5","bits":24,"prefix":"0a0b0c"}] }`))
	f.Add([]byte(`{"v":1,"queries":[{"type":"file-md5","bits":17,"prefix":"0a0b0"}]}`))
	f.Add([]byte(`{"v":1,"queries":[{"bits":24,"type":"url","prefix":"0a0b0c"}]}`))
	f.Add([]byte(`{"v":1,"queries":[]}`))
	f.Add([]byte(`{"v":2,"queries":[{"type":"url","bits":016,"prefix":"0a0b"}]}`))
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
