package statuspage_test

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.org/avdb/statuspage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A proxy is a server as it will be: it counts look-ups, has routes, and serves a release.
type proxy struct {
	now time.Time
	*statuspage.Collector

	answers    *statuspage.Labelled[statuspage.Counter]
	bytes      *statuspage.Counter
	durations  *statuspage.Labelled[statuspage.Histogram]
	entries    *statuspage.Gauge
	size       *statuspage.Gauge
	inFlight   *statuspage.Gauge
	published  *statuspage.Gauge
	notReady   string
	problems   []statuspage.Problem
	routeError string
}

var (
	objects  = []string{"file", "url", "software"}
	outcomes = []string{"from_cache", "ok", "failed", "rejected"}
)

// declare says what a proxy counts.
func (p *proxy) declare() *statuspage.Metrics {
	m := &statuspage.Metrics{}
	m.Section("Look-ups")
	p.answers = m.Counters(statuspage.Family{Name: "lookups", Title: "Look-ups", Help: "Answered from the cache or by servers, or not.", Headline: true,
		Labels: []statuspage.Label{{Name: "object", Values: objects}, {Name: "outcome", Values: outcomes}}})
	var cached, all []*statuspage.Counter
	for _, o := range objects {
		cached = append(cached, p.answers.With(o, "from_cache"))
		for _, k := range outcomes {
			all = append(all, p.answers.With(o, k))
		}
	}
	m.Ratio(statuspage.Family{Name: "cache_hit", Title: "From the cache", Help: "Look-ups that needed no server.", Headline: true}, cached, all)
	m.Section("Durations")
	p.durations = m.Histograms(statuspage.Family{Name: "lookup_duration", Title: "Time to answer",
		Help: "From the request to the last byte.", Headline: true,
		Labels: []statuspage.Label{{Name: "answered", Values: []string{"from_cache", "by_server"}}}})
	m.Section("Cache")
	p.entries = m.Gauges(statuspage.Family{Name: "cache_entries", Title: "Entries", Help: "Answers that are kept, empty ones too."}).With()
	p.size = m.Gauges(statuspage.Family{Name: "cache_size", Title: "Cache size", Help: "Memory that the answers take.", Unit: statuspage.UnitBytes,
		Headline: true}).With()
	p.inFlight = m.Gauges(statuspage.Family{Name: "in_flight", Title: "In flight", Help: "Requests that wait for a server."}).With()
	p.bytes = m.Counters(statuspage.Family{Name: "sent", Title: "Sent to endpoints", Help: "Bodies of answers.", Unit: statuspage.UnitBytes}).With()
	m.Section("Release")
	p.published = m.Gauges(statuspage.Family{Name: "release_published", Title: "Published", Help: "When the release served was published.",
		Unit: statuspage.UnitTimestamp}).With()
	m.Section("Servers")
	return m
}

// newProxy is a proxy that started 70 minutes ago and had a day's traffic in them.
func newProxy(t testing.TB) *proxy {
	t.Helper()
	p := &proxy{now: noon.Add(-70 * time.Minute), routeError: "503 Service Unavailable"}
	m := p.declare()
	c, err := statuspage.New(statuspage.Config{Title: "KSN proxy", Server: "ksn_proxy", Version: "0.9.0+g4d346e8", Metrics: m, Status: p.status,
		Started: p.now.Add(-75 * time.Hour), Now: func() time.Time { return p.now }})
	if err != nil {
		t.Fatal(err)
	}
	p.Collector = c
	for minute := range 70 {
		p.live(minute)
		p.now = p.now.Add(time.Minute)
		p.Sample(p.now)
	}
	p.now = p.now.Add(23 * time.Second)
	p.problems = []statuspage.Problem{{Level: statuspage.Warning, Since: noon.Add(-9 * time.Minute),
		Text: "1 of 3 servers does not answer: https://ksn-c.example.net is in its cool-down"}}
	return p
}

// live is one minute: traffic that rises and falls, a cache that fills, and a server that fails at the end.
func (p *proxy) live(minute int) {
	wave := 1 + 0.45*math.Sin(float64(minute)/9) + 0.12*math.Sin(float64(minute)*2.3) + 0.07*math.Cos(float64(minute)*5.1)
	warm := 1 - 0.6*math.Exp(-float64(minute)/18)
	for i, o := range objects {
		n := wave * []float64{1460, 610, 38}[i]
		hits := n * warm * []float64{0.94, 0.88, 0.7}[i]
		p.answers.With(o, "from_cache").Add(int64(hits))
		p.answers.With(o, "ok").Add(int64(n - hits))
		p.bytes.Add(int64(n * 412))
		if minute > 60 && i < 2 {
			p.answers.With(o, "failed").Add(int64(n * 0.011))
		}
		if minute%17 == 3 && i == 1 {
			p.answers.With(o, "rejected").Add(int64(4 + minute/10))
		}
	}
	for k := range 200 {
		p.durations.With("from_cache").Observe(time.Duration(60+k*k/90) * time.Microsecond)
	}
	slow := 1 + wave
	if minute > 60 {
		slow *= 2.4
	}
	for k := range 40 {
		p.durations.With("by_server").Observe(time.Duration(slow*(9+math.Pow(float64(k), 1.45))) * time.Millisecond)
	}
	p.entries.Set(int64(18_200 + 141_000*warm*(1+0.01*wave)))
	p.size.Set(int64(9_800_000 + 61_300_000*warm*(1+0.01*wave)))
	p.inFlight.Set(int64(3 * wave))
}

func (p *proxy) status() statuspage.Status {
	published := time.Date(2026, 3, 1, 10, 42, 7, 0, time.UTC)
	p.published.SetTime(published)
	state, text, count := statuspage.State, statuspage.Text, statuspage.Count
	return statuspage.Status{
		NotReady: p.notReady,
		Problems: p.problems,
		Sections: []statuspage.Section{
			{Title: "Cache", Rows: []statuspage.Row{{Name: "Room for", Value: statuspage.Bytes(256 << 20)},
				{Name: "Oldest entry", Value: statuspage.Duration(22 * time.Hour)}}},
			{Title: "Release", Rows: []statuspage.Row{{Name: "Version", Value: text("41873")}, {Name: "Network", Value: text("global")},
				{Name: "Variant", Value: text("full")}, {Name: "State", Value: state(statuspage.OK, "current")}}},
			{Title: "Servers", Tables: []statuspage.Table{{
				Columns: []string{"Server", "State", "Since", "Cool-down until", "Failures", "Last error"},
				Rows: [][]statuspage.Value{
					{text("https://ksn-a.example.net"), state(statuspage.OK, "in use"), statuspage.Time(noon.Add(-69 * time.Hour)), {}, count(0), {}},
					{text("https://ksn-b.example.net"), state(statuspage.OK, "standing by"), statuspage.Time(noon.Add(-69 * time.Hour)), {}, count(2),
						text("connection reset by peer")},
					{text("https://ksn-c.example.net"), state(statuspage.Warning, "cool-down"), statuspage.Time(noon.Add(-9 * time.Minute)),
						statuspage.Time(noon.Add(3 * time.Minute)), count(17), text(p.routeError)},
				}}}},
			{Title: "Restrictions in force", Tables: []statuspage.Table{{
				Columns: []string{"Record", "Action", "Until"},
				Rows: [][]statuspage.Value{
					{text("2026-03-ddos-a"), state(statuspage.Warning, "limit"), statuspage.Time(noon.Add(26 * time.Hour))},
					{text("2026-02-stats-pause"), state(statuspage.Warning, "disable"), statuspage.Time(noon.Add(7 * 24 * time.Hour))},
				}}}},
		},
	}
}

// get is what the handler answers to a path.
func get(t testing.TB, h http.Handler, path string) (code int, header http.Header, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, w.Header(), string(b)
}
