package statuspage

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRuntime has the metrics of the Go runtime and of the process, in a registry of this collector's own.
func newRuntime() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) // both cannot fail in an empty one
	return r
}

// descs are the names and labels of all families, by which Prometheus knows them.
func descs(prefix string, m *Metrics) map[*family]*prometheus.Desc {
	all := map[*family]*prometheus.Desc{}
	for _, s := range m.sections {
		for _, f := range s.families {
			var labels []string
			for _, l := range f.Labels {
				labels = append(labels, l.Name)
			}
			all[f] = prometheus.NewDesc(prefix+f.full, f.Help, labels, nil)
		}
	}
	return all
}

// An exposition is a snapshot as Prometheus collects it.
type exposition struct {
	*snapshot
	descs map[*family]*prometheus.Desc
}

// Describe tells nothing beforehand: the metrics are those of the snapshot.
func (exposition) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics.
func (e exposition) Collect(out chan<- prometheus.Metric) {
	send := func(desc *prometheus.Desc, m prometheus.Metric, err error) {
		if err != nil {
			m = prometheus.NewInvalidMetric(desc, err)
		}
		out <- m
	}
	constant := func(desc *prometheus.Desc, t prometheus.ValueType, x float64, labels ...string) {
		m, err := prometheus.NewConstMetric(desc, t, x, labels...)
		send(desc, m, err)
	}
	e.builtIn(constant)
	for _, s := range e.sections {
		for _, f := range s.families {
			desc := e.descs[f.family]
			for _, r := range f.series {
				switch f.kind {
				case kindCounter:
					constant(desc, prometheus.CounterValue, float64(r.value), r.labels...)
				case kindGauge:
					constant(desc, prometheus.GaugeValue, float64(r.value), r.labels...)
				case kindRatio:
					constant(desc, prometheus.GaugeValue, r.ratio, r.labels...)
				case kindHistogram:
					buckets := map[float64]uint64{}
					for le, upTo := range cumulated(f.Bounds, r.buckets) {
						buckets[le] = uint64(upTo)
					}
					m, err := prometheus.NewConstHistogram(desc, uint64(sum(r.buckets)), r.sum.Seconds(), buckets, r.labels...)
					send(desc, m, err)
				}
			}
		}
	}
}

// builtIn are the metrics that each collector has.
func (e exposition) builtIn(send func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("avdb_"+e.server+"_"+name, help, labels, nil)
	}
	ready := 0.0
	if e.notReady == "" {
		ready = 1
	}
	send(desc("info", "The program's version.", "version"), prometheus.GaugeValue, 1, e.version)
	send(desc("start_timestamp_seconds", "When the server started."), prometheus.GaugeValue, float64(e.started.UnixMilli())/1000)
	send(desc("ready", "1 if requests can be answered."), prometheus.GaugeValue, ready)
	send(desc("undeclared_total", "How often a label was asked for that is not declared: a mistake in the server."),
		prometheus.CounterValue, float64(e.undeclared))
	levels := map[Level]int{}
	for _, p := range e.problems {
		levels[p.Level]++
	}
	problems := desc("problems", "Problems that somebody should look at.", "level")
	for _, l := range []Level{Warning, Critical} {
		send(problems, prometheus.GaugeValue, float64(levels[l]), l.String())
	}
}

// metrics answers with the snapshot and what the runtime says.
func (c *Collector) metrics(s *snapshot) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(exposition{s, c.descs}) // cannot fail in an empty one
	return promhttp.HandlerFor(prometheus.Gatherers{r, c.runtime}, promhttp.HandlerOpts{DisableCompression: true})
}
