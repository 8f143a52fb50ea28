package updater

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"golang.org/x/time/rate"

	"example.org/avdb/signing"
)

// A RemoteConfig is how a source is read. The zero value is good for metadata and small targets.
type RemoteConfig struct {
	Downloads string              // the folder of partial files, which exists and is nobody else's; [Remote.Open] needs it for http(s)://
	Getenv    func(string) string // for secrets in the environment; nil means os.Getenv
	Now       func() time.Time    // nil means time.Now
	Random    func() float64      // in [0, 1), for jitter, from any goroutine; nil means math/rand/v2
	Transport http.RoundTripper   // nil means one of our own, with the proxies of the environment
	Limits    Limits              // Update, Hook and HeadRoom are for the caller to keep
	RateLimit int64               // bytes a second of all bodies together; 0 or less means none
	UserAgent string              // "" means avdb/1 with system and architecture
}

// A Remote is a source that is being read: what an update cycle fetches with, for other programs that get what a repository signed.
// Nothing that it gives is believed: a target is held against its signed length and hash here, metadata is for [signing.Trust.Refresh] to
// verify, whose [signing.Fetcher] a Remote is. Its errors match [ErrUnavailable], [ErrCoolDown], signing.ErrUntrusted, store.ErrStorage for the
// downloads folder or signing.ErrStorage for the trust folder, or are the context's; none shows a secret. It is for one goroutine at a time;
// only [Remote.Traffic] may be called beside.
type Remote struct {
	source  Source
	src     source
	access  access
	traffic traffic
}

// OpenRemote reads the credentials of s and makes it ready. It touches neither network nor the source's folder.
func OpenRemote(s Source, c RemoteConfig) (*Remote, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	r := &Remote{source: s}
	var err error
	r.src, r.access, err = c.withDefaults().connect(s, &r.traffic)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// connect is the one place where a source becomes what bytes are read from. Nothing in c is missing, but Transport.
func (c RemoteConfig) connect(s Source, t *traffic) (source, access, error) {
	if c.Transport != nil && s.onTransport() {
		return nil, access{}, &SourceError{Source: s.Name(), Reason: "it wants a client certificate, CA file or proxy, and the transport is the host program's",
			Remedy: "leave Config.Transport nil"}
	}
	a, err := s.resolve(c.Getenv)
	if err != nil {
		return nil, access{}, err
	}
	if a.url.Scheme == "file" {
		return newFileSource(a.url, t), a, nil
	}
	m := newMeter(a, c.Limits, c.Transport, t)
	m.limiter = newLimiter(c.RateLimit)
	return newHTTPSource(s.Name(), m, c.Downloads, c.UserAgent, c.Now, c.Random), a, nil
}

func (c RemoteConfig) withDefaults() RemoteConfig {
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	c.UserAgent = cmp.Or(c.UserAgent, defaultAgent())
	c.Limits = c.Limits.withDefaults()
	return c
}

// newLimiter lets n bytes a second pass, all if n is 0 or less.
func newLimiter(n int64) *rate.Limiter {
	if n <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(n), int(min(max(n, 4<<10), 1<<20)))
}

// Name is the source's [Source.Name].
func (r *Remote) Name() string { return r.source.Name() }

// Fetch gets a metadata file of at most limit bytes, as [signing.Fetcher] says.
func (r *Remote) Fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	b, err := r.src.Fetch(ctx, name, limit)
	return b, r.access.hideErr(err)
}

// Refresh brings a trust up to date from this source, with the source's MaxAge. Its errors have the source's name.
func (r *Remote) Refresh(ctx context.Context, t *signing.Trust, o signing.RefreshOptions) (*signing.Verified, error) {
	o.MaxAge = r.source.MaxAge
	v, err := t.Refresh(ctx, r, o)
	if err == nil {
		return v, nil
	}
	return nil, r.access.hideErr(ofSource(ctx, r.Name(), err))
}

// ofSource gives an error of a refresh its source's name, and one of the context its cause.
func ofSource(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, named := errors.AsType[*TargetError](err); !named && errors.Is(err, signing.ErrUntrusted) {
		return &MetadataError{Source: name, Err: err}
	}
	return err
}

// Small gives a whole target of at most limit bytes, verified.
func (r *Remote) Small(ctx context.Context, t signing.Target, limit int64) ([]byte, error) {
	b, err := r.src.small(ctx, t, limit)
	return b, r.access.hideErr(err)
}

// Open gives a target of at most [MaxTarget] bytes as an open file, verified through the very descriptor that is returned and standing at its
// start. What an earlier run left of it in the downloads folder is gone on with. progress is told how many bytes are there, from
// another goroutine; nil for none. The caller calls done once: it closes the file, and with used removes what is kept of it in the downloads folder.
func (r *Remote) Open(ctx context.Context, t signing.Target, progress func(done int64)) (f *os.File, done func(used bool), err error) {
	if progress == nil {
		progress = func(int64) {}
	}
	got, err := r.src.open(ctx, t, progress)
	if err != nil {
		return nil, nil, r.access.hideErr(err)
	}
	return got.File, got.done, nil
}

// Traffic counts what crossed the network so far: requests, redirects and retries among them, and the bytes of all bodies. Of a folder it counts the
// files.
func (r *Remote) Traffic() (bytes, requests int64) {
	return r.traffic.bytes.Load(), r.traffic.requests.Load()
}

// Close drops idle connections and open folders.
func (r *Remote) Close() { r.src.close() }
