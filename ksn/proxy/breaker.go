package proxy

import "time"

// An UpstreamState is how an upstream is.
type UpstreamState string

// The states.
const (
	UpstreamUnknown      UpstreamState = "unknown"       // never asked
	UpstreamOK           UpstreamState = "ok"            // the last exchange was good
	UpstreamFailing      UpstreamState = "failing"       // the last exchange was not, it is asked all the same
	UpstreamDown         UpstreamState = "down"          // left alone until a time
	UpstreamUnauthorized UpstreamState = "unauthorized"  // it does not accept the proxy's token; left alone until a time
	UpstreamWrongNetwork UpstreamState = "wrong_network" // it belongs to another network; left alone until a time
)

// How long upstreams are left alone.
const (
	failuresToOpen = 3           // in a row
	backOffFirst   = time.Second // doubles with each probe that fails
	backOffMost    = time.Minute
	setupFirst     = time.Minute // where somebody has to put something right: token, network
	setupMost      = time.Hour
	maxWait        = 24 * time.Hour // of what an upstream says itself
)

// A breaker remembers how an upstream did, and decides whether to ask it. It is a value: no clock, no lock.
type breaker struct {
	state   UpstreamState
	since   time.Time // of state
	until   time.Time // of being left alone; zero if it is not
	fails   int       // in a row
	probing bool      // one question finds out whether it is back
	lastOK  time.Time
	last    string // error
	lastAt  time.Time
}

// begin tells whether the upstream may be asked now. Once its time alone is over one question at a time may: it probes.
func (b breaker) begin(now time.Time) (_ breaker, may, probe bool) {
	if b.until.IsZero() {
		return b, true, false
	}
	if b.probing || now.Before(b.until) {
		return b, false, false
	}
	b.probing = true
	return b, true, true
}

// abandon ends an exchange that says nothing about the upstream.
func (b breaker) abandon(probe bool) breaker {
	b.probing = b.probing && !probe
	return b
}

func (b breaker) enter(s UpstreamState, now time.Time) breaker {
	if b.state != s {
		b.state, b.since = s, now
	}
	return b
}

// good ends an exchange that was answered as it should be, if only by a refusal.
func (b breaker) good(now time.Time) breaker {
	b = b.enter(UpstreamOK, now)
	b.until, b.fails, b.probing, b.lastOK = time.Time{}, 0, false, now
	return b
}

// bad ends an exchange that failed. random is from 0 to 1 and moves the time alone by up to a fifth, so that many proxies do not come back at once.
func (b breaker) bad(f *failure, probe bool, now time.Time, random float64) breaker {
	b.last, b.lastAt = f.err.Error(), now
	if !b.until.IsZero() && !probe {
		return b // it began before the upstream was left alone, and tells nothing new
	}
	b.probing = false
	b.fails = min(b.fails+1, 1000)
	first, most, doublings := backOffFirst, backOffMost, b.fails-failuresToOpen
	switch {
	case f.state != UpstreamDown:
		first, most, doublings = setupFirst, setupMost, b.fails-1
	case doublings < 0 && f.wait == 0:
		return b.enter(UpstreamFailing, now)
	}
	alone := min(first<<min(max(doublings, 0), 16), most)
	alone += time.Duration((random - 0.5) * 0.4 * float64(alone))
	b = b.enter(f.state, now)
	b.until = now.Add(max(alone, min(f.wait, maxWait)))
	return b
}
