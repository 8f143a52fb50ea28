//go:build check && linux

package network

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/avdb/fixtures"
)

// The kinds of files that a behaviour is tried on.
const (
	timestamp = "timestamp"
	database  = "database"
	bundle    = "bundle" // that of rest, the larger one
)

var kinds = []string{timestamp, database, bundle}

// Kinds as paths tell them.
const (
	light = "light"
	rest  = "rest"
)

// before says what is asked for just before a file: from then on a mirror that misbehaves when it is connected to does so.
var before = map[string]string{timestamp: "root", database: "snapshot", light: "release", rest: light}

func kindOf(path string) string {
	base := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case strings.HasPrefix(path, "/metadata/"):
		parts := strings.Split(base, ".")
		return parts[len(parts)-2]
	case strings.HasSuffix(base, ".release.json"):
		return "release"
	}
	return strings.Split(path, "/")[2] // the layer
}

// A mirror serves a tree at an address of its own. For one kind of file it behaves badly.
type mirror struct {
	w         *world
	tree      *fixtures.Tree
	behaviour *behaviour // nil for an honest one
	file      string     // what the behaviour is for, as paths tell it
	index     int        // among the mirrors of a cell: some behaviours have variants
	host, url string
	addr      netip.AddrPort
	helpers   []*mirror  // whereto redirects lead
	folder    string     // the same
	hole      netip.Addr // where nobody answers
	turns     atomic.Int64

	listener net.Listener
	server   *http.Server
	armed    atomic.Bool // what comes next is the file
	hits     atomic.Int64
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  map[*paced]bool
	asked  map[string]int   // requests by path
	bodies map[string]int64 // bytes of honest answers by kind
	log    []*paced         // every connection
	closed bool
}

var mirrors atomic.Int64

// honest is a mirror without fault. Every other one speaks HTTP/2 over TLS.
func honest(t *testing.T, w *world, tree *fixtures.Tree) *mirror {
	t.Helper()
	n := mirrors.Load()
	return start(t, &mirror{w: w, tree: tree, behaviour: &behaviour{secure: n%2 == 0, keep: true}})
}

// hostile is a mirror with a behaviour for a kind of file.
func hostile(t *testing.T, w *world, b *behaviour, file string, index int) *mirror {
	t.Helper()
	if file == bundle {
		file = rest
	}
	return start(t, &mirror{w: w, tree: w.newer, behaviour: b, file: file, index: index})
}

func start(t *testing.T, m *mirror) *mirror {
	t.Helper()
	n := mirrors.Add(1)
	ip := netip.AddrFrom4([4]byte{127, 80 + byte(n/62500), byte(n / 250 % 250), byte(n%250) + 1})
	l, err := net.Listen("tcp4", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	m.addr = l.Addr().(*net.TCPAddr).AddrPort()
	m.host, m.listener = ip.String(), l
	m.conns, m.asked, m.bodies = map[*paced]bool{}, map[string]int{}, map[string]int64{}
	if m.behaviour.named != nil {
		m.host = fmt.Sprintf("m%d.mirror.test", n)
		name(m.host, func() []netip.Addr { return m.behaviour.named(m) })
	}
	scheme := "http"
	m.server = &http.Server{Handler: m, ErrorLog: log.New(io.Discard, "", 0), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		if s, ok := c.(*tls.Conn); ok {
			c = s.NetConn()
		}
		return context.WithValue(ctx, connKey{}, c)
	}}
	m.server.SetKeepAlivesEnabled(m.behaviour.keep) // a connection for each request tells their bytes apart
	serve := func() { m.server.Serve(&listener{l, m}) }
	if m.behaviour.secure {
		scheme = "https"
		good := certificate(m.host, time.Now().Add(time.Hour))
		m.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{good}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if m.behaviour.tls == nil || !m.armed.Load() {
				return nil, nil
			}
			m.hits.Add(1)
			return m.behaviour.tls(m, good), nil
		}}
		if !m.behaviour.keep {
			m.server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
		}
		serve = func() { m.server.ServeTLS(&listener{l, m}, "", "") }
	}
	m.url = fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(m.host, fmt.Sprint(m.addr.Port())))
	if m.behaviour.setup != nil {
		m.behaviour.setup(t, m)
	}
	m.running.Go(serve)
	t.Cleanup(m.close)
	return m
}

// close ends the mirror and whatever its behaviour still does.
func (m *mirror) close() {
	m.mu.Lock()
	m.closed = true
	for c := range m.conns {
		c.Conn.Close()
	}
	m.mu.Unlock()
	m.server.Close()
	m.listener.Close()
	m.running.Wait()
	for _, c := range m.log {
		clients.Delete(c.key())
	}
}

type connKey struct{}

// ServeHTTP answers as the behaviour wants where it is concerned and as an honest mirror does elsewhere.
func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := kindOf(r.URL.Path)
	m.mu.Lock()
	m.asked[r.URL.Path]++
	n := m.asked[r.URL.Path]
	m.mu.Unlock()
	if c, ok := r.Context().Value(connKey{}).(*paced); ok {
		c.kind.Store(&kind)
	}
	content := m.tree.File(strings.TrimPrefix(r.URL.Path, "/"))
	b := m.behaviour
	if b.answer != nil && (kind == m.file || kind == b.also || m.file == everywhere) {
		if kind == m.file {
			m.hits.Add(1)
		}
		b.answer(m, &request{ResponseWriter: w, r: r, content: content, kind: kind, n: n})
		return
	}
	if m.file != "" && kind == before[m.file] {
		m.armed.Store(true)
		if b.arm != nil {
			b.arm(m)
		}
	}
	counted := &counter{ResponseWriter: w}
	serveHonestly(counted, r, content)
	if r.Method == http.MethodGet {
		m.mu.Lock()
		m.bodies[kind] += counted.n
		m.mu.Unlock()
	}
}

// A counter counts the bytes of a body.
type counter struct {
	http.ResponseWriter
	n int64
}

// Write sends a part of the body.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	return n, err
}

// A listener hands connections to the behaviour once it is armed, and to the web server before.
type listener struct {
	net.Listener
	m *mirror
}

// Accept waits for a connection that the web server is to serve.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p := &paced{Conn: c, m: l.m}
		l.m.mu.Lock()
		if l.m.closed {
			l.m.mu.Unlock()
			c.Close()
			return nil, net.ErrClosed
		}
		l.m.conns[p] = true
		l.m.log = append(l.m.log, p)
		l.m.mu.Unlock()
		if l.m.behaviour.connect == nil || !l.m.armed.Load() {
			return p, nil
		}
		l.m.hits.Add(1)
		p.kind.Store(&l.m.file)
		l.m.running.Go(func() {
			defer p.Close()
			l.m.behaviour.connect(l.m, p)
		})
	}
}

// A paced connection sends no faster than the client's process takes what arrives: so it knows, to within one piece, what
// the client read, whatever the buffers of the kernel hold.
type paced struct {
	net.Conn
	m     *mirror
	sent  atomic.Int64
	taken atomic.Int64 // of it, read by the client for certain
	kind  atomic.Pointer[string]
}

const piece = 4 << 10

// Write sends piece by piece, each once the one before was read.
func (c *paced) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		var k int
		if c.drained() {
			k, err = c.Conn.Write(p[:min(len(p), piece)])
		} else {
			err = net.ErrClosed
		}
		c.sent.Add(int64(k))
		n, p = n+k, p[k:]
	}
	return n, err
}

// Close ends the connection.
func (c *paced) Close() error {
	c.m.mu.Lock()
	delete(c.m.conns, c)
	c.m.mu.Unlock()
	return c.Conn.Close()
}

// reset ends the connection as a crashed host would, once the client has read what was sent.
func (c *paced) reset() {
	c.drained()
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// drained waits until the client's process has read all that was sent; false if it has gone away or does not read.
func (c *paced) drained() bool {
	known, ok := clients.Load(c.key())
	if !ok {
		return true // the handshake of TLS
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
		unsent, err := queued(c.Conn.(*net.TCPConn), unix.SIOCOUTQ)
		if err != nil {
			return false
		}
		unread, err := queued(known.(*net.TCPConn), unix.SIOCINQ)
		if err != nil {
			return false
		}
		if unsent == 0 && unread == 0 {
			c.taken.Store(c.sent.Load())
			return true
		}
	}
	return false
}

// clients are the client's ends of connections, as [watched] saw them.
var clients sync.Map

func (c *paced) key() string { return c.RemoteAddr().String() + " to " + c.LocalAddr().String() }

// watched is a context under which connections that requests are sent on are noted in clients.
func watched(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		c := i.Conn
		if s, ok := c.(*tls.Conn); ok {
			c = s.NetConn()
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			clients.Store(c.LocalAddr().String()+" to "+c.RemoteAddr().String(), tcp)
		}
	}})
}

// queued asks the kernel how much waits in a socket's buffer.
func queued(c *net.TCPConn, what uint) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), what) }); e != nil {
		err = errors.Join(err, e)
	}
	return n, err
}
