package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"example.org/avdb/osfile"
	"example.org/avdb/signing/internal/exchange"
)

// A client keeps trusted metadata in a folder, each ROLE.json with the role's name escaped.
type client struct {
	dir    string
	now    time.Time
	source source
}

// init installs a root that is signed by its own keys.
func (c *client) init(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := check(root, b); err != nil {
		return err
	}
	if _, err := exchange.Run(&session{client: c}, exchange.Options{Root: b, Folder: nowhere(name)}, func(*exchange.Exchange) error { return nil }); err != nil {
		return err
	}
	return c.keep(c.dir, fileOf(root), b)
}

// nowhere is a folder that cannot be: it lies below a file.
func nowhere(file string) string { return filepath.Join(file, "none") }

func fileOf(role string) string { return url.PathEscape(role) + ".json" }

func (c *client) refresh() error {
	_, err := c.session("")
	return err
}

// download refreshes and gets one target. Each has an exchange of its own: go-tuf remembers a delegated role by its name, so that of two delegators
// the first would vouch for both.
func (c *client) download(name, dir, base string) error {
	s, err := c.session(name)
	if err != nil {
		return err
	}
	file := fileOfTarget(name)
	if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil && s.matches(b) == nil {
		return nil
	}
	from := source{ctx: c.source.ctx, base: base, http: c.source.http}
	address, err := s.address(name)
	if err != nil {
		return err
	}
	b, err := from.get(address, s.target.Length)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", address, err)
	}
	if err := s.matches(b); err != nil {
		return err
	}
	return c.keep(dir, file, b)
}

// fileOfTarget is where a target is stored: no name of a repository becomes one of a file.
func fileOfTarget(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// keep writes a file durably: a crash leaves the old one or the new one.
func (c *client) keep(dir, name string, b []byte) error {
	tmp := filepath.Join(c.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(tmp, "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already unless something failed
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := osfile.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return osfile.SyncDir(dir)
}

// A session is one exchange: it gives go-tuf checked documents and keeps what go-tuf verified.
type session struct {
	*client
	raw    map[string][]byte // fetched, by role
	roots  map[uint64][]byte
	target *metadata.TargetFiles
	hashed bool // the names of targets carry their hash
}

// session brings the trusted metadata up to date and, unless name is empty, looks a target up. What was verified is kept also when
// something after it fails.
func (c *client) session(name string) (*session, error) {
	old, err := os.ReadFile(filepath.Join(c.dir, fileOf(root)))
	if err != nil {
		return nil, err
	}
	if err := check(root, old); err != nil {
		return nil, err
	}
	folder, remove, err := c.stage()
	if err != nil {
		return nil, err
	}
	defer remove()
	s := &session{client: c, raw: map[string][]byte{}, roots: map[uint64][]byte{}}
	x, err := exchange.Run(s, exchange.Options{Root: old, Folder: folder, MaxRoots: 4096, MaxDelegations: 64}, func(x *exchange.Exchange) error {
		x.At(c.now)
		if err := x.Refresh(); err != nil || name == "" {
			return err
		}
		var err error
		s.target, err = x.Lookup(name)
		return err
	})
	if trusted, ok := x.Trusted(); ok {
		s.hashed = trusted.Root.Signed.ConsistentSnapshot
		err = errors.Join(err, s.save(trusted))
	}
	return s, err
}

// depth is how far below its own folder go-tuf reads: it joins the names of roles to the folder as they are, and no name that is
// taken climbs so many steps.
const depth = maxFileName / len("../")

// stage lays out for go-tuf what was trusted before and still has its shape. What is damaged counts as absent.
func (c *client) stage() (folder string, remove func(), err error) {
	tmp := filepath.Join(c.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return "", nil, err
	}
	top, err := os.MkdirTemp(tmp, "stage-*")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(top) }
	folder = filepath.Join(top, strings.Repeat("d/", depth))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		remove()
		return "", nil, err
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		remove()
		return "", nil, err
	}
	for _, e := range entries {
		escaped, ok := strings.CutSuffix(e.Name(), ".json")
		role, bad := url.PathUnescape(escaped)
		if !ok || bad != nil || role != filepath.Base(role) || !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(c.dir, e.Name()))
		if err != nil || check(role, b) != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, role+".json"), b, 0o600); err != nil {
			remove()
			return "", nil, err
		}
	}
	return folder, remove, nil
}

// Begin is part of [exchange.Client].
func (s *session) Begin(string, uint64) ([]byte, error) { return nil, nil }

// Fetch is part of [exchange.Client].
func (s *session) Fetch(name string, max int64) ([]byte, error) {
	b, err := s.source.get(name, max)
	if strings.HasSuffix(name, "."+fileOf(root)) && missing(err) {
		err = fmt.Errorf("%w: %w", exchange.ErrMissing, err)
	}
	return b, err
}

// Check is part of [exchange.Client].
func (s *session) Check(role string, version uint64, b []byte) error {
	if err := check(role, b); err != nil {
		return err
	}
	s.raw[role] = b
	if role == root {
		s.roots[version] = b
	}
	return nil
}

// Limit is part of [exchange.Client].
func (s *session) Limit(role string) int64 { return limitOf(role) }

// save keeps the documents that go-tuf verified, in the order in which each vouches for the next.
func (s *session) save(t trustedmetadata.TrustedMetadata) error {
	keep := func(role string, good bool) error {
		if b := s.raw[role]; b != nil && good {
			return s.keep(s.dir, fileOf(role), b)
		}
		return nil
	}
	s.raw[root] = s.roots[uint64(t.Root.Signed.Version)]
	if err := keep(root, true); err != nil {
		return err
	}
	// go-tuf remembers an expired timestamp or snapshot and one of the wrong version, for its own comparisons; they are not trusted.
	good := same(t.Timestamp, s.raw[timestamp]) && !t.Timestamp.Signed.IsExpired(s.now)
	if err := keep(timestamp, good); err != nil {
		return err
	}
	good = same(t.Snapshot, s.raw[snapshot]) && !t.Snapshot.Signed.IsExpired(s.now) && t.Snapshot.Signed.Version == t.Timestamp.Signed.Meta["snapshot.json"].Version
	if err := keep(snapshot, good); err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(t.Targets)) {
		if err := keep(role, same(t.Targets[role], s.raw[role])); err != nil {
			return err
		}
	}
	return nil
}

// same tells whether what go-tuf trusts is what was fetched, and not what was there before.
func same[T metadata.Roles](trusted *metadata.Metadata[T], raw []byte) bool {
	if trusted == nil || raw == nil {
		return false
	}
	m, err := new(metadata.Metadata[T]).FromBytes(raw)
	return err == nil && reflect.DeepEqual(m.Signed, trusted.Signed) && reflect.DeepEqual(m.Signatures, trusted.Signatures)
}

// matches tells whether b has the length and every hash that was signed; a hash that cannot be computed counts against it.
func (s *session) matches(b []byte) error {
	role := targets
	return exchange.Contain(&role, func() error { return s.target.VerifyLengthHashes(b) })
}

// address is the name of the target on the server, escaped: its hash stands before its last element if the repository is consistent.
func (s *session) address(name string) (string, error) {
	dir, base := path.Split(name)
	if s.hashed {
		hash := s.target.Hashes["sha256"]
		if hash == nil {
			hash = s.target.Hashes["sha512"]
		}
		if hash == nil {
			return "", errors.New("has no hash that this client knows")
		}
		base = hash.String() + "." + base
	}
	var elements []string
	for e := range strings.SplitSeq(dir+base, "/") {
		elements = append(elements, url.PathEscape(e))
	}
	return strings.Join(elements, "/"), nil
}
