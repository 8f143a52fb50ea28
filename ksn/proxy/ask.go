package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// A call is a question that is waiting or on its way, for all who ask it.
type call struct {
	prefix protocol.Prefix
	since  time.Time
	done   chan struct{}
	answer *kept // after done
	err    error // after done, where there is no answer
}

// An asker sends questions upstream: each once, as many at once as there are, within its limits. A worker is a goroutine that sends requests one
// after the other, as long as there are questions.
type asker struct {
	p       *Proxy
	mu      sync.Mutex
	calls   map[protocol.Prefix]*call
	waiting map[ksn.Object][]*call // those that no worker has taken, oldest first
	queued  int                    // of all objects
	workers int
	devices int // requests of devices that wait
}

func newAsker(p *Proxy) *asker {
	return &asker{p: p, calls: map[protocol.Prefix]*call{}, waiting: map[ksn.Object][]*call{}}
}

// patience is how long a device waits for all that is done for it.
func (p *Proxy) patience() time.Duration { return 2 * p.c.Deadline }

// ask gets answers to prefixes into got, in their order, from the cache or from upstream. The error is a problem, the first one, where an answer is missing;
// the others are in got all the same.
func (p *Proxy) ask(ctx context.Context, prefixes []protocol.Prefix, got []*kept) error {
	missing := 0
	now := p.c.Now()
	for i, x := range prefixes {
		if got[i] = p.cache.fresh(x, now); got[i] == nil {
			missing++
		}
	}
	if n := len(prefixes) - missing; n > 0 {
		p.c.Collector.Questions(FateCached, n)
	}
	if missing == 0 {
		return nil
	}
	calls, err := p.asker.join(prefixes, got)
	if err == nil {
		err = p.asker.wait(ctx, calls, got)
	}
	if err == nil {
		return nil
	}
	return p.fallBack(prefixes, got, err)
}

// fallBack fills what is missing with answers of which a part still holds. The error stays where that is not enough.
func (p *Proxy) fallBack(prefixes []protocol.Prefix, got []*kept, err error) error {
	now, found := p.c.Now(), 0
	complete := true
	for i, x := range prefixes {
		if got[i] != nil {
			continue
		}
		if k := p.cache.get(x); k != nil && k.isUsable(now) {
			got[i] = k
			found++
		} else {
			complete = false
		}
	}
	if !complete {
		return err
	}
	p.c.Collector.Questions(FateCached, found)
	return nil
}

// join finds or makes a call for each prefix that got lacks. Where something holds a question back, calls holds nil in its place, and the error says what.
func (a *asker) join(prefixes []protocol.Prefix, got []*kept) (calls []*call, held error) {
	now := a.p.c.Now()
	calls = make([]*call, len(prefixes))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.devices >= MaxWaiting {
		return nil, a.busy(len(prefixes))
	}
	var fresh []int // need calls of their own
	cached, joined := 0, 0
	for i, x := range prefixes {
		if got[i] != nil {
			continue
		}
		if calls[i] = a.calls[x]; calls[i] != nil {
			joined++
		} else if got[i] = a.p.cache.fresh(x, now); got[i] != nil { // it came while we looked
			cached++
		} else {
			fresh = append(fresh, i)
		}
	}
	a.count(FateCached, cached)
	a.count(FateJoined, joined)
	if len(fresh) > 0 {
		held = a.start(prefixes, fresh, calls, now)
	}
	if held == nil {
		a.devices++ // wait takes it back
	}
	return calls, held
}

func (a *asker) count(f Fate, n int) {
	if n > 0 {
		a.p.c.Collector.Questions(f, n)
	}
}

func (a *asker) busy(n int) *problemError {
	a.count(FateRejected, n)
	return problem(protocol.CodeUnavailable, "too much to do", "Too many questions wait for upstreams.", time.Second)
}

// start makes calls for the questions that may be asked now.
func (a *asker) start(prefixes []protocol.Prefix, fresh []int, calls []*call, now time.Time) (held error) {
	if a.queued+len(fresh) > a.p.c.Queue {
		return a.busy(len(fresh))
	}
	if held = a.p.held(now); held != nil {
		a.count(FateRejected, len(fresh))
		return held
	}
	var may []int
	for _, i := range fresh {
		if err := a.p.gate.pass(ksn.ServiceLookup, objectOf(prefixes[i].Type), prefixes[i].String()); err != nil {
			held = err
		} else {
			may = append(may, i)
		}
	}
	a.count(FateRejected, len(fresh)-len(may))
	touched := map[ksn.Object]bool{}
	for _, i := range may {
		x := prefixes[i]
		o := objectOf(x.Type)
		calls[i] = &call{prefix: x, since: now, done: make(chan struct{})}
		a.calls[x] = calls[i]
		a.waiting[o] = append(a.waiting[o], calls[i])
		touched[o] = true
	}
	a.queued += len(may)
	for range touched {
		if a.workers < a.p.c.MaxUpstream && a.p.begin() {
			a.workers++
			go a.work()
		}
	}
	if a.workers == 0 && a.queued > 0 { // nobody will come: the proxy ends
		a.dropAll()
	}
	return held
}

// dropAll ends all questions that wait.
func (a *asker) dropAll() {
	for o, list := range a.waiting {
		for _, c := range list {
			a.endLocked(c, nil, a.p.noUpstream())
		}
		a.queued -= len(list)
		delete(a.waiting, o)
	}
}

// wait waits for calls, and gives an error where the device, or its patience, goes first. Nobody waits for what is held back.
func (a *asker) wait(ctx context.Context, calls []*call, got []*kept) (err error) {
	defer func() {
		a.mu.Lock()
		a.devices--
		a.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, a.p.patience())
	defer cancel()
	for i, c := range calls {
		if c == nil {
			continue
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return errSlow
		}
		if got[i] = c.answer; c.err != nil && err == nil {
			err = c.err
		}
	}
	return err
}

// errSlow is for those whose patience is over.
var errSlow = problem(protocol.CodeUnavailable, "no answer in time", "Upstreams are slow.", time.Second)

// work is a worker.
func (a *asker) work() {
	defer a.p.wg.Done()
	for {
		batch := a.take()
		if len(batch) == 0 {
			return
		}
		now := a.p.c.Now()
		for len(batch) > 0 && now.Sub(batch[0].since) > a.p.patience() { // nobody waits any more
			a.end(batch[0], nil, errSlow)
			batch = batch[1:]
		}
		if len(batch) > 0 {
			ctx, cancel := context.WithTimeout(a.p.base, a.p.patience())
			a.send(ctx, batch)
			cancel()
		}
	}
}

// take is what is sent next: of the object of which a question has waited longest, as many as a request has. With nothing to do the worker ends.
func (a *asker) take() []*call {
	a.mu.Lock()
	defer a.mu.Unlock()
	var object ksn.Object
	for o, list := range a.waiting {
		if object == "" || list[0].since.Before(a.waiting[object][0].since) {
			object = o
		}
	}
	if object == "" {
		a.workers--
		return nil
	}
	list := a.waiting[object]
	n := min(len(list), protocol.MaxBatch)
	if a.waiting[object] = list[n:]; n == len(list) {
		delete(a.waiting, object)
	}
	a.queued -= n
	return list[:n:n]
}

// send asks a batch, or its halves where an upstream finds fault with the whole, and ends its calls.
func (a *asker) send(ctx context.Context, batch []*call) {
	defer func() {
		if v := recover(); v != nil { // whoever asks, answers are missing, and nothing else is lost
			a.p.c.Log.Error("KSN proxy: asking upstream ended in a panic", "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			a.fail(batch, problem(protocol.CodeUnavailable, "internal error", "", time.Second))
		}
	}()
	answers, err := a.askOnce(ctx, batch)
	switch e, isProblem := errors.AsType[*problemError](err); {
	case err == nil:
		for i, c := range batch {
			a.p.cache.put(c.prefix, answers[i])
			a.end(c, answers[i], nil)
		}
	case isProblem && len(batch) > 1 && ctx.Err() == nil && (e.Code == protocol.CodeBadRequest || e.Code == protocol.CodeTooLarge):
		a.send(ctx, batch[:len(batch)/2])
		a.send(ctx, batch[len(batch)/2:])
	default:
		a.fail(batch, err)
	}
}

// askOnce asks for the answers to a batch.
func (a *asker) askOnce(ctx context.Context, batch []*call) (answers []*kept, err error) {
	prefixes := make([]protocol.Prefix, len(batch))
	for i, c := range batch {
		prefixes[i] = c.prefix
	}
	q := &question{method: http.MethodGet, path: prefixes[0].Path(), most: maxReply}
	if len(batch) > 1 {
		q.method, q.path, q.kind, q.most = http.MethodPost, protocol.PathBatch, serving.JSON, protocol.MaxReplies
		if q.body, err = protocol.MarshalQuery(prefixes); err != nil {
			return nil, err
		}
	}
	q.open = func(b []byte, now time.Time) (err error) {
		answers, err = a.p.open(b, prefixes, now)
		return err
	}
	a.p.c.Collector.Questions(FateForwarded, len(batch))
	err = a.p.forward(ctx, q)
	switch e, isProblem := errors.AsType[*problemError](err); {
	case err == nil:
		a.p.c.Collector.Questions(FateOK, len(batch))
	case isProblem && e.Code != protocol.CodeUnavailable:
		a.p.c.Collector.Questions(FateRejected, len(batch))
	default:
		a.p.c.Collector.Questions(FateFailed, len(batch))
	}
	return answers, err
}

// maxReply is the greatest length of a reply with one answer: of the answer, with its proof around it.
const maxReply = protocol.MaxAnswer + 4<<10

// What is wrong with what an upstream says, without naming the question.
var (
	errUntrusted = errors.New("an answer that the network did not sign")
	errInvalid   = errors.New("an answer that breaks the protocol, or is not for the question")
	errTime      = errors.New("an answer from the future, or one that has expired: compare the clocks")
)

func whatIsWrong(err error) error {
	if errors.Is(err, protocol.ErrUntrusted) {
		return errUntrusted
	}
	return errInvalid
}

// open verifies answers to prefixes: their signatures, that they are for these questions, and that they hold now.
func (p *Proxy) open(b []byte, prefixes []protocol.Prefix, now time.Time) ([]*kept, error) {
	var all []protocol.Signed
	var err error
	if len(prefixes) == 1 {
		var s protocol.Signed
		if s, err = p.keys.Open(b); err == nil && s.Answer.Prefix != prefixes[0] {
			return nil, errInvalid
		}
		all = []protocol.Signed{s}
	} else {
		all, err = p.keys.OpenAll(b, prefixes)
	}
	if err != nil {
		return nil, whatIsWrong(err)
	}
	answers := make([]*kept, len(all))
	for i := range all {
		if all[i].Answer.CheckTime(now) != nil {
			return nil, errTime
		}
		answers[i] = keepAnswer(&all[i], now)
	}
	return answers, nil
}

// fail ends the calls of a batch that have not ended.
func (a *asker) fail(batch []*call, err error) {
	for _, c := range batch {
		a.end(c, nil, err)
	}
}

func (a *asker) end(c *call, k *kept, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endLocked(c, k, err)
}

func (a *asker) endLocked(c *call, k *kept, err error) {
	if a.calls[c.prefix] != c {
		return // it has ended
	}
	delete(a.calls, c.prefix)
	if k == nil && !isProblem(err) {
		err = problem(protocol.CodeUnavailable, "no answer", "", time.Second)
	}
	c.answer, c.err = k, err
	close(c.done)
}

func isProblem(err error) bool {
	_, ok := errors.AsType[*problemError](err)
	return ok
}
