package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// What holds where [Config] says nothing.
const (
	DefaultCacheBytes  = 64 << 20
	DefaultMaxUpstream = 16
	DefaultQueue       = 4096
	DefaultDeadline    = 8 * time.Second

	// Of each device: fifty times what the clients of this project ask for at most. Several stand behind one address, or behind a proxy of their own.
	DefaultPerSecond = 50 * ksn.CeilingRate
	DefaultBurst     = 50 * ksn.CeilingBurst
)

// A Limit is how many requests a device may send.
type Limit = serving.Limit

// MaxWaiting is how many requests of devices can wait for upstreams at once, many of them for the same answers.
const MaxWaiting = 1 << 14

// Config is what a [Proxy] is made of. Provider is required. The functions are called by many goroutines at once and must not wait.
type Config struct {
	Provider  *protocol.ProviderFile // of the network that is served
	Upstreams []string               // URLs of servers or other proxies, in the order in which they are tried; none: the provider's
	Transport http.RoundTripper      // to the upstreams; nil: one of the proxy's own, which no setting of the environment leads elsewhere
	Token     func() string          // sent to upstreams over https, and on this machine, as a bearer token, if protocol.CheckToken takes it; nil or "": none
	Agent     string                 // User-Agent; "" for "avdb-ksn-proxy"

	Restrictions func() *ksn.Set // those in force; nil: none
	Install      string          // id of this proxy in hex: only its hashes decide, it goes nowhere
	Memory       Memory          // keeps what restrictions have counted; nil: it ends with the process

	CacheBytes  int64         // that answers may take in memory; 0 for DefaultCacheBytes
	MaxUpstream int           // look-ups sent upstream at once, besides a quarter as many statistics and one request for info; 0 for DefaultMaxUpstream
	Queue       int           // questions that may wait for that, at least protocol.MaxBatch; 0 for DefaultQueue
	Deadline    time.Duration // of one exchange with one upstream, 10 ms to a minute; 0 for DefaultDeadline. Devices wait for twice as long.

	Limit  Limit                      // of each device, whatever its requests cost
	Client func(*http.Request) string // names the device that sends a request, as a load balancer tells it, in 128 bytes; nil: by its address

	Status    http.Handler     // the status page; nil: none
	Collector Collector        // nil: nothing is counted
	Log       *slog.Logger     // nil: none. Neither devices nor questions are named in it.
	Now       func() time.Time // nil: time.Now
	Random    func() float64   // from 0 to 1, for the jitter of back-offs; nil: math/rand
}

func (c *Config) complete() error {
	if c.Provider == nil {
		return errors.New("a provider is needed")
	}
	if len(c.Upstreams) == 0 {
		c.Upstreams = c.Provider.Provider.URLs
	}
	c.Upstreams = slices.Clone(c.Upstreams)
	if len(c.Upstreams) > protocol.MaxURLs {
		return fmt.Errorf("%d upstreams, the limit is %d", len(c.Upstreams), protocol.MaxURLs)
	}
	for i, u := range c.Upstreams {
		if err := protocol.CheckServerURL(u); err != nil {
			return fmt.Errorf("upstream: %w", err)
		}
		if slices.Contains(c.Upstreams[:i], u) {
			return fmt.Errorf("upstream %s is there twice", u)
		}
	}
	c.defaults()
	switch {
	case c.CacheBytes < 0 || c.MaxUpstream < 1 || c.MaxUpstream > 1024:
		return fmt.Errorf("a cache of %d bytes, %d requests at once: want 1 to 1024 requests", c.CacheBytes, c.MaxUpstream)
	case c.Queue < protocol.MaxBatch || c.Queue > 1<<20:
		return fmt.Errorf("a queue of %d questions, want %d to %d", c.Queue, protocol.MaxBatch, 1<<20)
	case c.Deadline < 10*time.Millisecond || c.Deadline > time.Minute:
		return fmt.Errorf("a deadline of %s, want 10ms to 1m", c.Deadline)
	}
	return c.Limit.Check()
}

// defaults fills in what was left out.
func (c *Config) defaults() {
	c.CacheBytes = cmp.Or(c.CacheBytes, DefaultCacheBytes)
	c.MaxUpstream = cmp.Or(c.MaxUpstream, DefaultMaxUpstream)
	c.Queue = cmp.Or(c.Queue, DefaultQueue)
	c.Deadline = cmp.Or(c.Deadline, DefaultDeadline)
	c.Limit = c.Limit.OrElse(Limit{PerSecond: DefaultPerSecond, Burst: DefaultBurst})
	c.Agent = cmp.Or(c.Agent, "avdb-ksn-proxy")
	if c.Transport == nil {
		c.Transport = newTransport(c.MaxUpstream, c.Deadline)
	}
	if c.Token == nil {
		c.Token = func() string { return "" }
	}
	if c.Restrictions == nil {
		c.Restrictions = func() *ksn.Set { return nil }
	}
	if c.Collector == nil {
		c.Collector = nobody{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
}
