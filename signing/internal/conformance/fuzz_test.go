package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// seeds are documents of each role with a value replaced by what readers stumble over.
func seeds(f *testing.F) {
	key := metadata.Key{Type: "ed25519", Scheme: "ed25519", Value: metadata.KeyVal{PublicKey: fmt.Sprintf("%x", make([]byte, ed25519.PublicKeySize))}}
	id, err := key.ID()
	if err != nil {
		f.Fatal(err)
	}
	rsa := metadata.Key{Type: "rsa", Scheme: "rsassa-pss-sha256", Value: metadata.KeyVal{PublicKey: "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"}}
	r, ts, sn, tg := metadata.Root(day0), metadata.Timestamp(day0), metadata.Snapshot(day0), metadata.Targets(day0)
	for _, role := range topLevel {
		r.Signed.Roles[role] = &metadata.Role{KeyIDs: []string{id}, Threshold: 1}
	}
	r.Signed.Keys = map[string]*metadata.Key{id: &key, "r": &rsa}
	one, err := metadata.TargetFile().FromBytes("a/b", []byte("x"), "sha256", "sha512")
	if err != nil {
		f.Fatal(err)
	}
	tg.Signed.Targets["a/b"] = one
	tg.Signed.Delegations = &metadata.Delegations{Keys: r.Signed.Keys, Roles: []metadata.DelegatedRole{
		{Name: "../x", KeyIDs: []string{id}, Threshold: 1, Paths: []string{"[", "*"}}, {Name: "y", KeyIDs: []string{"r"}, Threshold: 1, PathHashPrefixes: []string{"ab"}}}}
	bins := metadata.Targets(day0)
	bins.Signed.Delegations = &metadata.Delegations{Keys: r.Signed.Keys, SuccinctRoles: &metadata.SuccinctRoles{KeyIDs: []string{id}, Threshold: 1, BitLength: 32, NamePrefix: "b"}}
	sig := []metadata.Signature{{KeyID: id, Signature: make([]byte, 64)}, {KeyID: "r", Signature: nil}}
	r.Signatures, ts.Signatures, sn.Signatures, tg.Signatures, bins.Signatures = sig, sig, sig, sig, sig
	for i, m := range []any{r, ts, sn, tg, bins} {
		b, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		role := uint8(min(i, 3))
		f.Add(role, b)
		for _, c := range [][2]string{{`:{`, `:null,"x":{`}, {`":[`, `":null,"x":[`}, {`":"`, `":null,"x":"`}, {`":1`, `":-1`}, {`":1`, `":1e9`}, {`":1`, `":99999999999999999999`},
			{`"keys"`, `"Keys"`}, {`"version"`, `"verſion"`}, {`[{`, `[null,{`}, {`"sig":"`, `"sig":"0`}, {`"public":"`, `"public":"00`}, {`"`, `"\u0000`}} {
			for n := range 3 {
				f.Add(role, bytes.Replace(b, []byte(c[0]), []byte(c[1]), n+1))
			}
		}
	}
}

// Nothing that passes the looser profile makes go-tuf give way, whatever it is asked.
func FuzzCheck(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, n uint8, b []byte) {
		role := topLevel[int(n)%len(topLevel)] // the seeds come in the same order
		if check(role, b) != nil {
			return
		}
		switch role {
		case root:
			if m, err := metadata.Root().FromBytes(b); err == nil {
				for _, r := range topLevel {
					_ = m.VerifyDelegate(r, m)
				}
			}
		case timestamp:
			if m, err := metadata.Timestamp().FromBytes(b); err == nil {
				_ = m.Signed.Meta["snapshot.json"].VerifyLengthHashes(b)
			}
		case snapshot:
			if m, err := metadata.Snapshot().FromBytes(b); err == nil {
				for _, f := range m.Signed.Meta {
					_ = f.VerifyLengthHashes(b)
				}
			}
		case targets:
			m, err := metadata.Targets().FromBytes(b)
			if err != nil {
				return
			}
			for _, f := range m.Signed.Targets {
				_ = f.VerifyLengthHashes(b)
			}
			if d := m.Signed.Delegations; d != nil {
				for _, r := range d.GetRolesForTarget("a/b") {
					_ = m.VerifyDelegate(r.Name, m)
				}
			}
		}
	})
}
