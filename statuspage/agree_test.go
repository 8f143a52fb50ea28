package statuspage_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.org/avdb/statuspage"
)

var update = flag.Bool("update", false, "rewrite golden files")

// A shownRow is a row of a table of the page, with where it is. Cells are numbers where the page has them as such, moments in RFC 3339, or texts.
type shownRow struct {
	section, caption, group, head string
	columns                       []string
	cells                         []string
}

// A pageReader takes the page apart. It is strict about what opens and closes.
type pageReader struct {
	rows  []shownRow
	tags  []string // all that were opened, with their attributes' names
	tiles map[string]string

	open               []string // elements
	row                shownRow
	text, exact, title string
}

func readPage(t testing.TB, page string) *pageReader {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta", "link"}, xml.HTMLEntity
	r := &pageReader{tiles: map[string]string{}}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal("the page is not well formed: ", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			r.start(e)
		case xml.CharData:
			if n := len(r.open); n > 0 && !slices.Contains(r.open, "svg") && !(slices.Contains(r.open, "caption") && r.open[n-1] == "span") {
				r.text += string(e)
			}
		case xml.EndElement:
			if last := len(r.open) - 1; r.open[last] != e.Name.Local {
				t.Fatalf("%s closes %s", e.Name.Local, r.open[last])
			} else {
				r.open = r.open[:last]
			}
			r.end(e.Name.Local)
		}
	}
	if len(r.open) > 0 {
		t.Fatalf("%v stay open", r.open)
	}
	return r
}

func (r *pageReader) start(e xml.StartElement) {
	r.open = append(r.open, e.Name.Local)
	tag := e.Name.Local
	for _, a := range e.Attr {
		tag += " " + a.Name.Local
		if a.Name.Local == "value" || a.Name.Local == "datetime" {
			r.exact = a.Value
		}
	}
	r.tags = append(r.tags, tag)
	switch e.Name.Local {
	case "h1", "h2", "h3", "caption", "th", "td", "p":
		r.text, r.exact = "", ""
	case "table":
		r.row.caption, r.row.columns = "", nil
	case "tbody":
		r.row.group = ""
	case "tr":
		r.row.head, r.row.cells = "", nil
	}
}

func (r *pageReader) end(name string) {
	if r.exact == "" {
		r.exact = strings.TrimSpace(r.text)
	}
	heading := slices.Contains(r.open, "thead")
	switch {
	case name == "h2":
		r.row.section = r.exact
	case name == "h3":
		r.title = r.exact
	case name == "p" && slices.Contains(r.open, "article"):
		if _, known := r.tiles[r.title]; !known { // the first one is the large number
			r.tiles[r.title] = r.exact
		}
	case name == "caption":
		r.row.caption = r.exact
	case name == "th" && heading:
		r.row.columns = append(r.row.columns, r.exact)
	case name == "th":
		r.row.head = r.exact
	case name == "td" && !heading:
		r.row.cells = append(r.row.cells, r.exact)
	case name == "tr" && r.row.cells != nil:
		r.rows = append(r.rows, r.row)
	case name == "tr" && !heading:
		r.row.group = r.row.head
	}
}

// samples are the lines of the text format: name{labels} and value.
func samples(t testing.TB, text string) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if _, twice := all[line[:at]]; err != nil || twice {
			t.Fatalf("%q: %v, twice %v", line, err, twice)
		}
		all[line[:at]] = v
	}
	return all
}

// What a program reads of /status.json, as the package comment describes it.
type status struct {
	Schema   int
	Ready    *bool
	Level    string
	Started  time.Time
	Problems []struct{ Level, Text string }
	Sections []struct {
		Title   string
		Metrics []metric
		Rows    []struct {
			Name        string
			Value       any
			Unit, Level string
		}
		Tables []struct {
			Title   string
			Columns []string
			Rows    [][]struct {
				Value       any
				Unit, Level string
			}
		}
	}
}

type metric struct {
	Name, Kind, Title, Help, Unit string
	Series                        []series
	All                           *series
}

type series struct {
	Labels       map[string]string
	Value        *float64
	PerMinute    []*float64 `json:"per_minute"`
	Count, Sum   *float64
	Buckets      []struct{ Le, Count float64 }
	P50, P99     *float64
	P50Above     bool       `json:"p50_above"`
	P99Above     bool       `json:"p99_above"`
	P99PerMinute []*float64 `json:"p99_per_minute"`
}

func readJSON(t testing.TB, body string) (s status) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Schema != 1 || s.Ready == nil {
		t.Fatalf("schema %d, %v", s.Schema, err)
	}
	return s
}

// labelsOf writes labels as the text format does.
func labelsOf(labels map[string]string, more ...string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, fmt.Sprintf("%s=%q", k, labels[k]))
	}
	if all = append(all, more...); len(all) == 0 {
		return ""
	}
	return "{" + strings.Join(all, ",") + "}"
}

// Page, JSON and metrics hold the same numbers: each number of JSON is on the page and among the metrics, and nothing else is there.
func TestPageJSONAndMetricsAgree(t *testing.T) {
	for seed := range uint64(5) {
		p := newProxy(t)
		r := rand.New(rand.NewPCG(seed, 1))
		for range 2000 {
			p.answers.With(objects[r.IntN(3)], outcomes[r.IntN(4)]).Add(r.Int64N(1000))
			p.durations.With("by_server").Observe(time.Duration(r.ExpFloat64() * float64(time.Second) * 3))
			p.bytes.Add(r.Int64N(1 << 40))
			p.entries.Set(r.Int64N(100) - 50)
			if r.IntN(200) == 0 {
				p.now = p.now.Add(time.Minute)
				p.Sample(p.now)
			}
		}
		h := p.Handler()
		_, _, html := get(t, h, "/status")
		_, _, body := get(t, h, "/status.json")
		_, _, text := get(t, h, "/metrics")
		agree(t, readPage(t, html), readJSON(t, body), samples(t, text))
	}
}

func agree(t *testing.T, page *pageReader, j status, metrics map[string]float64) {
	t.Helper()
	k := &comparison{t, slices.Clone(page.rows), maps.Clone(page.tiles), metrics}
	for _, sec := range j.Sections {
		for _, m := range sec.Metrics {
			k.metric(sec.Title, m)
		}
		for _, r := range sec.Rows {
			k.same(r.Name, k.take(sec.Title, "", "", r.Name)[0], shown(r.Value))
		}
		for _, table := range sec.Tables {
			for _, r := range table.Rows {
				cells := k.take(sec.Title, table.Title, "", shown(r[0].Value))
				for i, v := range r[1:] {
					k.same(table.Columns[i+1], cells[i], shown(v.Value))
				}
			}
		}
	}
	if len(k.rows) > 0 || len(k.tiles) > 0 {
		t.Errorf("the page alone has %+v and %v", k.rows, k.tiles)
	}
	k.gone("avdb_ksn_proxy_ready", 1)
	k.gone("avdb_ksn_proxy_undeclared_total", 0)
	k.gone("avdb_ksn_proxy_start_timestamp_seconds", float64(j.Started.Unix()))
	k.gone(`avdb_ksn_proxy_info{version="0.9.0+g4d346e8"}`, 1)
	k.gone(`avdb_ksn_proxy_problems{level="warning"}`, float64(len(j.Problems)))
	k.gone(`avdb_ksn_proxy_problems{level="critical"}`, 0)
	runtime := 0
	for name := range k.metrics {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			runtime++
		} else {
			t.Errorf("the metrics alone have %s", name)
		}
	}
	if runtime < 20 {
		t.Errorf("%d metrics of the runtime", runtime)
	}
}

// A comparison has what of the page and of the metrics was not found in JSON yet.
type comparison struct {
	t       *testing.T
	rows    []shownRow
	tiles   map[string]string
	metrics map[string]float64
}

// take removes a row from the page's.
func (k *comparison) take(section, caption, group, head string) []string {
	k.t.Helper()
	for i, r := range k.rows {
		if r.section == section && r.caption == caption && r.group == group && r.head == head {
			k.rows = slices.Delete(k.rows, i, i+1)
			return r.cells
		}
	}
	k.t.Fatalf("the page has no row %q in %q of %q, %q", head, group, section, caption)
	return nil
}

func (k *comparison) same(where, page, json string) {
	k.t.Helper()
	if page != json {
		k.t.Errorf("%s: %q on the page, %q in JSON", where, page, json)
	}
}

// gone removes a metric, which is what JSON says.
func (k *comparison) gone(name string, want float64) {
	k.t.Helper()
	got, ok := k.metrics[name]
	if !ok || got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
		k.t.Errorf("metric %s is %v (there: %v), JSON says %v", name, got, ok, want)
	}
	delete(k.metrics, name)
}

func (k *comparison) metric(section string, m metric) {
	k.t.Helper()
	for _, s := range m.Series {
		caption, group, head := m.Title, "", m.Title
		switch len(s.Labels) {
		case 0:
			caption = ""
		case 1:
			head = spaced(slices.Collect(maps.Values(s.Labels))[0])
		case 2:
			group, head = spaced(s.Labels["object"]), spaced(s.Labels["outcome"])
		}
		cells := k.take(section, caption, group, head)
		for i, want := range expected(m, s) {
			k.same(fmt.Sprintf("%s %v, cell %d", m.Name, s.Labels, i), cells[i], want)
		}
		onMetrics(m, s, k.gone)
	}
	if m.All != nil {
		want := map[string]*float64{"counter": last(m.All.PerMinute), "gauge": m.All.Value, "ratio": m.All.Value, "histogram": m.All.P99}[m.Kind]
		k.same("headline "+m.Title, k.tiles[m.Title], number(want))
		delete(k.tiles, m.Title)
	}
}

// onMetrics compares a series with the metrics, which lose what was compared.
func onMetrics(m metric, s series, gone func(string, float64)) {
	switch {
	case m.Kind == "histogram":
		for _, b := range s.Buckets {
			gone(m.Name+"_bucket"+labelsOf(s.Labels, fmt.Sprintf("le=%q", strconv.FormatFloat(b.Le, 'g', -1, 64))), b.Count)
		}
		gone(m.Name+"_bucket"+labelsOf(s.Labels, `le="+Inf"`), *s.Count)
		gone(m.Name+"_count"+labelsOf(s.Labels), *s.Count)
		gone(m.Name+"_sum"+labelsOf(s.Labels), *s.Sum)
	case s.Value == nil:
		gone(m.Name+labelsOf(s.Labels), math.NaN())
	default:
		gone(m.Name+labelsOf(s.Labels), *s.Value)
	}
}

// expected are the first cells of a series' row.
func expected(m metric, s series) []string {
	switch {
	case m.Unit == "timestamp_seconds":
		return []string{time.Unix(int64(*s.Value), 0).UTC().Format(time.RFC3339)}
	case m.Kind == "histogram":
		return []string{number(s.Count), number(s.P50), number(s.P99), number(highest(s.P99PerMinute, 1))}
	case m.Kind == "gauge":
		return []string{number(s.Value), number(highest(s.PerMinute, -1)), number(highest(s.PerMinute, 1))}
	case m.Kind == "ratio":
		return []string{number(s.Value), number(last(s.PerMinute)), number(highest(s.PerMinute, -1))}
	}
	return []string{number(s.Value), number(last(s.PerMinute)), number(highest(s.PerMinute, 1))}
}

func spaced(s string) string { return strings.ReplaceAll(s, "_", " ") }

func number(x *float64) string {
	if x == nil {
		return "–"
	}
	return shown(*x)
}

func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "–"
	case string:
		return v
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprintf("%T", v)
}

func last(h []*float64) *float64 {
	if len(h) == 0 {
		return nil
	}
	return h[len(h)-1]
}

// highest is the highest, or with sign -1 the lowest, of what is known.
func highest(h []*float64, sign float64) (best *float64) {
	for _, x := range h {
		if x != nil && (best == nil || sign**x > sign**best) {
			best = x
		}
	}
	return best
}

// The page of a fixed reading, byte for byte but for its style: whoever changes the page sees what changes.
func TestGolden(t *testing.T) {
	p := newProxy(t)
	h := p.Handler()
	_, _, page := get(t, h, "/status")
	_, _, body := get(t, h, "/status.json")
	_, _, text := get(t, h, "/metrics")
	var ours strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "avdb_") {
			ours.WriteString(line)
		}
	}
	for name, got := range map[string]string{
		"status.html": regexp.MustCompile(`(?s)<style>.*</style>`).ReplaceAllString(page, "<style>/* page.css */</style>"),
		"status.json": body,
		"metrics.txt": ours.String(),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; if that is meant, run go test ./statuspage -run TestGolden -update and look at the page", path)
		}
	}
}

// The page of a server that has nothing to show, and the first minute of one that has.
func TestEmptyPages(t *testing.T) {
	c, err := statuspage.New(statuspage.Config{Title: "Private KSN server", Server: "ksn_server", Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	_, _, page := get(t, c.Handler(), "/")
	if r := readPage(t, page); len(r.rows) != 0 || !strings.Contains(page, "<h1><bdi>Private KSN server</bdi> <span class=\"state ok\">ok</span></h1>") {
		t.Errorf("%+v", r.rows)
	}
	p := &proxy{now: noon}
	p.Collector, err = statuspage.New(statuspage.Config{Title: "T", Server: "ksn_proxy", Version: "0.9.0+g4d346e8", Metrics: p.declare(),
		Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	_, _, html := get(t, p.Handler(), "/status")
	_, _, body := get(t, p.Handler(), "/status.json")
	_, _, text := get(t, p.Handler(), "/metrics")
	agreeAtFirst := readPage(t, html)
	for i := range agreeAtFirst.rows {
		if r := &agreeAtFirst.rows[i]; r.head == "Published" && r.cells[0] == "–" {
			r.cells[0] = "1970-01-01T00:00:00Z" // never: in JSON and metrics 0
		}
	}
	agree(t, agreeAtFirst, readJSON(t, body), samples(t, text))
}

// Headings do not skip levels, each heading of a table says what it is for, and each drawing says what is seen.
func TestPageForThoseWhoHearIt(t *testing.T) {
	_, _, page := get(t, newProxy(t).Handler(), "/status")
	level := 0
	for _, h := range regexp.MustCompile(`<h([1-6])`).FindAllStringSubmatch(page, -1) {
		n := int(h[1][0] - '0')
		if n > level+1 {
			t.Errorf("h%d after h%d", n, level)
		}
		level = n
	}
	for _, th := range regexp.MustCompile(`<th[^e>][^>]*>|<th>`).FindAllString(page, -1) {
		if !regexp.MustCompile(` scope="(row|col|rowgroup)"`).MatchString(th) {
			t.Errorf("%s has no scope", th)
		}
	}
	drawings := regexp.MustCompile(`<svg [^>]*>`).FindAllString(page, -1)
	for _, svg := range drawings {
		if !strings.Contains(svg, `role="img"`) || !regexp.MustCompile(`aria-label="[^"]{20,}"`).MatchString(svg) {
			t.Errorf("%s says nothing", svg)
		}
	}
	if titles := strings.Count(page, "</title><path"); len(drawings) != 23 || titles != len(drawings) {
		t.Errorf("%d drawings, %d of them with a title and a line", len(drawings), titles)
	}
	for _, once := range []string{"<h1>", "<main>", "<html lang=\"en\"", "<title>KSN proxy: warning</title>",
		`name="viewport" content="width=device-width, initial-scale=1"`} {
		if strings.Count(page, once) != 1 {
			t.Errorf("%s is there %d times", once, strings.Count(page, once))
		}
	}
	ids := map[string]bool{}
	for _, id := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[id[1]] {
			t.Errorf("id %s is there twice", id[1])
		}
		ids[id[1]] = true
	}
	for _, by := range regexp.MustCompile(`labelledby="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !ids[by[1]] {
			t.Errorf("nothing has the id %s", by[1])
		}
	}
}

// Whatever a text is, the page has the tags that it has with another text, and JSON gives the same text as the page.
func FuzzTextStaysText(f *testing.F) {
	for _, s := range []string{"plain", "<script>", `"'><b>`, "&amp;", "{{.}}", "\u202e", "\xff", "</title>", "<!--", "]]>", "\\", "`"} {
		f.Add(s)
	}
	text := ""
	c, err := statuspage.New(statuspage.Config{Title: "T", Server: "t", Now: func() time.Time { return noon }, Status: func() statuspage.Status {
		v := statuspage.State(statuspage.Warning, text)
		return statuspage.Status{NotReady: "x" + text, Problems: []statuspage.Problem{{Text: text}}, Sections: []statuspage.Section{{Title: "S" + text,
			Rows: []statuspage.Row{{Name: "N" + text, Value: statuspage.Text("x" + text)}},
			Tables: []statuspage.Table{{Title: "x" + text, Columns: []string{"a", "x" + text, "c"},
				Rows: [][]statuspage.Value{{statuspage.Text("x" + text), v, v}}}}}}}
	}})
	if err != nil {
		f.Fatal(err)
	}
	h := c.Handler()
	text = "x"
	_, _, page := get(f, h, "/")
	want := readPage(f, page)
	f.Fuzz(func(t *testing.T, s string) {
		text = s
		_, _, page := get(t, h, "/")
		got := readPage(t, page)
		if !slices.Equal(got.tags, want.tags) {
			t.Fatalf("%q changed the tags: %v", s, got.tags)
		}
		_, _, body := get(t, h, "/status.json")
		j := readJSON(t, body)
		if row, cells := j.Sections[0].Rows[0].Value, got.rows[0].cells; row != cells[0] && strings.TrimSpace(row.(string)) != cells[0] {
			t.Fatalf("%q is %q on the page and %q in JSON", s, cells[0], row)
		}
		if _, _, metrics := get(t, h, "/metrics"); strings.Count(metrics, "\navdb_") != 6 {
			t.Fatalf("%q changed the metrics", s)
		}
	})
}
