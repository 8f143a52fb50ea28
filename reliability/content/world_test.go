//go:build check

package content

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// A cell is one repository and one device. The repository has releases 1 to 3, the device the first of them unless said otherwise.
type cell struct {
	t testing.TB
	*fixtures.Publisher
	e     *fixtures.Endpoint
	was   state
	files map[string][]byte           // every target that was ever signed, by path
	truth map[string][]signing.Target // what is signed for release 3, by role
	light *dbformat.Header            // of release 1
}

// What a device has, and what of it counts.
type state struct {
	fixtures.Installed
	restrictions string
}

// signatures are lines of an .hsb file, [from, to).
func signatures(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%x:%d:Test.Family-%d\n", hash(i), 1+i%9, i)
	}
	return b.String()
}

func hash(i int) []byte { h := sha256.Sum256(fmt.Appendf(nil, "content %d", i)); return h[:] }

// content is that of release n: signatures, allow records and an ignored name.
func content(n int) map[string]string {
	return map[string]string{"a.hsb": signatures(n, 800+20*n), "b.sfp": signatures(5000, 5020), "c.ign2": fmt.Sprintf("Test.Ignored-%d\n", n)}
}

// newCell publishes and lets the device follow up to release has.
func newCell(t *testing.T, has int, releases ...map[string]string) *cell {
	c := &cell{t: t, Publisher: fixtures.NewPublisher(t, fixtures.PublisherOptions{}), files: map[string][]byte{}, truth: map[string][]signing.Target{}}
	if releases == nil {
		releases = []map[string]string{content(1), content(2), content(3)}
	}
	for i, files := range releases {
		var change []func(*publisher.Options)
		if i == 0 {
			change = append(change, c.WithRestrictions(`{"schema":1,"epoch":1,"records":[]}`))
		}
		// Whether the publisher would refuse is another test's.
		c.Publish(files, append(change, c.WithPolicy("guards: {removed_percent: 100, allow_added: 100000}"))...)
		for _, target := range c.Targets() {
			b, err := os.ReadFile(filepath.Join(c.Public(), "targets", filepath.FromSlash(target.Name())))
			c.must(err)
			c.files[target.Path] = b
		}
		if i == 0 {
			c.e = fixtures.NewEndpoint(t, filepath.Join(t.TempDir(), "device"), c.Root(), nil, c.URL())
		}
		if i < has {
			_, err := c.update()
			c.must(err)
		}
		if i == 0 {
			_, light, rest, err := c.e.Store.OpenCurrent()
			c.must(err)
			c.light = light.Header()
			light.Close()
			rest.Close()
		}
	}
	for _, role := range []string{signing.RoleDatabase, signing.RoleRestrictions} {
		targets, err := c.Repository().Targets(role)
		c.must(err)
		c.truth[role] = targets
	}
	c.was = c.state()
	return c
}

func (c *cell) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cell) update() (updater.Report, error) {
	c.t.Helper()
	return c.e.Update(updater.Options{Variant: "full"})
}

// state proves every block of what is installed and asks for the verdict of a signature that every release has.
func (c *cell) state() state {
	c.t.Helper()
	i, err := c.e.Installed()
	c.must(err)
	b, _, err := c.e.Store.Restrictions()
	c.must(err)
	m, err := matcher.Open(c.e.Store, matcher.Options{})
	c.must(err)
	defer m.Close()
	r, err := m.Lookup(dbformat.SHA256, hash(7), 1+7%9)
	if err != nil || r.Verdict != matcher.Malicious {
		c.t.Errorf("a known signature is %s, %v", r.Verdict, err)
	}
	return state{i, string(b)}
}

// record is that of release 3.
func (c *cell) record() *dbformat.ReleaseRecord {
	c.t.Helper()
	r, err := dbformat.ParseReleaseRecord(c.files[dbformat.ReleaseTarget])
	c.must(err)
	return r
}

// sign has the true keys of a role vouch for the true targets of release 3, changed: nil takes one away.
func (c *cell) sign(role string, change map[string][]byte) {
	c.t.Helper()
	repo := c.Repository()
	signed := slices.DeleteFunc(slices.Clone(c.truth[role]), func(t signing.Target) bool { _, gone := change[t.Path]; return gone })
	for _, path := range slices.Sorted(maps.Keys(change)) {
		if change[path] == nil {
			continue
		}
		t, err := repo.AddTargetBytes(path, change[path])
		c.must(err)
		signed = append(signed, t)
	}
	c.Advance(1e9)
	c.must(repo.Commit(map[string][]signing.Target{role: signed}, c.Now()))
}

// onlyDelta signs b as the one way to the light layer of release 3, or to its rest.
func (c *cell) onlyDelta(l dbformat.Layer, b []byte) {
	c.t.Helper()
	r := c.record().Stable
	change := map[string][]byte{dbformat.BundleTarget(l, r.Layer(l).Digest): nil}
	for _, t := range c.truth[signing.RoleDatabase] {
		if strings.HasPrefix(t.Path, l.String()+"/") && strings.HasSuffix(t.Path, ".delta") {
			change[t.Path] = nil
		}
	}
	change[dbformat.DeltaTarget(l, c.was.Version, r.Layer(l).Since)] = b
	c.sign(signing.RoleDatabase, change)
}

// onlyBundle signs b as the one way to a layer of release 3.
func (c *cell) onlyBundle(l dbformat.Layer, b []byte) {
	c.t.Helper()
	c.onlyDelta(l, nil)
	r := c.record().Stable
	change := map[string][]byte{dbformat.BundleTarget(l, r.Layer(l).Digest): b}
	for _, t := range c.truth[signing.RoleDatabase] {
		if strings.HasPrefix(t.Path, l.String()+"/") && strings.HasSuffix(t.Path, ".delta") {
			change[t.Path] = nil
		}
	}
	c.sign(signing.RoleDatabase, change)
}

func (c *cell) setRecord(change func(*dbformat.ReleaseRecord)) {
	c.t.Helper()
	r := c.record()
	change(r)
	b, err := r.Encode()
	c.must(err)
	c.sign(signing.RoleDatabase, map[string][]byte{dbformat.ReleaseTarget: b})
}

// refused demands that an update changes nothing that counts and says why. kind is nil where the update of what is not hostile succeeds.
func (c *cell) refused(kind error, reason string) {
	c.t.Helper()
	r, err := c.update()
	if kind == nil && err != nil || kind != nil && !errors.Is(err, kind) {
		c.t.Errorf("error %v, want %v", err, kind)
	}
	if said := fmt.Sprint(err, strings.Join(r.Notes, "\n")); !strings.Contains(said, reason) {
		c.t.Errorf("it says %q, want %q in it", said, reason)
	}
	if now := c.state(); now != c.was {
		c.t.Errorf("installed is %v, want %v still", now, c.was)
	}
}

// heals demands that the next run against the true state ends in release 3.
func (c *cell) heals() {
	c.t.Helper()
	for role := range c.truth {
		c.sign(role, nil)
	}
	if _, err := c.update(); err != nil {
		c.t.Errorf("the next run: %v", err)
	}
	c.newest(3)
	if now := c.state().restrictions; !strings.Contains(now, `"epoch":3`) {
		c.t.Errorf("restrictions in force are %s, want those of epoch 3", now)
	}
}

func (c *cell) newest(version uint64) {
	c.t.Helper()
	if now := c.state(); now.Version != version || now.Rest.IsZero() {
		c.t.Errorf("installed is %v, want release %d in full", now, version)
	}
	if left, err := c.e.Leftovers(); err != nil || len(left) > 0 {
		c.t.Errorf("left over: %v, %v", left, err)
	}
}

// cat puts bytes, byte values, 16-bit section ids and texts together.
func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case []byte:
			b = append(b, v...)
		case string:
			b = append(b, v...)
		case int:
			b = append(b, byte(v))
		case dbformat.SectionID:
			b = binary.BigEndian.AppendUint16(b, uint16(v))
		default:
			panic(fmt.Sprintf("a part of type %T", p))
		}
	}
	return b
}

func number(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// delta begins like one between the light layers of releases 1 and 3 and goes on as told.
func (c *cell) delta(entries ...[]byte) []byte {
	from, to := c.light.Digest(), c.record().Stable.Light.Digest
	return cat("AVDB", "L", 1, from[:8], to[:8], len(entries), bytes.Join(entries, nil))
}

// leading is a delta with other digests in its head.
func leading(delta []byte, from, to dbformat.Digest) []byte {
	b := bytes.Clone(delta)
	copy(b[6:], from[:8])
	copy(b[14:], to[:8])
	return b
}

// An altered layer gives other bytes for its blocks.
type altered struct {
	dbformat.LayerReader
	change func(id dbformat.SectionID, b []byte)
}

func (a altered) Block(section, i int) ([]byte, error) {
	b, err := a.LayerReader.Block(section, i)
	if err == nil {
		b = bytes.Clone(b)
		a.change(a.Header().Sections[section].ID, b)
	}
	return b, err
}

// bundleOf writes the bundle of the true light layer of release 3 with blocks changed.
func (c *cell) bundleOf(change func(id dbformat.SectionID, b []byte)) []byte {
	c.t.Helper()
	var sink dbformat.MemSink
	b := c.files[dbformat.BundleTarget(dbformat.Light, c.record().Stable.Light.Digest)]
	h, err := dbformat.ReadBundle(bytes.NewReader(b), dbformat.Light, &sink)
	c.must(err)
	l, err := sink.Layer(h)
	c.must(err)
	var out bytes.Buffer
	c.must(dbformat.WriteBundle(&out, altered{l, change}))
	return out.Bytes()
}

// diskBytes is the size of all files of the device, for the bound on what a refused run leaves.
func (c *cell) diskBytes() (n int64) {
	c.t.Helper()
	c.must(filepath.WalkDir(c.e.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			n += i.Size()
		}
		return err
	}))
	return n
}
