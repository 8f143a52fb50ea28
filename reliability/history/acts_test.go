//go:build check

package history

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/avdb/store"
)

// act changes the device at rest, or damages it. What it names may not be there: then nothing happens.
func (d *device) act(a act, published *tree) {
	var err error
	switch word, what, _ := strings.Cut(a.what, " "); {
	case a.what == "cloud mode":
		err = d.store.UpdateSettings(func(v *store.Settings) error { v.CloudMode = !v.CloudMode; return nil })
	case a.what == "rollback", a.what == "hold", a.what == "release-hold":
		err = d.operator(a.what)
	case what == "state.db":
		err = d.spoilFile("state.db", map[string]func([]byte) []byte{
			"garbage": func(b []byte) []byte { return bytes.Repeat([]byte{byte(a.at)}, max(len(b), 5000)) },
			"remove":  func([]byte) []byte { return nil },
		}[word])
	case what == "downloads":
		err = d.downloads(word, a.at, published)
	case word == "leftovers":
		err = d.litter(a.at)
	case what == "roots":
		err = d.each("trust/roots", func(name string) error { return d.spoilFile(name, gone) })
	case strings.HasSuffix(what, "and set"):
		err = errors.Join(d.damage(word, "trust/floors.json", a.at), d.damage(word, "trust/verified.json", a.at))
	default:
		err = d.damage(word, d.fileNamed(what, a.at), a.at)
	}
	if err != nil {
		d.violation("the test itself: %s: %v", a.what, err)
	}
}

// operator does what a user asks for, which may be refused.
func (d *device) operator(op string) error {
	err := d.local(op)
	if err == nil || errors.Is(err, store.ErrNoPrevious) || errors.Is(err, store.ErrNoDatabase) || errors.Is(err, store.ErrStorage) {
		return nil
	}
	return err
}

// fileNamed is the file that an act means, below the state folder; "" if there is none.
func (d *device) fileNamed(what string, at uint64) string {
	var dir string
	switch what {
	case "CURRENT":
		return "db/CURRENT"
	case "floors":
		return "trust/floors.json"
	case "set":
		return "trust/verified.json"
	case "restrictions":
		return "db/restrictions.json"
	case "layer":
		dir = "db/layers"
	case "index":
		dir = "db/index"
	case "newest root":
		dir, at = "trust/roots", ^uint64(0)
	}
	entries, err := os.ReadDir(filepath.Join(d.dir, filepath.FromSlash(dir)))
	if err != nil || len(entries) == 0 {
		return ""
	}
	if at == ^uint64(0) { // there are fewer than ten roots
		return dir + "/" + entries[len(entries)-1].Name()
	}
	return dir + "/" + entries[at%uint64(len(entries))].Name()
}

func gone([]byte) []byte { return nil }

// damage does to one file what an act says.
func (d *device) damage(how, name string, at uint64) error {
	if name == "" {
		return nil
	}
	at >>= 8
	switch how {
	case "remove":
		return d.spoilFile(name, gone)
	case "cut":
		return d.spoilFile(name, func(b []byte) []byte { return b[:at%uint64(len(b)+1)] })
	case "older":
		olds := d.olds[name]
		if len(olds) < 2 {
			return nil
		}
		b := olds[at%uint64(len(olds)-1)]
		return d.put(name, b)
	}
	return d.spoilFile(name, func(b []byte) []byte {
		if len(b) > 0 {
			b[at%uint64(len(b))] ^= 1 << (at >> 40 % 8)
		}
		return b
	})
}

// spoilFile changes the content of a file that is there, and remembers what damage made of it.
func (d *device) spoilFile(name string, change func([]byte) []byte) error {
	b, err := os.ReadFile(filepath.Join(d.dir, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b = change(b)
	if err := d.put(name, b); err != nil {
		return err
	}
	d.spoil[name] = b
	return nil
}

// put replaces a file as somebody else would, in place of the old one; nil removes it. It is durable.
func (d *device) put(name string, b []byte) error {
	path := filepath.Join(d.dir, filepath.FromSlash(name))
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if b != nil {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	if tracked(d.dir, path) {
		d.disk.set(path, b)
	}
	return nil
}

func (d *device) each(dir string, f func(name string) error) error {
	entries, err := os.ReadDir(filepath.Join(d.dir, filepath.FromSlash(dir)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := f(dir + "/" + e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// downloads damages partial files, or lays one there for a file that will be wanted.
func (d *device) downloads(how string, at uint64, published *tree) error {
	n := 0
	err := d.each("downloads", func(name string) error {
		n++
		return d.damage(map[string]string{"garbage": "flip", "cut": "cut"}[how], name, at)
	})
	if err != nil || n > 0 {
		return err
	}
	var names []string
	for name := range published.files {
		if c := classOf(name); c == "light" || c == "rest" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	name := names[at%uint64(len(names))]
	b := bytes.Clone(published.files[name])
	b = b[:(at>>8)%uint64(len(b)+1)]
	if how == "garbage" && len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	hash, _, _ := strings.Cut(filepath.Base(name), ".")
	return d.put("downloads/"+hash+".unverified", b)
}

// litter is what dead runs left.
func (d *device) litter(at uint64) error {
	hex := fmt.Sprintf("%016x", at)
	var errs []error
	for _, name := range []string{"db/CURRENT." + hex + ".tmp", "db/layers/light." + hex + ".tmp", "db/layers/" + strings.Repeat(hex, 4) + ".db",
		"trust/tmp/new-" + hex, "downloads/" + strings.Repeat(hex, 4) + ".unverified", "db/index/x-" + strings.Repeat(hex, 4) + ".idx"} {
		errs = append(errs, os.MkdirAll(filepath.Join(d.dir, "trust", "tmp"), 0o700), d.put(name, []byte("left over")))
	}
	return errors.Join(errs...)
}
