package network

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/avdb/ksn/protocol"
)

var day0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func options() Options {
	return Options{Name: "Test", URLs: []string{"https://ksn.example.org"}, Now: day0}
}

// A network's file verifies, names the key that signs answers, and keys are their owner's only.
func TestCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net")
	f, err := Create(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	n, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n.Provider.Fingerprint != f.Fingerprint || f.Provider.Serial != 1 || f.Provider.Network != protocol.Private || !f.Can(protocol.CapabilityCloudMode) {
		t.Errorf("provider %+v", f.Provider)
	}
	if f.Expired(day0.Add(defaultLife-time.Second)) || !f.Expired(day0.Add(defaultLife)) {
		t.Error("it does not live for a year")
	}
	if runtime.GOOS != "windows" { // which has no modes
		for name, want := range map[string]os.FileMode{File: 0o644, "keys": 0o700, "keys/provider.pem": 0o600, "keys/reputation.pem": 0o600} {
			if i, err := os.Stat(filepath.Join(dir, name)); err != nil || i.Mode().Perm() != want {
				t.Errorf("%s: %v, %v; want %v", name, i.Mode(), err, want)
			}
		}
	}
}

// Once more with the same keys is the next serial, which devices take for the one before.
func TestCreateAgainSucceeds(t *testing.T) {
	dir := t.TempDir()
	first, err := Create(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.URLs = append(o.URLs, "http://127.0.0.1:8080/ksn")
	second, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if second.Provider.Serial != 2 || first.Succeeds(&second) != nil || !errors.Is(second.Succeeds(&first), protocol.ErrUntrusted) {
		t.Errorf("serial %d, %v, %v", second.Provider.Serial, first.Succeeds(&second), second.Succeeds(&first))
	}
	o.Network = protocol.Global
	if _, err := Create(dir, o); !errors.Is(err, protocol.ErrUntrusted) {
		t.Errorf("a private network became a global one: %v", err)
	}
}

// What cannot be is refused before anything is made.
func TestCreateRefusals(t *testing.T) {
	for what, change := range map[string]func(*Options){
		"no name":              func(o *Options) { o.Name = "" },
		"a control character":  func(o *Options) { o.Name = "a\x1b[31m" },
		"no URL":               func(o *Options) { o.URLs = nil },
		"a file":               func(o *Options) { o.URLs = []string{"file:///etc"} },
		"a password":           func(o *Options) { o.URLs = []string{"https://u:p@h"} },
		"a slash at the end":   func(o *Options) { o.URLs = []string{"https://h/"} },
		"a query":              func(o *Options) { o.URLs = []string{"https://h?x"} },
		"a life without end":   func(o *Options) { o.Life = 10 * protocol.MaxProviderLife },
		"an unknown network":   func(o *Options) { o.Network = "public" },
		"an odd capability":    func(o *Options) { o.Capabilities = []string{"X Y"} },
		"too many statements":  func(o *Options) { o.Statements = make([]string, protocol.MaxStatements+1) },
		"a negative life":      func(o *Options) { o.Life = -time.Hour },
		"an endless list":      func(o *Options) { o.URLs = slicesRepeat("https://h", protocol.MaxURLs+1) },
		"a very long URL":      func(o *Options) { o.URLs = []string{"https://h/" + strings.Repeat("a", protocol.MaxURL)} },
		"a contact of 1000":    func(o *Options) { o.Contact = strings.Repeat("c", 1000) },
		"the same twice":       func(o *Options) { o.Capabilities = []string{"stats", "stats"} },
		"a name of 1000 bytes": func(o *Options) { o.Name = strings.Repeat("n", 1000) },
	} {
		dir := filepath.Join(t.TempDir(), "net")
		o := options()
		change(&o)
		if _, err := Create(dir, o); !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the folder was made", what)
		}
	}
}

func slicesRepeat(s string, n int) []string { return strings.Split(strings.Repeat(s+" ", n-1)+s, " ") }

// A server does not begin with a key that devices would not believe.
func TestOpenRefusesAForeignKey(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		if _, err := Create(d, options()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(other, "keys", reputationKey), filepath.Join(dir, "keys", reputationKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "does not name this key") {
		t.Errorf("error %v", err)
	}
}

// A key that every user may read is not used, by whatever reads it, and the error names the file and what to do. A group may read it: services run under one.
func TestKeysOpenToAllAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	dir := t.TempDir()
	if _, err := Create(dir, options()); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "keys", reputationKey)
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o660: false, 0o604: true, 0o644: true, 0o602: true, 0o601: true} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir)
		_, again := Create(dir, options())
		for _, err := range []error{err, again} {
			e, ok := errors.AsType[*KeyError](err)
			if ok != refused || !refused && err != nil {
				t.Errorf("%04o: %v", mode, err)
			}
			if ok && (e.Path != key || e.Remedy() != "run chmod o= "+key || !strings.Contains(err.Error(), key)) {
				t.Errorf("%04o: %v", mode, err)
			}
		}
	}
}

// What a crash left of a file, also of a key, does not stop the next run and does not stay.
func TestWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	stray := []string{filepath.Join(dir, ".provider.json.tmp"), filepath.Join(dir, "keys", ".reputation.pem.tmp")}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range stray {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Create(dir, options()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Error(err)
	}
	for _, name := range stray {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s stays", name)
		}
	}
}
