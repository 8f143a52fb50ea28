//go:build check && linux

package disk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

const (
	childEnv = "AVDB_DISK_TEST_CHILD"
	memory   = "/dev/shm"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		serve(os.Stdin, os.Stdout)
		return
	}
	// The worlds are made on memory: what is broken here is broken by the tests, and their own syncs need no disk.
	if i, err := os.Stat(memory); err == nil && i.IsDir() {
		os.Setenv("TMPDIR", memory)
	}
	os.Exit(m.Run())
}

// The operations of an order.
const (
	opInstall  = "install"  // what init does, then update
	opUpdate   = "update"   //
	opRollback = "rollback" //
)

// An order tells an endpoint what to do.
type order struct {
	Op      string
	State   string
	Now     time.Time
	Root    []byte // for install
	Sources []string
	Variant string

	// In this process only:
	headRoom int64             // bytes that an update leaves free, 0 for the product's own number
	step     func(name string) // told of each step
}

// An answer is what came of it.
type answer struct {
	Done   bool // nothing failed: the program's exit code would be 0
	Code   int  // that exit code
	Error  string
	Report *updater.Report
	Panic  string
}

// serve carries out orders, a line each, until there are no more.
func serve(in io.Reader, out io.Writer) {
	d, e := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var o order
		if d.Decode(&o) != nil {
			return
		}
		if e.Encode(o.carryOut()) != nil {
			return
		}
	}
}

// carryOut does what the program does for the commands init, update and rollback.
func (o order) carryOut() (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a = answer{Code: 2, Panic: fmt.Sprintf("%v\n%s", r, debug.Stack())}
		}
	}()
	var err error
	switch o.Op {
	case opInstall:
		if err = o.setUp(); err == nil {
			a.Report, err = o.update()
		}
	case opUpdate:
		a.Report, err = o.update()
	case opRollback:
		err = o.rollback()
	}
	a.Done, a.Code = err == nil, exitCode(err)
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (o order) options() store.Options {
	return store.Options{Now: func() time.Time { return o.Now }}
}

func (o order) setUp() error {
	s, err := store.Create(o.State, o.options())
	if err != nil {
		return err
	}
	if err := signing.InitTrust(s.TrustDir(), o.Root, false); err != nil {
		return err
	}
	return o.setUpSources(o.Sources...)
}

func (o order) setUpSources(urls ...string) error {
	s, err := store.Open(o.State, o.options())
	if err != nil {
		return err
	}
	return s.UpdateSettings(func(v *store.Settings) error {
		v.Sources = nil
		for _, u := range urls {
			v.Sources = append(v.Sources, store.SettingsSource{URL: u})
		}
		return nil
	})
}

func (o order) update() (*updater.Report, error) {
	s, err := store.Open(o.State, o.options())
	if err != nil {
		return nil, err
	}
	u, err := updater.New(o.config(s))
	if err != nil {
		return nil, err
	}
	r, err := u.Update(context.Background(), updater.Options{Variant: o.Variant})
	return &r, err
}

func (o order) config(s *store.Store) updater.Config {
	return updater.Config{Store: s, Now: func() time.Time { return o.Now }, Random: func() float64 { return 0.5 }, Step: o.step, Limits: updater.Limits{HeadRoom: o.headRoom,
		Header: 20 * time.Second, Idle: 20 * time.Second, IdleBytes: 2000,
		RetryWait: time.Millisecond, RetryWaitMax: 5 * time.Millisecond, RetryAfter: 50 * time.Millisecond,
	}}
}

// rollback goes back unless that is done.
func (o order) rollback() error {
	s, err := store.Open(o.State, o.options())
	if err != nil {
		return err
	}
	l, err := s.Lock()
	if err != nil {
		return err
	}
	defer l.Unlock()
	if err := s.Clean(); err != nil {
		return err
	}
	c, err := s.Current()
	if err != nil || c.RolledBack != nil {
		return err
	}
	after, err := s.Rollback(false)
	if err != nil {
		return err
	}
	// The program warns where the history cannot be kept, and goes on.
	_ = s.AppendHistory(store.Event{Kind: "rollback", Result: "rolled_back", From: c.Version, To: after.Version})
	return nil
}

// exitCode is that of the program; 2 stands for an error that has no kind or more than one.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	code, n := 2, 0
	for _, k := range []struct {
		is   error
		code int
	}{
		{signing.ErrUntrusted, 12}, {matcher.ErrSelfTest, 12}, {dbformat.ErrVersion, 17}, {updater.ErrCoolDown, 14}, {updater.ErrUnavailable, 13},
		{store.ErrLocked, 11}, {store.ErrNoDatabase, 10},
	} {
		if errors.Is(err, k.is) {
			code, n = k.code, n+1
		}
	}
	if errors.Is(err, store.ErrStorage) || errors.Is(err, signing.ErrStorage) {
		code, n = 15, n+1
	}
	if n > 1 {
		return 2
	}
	return code
}

// A worker is an endpoint's process: a child of the test, so that it can be killed, and so that a page of a mapped file that
// the test itself has to deliver stops nobody but it.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func newWorker(t *testing.T) *worker {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return &worker{cmd: cmd, in: in, out: json.NewDecoder(out)}
}

// do gives an order and waits for the answer; ok is false if the process died meanwhile.
func (w *worker) do(o order) (a answer, ok bool) {
	if json.NewEncoder(w.in).Encode(o) != nil {
		return a, false
	}
	return a, w.out.Decode(&a) == nil
}

// end waits for the process, which ends when its input does.
func (w *worker) end() {
	w.in.Close()
	_ = w.cmd.Wait() // killed or not
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
