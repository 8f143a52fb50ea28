package reputation

import (
	"context"
	"fmt"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// SendStats sends prepared statistics through the gate and along the routes. nil: a hop took them. The error matches [ErrUnavailable] or
// [ksn.ErrRefused]; the statistics are then still to be sent.
func (c *Client) SendStats(ctx context.Context, body []byte) error {
	if len(body) == 0 || len(body) > MaxStats {
		return fmt.Errorf("statistics of %d bytes, want 1 to %d", len(body), MaxStats)
	}
	ctx, cancel := context.WithTimeout(ctx, DeadlineBackground)
	defer cancel()
	w := c.newWalk(kindStats, false)
	for {
		h, m := w.next(ctx)
		var p permit
		if m.why == Settled {
			p, m = c.ask(ksn.Request{Service: ksn.ServiceStats, Origin: ksn.OriginBackground}, h, protocol.Prefix{}, false)
		}
		if m.why != Settled {
			return m.error("statistics") // says nothing of look-ups: Link stays as it is
		}
		share, cancel := w.share(ctx)
		r := c.attempt(share, []permit{p}, body, protocol.MaxProblem)
		cancel()
		w.came(h, r)
		if r.came == answered {
			return nil
		}
	}
}
