package statistics

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

func names(fields []Field) []string {
	var all []string
	for _, f := range fields {
		all = append(all, f.Field)
	}
	slices.Sort(all)
	return all
}

func recordFields() []string {
	all := leaves(reflect.TypeFor[Record](), "statistics")
	slices.Sort(all)
	return all
}

// Each field of a record is told to the user, and the manifest names none that does not exist.
func TestManifestListsEveryField(t *testing.T) {
	all := DefaultManifests()
	newest := ksn.DefaultStatements()[0].Version()
	if len(all) != newest || all[0].Statement() != newest {
		t.Fatalf("%d manifests, newest %d, for statements up to %d", len(all), all[0].Statement(), newest)
	}
	m := FindManifest(all, newest)
	var statistics []string
	for _, f := range names(m.Fields(ksn.ModeExtended)) {
		if strings.HasPrefix(f, statisticsPrefix) {
			statistics = append(statistics, f)
		}
	}
	if want := recordFields(); !slices.Equal(statistics, want) {
		t.Errorf("manifest %q\n records %q", statistics, want)
	}
	for _, f := range names(m.Fields(ksn.ModeBasic)) {
		if strings.HasPrefix(f, statisticsPrefix) {
			t.Errorf("basic mode sends %q", f)
		}
		if !slices.Contains(names(m.Fields(ksn.ModeExtended)), f) {
			t.Errorf("extended mode does not send %q", f)
		}
	}
	if m.Fields(ksn.ModeOff) != nil || m.Fields("") != nil {
		t.Error("something is sent while KSN is off")
	}
}

// The shape of a look-up is made of the fields of basic mode, and is that of a request.
func TestShapeOfALookup(t *testing.T) {
	m := DefaultManifests()[0]
	p := must[Preview](t)(MakePreview(ksn.ModeBasic, m))
	for _, found := range regexp.MustCompile(`\{([^}]*)\}`).FindAllStringSubmatch(string(p.Lookup), -1) {
		if !slices.Contains(names(m.Fields(ksn.ModeBasic)), found[1]) {
			t.Errorf("%q is no field of basic mode", found[1])
		}
	}
	q := protocol.Prefix{Type: protocol.FileMD5, Bits: 24, Value: 0x0a1b2c}
	line, _, _ := strings.Cut(string(p.Lookup), "\r\n")
	line = strings.NewReplacer("{lookup.type}", string(q.Type), "{lookup.bits}", "24", "{lookup.prefix}", q.Hex()).Replace(line)
	if want := "GET " + q.Path() + " HTTP/1.1"; line != want {
		t.Errorf("%q, want %q", line, want)
	}
	if !strings.Contains(string(p.Lookup), "\r\n"+protocol.NetworkHeader+": {request.network}\r\n") {
		t.Errorf("no header %s", protocol.NetworkHeader)
	}
}

// says tells whether a record tells something under a path of the manifest.
func says(r Record, path string) bool {
	v := reflect.ValueOf(r)
	for _, name := range strings.Split(strings.TrimPrefix(path, statisticsPrefix), ".") {
		if v.Kind() == reflect.Slice {
			return v.Len() > 0 // of structs: all of their fields or none
		}
		for i := range v.NumField() {
			if jsonName(v.Type().Field(i)) == name {
				v = v.Field(i)
				break
			}
		}
	}
	return !v.IsZero()
}

// A field that only a newer manifest lists is not sent under an older statement: neither spooled, nor sent if it was spooled before.
func TestFieldsOfNewerStatementsStay(t *testing.T) {
	for _, field := range recordFields() {
		t.Run(field, func(t *testing.T) {
			start := func(version int) *world {
				w := newWorld(t, func(c *Config) {
					c.Manifests = manifests(t, func(first, _ *manifest) { first.Extended = without(first.Extended, field) })
				})
				w.accept(version)
				w.flush()
				for i := range MaxSignatures + 1 {
					w.Matched("Name." + strings.Repeat("x", i))
				}
				w.work()
				w.flush()
				return w
			}
			newer, older := start(2), start(1)
			if len(newer.spool.list) != 1 || !says(must[Record](t)(ParseRecord(newer.spool.list[0].Record)), field) {
				t.Fatalf("under statement 2 it is missing in %s", newer.spool.list)
			}
			for _, e := range older.spool.list {
				if says(must[Record](t)(ParseRecord(e.Record)), field) {
					t.Errorf("spooled under statement 1: %s", e)
				}
			}
			older.spool.list = append(older.spool.list, entry{99, newer.spool.list[0].Record})
			all := older.deliver()
			for _, r := range all {
				if says(r, field) {
					t.Errorf("sent under statement 1: %+v", r)
				}
			}
			if envelope := field == "statistics.v" || field == "statistics.id"; envelope && len(all) != 0 || !envelope && len(all) != 2 {
				t.Errorf("%d records sent under statement 1", len(all))
			}
		})
	}
}

// A statement that this engine has no manifest for covers what the newest one before it does.
func TestFindManifest(t *testing.T) {
	both := manifests(t, func(_, _ *manifest) {})
	for accepted, want := range map[int]int{0: 0, 1: 1, 2: 2, 3: 2, 1e6: 2} {
		if got := FindManifest(both, accepted).Statement(); got != want {
			t.Errorf("statement %d: manifest %d, want %d", accepted, got, want)
		}
	}
	if _, ok := (Manifest{}).filter(Sample()); ok {
		t.Error("no manifest lets a record out")
	}
}

func TestManifestsAreStrict(t *testing.T) {
	good := `{"statement":2,"lookup":["GET /"],"basic":[{"field":"a","meaning":"b"}],"extended":[{"field":"statistics.v","meaning":"b"}]}`
	must[Manifest](t)(ParseManifest([]byte(good)))
	for _, edit := range [][2]string{
		{`"statement":2`, `"statement":0`}, {`["GET /"]`, `[]`}, {`"a"`, `"statistics.os"`}, {`"statistics.v"`, `"os"`}, {`"statistics.v"`, `"a"`},
		{`"a"`, `""`}, {`"b"}],"e`, `""}],"e`}, {`"lookup"`, `"other":1,"lookup"`}, {`{"field":"a","meaning":"b"}`, `{"field":"a","meaning":"b"},{"field":"a","meaning":"b"}`},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if _, err := ParseManifest([]byte(bad)); err == nil || bad == good {
			t.Errorf("accepted: %s", bad)
		}
	}
}
