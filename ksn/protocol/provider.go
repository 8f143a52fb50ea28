package protocol

import (
	"crypto/ed25519"
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
)

// Kinds of networks, as provider files say it.
const (
	Global  = "global"
	Private = "private"
)

const domainProvider = "avdb ksn provider 1\n"

// Limits of provider files.
const (
	MaxProvider     = 512 << 10 // bytes
	MaxURLs         = 16
	MaxURL          = 2048 // bytes of one
	MaxKeys         = 16
	MaxStatements   = 64
	MaxCapabilities = 16
	MaxProviderLife = 3 * 366 * 24 * time.Hour
)

// A Provider says what a network is: where it answers and by which keys. It is signed by the provider's own key.
type Provider struct {
	Schema       int           `json:"schema"`  // Version
	Network      string        `json:"network"` // Global or Private
	Name         string        `json:"name"`
	Serial       uint64        `json:"serial"` // grows with every file of the provider
	Issued       dbformat.Time `json:"issued"`
	Expires      dbformat.Time `json:"expires"`
	URLs         []string      `json:"urls"`         // of servers, in the order in which they are tried: scheme, host, path without a slash at the end
	Keys         [][]byte      `json:"keys"`         // raw public keys that sign answers, base64
	Capabilities []string      `json:"capabilities"` // ascending
	Contact      string        `json:"contact"`
	Statements   []string      `json:"statements,omitempty"` // texts of the provider's own; none: those of the engine
}

type signedProvider struct {
	Provider json.RawMessage `json:"provider"`
	Key      []byte          `json:"key"` // raw public key of the provider
	Sig      string          `json:"sig"`
}

// A ProviderFile is a provider file whose signature was verified. It does not say who the provider is: compare Fingerprint with what came
// another way, or take it from metadata that is trusted.
type ProviderFile struct {
	Provider    Provider
	Fingerprint string // of the provider's key: names the network
	Bytes       []byte // of the file
}

// SignProvider makes a provider file.
func SignProvider(p Provider, k *SigningKey) (ProviderFile, error) {
	if err := p.check(); err != nil {
		return ProviderFile{}, err
	}
	raw, err := marshal(p)
	if err != nil {
		return ProviderFile{}, err
	}
	b, err := marshal(signedProvider{raw, k.Public(), k.sign(domainProvider, raw)})
	if err != nil {
		return ProviderFile{}, err
	}
	return OpenProvider(b)
}

// OpenProvider verifies a provider file by the key that it names itself. Whether it has expired is not looked at.
func OpenProvider(b []byte) (ProviderFile, error) {
	s, err := openSigned(b)
	if err != nil {
		return ProviderFile{}, err
	}
	f := ProviderFile{Fingerprint: Fingerprint(s.Key), Bytes: slices.Clone(b)}
	if err := canonical("provider", s.Provider, &f.Provider); err != nil {
		return ProviderFile{}, err
	}
	if err := f.Provider.check(); err != nil {
		return ProviderFile{}, err
	}
	return f, nil
}

// ProviderSigner is the fingerprint of the key that a provider file is signed by, whose content may be one that [OpenProvider] cannot read. Errors match
// [ErrInvalid] or [ErrUntrusted].
func ProviderSigner(b []byte) (fingerprint string, err error) {
	s, err := openSigned(b)
	if err != nil {
		return "", err
	}
	return Fingerprint(s.Key), nil
}

// openSigned verifies a provider file and does not look at what it says.
func openSigned(b []byte) (s signedProvider, err error) {
	if len(b) > MaxProvider {
		return s, invalid("provider file of %d bytes, the limit is %d", len(b), MaxProvider)
	}
	if err := canonical("provider file", b, &s); err != nil {
		return s, err
	}
	if len(s.Key) != ed25519.PublicKeySize {
		return s, invalid("provider file: key of %d bytes, want %d", len(s.Key), ed25519.PublicKeySize)
	}
	return s, verify(s.Key, domainProvider, s.Provider, s.Sig)
}

// Succeeds tells whether next may take the place of f on a device: it is signed by the same key, of the same kind, and its serial is
// higher, or it is the same file. The error, which matches [ErrUntrusted], says why not.
func (f *ProviderFile) Succeeds(next *ProviderFile) error {
	switch {
	case next.Fingerprint != f.Fingerprint:
		return untrusted("the provider file is signed by the key %.16s…, the installed one by %.16s…", next.Fingerprint, f.Fingerprint)
	case next.Provider.Network != f.Provider.Network:
		return untrusted("the provider file is of a %s network, the installed one of a %s one", next.Provider.Network, f.Provider.Network)
	case next.Provider.Serial < f.Provider.Serial, next.Provider.Serial == f.Provider.Serial && string(next.Bytes) != string(f.Bytes):
		return untrusted("the provider file has serial %d, the installed one %d", next.Provider.Serial, f.Provider.Serial)
	}
	return nil
}

// ReputationKeys are the keys that sign answers.
func (f *ProviderFile) ReputationKeys() Keys {
	ks, err := NewKeys(f.Provider.Keys...)
	if err != nil {
		return Keys{} // a file that was not verified: it vouches for nothing
	}
	return ks
}

// Expired tells whether the file's life is over at now.
func (f *ProviderFile) Expired(now time.Time) bool { return !now.Before(f.Provider.Expires.Time) }

// Can tells whether the network has a capability.
func (f *ProviderFile) Can(capability string) bool {
	return slices.Contains(f.Provider.Capabilities, capability)
}

func (p *Provider) check() error {
	switch {
	case p.Schema != Version:
		return invalid("provider of schema %d, want %d", p.Schema, Version)
	case p.Network != Global && p.Network != Private:
		return invalid("provider: network %.40q, want %s or %s", p.Network, Global, Private)
	case p.Name == "" || checkText(p.Name) != nil || checkText(p.Contact) != nil:
		return invalid("provider: the name is missing, or a text is not printable or too long")
	case p.Serial < 1 || p.Serial > maxReleases:
		return invalid("provider: serial %d", p.Serial)
	case p.Issued.IsZero() || !p.Issued.Before(p.Expires.Time) || p.Expires.Sub(p.Issued.Time) > MaxProviderLife:
		return invalid("provider: issued %s, expires %s: want a life of at most %d days", p.Issued.Format(time.RFC3339),
			p.Expires.Format(time.RFC3339), int(MaxProviderLife.Hours()/24))
	case len(p.Keys) < 1 || len(p.Keys) > MaxKeys:
		return invalid("provider: %d reputation keys, want 1 to %d", len(p.Keys), MaxKeys)
	case len(p.URLs) < 1 || len(p.URLs) > MaxURLs:
		return invalid("provider: %d URLs, want 1 to %d", len(p.URLs), MaxURLs)
	case len(p.Statements) > MaxStatements:
		return invalid("provider: %d statements, the limit is %d", len(p.Statements), MaxStatements)
	}
	for i, k := range p.Keys {
		if len(k) != ed25519.PublicKeySize {
			return invalid("provider: key %d has %d bytes, want %d", i, len(k), ed25519.PublicKeySize)
		}
	}
	for _, u := range p.URLs {
		if err := CheckServerURL(u); err != nil {
			return invalid("provider: %v", err)
		}
	}
	return checkCapabilities(p.Capabilities)
}

func checkCapabilities(list []string) error {
	if list == nil || len(list) > MaxCapabilities || !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
		return invalid("capabilities: want a list of at most %d in ascending order", MaxCapabilities)
	}
	for _, c := range list {
		if c == "" || len(c) > 32 || strings.Trim(c, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return invalid("capability %.40q: want lower-case letters and _", c)
		}
	}
	return nil
}

// CheckServerURL says what is wrong with the URL of a server or proxy: scheme http or https, a host, and a path without a slash at its end; no
// user, query or fragment.
func CheckServerURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case len(s) > MaxURL:
		return invalid("URL of %d bytes, the limit is %d", len(s), MaxURL)
	case err != nil:
		return invalid("URL %.80q cannot be read", ShownURL(s))
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return invalid("URL %.80q: want http:// or https:// and a host", ShownURL(s))
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "", strings.HasSuffix(s, "/"), strings.Contains(s, "#"):
		return invalid("URL %.80q: want scheme, host and path alone, and no slash at the end", ShownURL(s))
	}
	return nil
}

// ShownURL is what may be shown to anybody of a text that should be the URL of a server or proxy: no user name, password, query and fragment, and nothing
// where a slip of the pen may have moved them elsewhere.
func ShownURL(s string) string {
	if u, err := url.Parse(s); err == nil && u.Opaque == "" && !strings.Contains(u.Host+u.Path, "@") {
		shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
		if u.User != nil {
			shown.User = url.User("xxxxx")
		}
		return shown.String()
	}
	return "(not shown)"
}

// Confidential tells whether a credential may be shown on the way to u: over TLS, or to this machine.
func Confidential(u *url.URL) bool {
	if u.Scheme == "https" || u.Hostname() == "localhost" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// MaxToken bounds a credential, in bytes: what a header may hold beside all others.
const MaxToken = 8 << 10

// CheckToken tells whether text can be shown as a bearer token: HTTP lets no control characters through, and takes spaces away at the ends. The error
// says what is wanted and nothing of the text.
func CheckToken(text string) error {
	control := func(c rune) bool { return c < ' ' || c == 0x7f }
	if text == "" || len(text) > MaxToken || strings.ContainsFunc(text, control) || text[0] == ' ' || text[len(text)-1] == ' ' {
		return invalid("token: want one line of 1 to %d bytes, without control characters and without a line feed or space at its ends", MaxToken)
	}
	return nil
}

func isFingerprint(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// ParseFingerprint takes 64 hex digits as people copy them: upper-case digits and colons or spaces between pairs are taken too.
func ParseFingerprint(s string) (string, error) {
	f := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(s))
	if !isFingerprint(f) {
		return "", invalid("fingerprint %.80q: want 64 hex digits", s)
	}
	return f, nil
}
