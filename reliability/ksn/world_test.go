package ksn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/network"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/proxy"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/ksn/server"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// cells is how many of something a test takes.
func cells(sample, all int) int {
	if os.Getenv("AVDB_CELLS") == "all" {
		return all
	}
	return sample
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A clock begins now and moves on by tick whenever it is read, besides what [clock.advance] adds.
type clock struct {
	began time.Time
	tick  time.Duration
	ahead atomic.Int64
}

// fast lets the ceiling of requests fill up between any two of them.
func fast() *clock { return &clock{began: time.Now(), tick: 2 * time.Second / ksn.CeilingRate} }

func (c *clock) now() time.Time { return c.began.Add(time.Duration(c.ahead.Add(int64(c.tick)))) }

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// A service is a private network: one server with a full database of its own, and how often it was asked about objects.
type service struct {
	net      network.Network
	clock    *clock
	device   *device // of the server
	matcher  *matcher.Matcher
	requests atomic.Int64
	stop     func()
}

// newService serves what a publisher publishes.
func newService(t testing.TB, p *fixtures.Publisher, c *clock) *service {
	t.Helper()
	s := &service{clock: c, device: newDevice(t, p)}
	s.device.update(dbformat.VariantFull)
	s.matcher = s.device.matcher(matcher.Options{PUA: true})
	var handler http.Handler
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != protocol.PathInfo { // which a client asks for once in an hour while it is answered, whatever the number of its questions
			s.requests.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(at.Close)
	s.stop = func() {
		at.CloseClientConnections()
		at.Close()
	}
	s.net = newNetwork(t, protocol.Private, at.URL)
	h, err := server.New(server.Config{Provider: &s.net.Provider, Key: s.net.Key, Database: database{s.matcher},
		Limit: server.Limit{PerSecond: -1}, Now: c.now})
	must(t, err)
	handler = h
	return s
}

// update lets the server answer from the newest release from now on, and not only within the second in which it would see that there is one.
func (s *service) update() {
	s.device.t.Helper()
	s.device.update(dbformat.VariantFull)
	must(s.device.t, s.matcher.Refresh(s.device.t.Context()))
}

// newNetwork makes keys and a provider file.
func newNetwork(t testing.TB, kind, url string) network.Network {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "net")
	_, err := network.Create(dir, network.Options{Network: kind, Name: "Test " + kind, URLs: []string{url}, Now: time.Now().Add(-time.Minute)})
	must(t, err)
	n, err := network.Open(dir)
	must(t, err)
	return n
}

// proxy stands before the server until the test ends, and gives its URL.
func (s *service) proxy(t testing.TB) string {
	t.Helper()
	p, err := proxy.New(proxy.Config{Provider: &s.net.Provider, Now: s.clock.now})
	must(t, err)
	at := httptest.NewServer(p)
	t.Cleanup(func() {
		at.Close()
		p.Close()
	})
	return at.URL
}

// A database is a matcher as package server wants one.
type database struct{ m *matcher.Matcher }

func (d database) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	return d.m.WithPrefixes(a, bits, values, func(at int, k matcher.Known) bool { return visit(at, server.Known(k)) })
}

func (d database) WithURLPrefixes(bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	return d.m.WithURLPrefixes(bits, values, func(at int, k matcher.Known) bool { return visit(at, server.Known(k)) })
}

func (d database) Counts() (server.Counts, error) {
	c := server.Counts{Release: d.m.Generation().Version, URLs: d.m.URLs()}
	for _, n := range d.m.Counts() {
		c.Files += n
	}
	return c, nil
}

// A device has a state folder of its own, trusts one publisher, and keeps consent and network where the program keeps them.
type device struct {
	t     testing.TB
	store *store.Store
	u     *updater.Updater
}

func newDevice(t testing.TB, p *fixtures.Publisher) *device {
	t.Helper()
	s, err := store.Create(filepath.Join(t.TempDir(), "state"), store.Options{})
	must(t, err)
	must(t, signing.InitTrust(s.TrustDir(), p.Root(), false))
	u, err := updater.New(updater.Config{Store: s, Sources: updater.Sources(p.URL())})
	must(t, err)
	return &device{t, s, u}
}

func (d *device) update(v dbformat.Variant) updater.Report {
	d.t.Helper()
	r, err := d.u.Update(d.t.Context(), updater.Options{Variant: string(v)})
	must(d.t, err)
	return r
}

// matcher gives the matcher of what is installed; it is closed with the test.
func (d *device) matcher(o matcher.Options) *matcher.Matcher {
	d.t.Helper()
	m, err := matcher.Open(d.store, o)
	must(d.t, err)
	d.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			d.t.Error(err)
		}
	})
	return m
}

// install makes a network the device's own.
func (d *device) install(n network.Network) {
	d.t.Helper()
	must(d.t, d.store.PutNetwork(n.Provider.Provider.Network, n.Provider.Bytes))
}

// decide changes the consent in the settings.
func (d *device) decide(change func(ksn.Consent) (ksn.Consent, error)) {
	d.t.Helper()
	must(d.t, d.store.UpdateSettings(func(s *store.Settings) error {
		c, err := ksn.ReadConsent(s.KSN)
		if err == nil {
			c, err = change(c)
		}
		if err == nil {
			ksn.WriteConsent(&s.KSN, c)
		}
		return err
	}))
}

func statement(t testing.TB) ksn.Statement {
	t.Helper()
	s, err := ksn.FindStatement(ksn.DefaultStatements(), 0, "en")
	must(t, err)
	return s
}

func (d *device) accept() {
	d.t.Helper()
	s := statement(d.t)
	d.decide(func(c ksn.Consent) (ksn.Consent, error) { return c.Accept(s, time.Now()) })
}

func (d *device) enable() {
	d.t.Helper()
	d.decide(func(c ksn.Consent) (ksn.Consent, error) { return c.Enable(ksn.ModeBasic, time.Now()) })
}

func (d *device) disable() {
	d.t.Helper()
	d.decide(func(c ksn.Consent) (ksn.Consent, error) { return c.Disable(time.Now()), nil })
}

// facts are read anew for each request, as the program does.
func (d *device) facts() (ksn.Facts, *ksn.Set) {
	s, err := d.store.Settings()
	if err != nil {
		return ksn.Facts{}, nil
	}
	consent, err := ksn.ReadConsent(s.KSN)
	if err != nil {
		return ksn.Facts{}, nil
	}
	f := ksn.Facts{Consent: consent, Install: s.Install, Product: "avdb", Version: "1.0.0", Variant: dbformat.VariantLight}
	if p, err := d.provider(); err == nil {
		f.Network = reputation.Installed(p)
	}
	return f, nil
}

// provider is the private network, nil for none.
func (d *device) provider() (*protocol.ProviderFile, error) {
	b, ok, err := d.store.Network(protocol.Private)
	if err != nil || !ok {
		return nil, err
	}
	f, err := protocol.OpenProvider(b)
	return &f, err
}

// client is a new process: it knows what the store keeps. The test closes it, or the end of the test does.
func (d *device) client(c *clock, proxies ...string) *reputation.Client {
	d.t.Helper()
	p, err := d.provider()
	must(d.t, err)
	client, err := reputation.New(reputation.Config{Facts: d.facts, Provider: p, Memory: d.store, Now: c.now,
		Routes: func() reputation.RouteSettings {
			return reputation.RouteSettings{UseProxy: len(proxies) > 0, Proxies: proxies}
		},
		Release: func() uint64 {
			cur, err := d.store.Current()
			if err != nil {
				return 0
			}
			return cur.Version
		}})
	must(d.t, err)
	d.t.Cleanup(func() { client.Close() })
	client.Warm(d.t.Context())
	return client
}

// scan gives the result of each file, by its base name.
func scan(t testing.TB, m *matcher.Matcher, dir string, pua bool, c *reputation.Client) map[string]matcher.Result {
	t.Helper()
	all := map[string]matcher.Result{}
	o := matcher.ScanOptions{Jobs: 2, PUA: pua}
	if c != nil {
		o.Cloud = c.Cloud(ksn.OriginOnDemand)
	}
	must(t, m.Scan(t.Context(), slices.Values([]string{dir}), o, func(r matcher.Result) {
		if r.Err != nil {
			t.Errorf("%s: %v", r.Path, r.Err)
		}
		all[filepath.Base(r.Path)] = r
	}))
	return all
}

// patience is how often what a busy machine does not answer by the deadline is asked again.
const patience = 5

// settledScan scans until nothing is left that was only too slow.
func settledScan(t testing.TB, m *matcher.Matcher, dir string, pua bool, c *reputation.Client) (all map[string]matcher.Result) {
	t.Helper()
	for range patience {
		if all = scan(t, m, dir, pua, c); tally(all)[matcher.Suspected] == 0 {
			break
		}
	}
	return all
}

// tally counts results by verdict.
func tally(all map[string]matcher.Result) map[matcher.Verdict]int {
	n := map[matcher.Verdict]int{}
	for _, r := range all {
		n[r.Verdict]++
	}
	return n
}

// A fake accepts connections, counts them, and closes them at once.
type fake struct {
	net.Listener
	accepted atomic.Int64
}

func newFake(t testing.TB) *fake {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	f := &fake{Listener: l}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				f.accepted.Add(1)
				c.Close()
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return f
}

func (f *fake) url() string { return "http://" + f.Addr().String() }

// count is how many connections came, without one of its own that comes behind all others.
func (f *fake) count() int64 {
	var d net.Dialer
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", f.Addr().String())
	if err != nil {
		return -1
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	_, _ = c.Read(make([]byte, 1)) // until it is closed
	c.Close()
	return f.accepted.Add(-1)
}

// write puts files with these contents into a new folder, named by number.
func write(t testing.TB, contents [][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for i, b := range contents {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d", i)), b, 0o600))
	}
	return dir
}
