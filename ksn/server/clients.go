package server

import (
	"container/list"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Token lets a client in: "Authorization: Bearer …".
type Token struct {
	Name   string   // of the client, for limits and for the log where that is configured; unique
	SHA256 [32]byte // of the token's text: the token itself is never kept
	Limit  Limit    // zero: that of all clients
}

// MaxTokens is how many there can be.
const MaxTokens = 1 << 16

// maxToken is the greatest length of a token's text that is looked at.
const maxToken = 1024

// A tokenSet finds tokens by their hash. It does not change.
type tokenSet map[[32]byte]Token

func newTokenSet(list []Token, d Limit) (tokenSet, error) {
	if len(list) > MaxTokens {
		return nil, fmt.Errorf("%d tokens, the limit is %d", len(list), MaxTokens)
	}
	set, names := tokenSet{}, map[string]bool{}
	for i, t := range list {
		t.Limit = t.Limit.orElse(d)
		if err := t.Limit.check(); err != nil {
			return nil, fmt.Errorf("token %d: %w", i, err)
		}
		if _, twice := set[t.SHA256]; twice || names[t.Name] || t.Name == "" || t.SHA256 == [32]byte{} || t.SHA256 == sha256.Sum256(nil) {
			return nil, fmt.Errorf("token %d: the name or the hash is missing, or there twice", i)
		}
		set[t.SHA256], names[t.Name] = t, true
	}
	return set, nil
}

// find is the token that a request carries. How long it takes tells something of hashes at most, from which no token can be guessed.
func (set tokenSet) find(h http.Header) (Token, bool) {
	values := h["Authorization"]
	if len(values) != 1 {
		return Token{}, false
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || text == "" || len(text) > maxToken {
		return Token{}, false
	}
	sum := sha256.Sum256([]byte(text))
	t := set[sum]
	return t, subtle.ConstantTimeCompare(t.SHA256[:], sum[:]) == 1
}

// MaxClients is how many clients are remembered for their limits. Whoever is forgotten, because so many others came since, begins anew.
const MaxClients = 1 << 14

// maxClientName bounds what Config.Client says, in bytes.
const maxClientName = 128

// A client is who limits are counted for: a token, else what Config.Client says, else an address.
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
	p, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return client{name: "?"} // no TCP: all of them together
	}
	a := p.Addr().Unmap().WithZone("")
	if a.Is6() {
		if n, err := a.Prefix(64); err == nil {
			a = n.Addr()
		}
	}
	return client{address: a}
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

// A limiter counts the requests of clients. It is safe for concurrent use.
type limiter struct {
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

func newLimiter(most int) *limiter {
	return &limiter{most: most, clients: map[client]*list.Element{}}
}

// of is the count of a client; nil where there is no limit.
func (l *limiter) of(who client, limit Limit) *rate.Limiter {
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

func (l *limiter) forget(e *list.Element) {
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
