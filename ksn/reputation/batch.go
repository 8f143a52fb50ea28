package reputation

import (
	"context"
	"errors"
	"net/http"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

var errClosed = errors.New("the client is closed")

// A lane holds questions that may share a request: the gate treats them alike.
type lane struct {
	origin ksn.Origin
	kind   ksn.Object
}

// workers is how many requests of a lane are under way at most. What comes meanwhile waits for one of them to end, and
// goes together.
func (l lane) workers() int {
	if l.origin == ksn.OriginOnAccess {
		return 4
	}
	return 2
}

type queue struct {
	waiting []*call
	workers int
}

// A flight is a question under way. Whoever has the same one waits for it.
type flight struct {
	prefix protocol.Prefix
	origin ksn.Origin
}

// A call is one question until it is answered or given up.
type call struct {
	flight
	deadline time.Time // the latest of those who wait; guarded by Client.mu
	asked    bool      // it was sent
	done     chan struct{}
	part     part // once done is closed
}

// wait gives what came of the call, or that the time is over.
func (l *call) wait(ctx context.Context) part {
	select {
	case <-l.done:
		return l.part
	default:
	}
	select {
	case <-l.done:
		return l.part
	case <-ctx.Done():
		return part{miss: miss{why: Timeout, err: context.Cause(ctx)}}
	}
}

// submit puts the questions of open objects on their way, each prefix once, and gives their calls. A caller who leaves early ends no request: its
// answer is for the next one.
func (c *Client) submit(origin ksn.Origin, bits uint8, objects []Object, open []lookup) map[protocol.Prefix]*call {
	deadline := time.Now().Add(Deadline(origin))
	calls := map[protocol.Prefix]*call{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range open {
		for i, k := range objects[l.at].Keys {
			p := k.Prefix(bits)
			if l.parts[i].answer != nil || calls[p] != nil {
				continue
			}
			f := flight{p, origin}
			under := c.flights[f]
			if under == nil {
				under = &call{flight: f, done: make(chan struct{})}
				c.flights[f] = under
				c.enqueue(lane{origin, kindOf(p.Type)}, under)
			}
			if deadline.After(under.deadline) {
				under.deadline = deadline
			}
			calls[p] = under
		}
	}
	return calls
}

// enqueue adds a call to its lane. Client.mu is held.
func (c *Client) enqueue(l lane, k *call) {
	if c.closed {
		c.finish(k, nil, SourceNone, miss{why: Unavailable, err: errClosed})
		return
	}
	q := c.lanes[l]
	if q == nil {
		q = &queue{}
		c.lanes[l] = q
	}
	if q.waiting = append(q.waiting, k); q.workers < l.workers() {
		q.workers++
		c.work.Add(1)
		go c.serve(l, q)
	}
}

// finish ends a call. Client.mu is held.
func (c *Client) finish(k *call, a *answer, s Source, m miss) {
	select {
	case <-k.done:
		return
	default:
	}
	k.part = part{answer: a, source: s, miss: m}
	delete(c.flights, k.flight)
	close(k.done)
}

// give is finish for several.
func (c *Client) give(calls []*call, m miss) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range calls {
		c.finish(k, nil, SourceNone, m)
	}
}

// serve works on a lane until it is empty.
func (c *Client) serve(l lane, q *queue) {
	defer c.work.Done()
	var later []*call
	for {
		batch := c.take(q, later)
		if len(batch) == 0 {
			return
		}
		var at time.Time
		if later, at = c.round(l, batch); len(later) > 0 {
			select {
			case <-time.After(at.Sub(c.now())):
			case <-c.ctx.Done():
			}
		}
	}
}

// take gives what goes into the next request, with that which had to wait first; none ends the worker.
func (c *Client) take(q *queue, later []*call) []*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch := later
	for len(q.waiting) > 0 && len(batch) < protocol.MaxBatch && !c.closed {
		batch = append(batch, q.waiting[0])
		q.waiting = q.waiting[1:]
	}
	if len(batch) == 0 || c.closed {
		for _, k := range append(batch, q.waiting...) {
			c.finish(k, nil, SourceNone, miss{why: Unavailable, err: errClosed})
		}
		q.waiting, q.workers = nil, q.workers-1
		return nil
	}
	return batch
}

// round brings questions through the gate and along the routes until each is answered or given up. Those above our ceiling of requests that
// can wait for it are given back, with the time to go on.
func (c *Client) round(l lane, calls []*call) (later []*call, at time.Time) {
	ctx, cancel := context.WithDeadline(c.ctx, c.until(calls))
	defer cancel()
	w := c.newWalk(string(l.kind), l.origin == ksn.OriginManual)
	for len(calls) > 0 {
		h, m := w.next(ctx)
		if m.why != Settled {
			w.end()
			c.give(calls, m)
			break
		}
		var permits []permit
		var wait []*call
		calls, permits, wait, at = c.gate(l, w, h, calls, at)
		later = append(later, wait...)
		if len(calls) > 0 {
			calls = c.exchange(ctx, w, h, calls, permits)
		}
	}
	return later, at
}

// until is when a request for calls has to be over: a little before the last of those who wait leaves, so that they learn why.
func (c *Client) until(calls []*call) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last time.Time
	for _, k := range calls {
		if k.deadline.After(last) {
			last = k.deadline
		}
	}
	return last.Add(-time.Until(last) / 50)
}

// gatherFor is how long calls that are above the ceiling gather before they go on together.
const gatherFor = 500 * time.Millisecond

// gate asks for a permit for each call. Those without end here, or come back in wait if time lets them through: not before at.
func (c *Client) gate(l lane, w *walk, h hop, calls []*call, at time.Time) (pass []*call, permits []permit, wait []*call, _ time.Time) {
	q := ksn.Request{Service: ksn.ServiceLookup, Origin: l.origin}
	for _, k := range calls {
		gate := decide(ksn.Decide)
		if len(pass) > 0 {
			gate = ksn.DecideAlso // they go out in one request
		}
		p, m := c.askBy(gate, q, h, k.prefix, w.insist)
		switch {
		case m.why == Settled:
			pass, permits = append(pass, k), append(permits, p)
			c.count(k, l.kind)
		case m.why == Busy && l.origin != ksn.OriginOnAccess && c.patient(k, m.retry):
			wait = append(wait, k)
			if t := m.retry.Add(gatherFor); t.After(at) {
				at = t
			}
		default:
			c.suppress(l.kind, m)
			c.give([]*call{k}, m)
		}
	}
	return pass, permits, wait, at
}

// patient tells whether those who wait for a call still do so then.
func (c *Client) patient(k *call, retry time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(k.deadline) > retry.Sub(c.now())+2*gatherFor
}

// exchange asks one hop and takes what is authentic; it gives the calls that it leaves open.
func (c *Client) exchange(ctx context.Context, w *walk, h hop, calls []*call, permits []permit) (open []*call) {
	ctx, cancel := w.share(ctx)
	defer cancel()
	limit := int64(protocol.MaxReplies)
	if len(permits) == 1 {
		limit = maxOne
	}
	began := time.Now()
	r := c.attempt(ctx, permits, nil, limit)
	if r.came != answered {
		w.came(h, r)
		c.observed(calls, began, 0, r)
		if e, ok := errors.AsType[*RouteError](r.err); ok && (e.Status == http.StatusBadRequest || e.Status == http.StatusRequestEntityTooLarge) {
			c.learnInfo(h, true)
		}
		return calls
	}
	prefixes := make([]protocol.Prefix, len(calls))
	for i, k := range calls {
		prefixes[i] = k.prefix
	}
	signed, err := c.open(ctx, r.body, prefixes)
	now := c.now()
	good, n := make([]bool, len(calls)), 0
	for i := range signed {
		bad := signed[i].Answer.CheckTime(now)
		if good[i] = bad == nil; good[i] {
			n++
		} else {
			err = bad
		}
	}
	if err != nil {
		r = result{came: failed, err: notAuthentic(h, err)}
	}
	w.came(h, r) // before anybody hears of it: who asks for the status next finds it there
	c.observed(calls, began, n, r)
	if n > 0 {
		w.reached()
	}
	for i, k := range calls {
		if good[i] {
			c.learn(k, &signed[i], permits[i].g.decision, w.source(h), now)
		} else {
			open = append(open, k)
		}
	}
	if n > 0 {
		c.learnInfo(h, false)
	}
	return open
}

// notAuthentic is what comes of a hop whose answer does not verify.
func notAuthentic(h hop, err error) *RouteError {
	return &RouteError{URL: h.url, Reason: "the answer is not authentic", Fault: FaultUnverified, Err: err}
}

// observed tells whoever wants to know what came of a request, before those who wait for it go on.
func (c *Client) observed(calls []*call, began time.Time, answered int, r result) {
	if c.config.Observe != nil && !r.left {
		c.config.Observe(Exchange{Object: kindOf(calls[0].prefix.Type), Answered: answered, Took: time.Since(began), Err: r.err})
	}
}

// open verifies replies, two at a time.
func (c *Client) open(ctx context.Context, body []byte, prefixes []protocol.Prefix) ([]protocol.Signed, error) {
	select {
	case c.opened <- struct{}{}:
		defer func() { <-c.opened }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if len(prefixes) > 1 {
		return c.keys.OpenAll(body, prefixes)
	}
	s, err := c.keys.Open(body)
	if err == nil && s.Answer.Prefix != prefixes[0] {
		err = errors.New("it is for another prefix")
	}
	if err != nil {
		return nil, err
	}
	return []protocol.Signed{s}, nil
}

// learn keeps a verified answer and ends its call.
func (c *Client) learn(k *call, s *protocol.Signed, d ksn.Decision, from Source, now time.Time) {
	jitter, f := byte(c.config.Random()*256), makeFloors(d.TTLFloor)
	a := newAnswer(s.Answer, now, jitter, f)
	c.cache.put(a)
	c.keep(a, encodeStored(s.Bytes, now, jitter, f))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally(kindOf(k.prefix.Type), func(t *ksn.Tally) { t.Answered++ })
	c.finish(k, a, from, miss{})
}
