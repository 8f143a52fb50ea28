package reputation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// ErrUnwanted is matched by the error of statistics that this network never takes: sending them again is of no use.
var ErrUnwanted = errors.New("the network takes no such statistics")

// SendStats sends prepared statistics through the gate and along the routes. nil: a hop took them. The error matches [ErrUnavailable] or
// [ksn.ErrRefused], and the statistics are then still to be sent; or [ErrUnwanted].
func (c *Client) SendStats(ctx context.Context, body []byte) error {
	if len(body) == 0 || len(body) > MaxStats {
		return fmt.Errorf("statistics of %d bytes, want 1 to %d", len(body), MaxStats)
	}
	if p := c.config.Provider; p != nil && !p.Can(protocol.CapabilityStats) {
		return ErrUnwanted
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
		if e, ok := errors.AsType[*RouteError](r.err); ok && slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge}, e.Status) {
			return fmt.Errorf("%w: %w", ErrUnwanted, r.err) // the hop answers: nothing is held against it
		}
		w.came(h, r)
		if r.came == answered {
			return nil
		}
	}
}
