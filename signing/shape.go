package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing/internal/exchange"
)

// The roles of a repository. The first four are TUF's own, the others are delegated by targets.
const (
	RoleRoot         = "root"
	RoleTimestamp    = "timestamp"
	RoleSnapshot     = "snapshot"
	RoleTargets      = "targets"
	RoleDatabase     = "database"
	RoleRestrictions = "restrictions"
)

// delegatedPaths are the patterns that targets entrusts to each delegated role. A reader accepts nothing else
// under these names, whatever a targets document says.
var delegatedPaths = map[string][]string{
	RoleDatabase:     {dbformat.ReleaseTarget, "light/*", "rest/*"},
	RoleRestrictions: {"restrictions/*"},
}

// Limits of the metadata documents in bytes, at publishing and at reading.
const (
	MaxRoot      = 64 << 10
	MaxTimestamp = 16 << 10
	MaxSnapshot  = 64 << 10
	MaxTargets   = 1 << 20 // of targets and of each delegated role
)

const (
	maxKeys       = 64
	maxSignatures = 64
	maxRoles      = 32
	maxPaths      = 64
)

func limitOf(role string) int64 {
	switch role {
	case RoleRoot:
		return MaxRoot
	case RoleTimestamp:
		return MaxTimestamp
	case RoleSnapshot:
		return MaxSnapshot
	}
	return MaxTargets
}

// A document is what one metadata file says, after its shape was checked; nothing in it is trusted yet.
type document struct {
	role     string
	version  uint64
	expires  time.Time
	signedAt time.Time            // timestamp only
	signers  []string             // key ids of the signatures, good or not
	keys     map[string]string    // by id: the public key in hex; root and targets only
	roles    map[string]authority // root: the four; targets: the delegated ones
	meta     map[string]metaFile  // by role; timestamp and snapshot only
	targets  map[string]Target    // by path; targets and delegated roles
	approved []uint64             // releases that may exceed the guards, ascending; targets only
}

// An authority is who may sign for a role.
type authority struct {
	keyids    []string
	threshold int
	paths     []string // delegated roles only
}

// A metaFile is what timestamp and snapshot say of another document.
type metaFile struct {
	version uint64
	length  int64
	sha256  dbformat.Digest
}

// parseTree reads a document as strictly as can be.
func parseTree(b []byte) (any, error) { return exchange.Tree(b, exchange.Plain) }

// A shape walks a parsed document.
type shape struct{ exchange.Shape }

// parseDocument checks the shape of a metadata file before any other code sees it. What passes has every field that
// go-tuf reads, with the right type and within bounds. Fields that this version does not know are allowed in the signed
// part, where they are covered by the signature, and nowhere else. The error is an [UntrustedError] (malformed or too long).
func parseDocument(role string, b []byte) (*document, error) {
	if limit := limitOf(role); int64(len(b)) > limit {
		return nil, &UntrustedError{Role: role, Reason: ReasonTooLong, Detail: fmt.Sprintf("more than %d bytes", limit), Remedy: remedySource}
	}
	tree, err := parseTree(b)
	if err != nil {
		return nil, &UntrustedError{Role: role, Reason: ReasonMalformed, Detail: err.Error(), Remedy: remedySource, Err: err}
	}
	s := &shape{}
	d := s.document(role, tree)
	if s.Err != nil {
		return nil, &UntrustedError{Role: role, Version: d.version, Reason: ReasonMalformed, Detail: s.Err.Error(), Remedy: remedySource, Err: s.Err}
	}
	return d, nil
}

const remedySource = "try another source; if all say the same, ask the publisher"

func (s *shape) document(role string, tree any) *document {
	d := &document{role: role}
	top := s.Object("document", tree)
	s.Only("document", top, "signatures", "signed")
	signed := s.Object("signed", top["signed"])
	d.signers = s.signatures(top["signatures"])

	kind := role
	if delegatedPaths[role] != nil {
		kind = RoleTargets
	}
	if t := s.Text("_type", signed["_type"]); t != kind {
		s.Bad("_type is %.32q, want %q", t, kind)
	}
	if v := s.Text("spec_version", signed["spec_version"]); !specVersion.MatchString(v) {
		s.Bad("spec_version is %.32q, want 1.something", v)
	}
	d.version = uint64(s.Number("version", signed["version"], 1, dbformat.MaxVersion))
	d.expires = s.time("expires", signed["expires"])

	switch kind {
	case RoleRoot:
		s.root(d, signed)
	case RoleTimestamp:
		d.signedAt = s.time("signed_at", signed["signed_at"])
		if d.signedAt.After(d.expires) {
			s.Bad("signed_at is after expires")
		}
		d.meta = s.metaFiles(signed["meta"])
		if _, ok := d.meta[RoleSnapshot]; !ok || len(d.meta) != 1 {
			s.Bad("meta names something else than snapshot.json")
		}
	case RoleSnapshot:
		d.meta = s.metaFiles(signed["meta"])
		for _, r := range []string{RoleTargets, RoleDatabase, RoleRestrictions} {
			if _, ok := d.meta[r]; !ok {
				s.Bad("meta does not name %s.json", r)
			}
		}
		for _, r := range []string{RoleRoot, RoleTimestamp, RoleSnapshot} {
			if _, ok := d.meta[r]; ok {
				s.Bad("meta names %s.json", r)
			}
		}
	case RoleTargets:
		s.targets(d, signed)
		if role == RoleTargets {
			s.delegations(d, signed["delegations"])
			s.approved(d, signed)
		} else if _, ok := signed["delegations"]; ok {
			s.Bad("a delegated role delegates on")
		}
	}
	return d
}

var (
	specVersion = regexp.MustCompile(`^1\.[0-9]{1,4}(\.[0-9]{1,4})?$`)
	roleName    = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	pathPattern = regexp.MustCompile(`^[a-z0-9._*-]+(/[a-z0-9._*-]+)*$`)
)

func (s *shape) time(what string, v any) time.Time {
	var t dbformat.Time
	if err := t.UnmarshalText([]byte(s.Text(what, v))); err != nil {
		s.Bad("%s: %v", what, err)
	}
	return t.Time
}

func (s *shape) signatures(v any) []string {
	var ids []string
	for _, e := range s.Array("signatures", v, 1, maxSignatures) {
		m := s.Object("signature", e)
		s.Only("signature", m, "keyid", "sig")
		id := s.HexText("keyid", m["keyid"], sha256.Size)
		s.HexText("sig", m["sig"], 64)
		if slices.Contains(ids, id) {
			s.Bad("two signatures of key %.8s", id)
		}
		ids = append(ids, id)
	}
	return ids
}

// keyTable takes ed25519 keys under their canonical ids only, so that one key cannot count twice and an id can
// not come to mean another key.
func (s *shape) keyTable(v any) map[string]string {
	m := s.Object("keys", v)
	if len(m) > maxKeys {
		s.Bad("%d keys, want at most %d", len(m), maxKeys)
		return nil
	}
	keys := map[string]string{}
	for id, v := range m {
		k := s.Object("key", v)
		s.Only("key", k, "keytype", "keyval", "scheme")
		val := s.Object("keyval", k["keyval"])
		s.Only("keyval", val, "public")
		if s.Text("keytype", k["keytype"]) != "ed25519" || s.Text("scheme", k["scheme"]) != "ed25519" {
			s.Bad("key %.8s is of another kind than ed25519", id)
		}
		public := s.HexText("public", val["public"], 32)
		if want := keyID(public); id != want {
			s.Bad("key %.8s has the id of another key, want %.8s", id, want)
		}
		keys[id] = public
	}
	return keys
}

// keyID is the SHA-256 of the key's canonical JSON, as in the TUF specification.
func keyID(public string) string {
	sum := sha256.Sum256([]byte(`{"keytype":"ed25519","keyval":{"public":"` + public + `"},"scheme":"ed25519"}`))
	return hex.EncodeToString(sum[:])
}

func (s *shape) authority(what string, m map[string]any, keys map[string]string) authority {
	var a authority
	for _, v := range s.Array(what+" keyids", m["keyids"], 1, maxKeys) {
		id := s.Text("keyid", v)
		if keys[id] == "" {
			s.Bad("%s has the key id %.8q, which is not in keys", what, id)
		}
		if slices.Contains(a.keyids, id) {
			s.Bad("%s has the key %.8s twice", what, id)
		}
		a.keyids = append(a.keyids, id)
	}
	a.threshold = int(s.Number(what+" threshold", m["threshold"], 1, int64(max(1, len(a.keyids)))))
	return a
}

func (s *shape) root(d *document, signed map[string]any) {
	if v, ok := signed["consistent_snapshot"].(bool); !ok || !v {
		s.Bad("consistent_snapshot is not true")
	}
	d.keys = s.keyTable(signed["keys"])
	roles := s.Object("roles", signed["roles"])
	four := []string{RoleRoot, RoleSnapshot, RoleTargets, RoleTimestamp}
	s.Only("roles", roles, four...)
	d.roles = map[string]authority{}
	for _, name := range four {
		m := s.Object("role "+name, roles[name])
		s.Only("role "+name, m, "keyids", "threshold")
		d.roles[name] = s.authority("role "+name, m, d.keys)
	}
}

func (s *shape) metaFiles(v any) map[string]metaFile {
	m := s.Object("meta", v)
	if len(m) > maxRoles {
		s.Bad("meta names %d documents, want at most %d", len(m), maxRoles)
		return nil
	}
	files := map[string]metaFile{}
	for name, v := range m {
		role, ok := strings.CutSuffix(name, ".json")
		if !ok || !roleName.MatchString(role) {
			s.Bad("meta names %.32q, want ROLE.json", name)
		}
		f := s.Object("meta "+name, v)
		s.Only("meta "+name, f, "hashes", "length", "version")
		files[role] = metaFile{
			version: uint64(s.Number(name+" version", f["version"], 1, dbformat.MaxVersion)),
			length:  s.Number(name+" length", f["length"], 1, MaxTargets),
			sha256:  s.hashes(name, f["hashes"]),
		}
	}
	return files
}

// hashes takes exactly one, a SHA-256: with several, readers pick the name on the mirror differently.
func (s *shape) hashes(what string, v any) dbformat.Digest {
	m := s.Object(what+" hashes", v)
	s.Only(what+" hashes", m, "sha256")
	d, err := dbformat.ParseDigest(s.HexText(what+" sha256", m["sha256"], sha256.Size))
	if err != nil {
		s.Bad("%s sha256: %v", what, err)
	}
	return d
}

func (s *shape) targets(d *document, signed map[string]any) {
	d.targets = map[string]Target{}
	for p, v := range s.Object("targets", signed["targets"]) {
		if err := CheckTargetPath(p); err != nil {
			s.Bad("%v", err)
		}
		f := s.Object("target "+p, v)
		t := Target{Path: p, Length: s.Number(p+" length", f["length"], 0, MaxTargetLength), SHA256: s.hashes(p, f["hashes"])}
		d.targets[p] = t
		if !entrusted(d.role, p) {
			s.Bad("target %s is not of role %s", p, d.role)
		}
	}
}

// entrusted tells whether a path may be a role's: a delegated role has its own patterns, targets all the rest.
func entrusted(role, p string) bool {
	for r, patterns := range delegatedPaths {
		if slices.ContainsFunc(patterns, func(pattern string) bool { return matchPath(pattern, p) }) {
			return r == role
		}
	}
	return delegatedPaths[role] == nil
}

// approved is a field of our own, so that it may be absent.
func (s *shape) approved(d *document, signed map[string]any) {
	v, ok := signed["approved"]
	if !ok {
		return
	}
	for _, v := range s.Array("approved", v, 0, MaxApproved) {
		n := uint64(s.Number("approved release", v, 1, dbformat.MaxVersion))
		if len(d.approved) > 0 && n <= d.approved[len(d.approved)-1] {
			s.Bad("approved releases are not ascending")
		}
		d.approved = append(d.approved, n)
	}
}

// delegations takes one entry for each role name: go-tuf caches a delegated role by its name, so that of two delegators
// the first one asked would vouch for both.
func (s *shape) delegations(d *document, v any) {
	m := s.Object("delegations", v)
	s.Only("delegations", m, "keys", "roles")
	d.keys = s.keyTable(m["keys"])
	d.roles = map[string]authority{}
	for _, v := range s.Array("delegated roles", m["roles"], 1, maxRoles) {
		r := s.Object("delegated role", v)
		s.Only("delegated role", r, "keyids", "name", "paths", "terminating", "threshold")
		name := s.Text("name", r["name"])
		if !roleName.MatchString(name) || slices.Contains([]string{RoleRoot, RoleTimestamp, RoleSnapshot, RoleTargets}, name) {
			s.Bad("delegated role name %.32q", name)
		}
		if _, twice := d.roles[name]; twice {
			s.Bad("role %s is delegated twice", name)
		}
		if _, ok := r["terminating"].(bool); !ok {
			s.Bad("role %s: terminating is absent or no boolean", name)
		}
		a := s.authority("role "+name, r, d.keys)
		for _, v := range s.Array("role "+name+" paths", r["paths"], 1, maxPaths) {
			p := s.Text("path", v)
			if !pathPattern.MatchString(p) || len(p) > MaxTargetPath {
				s.Bad("role %s has the path %.64q", name, p)
			}
			a.paths = append(a.paths, p)
		}
		d.roles[name] = a
	}
	for name, own := range delegatedPaths {
		a, ok := d.roles[name]
		if !ok {
			s.Bad("no delegation of role %s", name)
		}
		for _, p := range own {
			if ok && !slices.Contains(a.paths, p) {
				s.Bad("role %s is not entrusted with %s", name, p)
			}
		}
	}
}
