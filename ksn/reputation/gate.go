package reputation

import (
	"errors"
	"sync/atomic"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A permit is the right to send one question, statistics or a request for info to one hop, once. Only ask makes one, of a decision that allows it;
// the zero permit is worth nothing.
type permit struct{ g *grant }

type grant struct {
	request  ksn.Request
	decision ksn.Decision
	hop      hop
	prefix   protocol.Prefix // of a look-up
	used     atomic.Bool
}

// use takes the permit, once.
func (p permit) use() bool {
	return p.g != nil && p.g.decision.Allowed && p.g.used.CompareAndSwap(false, true)
}

var errNoNetwork = errors.New("no network is installed")

// ask is the gate: it reads the facts, which may have changed since the last request, and lets [ksn.Decide] decide. prefix is that of a look-up.
// insist is for a user who checks whether a refused credential is accepted by now. Without a permit, the miss says why.
func (c *Client) ask(q ksn.Request, h hop, prefix protocol.Prefix, insist bool) (permit, miss) {
	return c.askBy(ksn.Decide, q, h, prefix, insist)
}

// decide is [ksn.Decide] or, for a further question of a request, [ksn.DecideAlso].
type decide func(ksn.Request, *ksn.Set, ksn.Facts, time.Time, ksn.Counters) (ksn.Decision, ksn.Counters)

func (c *Client) askBy(gate decide, q ksn.Request, h hop, prefix protocol.Prefix, insist bool) (permit, miss) {
	facts, set := c.config.Facts()
	now := c.now()
	if facts.Credential == ksn.CredentialAccepted {
		facts.Credential = c.credential(insist)
	}
	q.Network, q.Route = c.kind, h.route
	if q.Service == ksn.ServiceLookup {
		q.Object, q.Key = kindOf(prefix.Type), prefix.String()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d, counters := gate(q, set, facts, now, c.state.Counters)
	switch {
	case !d.Allowed:
		m := denied(q.Service, d)
		if facts.Credential == ksn.CredentialRejected && m.why == NotAuthorized {
			m.retry = c.state.Refusal.Until
		}
		return permit{}, m
	case facts.Network == nil || h.url == "": // it was removed, or never there
		return permit{}, miss{why: NoNetwork, err: errNoNetwork, remedy: adviceInstall}
	}
	c.state.Counters = counters
	if d.Save {
		c.changed()
	}
	return permit{&grant{request: q, decision: d, hop: h, prefix: prefix}}, miss{}
}

// off is what a request meets before there is a route: KSN is off, or no network is installed. Settled: there may be one.
func (c *Client) off() miss {
	facts, _ := c.config.Facts()
	if d := ksn.Withheld(ksn.ServiceLookup, facts); d != nil {
		return denied(ksn.ServiceLookup, *d)
	}
	if c.config.Provider == nil || facts.Network == nil {
		return miss{why: NoNetwork, err: errNoNetwork, remedy: adviceInstall}
	}
	return miss{}
}

// disabled is what a look-up meets while KSN is off, or no accepted statement covers it. Settled: it is on.
func (c *Client) disabled() miss {
	facts, _ := c.config.Facts()
	if d := ksn.Withheld(ksn.ServiceLookup, facts); d != nil {
		return denied(ksn.ServiceLookup, *d)
	}
	return miss{}
}

const adviceInstall = "install the provider file of a network"

// credential is how the operator receives us, as far as it decides on a request now.
func (c *Client) credential(insist bool) ksn.Credential {
	now, token := c.now(), c.tokenID()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.config.Provider != nil && c.config.Provider.Expired(now):
		return ksn.CredentialExpired
	case c.state.Refusal.holds(now, token, insist):
		return ksn.CredentialRejected
	}
	return ksn.CredentialAccepted
}
