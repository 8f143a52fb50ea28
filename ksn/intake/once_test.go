package intake

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/statistics"
)

// entry and spool are what devices have.
type entry struct {
	ID     uint64
	Record []byte
}

type spool struct {
	list  []entry
	last  uint64
	fails bool // of Unspool: the process dies before
}

func (s *spool) Spool(record []byte, _ int64) (int, error) {
	s.last++
	s.list = append(s.list, entry{s.last, slices.Clone(record)})
	return 0, nil
}

func (s *spool) Spooled(int) ([]entry, error) { return slices.Clone(s.list), nil }

func (s *spool) Unspool(ids []uint64) error {
	if s.fails {
		return errDied
	}
	s.list = slices.DeleteFunc(s.list, func(e entry) bool { return slices.Contains(ids, e.ID) })
	return nil
}

func (s *spool) ClearSpool() error {
	s.list = nil
	return nil
}

var errDied = errors.New("died")

type counter struct{ n uint64 }

func (c *counter) Read(b []byte) (int, error) {
	clear(b)
	c.n++
	binary.BigEndian.PutUint64(b[len(b)-8:], c.n)
	return len(b), nil
}

func extended() (f ksn.Facts, err error) {
	at := dbformat.At(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	f.Consent = ksn.Consent{Mode: ksn.ModeExtended, Since: &at,
		Accepted: &ksn.Acceptance{Version: 1, Language: "en", SHA256: dbformat.Digest{1}, Time: at, Mode: ksn.ModeOff}}
	return f, nil
}

// Whatever the order of counting, sending, crashes on both sides, torn files, failing disks and lost answers: in the end each record stands in
// the sink once.
func TestEachRecordOnce(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		here := filepath.Join(dir, time.Duration(run).String())
		d := &faulty{disk: disk{here}}
		restart := func() *Intake {
			f, err := openFiles(FilesConfig{Dir: here, Delay: time.Nanosecond}, d)
			if err != nil {
				t.Fatal(err)
			}
			return New(f)
		}
		i := restart()
		defer func() { i.sink.(*Files).Close() }()
		s := &spool{}
		ids := &counter{}
		recorder := func() *statistics.Recorder {
			r, err := statistics.New(s, statistics.Config{Facts: extended, Rand: ids})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		r := recorder()
		counted := uint64(0)
		var lost bool // the answer
		deliver := func() error {
			return r.Deliver(context.Background(), func(ctx context.Context, body []byte) error {
				err := i.Take(ctx, statistics.ContentType, body)
				if errors.Is(err, protocol.ErrInvalid) {
					t.Fatal(err)
				}
				if err == nil && lost {
					return errDied
				}
				return err
			})
		}
		t.Repeat(map[string]func(*rapid.T){
			"count": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "records") {
					r.Asked(ksn.ObjectFile)
					counted++
					if err := r.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			},
			"deliver":         func(*rapid.T) { _ = deliver() },
			"answer lost":     func(*rapid.T) { lost = true; _ = deliver(); lost = false },
			"device dies":     func(*rapid.T) { s.fails = true; _ = deliver(); s.fails = false; r = recorder() },
			"server restarts": func(*rapid.T) { i.sink.(*Files).Close(); i = restart() },
			"disk fails": func(t *rapid.T) {
				d.call, d.times, d.tear = rapid.SampledFrom([]string{"write", "sync"}).Draw(t, "call"), 1, rapid.IntRange(0, 400).Draw(t, "tear")
				_ = deliver()
				d.call = ""
			},
			"server dies": func(t *rapid.T) { // in the middle of a write, which the sender hears nothing of
				i.sink.(*Files).Close()
				var tail []byte
				for _, e := range s.list {
					tail = append(append(tail, e.Record...), '\n')
				}
				known := here + "/" + lastName(t, here)
				b, _ := os.ReadFile(known)
				tail = tail[:rapid.IntRange(0, len(tail)).Draw(t, "torn")]
				for line := range bytes.Lines(tail) { // what already stands there is not written again
					if !bytes.Contains(b, line) {
						b = append(b, line...)
					}
				}
				if lastName(t, here) != "" {
					if err := os.WriteFile(known, b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				i = restart()
			},
		})
		if err := deliver(); err != nil {
			t.Fatal(err)
		}
		i.sink.(*Files).Close()
		seen := map[string]bool{}
		sum := uint64(0)
		if lastName(t, here) != "" {
			b, err := os.ReadFile(here + "/" + lastName(t, here))
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(b) {
				one, err := statistics.ParseRecord(bytes.TrimSuffix(line, []byte("\n")))
				if err != nil || seen[one.ID] {
					t.Fatalf("%s: %v, or there already", line, err)
				}
				seen[one.ID] = true
				sum += one.Questions.File.Asked
			}
		}
		if sum != counted {
			t.Fatalf("%d counted, %d in the sink", counted, sum)
		}
	})
}

func lastName(t *rapid.T, dir string) string {
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Name()
}
