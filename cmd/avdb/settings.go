package main

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"

	"github.com/spf13/pflag"

	"example.org/avdb/ksn"
	"example.org/avdb/store"
)

// An origin says where the value of a key comes from.
type origin string

const (
	originDefault  origin = "default"
	originSettings origin = "settings"
	originEnv      origin = "environment"
	originFlag     origin = "flag"
	originPolicy   origin = "policy"
)

// A device is the state that a command works on, and the configuration that holds for it.
type device struct {
	a        *app
	store    *store.Store
	policy   policy
	settings store.Settings // the defaults when the device has none that can be read
	known    bool           // it has
	blind    bool           // it has, and they belong to another user
	env      map[string]any
	flags    map[string]any
}

// device opens the state and reads the whole configuration. A command that only
// reads takes the system's state when the process has none of its own.
func (a *app) device(reading bool) (*device, error) { return a.openDevice(reading, false) }

// protecting is the device of a command that must go on without settings: with damaged ones it works
// by policy and defaults, and says so.
func (a *app) protecting() (*device, error) { return a.openDevice(true, true) }

func (a *app) openDevice(reading, whatever bool) (*device, error) {
	dir, name, err := a.find(reading)
	if err != nil {
		return nil, err
	}
	a.state = dir
	d := &device{a: a, env: map[string]any{}, flags: map[string]any{}}
	if d.policy, err = readPolicy(name); err != nil {
		return nil, err
	}
	for _, k := range keys() {
		text := a.env(k.envName())
		if text == "" || k.noEnv {
			continue
		}
		v, err := k.parse(text)
		if err != nil {
			return nil, hint(usagef("environment variable %s: %v", k.envName(), err), "correct it or unset it")
		}
		d.env[k.name] = v
	}
	if d.store, err = store.Open(dir, store.Options{}); err != nil {
		return nil, err
	}
	d.settings, err = d.store.Settings()
	switch {
	case err == nil:
		d.known = true
	case errors.Is(err, fs.ErrNotExist):
		d.settings = store.DefaultSettings()
	case errors.Is(err, fs.ErrPermission) && reading:
		// The system's settings are its owner's; a reader works with policy and defaults.
		d.settings, d.blind = store.DefaultSettings(), true
	case errors.Is(err, store.ErrDamaged) && whatever:
		d.settings = store.DefaultSettings()
		a.warn("%v: defaults hold in their place", err)
	default:
		return nil, err
	}
	return d, nil
}

// value is the value of a key, and where it comes from: an origin, and for policy and
// environment the place in words.
func (d *device) value(k key) (v any, from origin, place string) {
	if p, ok := d.policy.values[k.name]; ok {
		return p.value, originPolicy, fmt.Sprintf("%s:%d", d.policy.file, p.line)
	}
	if v, ok := d.flags[k.name]; ok {
		return v, originFlag, ""
	}
	if v, ok := d.env[k.name]; ok {
		return v, originEnv, k.envName()
	}
	if k.of != nil && d.known {
		if v := k.of(&d.settings); !same(v, k.def) {
			return v, originSettings, ""
		}
	}
	return k.def, originDefault, ""
}

// same compares two values of one key; lists without items are equal.
func same(v, w any) bool {
	a, b := reflect.ValueOf(v), reflect.ValueOf(w)
	if a.Kind() == reflect.Slice && a.Len() == 0 {
		return b.Kind() == reflect.Slice && b.Len() == 0
	}
	return reflect.DeepEqual(v, w)
}

// effective is the configuration that the libraries get: the settings, and over them
// environment, flags and policy.
func (d *device) effective() store.Settings {
	s := d.settings
	for _, k := range keys() {
		if k.put == nil {
			continue
		}
		if v, from, _ := d.value(k); from != originSettings && from != originDefault {
			k.put(&s, v)
		}
	}
	return s
}

// flagged tells the device of the flags that the command line set, under the names of
// their keys. A flag that policy overrules is said and has no effect.
func (d *device) flagged(flags *pflag.FlagSet, names map[string]string) error {
	for flag, name := range names {
		f := flags.Lookup(flag)
		if f == nil || !f.Changed {
			continue
		}
		k, ok := findKey(name)
		if !ok {
			return fmt.Errorf("no key %s", name) // a mistake of this program
		}
		v, err := k.parse(f.Value.String())
		if err != nil {
			return usagef("--%s is %q, want %s", flag, f.Value, k.want())
		}
		d.flags[name] = v
		if p, ok := d.policy.values[name]; ok && !same(p.value, v) {
			d.a.warn("--%s has no effect: %s:%d says %s is %s", flag, d.policy.file, p.line, name, k.text(p.value))
		}
	}
	return nil
}

// held refuses to change a key that policy holds, unless v is what policy says.
func (d *device) held(k key, v any) error {
	p, ok := d.policy.values[k.name]
	if !ok || same(p.value, v) {
		return nil
	}
	return &ksn.RefusedError{
		What:   "changing " + k.name,
		Why:    fmt.Sprintf("policy says %s (%s:%d)", k.text(p.value), d.policy.file, p.line),
		Remedy: "ask who looks after this device to change the config file",
	}
}

// ready is an error when the device was never set up.
func (d *device) ready() error {
	if d.known {
		return nil
	}
	return hint(usagef("%s was never set up", d.store.Dir()), "run %q first", "avdb init --source URL --root FILE")
}

// tellBlind says that what follows leaves the settings out of account.
func (d *device) tellBlind() {
	if d.blind {
		d.a.note("the settings and the history of %s belong to another user: defaults are shown in their place", d.store.Dir())
	}
}
