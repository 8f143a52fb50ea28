package reputation

import (
	"context"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// drainStep is how many deferred objects are asked about together: as many as our ceiling lets through within the deadline.
const drainStep = 200

// DrainDeferred asks again about the suspicions that nothing settled, oldest first, as background requests through the same gate. settled gets
// each object that is settled now, nil for Config.OnSettled; left are those that stay in the queue. It ends at the first step that the network
// cannot answer: the error then matches [ErrUnavailable] or [ksn.ErrRefused]. While one call is at work, others do nothing.
//
// A client with OnSettled does so by itself: when the network answers after failures, and after [Client.DatabaseChanged].
func (c *Client) DrainDeferred(ctx context.Context, settled OnSettled) (left int, err error) {
	if settled == nil {
		settled = c.config.OnSettled
	}
	m := c.config.Memory
	if m == nil || settled == nil || !c.beginDrain() {
		return 0, nil
	}
	defer c.endDrain()
	if err := c.flush(false); err != nil {
		return 0, err
	}
	all, err := m.DeferredObjects(0)
	if err != nil {
		return 0, err
	}
	left = len(all)
	for len(all) > 0 {
		step := all[:min(len(all), drainStep)]
		all = all[len(step):]
		done, reason, err := c.drain(ctx, step, settled)
		left -= done
		if err == nil && reason.why != Settled {
			err = reason.error("deferred objects")
		}
		if err != nil {
			return left, err
		}
	}
	return left, ctx.Err()
}

// drain asks about some deferred objects. reason says why the next ones need not be tried.
func (c *Client) drain(ctx context.Context, step []Deferred, settled OnSettled) (done int, reason miss, err error) {
	var gone, again []Deferred
	var asked []Deferred
	var objects []Object
	for _, d := range step {
		k, err := protocol.ParseTypedKey(d.Key)
		if err != nil {
			gone = append(gone, d)
			continue
		}
		asked = append(asked, d)
		objects = append(objects, Object{Keys: []protocol.Key{k}, Size: d.Size, Suspected: true, Release: d.Release, Path: d.Path, Name: d.Name})
	}
	for i, v := range c.lookup(ctx, ksn.OriginBackground, objects, false) {
		switch v.Why {
		case Settled:
			if v.Stale {
				reason = miss{why: Unavailable, err: v.Err}
				continue
			}
			settled(asked[i], v)
			gone = append(gone, asked[i])
			continue
		case ServerBehind:
		case Disabled: // it stays as it is: nothing was tried, and nothing is written without consent
			reason = miss{why: v.Why, remedy: v.Remedy, err: v.Err}
			continue
		default:
			reason = miss{why: v.Why, record: v.Record, retry: v.Retry, remedy: v.Remedy, err: v.Err}
		}
		asked[i].Tries++
		again = append(again, asked[i])
	}
	if len(again) > 0 {
		err = c.config.Memory.Defer(again)
	}
	if len(gone) > 0 {
		if e := c.config.Memory.Undefer(gone); e != nil {
			err = e
		}
	}
	return len(gone), reason, err
}

func (c *Client) beginDrain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining || c.closed {
		return false
	}
	c.draining = true
	return true
}

func (c *Client) endDrain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = false
}

// DatabaseChanged tells the client that another generation is in use: deferred objects are asked about again, in the background. Answers of the
// cache that were made from an older database lose their say by themselves.
func (c *Client) DatabaseChanged() { c.recheck() }

// recheck drains in the background, if the client has somebody to tell.
func (c *Client) recheck() {
	if c.config.Memory == nil || c.config.OnSettled == nil {
		return
	}
	c.start(func() {
		if _, err := c.DrainDeferred(c.ctx, nil); err != nil && c.ctx.Err() == nil {
			c.config.Log.Info("deferred objects remain", "error", err)
		}
	})
}
