package server

import (
	"bytes"
	"testing"

	"example.org/avdb/ksn/protocol"
)

// What is kept stays within its bytes, whatever is put there, and the newest answers are in it.
func TestKeptAnswersAreBounded(t *testing.T) {
	const most = 64 << 10
	k := newKeep(most)
	of := basis{overrides: &overrideSet{}}
	var w protocol.ReplyWriter
	for i := range 4_000 {
		p := protocol.Prefix{Type: protocol.FileSHA256, Bits: 24, Value: uint32(i)}
		w.Begin(nil, protocol.Head{})
		var entries []protocol.Entry
		for n := range i % 300 {
			e := protocol.Entry{Key: protocol.Key{Type: p.Type}, Verdict: protocol.Untrusted, Name: string(bytes.Repeat([]byte{'n'}, 30))}
			e.Key.Sum = [32]byte{byte(i >> 16), byte(i >> 8), byte(i), byte(n >> 8), byte(n)}
			entries = append(entries, e)
		}
		if err := w.Add(p, entries); err != nil {
			t.Fatal(err)
		}
		a := kept{answer: w.Last()}
		k.put(of, []protocol.Prefix{p}, []kept{a})
		bytes := 0
		for _, a := range k.answers {
			bytes += a.answer.Len() + perKept
		}
		if bytes > most {
			t.Fatalf("%d bytes after %d answers", bytes, i+1)
		}
		got := make([]kept, 1)
		missing, _ := k.find(of, []protocol.Prefix{p}, got)
		if fits := a.answer.Len() <= maxKeptAnswer; fits != got[0].is() || fits != (missing == 0) {
			t.Fatalf("answer %d of %d bytes: %d missing", i, a.answer.Len(), missing)
		}
	}
	if newKeep(0) != nil || newKeep(-1) != nil {
		t.Error("no room is room")
	}
}
