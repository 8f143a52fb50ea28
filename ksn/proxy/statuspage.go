package proxy

import (
	"time"

	"example.org/avdb/ksn/serving"
	"example.org/avdb/statuspage"
)

// Sections of the status page.
const (
	sectionQuestions = "Questions"
	sectionUpstreams = "Upstreams"
	sectionCache     = "Cache"
)

// Metrics count what a proxy does, for its status page: a [Collector].
type Metrics struct {
	all       *statuspage.Metrics
	requests  map[Kind]map[Outcome]*statuspage.Counter
	questions map[Fate]*statuspage.Counter
	took      *statuspage.Histogram
	entries   *statuspage.Gauge
	bytes     *statuspage.Gauge
}

// NewMetrics declares what a proxy counts.
func NewMetrics() *Metrics {
	m := &Metrics{all: &statuspage.Metrics{}, requests: map[Kind]map[Outcome]*statuspage.Counter{}, questions: map[Fate]*statuspage.Counter{}}
	m.all.Section(sectionQuestions)
	questions := m.all.Counters(statuspage.Family{Name: "questions", Title: "Questions", Help: "By what became of them: a forwarded one is ok, failed or rejected afterwards.",
		Labels: []statuspage.Label{{Name: "fate", Values: texts(Fates())}}})
	for _, f := range Fates() {
		m.questions[f] = questions.With(string(f))
	}
	known := []*statuspage.Counter{m.questions[FateCached]}
	m.all.Ratio(statuspage.Family{Name: "cache_hits", Title: "From the cache", Help: "Of the questions of the last hour that were answered or tried.", Headline: true},
		known, append(known, m.questions[FateJoined], m.questions[FateForwarded]))
	requests := m.all.Counters(statuspage.Family{Name: "requests", Title: "Requests of devices", Help: "By kind, and by what was answered.", Headline: true,
		Labels: []statuspage.Label{{Name: "kind", Values: texts(serving.Kinds())}, {Name: "outcome", Values: texts(Outcomes())}}})
	for _, k := range serving.Kinds() {
		m.requests[k] = map[Outcome]*statuspage.Counter{}
		for _, o := range Outcomes() {
			m.requests[k][o] = requests.With(string(k), string(o))
		}
	}
	m.took = m.all.Histograms(statuspage.Family{Name: "request_duration", Title: "Time to answer", Help: "From a device's request to its answer.", Headline: true}).With()
	m.all.Section(sectionCache)
	m.entries = m.all.Gauges(statuspage.Family{Name: "in_cache", Title: "Answers", Help: "In memory; of some the life may be over."}).With()
	m.bytes = m.all.Gauges(statuspage.Family{Name: "cache", Title: "Memory", Help: "That the answers take, about.", Unit: statuspage.UnitBytes}).With()
	return m
}

func texts[T ~string](list []T) (all []string) {
	for _, t := range list {
		all = append(all, string(t))
	}
	return all
}

// Request counts one request of a device.
func (m *Metrics) Request(k Kind, o Outcome, took time.Duration) {
	m.requests[k][o].Inc()
	m.took.Observe(took)
}

// Questions counts n questions.
func (m *Metrics) Questions(f Fate, n int) { m.questions[f].Add(int64(n)) }

// Page makes the status page of the proxy that p gives, which may be nil as long as there is none: the page is made before it, since [Config.Status] is the
// page's handler. The caller runs [statuspage.Collector.Run]. now may be nil for time.Now.
func (m *Metrics) Page(version string, p func() *Proxy, now func() time.Time) (*statuspage.Collector, error) {
	return statuspage.New(statuspage.Config{Title: "KSN proxy", Server: "ksn_proxy", Version: version, Metrics: m.all, Now: now, Status: func() statuspage.Status {
		if p := p(); p != nil {
			return m.status(p)
		}
		return statuspage.Status{NotReady: "the proxy begins"}
	}})
}

// status is what the page shows of p besides what was counted.
func (m *Metrics) status(p *Proxy) statuspage.Status {
	s := p.State()
	m.entries.Set(int64(s.Entries))
	m.bytes.Set(s.Bytes)
	provider := p.c.Provider.Provider
	return statuspage.Status{NotReady: s.NotReady, Problems: s.problems(), Sections: []statuspage.Section{
		{Title: sectionQuestions, Rows: []statuspage.Row{
			{Name: "Questions that wait", Value: statuspage.Count(int64(s.Waiting))},
			{Name: "Devices that wait", Value: statuspage.Count(int64(s.Devices))},
			{Name: "Look-ups on their way upstream", Value: statuspage.Count(int64(s.Requests))}}},
		{Title: sectionUpstreams, Rows: []statuspage.Row{
			{Name: "Network", Value: statuspage.Text(provider.Name + " (" + provider.Network + ")")},
			{Name: "Fingerprint", Value: statuspage.Text(p.network)},
			{Name: "Provider file expires", Value: statuspage.Time(provider.Expires.Time)},
			{Name: "Held until", Value: statuspage.Time(s.Held)}},
			Tables: []statuspage.Table{upstreamTable(s.Upstreams)}},
		{Title: "Restrictions", Rows: []statuspage.Row{{Name: "Epoch", Value: statuspage.Count(int64(s.Epoch))}}, Tables: []statuspage.Table{restrictionTable(s.Restrictions)}},
	}}
}

// level is how bad an upstream's state is.
func (s UpstreamState) level() statuspage.Level {
	switch s {
	case UpstreamWrongNetwork:
		return statuspage.Critical
	case UpstreamDown, UpstreamUnauthorized, UpstreamFailing:
		return statuspage.Warning
	}
	return statuspage.OK
}

func upstreamTable(list []Upstream) statuspage.Table {
	t := statuspage.Table{Title: "Servers and proxies, in the order in which they are tried", Columns: []string{"URL", "State", "Since", "Left alone until", "Last answer",
		"Last error", "At"}}
	for _, u := range list {
		t.Rows = append(t.Rows, []statuspage.Value{statuspage.Text(u.URL), statuspage.State(u.State.level(), string(u.State)), statuspage.Time(u.Since),
			statuspage.Time(u.Until), statuspage.Time(u.LastOK), statuspage.Text(u.LastError), statuspage.Time(u.LastErrAt)})
	}
	return t
}

func restrictionTable(list []InForce) statuspage.Table {
	t := statuspage.Table{Title: "In force", Columns: []string{"Id", "Until", "Reason", "Effect"}}
	for _, r := range list {
		t.Rows = append(t.Rows, []statuspage.Value{statuspage.Text(r.ID), statuspage.Time(r.Until), statuspage.Text(r.Code), statuspage.Text(r.Effect)})
	}
	return t
}

// problems are what somebody should look at.
func (s *State) problems() (list []statuspage.Problem) {
	add := func(l statuspage.Level, text string, since time.Time) {
		list = append(list, statuspage.Problem{Level: l, Text: text, Since: since})
	}
	for _, u := range s.Upstreams {
		switch u.State {
		case UpstreamWrongNetwork:
			add(statuspage.Critical, u.URL+" belongs to another network: put the list of upstreams right", u.Since)
		case UpstreamUnauthorized:
			add(statuspage.Warning, u.URL+" does not accept this proxy's token: register it with the operator of the network, or renew it", u.Since)
		case UpstreamDown:
			add(statuspage.Warning, u.URL+" is down: "+u.LastError, u.Since)
		}
	}
	if !s.Held.IsZero() {
		add(statuspage.Warning, "the network asks to wait: only what is in the cache is answered", time.Time{})
	}
	if len(s.Restrictions) > 0 {
		add(statuspage.Warning, "restrictions of the network are in force", time.Time{})
	}
	return list
}
