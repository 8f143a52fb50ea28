package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A refresh asks for the next root, then for each document once, and keeps the bytes as they were served.
func TestRefreshAsksForWhatItNeeds(t *testing.T) {
	r := newRepo(t)
	r.edit[timestamp] = func(b []byte) []byte { return append(b, ' ', '\n') }
	r.publish(timestamp)
	d := newDevice(r)
	d.accept()
	if got, want := r.requests(), "2.root.json timestamp.json 1.snapshot.json 1.targets.json"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	for _, role := range topLevel {
		b, err := os.ReadFile(filepath.Join(d.path("metadata"), role+".json"))
		if err != nil || !bytes.Equal(b, r.newest(role)) {
			t.Errorf("%s is not kept as served: %v", role, err)
		}
	}
	d.accept()
	if got, want := r.requests(), "2.root.json timestamp.json"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

// A download refreshes first, also when the target is not there.
func TestDownloadRefreshes(t *testing.T) {
	d := newDevice(newRepo(t))
	if d.download("nothing") {
		t.Error("downloaded nothing")
	}
	d.trusts(1, 1, 1, 1)
}

// A first root that is malformed or not signed by its own keys is trusted in nothing: not one request is made.
func TestBadFirstRoot(t *testing.T) {
	r := newRepo(t)
	for name, spoil := range map[string]func(doc map[string]any){
		"malformed": func(doc map[string]any) { delete(doc["signed"].(map[string]any), "version") },
		"unsigned": func(doc map[string]any) {
			doc["signatures"].([]any)[0].(map[string]any)["sig"] = badSignature()
		},
	} {
		d := bareDevice(r)
		bad := change(t, r.newest(root), spoil)
		if d.init(bad) {
			t.Errorf("%s: taken", name)
		}
		must(t, os.WriteFile(filepath.Join(d.path("metadata"), "root.json"), bad, 0o600)) // were it there anyway
		d.refuse()
		if got := r.requests(); got != "" {
			t.Errorf("%s: asked for %s", name, got)
		}
	}
}

// What is badly signed, of another version than its name, of another content than the document above it says, or not there, is refused; what
// came before it counts.
func TestEachRoleSpoiled(t *testing.T) {
	before := map[string][]int64{root: {1, 0, 0, 0}, timestamp: {2, 0, 0, 0}, snapshot: {2, 2, 0, 0}, targets: {2, 2, 2, 0}}
	for _, role := range topLevel {
		for name, spoil := range map[string]func(r *repo){
			"unsigned":        func(r *repo) { r.signers[role] = nil },
			"wrong key":       func(r *repo) { r.signers[role] = []signer{newSigner(t, "ed25519")} },
			"version in name": func(r *repo) { r.setVersion(role, 2) },
			"hash":            func(r *repo) { r.hashes = true },
			"missing":         nil,
			"no JSON":         func(r *repo) { r.edit[role] = func([]byte) []byte { return []byte("<html>") } },
			"of another role": func(r *repo) {
				r.edit[role] = func(b []byte) []byte { return bytes.Replace(b, []byte(`"_type":"`), []byte(`"_type":"x`), 1) }
			},
			"endless document": func(r *repo) {
				r.edit[role] = func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), int(limitOf(role)))...) }
			},
		} {
			if role == timestamp && name == "version in name" || (role == timestamp || role == root) && name == "hash" {
				continue // it has none
			}
			t.Run(role+" "+name, func(t *testing.T) {
				r := newRepo(t)
				d := newDevice(r)
				if spoil != nil {
					spoil(r)
				}
				r.publish(root, targets, snapshot, timestamp)
				switch name {
				case "version in name":
					r.put(fmt.Sprintf("metadata/2.%s.json", role), r.newest(role))
					if role == snapshot {
						r.time.Signed.Meta["snapshot.json"].Version = 2
						r.time.Signed.Version = 1
						r.publish(timestamp)
					} else if role == targets {
						r.snap.Signed.Meta["targets.json"].Version = 2
						r.snap.Signed.Version, r.time.Signed.Version = 1, 1
						r.publish(snapshot, timestamp)
					}
				case "hash":
					r.put(fmt.Sprintf("metadata/2.%s.json", role), append(r.newest(role), ' '))
				case "missing":
					if role == root {
						t.Skip("that is how the walk over the roots ends")
					}
					r.mu.Lock()
					delete(r.files, fmt.Sprintf("metadata/2.%s.json", role))
					delete(r.files, "metadata/"+role+".json")
					r.mu.Unlock()
				}
				d.refuse()
				d.trusts(before[role]...)
			})
		}
	}
}

func (r *repo) setVersion(role string, v int64) {
	switch role {
	case root:
		r.root.Signed.Version = v
	case timestamp:
		r.time.Signed.Version = v
	case snapshot:
		r.snap.Signed.Version = v
	default:
		r.targets[role].Signed.Version = v
	}
}

// No version goes back, whether or not documents carry hashes; nor does a role leave the snapshot.
func TestRollback(t *testing.T) {
	for _, hashes := range []bool{false, true} {
		for _, role := range []string{timestamp, snapshot, targets, "gone"} {
			t.Run(fmt.Sprintf("%s hashes=%t", role, hashes), func(t *testing.T) {
				r := newRepo(t)
				r.hashes = hashes
				r.delegate(targets, "gone", false, "x/*")
				r.publish("gone", targets, snapshot, timestamp)
				d := newDevice(r)
				d.accept()
				d.trusts(1, 2, 2, 2)
				if role == "gone" {
					delete(r.snap.Signed.Meta, "gone.json")
				} else {
					r.setVersion(role, 0)
				}
				switch role {
				case timestamp:
					r.publish(timestamp)
				case targets:
					r.publish(targets, snapshot, timestamp)
				default:
					r.publish(snapshot, timestamp)
				}
				d.refuse()
				if d.version(timestamp) < 2 || d.version(snapshot) != 2 || d.version(targets) != 2 {
					d.trusts(1, 2, 2, 2)
				}
			})
		}
	}
}

// A timestamp of the same version with another content changes nothing.
func TestSameVersionOtherContent(t *testing.T) {
	r := newRepo(t)
	d := newDevice(r)
	d.accept()
	old := r.newest(timestamp)
	r.time.Signed.Meta["snapshot.json"].Version = 100
	r.setVersion(timestamp, 0)
	r.publish(timestamp)
	r.requests()
	d.accept()
	if got := r.requests(); got != "2.root.json timestamp.json" {
		t.Errorf("asked for %s", got)
	}
	if b, err := os.ReadFile(filepath.Join(d.path("metadata"), "timestamp.json")); err != nil || !bytes.Equal(b, old) {
		t.Errorf("another timestamp was kept: %v", err)
	}
}

// A fast-forward ends when the role that was stolen, or the one that names it, gets new keys.
func TestFastForwardRecovery(t *testing.T) {
	for stolen, rotate := range map[string][]string{timestamp: {timestamp}, snapshot: {snapshot, timestamp}, targets: {snapshot}} {
		t.Run(stolen, func(t *testing.T) {
			r := newRepo(t)
			d := newDevice(r)
			r.setVersion(stolen, 1000)
			r.publish(targets, snapshot, timestamp)
			d.accept()
			if got := d.version(stolen); got != 1001 {
				t.Fatalf("trusts %d", got)
			}
			r.setVersion(stolen, 4)
			r.publish(targets, snapshot, timestamp)
			d.refuse()
			for _, role := range rotate {
				r.rotate(role)
			}
			r.publish(root, targets, snapshot, timestamp)
			d.accept()
			if got := d.version(stolen); got != 6 {
				t.Errorf("trusts %d, want 6", got)
			}
		})
	}
}

// Freeze: nothing expired is believed, at the second; what is expired on disk does not keep anything new out.
func TestExpiry(t *testing.T) {
	want := map[string][]int64{root: {2, 1, 1, 1}, timestamp: {2, 1, 1, 1}, snapshot: {2, 2, 1, 1}, targets: {2, 2, 2, 1}}
	for _, role := range topLevel {
		t.Run(role, func(t *testing.T) {
			r := newRepo(t)
			d := newDevice(r)
			d.accept()
			soon := day0.Add(day)
			switch role {
			case root:
				r.root.Signed.Expires = soon
			case timestamp:
				r.time.Signed.Expires = soon
			case snapshot:
				r.snap.Signed.Expires = soon
			case targets:
				r.targets[targets].Signed.Expires = soon
			}
			r.publish(root, targets, snapshot, timestamp)
			d.now = soon.Add(1e9)
			d.refuse()
			d.trusts(want[role]...)
			d.now = soon
			d.accept()
			d.trusts(2, 2, 2, 2)
			// What expired meanwhile is replaced.
			r.root.Signed.Expires, r.time.Signed.Expires = day0.Add(60*day), day0.Add(60*day)
			r.snap.Signed.Expires, r.targets[targets].Signed.Expires = day0.Add(60*day), day0.Add(60*day)
			r.publish(root, targets, snapshot, timestamp)
			d.now = day0.Add(50 * day)
			d.accept()
			d.trusts(3, 3, 3, 3)
		})
	}
}

// Mix and match: documents that are good one by one and were never published together are no state.
func TestMixAndMatch(t *testing.T) {
	r := newRepo(t)
	r.hashes = true
	r.publish(targets, snapshot, timestamp)
	d := newDevice(r)
	d.accept()
	r.addTarget(targets, "a", "1")
	r.publish(targets)
	other := r.newest(targets)
	r.setVersion(targets, 2)
	r.addTarget(targets, "a", "2")
	r.publish(targets, snapshot, timestamp)
	r.put("metadata/3.targets.json", other)
	d.refuse()
	d.trusts(1, 3, 3, 2)
}

// Damage in the device's own folder costs a download, no trust.
func TestDamagedFolder(t *testing.T) {
	for _, role := range []string{timestamp, snapshot, targets} {
		r := newRepo(t)
		d := newDevice(r)
		d.accept()
		for _, junk := range []string{"", "{}", `{"signed":null,"signatures":null}`, `{"signed":{"meta":{"x":null}}}`} {
			must(t, os.WriteFile(filepath.Join(d.path("metadata"), role+".json"), []byte(junk), 0o600))
			d.accept()
			d.trusts(1, 1, 1, 1)
		}
	}
}

// Fields that nobody knows are signed for and change nothing; a key's change its id and no more.
func TestUnknownFields(t *testing.T) {
	r := newRepo(t)
	d := newDevice(r)
	more := map[string]any{"x-more": map[string]any{"a": 1, "ü": "é\n"}}
	r.root.Signed.UnrecognizedFields, r.time.Signed.UnrecognizedFields, r.snap.Signed.UnrecognizedFields = more, more, more
	s := newSigner(t, "ed25519")
	fields := map[string]any{"keyid_hash_algorithms": []any{"md5"}}
	with := &metadata.Key{Type: s.key.Type, Scheme: s.key.Scheme, Value: s.key.Value, UnrecognizedFields: fields}
	id, err := with.ID()
	must(t, err)
	r.root.Signed.Keys[id] = with
	r.root.Signed.Roles[snapshot].KeyIDs = []string{id}
	r.signers[snapshot] = []signer{s}
	r.edit[snapshot] = func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(s.id), []byte(id)) }
	r.publish(root, targets, snapshot, timestamp)
	d.accept()
	d.trusts(2, 2, 2, 2)
}

// Names without versions: a repository that is not consistent works the same.
func TestNotConsistent(t *testing.T) {
	r := newRepo(t)
	r.root.Signed.ConsistentSnapshot = false
	r.delegate(targets, "part", false, "x/*")
	r.addTarget("part", "x/y", "content")
	r.publish(root, "part", targets, snapshot, timestamp)
	r.put("targets/x/y", []byte("content"))
	d := newDevice(r)
	if !d.download("x/y") || d.has() != "content" {
		t.Fatalf("has %q; %s", d.has(), d.said)
	}
	if got, want := r.requests(), "3.root.json timestamp.json snapshot.json targets.json part.json"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}
