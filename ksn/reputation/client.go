package reputation

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// Deadlines of look-ups, by who waits.
const (
	DeadlineOnAccess   = 500 * time.Millisecond
	DeadlineOnDemand   = 10 * time.Second
	DeadlineManual     = 15 * time.Second
	DeadlineBackground = 15 * time.Second
)

// Deadline is that of an origin.
func Deadline(o ksn.Origin) time.Duration {
	switch o {
	case ksn.OriginOnAccess:
		return DeadlineOnAccess
	case ksn.OriginOnDemand:
		return DeadlineOnDemand
	case ksn.OriginManual:
		return DeadlineManual
	}
	return DeadlineBackground
}

// A Client asks one network. It is safe for concurrent use, until and after Close.
type Client struct {
	config    Config
	kind      ksn.NetworkKind
	keys      protocol.Keys
	cache     *cache // nil without a provider
	transport http.RoundTripper
	own       *http.Transport // transport, if Close closes it

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	wake   chan struct{} // something is to be written
	load   sync.Once     // the cache from disk
	loaded chan struct{} // closed when it is there
	opened chan struct{} // two verifications at a time: the memory that a hostile reply takes is bounded

	bits     atomic.Uint32 // of prefixes, 0 for the usual
	flushing sync.Mutex    // one flush at a time

	mu        sync.Mutex // of what follows; held for moments
	closed    bool
	state     state
	stored    state      // what was in Memory when it was last the same as state
	ledger    ksn.Ledger // of this client alone, without SuppressedBy
	dirty     bool
	unwritten map[string]CacheEntry
	unbytes   int
	damaged   []string // keys of the cache to be removed
	deferred  []Deferred
	probing   map[string]bool // by routeID
	draining  bool
	info      protocol.Info // the last one, in memory only
	infoAt    time.Time
	infoRetry time.Time // not before this info is asked for of our own accord
	learning  bool      // it is being asked for

	lanes   map[lane]*queue
	flights map[flight]*call
}

// New makes a client. It reads the client's record from Memory and makes no request; the cache is read when the first object is looked up. The
// error says what of the config cannot be.
func New(config Config) (*Client, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	if token := config.Token(); token != "" {
		if err := protocol.CheckToken(token); err != nil {
			return nil, fmt.Errorf("reputation: Config.Token: %w", err)
		}
	}
	c := &Client{config: config, kind: config.Kind, transport: config.Transport, wake: make(chan struct{}, 1), loaded: make(chan struct{}), opened: make(chan struct{}, 2),
		unwritten: map[string]CacheEntry{}, probing: map[string]bool{}, lanes: map[lane]*queue{}, flights: map[flight]*call{}}
	if c.transport == nil {
		c.own = NewTransport()
		c.transport = c.own
	}
	if p := config.Provider; p != nil {
		c.keys = p.ReputationKeys()
		var err error
		if c.cache, err = newCache(p.Fingerprint, c.keys, config.CacheBytes); err != nil {
			return nil, err
		}
	}
	c.stored = config.remembered()
	c.state = c.stored
	c.state.Counters = c.stored.Counters.Resume(config.Now())
	c.bits.Store(uint32(c.state.Bits))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if config.Memory != nil {
		c.work.Add(1)
		go c.behind()
	}
	return c, nil
}

func (c *Client) now() time.Time  { return c.config.Now() }
func (c *Client) token() string   { return c.config.Token() }
func (c *Client) tokenID() string { return c.config.tokenID() }

// start runs f in a goroutine that Close waits for, unless the client is closed.
func (c *Client) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Add(1)
	go func() {
		defer c.work.Done()
		f()
	}()
	return true
}

// Close ends all requests, writes what is to be written and gives back what was leased. Look-ups go on from overrides and cache.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
	c.mu.Lock()
	for _, l := range c.flights {
		c.finish(l, nil, SourceNone, miss{why: Unavailable, err: errClosed})
	}
	c.mu.Unlock()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return c.flush(true)
}

// Lookup gives a verdict for each object, in their order, by the deadline of the origin or that of ctx, whichever is first. What the
// cache or an override knows costs no request and no wait. While KSN is off, overrides alone are told: no answer that was kept, and nothing is
// remembered to be asked later.
func (c *Client) Lookup(ctx context.Context, origin ksn.Origin, objects []Object) []Verdict {
	return c.lookup(ctx, origin, objects, true)
}

// lookup is Lookup; queue: suspicions that nothing settles are deferred.
func (c *Client) lookup(ctx context.Context, origin ksn.Origin, objects []Object, queue bool) []Verdict {
	c.load.Do(c.loadCache)
	now, on := c.now(), c.disabled().why == Settled
	verdicts := make([]Verdict, len(objects))
	var open []lookup
	for i := range objects {
		var room [4]part
		parts, ok := c.known(&objects[i], room[:0], on, now, &verdicts[i])
		if !ok {
			open = append(open, lookup{i, slices.Clone(parts)})
		}
	}
	if len(open) > 0 {
		c.postpone(c.resolve(ctx, origin, objects, verdicts, open), queue)
	}
	return verdicts
}

// A lookup is an object that overrides and cache alone do not settle: which of the caller's, and what they know of each key.
type lookup struct {
	at    int
	parts []part // with an answer only where no request is needed; none at all: the object is invalid
}

// known settles what needs no request; else it gives the parts, appended to room. on: KSN is, so that the cache has a say.
func (c *Client) known(o *Object, room []part, on bool, now time.Time, v *Verdict) (parts []part, ok bool) {
	if o.Kind() == "" {
		*v = Verdict{Verdict: protocol.Unknown, Why: Invalid}
		return nil, true
	}
	if c.overridden(o, v) {
		return nil, true
	}
	if o.Suspected && o.Release == 0 {
		o = &Object{Keys: o.Keys, Size: o.Size, Suspected: true, Release: c.config.Release()}
	}
	parts, ok = room, true
	for i := range o.Keys {
		var p part
		done := false
		if on {
			p, done = o.cached(&o.Keys[i], c.recall(&o.Keys[i], c.prefixBits()), now)
		}
		if !done {
			p, ok = part{}, false
		} else if e, _ := p.answer.about(&o.Keys[i], o.Size); rank(e) == protocol.Untrusted.Rank() {
			*v = o.verdict(&p, o.Keys[i], e, now) // nothing worse can come
			return nil, true
		}
		parts = append(parts, p)
	}
	if ok {
		*v = o.judge(parts, now)
		if v.Why != Settled && o.Suspected {
			return parts, false // to be deferred
		}
	}
	return parts, ok
}

// overridden gives the administrator's verdict: of the first key that has one. Trust in a weak hash does not count.
func (c *Client) overridden(o *Object, v *Verdict) bool {
	if c.config.Override == nil {
		return false
	}
	for _, k := range o.Keys {
		if verdict, name, ok := c.config.Override(k); ok && verdict.Rank() > 0 && (verdict != protocol.Trusted || !weak(k.Type)) {
			*v = Verdict{Verdict: verdict, Source: SourceOverride, Key: k, Name: name}
			return true
		}
	}
	return false
}

// prefixBits are those that questions have now.
func (c *Client) prefixBits() uint8 {
	if n := c.bits.Load(); n != 0 {
		return uint8(n)
	}
	return protocol.DefaultBits
}

// recall gives what the cache has for a key, nil for nothing.
func (c *Client) recall(k *protocol.Key, bits uint8) *answer {
	if c.cache == nil {
		return nil
	}
	p := k.Prefix(bits)
	a, damaged := c.cache.get(p)
	if damaged {
		c.forget(c.cache.key(p))
	}
	return a
}

// resolve asks the network for what the open objects lack, and judges them. It gives the suspicions that remain.
func (c *Client) resolve(ctx context.Context, origin ksn.Origin, objects []Object, verdicts []Verdict, open []lookup) (suspicions []Deferred) {
	ctx, cancel := context.WithTimeout(ctx, Deadline(origin))
	defer cancel()
	bits := c.prefixBits()
	calls := c.submit(origin, bits, objects, open)
	for _, l := range open {
		for i := range l.parts {
			if l.parts[i].answer != nil {
				continue
			}
			l.parts[i] = part{miss: miss{why: Timeout, err: context.Cause(ctx)}}
			if call := calls[objects[l.at].Keys[i].Prefix(bits)]; call != nil {
				l.parts[i] = call.wait(ctx)
			}
		}
	}
	off := c.disabled() // by now: consent may have been taken back meanwhile
	for _, l := range open {
		o := objects[l.at]
		if o.Suspected && o.Release == 0 {
			o.Release = c.config.Release()
		}
		for i := range l.parts {
			switch p := &l.parts[i]; {
			case p.answer != nil:
			case off.why != Settled:
				*p = part{miss: off}
			default:
				*p = o.stale(&o.Keys[i], c.recall(&o.Keys[i], bits), p.miss, c.now())
			}
		}
		v := o.judge(l.parts, c.now())
		verdicts[l.at] = v
		if o.Suspected && v.Why != Settled && off.why == Settled {
			for i := range o.Keys { // any of them can be the one that light suspects
				suspicions = append(suspicions, Deferred{Key: o.Keys[i].String(), Path: o.Path, Name: o.Name, Size: o.Size, Release: o.Release,
					Since: c.now().UTC()})
			}
		}
	}
	return suspicions
}
