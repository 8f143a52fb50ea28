package signing

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
)

// obj and arr are how a forge holds documents.
type (
	obj = map[string]any
	arr = []any
)

// A forge has every key of a repository and signs whatever a test asks for, so that only the guard under test stands between the
// forgery and the client.
type forge struct {
	t      testing.TB
	ring   keyring
	set    *set
	signed map[string]obj                 // by role: the signed part, to be changed
	keys   map[string][]string            // by role: the key ids that sign, the role's own by default
	edit   map[string]func([]byte) []byte // by role: changes the signed file; what names it follows
	after  map[string]func([]byte) []byte // by role: changes the file, and nothing follows
	noMeta map[string]bool                // by role: leave meta as it is
}

func newForge(t testing.TB, r *Repository) *forge {
	t.Helper()
	s, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := r.allKeys()
	if err != nil {
		t.Fatal(err)
	}
	return forgeOf(t, s, ring)
}

// forgeOf starts from a state that was loaded already.
func forgeOf(t testing.TB, s *set, ring keyring) *forge {
	t.Helper()
	f := &forge{t: t, ring: maps.Clone(ring), set: s, signed: map[string]obj{}, keys: map[string][]string{}, edit: map[string]func([]byte) []byte{},
		after: map[string]func([]byte) []byte{}, noMeta: map[string]bool{}}
	for role, b := range s.raw {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var doc struct {
			Signed obj `json:"signed"`
		}
		if err := d.Decode(&doc); err != nil {
			t.Fatal(err)
		}
		f.signed[role] = doc.Signed
		a, _ := s.authorityOf(role)
		f.keys[role] = a.keyids
	}
	return f
}

// at walks into the signed part of a role.
func (f *forge) at(role string, path ...string) obj {
	m := f.signed[role]
	for _, p := range path {
		m = m[p].(obj)
	}
	return m
}

// newKey adds a key that the forge can sign with and gives its id and its entry for a key table.
func (f *forge) newKey(seed uint64) (string, obj) {
	k, err := newKey(&stream{seed: seed})
	if err != nil {
		f.t.Fatal(err)
	}
	public := publicHex(k)
	f.ring[keyID(public)] = k
	return keyID(public), obj{"keytype": "ed25519", "scheme": "ed25519", "keyval": obj{"public": public}}
}

func (f *forge) sign(role string) []byte {
	payload, err := cjson.EncodeCanonical(f.signed[role])
	if err != nil {
		payload = []byte(err.Error()) // not canonical at all: no signature can be good, the shape must be refused before
	}
	sigs := arr{}
	for _, id := range f.keys[role] {
		sigs = append(sigs, obj{"keyid": id, "sig": hex.EncodeToString(ed25519.Sign(f.ring[id], payload))})
	}
	b, err := json.Marshal(obj{"signed": f.signed[role], "signatures": sigs})
	if err != nil {
		f.t.Fatal(err)
	}
	if e := f.edit[role]; e != nil {
		b = e(b)
	}
	return b
}

// version is that of a role's document, or what it was before a test made it unreadable.
func (f *forge) version(role string) uint64 {
	var v uint64
	if _, err := fmt.Sscan(fmt.Sprint(f.signed[role]["version"]), &v); err != nil || v == 0 || v > maxInteger || fmt.Sprint(f.signed[role]["version"]) != fmt.Sprint(v) {
		return f.set.doc(role).version
	}
	return v
}

// files signs everything and gives what a mirror would serve.
func (f *forge) files() map[string][]byte {
	out := map[string][]byte{}
	raw := map[string][]byte{}
	put := func(role string) {
		raw[role] = f.sign(role)
		name := role + ".json"
		if role != RoleTimestamp {
			name = fmt.Sprintf("%d.%s.json", f.version(role), role)
		}
		out[name] = raw[role]
		if e := f.after[role]; e != nil {
			out[name] = e(bytes.Clone(raw[role]))
		}
	}
	follow := func(role string, named ...string) {
		if _, ok := f.signed[role]["meta"].(obj); !ok || f.noMeta[role] {
			return
		}
		for _, n := range named {
			sum := sha256.Sum256(raw[n])
			f.at(role, "meta")[n+".json"] = obj{"version": f.version(n), "length": len(raw[n]), "hashes": obj{"sha256": hex.EncodeToString(sum[:])}}
		}
	}
	put(RoleDatabase)
	put(RoleRestrictions)
	put(RoleTargets)
	follow(RoleSnapshot, RoleTargets, RoleDatabase, RoleRestrictions)
	put(RoleSnapshot)
	follow(RoleTimestamp, RoleSnapshot)
	put(RoleTimestamp)
	put(RoleRoot)
	return out
}

// mapSource serves files from memory.
type mapSource struct {
	files map[string][]byte
	log   []string
	most  int64 // the largest limit that was asked for
}

func (m *mapSource) Fetch(_ context.Context, name string, max int64) ([]byte, error) {
	m.log = append(m.log, name)
	m.most = maxOf(m.most, max)
	b, ok := m.files[name]
	if !ok {
		return nil, fmt.Errorf("GET %s: %w", name, ErrNotFound)
	}
	if int64(len(b)) > max {
		b = b[:max+1]
	}
	return bytes.Clone(b), nil
}

func maxOf(a, b int64) int64 { return max(a, b) }

func (f *forge) source() *mapSource { return &mapSource{files: f.files()} }

// bump raises the version of roles by n, and of what vouches for them.
func (f *forge) bump(n int, roles ...string) {
	for _, role := range roles {
		var v int
		if _, err := fmt.Sscan(fmt.Sprint(f.signed[role]["version"]), &v); err != nil {
			f.t.Fatal(err)
		}
		f.signed[role]["version"] = v + n
	}
}

// serveDir is what a mirror that synchronised now has.
func serveDir(t testing.TB, r *Repository) *mapSource {
	t.Helper()
	m := &mapSource{files: map[string][]byte{}}
	for name, b := range tree(t, filepath.Join(r.PublicDir(), "metadata")) {
		m.files[filepath.Base(name)] = []byte(b)
	}
	return m
}

func (m *mapSource) clone() *mapSource { return &mapSource{files: maps.Clone(m.files)} }

// TestForgeMakesGoodRepositories: a forge without a forgery is believed, so that the refusals below are for what each test forges.
func TestForgeMakesGoodRepositories(t *testing.T) {
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	publish(t, r, 1, day0)
	f := newForge(t, r)
	f.bump(3, RoleTimestamp, RoleSnapshot, RoleDatabase)
	refresh(t, newTrust(t, r), f.source(), day0)
}
