package protocol

import (
	"bytes"
	"encoding/json"
	"time"

	"example.org/avdb/dbformat"
)

// Paths of requests. The greatest version of a path that a client knows is the one that it asks.
const (
	PathLookup = "/v1/l/" // followed by TYPE/BITS/PREFIX
	PathBatch  = "/v1/lookup"
	PathInfo   = "/v1/info"
	PathStats  = "/v1/stats"
)

// NetworkHeader names the network that a request is meant for, by the fingerprint of its provider's key. A server or proxy of
// another network answers 421 and nothing else.
const NetworkHeader = "Avdb-Network"

// Capabilities that a network may have.
const (
	CapabilityCloudMode = "cloud_mode" // endpoints may keep the light database alone
	CapabilityStats     = "stats"      // statistics are taken
)

// MaxStats is the greatest length of what POST /v1/stats takes, in bytes.
const MaxStats = 256 << 10

// MaxInfo is the greatest length of a signed info in bytes.
const MaxInfo = 16 << 10

// An Info says what a server offers.
type Info struct {
	V            int           `json:"v"`       // Version
	Network      string        `json:"network"` // fingerprint of the provider's key
	Name         string        `json:"name"`
	Issued       dbformat.Time `json:"issued"`
	TTL          uint32        `json:"ttl"`         // seconds
	Release      uint64        `json:"release"`     // of the database that answers are made from, 0 for none
	Files        uint64        `json:"files"`       // keys of files that are known
	URLs         uint64        `json:"urls"`        // of URLs
	Software     uint64        `json:"software"`    // of software
	PrefixBits   uint8         `json:"prefix_bits"` // that questions should have, MinBits to MaxBits
	MinWait      uint32        `json:"min_wait"`    // seconds between two requests for info
	Statement    int           `json:"statement"`   // newest version, 0 for that of the engine
	Capabilities []string      `json:"capabilities"`
}

type signedInfo struct {
	Info  json.RawMessage `json:"info"`
	KeyID string          `json:"keyid"`
	Sig   string          `json:"sig"`
}

// SignInfo makes the answer to GET /v1/info.
func SignInfo(i Info, k *SigningKey) ([]byte, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	raw, err := marshal(i)
	if err != nil {
		return nil, err
	}
	return marshal(signedInfo{raw, k.ID(), k.sign(domainInfo, raw)})
}

// OpenInfo verifies an answer to GET /v1/info, and that it speaks for the network with the fingerprint.
func (ks Keys) OpenInfo(b []byte, network string, now time.Time) (Info, error) {
	if len(b) > MaxInfo {
		return Info{}, invalid("info of %d bytes, the limit is %d", len(b), MaxInfo)
	}
	var s signedInfo
	if err := dbformat.DecodeJSON(b, &s); err != nil {
		return Info{}, invalid("info: %v", err)
	}
	if err := ks.verify(s.KeyID, domainInfo, s.Info, s.Sig); err != nil {
		return Info{}, err
	}
	var i Info
	if err := canonical("info", s.Info, &i); err != nil {
		return Info{}, err
	}
	if err := i.check(); err != nil {
		return Info{}, err
	}
	switch {
	case i.Network != network:
		return Info{}, invalid("info of the network %.16s, this one is %.16s", i.Network, network)
	case i.Issued.After(now.Add(MaxAhead)), !now.Before(i.Issued.Add(min(seconds(i.TTL), MaxLife))):
		return Info{}, invalid("info: issued at %s, which is in the future or too long ago", i.Issued.Format(time.RFC3339))
	}
	return i, nil
}

func (i *Info) check() error {
	switch {
	case i.V != Version:
		return invalid("info of version %d, want %d", i.V, Version)
	case !isFingerprint(i.Network):
		return invalid("info: network %.80q is no fingerprint", i.Network)
	case checkText(i.Name) != nil:
		return invalid("info: name: %v", checkText(i.Name))
	case i.Issued.IsZero():
		return invalid("info: the time of issue is missing")
	case i.PrefixBits < MinBits || i.PrefixBits > MaxBits:
		return invalid("info: prefixes of %d bits, want %d to %d", i.PrefixBits, MinBits, MaxBits)
	case i.Release > maxReleases || i.Statement < 0 || i.Statement > 1e6:
		return invalid("info: release %d, statement %d", i.Release, i.Statement)
	}
	return checkCapabilities(i.Capabilities)
}

// marshal is the canonical spelling of a document that is not an answer.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// canonical reads a document of which there is one spelling.
func canonical(what string, b []byte, v any) error {
	if err := dbformat.DecodeJSON(b, v); err != nil {
		return invalid("%s: %v", what, err)
	}
	again, err := marshal(v)
	if err != nil || !bytes.Equal(again, b) {
		return invalid("%s is not spelled canonically", what)
	}
	return nil
}
