package reputation

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"sync"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// The steps of a connection, in their order. StepGate, StepRoute and StepCoolDown come before any.
const (
	StepGate          = "permission"    // consent, credential, restrictions
	StepRoute         = "route"         // a hop that may be asked now
	StepCoolDown      = "cool_down"     // no hop told us, now or before, to come back later
	StepDNS           = "dns"           // the host's addresses
	StepTCP           = "tcp"           // a connection to one of them
	StepTLS           = "tls"           //
	StepAuthorisation = "authorisation" // the server takes the request
	StepAnswer        = "answer"        // signed by the network
)

// A Step is one step on the way to a hop.
type Step struct {
	Route    ksn.Route     `json:"route,omitempty"`
	URL      string        `json:"url,omitempty"`
	Name     string        `json:"step"`
	OK       bool          `json:"ok"`
	Duration time.Duration `json:"duration_ns"`
	Error    string        `json:"error,omitempty"`
	Remedy   string        `json:"remedy,omitempty"`
	Retry    time.Time     `json:"retry,omitzero"` // not to be tried again before
}

// A Connection is how the way to the network looked.
type Connection struct {
	OK     bool          `json:"ok"`               // a hop gave a signed answer
	Failed string        `json:"failed,omitempty"` // the first step that failed on the hop that was asked last
	Why    Why           `json:"why,omitempty"`    // of the step that failed, where there is a word for it
	Steps  []Step        `json:"steps"`            // of all hops that were asked, in their order; those that were not seen are left out
	Info   protocol.Info `json:"info,omitzero"`
}

// CheckConnection asks the network for its info, for a user who waits, and says how each step went: DNS, TCP, TLS, authorisation, signed answer. It
// goes through the same gate and the same routes as every request, and asks hops that failed before. One that told us to come
// back later is not asked before that: it is named, with the time.
func (c *Client) CheckConnection(ctx context.Context) Connection {
	ctx, cancel := context.WithTimeout(ctx, DeadlineManual)
	defer cancel()
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections() // so that there is something to see
	}
	var out Connection
	stop := func(name string, h hop, m miss) Connection {
		if h == (hop{}) {
			h = m.hop
		}
		s := Step{Route: h.route, URL: h.url, Name: name, Error: string(m.why), Remedy: m.remedy, Retry: m.retry}
		if m.err != nil {
			s.Error = m.err.Error()
		}
		out.Steps, out.Failed, out.Why = append(out.Steps, s), name, m.why
		return out
	}
	w := c.newWalk(kindInfo, true)
	for {
		h, m := w.next(ctx)
		if m.why != Settled {
			w.end()
			if out.Failed != "" && out.Failed != StepCoolDown && m.why != Busy {
				return out // the last hop says more
			}
			name := StepRoute
			switch m.why {
			case Disabled, NoNetwork:
				name = StepGate
			case Busy:
				name = StepCoolDown
			}
			return stop(name, h, m)
		}
		p, m := c.ask(ksn.Request{Service: ksn.ServiceInfo, Origin: ksn.OriginManual}, h, protocol.Prefix{}, true)
		if m.why != Settled {
			return stop(StepGate, h, m)
		}
		share, cancel := w.share(ctx)
		r := c.observe(share, p, h, &out)
		cancel()
		w.came(h, r)
		if r.came == answered {
			w.reached()
			out.OK, out.Failed = true, ""
			return out
		}
	}
}

// observe asks one hop and adds its steps.
func (c *Client) observe(ctx context.Context, p permit, h hop, out *Connection) result {
	o := &observer{hop: h, began: map[string]time.Time{}}
	at := time.Now()
	info, r := c.askInfo(httptrace.WithClientTrace(ctx, o.trace()), p)
	o.mu.Lock()
	defer o.mu.Unlock()
	out.Steps, out.Failed = append(out.Steps, o.steps...), ""
	for _, s := range o.steps {
		if !s.OK {
			out.Failed = s.Name // several addresses are tried at once: what counts is whether the last of them failed
		} else if out.Failed == s.Name {
			out.Failed = ""
		}
	}
	if out.Failed != "" && r.came != answered {
		return r
	}
	rest := time.Since(at)
	status := 0
	if e, ok := errors.AsType[*RouteError](r.err); ok {
		status = e.Status
	}
	fail := func(name, remedy string) {
		out.Failed = name
		out.Steps = append(out.Steps, Step{Route: h.route, URL: h.url, Name: name, Duration: rest, Error: r.err.Error(), Remedy: remedy})
	}
	switch {
	case r.came == answered:
		out.Info = info
		out.Steps = append(out.Steps, Step{Route: h.route, URL: h.url, Name: StepAuthorisation, OK: true, Duration: rest},
			Step{Route: h.route, URL: h.url, Name: StepAnswer, OK: true, Duration: rest})
	case r.came == throttled:
		out.Failed = StepCoolDown // which the end of the walk tells, with its time
	case r.came == refused || r.came == misdirected:
		out.Why = NotAuthorized
		remedy := adviceRegister
		if r.came == misdirected {
			remedy = "correct the address: it is of another network"
		}
		fail(StepAuthorisation, remedy)
	case status == 0 && len(o.steps) == 0:
		fail(StepTCP, "")
	default:
		fail(StepAnswer, "")
	}
	return r
}

// An observer writes down what the transport tells of a connection.
type observer struct {
	hop   hop
	mu    sync.Mutex
	began map[string]time.Time
	steps []Step
}

func (o *observer) begin(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began[key] = time.Now()
}

func (o *observer) end(name, key string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := Step{Route: o.hop.route, URL: o.hop.url, Name: name, OK: err == nil}
	if at := o.began[key]; !at.IsZero() {
		s.Duration = time.Since(at)
	}
	if err != nil {
		s.Error = err.Error()
	}
	if len(o.steps) < 32 {
		o.steps = append(o.steps, s)
	}
}

func (o *observer) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:          func(httptrace.DNSStartInfo) { o.begin(StepDNS) },
		DNSDone:           func(i httptrace.DNSDoneInfo) { o.end(StepDNS, StepDNS, i.Err) },
		ConnectStart:      func(_, addr string) { o.begin(StepTCP + addr) },
		ConnectDone:       func(_, addr string, err error) { o.end(StepTCP, StepTCP+addr, err) },
		TLSHandshakeStart: func() { o.begin(StepTLS) },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { o.end(StepTLS, StepTLS, err) },
	}
}
