package statistics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

func TestWhatIsCountedIsTold(t *testing.T) {
	w := newWorld(t, nil)
	for range 3 {
		w.Asked(ksn.ObjectFile)
		w.Matched("B.Two")
	}
	w.Answered(ksn.ObjectFile, 10*time.Millisecond)
	w.Answered(ksn.ObjectURL, 11*time.Millisecond)
	w.Answered(ksn.ObjectFile, time.Hour)
	w.Suppressed(ksn.ObjectSoftware)
	w.Matched("A.One")
	w.Failed(FailureTLS)
	w.Failed("no such kind")
	w.flush()
	want := `{"v":1,"id":"00000000000000000000000000000001","program":"2.1.0","database":7,"variant":"full","os":"linux","arch":"amd64",` +
		`"questions":{"file":{"asked":3,"answered":2},"url":{"answered":1},"software":{"suppressed":1}},` +
		`"signatures":[{"name":"A.One","count":1},{"name":"B.Two","count":3}],"answer_times":[1,1,0,0,0,0,1],` +
		`"failures":[{"kind":"other","count":1},{"kind":"tls","count":1}]}`
	if len(w.spool.list) != 1 || string(w.spool.list[0].Record) != want {
		t.Errorf("spooled %s\n   want %s", w.spool.list, want)
	}
	w.flush()
	if len(w.spool.list) != 1 {
		t.Error("a record about nothing was spooled")
	}
	w.Asked(ksn.ObjectFile)
	w.flush()
	if all := w.deliver(); len(all) != 2 || all[0].ID == all[1].ID || all[1].Questions.File.Asked != 1 {
		t.Errorf("delivered %+v", all)
	}
}

// The name of a signature without one is made of the hash of a file.
func TestNamesTellNoHash(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	for name, want := range map[string]string{
		dbformat.DefaultName(dbformat.SHA256, []byte("01234567890123456789012345678901")): "Hash.SHA256",
		dbformat.DefaultName(dbformat.MD5, []byte("0123456789012345")):                    "Hash.MD5",
		"Prefix.SHA1.0a1b2c":                     "Prefix.SHA1",
		"Prefix.URL.0a1b2c3d4":                   "Prefix.URL",
		"URL.SHA256.0123456789abcdef":            "URL.SHA256",
		"VirusShare_" + sum[:32]:                 "VirusShare_*",
		"Virus." + strings.ToUpper(sum) + ".gen": "Virus.*.gen",
		"0123456789abcdef":                       "*",
		"Win.Trojan.Agent-1388596":               "Win.Trojan.Agent-1388596",
		"0123456789abcde":                        "0123456789abcde",
		"Win.Worm/A:B \"quoted\" <&>":            "Win.Worm/A:B \"quoted\" <&>",
		"Вирус.Тест-1":                           "Вирус.Тест-1",
	} {
		w := newWorld(t, nil)
		w.Matched(name)
		w.flush()
		all := w.deliver()
		if len(all) != 1 || len(all[0].Signatures) != 1 || all[0].Signatures[0].Name != want {
			t.Errorf("%q is told as %+v, want %q", name, all, want)
		}
	}
}

// Whatever a program hands in as its version, system or names: nothing that is none leaves the device.
func TestNothingElseGetsIn(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Program, c.OS, c.Arch = "/home/alice/avdb", "alice-laptop.example", "C:\\" })
	w.Database(math.MaxUint64, "half")
	w.Matched("line\nbreak")
	w.Matched("")
	w.Matched(strings.Repeat("a", 256))
	w.Asked("mailbox")
	w.Answered("mailbox", time.Second)
	w.flush()
	want := `{"v":1,"id":"00000000000000000000000000000001","database":9007199254740991}`
	if got := string(w.spool.list[0].Record); got != want {
		t.Errorf("spooled %s, want %s", got, want)
	}
	for _, development := range []string{"(devel)", "", "v", "alice", "1." + strings.Repeat("0", 80), "1-0123456789abcdef"} {
		if isVersion(development) {
			t.Errorf("%q is a version", development)
		}
	}
	for _, version := range []string{"2.1.0", "v2.1.0-rc.1", "v0.0.0-20260301120000-0123456789ab", "v1.0.0+dirty"} {
		if !isVersion(version) {
			t.Errorf("%q is no version", version)
		}
	}
}

func TestMemoryAndRecordsAreBounded(t *testing.T) {
	for _, name := range []string{"Name.%d", strings.Repeat(`"`, 245) + "%d", strings.Repeat("ж", 100) + "%d", strings.Repeat("\u2027", 80) + "%d"} {
		w := newWorld(t, nil)
		const many = 5000
		for i := range many {
			w.Matched(fmt.Sprintf(name, i))
		}
		for range 3 {
			w.work()
		}
		w.counts.questions.File.Asked = MaxCount - 1
		w.Asked(ksn.ObjectFile)
		w.Asked(ksn.ObjectFile)
		if n := len(w.counts.signatures); n > MaxSignatures {
			t.Errorf("%d names in memory", n)
		}
		w.flush()
		all := w.deliver()
		if len(all) != 1 || all[0].Questions.File.Asked != MaxCount {
			t.Fatalf("delivered %d records", len(all))
		}
		sum := all[0].SignaturesMore
		for _, s := range all[0].Signatures {
			sum += s.Count
		}
		if sum != many+3 || len(all[0].Signatures) < 20 {
			t.Errorf("%d matches told, %d by name, want %d and at least 20", sum, len(all[0].Signatures), many+3)
		}
	}
}

// The whole way: after the switch nothing is spooled, nothing is sent, and what was spooled is gone.
func TestSwitchingToBasicStopsStatistics(t *testing.T) {
	for _, to := range []struct {
		name string
		how  func(*world)
	}{
		{"basic", func(w *world) { w.mode(ksn.ModeBasic) }},
		{"off", func(w *world) { w.mode(ksn.ModeOff) }},
		{"consent withdrawn", func(w *world) { w.facts.Consent.Accepted = nil }},
		{"policy basic", func(w *world) { w.facts.Policy = ksn.ModeBasic }},
		{"policy off", func(w *world) { w.facts.Policy = ksn.ModeOff }},
	} {
		t.Run(to.name, func(t *testing.T) {
			for _, first := range []string{"flush", "deliver"} {
				w := newWorld(t, nil)
				w.work()
				w.flush()
				w.work()
				if len(w.spool.list) != 1 {
					t.Fatal("nothing was spooled in extended mode")
				}
				to.how(w)
				deliver := func() {
					if err := w.Deliver(t.Context(), w.send); !errors.Is(err, ksn.ErrRefused) {
						t.Errorf("deliver: %v", err)
					}
				}
				if first == "flush" {
					w.flush()
				} else {
					deliver()
				}
				if len(w.spool.list) != 0 {
					t.Errorf("after %s %d records are spooled still", first, len(w.spool.list))
				}
				w.work()
				w.flush()
				deliver()
				if len(w.spool.list) != 0 || len(w.sent) != 0 {
					t.Errorf("%d records spooled and %d bodies sent after the switch", len(w.spool.list), len(w.sent))
				}
			}
		})
	}
}

// What was counted while statistics were not agreed to is not told later.
func TestCountsOfBasicModeAreNeverTold(t *testing.T) {
	w := newWorld(t, nil)
	w.mode(ksn.ModeBasic)
	w.flush()
	w.work()
	w.mode(ksn.ModeExtended)
	w.flush()
	if len(w.spool.list) != 0 {
		t.Fatalf("counts of basic mode are spooled: %s", w.spool.list)
	}
	w.Asked(ksn.ObjectURL)
	w.mode(ksn.ModeBasic)
	w.Asked(ksn.ObjectURL) // nobody looks meanwhile
	w.mode(ksn.ModeExtended)
	w.flush()
	if len(w.spool.list) != 0 {
		t.Fatalf("counts from before and after a pause are spooled: %s", w.spool.list)
	}
	w.Asked(ksn.ObjectURL)
	w.flush()
	if all := w.deliver(); len(all) != 1 || all[0].Questions.URL.Asked != 1 {
		t.Errorf("delivered %+v", all)
	}
}

// The user switches between the look at the settings and the write into the spool.
func TestSwitchDuringAFlush(t *testing.T) {
	w := newWorld(t, nil)
	w.spool.after = func() { w.mode(ksn.ModeBasic) }
	w.work()
	w.flush()
	if len(w.spool.list) != 0 {
		t.Error("a record stayed in the spool after the switch")
	}
}

// The user switches, and back, while a body is on its way: what the switch cleared is not sent.
func TestSwitchDuringADelivery(t *testing.T) {
	w := newWorld(t, nil)
	for range 1000 {
		w.work()
		w.flush()
	}
	if p := must[Preview](t)(w.Preview(ksn.ModeExtended, 1)); len(p.Statistics) < 2 {
		t.Fatal("all records fit into one body")
	}
	sent := 0
	err := w.Deliver(t.Context(), func(context.Context, []byte) error {
		if sent++; sent == 1 {
			w.mode(ksn.ModeBasic)
			w.flush()
			w.mode(ksn.ModeExtended)
		}
		return nil
	})
	if err != nil || sent != 1 || len(w.spool.list) != 0 {
		t.Errorf("%d bodies sent, %d records left, %v", sent, len(w.spool.list), err)
	}
}

func TestFactsThatCannotBeRead(t *testing.T) {
	w := newWorld(t, nil)
	w.work()
	w.flush()
	w.work()
	w.fails = errBroken
	if err := w.Flush(); !errors.Is(err, errBroken) {
		t.Errorf("flush: %v", err)
	}
	if err := w.Deliver(t.Context(), w.send); !errors.Is(err, errBroken) || len(w.sent) != 0 {
		t.Errorf("deliver: %v, %d bodies", err, len(w.sent))
	}
	w.fails = nil
	w.flush()
	if all := w.deliver(); len(all) != 2 {
		t.Errorf("%d records, want both", len(all))
	}
}

func TestSpoolThatFailsLosesNoCounts(t *testing.T) {
	w := newWorld(t, nil)
	w.work()
	w.spool.fails = errBroken
	if err := w.Flush(); !errors.Is(err, errBroken) {
		t.Fatalf("flush: %v", err)
	}
	w.work()
	w.spool.fails, w.spool.list = nil, nil
	w.flush()
	all := w.deliver()
	if len(all) != 1 || all[0].Questions.Software != (QuestionCount{2, 2, 2}) || all[0].Signatures[0].Count != 2 || all[0].AnswerTimes[0] != 6 || all[0].Failures[0].Count != 2 {
		t.Errorf("delivered %+v", all)
	}
}

func TestDeliverAtLeastOnce(t *testing.T) {
	w := newWorld(t, nil)
	for range 3 {
		w.work()
		w.flush()
	}
	for _, e := range []error{errBroken, &ksn.RefusedError{What: "statistics", Why: "restricted"}, context.DeadlineExceeded} {
		n := 0
		err := w.Deliver(t.Context(), func(context.Context, []byte) error { n++; return e })
		if !errors.Is(err, e) || n != 1 || len(w.spool.list) != 3 {
			t.Errorf("send gives %v: deliver gives %v after %d bodies, and %d records are left", e, err, n, len(w.spool.list))
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Deliver(gone, w.send); !errors.Is(err, context.Canceled) || len(w.sent) != 0 {
		t.Errorf("cancelled: %v, %d bodies", err, len(w.sent))
	}
	if all := w.deliver(); len(all) != 3 || len(w.spool.list) != 0 {
		t.Errorf("%d records delivered, %d left", len(all), len(w.spool.list))
	}
	if w.deliver() != nil {
		t.Error("something was sent twice")
	}
	w.work()
	w.flush()
	if err := w.Deliver(t.Context(), func(context.Context, []byte) error { return ErrUnwanted }); !errors.Is(err, ErrUnwanted) || len(w.spool.list) != 0 {
		t.Errorf("unwanted: %v, %d records left", err, len(w.spool.list))
	}
}

func TestBodiesAreBounded(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxSpool = 4 << 20 })
	const many = 200
	for i := range many {
		for j := range MaxSignatures {
			w.Matched(fmt.Sprintf("%d.%d.%s", i, j, strings.Repeat("x", 150)))
		}
		w.flush()
	}
	all := w.deliver()
	for _, b := range w.sent {
		if len(b) > MaxBody {
			t.Errorf("a body of %d bytes", len(b))
		}
	}
	if least := many * len(w.sent[0]) / len(all) / MaxBody; len(all) != many || len(w.sent) < least {
		t.Errorf("%d records in %d bodies", len(all), len(w.sent))
	}
	for i := range 99 {
		if all[i].ID >= all[i+1].ID {
			t.Error("not oldest first")
		}
	}
}

// Damage in the spool takes the record that it hit, and stops nothing.
func TestDamagedSpool(t *testing.T) {
	w := newWorld(t, nil)
	w.spool.list = append(w.spool.list, entry{1, []byte("{")}, entry{2, nil}, entry{3, []byte(`{"v":1,"id":"00","host":"alice"}`)})
	if all := w.deliver(); len(all) != 0 || len(w.sent) != 0 || len(w.spool.list) != 0 {
		t.Errorf("%d bodies sent, %d records left", len(w.sent), len(w.spool.list))
	}
	w.spool.list, w.spool.last = append(w.spool.list, entry{4, []byte("{")}), 4
	w.work()
	w.flush()
	if all := w.deliver(); len(all) != 1 || len(w.spool.list) != 0 {
		t.Errorf("%d records delivered, %d left", len(all), len(w.spool.list))
	}
}

// A spool that keeps what it is told to remove makes no endless loop.
func TestStuckSpool(t *testing.T) {
	w := newWorld(t, nil)
	w.work()
	w.flush()
	w.spool.stuck = true
	n := 0
	err := w.Deliver(t.Context(), func(context.Context, []byte) error {
		if n++; n > 3 {
			return errBroken
		}
		return nil
	})
	if err != nil || n != 1 {
		t.Errorf("%d bodies sent: %v", n, err)
	}
}

func TestPreviewIsWhatIsSent(t *testing.T) {
	w := newWorld(t, nil)
	for range 1000 {
		w.work()
		w.flush()
	}
	w.Matched("Only.Counted")
	p := must[Preview](t)(w.Preview(ksn.ModeExtended, 1))
	w.flush()
	w.deliver()
	if len(w.sent) < 2 || len(p.Statistics) != len(w.sent) {
		t.Fatalf("%d bodies shown, %d sent", len(p.Statistics), len(w.sent))
	}
	for i := range w.sent {
		if !bytes.Equal(p.Statistics[i], w.sent[i]) {
			t.Errorf("body %d: shown %s\n sent %s", i, p.Statistics[i], w.sent[i])
		}
	}
	w.work()
	for _, m := range []ksn.Mode{ksn.ModeBasic, ksn.ModeOff, ""} {
		if p := must[Preview](t)(w.Preview(m, 1)); p.Statistics != nil || (p.Lookup == nil) == m.On() {
			t.Errorf("%q shows %s", m, p)
		}
	}
	if p := must[Preview](t)(w.Preview(ksn.ModeExtended, 0)); p.Statistics != nil || p.Lookup != nil {
		t.Errorf("without a statement %s", p)
	}
	p = must[Preview](t)(MakePreview(ksn.ModeExtended, DefaultManifests()[0], Sample()))
	if len(p.Statistics) != 1 || len(must[[]Record](t)(ParseBody(p.Statistics[0]))) != 1 {
		t.Errorf("the sample shows %s", p.Statistics)
	}
}

func TestManyGoroutines(t *testing.T) {
	w := newWorld(t, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				w.work()
			}
		})
	}
	for range 20 {
		w.flush()
		must[Preview](t)(w.Preview(ksn.ModeExtended, 1))
	}
	all.Wait()
	w.flush()
	sum := uint64(0)
	for _, r := range w.deliver() {
		sum += r.Questions.File.Asked
	}
	if sum != 8*200 {
		t.Errorf("%d questions told, want %d", sum, 8*200)
	}
}

func BenchmarkCount(b *testing.B) {
	w := newWorld(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		w.Answered(ksn.ObjectFile, time.Millisecond)
		w.Matched("Win.Trojan.Example-1")
	}
}
