package main

import (
	"testing"
	"time"
)

// Each key has a name, a default of its own type and a line of documentation, and its default
// can be written and read back.
func TestKeysAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range keys() {
		if seen[k.name] || k.doc == "" {
			t.Errorf("%s: stands twice or has no documentation", k.name)
		}
		seen[k.name] = true
		if k.kind == kindSources || k.kind == kindList {
			continue
		}
		v, err := k.parse(k.text(k.def))
		if err != nil || v != k.def {
			t.Errorf("%s: the default %v is read back as %v, %v", k.name, k.def, v, err)
		}
	}
}

func TestKeyParse(t *testing.T) {
	for _, c := range []struct {
		key, text string
		want      any // nil for an error
	}{
		{"scan.pua", "on", true},
		{"scan.pua", "false", false},
		{"scan.pua", "maybe", nil},
		{"scan.max_size", "20M", int64(20 << 20)},
		{"scan.max_size", "1GiB", int64(1 << 30)},
		{"scan.max_size", "12", int64(12)},
		{"scan.max_size", "", nil},
		{"scan.max_size", "k", nil},
		{"scan.max_size", "9223372036854775807k", nil},
		{"update.jitter", "15m", 15 * time.Minute},
		{"update.jitter", "-1s", nil},
		{"update.jitter", "5", nil},
		{"ksn.mode", "basic", "basic"},
		{"ksn.mode", "Basic", nil},
		{"update.keep", "31", nil},
		{"sources", "http://h/", nil},
	} {
		k, ok := findKey(c.key)
		if !ok {
			t.Fatalf("no key %s", c.key)
		}
		got, err := k.parse(c.text)
		if got != c.want || (err == nil) != (c.want != nil) {
			t.Errorf("%s: parse(%q) = %v, %v; want %v", c.key, c.text, got, err, c.want)
		}
	}
}

func TestNearKeys(t *testing.T) {
	for name, want := range map[string]string{
		"update.limitrate": "did you mean update.limit_rate?",
		"limit_rate":       "did you mean update.limit_rate?",
		"nothing.like.it":  `run "avdb config show" for the list of keys`,
	} {
		if got := nearKeys(name); got != want {
			t.Errorf("nearKeys(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestEnvName(t *testing.T) {
	k, _ := findKey("update.limit_rate")
	if got := k.envName(); got != "AVDB_UPDATE_LIMIT_RATE" {
		t.Errorf("envName = %q", got)
	}
}
