//go:build !windows

package main

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Where state and policy are by default, on each platform.
func TestDefaultPlaces(t *testing.T) {
	env := func(m map[string]string) func(string) string {
		return func(k string) string { return m[k] }
	}
	for _, c := range []struct {
		name        string
		m           machine
		state, conf string
	}{
		{"root", machine{os: "linux", root: true, home: "/root", env: env(nil)},
			"/var/lib/avdb", "/etc/avdb/avdb.yaml"},
		{"root ignores XDG", machine{os: "linux", root: true, home: "/root", env: env(map[string]string{"XDG_STATE_HOME": "/x"})},
			"/var/lib/avdb", "/etc/avdb/avdb.yaml"},
		{"user", machine{os: "linux", home: "/home/u", env: env(nil)},
			"/home/u/.local/state/avdb", "/home/u/.config/avdb/avdb.yaml"},
		{"user with XDG", machine{os: "linux", home: "/home/u", env: env(map[string]string{"XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"})},
			"/s/avdb", "/c/avdb/avdb.yaml"},
		{"relative XDG is ignored", machine{os: "linux", home: "/home/u", env: env(map[string]string{"XDG_STATE_HOME": "s", "XDG_CONFIG_HOME": "."})},
			"/home/u/.local/state/avdb", "/home/u/.config/avdb/avdb.yaml"},
		{"mac", machine{os: "darwin", home: "/Users/u", env: env(nil)},
			"/Users/u/Library/Application Support/avdb", "/Users/u/Library/Application Support/avdb/avdb.yaml"},
		{"mac root", machine{os: "darwin", root: true, env: env(nil)},
			"/Library/Application Support/avdb", "/etc/avdb/avdb.yaml"},
	} {
		p, err := c.m.defaults()
		if err != nil || p.state != c.state || p.conf != c.conf {
			t.Errorf("%s: %+v, %v; want state %s, config %s", c.name, p, err, c.state, c.conf)
		}
	}
	win := machine{os: "windows", env: env(map[string]string{"LocalAppData": "L", "AppData": "A", "ProgramData": "P"})}
	if p, err := win.defaults(); err != nil || p.state != filepath.Join("L", "avdb") || p.system != filepath.Join("P", "avdb") {
		t.Errorf("windows: %+v, %v", p, err)
	}
	if _, err := (machine{os: "linux", env: env(nil)}).defaults(); !errors.Is(err, errNoHome) {
		t.Errorf("without a home: %v, want errNoHome", err)
	}
}

// Whose state and whose policy a process works with.
func TestChoosePlaces(t *testing.T) {
	p := places{state: "own", system: "system", conf: "own.yaml", syscnf: "system.yaml"}
	for _, c := range []struct {
		name        string
		reading     bool
		there       string
		closed      string
		state, conf string
	}{
		{"nothing anywhere", true, "", "", "own", ""},
		{"a reader without a state of its own", true, "system system.yaml own.yaml", "", "system", "system.yaml"},
		{"a reader with one", true, "own system system.yaml", "", "own", "system.yaml"},
		{"a writer never takes the system's", false, "system system.yaml", "", "own", "system.yaml"},
		{"one's own policy comes first", false, "own own.yaml system.yaml", "", "own", "own.yaml"},
		{"a policy that one cannot reach is another user's", true, "own own.yaml system.yaml", "own.yaml", "own", "system.yaml"},
		{"without the system's there is none", true, "own own.yaml", "own.yaml", "own", ""},
		{"the system's policy is never left out", true, "own system.yaml", "system.yaml", "own", "system.yaml"},
	} {
		in := func(list string) func(string) bool {
			return func(name string) bool { return slices.Contains(strings.Fields(list), name) }
		}
		state, conf := p.choose(c.reading, in(c.there), in(c.closed))
		if state != c.state || conf != c.conf {
			t.Errorf("%s: %s and %q, want %s and %q", c.name, state, conf, c.state, c.conf)
		}
	}
}
