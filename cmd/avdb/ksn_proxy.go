package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/network"
	"example.org/avdb/ksn/proxy"
)

type proxyFlags struct {
	listening
	provider string
	upstream []string
	cache    string
	limit    float64
}

func newKSNProxy(a *app) *cobra.Command {
	var o proxyFlags
	c := &cobra.Command{
		Use:   "proxy",
		Short: "pass questions on for devices without internet, and keep the answers",
		Long: `Run a KSN proxy: it answers from its cache, passes on what it does not know, and tells nobody who asked. Answers are relayed
as they were signed. It serves the network of --provider FILE alone; --upstream names servers or other proxies, by
default the servers of the file. Where --state has a database, its restrictions hold for what is passed on.
The credential for the upstreams is read from the environment, AVDB_KSN_TOKEN.

/status shows how things stand, /metrics the same for Prometheus.`,
		Example: `  avdb ksn proxy --provider provider.json
  avdb ksn proxy --provider provider.json --listen :13111 --upstream https://ksn.example.net --cache 256M`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.proxyKSN(c.Context(), o) },
	}
	o.flags(c, ":13111")
	f := c.Flags()
	f.StringVar(&o.provider, "provider", "", "`FILE` of the network, as devices install it")
	f.StringArrayVar(&o.upstream, "upstream", nil, "`URL` of a server or another proxy; once for each, in the order in which they are tried")
	f.StringVar(&o.cache, "cache", "64M", "memory that answers may take, `SIZE` such as 256M")
	f.Float64Var(&o.limit, "limit", proxy.DefaultPerSecond, "requests a second that each device, by its address, may send, and five times as many at once; 0 for no limit")
	return c
}

// deviceLimit is what --limit says.
func deviceLimit(perSecond float64) (proxy.Limit, error) {
	l := proxy.Limit{PerSecond: perSecond, Burst: int(max(1, min(5*perSecond, 1e9)))}
	if perSecond == 0 {
		l.PerSecond = -1
	}
	if err := l.Check(); perSecond < 0 || err != nil {
		return l, usagef("--limit is %v, want 0, or 0.001 to a billion requests a second", perSecond)
	}
	return l, nil
}

func (a *app) proxyKSN(ctx context.Context, o proxyFlags) error {
	defer a.takeStandardLog()()
	if o.provider == "" {
		return &usageError{text: "--provider FILE is missing", command: "avdb ksn proxy"}
	}
	f, err := network.ReadFile(o.provider)
	if err != nil {
		return err
	}
	bytes, err := parseSize(o.cache)
	if err != nil || bytes < 1<<20 {
		return usagef("--cache is %q, want a size of at least 1M", o.cache)
	}
	limit, err := deviceLimit(o.limit)
	if err != nil {
		return err
	}
	d, err := a.device(true)
	if err != nil {
		return err
	}
	if err := d.checkToken(); err != nil {
		return err
	}
	metrics := proxy.NewMetrics()
	var p *proxy.Proxy
	page, err := metrics.Page(readVersion().Version, func() *proxy.Proxy { return p }, time.Now)
	if err != nil {
		return err
	}
	own := &restricted{load: d.restrictions, log: a.logger()}
	own.read(ctx)
	p, err = proxy.New(proxy.Config{Provider: &f, Upstreams: o.upstream, Token: d.token, Agent: "avdb-ksn-proxy/" + readVersion().Version,
		Restrictions: own.get, Install: d.settings.Install, Memory: d.store, CacheBytes: bytes, Limit: limit, Status: page.Handler(), Collector: metrics, Log: a.logger()})
	if err != nil {
		return usagef("%v", err)
	}
	defer p.Close()
	stop := inBackground(ctx, page.Run, own.follow)
	defer stop()
	a.answered = true
	return o.serve(ctx, a, p, fmt.Sprintf("proxy of the network %q", f.Provider.Name))
}

// restricted is the restriction set of a state, as it is now; where it cannot be proved any more, the last one that could, also if it has no records, and
// without such a one nothing is passed on. A state that never had one restricts nothing: a proxy stands between devices, which have their own.
type restricted struct {
	load func() (*ksn.Set, error) // the set of the state; beside an error one that lets nothing pass
	log  *slog.Logger
	told bool // of the error that there was at the last reading

	mu  sync.Mutex
	set *ksn.Set
}

func (r *restricted) get() *ksn.Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set
}

// read is called by one goroutine at a time.
func (r *restricted) read(context.Context) {
	set, err := r.load()
	r.mu.Lock()
	defer r.mu.Unlock()
	keep := err != nil && r.set != nil && !r.set.Unproved()
	if !keep {
		r.set = set
	}
	switch {
	case err == nil || r.told: // it is read again every two seconds
	case keep:
		r.log.Warn("the restrictions cannot be proved, those from before hold", "error", err)
	default:
		r.log.Warn("nothing is passed on: the restrictions cannot be proved", "error", err)
	}
	r.told = err != nil
}

func (r *restricted) follow(ctx context.Context) {
	for pause(ctx, rereadAfter) == nil {
		r.read(ctx)
	}
}
