//go:build check

package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A natsServer is a real one on a port of its own, which can be killed and started again.
type natsServer struct {
	t    *testing.T
	path string
	dir  string
	port string // "-1" until it was started once
	cmd  *exec.Cmd
}

func newNATS(t *testing.T) *natsServer {
	t.Helper()
	path, err := exec.LookPath("nats-server")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nats-server")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no nats-server: install the package of that name")
		}
		t.Skip("no nats-server: install the package of that name to test the stream")
	}
	s := &natsServer{t: t, path: path, dir: t.TempDir(), port: "-1"}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *natsServer) url() string { return "nats://127.0.0.1:" + s.port }

func (s *natsServer) start() {
	s.t.Helper()
	ports := filepath.Join(s.dir, "ports")
	must[struct{}](s.t)(struct{}{}, os.MkdirAll(ports, 0o700))
	log := must[*os.File](s.t)(os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))
	defer log.Close()
	s.cmd = exec.Command(s.path, "-js", "-sd", filepath.Join(s.dir, "data"), "-a", "127.0.0.1", "-p", s.port, "--ports_file_dir", ports)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	must[struct{}](s.t)(struct{}{}, s.cmd.Start())
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var said struct{ NATS []string }
		b, _ := os.ReadFile(filepath.Join(ports, fmt.Sprintf("%s_%d.ports", filepath.Base(s.path), s.cmd.Process.Pid)))
		if json.Unmarshal(b, &said) == nil && len(said.NATS) > 0 {
			_, s.port, _ = strings.Cut(strings.TrimPrefix(said.NATS[0], "nats://"), ":")
			return
		}
		if time.Now().After(deadline) {
			s.kill()
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("nats-server does not come up:\n%s", log)
		}
	}
}

func (s *natsServer) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // says that it was killed
	s.cmd = nil
}

func openStream(t *testing.T, c JetStreamConfig) *JetStream {
	t.Helper()
	j := must[*JetStream](t)(OpenJetStream(c))
	t.Cleanup(func() { j.Close() })
	return j
}

// patient is a context for what a server that works does at once: without one the library gives it five seconds, which a busy machine may need.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// stream reads all messages of a stream: the ids that they were published with, in order.
func (s *natsServer) stream(name string) (all []string) {
	s.t.Helper()
	conn := must[*nats.Conn](s.t)(nats.Connect(s.url(), nats.RetryOnFailedConnect(true)))
	defer conn.Close()
	js := must[jetstream.JetStream](s.t)(jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute)))
	stream := must[jetstream.Stream](s.t)(js.Stream(s.t.Context(), name))
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m := must[*jetstream.RawStreamMsg](s.t)(stream.GetMsg(s.t.Context(), seq))
		id := m.Header.Get("Nats-Msg-Id")
		if !strings.Contains(string(m.Data), `"id":"`+id+`"`) {
			s.t.Errorf("message %d has the id %q and says %s", seq, id, m.Data)
		}
		all = append(all, id)
	}
	return all
}

// wantStream: each record, once.
func (s *natsServer) wantStream(name string, want []Record) {
	s.t.Helper()
	seen := map[string]int{}
	for _, id := range s.stream(name) {
		seen[id]++
	}
	for _, r := range want {
		if seen[r.ID] != 1 {
			s.t.Errorf("record %s stands in the stream %d times", r.ID, seen[r.ID])
		}
		delete(seen, r.ID)
	}
	if len(seen) > 0 {
		s.t.Errorf("%d records that nobody sent", len(seen))
	}
}

func TestStreamIsCreated(t *testing.T) {
	s := newNATS(t)
	j := openStream(t, JetStreamConfig{URL: s.url(), MaxAge: 48 * time.Hour})
	i := New(j)
	all := records(t, 0, 1500)
	for _, part := range [][]Record{all[:1000], all[500:], all[:1]} {
		if err := i.Take(t.Context(), "application/json", body(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := i.Counts(), (Counts{Accepted: 1500, Duplicate: 501}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	s.wantStream("AVDB_STATISTICS", all)
	c := must[jetstream.Stream](t)(j.js.Stream(patient(t), "AVDB_STATISTICS")).CachedInfo().Config
	if c.Duplicates != 2*time.Hour || c.Storage != jetstream.FileStorage || c.MaxAge != 48*time.Hour || c.MaxBytes != 1<<30 {
		t.Errorf("created %+v", c)
	}
	// Somebody removes the stream: it is made again, and nothing is acknowledged meanwhile.
	must[struct{}](t)(struct{}{}, j.js.DeleteStream(patient(t), "AVDB_STATISTICS"))
	if _, err := j.Put(t.Context(), all[:3]); err == nil {
		t.Error("acknowledged without a stream")
	}
	must[int](t)(j.Put(t.Context(), all[:3]))
	s.wantStream("AVDB_STATISTICS", all[:3])
}

// A stream whose acknowledgements promise too little is refused.
func TestStreamsThatAreNotGoodEnough(t *testing.T) {
	s := newNATS(t)
	for name, c := range map[string]jetstream.StreamConfig{
		"in memory":           {Storage: jetstream.MemoryStorage, Duplicates: 2 * time.Hour},
		"without acks":        {NoAck: true, Duplicates: 2 * time.Hour},
		"with a short window": {Duplicates: time.Minute},
		"for another subject": {Duplicates: 2 * time.Hour, Subjects: []string{"weather"}},
	} {
		j := openStream(t, JetStreamConfig{URL: s.url(), Stream: "OTHER", Timeout: 10 * time.Second})
		if c.Name = "OTHER"; c.Subjects == nil {
			c.Subjects = []string{"avdb.statistics"}
		}
		must[jetstream.Stream](t)(j.js.CreateStream(patient(t), c))
		if _, err := j.Put(t.Context(), records(t, 0, 1)); err == nil {
			t.Errorf("a stream %s was taken", name)
		}
		must[struct{}](t)(struct{}{}, j.js.DeleteStream(patient(t), "OTHER"))
	}
}

// Another stream that has the subject does not take what is meant for ours.
func TestAnotherStreamTakesTheSubject(t *testing.T) {
	s := newNATS(t)
	j := openStream(t, JetStreamConfig{URL: s.url(), Stream: "OURS", Timeout: 10 * time.Second})
	for name, subject := range map[string]string{"OURS": "weather", "THEIRS": "avdb.statistics"} {
		must[jetstream.Stream](t)(j.js.CreateStream(patient(t), jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Duplicates: 2 * time.Hour}))
	}
	if _, err := j.Put(t.Context(), records(t, 0, 1)); err == nil {
		t.Error("acknowledged by another stream")
	}
	s.wantStream("THEIRS", nil)
}

// A server that hears and does not answer makes each of many wait as long as one, not one after the other.
func TestServerThatDoesNotAnswer(t *testing.T) {
	s := newNATS(t)
	deaf := newDeafProxy(t, s.url())
	j := openStream(t, JetStreamConfig{URL: deaf.url(), Timeout: time.Second, MaxBodies: 4})
	deaf.deaf.Store(true)
	begin := time.Now()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if _, err := j.Put(t.Context(), records(t, i, i+1)); err == nil {
				t.Error("acknowledged by nobody")
			}
		})
	}
	if all.Wait(); time.Since(begin) > 20*time.Second { // one after the other takes 40
		t.Errorf("40 bodies failed after %s", time.Since(begin))
	}
}

// The server is killed again and again while bodies come in: what was acknowledged is there, once, and so is what was sent again.
func TestServerKilledInTheMiddle(t *testing.T) {
	s := newNATS(t)
	i := New(openStream(t, JetStreamConfig{URL: s.url(), Timeout: 2 * time.Second}))
	const senders, each, size = 4, 60, 100
	var all sync.WaitGroup
	var failed atomic.Int64
	for sender := range senders {
		all.Go(func() {
			for n := range each {
				first := (sender*each + n) * size
				for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
					err := i.Take(t.Context(), "application/json", body(records(t, first, first+size)))
					if err == nil {
						break
					}
					if failed.Add(1); time.Now().After(deadline) {
						t.Error(err)
						return
					}
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	for range 4 {
		time.Sleep(300 * time.Millisecond)
		s.kill()
		time.Sleep(200 * time.Millisecond)
		s.start()
	}
	all.Wait()
	s.wantStream("AVDB_STATISTICS", records(t, 0, senders*each*size))
	c := i.Counts()
	if failed.Load() == 0 || c.Accepted+c.Duplicate != senders*each*size {
		t.Errorf("%d bodies failed, counted %+v", failed.Load(), c)
	}
	t.Logf("%d bodies failed and came again, %+v", failed.Load(), c)
}

// The intake dies after the stream has the records and before it hears so: they come again, and are duplicates for the stream.
func TestIntakeKilledBeforeTheAck(t *testing.T) {
	s := newNATS(t)
	all := records(t, 0, 10)
	must[int](t)(openStream(t, JetStreamConfig{URL: s.url()}).Put(t.Context(), all[:1])) // makes the stream
	deaf := newDeafProxy(t, s.url())
	j := openStream(t, JetStreamConfig{URL: deaf.url(), Timeout: 5 * time.Second})
	must[int](t)(j.Put(t.Context(), all[1:2]))
	deaf.deaf.Store(true)
	if _, err := j.Put(t.Context(), all[2:6]); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
		t.Fatalf("put: %v", err)
	}
	j.Close()
	s.wantStream("AVDB_STATISTICS", all[:6])
	j = openStream(t, JetStreamConfig{URL: s.url()})
	if n := must[int](t)(j.Put(t.Context(), all[2:8])); n != 4 {
		t.Errorf("%d duplicates, want 4", n)
	}
	s.wantStream("AVDB_STATISTICS", all[:8])
}

// A server that is not there is an error of Put, soon, and none of opening; many who wait for it do not wait one after the other.
func TestServerThatIsNotThere(t *testing.T) {
	s := newNATS(t)
	s.kill()
	j := openStream(t, JetStreamConfig{URL: s.url(), Timeout: time.Second, MaxBodies: 4})
	begin := time.Now()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if _, err := j.Put(t.Context(), records(t, i, i+1)); err == nil {
				t.Error("acknowledged by nobody")
			}
		})
	}
	if all.Wait(); time.Since(begin) > 20*time.Second { // one after the other takes 40
		t.Errorf("40 bodies failed after %s", time.Since(begin))
	}
	s.start()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err := j.Put(t.Context(), records(t, 0, 3)); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	s.wantStream("AVDB_STATISTICS", records(t, 0, 3))
}

// A deafProxy passes on what the client says and, when told so, nothing of what the server answers.
type deafProxy struct {
	l    net.Listener
	deaf atomic.Bool
	all  sync.WaitGroup
}

func newDeafProxy(t *testing.T, to string) *deafProxy {
	p := &deafProxy{l: must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))}
	var mu sync.Mutex
	var open []net.Conn
	p.all.Go(func() {
		for {
			c, err := p.l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", strings.TrimPrefix(to, "nats://"))
			if err != nil {
				c.Close()
				continue
			}
			mu.Lock()
			open = append(open, c, s)
			mu.Unlock()
			p.all.Go(func() { _, _ = io.Copy(s, c); s.Close() })
			p.all.Go(func() { _, _ = io.Copy(p.ears(c), s); c.Close() })
		}
	})
	t.Cleanup(func() {
		p.l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		p.all.Wait()
	})
	return p
}

func (p *deafProxy) url() string { return "nats://" + p.l.Addr().String() }

// ears are those of the client.
func (p *deafProxy) ears(c net.Conn) io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		if p.deaf.Load() {
			return len(b), nil
		}
		return c.Write(b)
	})
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
