package protocol

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// known tells whether an error is one that callers can react to.
func known(err error) bool { return errors.Is(err, ErrInvalid) || errors.Is(err, ErrUntrusted) }

// FuzzOpen signs whatever answers it is given, so that the parser behind the signature is met too. What opens is spelled as it was signed, and opens
// again from the bytes that it is cut out as.
func FuzzOpen(f *testing.F) {
	k := testKey(f, 1)
	ks := testKeys(f, k)
	all1, _ := answers(1, 1)
	for n := range 60 {
		all, _ := answers(1+n%3, uint64(n))
		b := all[0].Head.append(nil)
		for i := range all {
			b = append(append(b, '\n'), spelled(&all[i])...)
		}
		f.Add(b)
	}
	head := string(all1[0].Head.append(nil))
	for _, s := range []string{``, `{}`, `{"v":1}`, "[]\n[]", head, head + "\n" + `"url/16/0000":null`, head + "\n" + `"url/16/0000":[]`, head + "\n" + `"url\/16/0000":[]`,
		`{"v":1,"issued":"2026-01-01T00:00:00Z","ttl":1,"neg_ttl":1,"release":00}` + "\n" + `"url/16/0000":[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := bytes.Split(b, []byte("\n"))
		head, raws := lines[0], lines[1:]
		if len(raws) > MaxBatch || len(raws) == 0 {
			return
		}
		doc := append(append([]byte(`{"head":`), head...), `,"answers":{`...)
		leaves := make([]hash, len(raws))
		for i, raw := range raws {
			if i > 0 {
				doc = append(doc, ',')
			}
			doc = append(doc, raw...)
			leaves[i] = leafHash(raw)
		}
		top := newTree(leaves).root()
		doc = append(doc, `},"proof":`...)
		doc = append((&proof{KeyID: k.ID(), Sig: k.sign(domainReply, signed(top, head))}).append(doc), '}')
		got, err := ks.open(doc)
		if err != nil {
			if got != nil || !known(err) {
				t.Fatalf("%d answers with error %v", len(got), err)
			}
			return
		}
		for i := range got {
			if s := spelled(&got[i].Answer); !bytes.Equal(s, raws[i]) || !bytes.Equal(got[i].Answer.Head.append(nil), head) {
				t.Fatalf("answer %d: %s, signed was %s under %s", i, s, raws[i], head)
			}
			one, err := ks.Open(got[i].Bytes)
			if err != nil || one.Answer.Prefix == (Prefix{}) || one.Answer.Head != got[i].Answer.Head {
				t.Fatalf("answer %d alone: %v", i, err)
			}
			for j := range one.Answer.Entries {
				e := &one.Answer.Entries[j]
				if !one.Answer.Prefix.Covers(e.Key) || e.Check() != nil {
					t.Fatalf("entry %d: key %s, %v", j, e.Key, e.Check())
				}
			}
			if l := one.Answer.Longest(); l < 0 || l > MaxTrustedLife {
				t.Fatalf("it lives for %s", l)
			}
		}
	})
}

// FuzzReply takes whole replies as they come from anybody. Nothing opens that was not signed: of the seeds' keys there is no other signature.
func FuzzReply(f *testing.F) {
	k := testKey(f, 1)
	ks := testKeys(f, k)
	was := map[string]bool{} // signed
	under := func(a *Answer) []byte { return append(a.Head.append(nil), spelled(a)...) }
	for n := range 50 {
		all, prefixes := answers(1+n%5, uint64(n))
		b, err := SignReply(all, k)
		if err != nil {
			f.Fatal(err)
		}
		for i := range all {
			was[string(under(&all[i]))] = true
		}
		f.Add(b)
		some, err := ks.OpenAll(JoinReplies(b), prefixes)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(some[0].Bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ks.open(b)
		if err != nil && (got != nil || !known(err)) {
			t.Fatalf("%d answers with error %v", len(got), err)
		}
		for i := range got {
			if s := string(under(&got[i].Answer)); !was[s] {
				t.Fatalf("never signed: %s", s)
			}
		}
	})
}

// FuzzOpenProvider signs whatever provider it is given: what opens is spelled as it was signed and passes its own check.
func FuzzOpenProvider(f *testing.F) {
	k := testKey(f, 1)
	for i := range 50 {
		p := testProvider(f)
		p.Serial, p.Name = uint64(i+1), p.Name+string(rune('a'+i%26))
		if i%2 == 0 {
			p.Statements = []string{"KSN-Statement: 1\n"}
		}
		raw, err := marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := marshal(signedProvider{raw, k.Public(), k.sign(domainProvider, raw)})
		if err != nil {
			return // no JSON at all
		}
		p, err := OpenProvider(b)
		if err != nil {
			if p.Bytes != nil || p.Fingerprint != "" || !known(err) {
				t.Fatalf("%+v with error %v", p, err)
			}
			return
		}
		again, err := marshal(p.Provider)
		if err != nil || !bytes.Equal(again, raw) || p.Succeeds(&p) != nil {
			t.Fatalf("%s, signed was %s, %v", again, raw, p.Succeeds(&p))
		}
		for _, u := range p.Provider.URLs {
			if err := CheckServerURL(u); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzOpenInfo likewise.
func FuzzOpenInfo(f *testing.F) {
	k := testKey(f, 1)
	ks := testKeys(f, k)
	network := Fingerprint(k.Public())
	for i := range 50 {
		raw, err := marshal(testInfo(network, uint64(i)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := marshal(signedInfo{raw, k.ID(), k.sign(domainInfo, raw)})
		if err != nil {
			return
		}
		i, err := ks.OpenInfo(b, network, issued)
		if err != nil {
			if i.Network != "" || !known(err) {
				t.Fatalf("%+v with error %v", i, err)
			}
			return
		}
		again, err := marshal(i)
		if err != nil || !bytes.Equal(again, raw) || i.PrefixBits < MinBits || i.PrefixBits > MaxBits {
			t.Fatalf("%s, signed was %s", again, raw)
		}
	})
}

// FuzzReadProblem: whatever stands in between, what is shown is one bounded line, and no wait is negative.
func FuzzReadProblem(f *testing.F) {
	for _, status := range []int{400, 401, 403, 404, 405, 413, 421, 429, 451, 500, 503} {
		for _, c := range []Code{CodeBadRequest, CodeUnauthorized, CodeTooMany, CodeRestricted, "x"} {
			f.Add(status, NewProblem(c, "title", "detail\u202e\x00", time.Duration(status)*time.Hour).Marshal())
		}
	}
	f.Add(503, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		p := ReadProblem(status, body)
		if p.Status != status || p.Wait < 0 || p.Code != "" && p.Code.Status() != status {
			t.Fatalf("%+v", p)
		}
		for _, s := range []string{p.Title, p.Detail, p.Record} {
			if err := checkText(s); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
		}
	})
}

func testProvider(tb testing.TB) Provider {
	tb.Helper()
	return Provider{Schema: Version, Network: Private, Name: "Test", Serial: 3, Issued: dbformat.At(issued), Expires: dbformat.At(issued.Add(24 * time.Hour)),
		URLs: []string{"https://ksn.example.org/a", "http://127.0.0.1:8080"}, Keys: [][]byte{testKey(tb, 1).Public()},
		Capabilities: []string{CapabilityCloudMode, CapabilityStats}, Contact: "ksn@example.org"}
}

func testInfo(network string, n uint64) Info {
	return Info{V: Version, Network: network, Name: "Test", Issued: dbformat.At(issued), TTL: 3600, Release: n, Files: n * n, PrefixBits: DefaultBits, MinWait: 60,
		Capabilities: []string{CapabilityCloudMode}}
}
