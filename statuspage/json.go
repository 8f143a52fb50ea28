package statuspage

import (
	"encoding/json"
	"math"
	"time"
)

// The shapes of /status.json; the package comment describes them.
type (
	jsonStatus struct {
		Schema   int           `json:"schema"`
		Title    string        `json:"title"`
		Server   string        `json:"server"`
		Version  string        `json:"version,omitempty"`
		Now      string        `json:"now"`
		Started  string        `json:"started"`
		Uptime   float64       `json:"uptime"`
		Level    string        `json:"level"`
		Ready    bool          `json:"ready"`
		NotReady string        `json:"not_ready,omitempty"`
		Problems []jsonProblem `json:"problems,omitempty"`
		Sections []jsonSection `json:"sections,omitempty"`
	}
	jsonProblem struct {
		Level string `json:"level"`
		Text  string `json:"text"`
		Since string `json:"since,omitempty"`
	}
	jsonSection struct {
		Title   string       `json:"title"`
		Metrics []jsonMetric `json:"metrics,omitempty"`
		Rows    []jsonRow    `json:"rows,omitempty"`
		Tables  []jsonTable  `json:"tables,omitempty"`
	}
	jsonMetric struct {
		Name   string       `json:"name"`
		Kind   kind         `json:"kind"`
		Title  string       `json:"title"`
		Help   string       `json:"help"`
		Unit   Unit         `json:"unit,omitempty"`
		Series []jsonSeries `json:"series"`
		All    *jsonSeries  `json:"all,omitempty"`
	}
	jsonSeries struct {
		Labels       map[string]string `json:"labels,omitempty"`
		Value        any               `json:"value,omitempty"`
		PerMinute    []any             `json:"per_minute,omitempty"`
		Count        *int64            `json:"count,omitempty"`
		Sum          *float64          `json:"sum,omitempty"`
		Buckets      []jsonBucket      `json:"buckets,omitempty"`
		P50          any               `json:"p50,omitempty"`
		P99          any               `json:"p99,omitempty"`
		P50Above     bool              `json:"p50_above,omitempty"`
		P99Above     bool              `json:"p99_above,omitempty"`
		P99PerMinute []any             `json:"p99_per_minute,omitempty"`
	}
	jsonBucket struct {
		Le    float64 `json:"le"`
		Count int64   `json:"count"` // of this one and all below
	}
	jsonRow struct {
		Name string `json:"name"`
		jsonValue
	}
	jsonTable struct {
		Title   string        `json:"title,omitempty"`
		Columns []string      `json:"columns"`
		Rows    [][]jsonValue `json:"rows"`
		More    int           `json:"more,omitempty"`
	}
	jsonValue struct {
		Value any    `json:"value"`
		Unit  string `json:"unit,omitempty"`
		Level string `json:"level,omitempty"`
	}
)

// json is the snapshot for /status.json.
func (s *snapshot) json() ([]byte, error) {
	out := jsonStatus{Schema: 1, Title: s.title, Server: s.server, Version: s.version, Now: moment(s.now), Started: moment(s.started),
		Uptime: math.Round(s.now.Sub(s.started).Seconds()), Level: s.level().String(), Ready: s.notReady == "", NotReady: s.notReady}
	for _, p := range s.problems {
		j := jsonProblem{Level: p.Level.String(), Text: p.Text}
		if !p.Since.IsZero() {
			j.Since = moment(p.Since)
		}
		out.Problems = append(out.Problems, j)
	}
	for _, sec := range s.sections {
		j := jsonSection{Title: sec.title}
		for _, f := range sec.families {
			j.Metrics = append(j.Metrics, f.json("avdb_"+s.server+"_"))
		}
		for _, r := range sec.rows {
			j.Rows = append(j.Rows, jsonRow{r.Name, r.Value.asJSON()})
		}
		for _, t := range sec.tables {
			n := jsonTable{Title: t.Title, Columns: t.Columns, Rows: [][]jsonValue{}, More: t.more}
			for _, row := range t.Rows {
				cells := []jsonValue{}
				for _, v := range row {
					cells = append(cells, v.asJSON())
				}
				n.Rows = append(n.Rows, cells)
			}
			j.Tables = append(j.Tables, n)
		}
		out.Sections = append(out.Sections, j)
	}
	b, err := json.Marshal(out)
	return append(b, '\n'), err
}

func (v Value) asJSON() jsonValue {
	j := jsonValue{Value: v.json(), Unit: v.unit()}
	if v.kind == stated {
		j.Level = v.level.String()
	}
	return j
}

func (f familyShown) json(prefix string) jsonMetric {
	j := jsonMetric{Name: prefix + f.full, Kind: f.kind, Title: f.Title, Help: f.Help, Unit: f.Unit}
	for _, r := range f.series {
		s := f.seriesJSON(r)
		for i, v := range r.labels {
			if s.Labels == nil {
				s.Labels = map[string]string{}
			}
			s.Labels[f.Labels[i].Name] = v
		}
		j.Series = append(j.Series, s)
	}
	if f.Headline {
		all := f.seriesJSON(f.all)
		j.All = &all
	}
	return j
}

func (f familyShown) seriesJSON(r reading) jsonSeries {
	switch f.kind {
	case kindRatio:
		return jsonSeries{Value: Ratio(r.ratio).json(), PerMinute: numbers(r.hour)}
	case kindCounter, kindGauge:
		return jsonSeries{Value: r.value, PerMinute: numbers(r.hour)}
	}
	n, seconds := sum(r.buckets), r.sum.Seconds()
	s := jsonSeries{Count: &n, Sum: &seconds, P99PerMinute: numbers(r.hour)}
	p50, p99 := f.percentile(r, 0.5), f.percentile(r, 0.99)
	s.P50, s.P50Above = p50.json(), p50.kind == aboveSeconds
	s.P99, s.P99Above = p99.json(), p99.kind == aboveSeconds
	for le, upTo := range cumulated(f.Bounds, r.buckets) {
		s.Buckets = append(s.Buckets, jsonBucket{le, upTo})
	}
	return s
}

// cumulated yields the bounds in seconds with how many are not above each.
func cumulated(bounds []time.Duration, buckets []int64) func(yield func(le float64, upTo int64) bool) {
	return func(yield func(le float64, upTo int64) bool) {
		upTo := int64(0)
		for i, b := range bounds {
			if upTo += buckets[i]; !yield(b.Seconds(), upTo) {
				return
			}
		}
	}
}

// numbers is a history without the minutes before anything was known.
func numbers(h []float64) []any {
	var out []any
	for _, x := range h {
		switch {
		case !math.IsNaN(x):
			out = append(out, x)
		case out != nil:
			out = append(out, nil)
		}
	}
	return out
}
