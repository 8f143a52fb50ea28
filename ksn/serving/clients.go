package serving

import (
	"container/list"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Limit is how many requests a client may send.
type Limit struct {
	PerSecond float64 // in the long run; 0 for the default, negative for no limit
	Burst     int     // at once; 0 for the default
}

// OrElse takes what l leaves open from d.
func (l Limit) OrElse(d Limit) Limit {
	if l.PerSecond == 0 {
		l.PerSecond = d.PerSecond
	}
	if l.Burst == 0 {
		l.Burst = d.Burst
	}
	return l
}

// Check says what is wrong with l.
func (l Limit) Check() error {
	if math.IsNaN(l.PerSecond) || l.PerSecond > 1e9 || l.PerSecond > 0 && l.PerSecond < 1e-3 || l.Burst < 0 || l.Burst > 1e9 {
		return fmt.Errorf("limit of %v requests a second, %d at once: want at least one in 1000 seconds", l.PerSecond, l.Burst)
	}
	return nil
}

// MaxClients is how many clients are remembered for their limits. Whoever is forgotten, because so many others came since, begins anew.
const MaxClients = 1 << 14

// maxClientName bounds what Side.Client says, in bytes.
const maxClientName = 128

// A client is who limits are counted for: a token, else what Side.Client says, else an address.
type client struct {
	token, name string
	address     netip.Addr
}

// clientOf names who sends a request without a token. Of an IPv6 address it is the network that one user has.
func clientOf(r *http.Request, named func(*http.Request) string) client {
	if named != nil {
		name := named(r)
		return client{name: strings.Clone(name[:min(len(name), maxClientName)])}
	}
	a, ok := addressOf(r)
	if !ok {
		return client{name: "?"} // no TCP: all of them together
	}
	if a.Is6() {
		if n, err := a.Prefix(64); err == nil {
			a = n.Addr()
		}
	}
	return client{address: a}
}

// addressOf is where a request comes from; not ok if that is no address.
func addressOf(r *http.Request) (a netip.Addr, ok bool) {
	p, err := netip.ParseAddrPort(r.RemoteAddr)
	return p.Addr().Unmap().WithZone(""), err == nil
}

// String is for logs.
func (c client) String() string {
	switch {
	case c.token != "":
		return "token " + c.token
	case c.name != "":
		return c.name
	}
	return c.address.String()
}

// A Limiter counts the requests of clients. It is safe for concurrent use.
type Limiter struct {
	mu      sync.Mutex
	most    int
	clients map[client]*list.Element // of *counted
	order   list.List                // last seen first
}

type counted struct {
	who   client
	limit Limit
	rate  *rate.Limiter
}

// NewLimiter makes one that remembers [MaxClients].
func NewLimiter() *Limiter {
	return &Limiter{most: MaxClients, clients: map[client]*list.Element{}}
}

// of is the count of a client; nil where there is no limit.
func (l *Limiter) of(who client, limit Limit) *rate.Limiter {
	if limit.PerSecond < 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.clients[who]; ok {
		c := e.Value.(*counted)
		if c.limit == limit {
			l.order.MoveToFront(e)
			return c.rate
		}
		l.forget(e)
	}
	for len(l.clients) >= l.most {
		l.forget(l.order.Back())
	}
	c := &counted{who, limit, rate.NewLimiter(rate.Limit(limit.PerSecond), limit.Burst)}
	l.clients[who] = l.order.PushFront(c)
	return c.rate
}

func (l *Limiter) forget(e *list.Element) {
	delete(l.clients, e.Value.(*counted).who)
	l.order.Remove(e)
}

// take takes one request of a count, or says how long to wait for it.
func take(r *rate.Limiter, now time.Time) (wait time.Duration) {
	if r == nil || r.AllowN(now, 1) {
		return 0
	}
	missing := 1 - r.TokensAt(now)
	return max(time.Second, time.Duration(missing/float64(r.Limit())*float64(time.Second)))
}

// charge takes n more requests, which the client has to wait for before its next one.
func charge(r *rate.Limiter, now time.Time, n int) {
	if r != nil && n > 0 {
		r.ReserveN(now, min(n, r.Burst()))
	}
}
