package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// Keys of every kind that TUF names vouch for a root, and a bad signature of theirs does not.
func TestKindsOfKeys(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			r := newRepo(t)
			d := newDevice(r)
			s := newSigner(t, kind)
			r.setKeys(root, 2, []signer{r.signers[root][0], s})
			r.publish(root)
			d.accept()
			if d.version(root) != 2 {
				t.Fatal(d.said)
			}
			r.edit[root] = func(b []byte) []byte {
				return change(t, b, func(doc map[string]any) {
					sig := doc["signatures"].([]any)[1].(map[string]any)
					digits := []byte(sig["sig"].(string))
					digits[len(digits)-1] ^= 1 // one bit of the last hex digit: 0 and 1, 8 and 9, a and `
					if digits[len(digits)-1] == '`' || digits[len(digits)-1] == 'g' {
						digits[len(digits)-1] = '0'
					}
					sig["sig"] = string(digits)
				})
			}
			r.publish(root)
			d.refuse()
			if d.version(root) != 2 {
				t.Errorf("root %d", d.version(root))
			}
		})
	}
}

// A whole repository of each kind of key.
func TestRepositoriesOfEachKind(t *testing.T) {
	for _, kind := range []string{"ecdsa", "rsa"} {
		r := newRepoOf(t, kind)
		r.delegate(targets, "part", false, "x/*")
		r.addTarget("part", "x/y", "content")
		r.publish("part", targets, snapshot, timestamp)
		if d := newDevice(r); !d.download("x/y") || d.has() != "content" {
			t.Errorf("%s: %s", kind, d.said)
		}
	}
}

// A root is believed if a threshold of the old keys and a threshold of its own sign it, whoever else does.
func TestRootRotation(t *testing.T) {
	var k []signer
	for range 8 {
		k = append(k, newSigner(t, "ed25519"))
	}
	pick := func(digits string) []signer {
		var s []signer
		for _, c := range digits {
			s = append(s, k[c-'0'])
		}
		return s
	}
	type step struct {
		keys      string
		threshold int
		signs     string
	}
	for _, c := range []struct {
		name  string
		good  bool
		steps []step
	}{
		{"one key by another", true, []step{{"0", 1, "0"}, {"1", 1, "01"}, {"1", 1, "1"}}},
		{"strangers sign too", true, []step{{"0", 1, "60"}, {"1", 1, "5016"}, {"1", 1, "17"}}},
		{"any two of three", true, []step{{"012", 2, "01"}, {"012", 2, "12"}, {"012", 2, "20"}}},
		{"one of three by another", true, []step{{"012", 2, "01"}, {"123", 2, "12"}}},
		{"all three at once", true, []step{{"012", 2, "01"}, {"345", 2, "0134"}, {"345", 2, "45"}}},
		{"threshold up", true, []step{{"012", 1, "0"}, {"012", 3, "012"}, {"012", 3, "012"}}},
		{"threshold down", true, []step{{"012", 3, "012"}, {"012", 1, "012"}, {"012", 1, "2"}}},
		{"a key more and needed", true, []step{{"0", 1, "0"}, {"01", 2, "01"}}},
		{"not signed by the old key", false, []step{{"0", 1, "0"}, {"1", 1, "123"}}},
		{"not signed by the new key", false, []step{{"0", 1, "0"}, {"1", 1, "023"}}},
		{"too few of the new", false, []step{{"012", 2, "01"}, {"234", 2, "012"}}},
		{"too few of the old", false, []step{{"012", 2, "01"}, {"234", 2, "234"}}},
		{"threshold up, signed as before", false, []step{{"012", 1, "0"}, {"012", 2, "1"}}},
		{"threshold down, signed as after", false, []step{{"012", 2, "01"}, {"012", 1, "0"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRepo(t)
			var d *device
			for _, s := range c.steps {
				r.setKeys(root, s.threshold, pick(s.keys), pick(s.signs)...)
				r.publish(root)
				if d == nil {
					d = newDevice(r)
				}
			}
			want := r.root.Signed.Version
			if c.good {
				d.accept()
			} else {
				d.refuse()
				want--
			}
			if d.version(root) != want {
				t.Errorf("root %d, want %d", d.version(root), want)
			}
		})
	}
}

// Thresholds count good signatures of distinct keys of the role, for every role.
func TestThresholds(t *testing.T) {
	for _, role := range []string{timestamp, snapshot, targets} {
		var k []signer
		for range 5 {
			k = append(k, newSigner(t, "ed25519"))
		}
		for _, c := range []struct {
			name      string
			good      bool
			threshold int
			keys      []signer
			signs     []signer
		}{
			{"enough", true, 3, k, k[1:4]},
			{"strangers beside enough", true, 1, k[:1], k},
			{"one too few", false, 3, k, k[:2]},
			{"strangers only", false, 1, k[:1], k[1:]},
			{"fewer keys than the threshold", false, 6, k, k},
		} {
			t.Run(role+" "+c.name, func(t *testing.T) {
				r := newRepo(t)
				d := newDevice(r)
				r.setKeys(role, c.threshold, c.keys, c.signs...)
				r.publish(root, targets, snapshot, timestamp)
				if got := d.refresh(); got != c.good {
					t.Errorf("accepted is %t: %s", got, d.said)
				}
				if d.version(root) != 2 || (d.version(role) == 2) != c.good {
					t.Errorf("root %d, %s %d", d.version(root), role, d.version(role))
				}
			})
		}
	}
}

// One key never counts twice: not by standing twice in a role, not by signing twice, not under two ids.
func TestOneKeyCountsOnce(t *testing.T) {
	twice := func(b []byte) []byte {
		return change(t, b, func(doc map[string]any) {
			sigs := doc["signatures"].([]any)
			doc["signatures"] = append(sigs, sigs[0])
		})
	}
	t.Run("key twice in a role", func(t *testing.T) {
		r := newRepo(t)
		d := newDevice(r)
		role := r.root.Signed.Roles[snapshot]
		role.KeyIDs, role.Threshold = append(role.KeyIDs, role.KeyIDs[0]), 2
		r.edit[snapshot] = twice
		r.publish(root, snapshot, timestamp)
		d.refuse()
		if d.version(snapshot) != 0 {
			t.Error("counted twice")
		}
	})
	t.Run("signature twice", func(t *testing.T) {
		r := newRepo(t)
		d := newDevice(r)
		r.edit[snapshot] = twice
		r.publish(snapshot, timestamp)
		d.refuse()
		d.trusts(1, 2, 0, 0)
	})
	t.Run("under two ids", func(t *testing.T) {
		r := newRepo(t)
		d := newDevice(r)
		s, other := r.signers[snapshot][0], strings.Repeat("ab", 32)
		r.root.Signed.Keys[other] = s.key
		role := r.root.Signed.Roles[snapshot]
		role.KeyIDs, role.Threshold = append(role.KeyIDs, other), 2
		r.edit[snapshot] = func(b []byte) []byte {
			return change(t, b, func(doc map[string]any) {
				sig := doc["signatures"].([]any)[0].(map[string]any)
				doc["signatures"] = []any{sig, map[string]any{"keyid": other, "sig": sig["sig"]}}
			})
		}
		r.publish(root, snapshot, timestamp)
		d.refuse()
		d.trusts(2, 2, 0, 0)
	})
}

// A bad signature beside a threshold of good ones does no harm, be it empty.
func TestBadSignatureBesideGoodOnes(t *testing.T) {
	r := newRepo(t)
	d := newDevice(r)
	r.addKey(timestamp)
	for i, bad := range []string{badSignature(), ""} {
		r.edit[timestamp] = func(b []byte) []byte {
			return change(t, b, func(doc map[string]any) { doc["signatures"].([]any)[0].(map[string]any)["sig"] = bad })
		}
		r.publish(root, timestamp)
		d.accept()
		if got := d.version(timestamp); got != int64(i+2) {
			t.Errorf("timestamp %d", got)
		}
	}
}

// Signed and malformed: what go-tuf would give way to, or read otherwise than was checked, never reaches it.
func TestSignedButMalformed(t *testing.T) {
	n := 0
	for _, role := range topLevel {
		for old, replaced := range map[string]string{
			`"version":`:      `"version":null,"x":`,
			`"expires":"`:     `"expires":"never","x":"`,
			`"_type":"`:       `"_type":null,"x":"`,
			`"signatures":[{`: `"signatures":[null,{`,
			`"sig":"`:         `"sig":"0`,
			`"keyid":"`:       `"keyid":"x","keyid":"`,
			`"meta":{"`:       `"meta":{"x.json":null,"`,
			`"meta":{`:        `"Meta":{},"meta":{`,
			`"keys":{"`:       `"keys":{"x":null,"`,
			`"public":"`:      `"public":"00`,
			`"roles":{"`:      `"roles":{"x":null,"`,
			`"targets":{"`:    `"targets":{"x":null,"`,
			`"hashes":{"`:     `"hashes":{"x":null,"`,
			`"threshold":`:    `"threshold":-`,
		} {
			r := newRepo(t)
			r.addTarget(targets, "a", "b")
			r.publish(targets, snapshot, timestamp)
			d := newDevice(r)
			r.edit[role] = func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(replaced), 1) }
			if b := sign(r, targets, r.targets[targets]); role == targets && !bytes.Contains(b, []byte(replaced)) {
				continue
			}
			r.publish(root, targets, snapshot, timestamp)
			if !bytes.Contains(r.newest(role), []byte(replaced)) {
				continue
			}
			n++
			if d.refresh() {
				t.Errorf("%s with %s: accepted", role, replaced)
			}
			if strings.Contains(d.said, "not enough signatures") {
				t.Errorf("%s with %s came to the verifier: %s", role, replaced, d.said)
			}
		}
	}
	if n < 30 {
		t.Errorf("%d cases", n)
	}
	t.Log(fmt.Sprint(n, " cases"))
}
