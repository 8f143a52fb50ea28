//go:build check

package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
)

// order is that in which documents name each other.
var order = []string{signing.RoleDatabase, signing.RoleRestrictions, signing.RoleTargets, signing.RoleSnapshot, signing.RoleTimestamp}

type object = map[string]any

// A thief is on the network and holds some keys of the publisher. What it lacks it signs with a key of its own.
type thief struct {
	t    *testing.T
	tree *fixtures.Tree // what it serves
	keys map[string][]ed25519.PrivateKey
	own  ed25519.PrivateKey

	changed map[string]func(signed object)
}

// newThief steals the keys of roles, at most so many of each as many says; 0 means all.
func newThief(t *testing.T, p *fixtures.Publisher, tree *fixtures.Tree, many int, roles ...string) *thief {
	t.Helper()
	th := &thief{t: t, tree: tree, keys: map[string][]ed25519.PrivateKey{}, changed: map[string]func(object){},
		own: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))}
	for _, role := range roles {
		names, err := filepath.Glob(filepath.Join(p.Dir, "keys", "*", role+"-*.pem"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no key of %s: %v", role, err)
		}
		if many > 0 {
			names = names[:many]
		}
		for _, name := range names {
			th.keys[role] = append(th.keys[role], readKey(t, name))
		}
	}
	return th
}

func readKey(t *testing.T, name string) ed25519.PrivateKey {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s is no PEM file", name)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k.(ed25519.PrivateKey)
}

// keyID is the id of a key as the repository's documents have it: the start of its file's name is the start of its id.
func keyID(k ed25519.PrivateKey) string {
	public := hex.EncodeToString(k.Public().(ed25519.PublicKey))
	sum := sha256.Sum256(canonical(object{"keytype": "ed25519", "keyval": object{"public": public}, "scheme": "ed25519"}))
	return hex.EncodeToString(sum[:])
}

// canonical is canonical JSON for what metadata holds: printable ASCII without escapes, and whole numbers.
func canonical(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only maps, strings and numbers come here
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// signed is the signed part of a role's document that the tree's timestamp leads to.
func (th *thief) signed(role string) object {
	th.t.Helper()
	d := json.NewDecoder(bytes.NewReader(th.tree.File(th.file(role))))
	d.UseNumber()
	var doc struct {
		Signed object `json:"signed"`
	}
	if err := d.Decode(&doc); err != nil {
		th.t.Fatalf("%s: %v", role, err)
	}
	return doc.Signed
}

func (th *thief) file(role string) string {
	switch role {
	case signing.RoleTimestamp:
		return "metadata/timestamp.json"
	case signing.RoleSnapshot:
		return fmt.Sprintf("metadata/%d.snapshot.json", named(th.signed(signing.RoleTimestamp), role))
	}
	return fmt.Sprintf("metadata/%d.%s.json", named(th.signed(signing.RoleSnapshot), role), role)
}

func named(signed object, role string) uint64 {
	return number(signed["meta"].(object)[role+".json"].(object)["version"])
}

func number(v any) uint64 {
	var n uint64
	if _, err := fmt.Sscan(fmt.Sprint(v), &n); err != nil {
		panic(err)
	}
	return n
}

// change plans a new version of a role's document; edit may be nil.
func (th *thief) change(role string, edit func(signed object)) *thief {
	if edit == nil {
		edit = func(object) {}
	}
	before := th.changed[role]
	th.changed[role] = func(o object) {
		if before != nil {
			before(o)
		}
		edit(o)
	}
	return th
}

// version gives a role's document another version than the next one.
func (th *thief) version(role string, v uint64) *thief {
	return th.change(role, func(o object) { o["version"] = v })
}

// forge signs what was planned, and what vouches for it, with the keys that are held or the thief's own, and gives the tree to serve.
func (th *thief) forge(now time.Time) *fixtures.Tree {
	th.t.Helper()
	docs := map[string]object{}
	for _, role := range order {
		docs[role] = th.signed(role)
	}
	tree := th.tree
	meta := map[string]object{}
	for _, role := range order {
		for name, m := range meta {
			if table, ok := docs[role]["meta"].(object); ok && table[name+".json"] != nil {
				table[name+".json"] = m
				if th.changed[role] == nil {
					th.change(role, nil)
				}
			}
		}
		edit := th.changed[role]
		if edit == nil {
			continue
		}
		o := docs[role]
		o["version"] = number(o["version"]) + 1
		if role == signing.RoleTimestamp {
			o["signed_at"], o["expires"] = stamp(now), stamp(now.Add(signing.LifeTimestamp))
		}
		edit(o)
		b := th.sign(role, o)
		sum := sha256.Sum256(b)
		meta[role] = object{"version": o["version"], "length": len(b), "hashes": object{"sha256": hex.EncodeToString(sum[:])}}
		name := "metadata/timestamp.json"
		if role != signing.RoleTimestamp {
			name = fmt.Sprintf("metadata/%d.%s.json", number(o["version"]), role)
		}
		tree = tree.With(name, b)
	}
	return tree
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func (th *thief) sign(role string, signed object) []byte {
	keys := th.keys[role]
	if len(keys) == 0 {
		keys = []ed25519.PrivateKey{th.own}
	}
	payload := canonical(signed)
	signatures := []any{}
	for _, k := range keys {
		signatures = append(signatures, object{"keyid": keyID(k), "sig": hex.EncodeToString(ed25519.Sign(k, payload))})
	}
	return canonical(object{"signatures": signatures, "signed": signed})
}

// plant makes another publisher's release the content of the database role, with its files.
func (th *thief) plant(evil *fixtures.Publisher) *thief {
	th.t.Helper()
	theirs := (&thief{t: th.t, tree: evil.Snapshot()}).signed(signing.RoleDatabase)["targets"]
	for _, target := range evil.Targets() {
		b, err := os.ReadFile(evil.Repository().TargetFile(target))
		if err != nil {
			th.t.Fatal(err)
		}
		th.tree = th.tree.With("targets/"+target.Name(), b)
	}
	return th.change(signing.RoleDatabase, func(o object) { o["targets"] = theirs })
}

// kind is what a target is, whichever release it is of: "light.bundle", "release.json".
func kind(target string) string {
	if dir, name, ok := strings.Cut(target, "/"); ok {
		return dir + filepath.Ext(name)
	}
	return target
}

// fileOf is where a target's bytes lie on a mirror.
func fileOf(target, sum string) string {
	dir, name := path.Split(target)
	return "targets/" + dir + sum + "." + name
}

// rootOf is the signed part of root n.
func (th *thief) rootOf(n int) object {
	th.t.Helper()
	var doc struct {
		Signed object `json:"signed"`
	}
	d := json.NewDecoder(bytes.NewReader(th.tree.File(fmt.Sprintf("metadata/%d.root.json", n))))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		th.t.Fatal(err)
	}
	return doc.Signed
}
