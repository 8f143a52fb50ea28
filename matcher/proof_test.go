package matcher

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// Whoever looks for the member that was found knows it by its SHA-256, whatever it was found by, and whether the generation needed that hash or not.
func TestAFoundMemberIsKnownByItsHash(t *testing.T) {
	d := database{
		lines: map[string][]string{"rest patterns": {"Pattern:0:0:68617320612070617474"}},
		rows:  sections{"hash/md5": {listed(dbformat.MD5, "known by its hash", true, "MD5")}},
	}
	light, full := d.engines(t, Options{})
	for content, e := range map[string]*Engine{"known by its hash": full, "has a pattern in it": full, "known by its hash, suspected": light} {
		content = strings.TrimSuffix(content, ", suspected")
		for _, object := range []string{
			packedAll(t, "zip", "x", "harmless", "y", content, "z", "harmless, too"),
			packed(t, "tar", "t", packedAll(t, "zip", "x", "harmless", "y", content)),
			packed(t, "gz", "y", content),
		} {
			r := eachWay(t, e, content, object)
			if !r.Verdict.Finding() || r.MemberSHA256 != hexSHA256(content) {
				t.Errorf("%q: %+v, want the member's SHA-256 %s", content, r, hexSHA256(content))
			}
		}
	}
	// Without a member there is none: the file itself is meant, nothing is found, or a member is allowed.
	d.rows["allow/sha256"] = []dbformat.Record{listed(dbformat.SHA256, "known by its hash", true, "Good")}
	_, full = d.engines(t, Options{})
	for _, object := range []string{"has a pattern in it", packed(t, "zip", "x", "harmless"), packed(t, "zip", "x", "known by its hash")} {
		if r := eachWay(t, full, "no member", object); r.MemberSHA256 != "" {
			t.Errorf("%.10q: %+v", object, r)
		}
	}
	// A weaker finding before a stronger one leaves nothing behind, nor does one object to the next.
	light, _ = database{lines: map[string][]string{"patterns": {"Bad:0:0:6261642d6f6e65"}}, rows: d.rows}.engines(t, Options{})
	light.by[dbformat.SHA256] = nil // the allow record
	if r := eachWay(t, light, "two", packedAll(t, "zip", "a", "known by its hash", "b", "bad-one")); r.Member != "b" || r.MemberSHA256 != hexSHA256("bad-one") {
		t.Errorf("%+v", r)
	}
}

// slow is a reader that never ends and never gives much.
type slow struct{}

func (slow) Read(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return copy(b, "x"), nil
}

// One object cannot hold up the others for longer than it may take, wherever that time goes: into what is unpacked, into patterns, or into waiting.
func TestObjectsHaveTheirTime(t *testing.T) {
	costly := strings.Repeat("abcdef", 4<<20)
	zeros := strings.Repeat("\x00", 90<<20)
	anchored := database{lines: map[string][]string{"patterns": {"Anchored:0:*:616263646566616263646566616263646566??7a7a", "Bad:0:0:6261642d6f6e65"}}}
	for _, tc := range []struct {
		what string
		d    database
		read io.Reader
	}{
		{"patterns", anchored, strings.NewReader(costly)},
		{"patterns in a member", anchored, strings.NewReader(packed(t, "zip", "m", costly))},
		{"what is unpacked", database{rows: sections{"hash/sha256": {listed(dbformat.SHA256, "x", false, "X")}}},
			strings.NewReader(packedAll(t, "zip", "1", zeros, "2", zeros, "3", zeros))},
		{"a reader that is kept", anchored, slow{}},
		{"a reader that is not kept", database{rows: sections{"hash/sha256": {listed(dbformat.SHA256, "x", false, "X")}}}, slow{}},
	} {
		_, e := tc.d.engines(t, Options{MaxSteps: 1 << 50, MaxTime: 20 * time.Millisecond})
		began := time.Now()
		r := e.ScanReader(t.Context(), tc.read)
		if r.Verdict != Failed || !errors.Is(r.Err, ErrTime) || !strings.Contains(r.Error, "20ms") || errors.Is(r.Err, context.DeadlineExceeded) {
			t.Errorf("%s: %+v", tc.what, r)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s took %s", tc.what, took)
		}
		// An end that the caller gave is the caller's.
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		if r := e.ScanReader(ctx, slow{}); !errors.Is(r.Err, context.DeadlineExceeded) || errors.Is(r.Err, ErrTime) {
			t.Errorf("%s, ended from outside: %+v", tc.what, r)
		}
		cancel()
	}
	_, e := anchored.engines(t, Options{MaxTime: time.Minute})
	if r := e.ScanBytes(t.Context(), []byte("bad-one")); r.Verdict != Malicious || r.Err != nil {
		t.Errorf("in time: %+v", r)
	}
	if r := e.ScanBytes(t.Context(), []byte("harmless")); r.Verdict != Clean || r.Err != nil {
		t.Errorf("in time: %+v", r)
	}
}
