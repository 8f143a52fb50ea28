package main

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/avdb/signing/internal/exchange"
)

// The roles that every repository has.
const (
	root      = "root"
	timestamp = "timestamp"
	snapshot  = "snapshot"
	targets   = "targets"
)

var topLevel = []string{root, timestamp, snapshot, targets}

// Limits, in bytes and in elements.
const (
	maxRoot      = 512_000
	maxTimestamp = 16 << 10
	maxSnapshot  = 2_000_000
	maxTargets   = 5_000_000
	maxElements  = 16384
	maxFileName  = 255 // of a role, escaped, with its ending
)

func limitOf(role string) int64 {
	switch role {
	case root:
		return maxRoot
	case timestamp:
		return maxTimestamp
	case snapshot:
		return maxSnapshot
	}
	return maxTargets
}

// A shape is what go-tuf must find in a document to not give way, and what TUF demands that go-tuf does not look at.
type shape struct{ exchange.Shape }

// check tells whether go-tuf may see a document. It is looser than the product's profile in what TUF leaves open, and as strict in JSON.
func check(role string, b []byte) error {
	if int64(len(b)) > limitOf(role) {
		return fmt.Errorf("%s: more than %d bytes", role, limitOf(role))
	}
	tree, err := exchange.Tree(b, exchange.AnyText)
	if err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	s := &shape{}
	s.document(role, tree)
	if s.Err != nil {
		return fmt.Errorf("%s: %w", role, s.Err)
	}
	return nil
}

// fields takes an object whose fields are read by name.
func (s *shape) fields(what string, v any, names ...string) map[string]any {
	m := s.Object(what, v)
	s.Fields(what, m, names...)
	return m
}

func (s *shape) document(role string, tree any) {
	top := s.fields("document", tree, "signatures", "signed")
	s.signatures(top["signatures"])
	kind := role
	if !slices.Contains(topLevel, role) {
		kind = targets
	}
	signed := s.fields("signed", top["signed"], "_type", "spec_version", "version", "expires", "keys", "roles", "consistent_snapshot", "meta", "targets", "delegations")
	if t := s.Text("_type", signed["_type"]); t != kind {
		s.Bad("_type is %.32q, want %q", t, kind)
	}
	if v := s.Text("spec_version", signed["spec_version"]); !specVersion.MatchString(v) {
		s.Bad("spec_version is %.32q, want 1.something", v)
	}
	s.Number("version", signed["version"], 1, exchange.MaxInteger)
	if _, err := time.Parse(time.RFC3339, s.Text("expires", signed["expires"])); err != nil {
		s.Bad("expires: %v", err)
	}
	switch kind {
	case root:
		s.root(signed)
	case timestamp:
		meta := s.meta(signed["meta"])
		if _, ok := meta["snapshot.json"]; !ok || len(meta) != 1 {
			s.Bad("meta names something else than snapshot.json")
		}
	case snapshot:
		if _, ok := s.meta(signed["meta"])["targets.json"]; !ok {
			s.Bad("meta does not name targets.json")
		}
	case targets:
		s.targets(signed["targets"])
		if v, ok := signed["delegations"]; ok {
			s.delegations(v)
		}
	}
}

var specVersion = regexp.MustCompile(`^1\.[0-9]{1,4}(\.[0-9]{1,4})?$`)

// signatures are of distinct key ids. They may be bad: it is the threshold of good ones that counts.
func (s *shape) signatures(v any) {
	var ids []string
	for _, e := range s.Array("signatures", v, 0, maxElements) {
		m := s.fields("signature", e, "keyid", "sig")
		id := s.Text("keyid", m["keyid"])
		if slices.Contains(ids, id) {
			s.Bad("two signatures of key %.8q", id)
		}
		ids = append(ids, id)
		s.hex("sig", m["sig"])
	}
}

// hex takes hex of any length, also none.
func (s *shape) hex(what string, v any) string {
	t := s.Text(what, v)
	if _, err := hex.DecodeString(t); err != nil {
		s.Bad("%s is no hex", what)
	}
	return t
}

func (s *shape) keys(v any) map[string]any {
	m := s.Object("keys", v)
	for id, v := range m {
		k := s.fields("key", v, "keytype", "scheme", "keyval")
		kind := s.Text("keytype", k["keytype"])
		s.Text("scheme", k["scheme"])
		public := s.Text("public", s.fields("keyval", k["keyval"], "public")["public"])
		if kind == "ed25519" {
			s.HexText("public", public, 32)
		}
		if id == "" || len(id) > 256 {
			s.Bad("a key id has %d bytes", len(id))
		}
	}
	return m
}

// signers are the keys of a role. There may be fewer than its threshold: then nothing that it signs is good.
func (s *shape) signers(what string, m, keys map[string]any) {
	var ids []string
	for _, v := range s.Array(what+" keyids", m["keyids"], 1, maxElements) {
		id := s.Text("keyid", v)
		if slices.Contains(ids, id) {
			s.Bad("%s has the key %.8q twice", what, id)
		}
		if keys[id] == nil {
			s.Bad("%s has the key id %.8q, which is not in keys", what, id)
		}
		ids = append(ids, id)
	}
	s.Number(what+" threshold", m["threshold"], 1, maxElements)
}

func (s *shape) root(signed map[string]any) {
	if v, ok := signed["consistent_snapshot"]; ok {
		if _, ok := v.(bool); !ok {
			s.Bad("consistent_snapshot is no boolean")
		}
	}
	keys := s.keys(signed["keys"])
	roles := s.Object("roles", signed["roles"])
	for _, name := range topLevel {
		if roles[name] == nil {
			s.Bad("no role %s", name)
		}
	}
	for name, v := range roles {
		s.signers("role "+name, s.fields("role", v, "keyids", "threshold"), keys)
	}
}

func (s *shape) meta(v any) map[string]any {
	m := s.Object("meta", v)
	for name, v := range m {
		if role, ok := strings.CutSuffix(name, ".json"); !ok || !goodName(role) {
			s.Bad("meta names %.32q, want ROLE.json", name)
		}
		f := s.fields("meta "+name, v, "version", "length", "hashes")
		s.Number(name+" version", f["version"], 1, exchange.MaxInteger)
		if v, ok := f["length"]; ok {
			s.Number(name+" length", v, 1, maxTargets)
		}
		if v, ok := f["hashes"]; ok {
			s.hashes(name, v)
		}
	}
	return m
}

// hashes are at least one. go-tuf refuses what it cannot compute.
func (s *shape) hashes(what string, v any) {
	m := s.Object(what+" hashes", v)
	if len(m) == 0 {
		s.Bad("%s has no hash", what)
	}
	for name, v := range m {
		if s.hex(what+" "+name, v) == "" {
			s.Bad("%s %s is empty", what, name)
		}
	}
}

func (s *shape) targets(v any) {
	for p, v := range s.Object("targets", v) {
		f := s.fields("target", v, "length", "hashes", "custom")
		s.Number(p+" length", f["length"], 0, exchange.MaxInteger)
		s.hashes(p, f["hashes"])
	}
}

func (s *shape) delegations(v any) {
	m := s.fields("delegations", v, "keys", "roles", "succinct_roles")
	keys := s.keys(m["keys"])
	if v, ok := m["succinct_roles"]; ok {
		r := s.fields("succinct_roles", v, "keyids", "threshold", "bit_length", "name_prefix")
		s.signers("succinct roles", r, keys)
		s.Number("bit_length", r["bit_length"], 1, 32)
		if !goodName(s.Text("name_prefix", r["name_prefix"])) {
			s.Bad("bad name_prefix")
		}
		if _, both := m["roles"]; both {
			s.Bad("both roles and succinct_roles")
		}
		return
	}
	seen := map[string]bool{}
	for _, v := range s.Array("delegated roles", m["roles"], 0, maxElements) {
		r := s.fields("delegated role", v, "name", "keyids", "threshold", "terminating", "paths", "path_hash_prefixes")
		name := s.Text("name", r["name"])
		if !goodName(name) || slices.Contains(topLevel, name) || seen[name] {
			s.Bad("delegated role name %.32q", name)
		}
		seen[name] = true
		if _, ok := r["terminating"].(bool); !ok {
			s.Bad("role %.32q: terminating is absent or no boolean", name)
		}
		s.signers("delegated role", r, keys)
		one := 0
		for _, field := range []string{"paths", "path_hash_prefixes"} {
			if v, ok := r[field]; ok {
				one++
				for _, p := range s.Array(field, v, 0, maxElements) {
					s.Text(field, p)
				}
			}
		}
		if one != 1 {
			s.Bad("role %.32q has not one of paths and path_hash_prefixes", name)
		}
	}
}

// goodName takes the name of a role if, escaped, it can name a file.
func goodName(role string) bool {
	return role != "" && len(url.PathEscape(role)+".json") <= maxFileName
}
