package reputation

import (
	"fmt"
	"net"
	"strings"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// ProxyPort is the port of a KSN proxy whose address names none.
const ProxyPort = "13111"

// maxProxies bounds the proxies of the settings that are looked at.
const maxProxies = 16

// RouteSettings say which ways to the network the device's settings permit. The zero value is that of a new device: directly.
type RouteSettings struct {
	UseProxy                     bool
	Proxies                      []string // HOST, HOST:PORT or a URL, in the order in which they are tried; the first 16 count
	UseServersIfProxyUnavailable bool
}

// A hop is one place that can be asked.
type hop struct {
	route ksn.Route
	url   string // without a slash at its end
}

// hops lists the places that may be asked, first choice first. Those of servers are the given ones and no others. A proxy
// whose address is none is left out.
func hops(s RouteSettings, servers []string) []hop {
	var all []hop
	for _, route := range ksn.Routes(s.UseProxy, s.UseServersIfProxyUnavailable) {
		if route == ksn.RouteDirect {
			for _, u := range servers {
				all = append(all, hop{route, u})
			}
			continue
		}
		for _, address := range s.Proxies[:min(len(s.Proxies), maxProxies)] {
			if u, err := ProxyURL(address); err == nil {
				all = append(all, hop{route, u})
			}
		}
	}
	return all
}

// ProxyURL is the URL of a proxy, given as HOST, HOST:PORT or the URL itself. The error matches [protocol.ErrInvalid].
func ProxyURL(address string) (string, error) {
	if !strings.Contains(address, "://") {
		if _, _, err := net.SplitHostPort(address); err != nil {
			address = net.JoinHostPort(strings.Trim(address, "[]"), ProxyPort)
		}
		address = "http://" + address
	}
	address = strings.TrimSuffix(address, "/")
	err := protocol.CheckServerURL(address)
	if err == nil && strings.Contains(address, "@") { // in the path: a password that holds a slash, more likely than a path
		err = fmt.Errorf("%w: an address with @", protocol.ErrInvalid)
	}
	return address, err
}

// ProxyName is the address of a proxy as it may be shown to anybody: one that can be used holds no secret, and of any other there is left what certainly
// is none.
func ProxyName(address string) string {
	if _, err := ProxyURL(address); err == nil {
		return address
	}
	if !strings.Contains(address, "://") && strings.Contains(address, "@") {
		return "(not shown)" // a user name and password without a scheme before them
	}
	return protocol.ShownURL(address)
}

// An outcome is what came of asking a hop, in this request or in an earlier one that still counts.
type outcome string

const (
	untried     outcome = ""
	answered    outcome = "answered"    // authentic
	failed      outcome = "failed"      // connect error, time-out, 5xx, bad signature, whatever is no answer
	throttled   outcome = "throttled"   // 429: wait
	restricted  outcome = "restricted"  // 451: a signed restriction of the network forbids it
	refused     outcome = "refused"     // 401, 403: the operator does not accept us
	misdirected outcome = "misdirected" // 421: it belongs to another network
)

// next is the fallback table: which hop to ask, given what came of each so far. Without one (-1), why says what ended the walk: answered, failed
// (nothing is left), or what has to be honoured.
//
//   - What failed is followed by the next hop; whether servers follow proxies at all is in the list.
//   - Who says wait, no or restricted is obeyed: nothing else is asked, and least of all the servers behind a proxy that says so.
//   - A proxy of another network is a mistake in the settings: another proxy may be right, but no server is asked in its place.
func next(all []hop, came []outcome) (i int, why outcome) {
	wrong := false
	for i, h := range all {
		switch came[i] {
		case untried:
			if wrong && h.route == ksn.RouteDirect {
				return -1, misdirected
			}
			return i, untried
		case answered, throttled, restricted, refused:
			return -1, came[i]
		case misdirected:
			wrong = wrong || h.route == ksn.RouteProxy
		}
	}
	if wrong {
		return -1, misdirected
	}
	return -1, failed
}

// swept tells whether every hop was asked and none gave an answer or an order.
func swept(came []outcome) bool {
	for _, o := range came {
		if o != failed && o != misdirected {
			return false
		}
	}
	return true
}
