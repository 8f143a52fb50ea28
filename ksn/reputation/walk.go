package reputation

import (
	"context"
	"errors"
	"maps"
	"time"

	"example.org/avdb/ksn"
)

// A walk is one request on its way along the routes, with what it learns on it. It belongs to one goroutine.
type walk struct {
	c         *Client
	kind      string // of request, for orders that are about one kind
	insist    bool   // a user waits
	hops      []hop
	state     []outcome
	holds     []hold
	instead   bool // servers stand in for proxies
	asked     bool // at least one hop was
	authentic bool // an answer was had
	err       error
}

// newWalk looks up what is remembered of each hop.
func (c *Client) newWalk(kind string, insist bool) *walk {
	w := &walk{c: c, kind: kind, insist: insist}
	if c.config.Provider != nil {
		w.hops = hops(c.config.Routes(), c.config.Provider.Provider.URLs)
	}
	w.state, w.holds = make([]outcome, len(w.hops)), make([]hold, len(w.hops))
	for _, h := range w.hops {
		w.instead = w.instead || h.route == ksn.RouteDirect && w.hops[0].route == ksn.RouteProxy
	}
	now := c.now()
	c.mu.Lock()
	remembered := make([]routeState, len(w.hops))
	for i, h := range w.hops {
		remembered[i] = c.state.Routes[routeID(h)]
		w.state[i], w.holds[i] = remembered[i].came(kind, now, insist)
	}
	c.mu.Unlock()
	for i, h := range w.hops {
		if w.instead && h.route == ksn.RouteProxy && remembered[i].Failures > 0 && w.state[i] == untried && !insist && c.probe(h) {
			w.state[i], w.holds[i] = failed, hold{Why: failed, Until: now}
		}
	}
	return w
}

// next is the hop to ask, or why there is none.
func (w *walk) next(ctx context.Context) (hop, miss) {
	switch {
	case w.c.ctx.Err() != nil:
		return hop{}, miss{why: Unavailable, err: errClosed}
	case errors.Is(ctx.Err(), context.Canceled):
		return hop{}, miss{why: Timeout, err: context.Cause(ctx)}
	}
	i, why := next(w.hops, w.state)
	if i >= 0 {
		if ctx.Err() != nil {
			return hop{}, miss{why: Timeout, err: errors.Join(w.err)}
		}
		return w.hops[i], miss{}
	}
	if m := w.c.off(); !w.asked && m.why != Settled {
		return hop{}, m
	}
	return hop{}, w.ended(why)
}

// ended says what the end of a walk means for who waits.
func (w *walk) ended(why outcome) miss {
	m := miss{err: w.err}
	for i, h := range w.holds { // what is remembered of the hop that decides
		if w.state[i] != why || h.Until.IsZero() {
			continue
		}
		if m.retry.IsZero() || h.Until.Before(m.retry) {
			m.retry, m.record, m.hop = h.Until, h.Record, w.hops[i]
		}
	}
	switch why {
	case throttled:
		m.why, m.remedy = Busy, adviceLater
		if e, ok := errors.AsType[*RouteError](m.err); !ok || e.URL != m.hop.url { // what we heard now is not what holds us back
			m.err = &RouteError{URL: m.hop.url, Reason: "it told us before to come back later"}
		}
		if m.hop.maxWait() < MaxWait {
			m.remedy = adviceLaterPlain
		}
	case restricted:
		m.why = Restricted
	case refused:
		m.why, m.remedy = NotAuthorized, adviceRegister
	case misdirected:
		m.why, m.remedy = Misconfigured, "correct the setting ksn.proxies: a proxy of another network is asked nothing, and no server in its place"
	default:
		m.why = Unavailable
		if len(w.hops) == 0 {
			m.err, m.remedy = errors.New("the settings name no usable proxy"), "set ksn.proxies"
		}
	}
	return m
}

const (
	adviceLater      = "ask again then"
	adviceLaterPlain = adviceLater + "; over plain http anybody on the way can say this, over https the server alone"
)

const adviceRegister = "register the credential with the operator of the network"

// share is the part of the time left that one hop gets: all of it if it is the last one, else half.
func (w *walk) share(ctx context.Context) (context.Context, context.CancelFunc) {
	left := 0
	for _, o := range w.state {
		if o == untried {
			left++
		}
	}
	deadline, ok := ctx.Deadline()
	if !ok || left < 2 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// source is where an answer of the hop comes from.
func (w *walk) source(h hop) Source {
	if h.route == ksn.RouteProxy {
		return SourceProxy
	}
	return Source(w.c.kind)
}

// came takes what came of a hop.
func (w *walk) came(h hop, r result) {
	if r.left {
		return
	}
	for i := range w.hops {
		if w.hops[i] == h {
			w.state[i] = r.came
			w.holds[i] = w.c.remember(h, r, w.kind, w.instead && h.route == ksn.RouteProxy)
		}
	}
	w.asked = true
	if r.err != nil {
		w.err = r.err
	}
}

// reached writes down that the network answered.
func (w *walk) reached() {
	if !w.authentic {
		w.authentic = true
		w.c.reached()
	}
}

// end writes down, before a walk without an answer is given up, that there was none.
func (w *walk) end() {
	if w.asked && !w.authentic && w.c.ctx.Err() == nil {
		w.c.missed(w.err, swept(w.state))
	}
}

// remember changes what is known of a hop, and gives when it may be asked again.
func (c *Client) remember(h hop, r result, kind string, standIn bool) hold {
	if c.ctx.Err() != nil { // we went, not the hop
		return hold{}
	}
	now, token := c.now(), c.tokenID()
	c.mu.Lock()
	defer c.mu.Unlock()
	id := routeID(h)
	s := c.state.Routes[id]
	var until hold
	switch r.came {
	case answered:
		if s = s.ok(now, kind); !c.state.Refusal.Until.IsZero() {
			c.state.Refusal = refusal{At: now.UTC()}
		}
	case refused:
		c.state.Refusal = c.state.Refusal.refuse(now, token, h.maxWait(), c.config.Random())
		until = hold{Why: refused, Until: c.state.Refusal.Until}
		s.At, s.Failures = now.UTC(), 0
	case throttled, restricted, misdirected:
		s = s.held(now, r.came, kind, r.record, r.wait)
		_, until = s.came(kind, now, false)
	default:
		s = s.fail(now, r.wait, r.hasty, standIn, c.config.Random())
		until = hold{Why: failed, Until: s.Until}
	}
	routes := map[string]routeState{id: s} // state.stored may hold the old map
	for other, o := range c.state.Routes {
		if _, ok := routes[other]; !ok && now.Sub(o.At) < 30*24*time.Hour && len(routes) < 64 {
			routes[other] = o
		}
	}
	c.state.Routes = maps.Clone(routes)
	c.changed()
	return until
}

// reached is after an authentic answer: one is enough to be back.
func (c *Client) reached() {
	now := c.now()
	c.mu.Lock()
	back := c.state.Link.Failures > 0
	c.state.Link = c.state.Link.Answered(now)
	c.changed()
	c.mu.Unlock()
	if back {
		c.config.Log.Info("KSN answers again")
		c.recheck()
	}
}

// missed is after a request without an authentic answer.
func (c *Client) missed(err error, allRoutes bool) {
	why := "no answer"
	if err != nil {
		why = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Link.Failures == 0 {
		c.config.Log.Warn("KSN gives no answer", "error", why)
	}
	c.state.Link = c.state.Link.Failed(c.now(), why[:min(len(why), 300)], allRoutes)
	c.changed()
}
