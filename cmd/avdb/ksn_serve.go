package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/intake"
	"example.org/avdb/ksn/network"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/server"
	"example.org/avdb/ksn/serving"
	"example.org/avdb/matcher"
	"example.org/avdb/osfile"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// listening is what commands that serve have in common.
type listening struct {
	listen, cert, key string
}

func (l *listening) flags(c *cobra.Command, standard string) {
	f := c.Flags()
	f.StringVar(&l.listen, "listen", standard, "`ADDRESS` to listen on, HOST:PORT")
	f.StringVar(&l.cert, "tls-cert", "", "`FILE` with the certificate chain, PEM; with --tls-key")
	f.StringVar(&l.key, "tls-key", "", "`FILE` with the private key, PEM; with --tls-cert")
}

// takeStandardLog has what packages write with the standard logger go to the program's own log, at level debug, until done is called: net/http tells
// there of peers that break the rules, such as one that sends what nobody asked for, in lines of its own and as often as the peer likes.
func (a *app) takeStandardLog() (done func()) {
	l := log.Default()
	out, flags := l.Writer(), l.Flags()
	own := slog.NewLogLogger(a.logger().Handler(), slog.LevelDebug)
	l.SetFlags(0)
	l.SetOutput(own.Writer())
	return func() {
		l.SetOutput(out)
		l.SetFlags(flags)
	}
}

// serve answers requests until ctx ends, then lets those under way end.
func (l *listening) serve(ctx context.Context, a *app, h http.Handler, what string) error {
	if (l.cert == "") != (l.key == "") {
		return usagef("--tls-cert and --tls-key belong together")
	}
	var t *tls.Config
	if l.cert != "" {
		pair, err := tls.LoadX509KeyPair(l.cert, l.key)
		if err != nil {
			return err
		}
		t = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	var lc net.ListenConfig
	sock, err := lc.Listen(ctx, "tcp", l.listen)
	if err != nil {
		return hint(err, "choose another address with --listen")
	}
	s := serving.NewHTTPServer(h, t)
	done := make(chan error, 1)
	go func() {
		if t != nil {
			done <- s.ServeTLS(sock, "", "")
		} else {
			done <- s.Serve(sock)
		}
	}()
	a.note("%s on %s", what, sock.Addr())
	select {
	case err = <-done:
		return err
	case <-ctx.Done():
	}
	quiet, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.Shutdown(quiet); err != nil {
		s.Close()
	}
	<-done
	return nil
}

type serveFlags struct {
	listening
	provider string
	source   []string
	root     string
	every    time.Duration
	tokens   string
	stats    string
	nats     string
	creds    string
	log      bool
	bits     uint8
}

func newKSNServe(a *app) *cobra.Command {
	var o serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "answer the questions of a private network",
		Long: `Run a private KSN server: it answers by prefix from the full database in --state, signed by the reputation key in --provider
DIR. With --source and --root it keeps that database current itself; without, it follows what "avdb update" does there. Overrides of
the state ("avdb ksn override") beat the database. Servers share nothing: run as many as are needed.

With --tokens FILE only those may ask who show a token: each line of FILE is NAME and the SHA-256 of the token in hex.
/status shows how things stand, /metrics the same for Prometheus, /openapi.yaml describes the protocol.`,
		Example: `  avdb ksn serve --provider net --listen :8443 --tls-cert cert.pem --tls-key key.pem
  avdb ksn serve --provider net --listen 127.0.0.1:8080 --state /var/lib/ksn --source https://mirror.example.org/avdb --root 1.root.json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.serveKSN(c.Context(), o) },
	}
	o.flags(c, "127.0.0.1:8080")
	f := c.Flags()
	f.StringVar(&o.provider, "provider", "", "`DIR` of the network, as \"avdb ksn provider create\" makes it")
	f.StringArrayVar(&o.source, "source", nil, "keep the database current from this `URL` (can be repeated)")
	f.StringVar(&o.root, "root", "", "`FILE` with the first root, for a state that was never set up; with --source")
	f.DurationVar(&o.every, "every", time.Hour, "how long between two updates, with --source")
	f.StringVar(&o.tokens, "tokens", "", "`FILE` with the clients that may ask")
	f.StringVar(&o.stats, "stats-dir", "", "`DIR` for the statistics that devices send; without it and --stats-nats none are taken")
	f.StringVar(&o.nats, "stats-nats", "", "`URL` of a NATS server with JetStream for the statistics, instead of --stats-dir")
	f.StringVar(&o.creds, "stats-nats-creds", "", "`FILE` with the credentials for it")
	f.Uint8Var(&o.bits, "prefix-bits", protocol.DefaultBits, "how many `BITS` of a hash devices should ask with: fewer tell less, and cost more")
	f.BoolVar(&o.log, "log-requests", false, "write who asked for which prefix into the log, at level debug")
	return c
}

func (a *app) serveKSN(ctx context.Context, o serveFlags) error {
	if o.provider == "" {
		return &usageError{text: "--provider DIR is missing", command: "avdb ksn serve"}
	}
	if o.every < time.Minute {
		return usagef("--every is %s, want at least a minute", o.every)
	}
	if o.bits < protocol.MinBits || o.bits > protocol.MaxBits {
		return usagef("--prefix-bits is %d, want %d to %d", o.bits, protocol.MinBits, protocol.MaxBits)
	}
	defer a.takeStandardLog()()
	own, err := network.Open(o.provider)
	if err != nil {
		return err
	}
	tokens, err := readTokens(o.tokens)
	if err != nil {
		return err
	}
	d, err := a.device(len(o.source) == 0)
	if err != nil {
		return err
	}
	if d, err = a.served(ctx, d, o); err != nil {
		return err
	}
	if len(o.source) > 0 {
		keep, err := a.keepCurrent(ctx, d, o)
		if err != nil {
			return err
		}
		defer keep()
	}
	base := &fullDatabase{store: d.store}
	defer base.close()
	page, err := server.NewPage(&own.Provider, readVersion().Version, nil)
	if err != nil {
		return err
	}
	take, done, err := o.intake(a)
	if err != nil {
		return err
	}
	defer done()
	over, err := serverOverrides(d.store)
	if err != nil {
		return err
	}
	s, err := server.New(server.Config{Intake: take, Overrides: over, Provider: &own.Provider, Key: own.Key, Database: base, Tokens: tokens, Log: a.logger(), LogRequests: o.log, PrefixBits: o.bits,
		Status: page.Handler(), Collector: page})
	if err != nil {
		return err
	}
	page.Of(s)
	stop := inBackground(ctx, page.Run, func(ctx context.Context) { followOverrides(ctx, d, s) })
	defer stop()
	a.answered = true
	return o.serve(ctx, a, s, fmt.Sprintf("network %q, key %s, answers", own.Provider.Provider.Name, own.Key.ID()))
}

// intake is where statistics go, nil for nowhere.
func (o *serveFlags) intake(a *app) (take server.Intake, done func(), err error) {
	switch {
	case o.stats != "" && o.nats != "":
		return nil, nil, usagef("--stats-dir and --stats-nats exclude each other")
	case o.stats != "":
		f, err := intake.OpenFiles(intake.FilesConfig{Dir: o.stats})
		if err != nil {
			return nil, nil, err
		}
		return intake.New(f), func() { f.Close() }, nil
	case o.nats != "":
		j, err := intake.OpenJetStream(intake.JetStreamConfig{URL: o.nats, Credentials: o.creds, Log: a.logger()})
		if err != nil {
			return nil, nil, err
		}
		return intake.New(j), func() { j.Close() }, nil
	}
	return nil, func() {}, nil
}

// inBackground runs each f until ctx ends or stop is called, which waits for them.
func inBackground(ctx context.Context, all ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	for _, f := range all {
		go func() {
			defer func() { done <- struct{}{} }()
			f(ctx)
		}()
	}
	return func() {
		cancel()
		for range all {
			<-done
		}
	}
}

// served is the device that a server answers from. With a source and a root it sets up a state that nobody set up.
func (a *app) served(ctx context.Context, d *device, o serveFlags) (*device, error) {
	if len(o.source) == 0 {
		if o.root != "" {
			return nil, usagef("--root belongs to --source")
		}
		return d, nil
	}
	if o.root == "" {
		if d.known {
			return d, nil
		}
		return nil, &usageError{text: "--root FILE is missing: whom does this state believe?", command: "avdb ksn serve"}
	}
	if _, err := a.initialise(ctx, initOptions{sources: o.source, rootFile: o.root}); err != nil {
		return nil, err
	}
	return a.device(false)
}

// keepCurrent updates the state now and then again and again; where there is no database yet it waits for the first one. A failure is told and does not end
// the server: what is there goes on answering.
func (a *app) keepCurrent(ctx context.Context, d *device, o serveFlags) (stop func(), err error) {
	c, err := d.updater(o.source)
	if err != nil {
		return nil, err
	}
	c.Interval = o.every
	u, err := updater.New(c)
	if err != nil {
		return nil, err
	}
	once := func(ctx context.Context) time.Time {
		r, err := u.Update(ctx, updater.Options{Variant: string(dbformat.VariantFull)})
		if err != nil && ctx.Err() == nil {
			a.warn("%v", err)
		}
		if r.NextNotBefore != nil {
			return *r.NextNotBefore
		}
		return time.Now().Add(o.every)
	}
	var next time.Time // at once; a database that is there answers meanwhile
	if _, err := d.store.Current(); err != nil {
		next = once(ctx)
	}
	return inBackground(ctx, func(ctx context.Context) {
		for pause(ctx, time.Until(next)) == nil {
			next = once(ctx)
		}
	}), nil
}

const maxTokens = 8 << 20 // bytes of a file with tokens

// readTokens reads the clients that may ask: NAME and the SHA-256 of a token in hex, a client a line; # begins a comment.
func readTokens(name string) ([]server.Token, error) {
	if name == "" {
		return nil, nil
	}
	f, err := osfile.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--tokens: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokens+1))
	if err != nil || len(b) > maxTokens {
		return nil, errors.Join(err, usagef("--tokens %s: it cannot be read, or has more than %d bytes", name, maxTokens))
	}
	var list []server.Token
	for i, line := range strings.Split(string(b), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		var sum dbformat.Digest
		if len(fields) == 2 {
			sum, err = dbformat.ParseDigest(fields[1])
		}
		if len(fields) != 2 || err != nil {
			return nil, usagef("--tokens %s:%d: want a name and 64 hex digits, the SHA-256 of a token", name, i+1)
		}
		list = append(list, server.Token{Name: fields[0], SHA256: [sha256.Size]byte(sum)})
	}
	if len(list) == 0 {
		return nil, usagef("--tokens %s: it names no client, so that nobody could ask", name)
	}
	return list, nil
}

// followOverrides takes changes of the state's overrides into use.
func followOverrides(ctx context.Context, d *device, s *server.Server) {
	for {
		list, err := serverOverrides(d.store)
		if err == nil {
			err = s.SetOverrides(list)
		}
		if err != nil {
			d.a.logger().Warn("the overrides cannot be used, those from before stay", "error", err)
		}
		if pause(ctx, rereadAfter) != nil {
			return
		}
	}
}

func serverOverrides(s *store.Store) ([]server.Override, error) {
	list, err := s.Overrides()
	if err != nil {
		return nil, err
	}
	var all []server.Override
	for _, o := range list {
		k, err := protocol.ParseTypedKey(o.Key)
		if err != nil {
			return nil, err
		}
		x := server.Override{Key: k, Verdict: o.Verdict, Note: o.Note, Since: o.Since.Time, Name: o.Name, Category: o.Category, Popularity: o.Popularity,
			Signer: o.Signer, Regions: o.Regions}
		if o.FirstSeen != nil {
			x.FirstSeen = o.FirstSeen.Time
		}
		all = append(all, x)
	}
	return all, nil
}

// A fullDatabase is the current generation of a state, as package server wants a database. One that is not there yet is looked for again
// every two seconds.
type fullDatabase struct {
	store *store.Store

	mu     sync.Mutex
	m      *matcher.Matcher // nil: none could be opened so far
	why    error            // of the last try
	looked time.Time
}

func (b *fullDatabase) open() (*matcher.Matcher, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil && time.Since(b.looked) >= rereadAfter {
		b.m, b.why = matcher.Open(b.store, matcher.Options{PUA: true})
		b.looked = time.Now()
	}
	return b.m, b.why
}

func (b *fullDatabase) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m != nil {
		b.m.Close()
	}
}

// WithPrefixes implements [server.Database].
func (b *fullDatabase) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	m, err := b.open()
	if err != nil {
		return 0, err
	}
	return m.WithPrefixes(a, bits, values, func(at int, k matcher.Known) bool { return visit(at, server.Known(k)) })
}

// WithURLPrefixes implements [server.Database].
func (b *fullDatabase) WithURLPrefixes(bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	m, err := b.open()
	if err != nil {
		return 0, err
	}
	return m.WithURLPrefixes(bits, values, func(at int, k matcher.Known) bool { return visit(at, server.Known(k)) })
}

// Content implements [server.Teller]. Two generations with the same layers answer alike.
func (b *fullDatabase) Content() (c server.Content, release uint64, err error) {
	m, err := b.open()
	if err != nil {
		return c, 0, err
	}
	m.URLs() // has the matcher look for a newer generation when it is time to
	g := m.Generation()
	if g.Rest == nil {
		return c, 0, fmt.Errorf("release %d is the light database: %w", g.Version, matcher.ErrNotFull)
	}
	copy(c[copy(c[:], g.Light.Digest[:]):], g.Rest.Digest[:])
	return c, g.Version, nil
}

// Counts implements [server.Database].
func (b *fullDatabase) Counts() (server.Counts, error) {
	m, err := b.open()
	if err != nil {
		return server.Counts{}, err
	}
	g := m.Generation()
	if g.Variant() != dbformat.VariantFull {
		return server.Counts{}, fmt.Errorf("release %d is the light database: %w", g.Version, matcher.ErrNotFull)
	}
	c := server.Counts{Release: g.Version, URLs: m.URLs()}
	for _, n := range m.Counts() {
		c.Files += n
	}
	return c, nil
}
