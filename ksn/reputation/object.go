package reputation

import (
	"errors"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// MaxKeys is how many keys an object can have: a URL has up to 30 expressions.
const MaxKeys = 64

// An Object is something that a verdict is wanted of.
type Object struct {
	// Keys are of one kind: those of a file by one algorithm or several, of a URL one for each expression with the most specific first, of
	// software one. The worst that is known of any of them holds. Trusted counts by strong hashes only.
	Keys []protocol.Key
	Size int64 // of a file in bytes; negative: not known

	// Suspected: the light database has the prefix. An answer then says nothing in the object's favour unless it was made from
	// Release or a later one, and what stays open is queued for later with Path and Name (of the signature).
	Suspected  bool
	Release    uint64
	Path, Name string
}

// Kind is that of the object's keys, "" if they are of several kinds, of none, or too many.
func (o *Object) Kind() ksn.Object {
	if len(o.Keys) < 1 || len(o.Keys) > MaxKeys {
		return ""
	}
	kind := kindOf(o.Keys[0].Type)
	for i := range o.Keys {
		if kindOf(o.Keys[i].Type) != kind {
			return ""
		}
	}
	return kind
}

func kindOf(t protocol.Type) ksn.Object {
	switch t {
	case protocol.FileSHA256, protocol.FileSHA1, protocol.FileMD5:
		return ksn.ObjectFile
	case protocol.URL:
		return ksn.ObjectURL
	case protocol.Software:
		return ksn.ObjectSoftware
	}
	return ""
}

// weak tells of keys for which two objects can be made to have the same one: nothing is trusted by them.
func weak(t protocol.Type) bool { return t == protocol.FileSHA1 || t == protocol.FileMD5 }

// A Source says where a verdict comes from.
type Source string

// The sources. An answer that was not cached names the proxy, or the network whose server gave it.
const (
	SourceNone     Source = ""
	SourceOverride Source = "override"
	SourceCache    Source = "cache"
	SourceProxy    Source = "proxy"
	SourceGlobal   Source = "global"
	SourcePrivate  Source = "private"
)

// A Why says why a verdict is not settled.
type Why string

// The reasons.
const (
	Settled       Why = ""
	Invalid       Why = "invalid"        // the object has no keys, too many, or keys of several kinds
	Disabled      Why = "disabled"       // KSN is off, or no accepted statement covers it
	NoNetwork     Why = "no_network"     // no provider is installed
	NotAuthorized Why = "not_authorized" // the operator does not accept this device, or the provider file has expired
	Restricted    Why = "restricted"     // by a restriction of the databases, or of the network
	Busy          Why = "busy"           // above the ceiling of requests, ours or the network's
	Misconfigured Why = "misconfigured"  // a proxy of the settings belongs to another network
	Unavailable   Why = "unavailable"    // no permitted route gave an authentic answer
	Timeout       Why = "timeout"        // the deadline came first
	ServerBehind  Why = "server_behind"  // the answer was made from an older database than the suspicion
)

// A Verdict is what is known of an object.
type Verdict struct {
	Verdict protocol.Verdict // never empty; Unknown where nothing is known, and where Why says that nobody could tell
	Why     Why              // Settled, or why it is not

	Source     Source
	Key        protocol.Key // that decided, the zero key where nothing is known
	Name       string       // of the threat or the software
	Category   string
	FirstSeen  time.Time // zero if not known
	Popularity uint64
	Signer     string
	Regions    []string      // not to be changed
	Release    uint64        // of the database that the answer was made from, 0 for none
	Age        time.Duration // since the answer was made
	Life       time.Duration // for which it still holds, 0 for a stale one
	Stale      bool          // past its life, and given because of Err

	Record string    // id of the restriction, where one is the reason
	Retry  time.Time // asking again before is of no use; zero if time alone does not help, or is not known
	Remedy string    // what a user can do, "" for nothing
	Err    error     // behind Why; nil where there is no more to say
}

// A miss says why there is no answer.
type miss struct {
	why    Why
	record string
	retry  time.Time
	remedy string
	err    error
	hop    hop // that said when to come back, the zero hop for none
}

// error makes it one, for requests that are not look-ups.
func (m miss) error(what string) error {
	if errors.Is(m.err, ksn.ErrRefused) {
		return m.err
	}
	return &UnavailableError{What: what, Why: m.why, Retry: m.retry, Remedy: m.remedy, Err: m.err}
}

// denied is the miss for a service that the gate refused.
func denied(s ksn.Service, d ksn.Decision) miss {
	m := miss{record: d.Record, retry: d.Retry, remedy: d.Remedy, err: d.Err(string(s))}
	switch d.Stage {
	case ksn.StageConsent:
		m.why = Disabled
	case ksn.StageCredential:
		m.why = NotAuthorized
	case ksn.StageRestriction:
		m.why = Restricted
	default:
		m.why = Busy
	}
	return m
}
