package reputation

import (
	"context"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// kindInfo and kindStats name requests that are about no object, for orders that are about one kind of request.
const (
	kindInfo  = "info"
	kindStats = "stats"
)

// Info gives what the network says of itself, and remembers how long prefixes should be. An answer that is younger than the network's minimum wait is given
// again without a request. The error matches [ErrUnavailable] or [ksn.ErrRefused].
func (c *Client) Info(ctx context.Context) (protocol.Info, error) {
	c.mu.Lock()
	known, at := c.info, c.infoAt
	c.mu.Unlock()
	if age := c.now().Sub(at); !at.IsZero() && age >= 0 && age < min(time.Duration(known.MinWait)*time.Second, protocol.MaxLife) {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, DeadlineBackground)
	defer cancel()
	w := c.newWalk(kindInfo, false)
	for {
		h, m := w.next(ctx)
		var p permit
		if m.why == Settled {
			p, m = c.ask(ksn.Request{Service: ksn.ServiceInfo, Origin: ksn.OriginBackground}, h, protocol.Prefix{}, false)
		}
		if m.why != Settled {
			w.end()
			return protocol.Info{}, m.error("info")
		}
		share, cancel := w.share(ctx)
		info, r := c.askInfo(share, p)
		cancel()
		w.came(h, r)
		if r.came == answered {
			w.reached()
			return info, nil
		}
	}
}

// askInfo asks one hop and verifies what it says.
func (c *Client) askInfo(ctx context.Context, p permit) (protocol.Info, result) {
	r := c.attempt(ctx, []permit{p}, nil, protocol.MaxInfo)
	if r.came != answered {
		return protocol.Info{}, r
	}
	now := c.now()
	info, err := c.keys.OpenInfo(r.body, c.config.Provider.Fingerprint, now)
	if err != nil {
		return protocol.Info{}, result{came: failed, err: notAuthentic(p.g.hop, err)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info, c.infoAt = info, now
	c.state.Bits, c.state.BitsAt, c.state.InfoUntil = info.PrefixBits, now.UTC(), now.UTC().Add(infoLife(info))
	c.bits.Store(uint32(info.PrefixBits))
	c.infoRetry = now.Add(max(time.Duration(info.MinWait)*time.Second, leastInfoLife))
	c.changed()
	return info, r
}

const (
	leastInfoLife = time.Minute      // between two requests for info that nobody asked for
	retryInfo     = 10 * time.Minute // after one that failed
)

// infoLife is how long what a network says of itself needs no new request.
func infoLife(i protocol.Info) time.Duration {
	return min(max(time.Duration(max(i.TTL, i.MinWait))*time.Second, leastInfoLife), protocol.MaxLife)
}

// Learn asks what the network says of itself, if what it said before is over, and waits for it: for processes that live too briefly to learn it while they ask
// about objects. The error matches [ErrUnavailable] or [ksn.ErrRefused].
func (c *Client) Learn(ctx context.Context) error {
	now := c.now()
	c.mu.Lock()
	due := !waiting(c.state.InfoUntil, now)
	c.mu.Unlock()
	if !due {
		return nil
	}
	_, err := c.Info(ctx)
	return err
}

// learnInfo asks a hop what the network says of itself, in the background, once in the life of what it said before: after it answered, so that a network that does
// not is not asked twice as much; or where it refused a question as such (wrong), because prefixes may have to be longer. Failures are not held against the
// hop, which answers what counts; orders are.
func (c *Client) learnInfo(h hop, wrong bool) {
	now := c.now()
	c.mu.Lock()
	due := !c.learning && !waiting(c.infoRetry, now) && (wrong || !waiting(c.state.InfoUntil, now))
	if due {
		c.learning, c.infoRetry = true, now.Add(retryInfo)
	}
	c.mu.Unlock()
	if !due {
		return
	}
	done := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.learning = false
	}
	p, m := c.ask(ksn.Request{Service: ksn.ServiceInfo, Origin: ksn.OriginBackground}, h, protocol.Prefix{}, false)
	begun := m.why == Settled && c.start(func() {
		defer done()
		ctx, cancel := context.WithTimeout(c.ctx, DeadlineBackground)
		defer cancel()
		switch _, r := c.askInfo(ctx, p); r.came {
		case throttled, restricted, refused, misdirected:
			c.remember(h, r, kindInfo, false)
		}
	})
	if !begun {
		done()
	}
}

// probe asks a proxy for which servers stand in, in the background, whether it is back. False: the gate permits no such request, and a look-up
// has to find out.
func (c *Client) probe(h hop) bool {
	id := routeID(h)
	c.mu.Lock()
	under := c.probing[id]
	c.probing[id] = true
	c.mu.Unlock()
	if under {
		return true
	}
	done := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.probing, id)
	}
	p, m := c.ask(ksn.Request{Service: ksn.ServiceInfo, Origin: ksn.OriginBackground}, h, protocol.Prefix{}, false)
	if m.why != Settled {
		done()
		return false
	}
	return c.start(func() {
		defer done()
		ctx, cancel := context.WithTimeout(c.ctx, DeadlineBackground)
		defer cancel()
		_, r := c.askInfo(ctx, p)
		if !r.left {
			c.remember(h, r, kindInfo, true)
		}
		if r.came == answered {
			c.reached()
		}
	})
}
