package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The tests drive the program as the public suite does: by its command line, its exit code, the files that it trusts and what it asks for.
func TestMain(m *testing.M) {
	if os.Getenv("AVDB_CONFORMANCE") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var day0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// A signer is a key pair.
type signer struct {
	signature.Signer
	key *metadata.Key
	id  string
}

func newSigner(t *testing.T, kind string) signer {
	t.Helper()
	var private crypto.PrivateKey
	var err error
	switch kind {
	case "ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	must(t, err)
	var s signature.Signer
	switch k := private.(type) {
	case ed25519.PrivateKey:
		s, err = signature.LoadSigner(k, crypto.Hash(0))
	case *rsa.PrivateKey:
		s, err = signature.LoadRSAPSSSigner(k, crypto.SHA256, &rsa.PSSOptions{Hash: crypto.SHA256})
	default:
		s, err = signature.LoadSigner(k, crypto.SHA256)
	}
	must(t, err)
	public, err := s.PublicKey()
	must(t, err)
	key, err := metadata.KeyFromPublicKey(public)
	must(t, err)
	id, err := key.ID()
	must(t, err)
	return signer{s, key, id}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A repo is a repository on a web server that a test may spoil.
type repo struct {
	t       *testing.T
	root    *metadata.Metadata[metadata.RootType]
	time    *metadata.Metadata[metadata.TimestampType]
	snap    *metadata.Metadata[metadata.SnapshotType]
	targets map[string]*metadata.Metadata[metadata.TargetsType] // by role
	signers map[string][]signer                                 // by role
	kind    string                                              // of new keys
	hashes  bool                                                // documents are named with length and hash
	edit    map[string]func([]byte) []byte                      // by role: changes the document before it is named
	done    map[string]bool

	mu    sync.Mutex
	files map[string][]byte // by path
	log   []string          // metadata asked for
	asked []string          // targets asked for
	url   string
}

func newRepo(t *testing.T) *repo { return newRepoOf(t, "ed25519") }

func newRepoOf(t *testing.T, kind string) *repo {
	t.Helper()
	expires := day0.Add(30 * day)
	r := &repo{t: t, kind: kind, root: metadata.Root(expires), time: metadata.Timestamp(expires), snap: metadata.Snapshot(expires),
		targets: map[string]*metadata.Metadata[metadata.TargetsType]{targets: metadata.Targets(expires)}, signers: map[string][]signer{},
		edit: map[string]func([]byte) []byte{}, done: map[string]bool{}, files: map[string][]byte{}}
	for _, role := range topLevel {
		r.addKey(role)
	}
	r.publish(targets, snapshot, timestamp, root)
	s := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

func (r *repo) serve(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	path := strings.TrimPrefix(q.URL.EscapedPath(), "/")
	if name, ok := strings.CutPrefix(path, "metadata/"); ok {
		r.log = append(r.log, name)
	} else {
		r.asked = append(r.asked, strings.TrimPrefix(path, "targets/"))
	}
	b, ok := r.files[path]
	if !ok {
		http.NotFound(w, q)
		return
	}
	_, _ = w.Write(b)
}

// addKey gives a top-level role one more key.
func (r *repo) addKey(role string) signer {
	s := newSigner(r.t, r.kind)
	must(r.t, r.root.Signed.AddKey(s.key, role))
	r.signers[role] = append(r.signers[role], s)
	return s
}

// setKeys replaces a role's keys; signs says who signs it, by default they all.
func (r *repo) setKeys(role string, threshold int, keys []signer, signs ...signer) {
	r.root.Signed.Roles[role].KeyIDs = nil
	r.root.Signed.Roles[role].Threshold = threshold
	for _, s := range keys {
		must(r.t, r.root.Signed.AddKey(s.key, role))
	}
	r.signers[role] = signs
	if signs == nil {
		r.signers[role] = keys
	}
}

func (r *repo) rotate(role string) {
	r.setKeys(role, 1, []signer{newSigner(r.t, r.kind)})
}

// delegate makes a role of a delegator's with a key of its own, behind those that are there.
func (r *repo) delegate(delegator, role string, terminating bool, paths ...string) signer {
	d := r.delegations(delegator)
	s := newSigner(r.t, r.kind)
	d.Keys[s.id] = s.key
	d.Roles = append(d.Roles, metadata.DelegatedRole{Name: role, KeyIDs: []string{s.id}, Threshold: 1, Terminating: terminating, Paths: paths})
	r.signers[role] = append(r.signers[role], s)
	r.newRole(role)
	return s
}

func (r *repo) newRole(role string) {
	if r.targets[role] == nil {
		r.targets[role] = metadata.Targets(day0.Add(30 * day))
	}
}

func (r *repo) delegations(delegator string) *metadata.Delegations {
	t := &r.targets[delegator].Signed
	if t.Delegations == nil {
		t.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	return t.Delegations
}

// addTarget names a target in a role and puts it on the server.
func (r *repo) addTarget(role, path, content string, hashes ...string) {
	f, err := metadata.TargetFile().FromBytes(path, []byte(content), hashes...)
	must(r.t, err)
	r.targets[role].Signed.Targets[path] = f
	for _, h := range f.Hashes {
		r.put("targets/"+hashedName(path, h.String()), []byte(content))
	}
}

func hashedName(path, hash string) string {
	i := strings.LastIndex(path, "/") + 1
	return path[:i] + hash + "." + path[i:]
}

func (r *repo) put(name string, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[name] = b
}

// publish signs roles, the version of each one higher than the last time, and lets those above name them.
func (r *repo) publish(roles ...string) {
	for _, role := range roles {
		next := int64(0)
		if r.done[role] {
			next = 1
		}
		r.done[role] = true
		var b []byte
		var version int64
		switch role {
		case root:
			r.root.Signed.Version += next
			version, b = r.root.Signed.Version, sign(r, role, r.root)
		case timestamp:
			r.time.Signed.Version += next
			b = sign(r, role, r.time)
		case snapshot:
			r.snap.Signed.Version += next
			version, b = r.snap.Signed.Version, sign(r, role, r.snap)
			r.time.Signed.Meta["snapshot.json"] = r.named(version, b)
		default:
			t := r.targets[role]
			t.Signed.Version += next
			version, b = t.Signed.Version, sign(r, role, t)
			r.snap.Signed.Meta[role+".json"] = r.named(version, b)
		}
		name := url.PathEscape(role) + ".json"
		if role != timestamp && (role == root || r.root.Signed.ConsistentSnapshot) {
			name = fmt.Sprintf("%d.%s", version, name)
		}
		r.put("metadata/"+name, b)
	}
}

func (r *repo) named(version int64, b []byte) *metadata.MetaFiles {
	m := metadata.MetaFile(version)
	if r.hashes {
		sum := sha256.Sum256(b)
		m.Length, m.Hashes = int64(len(b)), metadata.Hashes{"sha256": sum[:]}
	}
	return m
}

func sign[T metadata.Roles](r *repo, role string, m *metadata.Metadata[T]) []byte {
	m.ClearSignatures()
	for _, s := range r.signers[role] {
		_, err := m.Sign(s)
		must(r.t, err)
	}
	b, err := m.ToBytes(false)
	must(r.t, err)
	if e := r.edit[role]; e != nil {
		b = e(b)
	}
	return b
}

// requests tells what metadata was asked for since the last time.
func (r *repo) requests() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := strings.Join(r.log, " ")
	r.log = nil
	return log
}

// A device runs the program.
type device struct {
	t    *testing.T
	r    *repo
	dir  string
	now  time.Time
	said string // by the last run on standard error
}

// newDevice trusts a repository's root of now.
func newDevice(r *repo) *device {
	r.t.Helper()
	d := bareDevice(r)
	if !d.init(r.newest(root)) {
		r.t.Fatal(d.said)
	}
	return d
}

func bareDevice(r *repo) *device {
	d := &device{t: r.t, r: r, dir: r.t.TempDir(), now: day0}
	must(r.t, os.Mkdir(d.path("metadata"), 0o700))
	must(r.t, os.Mkdir(d.path("targets"), 0o700))
	return d
}

// newest is a role's document that was published last.
func (r *repo) newest(role string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch role {
	case root:
		return r.files[fmt.Sprintf("metadata/%d.root.json", r.root.Signed.Version)]
	case timestamp:
		return r.files["metadata/timestamp.json"]
	case snapshot:
		return r.files[fmt.Sprintf("metadata/%d.snapshot.json", r.snap.Signed.Version)]
	}
	return r.files[fmt.Sprintf("metadata/%d.%s.json", r.targets[role].Signed.Version, url.PathEscape(role))]
}

func (d *device) path(name string) string { return filepath.Join(d.dir, name) }

func (d *device) run(args ...string) bool {
	d.t.Helper()
	self, err := os.Executable()
	must(d.t, err)
	cmd := exec.Command(self, append([]string{"--metadata-dir", d.path("metadata"), "--now", d.now.Format(time.RFC3339)}, args...)...)
	cmd.Env = []string{"AVDB_CONFORMANCE=1", "TMPDIR=" + d.dir, "TMP=" + d.dir}
	var out bytes.Buffer
	cmd.Stderr = &out
	err = cmd.Run()
	d.said = out.String()
	if err != nil && cmd.ProcessState.ExitCode() != 1 || strings.Contains(d.said, "gave way") || strings.Contains(d.said, "panic") {
		d.t.Fatalf("exit %v: %s", err, d.said)
	}
	if left, e := os.ReadDir(filepath.Join(d.path("metadata"), "tmp")); e == nil && len(left) > 0 {
		d.t.Fatalf("left over: %s", left)
	}
	return err == nil
}

func (d *device) init(b []byte) bool {
	must(d.t, os.WriteFile(d.path("initial.json"), b, 0o600))
	return d.run("init", d.path("initial.json"))
}

func (d *device) refresh() bool { return d.run("--metadata-url", d.r.url+"/metadata/", "refresh") }

func (d *device) download(names ...string) bool {
	args := []string{"--metadata-url", d.r.url + "/metadata", "download", "--target-dir", d.path("targets"), "--target-base-url", d.r.url + "/targets"}
	for _, n := range names {
		args = append(args, "--target-name", n)
	}
	return d.run(args...)
}

// accept and refuse demand how a refresh ends.
func (d *device) accept() {
	d.t.Helper()
	if !d.refresh() {
		d.t.Fatalf("refused: %s", d.said)
	}
}

func (d *device) refuse() {
	d.t.Helper()
	if d.refresh() {
		d.t.Fatal("accepted")
	}
}

// trusts demands the versions of the trusted documents: root, timestamp, snapshot, targets, 0 for none.
func (d *device) trusts(want ...int64) {
	d.t.Helper()
	var got []int64
	for _, role := range topLevel {
		got = append(got, d.version(role))
	}
	if !slices.Equal(got, want) {
		d.t.Fatalf("trusts %v, want %v (%s); it said: %s", got, want, topLevel, d.said)
	}
}

func (d *device) version(role string) int64 {
	b, err := os.ReadFile(filepath.Join(d.path("metadata"), url.PathEscape(role)+".json"))
	if os.IsNotExist(err) {
		return 0
	}
	must(d.t, err)
	var m struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	must(d.t, json.Unmarshal(b, &m))
	return m.Signed.Version
}

// has lists the content of what was downloaded.
func (d *device) has() string {
	entries, err := os.ReadDir(d.path("targets"))
	must(d.t, err)
	var all []string
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(d.path("targets"), e.Name()))
		must(d.t, err)
		all = append(all, string(b))
	}
	slices.Sort(all)
	return strings.Join(all, "|")
}

// change edits the JSON of a document, signatures and all.
func change(t *testing.T, b []byte, f func(doc map[string]any)) []byte {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var doc map[string]any
	must(t, d.Decode(&doc))
	f(doc)
	b, err := json.Marshal(doc)
	must(t, err)
	return b
}

func badSignature() string { return hex.EncodeToString(make([]byte, 64)) }
