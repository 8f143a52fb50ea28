package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"example.org/avdb/ksn/protocol"
)

// A pace is how long a section measures.
type pace struct {
	rounds, seconds int           // of a load from another process
	turns           int           // rounds within this process,
	slice           time.Duration // and how long a function is called in each
}

func (b *bench) pace() pace {
	if b.quick {
		return pace{rounds: 1, seconds: 1, turns: 3, slice: 5 * time.Millisecond}
	}
	return pace{rounds: 5, seconds: 3, turns: 15, slice: 100 * time.Millisecond}
}

// measureKSN is the section ksn.
func measureKSN(ctx context.Context, b *bench) (*page, error) {
	w, err := newKSNWorld(ctx, b)
	if err != nil {
		return nil, err
	}
	p := &page{}
	if err := w.underLoad(ctx, p); err != nil {
		return nil, err
	}
	return p, w.inProcess(ctx, p)
}

// underLoad measures processes that another one sends requests to.
func (w *ksnWorld) underLoad(ctx context.Context, p *page) error {
	g, err := newGenerator(w.dir)
	if errors.Is(err, errNoWrk) {
		w.note("%v: rows with load from another process are left out", err)
		for _, what := range []string{demandServer, demandBatchLoad, demandNewLoad, demandProxy} {
			p.demands = append(p.demands, demand{what: what, want: wants()[what], why: err.Error()})
		}
		return nil
	}
	if err != nil {
		return err
	}
	server, err := w.server(ctx)
	if err != nil {
		return err
	}
	defer server.stop()
	for _, part := range []func(context.Context, *page, *generator, *process) error{w.serverLoad, w.batchLoad, w.proxyLoad} {
		if err := part(ctx, p, g, server); err != nil {
			return err
		}
	}
	return nil
}

// The demands of the section.
const (
	demandServer       = "server: look-ups a second for each core, and p99, 5 M entries, load from a second process"
	demandProxy        = "proxy: a hit against nginx serving a static file of the same size"
	demandBatchLoad    = "server: a batch of 256 that were asked before against one look-up, processor time over loopback"
	demandNewLoad      = "the same, of 256 that were not"
	demandBatchHandler = "server: a batch of 256 that were asked before against one look-up, processor time of the handler alone"
	demandNewHandler   = "the same, of 256 that were not, by the handler alone"
	demandCacheHit     = "client: processor time of a cache hit"
)

// wants are what the demands ask for.
func wants() map[string]string {
	return map[string]string{demandServer: "shown", demandProxy: "≥ 0.5× requests a second", demandBatchLoad: "≤ 5×", demandNewLoad: "≤ 5×", demandBatchHandler: "≤ 5×", demandNewHandler: "≤ 5×", demandCacheHit: "≤ 1 µs"}
}

// demand adds a demand that was measured.
func (p *page) demand(what, got string, met bool) {
	p.demands = append(p.demands, demand{what: what, want: wants()[what], got: got, met: met})
}

// micros is a number of microseconds as a cell.
func micros(us float64) string { return nanos(us * 1e3) }

// orDash is a cell for a figure that is 0 where it could not be read.
func orDash(v float64, cell func(float64) string) string {
	if v == 0 {
		return "-"
	}
	return cell(v)
}

// connections are how many at once a load uses, in turn.
func connections() []int { return []int{1, 8, 64} }

// serverLoad is GET of one prefix, half of them with an entry and half random.
func (w *ksnWorld) serverLoad(ctx context.Context, p *page, g *generator, server *process) error {
	w.note("the server is asked for one prefix at a time")
	half := false
	l, err := g.load(server, w.gets(2*clients, func() protocol.Prefix {
		if half = !half; half {
			return w.hit()
		}
		return w.any()
	}))
	if err != nil {
		return err
	}
	t := table{title: "Server, one look-up a request", how: fmt.Sprintf("`avdb ksn serve` over %s entries, `GET /v1/l/file-sha256/24/…` by wrk (one thread) over connections that stay; "+
		"half of the prefixes have an entry, half are random; 8192 clients with tokens. A connection sends its next request when the answer to the last one is there.", count(float64(w.entries))),
		columns: []string{"connections", "look-ups a second", "a second of one core", "p50", "p99", "cores busy"}}
	var labels []string
	var p50, p99 []float64
	best := outcome{}
	if _, err := g.run(ctx, l, 8, w.pace().seconds); err != nil { // the first time that blocks are read they are proved
		return err
	}
	for _, n := range connections() {
		got, err := g.compare(ctx, w.pace().rounds, n, w.pace().seconds, l)
		if err != nil {
			return err
		}
		o := got[0]
		t.add(strconv.Itoa(n), count(o.perSecond), orDash(o.perCore(), count), micros(o.p50), micros(o.p99), orDash(o.cores, fixed))
		labels, p50, p99 = append(labels, strconv.Itoa(n)), append(p50, o.p50), append(p99, o.p99)
		if best.perSecond < o.perSecond {
			best = o
		}
	}
	if all, own, err := server.memory(); err == nil {
		t.how += fmt.Sprintf(" Afterwards %.0f MB of the server are in memory, %.0f MB of them its own and the rest mapped layers.", float64(all)/1e6, float64(own)/1e6)
	}
	p.tables = append(p.tables, t)
	p.demand(demandServer, fmt.Sprintf("%s, p99 %s", orDash(best.perCore(), count), micros(best.p99)), true)
	d, err := bars("Server: time to an answer under load", "connections", "microseconds", labels, []series{{"p50", p50}, {"p99", p99}})
	if err != nil {
		return err
	}
	x, err := render("ksn-server.svg", "Bars: p50 and p99 of a look-up by number of connections", d)
	p.pictures = append(p.pictures, x)
	return err
}

func fixed(v float64) string { return fmt.Sprintf("%.2f", v) }

// times is a ratio as a cell.
func times(v float64) string { return fmt.Sprintf("%.2f×", v) }

// A batch is a kind of request: how many prefixes, and whether they are ones whose answers no server has kept.
type batch struct {
	size  int
	fresh bool
}

// String is a cell.
func (b batch) String() string {
	if b.fresh {
		return strconv.Itoa(b.size) + ", not asked before"
	}
	return strconv.Itoa(b.size)
}

// batches are the kinds, a look-up of one prefix first.
func batches() []batch {
	return []batch{{size: 1}, {size: 16}, {size: 64}, {size: 256}, {size: 256, fresh: true}}
}

// prefixes are what requests of the kind ask for, and how many requests are made.
func (w *ksnWorld) prefixes(b batch) (one func() protocol.Prefix, requests int) {
	switch {
	case b.fresh:
		return w.fresh, max(1, len(w.others)/b.size)
	case b.size == 1:
		return w.hit, clients
	}
	return w.hit, 1 << 18 / b.size // each of another client: so many that none is limited
}

// batchLoad is POST of several prefixes against GET of one.
func (w *ksnWorld) batchLoad(ctx context.Context, p *page, g *generator, server *process) error {
	w.note("the server is asked for batches")
	var loads []load
	for _, b := range batches() {
		one, n := w.prefixes(b)
		var requests [][]byte
		if b.size == 1 {
			requests = w.gets(n, one)
		} else {
			var err error
			if requests, err = w.posts(n, b.size, one); err != nil {
				return err
			}
		}
		l, err := g.load(server, requests)
		if err != nil {
			return err
		}
		loads = append(loads, l)
	}
	t := table{title: "Server, batches over loopback", how: "`GET` of one prefix and `POST /v1/lookup` of several, in turn, by wrk. Each prefix has an entry with a name of 25 to 28 bytes. " +
		"Processor time is all of the server's, the kernel's part of it and net/http included. A server keeps the answers that it gave to batches: where nothing else is said, " +
		"the prefixes are of 65 536 that are asked about again and again; those not asked before are of a million in turn, of which it keeps none long enough.",
		columns: []string{"connections", "prefixes", "requests a second", "processor time of a request", "against one", "of a prefix", "p50", "against one"}}
	worst, clock := map[bool]float64{}, map[bool]float64{}
	for _, l := range loads[1:] { // blocks are proved when they are first read
		if _, err := g.run(ctx, l, 8, w.pace().seconds); err != nil {
			return err
		}
	}
	for _, n := range []int{1, 8} {
		got, err := g.compare(ctx, w.pace().rounds, n, w.pace().seconds, loads...)
		if err != nil {
			return err
		}
		for i, b := range batches() {
			o := got[i]
			ratio := 0.0
			if o.cpu > 0 {
				ratio = o.cpu / got[0].cpu
			}
			t.add(strconv.Itoa(n), b.String(), count(o.perSecond), orDash(o.cpu, nanos), orDash(ratio, times), orDash(o.cpu/float64(b.size), nanos), micros(o.p50), times(o.p50/got[0].p50))
			if b.size == 256 {
				worst[b.fresh], clock[b.fresh] = max(worst[b.fresh], ratio), max(clock[b.fresh], o.p50/got[0].p50)
			}
		}
	}
	p.tables = append(p.tables, t)
	for i, what := range []string{demandBatchLoad, demandNewLoad} {
		fresh := i == 1
		if worst[fresh] == 0 {
			p.demands = append(p.demands, demand{what: what, want: wants()[what], why: errNoProc.Error()})
			continue
		}
		p.demand(what, fmt.Sprintf("%s at worst, %s on the clock", times(worst[fresh]), times(clock[fresh])), worst[fresh] <= 5)
	}
	return nil
}

// proxyLoad is a hit in the proxy's cache against nginx.
func (w *ksnWorld) proxyLoad(ctx context.Context, p *page, g *generator, server *process) error {
	proxy, err := w.proxy(ctx, server)
	if err != nil {
		return err
	}
	defer proxy.stop()
	path := w.hit().Path()
	body, err := fetch(ctx, "http://"+proxy.addr+path)
	if err != nil {
		return err
	}
	nginx, err := w.nginx(ctx, path, body)
	if errors.Is(err, errNoNginx) {
		w.note("%v: rows against it are left out", err)
		p.demands = append(p.demands, demand{what: demandProxy, want: wants()[demandProxy], why: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	defer nginx.stop()
	w.note("proxy and nginx are asked in turn")
	var loads []load
	for _, to := range []*process{proxy, nginx} {
		l, err := g.load(to, [][]byte{get(path, "")})
		if err != nil {
			return err
		}
		loads = append(loads, l)
	}
	t := table{title: "Proxy against nginx", how: fmt.Sprintf("`avdb ksn proxy` with the answer in its cache, and nginx with a file of the same %d bytes, in turn, by wrk (one thread). nginx has as many workers as cores, "+
		"no log, and its cache of open files.", len(body)),
		columns: []string{"connections", "proxy", "nginx", "ratio of requests a second", "proxy, processor time", "nginx, processor time", "nginx's / proxy's", "proxy p99", "nginx p99"}}
	worst := 0.0
	var labels []string
	var ours, theirs []float64
	for _, n := range connections() {
		got, err := g.compare(ctx, w.pace().rounds, n, w.pace().seconds, loads...)
		if err != nil {
			return err
		}
		a, z := got[0], got[1]
		ratio := a.perSecond / z.perSecond
		spare := 0.0
		if a.cpu > 0 {
			spare = z.cpu / a.cpu
		}
		t.add(strconv.Itoa(n), count(a.perSecond), count(z.perSecond), times(ratio), orDash(a.cpu, nanos), orDash(z.cpu, nanos), orDash(spare, times), micros(a.p99), micros(z.p99))
		if worst == 0 || ratio < worst {
			worst = ratio
		}
		labels, ours, theirs = append(labels, strconv.Itoa(n)), append(ours, a.perSecond), append(theirs, z.perSecond)
	}
	p.tables = append(p.tables, t)
	p.demand(demandProxy, times(worst)+" at worst", worst >= 0.5)
	half := slices.Clone(theirs)
	for i := range half {
		half[i] /= 2 // the demand
	}
	d, err := bars("Proxy: a hit against a static file", "connections", "requests a second", labels, []series{{"avdb ksn proxy", ours}, {"nginx", theirs}, {"half of nginx", half}})
	if err != nil {
		return err
	}
	x, err := render("ksn-proxy.svg", "Bars: requests a second of the proxy, of nginx and half of nginx's, by number of connections", d)
	p.pictures = append(p.pictures, x)
	return err
}

// fetch gets a body, once.
func fetch(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return body, err
}
