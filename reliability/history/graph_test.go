//go:build check

package history

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
)

// start is when the publisher's first release is made.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A tree is one state of the publisher as a mirror serves it: shared by all histories, never changed.
type tree struct {
	index   int
	label   string
	files   map[string][]byte
	at      time.Time         // when it was published
	expires time.Time         // the earliest of all roles
	roles   map[string]uint64 // versions
	under   map[uint64]bool   // the versions of root whose keys signed its documents: it can be verified under any of them
	release dbformat.Release
	epoch   uint64 // of its restriction set, 0 for none
}

// A graph is all that was ever published, oldest first, and a repository of somebody else.
type graph struct {
	trees []*tree
	other *tree
	root  []byte
	known []dbformat.Digest // hashes that every release detects
	epoch map[uint64][]byte // restriction sets by epoch
}

func (g *graph) newest() *tree { return g.trees[len(g.trees)-1] }

// lines are hash signatures, and from number 400 on URLs as well; the same number always gives the same ones.
func lines(ranges ...[2]int) map[string]string {
	var b, urls strings.Builder
	for _, r := range ranges {
		for i := r[0]; i < r[1]; i++ {
			fmt.Fprintf(&b, "%s,Test.Sample.%d\n", hex.EncodeToString(hashOf(i)), i)
			if i >= 400 { // so that some releases have URLs and others none
				fmt.Fprintf(&urls, "site-%d.example\n", i)
			}
		}
	}
	return map[string]string{"a.hashes": b.String(), "b.urls": urls.String()}
}

func hashOf(i int) []byte {
	h := sha256.Sum256(fmt.Appendf(nil, "sample %d", i))
	return h[:]
}

func restrictions(epoch int) string {
	b, err := json.Marshal(map[string]any{"schema": 1, "epoch": epoch, "records": []any{map[string]any{
		"id": fmt.Sprintf("t-%d", epoch), "action": "disable", "priority": 100, "reason": map[string]any{"code": "test"},
		"expires": start.Add(28 * 24 * time.Hour).Format(time.RFC3339)}}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// newGraph publishes everything once.
func newGraph(t *testing.T) *graph {
	t.Helper()
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{Start: start})
	g := &graph{root: p.Root(), epoch: map[uint64][]byte{}}
	for _, i := range []int{5, 77, 150} {
		g.known = append(g.known, dbformat.Digest(hashOf(i)))
	}
	shared := map[string][]byte{}
	keep := func(label string) {
		g.trees = append(g.trees, readTree(t, p, len(g.trees), label, shared))
		p.Advance(18 * time.Hour)
	}
	rotate := func(roles ...string) {
		for _, role := range roles {
			p.Advance(time.Second)
			if err := p.Repository().Rotate(role, p.Now(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.Publish(lines([2]int{0, 300}))
	keep("first release")
	p.Publish(lines([2]int{0, 301}))
	keep("one line more")
	p.Publish(lines([2]int{0, 301}), p.WithRestrictions(restrictions(1)))
	keep("restrictions only")
	p.Publish(lines([2]int{0, 250}, [2]int{400, 450}))
	keep("some out, some in")
	p.Advance(4 * 24 * time.Hour)
	p.Renew()
	keep("renewed only")
	rotate(signing.RoleRoot)
	keep("new root keys")
	p.Publish(lines([2]int{0, 200}, [2]int{1000, 1300}))
	keep("mostly new")
	rotate(signing.RoleTimestamp, signing.RoleSnapshot)
	keep("new timestamp and snapshot keys")
	p.Publish(lines([2]int{0, 210}, [2]int{1000, 1300}), p.WithPolicy("variants: [full]\n"))
	keep("not offered as light")
	p.Publish(lines([2]int{0, 250}, [2]int{400, 450}))
	keep("the content of an older release")
	p.Publish(lines([2]int{0, 255}, [2]int{400, 450}), p.WithRestrictions(restrictions(2)))
	keep("release and restrictions")
	rotate(signing.RoleTargets, signing.RoleDatabase, signing.RoleRestrictions)
	keep("new targets, database and restrictions keys")
	p.Publish(lines([2]int{0, 220}, [2]int{300, 400}))
	keep("some out, some in again")
	p.Publish(lines([2]int{0, 221}, [2]int{300, 402}), p.WithRestrictions(restrictions(3)))
	keep("newest")
	for _, tr := range g.trees {
		if tr.epoch > 0 {
			g.epoch[tr.epoch] = tr.set()
		}
	}
	for _, tr := range g.trees {
		tr.under = g.rootsOver(t, tr)
	}
	thief := fixtures.NewPublisher(t, fixtures.PublisherOptions{Start: start})
	thief.Advance(20 * 24 * time.Hour)
	thief.Publish(lines([2]int{0, 900}))
	g.other = readTree(t, thief, -1, "somebody else's", shared)
	return g
}

// readTree copies what the publisher serves now. Equal files of different states are kept once.
func readTree(t *testing.T, p *fixtures.Publisher, index int, label string, shared map[string][]byte) *tree {
	t.Helper()
	tr := &tree{index: index, label: label, files: map[string][]byte{}, at: p.Now(), roles: map[string]uint64{}}
	err := filepath.WalkDir(p.Public(), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if same, ok := shared[string(b)]; ok {
			b = same
		}
		shared[string(b)] = b
		rel, err := filepath.Rel(p.Public(), name)
		tr.files[filepath.ToSlash(rel)] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.describe(t)
	return tr
}

// document is what the model reads of a metadata file.
type document struct {
	Signed struct {
		Version uint64    `json:"version"`
		Expires time.Time `json:"expires"`
		Meta    map[string]struct {
			Version uint64 `json:"version"`
		} `json:"meta"`
		Targets map[string]struct {
			Hashes map[string]string `json:"hashes"`
		} `json:"targets"`
		Roles map[string]struct {
			KeyIDs    []string `json:"keyids"`
			Threshold int      `json:"threshold"`
		} `json:"roles"` // of a root
	} `json:"signed"`
	Signatures []struct {
		KeyID string `json:"keyid"`
	} `json:"signatures"`
}

func parse(b []byte) (d document, err error) {
	err = json.Unmarshal(b, &d)
	return d, err
}

// describe reads from the files what the model needs to know.
func (tr *tree) describe(t *testing.T) {
	t.Helper()
	read := func(role, name string) document {
		d, err := parse(tr.files["metadata/"+name])
		if err != nil {
			t.Fatalf("%s: %s: %v", tr.label, name, err)
		}
		tr.roles[role] = d.Signed.Version
		if tr.expires.IsZero() || d.Signed.Expires.Before(tr.expires) {
			tr.expires = d.Signed.Expires
		}
		return d
	}
	newest := 1
	for tr.files[fmt.Sprintf("metadata/%d.root.json", newest+1)] != nil {
		newest++
	}
	read(signing.RoleRoot, fmt.Sprintf("%d.root.json", newest))
	timestamp := read(signing.RoleTimestamp, "timestamp.json")
	snapshot := read(signing.RoleSnapshot, fmt.Sprintf("%d.snapshot.json", timestamp.Signed.Meta["snapshot.json"].Version))
	for _, role := range []string{signing.RoleTargets, signing.RoleDatabase, signing.RoleRestrictions} {
		read(role, fmt.Sprintf("%d.%s.json", snapshot.Signed.Meta[role+".json"].Version, role))
	}
	record, err := dbformat.ParseReleaseRecord(tr.files[tr.target(t, signing.RoleDatabase, dbformat.ReleaseTarget)])
	if err != nil {
		t.Fatalf("%s: %v", tr.label, err)
	}
	tr.release = record.Stable
	if b := tr.set(); b != nil {
		set, err := dbformat.ParseRestrictionSet(b)
		if err != nil {
			t.Fatalf("%s: %v", tr.label, err)
		}
		tr.epoch = set.Epoch
	}
}

// rootsOver tells which of the roots that were ever published vouch for a state. More than one may: a root that changes only its own keys
// leaves the other roles theirs, and in the midst of a rotation old and new keys sign.
func (g *graph) rootsOver(t *testing.T, tr *tree) map[uint64]bool {
	t.Helper()
	under := map[uint64]bool{}
	for v := uint64(1); g.newest().files[fmt.Sprintf("metadata/%d.root.json", v)] != nil; v++ {
		root, err := parse(g.newest().files[fmt.Sprintf("metadata/%d.root.json", v)])
		if err != nil {
			t.Fatal(err)
		}
		under[v] = true
		for _, role := range []string{signing.RoleTimestamp, signing.RoleSnapshot, signing.RoleTargets} {
			name := "metadata/timestamp.json"
			if role != signing.RoleTimestamp {
				name = fmt.Sprintf("metadata/%d.%s.json", tr.roles[role], role)
			}
			d, err := parse(tr.files[name])
			if err != nil {
				t.Fatalf("%s: %s: %v", tr.label, name, err)
			}
			by := 0
			for _, s := range d.Signatures { // of an honest publisher: they are good
				if slices.Contains(root.Signed.Roles[role].KeyIDs, s.KeyID) {
					by++
				}
			}
			under[v] = under[v] && by >= root.Signed.Roles[role].Threshold
		}
	}
	if !under[tr.roles[signing.RoleRoot]] {
		t.Fatalf("%s: root %d does not vouch for it", tr.label, tr.roles[signing.RoleRoot])
	}
	return under
}

// target is the file name of a target that a role names.
func (tr *tree) target(t *testing.T, role, path string) string {
	t.Helper()
	d, err := parse(tr.files[fmt.Sprintf("metadata/%d.%s.json", tr.roles[role], role)])
	if err != nil {
		t.Fatal(err)
	}
	dir, base := filepath.Split(path)
	return "targets/" + dir + d.Signed.Targets[path].Hashes["sha256"] + "." + base
}

// set is the restriction set that the state has, nil for none.
func (tr *tree) set() []byte {
	d, err := parse(tr.files[fmt.Sprintf("metadata/%d.%s.json", tr.roles[signing.RoleRestrictions], signing.RoleRestrictions)])
	if err != nil {
		return nil
	}
	return tr.files["targets/restrictions/"+d.Signed.Targets[dbformat.RestrictionsTarget].Hashes["sha256"]+".set.json"]
}

// A generation is what the model knows an installed release by.
type generation struct {
	version uint64
	variant dbformat.Variant
}

func (g generation) String() string {
	if g.version == 0 {
		return "none"
	}
	return fmt.Sprintf("%d %s", g.version, g.variant)
}

// digests tells whether a generation holds what its release named.
func (g *graph) digests(v uint64, light, rest dbformat.Digest) bool {
	return slices.ContainsFunc(g.trees, func(t *tree) bool {
		r := t.release
		return r.Version == v && r.Light.Digest == light && (rest.IsZero() || r.Rest.Digest == rest)
	})
}
