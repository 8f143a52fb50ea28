package reputation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/ksn"
)

var (
	proxies = []string{"p1", "p2:99"}
	servers = []string{"https://s1", "https://s2/ksn"}
)

// The fallback table, row by row: the hops that are asked when each of them comes out as given, and how the walk ends.
func TestFallbackTable(t *testing.T) {
	p1, p2, s1, s2 := "http://p1:13111", "http://p2:99", servers[0], servers[1]
	for _, c := range []struct {
		use, instead bool
		came         map[string]outcome // failed where nothing is said
		asked        []string
		end          outcome
	}{
		{false, false, nil, []string{s1, s2}, failed},
		{false, true, map[string]outcome{s2: answered}, []string{s1, s2}, answered},
		{false, false, map[string]outcome{s1: throttled}, []string{s1}, throttled},
		{false, false, map[string]outcome{s1: refused}, []string{s1}, refused},
		{false, false, map[string]outcome{s1: restricted}, []string{s1}, restricted},
		{false, false, map[string]outcome{s1: misdirected}, []string{s1, s2}, failed},
		{true, false, nil, []string{p1, p2}, failed},
		{true, false, map[string]outcome{p2: answered}, []string{p1, p2}, answered},
		{true, false, map[string]outcome{p1: misdirected}, []string{p1, p2}, misdirected},
		{true, true, nil, []string{p1, p2, s1, s2}, failed},
		{true, true, map[string]outcome{s1: answered}, []string{p1, p2, s1}, answered},
		{true, true, map[string]outcome{p1: restricted}, []string{p1}, restricted},
		{true, true, map[string]outcome{p1: throttled}, []string{p1}, throttled},
		{true, true, map[string]outcome{p1: refused}, []string{p1}, refused},
		{true, true, map[string]outcome{p2: refused}, []string{p1, p2}, refused},
		{true, true, map[string]outcome{p1: misdirected}, []string{p1, p2}, misdirected},
		{true, true, map[string]outcome{p1: misdirected, p2: answered}, []string{p1, p2}, answered},
	} {
		t.Run(fmt.Sprint(c.use, c.instead, c.came), func(t *testing.T) {
			all := hops(RouteSettings{c.use, proxies, c.instead}, servers)
			came := make([]outcome, len(all))
			var asked []string
			for {
				i, why := next(all, came)
				if i < 0 {
					if why != c.end || !slices.Equal(asked, c.asked) {
						t.Errorf("asked %q, ended as %q; want %q, %q", asked, why, c.asked, c.end)
					}
					return
				}
				asked = append(asked, all[i].url)
				if came[i] = c.came[all[i].url]; came[i] == untried {
					came[i] = failed
				}
			}
		})
	}
}

// Settings without a usable proxy permit nothing that they do not say.
func TestNoUsableProxy(t *testing.T) {
	s := RouteSettings{UseProxy: true, Proxies: []string{"", "ftp://x", "http://u:p@x", "http://x?q"}}
	if all := hops(s, servers); len(all) != 0 {
		t.Errorf("hops = %v, want none", all)
	}
	s.UseServersIfProxyUnavailable = true
	if all := hops(s, servers); len(all) != 2 || all[0].route != ksn.RouteDirect {
		t.Errorf("hops = %v, want the servers", all)
	}
}

func TestProxyURL(t *testing.T) {
	for address, want := range map[string]string{
		"host": "http://host:13111", "host:1": "http://host:1", "[::1]": "http://[::1]:13111", "::1": "http://[::1]:13111", "[::1]:5": "http://[::1]:5",
		"https://host/": "https://host", "https://host/x": "https://host/x",
	} {
		if got, err := ProxyURL(address); got != want || err != nil {
			t.Errorf("ProxyURL(%q) = %q, %v; want %q", address, got, err, want)
		}
	}
}

// Of an address that is refused nothing is repeated that could be a password; one that is used is shown as it is.
func TestProxyNamesHoldNoSecret(t *testing.T) {
	for address, want := range map[string]string{
		"host": "host", "host:1": "host:1", "::1": "::1", "https://host/x": "https://host/x",
		"http://me:word@host": "http://xxxxx@host", "http://word@host:5/x": "http://xxxxx@host:5/x", "ftp://me:word@host": "ftp://xxxxx@host",
		"http://host?t=word": "http://host", "http://host#word": "http://host", "host?word": "host", "http://": "http:",
		"me:word@host": "(not shown)", "word@host": "(not shown)", "http://me:1/word@host": "(not shown)", "http://me:word": "(not shown)",
		"http:me:word@host": "(not shown)", "http://h\x00word": "(not shown)", "http:// word@h": "(not shown)",
	} {
		if got := ProxyName(address); got != want {
			t.Errorf("ProxyName(%q) = %q, want %q", address, got, want)
		}
		if _, err := ProxyURL(address); err != nil && strings.Contains(err.Error(), "word") {
			t.Errorf("ProxyURL(%q): %v", address, err)
		}
	}
}

// No failure and no order keeps a route away for longer than a day, and a clock that was set back frees it.
func TestWaitsAreCapped(t *testing.T) {
	year := 366 * 24 * time.Hour
	for n := range 40 {
		var r routeState
		for range n {
			r = r.fail(noon, 0, false, false, 0.99)
		}
		if n > 0 && (!r.Until.After(noon) || r.Until.Sub(noon) > maxBackoff) {
			t.Errorf("%d failures: until %s", n, r.Until)
		}
	}
	for name, r := range map[string]routeState{
		"503 with a year": routeState{}.fail(noon, year, false, false, 0),
		"429 with a year": routeState{}.held(noon, throttled, "file", "", year),
		"451 with a year": routeState{}.held(noon, restricted, "file", "", year),
	} {
		if o, _ := r.came("file", noon.Add(MaxWait-time.Second), false); o == untried {
			t.Errorf("%s: asked within a day", name)
		}
		if o, _ := r.came("file", noon.Add(MaxWait), false); o != untried {
			t.Errorf("%s: after a day still %q", name, o)
		}
		if o, _ := r.came("file", noon.Add(-year), false); o != untried {
			t.Errorf("%s: with a clock set back %q", name, o)
		}
	}
}

func TestOrdersAndFailuresOfARoute(t *testing.T) {
	soon := noon.Add(time.Second / 2)
	r := routeState{}.fail(noon, 0, false, false, 0)
	if o, _ := r.came("file", soon, false); o != failed {
		t.Errorf("after a failure %q", o)
	}
	if o, _ := r.came("file", soon, true); o != untried {
		t.Errorf("a user who insists gets %q", o)
	}
	r = r.held(noon, restricted, "file", "rec", 0)
	if o, h := r.came("file", soon, true); o != restricted || h.Record != "rec" {
		t.Errorf("a restriction of files is %q %q for a user who insists", o, h.Record)
	}
	if o, _ := r.came("url", soon, false); o != untried {
		t.Errorf("a restriction of files is %q for URLs", o)
	}
	r = r.held(noon, throttled, "url", "", 0)
	for _, kind := range []string{"file", "url", "info"} {
		if o, _ := r.came(kind, soon, true); o == untried {
			t.Errorf("throttled, and %s is asked", kind)
		}
	}
	r = r.ok(noon, "url")
	if o, _ := r.came("url", noon, false); o != untried {
		t.Errorf("after an answer %q", o)
	}
	if o, _ := r.came("file", noon, false); o != restricted {
		t.Errorf("an answer about URLs makes the restriction of files %q", o)
	}
	if r := (routeState{}).fail(noon, 0, false, true, 0.5); !r.Until.Equal(noon.Add(ProbeInterval)) {
		t.Errorf("a proxy with servers in its place is probed at %s", r.Until)
	}
}
