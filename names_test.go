package avdb_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// nameRule says why a system could refuse a file name, or take it for another one; "" means that all systems keep it as it is. All
// letters are small, so that no two names differ by their case only, and ASCII, so that NFC and NFD are the same.
func nameRule(name string) string {
	stem, _, _ := strings.Cut(name, ".")
	switch stem = strings.TrimRight(strings.ToLower(stem), " "); {
	case name == "" || name == "." || name == "..":
		return "is no name"
	case len(name) > 255:
		return "is longer than 255 bytes"
	case strings.IndexFunc(name, func(r rune) bool { return r >= 0x7f }) >= 0:
		return "is not ASCII: macOS may change its bytes"
	case strings.IndexFunc(name, func(r rune) bool { return r < 0x20 }) >= 0 || strings.ContainsAny(name, `<>:"/\|?*`):
		return "has a character that Windows forbids"
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return "ends in what Windows cuts off"
	case slices.Contains([]string{"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}, stem),
		len(stem) == 4 && (strings.HasPrefix(stem, "com") || strings.HasPrefix(stem, "lpt")) && stem[3] >= '0' && stem[3] <= '9':
		return "is a device on Windows"
	case strings.Contains(name, "~"):
		return "may be the short name of another file on Windows"
	case strings.TrimPrefix(name, "CURRENT") != strings.ToLower(strings.TrimPrefix(name, "CURRENT")):
		return "has capitals: it could differ from another one by them only"
	case strings.HasPrefix(name, "current"):
		return "differs from CURRENT by its case only"
	}
	return ""
}

func TestNameRules(t *testing.T) {
	for name, good := range map[string]bool{
		"settings.json": true, "1.root.json": true, "CURRENT": true, "CURRENT.00ff.tmp": true, "com10": true, "comet.db": true, "console": true, "null.json": true,
		"": false, "..": false, "current": false, "Current": false, "current.00ff.tmp": false, "Settings.json": false, "con": false, "CON": false, "nul.json": false, "aux.tar.gz": false, "com1": false,
		"lpt9.txt": false, "con .x": false, "conin$": false, "a.": false, "a ": false, "a:b": false, "a*": false, `a\b`: false, "a\x01": false, "ä": false,
		"a\u0308": false, "com¹": false, "progra~1": false, strings.Repeat("a", 256): false,
	} {
		if rule := nameRule(name); (rule == "") != good {
			t.Errorf("%q: rule %q, want good %v", name, rule, good)
		}
	}
}

// A shape is a pattern of paths that we write below a repository or a state folder.
type shape struct {
	pattern string
	example string // of one that is not met below: files in the making have no fixed time
}

const (
	digest  = `[0-9a-f]{64}`
	number  = `[1-9][0-9]{0,19}`
	zeros   = "0000000000000000000000000000000000000000000000000000000000000000"
	maximum = "18446744073709551615"
)

var shapes = []shape{
	// a repository
	{"keys|keys/(cosign|offline|online)|public|public/(metadata|targets)|public/targets/(light|rest|restrictions)|state|state/bundles|tmp", ""},
	{"pending|pending/targets|pending/targets/(light|rest|restrictions)", ""},
	{"keys/(cosign|offline|online)/(root|targets|database|restrictions|snapshot|timestamp)-[0-9a-f]{8}\\.pem", ""},
	{"lock", ""},
	{"public/metadata/timestamp\\.json", ""},
	{"public/metadata/" + number + "\\.(root|targets|snapshot|database|restrictions)\\.json", ""},
	{"(public|pending)/targets/" + digest + "\\.release\\.json", ""},
	{"(public|pending)/targets/(light|rest)/" + digest + `\.` + digest + "\\.bundle", ""},
	{"(public|pending)/targets/(light|rest)/" + digest + `\.` + number + "-" + number + "\\.delta", ""},
	{"public/targets/restrictions/" + digest + "\\.set\\.json", ""},
	{"(pending|state)/pending\\.json", ""},
	{"state/state\\.json", ""},
	{"state/bundles/(light|rest)-" + digest + "\\.bundle", ""},
	{"state/.*\\.partial", "state/bundles/light-" + zeros + ".bundle.partial"},
	{"(tmp|device/trust/tmp)/new-[0-9]+", ""},

	// a state folder
	{"device|device/(db|db/layers|db/index|trust|trust/roots|trust/tmp|downloads|ksn)", ""},
	{"device/(settings\\.json|settings\\.lock|state\\.db|update\\.lock)", ""},
	{"device/db/(CURRENT|restrictions\\.json)", ""},
	{"device/db/layers/" + digest + "\\.db", ""},
	{"device/db/index/cl[0-9]+-[0-9]+-" + digest + "\\.idx", ""},
	{"device/db/index/gen-[0-9]+-[0-9.]+-" + digest + "(-" + digest + ")?\\.idx", ""},
	{"device/(settings\\.json|db/CURRENT|db/restrictions\\.json|db/index/.*\\.idx|db/layers/(light|rest))\\.[0-9a-f]{16}\\.tmp", ""},
	{"device/trust/(floors|verified)\\.json", ""},
	{"device/trust/roots/" + number + "\\.root\\.json", "device/trust/roots/" + maximum + ".root.json"},
	{"device/ksn/(global|private)\\.json", "device/ksn/private.json"},
	{"device/(overrides\\.json|cache\\.db)", "device/cache.db"},
	{"device/(overrides\\.json|ksn/.*\\.json)\\.[0-9a-f]{16}\\.tmp", "device/ksn/global.json.0123456789abcdef.tmp"},
	{"device/downloads/" + digest + "\\.unverified", "device/downloads/" + zeros + ".unverified"},
}

// nameDisk writes down the path of each change, of files in the making above all.
type nameDisk struct {
	mu    sync.Mutex
	paths map[string]bool
}

func (d *nameDisk) Do(c signing.DiskCall, change func() error) error {
	d.mu.Lock()
	d.paths[c.Path] = true
	if c.From != "" {
		d.paths[c.From] = true
	}
	d.mu.Unlock()
	return change()
}

// Each name that we write means the same file on every system, whatever its spelling there: Windows knows no case and reserves names,
// macOS knows no case and may decompose letters. Each path that is met has a shape, and each shape is met or has an example.
func TestNamesAreSafeOnEverySystem(t *testing.T) {
	now := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{Start: now, Threshold: 2})
	source := map[string]string{}
	publish := func(name string, change ...func(*publisher.Options)) {
		source[name+".hashes"] = strings.Repeat("0", 63) + name + "\n"
		p.Publish(source, change...)
	}
	disk := &nameDisk{paths: map[string]bool{}}
	dir := filepath.Join(t.TempDir(), "device")
	e := fixtures.NewEndpoint(t, dir, p.Root(), p.Now, p.URL())
	var err error
	if e.Store, err = store.Open(dir, store.Options{Now: p.Now, Disk: disk}); err != nil {
		t.Fatal(err)
	}
	e.SetSources(p.URL())
	publish("1", p.WithRestrictions(`{"schema":1,"epoch":1,"records":[]}`))
	for _, name := range []string{"2", "3"} {
		if _, err := e.Update(updater.Options{}); err != nil {
			t.Fatal(err)
		}
		publish(name)
	}
	publish("4", func(o *publisher.Options) { o.Unsigned = true })

	found := map[string]string{} // paths by what systems without case make of them
	met := map[string]bool{}
	check := func(name string) {
		name = filepath.ToSlash(name)
		for _, part := range strings.Split(name, "/") {
			if rule := nameRule(part); rule != "" {
				t.Errorf("%s: %s %s", name, part, rule)
			}
		}
		if other, ok := found[strings.ToLower(name)]; ok && other != name {
			t.Errorf("%s and %s are one file where case is not known", name, other)
		}
		found[strings.ToLower(name)] = name
		i := slices.IndexFunc(shapes, func(s shape) bool { return regexp.MustCompile("^(" + s.pattern + ")$").MatchString(name) })
		if i < 0 {
			t.Errorf("%s has a shape that is not listed", name)
			return
		}
		met[shapes[i].pattern] = true
	}
	for _, top := range []struct{ dir, as string }{{p.Dir, ""}, {dir, "device"}} {
		err := filepath.WalkDir(top.dir, func(name string, _ fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(top.dir, name)
			if rel = path.Join(top.as, filepath.ToSlash(rel)); rel != "." {
				check(rel)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range disk.paths {
		rel, err := filepath.Rel(filepath.Dir(dir), name)
		if err != nil {
			t.Fatal(err)
		}
		check(rel)
	}
	for _, s := range shapes {
		if s.example != "" {
			check(s.example)
		}
	}
	for _, s := range shapes {
		if !met[s.pattern] {
			t.Errorf("nothing has the shape %s: is it written at all?", s.pattern)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "db", "CURRENT")); err != nil {
		t.Error(err)
	}
}
