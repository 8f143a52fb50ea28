package statistics

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestParsersAreStrict(t *testing.T) {
	good := string(must[[]byte](t)(Sample().Marshal()))
	must[Record](t)(ParseRecord([]byte(good)))
	must[[]Record](t)(ParseBody([]byte(bodyBegin + good + "," + good + bodyEnd)))
	for _, edit := range [][2]string{
		{`"v":1`, `"v":2`}, {`"v":1`, `"v":1.0`}, {`"v":1`, `"v":01`}, {`{"v":1`, `{ "v":1`}, {`"v":1`, `"v":1,"v":1`}, {`"v":1,`, ``},
		{`"id":"0`, `"id":"A`}, {`"id":"0`, `"id":"`}, {`"id":"0`, `"id":"g`}, {`"id":"0`, `"id":"00`},
		{`"program":"1.0.0"`, `"program":"/tmp"`}, {`"program":"1.0.0"`, `"program":""`}, {`"database":1`, `"database":9007199254740992`},
		{`"database":1`, `"database":-1`}, {`"database":1`, `"database":0`}, {`"full"`, `"half"`}, {`"linux"`, `"Linux"`}, {`"linux"`, `"hostname.example"`},
		{`"amd64"`, `"aaaaaaaaaaaaaaaaaaaaaaaa"`}, {`"asked":120`, `"asked":0`}, {`"asked":120`, `"asked":1099511627777`}, {`"file":{`, `"mail":{`},
		{`"Example.Signature-1"`, `""`}, {`"Example.Signature-1"`, `"a\u000ab"`}, {`"Example.Signature-1"`, `"0123456789abcdef"`}, {`"count":3`, `"count":0`},
		{`"Example.Signature-1"`, `"Hash.MD5.00"`}, {`"Example.Signature-1"`, `"\u0045xample"`},
		{`[{"name"`, `[{"name":"Z","count":1},{"name"`}, {`[{"name"`, `[{"name":"Example.Signature-1","count":1},{"name"`},
		{`[100,10,5,2,1,0,0]`, `[100,10,5,2,1,0]`}, {`[100,10,5,2,1,0,0]`, `[0,0,0,0,0,0,0]`}, {`[100,10,5,2,1,0,0]`, `[]`}, {`[100,10,5,2,1,0,0]`, `null`},
		{`"timeout"`, `"unheard"`}, {`[{"kind"`, `[{"kind":"tls","count":1},{"kind"`}, {`"os":`, `"host":"alice","os":`}, {`"os":"linux","arch":"amd64"`, `"arch":"amd64","os":"linux"`},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if _, err := ParseRecord([]byte(bad)); !errors.Is(err, ErrInvalid) || bad == good {
			t.Errorf("%s → %s: %v", edit[0], edit[1], err)
		}
		if _, err := ParseBody([]byte(bodyBegin + bad + bodyEnd)); !errors.Is(err, ErrInvalid) {
			t.Errorf("in a body, %s → %s: %v", edit[0], edit[1], err)
		}
	}
	for _, bad := range []string{"", "null", "{}", good, bodyBegin + bodyEnd, bodyBegin + good + ", " + good + bodyEnd, bodyBegin + good + "," + bodyEnd,
		bodyBegin + good + bodyEnd + "\n", bodyBegin + "null" + bodyEnd, `{"v":2,"records":[` + good + bodyEnd, `{"records":[` + good + `],"v":1}`,
		bodyBegin + good + strings.Repeat(" ", MaxBody) + bodyEnd} {
		if _, err := ParseBody([]byte(bad)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.80s: %v", bad, err)
		}
	}
	if _, err := ParseRecord([]byte(good + strings.Repeat(" ", MaxRecord))); !errors.Is(err, ErrInvalid) {
		t.Errorf("a long record: %v", err)
	}
	var many strings.Builder
	for i := range MaxSignatures + 1 {
		many.WriteString(`{"name":"a` + strings.Repeat("a", i) + `","count":1},`)
	}
	if _, err := ParseRecord([]byte(strings.Replace(good, `[{"name"`, "["+many.String()+`{"name"`, 1))); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many names: %v", err)
	}
}

func FuzzParseBody(f *testing.F) {
	good := must[[]byte](f)(Sample().Marshal())
	f.Add([]byte(bodyBegin + string(good) + bodyEnd))
	f.Add([]byte(bodyBegin + string(good) + "," + `{"v":1,"id":"0123456789abcdef0123456789abcdef"}` + bodyEnd))
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if records, err := ParseBody(b); err == nil {
			again := []byte(bodyBegin)
			for i, r := range records {
				if i > 0 {
					again = append(again, ',')
				}
				again = append(again, must[[]byte](t)(r.Marshal())...)
			}
			if again = append(again, bodyEnd...); !bytes.Equal(again, b) {
				t.Errorf("two spellings of one body: %q and %q", b, again)
			}
			// All of it may leave a device under the newest manifest, so that intake and device agree.
			for _, r := range records {
				raw := must[[]byte](t)(r.Marshal())
				if !bytes.Equal(DefaultManifests()[0].release(raw), raw) {
					t.Errorf("no device sends %s", raw)
				}
			}
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("Prefix.MD5.00")
	f.Add("a0123456789abcdef")
	f.Fuzz(func(t *testing.T, name string) {
		cut := withoutHash(name)
		if withoutHash(cut) != cut {
			t.Errorf("%q → %q → %q", name, cut, withoutHash(cut))
		}
		run := 0
		for _, c := range []byte(strings.ToLower(cut)) {
			if run++; !strings.ContainsRune("0123456789abcdef", rune(c)) {
				run = 0
			}
			if run > longestHex {
				t.Errorf("%q holds a hash", cut)
			}
		}
	})
}
