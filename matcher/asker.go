package matcher

import (
	"context"
	"slices"
	"time"
)

const (
	// maxCalls is how many calls of a cloud a scan makes at the same time: with them it can ask about all files of a window.
	maxCalls = 4
	// company is how long a suspicion waits for others to be asked about in the same call.
	company = 20 * time.Millisecond
)

// An asker settles what the workers of one scan suspect, while they go on. It belongs to the goroutine of its run.
type asker struct {
	cloud  Cloud
	in     chan *task    // from the workers, never full; closed when there are no more
	ended  chan callEnds // from the calls, never full
	queue  []*task       // not yet asked about, oldest first
	calls  int           // that have not returned
	silent int           // of them, those that gave up and did not end
}

// A callEnds is one of the two ends of a call: it gave up and its cloud is silent, and the cloud's function has returned. Mostly only the second
// comes.
type callEnds struct{ silent, returned bool }

func newAsker(c Cloud) *asker {
	// A scan has no more tasks at the same time: those of the window, the one that the walk made and the one that is waited for.
	return &asker{cloud: c, in: make(chan *task, window+2), ended: make(chan callEnds, 2*maxCalls)}
}

// run asks until in is closed and every call has returned, or until ctx ends; a call that ignores that is not waited for.
func (a *asker) run(ctx context.Context) {
	in := a.in
	timer := time.NewTimer(company)
	defer timer.Stop()
	for in != nil || len(a.queue) > 0 || a.calls > 0 {
		if len(a.queue) > 0 {
			timer.Reset(time.Until(a.due()))
		}
		select {
		case t, ok := <-in:
			if !ok {
				in = nil
				break
			}
			t.open.since = time.Now()
			a.queue = append(a.queue, t)
		case e := <-a.ended:
			a.end(e)
		case <-timer.C:
		case <-ctx.Done():
			a.leave()
			return
		}
		a.send(ctx, in == nil)
	}
}

// due is when something has to be done about the oldest of the queue: ask about it, or give up while no call can be made.
func (a *asker) due() time.Time {
	if a.calls < maxCalls {
		return a.queue[0].open.since.Add(company)
	}
	return a.queue[0].open.since.Add(patienceForCloud)
}

// send makes the calls that are due; with last nobody comes to keep the queue company.
func (a *asker) send(ctx context.Context, last bool) {
	for len(a.queue) > 0 {
		waited := time.Since(a.queue[0].open.since)
		n, full := a.batch()
		switch {
		case a.silent == maxCalls:
			a.give(n, "the cloud has not answered earlier calls of this scan")
		case waited >= patienceForCloud:
			a.give(1, "the cloud was busy with earlier calls of this scan")
		case a.calls == maxCalls || !full && !last && waited < company:
			return
		default:
			a.calls++
			go a.call(ctx, slices.Clone(a.queue[:n]), patienceForCloud-waited)
			a.queue = slices.Delete(a.queue, 0, n)
		}
	}
}

// batch is how many of the queue fit into one call, and whether they fill it.
func (a *asker) batch() (n int, full bool) {
	hits := 0
	for n < len(a.queue) && hits+len(a.queue[n].open.hits) <= maxHits {
		hits += len(a.queue[n].open.hits)
		n++
	}
	return n, n < len(a.queue) || hits == maxHits
}

// give takes the first n from the queue without having asked.
func (a *asker) give(n int, why string) {
	for _, t := range a.queue[:n] {
		t.settled(unsettled(len(t.open.hits), why))
	}
	a.queue = slices.Delete(a.queue, 0, n)
}

// call asks about a batch and gives each task its result.
func (a *asker) call(ctx context.Context, batch []*task, limit time.Duration) {
	list := make([]*suspicion, len(batch))
	for i, t := range batch {
		list[i] = t.open
	}
	c := ask(ctx, a.cloud, limit, list...)
	answers := c.answers
	for _, t := range batch {
		n := len(t.open.hits)
		t.settled(answers[:n])
		answers = answers[n:]
	}
	silent := c.gaveUp && !within(grace, c.returned)
	if silent {
		a.ended <- callEnds{silent: true}
	}
	<-c.returned
	a.ended <- callEnds{silent: silent, returned: true}
}

// within tells whether the channel is closed in that time. A call that gave up mostly ends right after its context, and only one that does
// not is silent: which of the two is heard of first must not decide over the next files.
func within(d time.Duration, closed <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-closed:
		return true
	case <-timer.C:
		return false
	}
}

// end takes note of an end of a call.
func (a *asker) end(e callEnds) {
	switch {
	case e.returned && e.silent:
		a.calls, a.silent = a.calls-1, a.silent-1
	case e.returned:
		a.calls--
	default:
		a.silent++
	}
}

// leave waits for the calls, whose context has ended, for a moment.
func (a *asker) leave() {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for a.calls > 0 {
		select {
		case e := <-a.ended:
			a.end(e)
		case <-timer.C:
			return
		}
	}
}

// settled gives the task its result. The task is the scan's again.
func (t *task) settled(answers []Settled) {
	open := t.open
	t.open = nil
	open.settle(&t.result, answers)
	t.done <- struct{}{}
}
