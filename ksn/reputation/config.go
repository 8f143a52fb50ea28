package reputation

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A Config says all that a client needs from outside. Functions in it are called by any goroutine, before each request, and take no time.
type Config struct {
	// Facts are what is known of the device now, with its consent, and the restriction set in force, nil for none. Facts.Network is that of
	// [Installed], or nil once the provider file was removed. Required.
	Facts func() (ksn.Facts, *ksn.Set)

	// Provider is the installed provider file of the network that the settings choose, verified and pinned by the caller; nil: none, and
	// nothing is asked. Another file needs another client.
	Provider *protocol.ProviderFile

	Kind      ksn.NetworkKind      // of the network that the settings choose; "" for that of Provider. Provider must be of that kind.
	Routes    func() RouteSettings // what the settings permit; nil: servers directly
	Token     func() string        // the credential, shown to https hops and to loopback as a bearer token, if protocol.CheckToken takes it; nil or "" for none
	Override  Override             // the administrator's verdicts; nil: none
	Release   func() uint64        // of the database in use, for objects that are suspected without naming one; nil: 0
	Memory    Memory               // what is kept over restarts; nil: nothing
	OnSettled OnSettled            // gets what became of deferred objects when the client asks again by itself; nil: it does not
	Observe   func(Exchange)       // gets each request for objects that came to an end, for statistics; nil: nobody does
	Running   bool                 // the process stays and keeps asking; false for a command

	Transport  http.RoundTripper // nil: one of NewTransport, which Close closes
	Now        func() time.Time  // as ksn.TimeUsed; nil: the system's clock
	Random     func() float64    // in [0,1); nil: the system's
	Agent      string            // User-Agent; "" means "avdb"
	CacheBytes int64             // of the answer cache in memory, 0 for CacheBytes
	Log        *slog.Logger      // nil: none
}

// An Override gives the administrator's verdict of a key.
type Override func(protocol.Key) (v protocol.Verdict, name string, ok bool)

// OnSettled takes a deferred object and its verdict. It is called by one goroutine at a time.
type OnSettled func(Deferred, Verdict)

// An Exchange is one request about objects and what came of it. A request that was given up because nobody waited any more is none.
type Exchange struct {
	Object   ksn.Object
	Answered int           // questions that got an authentic answer
	Took     time.Duration // until the answer was there and verified, or was given up
	Err      error         // a [*RouteError] where not all of the answer was good; nil else
}

// Installed is what [ksn.Facts] need of a provider file, nil for none.
func Installed(p *protocol.ProviderFile) *ksn.Installed {
	if p == nil {
		return nil
	}
	return &ksn.Installed{Kind: ksn.NetworkKind(p.Provider.Network), Name: p.Provider.Name, RefusesCloudMode: !p.Can(protocol.CapabilityCloudMode)}
}

// complete checks the config and fills in what empty fields stand for.
func (c *Config) complete() error {
	if c.Facts == nil {
		return errors.New("reputation: Config.Facts is missing")
	}
	if p := c.Provider; p != nil {
		kind := ksn.NetworkKind(p.Provider.Network)
		if c.Kind == "" {
			c.Kind = kind
		}
		if c.Kind != kind {
			return fmt.Errorf("reputation: the provider file is of a %s network, the settings choose a %s one: install another file or change the setting", kind, c.Kind)
		}
		if len(p.Fingerprint) != 64 || len(p.Bytes) == 0 {
			return errors.New("reputation: Config.Provider is not a verified provider file")
		}
	}
	if c.Kind == "" {
		c.Kind = ksn.NetworkGlobal
	}
	if c.Kind != ksn.NetworkGlobal && c.Kind != ksn.NetworkPrivate {
		return fmt.Errorf("reputation: network kind %.40q: want global or private", c.Kind)
	}
	if c.Routes == nil {
		c.Routes = func() RouteSettings { return RouteSettings{} }
	}
	if c.Token == nil {
		c.Token = func() string { return "" }
	}
	if c.Release == nil {
		c.Release = func() uint64 { return 0 }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Agent == "" {
		c.Agent = "avdb"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
