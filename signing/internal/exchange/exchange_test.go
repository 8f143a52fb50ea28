package exchange

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A treeCase tells which rules take a text.
type treeCase struct{ plain, any bool }

func treeCases() map[string]treeCase {
	return map[string]treeCase{
		`{"a":[1,"b",true,{}]}`:           {true, true},
		` {"a":1} `:                       {true, true},
		`{"A":1}`:                         {false, true},
		`{"a":"é"}`:                       {false, true},
		`{"a":"\n"}`:                      {false, true},
		`{"a":1,"a":1}`:                   {false, false},
		`{"a":1,"\u0061":1}`:              {false, false},
		`{"":1}`:                          {false, false},
		`{"a":null}`:                      {false, false},
		`{"a":1.0}`:                       {false, false},
		`{"a":1e3}`:                       {false, false},
		`{"a":-0}`:                        {false, false},
		`{"a":9007199254740992}`:          {false, false},
		`{"a":9007199254740991}`:          {true, true},
		`{"a":1}{}`:                       {false, false},
		`{"a":1`:                          {false, false},
		"{\"a\":\"\xff\"}":                {false, false},
		``:                                {false, false},
		strings.Repeat("[", MaxDepth):     {false, false},
		nested(MaxDepth):                  {true, true},
		nested(MaxDepth + 1):              {false, false},
		array(MaxValues - 1):              {true, true},
		array(MaxValues):                  {false, false},
		`{"a":"\ud800"}`:                  {false, true}, // read as U+FFFD by every Go reader
		"\ufeff{}":                        {false, false},
		`{"a":"` + "\x00" + `"}`:          {false, false},
		`{"keyid":"x","keyid":"x","b":1}`: {false, false},
	}
}

// What readers of JSON disagree about is refused under both rules, what only looks odd under one.
func TestTree(t *testing.T) {
	for text, want := range treeCases() {
		for rules, want := range map[Rules]bool{Plain: want.plain, AnyText: want.any} {
			if _, err := Tree([]byte(text), rules); (err == nil) != want {
				t.Errorf("rules %d, %.40q: %v, want good %t", rules, text, err, want)
			}
		}
	}
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func array(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }

// A field that some readers take for another is refused, whatever the case of its letters.
func TestFields(t *testing.T) {
	for name, good := range map[string]bool{"version": true, "Version": false, "VERSION": false, "ver\u017fion": false, "versions": true} {
		s := &Shape{}
		s.Fields("document", map[string]any{name: 1, "x": 2}, "version", "keys")
		if (s.Err == nil) != good {
			t.Errorf("%s: %v", name, s.Err)
		}
	}
}

// FuzzTree: what is read is what encoding/json reads, and reading it again changes nothing.
func FuzzTree(f *testing.F) {
	for text := range treeCases() {
		f.Add([]byte(text))
		f.Add([]byte("[" + text + "]"))
		f.Add([]byte(`{"x":` + text + `,"y":[]}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := Tree(b, Plain)
		loose, looseErr := Tree(b, AnyText)
		if err == nil && (looseErr != nil || fmt.Sprint(plain) != fmt.Sprint(loose)) {
			t.Fatalf("plain gives %v, any text %v, %v", plain, loose, looseErr)
		}
		if looseErr != nil {
			return
		}
		var other any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&other); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		one, err1 := json.Marshal(loose)
		two, err2 := json.Marshal(other)
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, two) {
			t.Fatalf("read as %s, by encoding/json as %s, %v", one, two, err)
		}
		if again, err := Tree(one, AnyText); err != nil || fmt.Sprint(again) != fmt.Sprint(loose) {
			t.Fatalf("read again as %v, %v", again, err)
		}
	})
}

// A fake is a client whose parts a test replaces.
type fake struct {
	begin func(role string, version uint64) ([]byte, error)
	fetch func(name string, max int64) ([]byte, error)
	check func(role string, version uint64, b []byte) error
}

func (f fake) Begin(role string, version uint64) ([]byte, error) {
	if f.begin == nil {
		return nil, nil
	}
	return f.begin(role, version)
}

func (f fake) Fetch(name string, max int64) ([]byte, error) {
	if f.fetch == nil {
		return nil, ErrMissing
	}
	return f.fetch(name, max)
}

func (f fake) Check(role string, version uint64, b []byte) error {
	if f.check == nil {
		return nil
	}
	return f.check(role, version, b)
}

func (f fake) Limit(string) int64 { return 100 }

// goodRoot is a root with one key for everything.
func goodRoot(t *testing.T) []byte {
	t.Helper()
	signer, err := signature.LoadSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	public, err := signer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := metadata.KeyFromPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	root := metadata.Root(time.Unix(1<<32, 0))
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		if err := root.Signed.AddKey(key, role); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.Sign(signer); err != nil {
		t.Fatal(err)
	}
	b, err := root.ToBytes(false)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// begun is an exchange that has its root, for what go-tuf asks of it.
func begun(t *testing.T, f fake) *Exchange {
	t.Helper()
	x, err := Run(f, Options{Root: goodRoot(t), Folder: "none"}, func(*Exchange) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// Guard: every document is asked for once, is cut at its limit and is checked before go-tuf has it.
func TestDownloadFile(t *testing.T) {
	const name = sourceBase + "timestamp.json"
	long := func(_ string, max int64) ([]byte, error) { return make([]byte, max+1), nil }
	short := func(_ string, max int64) ([]byte, error) { return make([]byte, max), nil }
	kind := func(err error) Kind {
		if e, ok := errors.AsType[*Error](err); ok {
			return e.Kind
		}
		return 0
	}
	if _, err := begun(t, fake{fetch: long}).DownloadFile(name, 1000, 0); kind(err) != TooLong {
		t.Errorf("too long: %v", err)
	}
	var asked int64
	_, err := begun(t, fake{fetch: func(_ string, max int64) ([]byte, error) { asked = max; return nil, nil }}).DownloadFile(name, 7, 0)
	if err != nil || asked != 7 {
		t.Errorf("asked for %d bytes, %v; want the signed length", asked, err)
	}
	x := begun(t, fake{fetch: short})
	if b, err := x.DownloadFile(name, 1000, time.Second); err != nil || len(b) != 100 || x.Last() != "timestamp" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := x.DownloadFile(name, 1000, 0); kind(err) != Internal {
		t.Errorf("asked for twice: %v", err)
	}
	bad := errors.New("bad shape")
	if b, err := begun(t, fake{fetch: short, check: func(string, uint64, []byte) error { return bad }}).DownloadFile(name, 1000, 0); b != nil || !errors.Is(err, bad) {
		t.Errorf("go-tuf gets %q, %v", b, err)
	}
	for _, address := range []string{"https://elsewhere.invalid/timestamp.json", sourceBase, sourceBase + "timestamp", sourceBase + "x.root.json", sourceBase + "%zz.root.json"} {
		if _, err := begun(t, fake{fetch: short}).DownloadFile(address, 1000, 0); kind(err) != Unknown {
			t.Errorf("%s: %v", address, err)
		}
	}
	// What the client has already is checked like what it fetches.
	own := fake{begin: func(string, uint64) ([]byte, error) { return make([]byte, 101), nil }}
	if _, err := begun(t, own).DownloadFile(name, 1000, 0); kind(err) != TooLong {
		t.Errorf("own bytes: %v", err)
	}
}

// Guard: recover. A panic of go-tuf is a refusal, one of the fetcher is the fetcher's failure.
func TestPanics(t *testing.T) {
	role := "snapshot"
	err := Contain(&role, func() error { panic("index out of range") })
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Internal || e.Role != role {
		t.Errorf("%v", err)
	}
	_, err = begun(t, fake{fetch: func(string, int64) ([]byte, error) { panic("a bug") }}).DownloadFile(sourceBase+"timestamp.json", 9, 0)
	if e, ok := errors.AsType[*FetchError](err); !ok || e.Name != "timestamp.json" {
		t.Errorf("%v", err)
	}
	x, err := Run(fake{}, Options{Root: []byte("null"), Folder: "none"}, func(*Exchange) error { return nil })
	if _, ok := x.Trusted(); err == nil || ok {
		t.Errorf("a root that is none is trusted: %v", err)
	}
}
