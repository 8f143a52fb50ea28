package server

import (
	"sync/atomic"
	"time"

	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
	"example.org/avdb/statuspage"
)

// A Page counts what a server does, for its status page. It is the server's [Collector]. Whoever runs the server runs Page.Run as well, for the
// histories, and gives [Page.Handler] to [Config.Status].
type Page struct {
	*statuspage.Collector
	provider *protocol.ProviderFile
	server   atomic.Pointer[Server]
	more     func() statuspage.Status

	requests  *statuspage.Labelled[statuspage.Counter]
	took      *statuspage.Histogram
	answers   *statuspage.Counter
	entries   *statuspage.Counter
	signed    *statuspage.Counter
	release   *statuspage.Gauge
	known     *statuspage.Labelled[statuspage.Gauge]
	expiresAt *statuspage.Gauge
}

// NewPage makes the page of a server of the network of provider. more, which may be nil, gives what else there is to say (how the database is kept
// current) and must not wait.
func NewPage(provider *protocol.ProviderFile, version string, more func() statuspage.Status) (*Page, error) {
	var m statuspage.Metrics
	p := &Page{provider: provider, more: more}
	var kinds, outcomes []string
	for _, k := range serving.Kinds() {
		kinds = append(kinds, string(k))
	}
	for _, o := range Outcomes() {
		outcomes = append(outcomes, string(o))
	}
	m.Section("Requests")
	p.requests = m.Counters(statuspage.Family{Name: "requests", Title: "Requests", Help: "By what was asked and what became of it.", Headline: true,
		Labels: []statuspage.Label{{Name: "kind", Values: kinds}, {Name: "outcome", Values: outcomes}}})
	p.took = m.Histograms(statuspage.Family{Name: "request_duration", Title: "Time to answer", Help: "From a request's headers to its answer.",
		Headline: true}).With()
	m.Section("Answers")
	p.answers = m.Counters(statuspage.Family{Name: "answers", Title: "Answers", Help: "One for each prefix that was asked about."}).With()
	p.entries = m.Counters(statuspage.Family{Name: "entries", Title: "Entries", Help: "Known keys in the answers."}).With()
	p.signed = m.Counters(statuspage.Family{Name: "signatures", Title: "Signatures", Help: "One for each request, however many answers it has."}).With()
	m.Section("Database")
	p.release = m.Gauges(statuspage.Family{Name: "release", Title: "Release", Help: "That answers are made from; 0 for none."}).With()
	p.known = m.Gauges(statuspage.Family{Name: "known", Title: "Known keys", Help: "By kind of object.",
		Labels: []statuspage.Label{{Name: "kind", Values: []string{"file", "url", "software"}}}})
	p.expiresAt = m.Gauges(statuspage.Family{Name: "provider_expiry", Title: "Provider file until", Help: "Clients ask nothing afterwards.",
		Unit: statuspage.UnitTimestamp}).With()
	p.expiresAt.SetTime(provider.Provider.Expires.Time)
	var err error
	p.Collector, err = statuspage.New(statuspage.Config{Title: "KSN server: " + provider.Provider.Name, Server: "ksn_server", Version: version,
		Metrics: &m, Status: p.status})
	return p, err
}

// Of names the server that the page is about, before it answers requests.
func (p *Page) Of(s *Server) { p.server.Store(s) }

// Request implements [Collector].
func (p *Page) Request(k Kind, o Outcome, took time.Duration) {
	p.requests.With(string(k), string(o)).Inc()
	p.took.Observe(took)
}

// Answered implements [Collector].
func (p *Page) Answered(answers, entries int, _ uint64) {
	p.answers.Add(int64(answers))
	p.entries.Add(int64(entries))
}

// Signed implements [Collector].
func (p *Page) Signed() { p.signed.Inc() }

func (p *Page) status() statuspage.Status {
	var st statuspage.Status
	if p.more != nil {
		st = p.more()
	}
	s := p.server.Load()
	if s == nil {
		st.NotReady = "the server is just beginning"
		return st
	}
	if err := s.Ready(); err != nil {
		st.NotReady = err.Error()
		st.Problems = append(st.Problems, statuspage.Problem{Level: statuspage.Critical, Text: err.Error()})
	}
	c, _ := s.counts() // what is wrong with the database is said above
	p.release.Set(int64(c.Release))
	p.known.With("file").Set(int64(c.Files))
	p.known.With("url").Set(int64(c.URLs))
	p.known.With("software").Set(int64(c.Software))
	left := p.provider.Provider.Expires.Sub(s.c.Now())
	if left > 0 && left < expiresSoon {
		st.Problems = append(st.Problems, statuspage.Problem{Level: statuspage.Warning,
			Text: "the provider file expires soon: make a newer one and give it to the devices"})
	}
	st.Sections = append(st.Sections, statuspage.Section{Title: "Network", Rows: []statuspage.Row{
		{Name: "Name", Value: statuspage.Text(p.provider.Provider.Name)},
		{Name: "Fingerprint", Value: statuspage.Text(p.provider.Fingerprint)},
		{Name: "Serial", Value: statuspage.Count(int64(p.provider.Provider.Serial))},
		{Name: "Signing key", Value: statuspage.Text(s.c.Key.ID())},
		{Name: "Overrides", Value: statuspage.Count(int64(len(*s.overrides.Load())))},
		{Name: "Clients with tokens", Value: statuspage.Count(int64(len(*s.tokens.Load())))},
	}})
	return st
}

// expiresSoon is how long before its end a provider file is a reason to worry: devices are updated by hand.
const expiresSoon = 30 * 24 * time.Hour
