package proxy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/proxy"
	"example.org/avdb/store"
)

var _ proxy.Memory = (*store.Store)(nil)

// A memory keeps one record over the lives of proxies. Writing takes as long as its disk.
type memory struct {
	mu     sync.Mutex
	record []byte
	writes int
	disk   time.Duration
	err    error
}

func (m *memory) ReadKSNProxy(v any) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.record == nil || m.err != nil {
		return false, m.err
	}
	return true, json.Unmarshal(m.record, v)
}

func (m *memory) UpdateKSNProxy(v any, change func(bool) error) error {
	ok, err := m.ReadKSNProxy(v)
	if err == nil {
		err = change(ok)
	}
	time.Sleep(m.disk)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.record, err = json.Marshal(v)
		m.writes++
	}
	return err
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// A life is one process's way to its memory and to the network: after a kill nothing comes through.
type life struct {
	proxy.Memory
	t      http.RoundTripper
	killed chan struct{}
}

var errKilled = errors.New("killed")

func (l *life) dead() bool {
	select {
	case <-l.killed:
		return true
	default:
		return false
	}
}

func (l *life) UpdateKSNProxy(v any, change func(bool) error) error {
	return l.Memory.UpdateKSNProxy(v, func(ok bool) error {
		if l.dead() {
			return errKilled
		}
		return change(ok)
	})
}

func (l *life) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.dead() {
		return nil, errKilled
	}
	return l.t.RoundTrip(r)
}

// fewADay lets so many look-ups a day through.
func fewADay(t *testing.T, most int64) *ksn.Set {
	return restrictions(t, dbformat.Restriction{ID: "few", Action: dbformat.ActionLimit, Limit: &dbformat.RestrictionLimit{DailyMax: most}})
}

// A daily number is the day's, however often the process ends in good order: with the real store.
func TestCountersOutliveARestart(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const most = 40
	set := fewADay(t, most)
	asked := uint32(0)
	for range 4 {
		w := newWorld(t, func(c *proxy.Config) { c.Memory, c.Restrictions = s, func() *ksn.Set { return set } })
		for range most / 4 {
			asked++
			w.ask(prefix(protocol.FileSHA256, asked))
		}
		w.Close()
		w.Close()
	}
	w := newWorld(t, func(c *proxy.Config) { c.Memory, c.Restrictions = s, func() *ksn.Set { return set } })
	if p := w.problem(w.do("GET", prefix(protocol.FileSHA256, 1000).Path(), ""), protocol.CodeRestricted); p.Record != "few" {
		t.Errorf("%+v", p)
	}
	var client struct{ Counters ksn.Counters }
	if ok, err := s.ReadKSN(&client); ok || err != nil {
		t.Errorf("a client finds %+v, %v: what a proxy counts is not the device's", client, err)
	}
}

// However often the process is killed, and whenever: no more goes upstream on a day than the restriction allows, and each kill costs at most a lease and a half, besides what
// was on its way.
func TestCountersOutliveAKill(t *testing.T) {
	const most, lease, kills = 160, 10, 8
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				m := &memory{disk: time.Duration(random.IntN(40)) * time.Millisecond}
				set, asked, sent, unsent := fewADay(t, most), uint32(0), 0, 0
				for n := range kills + 1 {
					l := &life{Memory: m, killed: make(chan struct{})}
					w := newWorld(t, func(c *proxy.Config) {
						l.t = c.Transport
						c.Memory, c.Transport, c.Restrictions = l, l, func() *ksn.Set { return set }
					})
					var devices sync.WaitGroup
					questions := random.IntN(20)
					if n == kills {
						questions = most
					}
					for range questions {
						asked++
						path := prefix(protocol.FileSHA256, asked).Path()
						devices.Go(func() { w.do("GET", path, "") })
						time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
					}
					if n < kills {
						time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
						close(l.killed)
					}
					devices.Wait()
					w.Close()
					sent += len(w.server.questions)
					if n < kills {
						unsent += questions - len(w.server.questions)
					}
					var kept struct{ Counters ksn.Counters }
					_, err := m.ReadKSNProxy(&kept)
					if err != nil || kept.Counters.Records["few"].Leased < int64(sent) {
						t.Errorf("after life %d %d questions went upstream, and %+v was written (%v)", n, sent, kept, err)
					}
				}
				if least := most - kills*lease*3/2 - unsent; sent > most || sent < least {
					t.Errorf("%d questions went upstream, want %d, and at least %d", sent, most, least)
				}
			})
		})
	}
}

// What a rate has left is written soon, without a lease, and all of a busy time at once.
func TestRatesAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		set := restrictions(t, dbformat.Restriction{ID: "slow", Action: dbformat.ActionLimit, Limit: &dbformat.RestrictionLimit{Rate: &dbformat.RestrictionRate{Requests: 1, PerS: 3600, Burst: 5}}})
		with := func(c *proxy.Config) { c.Memory, c.Restrictions = m, func() *ksn.Set { return set } }
		w := newWorld(t, with)
		for i := range uint32(5) {
			w.ask(prefix(protocol.URL, i))
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if m.writes != 1 {
			t.Errorf("%d writes, want one for all", m.writes)
		}
		m.fail(errKilled) // as if the process were killed: its end writes nothing
		w.Close()
		m.fail(nil)
		w = newWorld(t, with)
		w.problem(w.do("GET", prefix(protocol.URL, 9).Path(), ""), protocol.CodeRestricted)
	})
}

// A memory that fails, or panics, costs a record and holds nothing up; the first proxy that can write again does.
func TestAMemoryThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{err: errors.New("no disk")}
		set := fewADay(t, 5)
		with := func(c *proxy.Config) { c.Memory, c.Restrictions = m, func() *ksn.Set { return set } }
		w := newWorld(t, with)
		began := time.Now()
		w.ask(prefix(protocol.URL, 1))
		w.ask(prefix(protocol.URL, 2))
		if took := time.Since(began); took > time.Second {
			t.Errorf("two questions took %s", took)
		}
		m.fail(nil)
		w.ask(prefix(protocol.URL, 3))
		time.Sleep(5 * time.Second)
		w.Close()
		w = newWorld(t, with)
		w.ask(prefix(protocol.URL, 4))
		w.ask(prefix(protocol.URL, 5))
		w.problem(w.do("GET", prefix(protocol.URL, 6).Path(), ""), protocol.CodeRestricted)

		w = newWorld(t, func(c *proxy.Config) { with(c); c.Memory = explosive{} })
		w.ask(prefix(protocol.URL, 1))
		w.Close()
	})
}

// A disk that stays full is told once, and once more when it is full again after a write that went well.
func TestAMemoryThatFailsIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		var log bytes.Buffer
		set := fewADay(t, 1000)
		w := newWorld(t, func(c *proxy.Config) {
			c.Memory, c.Restrictions, c.Log = m, func() *ksn.Set { return set }, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		})
		asked := uint32(0)
		ask := func() {
			for range 5 {
				asked++
				w.ask(prefix(protocol.URL, asked))
				time.Sleep(5 * time.Second)
				synctest.Wait()
			}
		}
		told := func(when string, warnings, again int) {
			t.Helper()
			if n, k := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "is written again"); n != warnings || k != again {
				t.Errorf("%s: %d warnings, want %d; written again %d times, want %d:\n%s", when, n, warnings, k, again, log.String())
			}
		}
		ask()
		told("a good disk", 0, 0)
		m.fail(errors.New("no room"))
		ask()
		told("a full one", 1, 0)
		m.fail(nil)
		ask()
		told("a good one again", 1, 1)
		m.fail(errors.New("no room"))
		ask()
		w.Close()
		told("a full one again", 2, 1)
	})
}

// Without restrictions that count nothing is written at all.
func TestNothingToRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		w := newWorld(t, func(c *proxy.Config) { c.Memory = m })
		w.ask(prefix(protocol.URL, 1))
		time.Sleep(time.Minute)
		w.Close()
		if m.writes > 0 {
			t.Errorf("%d writes", m.writes)
		}
	})
}

// An explosive memory panics.
type explosive struct{}

func (explosive) ReadKSNProxy(any) (bool, error)             { return false, nil }
func (explosive) UpdateKSNProxy(any, func(bool) error) error { panic("boom") }
