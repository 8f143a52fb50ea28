package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

// A cloud is the reputation client of this device, with what it is told from outside.
type cloud struct {
	d        *device
	client   *reputation.Client
	provider *protocol.ProviderFile // nil: no network is installed, or one that cannot be used
	unusable error                  // why, nil where none is installed

	reading sync.Mutex // for the one that reads anew, which may wait for an update that is at work; taken before mu

	mu   sync.Mutex // for what follows, which only the one that reads anew changes; nothing is read or waited for under it
	read time.Time  // when what follows was read
	set  *ksn.Set
	raw  []byte // of set
	past time.Time
}

// rereadAfter is how old the restrictions and the signed time may be that requests are held against. Consent is read anew for each of them.
const rereadAfter = 2 * time.Second

// cloud makes the reputation client. It makes no request by itself unless running is set, for a process that stays.
func (d *device) cloud(running bool) (*cloud, error) { return d.observedCloud(running, nil) }

// observedCloud is cloud, with somebody who is told of requests; nil for nobody.
func (d *device) observedCloud(running bool, observe func(reputation.Exchange)) (*cloud, error) {
	if err := d.checkToken(); err != nil {
		return nil, err
	}
	c, config, err := d.cloudConfig()
	if err != nil {
		return nil, err
	}
	over, err := d.overrides()
	if err != nil {
		return nil, err
	}
	config.Override, config.Running, config.Observe = over.of, running, observe
	c.client, err = reputation.New(config)
	return c, err
}

// experience is what the clients of this device remember. It is read, and nothing is written.
func (d *device) experience() (ksn.Situation, error) {
	_, config, err := d.cloudConfig()
	if err != nil {
		return ksn.Situation{}, err
	}
	return reputation.Remembered(config)
}

// cloudConfig is a client to be, and what it is made of but for overrides. Where this engine cannot use the provider file that the signed metadata name there
// is nobody to ask, and nothing is wrong.
func (d *device) cloudConfig() (*cloud, reputation.Config, error) {
	c := &cloud{d: d}
	f, kind, ok, err := d.ownNetwork()
	switch {
	case errors.Is(err, dbformat.ErrVersion):
		c.unusable = err
	case err != nil:
		return nil, reputation.Config{}, err
	case ok:
		c.provider = &f
	}
	c.refresh(time.Now())
	return c, reputation.Config{Facts: c.facts, Provider: c.provider, Kind: kind, Routes: c.routes, Token: d.token, Release: c.release, Memory: d.store, Now: c.now,
		Log: d.a.logger()}, nil
}

func (c *cloud) close() {
	if err := c.client.Close(); err != nil && !errors.Is(err, fs.ErrPermission) {
		c.d.a.logger().Debug("what was learnt from KSN is not kept", "error", err)
	}
}

// refresh reads restrictions and the signed time anew when they are old. Restrictions that cannot be proved let nothing pass, which is told once.
// Whoever needs them waits for whoever reads them; the time is told meanwhile.
func (c *cloud) refresh(now time.Time) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if age := now.Sub(c.read); age >= 0 && age < rereadAfter {
		return
	}
	b, err := c.d.restrictionBytes()
	set := c.set
	if err == nil && (set == nil || set.Unproved() || !bytes.Equal(b, c.raw)) {
		set, err = ksn.ParseSet(b)
	}
	if err != nil {
		if !c.set.Unproved() {
			c.d.a.logger().Warn("nothing is asked: the restrictions cannot be proved", "error", err)
		}
		set, b = ksn.Unproved(), nil
	}
	past := c.d.signedAt()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set, c.raw, c.past, c.read = set, b, past, now
}

// facts are read before each request: consent that was taken back stops the next one. What cannot be read allows nothing.
func (c *cloud) facts() (ksn.Facts, *ksn.Set) {
	c.refresh(time.Now())
	now := *c.d
	if s, err := c.d.store.Settings(); err == nil {
		now.settings = s
	} else {
		c.d.a.logger().Warn("nothing is asked: the settings cannot be read", "error", err)
		return ksn.Facts{}, nil
	}
	v, err := now.variant()
	if err != nil {
		v = ""
	}
	f, err := now.facts(v)
	if err != nil {
		c.d.a.logger().Warn("nothing is asked", "error", err)
		return ksn.Facts{}, nil
	}
	if net, _, ok, err := now.ownNetwork(); err != nil || !ok || c.provider == nil || net.Fingerprint != c.provider.Fingerprint {
		f.Network = nil // another network was chosen meanwhile: this client's is asked no more
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return f, c.set
}

func (c *cloud) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ksn.TimeUsed(time.Now(), c.past)
}

func (c *cloud) routes() reputation.RouteSettings {
	now := *c.d
	if s, err := c.d.store.Settings(); err == nil {
		now.settings = s
	}
	s := now.effective().KSN
	return reputation.RouteSettings{UseProxy: s.UseProxy, Proxies: s.Proxies, UseServersIfProxyUnavailable: s.UseServersIfProxyUnavailable}
}

func (c *cloud) release() uint64 {
	cur, err := c.d.store.Current()
	if err != nil {
		return 0
	}
	return cur.Version
}

// overrides is the administrator's list, by key.
type overrides map[string]store.Override

func (d *device) overrides() (overrides, error) {
	list, err := d.store.Overrides()
	if errors.Is(err, fs.ErrPermission) {
		d.a.note("the overrides of %s belong to another user and do not count", d.store.Dir())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := overrides{}
	for _, o := range list {
		all[o.Key] = o
	}
	return all, nil
}

// of is what the administrator says of a key.
func (o overrides) of(k protocol.Key) (v protocol.Verdict, name string, ok bool) {
	x, ok := o[k.String()]
	return x.Verdict, overrideName(x), ok
}

// file is what the administrator says of a file by its SHA-256, in the words of package matcher.
func (o overrides) file(sum [32]byte) (v matcher.Verdict, name string, ok bool) {
	x, ok := o[protocol.Key{Type: protocol.FileSHA256, Sum: sum}.String()]
	if !ok {
		return "", "", false
	}
	if x.Verdict == protocol.Trusted {
		return matcher.Allowed, overrideName(x), true
	}
	return matcher.Malicious, overrideName(x), true
}

func overrideName(o store.Override) string { return firstOf(o.Name, "Override."+string(o.Verdict)) }

// warmth is how long a scan waits for the answers that are kept on disk: another process may be writing them.
const warmth = time.Second

// askable is the client of a scan, nil where nothing is to be asked. What is wrong with it ends no scan. observe gets its requests, nil for nobody.
func (d *device) askable(ctx context.Context, observe func(reputation.Exchange)) *cloud {
	if !d.asks() {
		return nil
	}
	c, err := d.observedCloud(false, observe)
	if err != nil {
		d.a.warn("KSN is not asked: %v", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, warmth)
	defer cancel()
	c.client.Warm(ctx)
	return c
}

// asks tells whether a scan of the installed variant has questions for the cloud that it may ask.
func (d *device) asks() bool {
	v, err := d.variant()
	if err != nil || v != dbformat.VariantLight || !d.known {
		return false
	}
	f, err := d.facts(v)
	if err != nil {
		d.a.warn("KSN is not asked: %v", err)
		return false
	}
	mode, _ := f.InForce()
	if mode.On() && f.Unusable != "" {
		_, _, _, err := d.ownNetwork()
		text, remedy := d.a.explain(err)
		d.a.warn("KSN is not asked: %s; %s", text, remedy)
	}
	return mode.On() && f.Network != nil
}

// token is the credential of this device for its network, "" for none.
func (d *device) token() string { return d.a.env(tokenVariable) }

const tokenVariable = "AVDB_KSN_TOKEN"

// checkToken refuses a credential that no request could show: to send it would fail, and look as if the network did.
func (d *device) checkToken() error {
	if t := d.token(); t == "" || protocol.CheckToken(t) == nil {
		return nil
	}
	return &usageError{text: fmt.Sprintf("the environment variable %s is no token: want one line of at most %d bytes, without control characters and without a line feed or space at its ends",
		tokenVariable, protocol.MaxToken), remedy: "set it to the token alone, or to nothing where no token is needed"}
}

// signedAt is when the newest metadata of this device was signed, zero where there is none to be read.
func (d *device) signedAt() time.Time {
	t, err := d.store.OpenTrust()
	if err != nil {
		return time.Time{} // not set up, or not ours to read
	}
	v, err := t.Stored()
	if err != nil {
		return time.Time{}
	}
	return v.SignedAt()
}

// nobody says why there is nobody to ask.
func (c *cloud) nobody() error {
	if c.unusable == nil {
		return hint(fmt.Errorf("%w: no network is installed", reputation.ErrUnavailable), "the global network comes with updates; a private one with %q", "avdb ksn provider install")
	}
	text, remedy := c.d.a.explain(c.unusable)
	return hint(fmt.Errorf("%w: %s", reputation.ErrUnavailable, text), "%s", remedy)
}
