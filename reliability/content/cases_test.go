//go:build check

package content

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

const (
	hashSHA256  = dbformat.SectionID(0x0103)
	allowSHA256 = dbformat.SectionID(0x0503)
	nobodys     = dbformat.SectionID(0x0d01) // of a class that is not defined
)

// Operations of a delta's entries.
const drop, edit, removed = 0, 1, 8

var untrusted = signing.ErrUntrusted

// The 24 content cases of row D. Each is told apart by the reason that must be given.
func TestDContent(t *testing.T) {
	cases := []struct {
		name   string
		has    int // release that the device has
		attack func(c *cell)
	}{
		{"delta from a wrong base", 1, func(c *cell) {
			c.onlyDelta(dbformat.Light, c.files["light/2-3.delta"])
			c.refused(untrusted, "leads from a layer")
		}},
		{"a gap", 1, func(c *cell) {
			r := c.record().Stable
			c.sign(signing.RoleDatabase, map[string][]byte{"light/1-3.delta": nil, "rest/1-3.delta": nil,
				dbformat.BundleTarget(dbformat.Light, r.Light.Digest): nil, dbformat.BundleTarget(dbformat.Rest, r.Rest.Digest): nil})
			c.refused(updater.ErrUnavailable, "names no file that leads to the light of release 3")
		}},
		{"the same delta twice", 2, func(c *cell) {
			c.onlyDelta(dbformat.Light, c.files["light/1-2.delta"])
			c.refused(untrusted, "leads from a layer")
		}},
		{"light and rest of different releases", 1, func(c *cell) {
			c.setRecord(func(r *dbformat.ReleaseRecord) { r.Stable.Rest.Digest, r.Stable.Rest.Since = c.was.Rest, 1 })
			c.refused(untrusted, "belongs to another light layer")
		}},
		{"right base but wrong result", 1, func(c *cell) {
			c.onlyDelta(dbformat.Light, leading(c.files["light/1-2.delta"], c.light.Digest(), c.record().Stable.Light.Digest))
			c.refused(untrusted, "the result is")
		}},
		{"base right by sequence and wrong by content", 1, func(c *cell) {
			c.onlyDelta(dbformat.Light, leading(c.files["light/2-3.delta"], c.light.Digest(), c.record().Stable.Light.Digest))
			c.refused(untrusted, "light delta")
		}},
		{"a light delta on rest", 1, func(c *cell) {
			c.onlyDelta(dbformat.Rest, c.files["light/1-3.delta"])
			c.refused(untrusted, "is of kind 'L', want 'R'")
		}},
		{"a rest delta on light", 1, func(c *cell) {
			c.onlyDelta(dbformat.Light, c.files["rest/1-3.delta"])
			c.refused(untrusted, "is of kind 'R', want 'L'")
		}},
		{"a delta with 0 records", 1, func(c *cell) {
			c.onlyDelta(dbformat.Light, c.delta())
			c.refused(untrusted, "changes nothing")
		}},
		{"only deletions, of a whole section", 1, func(c *cell) {
			_, s, ok := c.light.Section(allowSHA256)
			if !ok {
				c.t.Fatal("no allow records")
			}
			ones := bytes.Repeat([]byte{0xff}, int(s.Rows()+7)/8)
			if r := s.Rows() % 8; r != 0 {
				ones[len(ones)-1] <<= 8 - r
			}
			c.onlyDelta(dbformat.Light, c.delta(cat(allowSHA256, edit|removed, number(s.Rows()), number(s.Rows()), ones)))
			c.refused(untrusted, "no rows")
		}},
		{"deletion of what is absent", 1, func(c *cell) {
			c.onlyDelta(dbformat.Light, c.delta(cat(dbformat.ClassPUA.Section(dbformat.SHA1), drop)))
			c.refused(untrusted, "pua/sha1")
		}},
		{"unknown type of record in a delta", 1, func(c *cell) {
			c.onlyDelta(dbformat.Light, c.delta(cat(nobodys, drop)))
			c.refused(untrusted, "is unknown or misplaced")
		}},
		{"unknown type of record in a bundle", 1, func(c *cell) {
			b := c.bundleOf(func(dbformat.SectionID, []byte) {})
			copy(b[8:], cat(nobodys))
			c.onlyBundle(dbformat.Light, b)
			c.refused(untrusted, "is unknown or misplaced")
		}},
		{"engine floor above ours", 1, func(c *cell) {
			c.setRecord(func(r *dbformat.ReleaseRecord) { r.Stable.MinEngine = dbformat.EngineLevel + 1 })
			c.refused(dbformat.ErrVersion, "install a newer engine")
		}},
		{"sequence at 2^63-1", 1, func(c *cell) {
			b := bytes.Replace(c.files[dbformat.ReleaseTarget], []byte(`"version":3`), []byte(`"version":9223372036854775807`), 1)
			c.sign(signing.RoleDatabase, map[string][]byte{dbformat.ReleaseTarget: b})
			c.refused(untrusted, "version 9223372036854775807")
		}},
		{"records unsorted", 1, func(c *cell) {
			c.onlyBundle(dbformat.Light, c.bundleOf(func(id dbformat.SectionID, b []byte) {
				if id == allowSHA256 {
					swap := bytes.Clone(b[5:37])
					copy(b[5:], b[37:69])
					copy(b[37:], swap)
				}
			}))
			c.refused(untrusted, "row 1 is not greater than the row before it")
		}},
		{"records double", 1, func(c *cell) {
			c.onlyBundle(dbformat.Light, c.bundleOf(func(id dbformat.SectionID, b []byte) {
				if id == allowSHA256 {
					rows := int(b[3])
					copy(b[37:69], b[5:37])
					b[5+32*rows+1] = b[5+32*rows] // the size
				}
			}))
			c.refused(untrusted, "row 1 is not greater than the row before it")
		}},
		{"lengths that overflow in a bundle", 1, func(c *cell) {
			b := c.bundleOf(func(dbformat.SectionID, []byte) {})
			frame := 8 + int(b[7])*21
			for _, field := range []int{9, 13} { // canonical bytes, coded bytes
				hostile := bytes.Clone(b)
				copy(hostile[frame+field:], []byte{0xff, 0xff, 0xff, 0xff})
				c.onlyBundle(dbformat.Light, hostile)
				c.refused(untrusted, "frame of")
			}
		}},
		{"lengths that overflow in a delta", 1, func(c *cell) {
			_, s, _ := c.light.Section(hashSHA256)
			for _, n := range [][]byte{number(1<<63 + 5), bytes.Repeat([]byte{0xff}, 12), number(1 << 27)} {
				c.onlyDelta(dbformat.Light, c.delta(cat(hashSHA256, edit|removed, int(s.P), number(s.Rows()), n, 0xff)))
				c.refused(untrusted, "removed")
			}
		}},
		{"restrictions with bad dates", 3, func(c *cell) {
			for _, date := range []string{"2026-13-45T00:00:00Z", "2026-02-30T12:00:00Z", "0001-01-01T00:00:00Z", "tomorrow"} {
				c.set(func(text string) string { return strings.Replace(text, expires, date, 1) })
				c.refused(nil, "restrictions_refused")
			}
		}},
		{"restrictions with an empty scope", 3, func(c *cell) {
			for _, services := range []string{`[""]`, `[]`, `null`, `""`} {
				c.set(func(text string) string { return strings.Replace(text, allServices, services, 1) })
				c.refused(nil, "restrictions_refused")
			}
		}},
		{"restrictions with overlapping scopes", 3, func(c *cell) {
			c.set(func(text string) string { return strings.Replace(text, allServices, `["lookup","lookup"]`, 1) })
			c.refused(nil, "restrictions_refused")
			c.set(func(text string) string { return strings.Replace(text, `"id":"b"`, `"id":"a"`, 1) })
			c.refused(nil, "stands twice")
		}},
		{"restrictions that switch everything off", 3, func(c *cell) {
			c.set(func(text string) string { return strings.Replace(text, allServices, `["*"]`, 1) })
			c.refused(nil, "restrictions_refused")
			c.everythingOff()
		}},
		{"a whole deletion", 1, nil},
	}
	if len(cases) != 24 {
		t.Fatalf("%d cases", len(cases))
	}
	t.Run("cells", func(t *testing.T) {
		for _, d := range cases {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				if d.attack == nil {
					wholeDeletion(t)
					return
				}
				c := newCell(t, d.has)
				before := c.diskBytes()
				d.attack(c)
				// What a refused run leaves for the next one is bounded by what it was to bring.
				if after := c.diskBytes(); after > 3*before {
					t.Errorf("the device grew from %d to %d bytes", before, after)
				}
				c.nextEpoch()
				c.heals()
			})
		}
	})
	verdict := "refused with a reason, store unchanged, next run healed"
	if t.Failed() {
		verdict = "NOT ALL HELD, see above"
	}
	t.Logf("D content: %d of 24 %s", len(cases), verdict)
}

// wholeDeletion is the case that no decoder can see: a delta, and a bundle, that take most of a database away.
func wholeDeletion(t *testing.T) {
	all := map[string]string{"a.hsb": signatures(0, 12000)}
	c := newCell(t, 1, all, map[string]string{"a.hsb": signatures(0, 6000)})
	c.refused(untrusted, "it removes 6000 of 12001 records of light (50.0 %), at most 30 % are allowed")
	c.onlyBundle(dbformat.Light, c.files[dbformat.BundleTarget(dbformat.Light, c.record().Stable.Light.Digest)])
	c.refused(untrusted, "it removes 6000 of 12001 records of light")
	c.Publish(map[string]string{"a.hsb": signatures(0, 12010)})
	if _, err := c.update(); err != nil {
		t.Errorf("the next run: %v", err)
	}
	c.newest(3)
}

// Parts of a restriction set that is in order.
const (
	expires     = "9999-01-01T00:00:00Z"
	allServices = `["lookup","info","stats"]`
)

// set signs a restriction set whose canonical text was changed.
func (c *cell) set(change func(text string) string) {
	c.t.Helper()
	signed := dbformat.At(c.Now())
	var until dbformat.Time
	c.must(until.UnmarshalText([]byte(expires)))
	record := func(id string) dbformat.Restriction {
		return dbformat.Restriction{ID: id, Action: dbformat.ActionDisable, Priority: 1000, Expires: until,
			Scope: dbformat.RestrictionScope{Services: []string{"lookup", "info", "stats"}, Networks: []string{"global", "private"}}}
	}
	s := dbformat.RestrictionSet{Schema: 1, Epoch: 2, Signed: &signed, Records: []dbformat.Restriction{record("a"), record("b")}}
	b, err := s.Encode()
	c.must(err)
	if hostile := change(string(b)); hostile != string(b) {
		b = []byte(hostile)
	} else if change("") != "as it is" {
		c.t.Fatalf("the set was not changed: %s", b)
	}
	c.sign(signing.RoleRestrictions, map[string][]byte{dbformat.RestrictionsTarget: b})
}

// everythingOff is what restrictions are for: taken as signed, it stops questions to the cloud and nothing else, and it ends.
func (c *cell) everythingOff() {
	c.t.Helper()
	c.set(func(text string) string {
		if text == "" {
			return "as it is"
		}
		return text
	})
	if _, err := c.update(); err != nil {
		c.t.Errorf("a set that is in order: %v", err)
	}
	now := c.state() // asks for a verdict, too
	set, err := ksn.ParseSet([]byte(now.restrictions))
	if err != nil || set.Epoch() != 2 {
		c.t.Fatalf("in force is %q, %v", now.restrictions, err)
	}
	for i := range set.Len() {
		if _, until := set.Window(i, "any"); until.After(set.Signed().Add(30 * 24 * time.Hour)) {
			c.t.Errorf("record %d holds until %s, signed %s", i, until, set.Signed())
		}
	}
}

// nextEpoch is the true publisher's next set, which takes the place of whatever is in force.
func (c *cell) nextEpoch() {
	c.t.Helper()
	signed := dbformat.At(c.Now())
	b, err := (&dbformat.RestrictionSet{Schema: 1, Epoch: 3, Signed: &signed, Records: []dbformat.Restriction{}}).Encode()
	c.must(err)
	c.sign(signing.RoleRestrictions, map[string][]byte{dbformat.RestrictionsTarget: b})
	c.truth[signing.RoleRestrictions], err = c.Repository().Targets(signing.RoleRestrictions)
	c.must(err)
}
