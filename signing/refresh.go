package signing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"example.org/avdb/dbformat"
)

// A Fetcher gets metadata files of one source. It is called from one goroutine at a time.
type Fetcher interface {
	// Fetch returns the whole file metadata/NAME of the source, for example "2.root.json" or "timestamp.json". For a file longer than max it
	// may return an error or any max+1 bytes; it never reads on. A missing file is [ErrNotFound], possibly wrapped: HTTP 404 and 410, and for
	// N.root.json also 403, which object stores answer for missing names (that it is missing is how the walk over the roots ends).
	// Every other error ends the refresh and is found again by errors.Is in what Refresh returns.
	Fetch(ctx context.Context, name string, max int64) ([]byte, error)
}

// maxRootSteps bounds the roots that one refresh walks. Whatever it has verified is kept, so that the next one goes on from there.
const maxRootSteps = 4096

// sourceBase stands for the source in the names that go-tuf makes. Nothing resolves it.
const sourceBase = "https://source.invalid/metadata/"

// RefreshOptions say when expired metadata is believed.
type RefreshOptions struct {
	// Now is the moment at which expiry is judged; the newest signed time that was seen counts instead when Now is more than a day before it.
	// The zero time means the system's clock.
	Now time.Time

	// MaxAge is for a source that cannot be renewed in time, such as a mirror behind an air gap: timestamp and snapshot count as
	// unexpired while the timestamp was signed at most so long ago. Root, targets, database and restrictions expire as ever, and no floor
	// moves. Whoever stands between the publisher and this device can keep news back for so long. Zero or less: every expiry counts.
	MaxAge time.Duration
}

// Refresh brings the trusted metadata up to date from one source: the roots, one by one, timestamp, snapshot, targets and both delegated
// roles. What the stored set holds already is not fetched again, so that without news it costs one missing root and one timestamp. On success
// the new set and its floors are durable; on failure only newly verified roots are kept.
//
// Errors match [ErrUntrusted] (and [ErrStale] when the source lags behind), [ErrStorage] when it is the trust folder that is at fault, or
// are the fetcher's own.
func (t *Trust) Refresh(ctx context.Context, f Fetcher, o RefreshOptions) (*Verified, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.read()
	if err != nil {
		return nil, err
	}
	x := &exchange{ctx: ctx, f: f, state: s, o: o, last: RoleRoot, reference: o.Now, root: s.rootDoc, docs: map[string]*document{},
		raw: map[string][]byte{}, roots: map[uint64][]byte{}}
	verified, err := x.run(filepath.Join(t.dir, floorsFile, "none"))
	if err != nil {
		// Roots that were verified count even if the source fails later.
		if x.keepRoots() && s.floors.Floors[RoleRoot].Value <= x.root.version {
			if e := t.save(s, x.roots, nil); e != nil {
				return nil, errors.Join(err, e)
			}
		}
		return nil, err
	}
	if err := t.save(s, x.roots, verified); err != nil {
		return nil, err
	}
	return &Verified{set: verified, floors: s.floors, notes: s.notes}, nil
}

// An exchange is one refresh. It stands between go-tuf and the source: go-tuf sees no byte that was not shape-checked,
// neither a file nor a socket, and every document exactly once.
type exchange struct {
	ctx   context.Context
	f     Fetcher
	state *state
	o     RefreshOptions

	tuf       *updater.Updater
	reference time.Time
	lenient   bool                 // go-tuf judges no expiry, for the sake of an old timestamp
	last      string               // role that go-tuf was given last: the one that an error is about
	root      *document            // the newest root handed over; verified once the timestamp is asked for
	docs      map[string]*document // handed over
	raw       map[string][]byte
	roots     map[uint64][]byte // fetched; after the walk only verified ones
	failed    error             // of the fetcher
}

func (x *exchange) run(nowhere string) (*set, error) {
	err := guarded(&x.last, func() error {
		var err error
		// A literal instead of config.New, which would make go-tuf's own HTTP client. The local folder lies below a file, so that go-tuf
		// finds nothing there: with its cache off it still reads one, by default the working folder.
		x.tuf, err = updater.New(&config.UpdaterConfig{
			MaxRootRotations: maxRootSteps, MaxDelegations: 8,
			RootMaxLength: MaxRoot, TimestampMaxLength: MaxTimestamp, SnapshotMaxLength: MaxSnapshot, TargetsMaxLength: MaxTargets,
			Fetcher: x, LocalTrustedRoot: x.state.root, LocalMetadataDir: nowhere,
			RemoteMetadataURL: sourceBase, DisableLocalCache: true,
		})
		if err != nil {
			return err
		}
		x.tuf.UnsafeSetRefTime(x.reference)
		if err := x.tuf.Refresh(); err != nil {
			return err
		}
		if err := x.unexpired(RoleTargets); err != nil {
			return err
		}
		if err := x.load(RoleDatabase, dbformat.ReleaseTarget); err != nil {
			return err
		}
		return x.load(RoleRestrictions, dbformat.RestrictionsTarget)
	})
	if x.failed != nil {
		return nil, x.failed
	}
	if err != nil {
		if stale := x.stale(); stale != nil {
			return nil, stale
		}
		d := x.docs[x.last]
		if x.last == RoleRoot {
			d = x.root
		}
		return nil, explain(x.last, d, err)
	}
	x.raw[RoleRoot] = x.state.root
	if b, ok := x.roots[x.root.version]; ok {
		x.raw[RoleRoot] = b
	}
	s := &set{root: x.root, docs: x.docs, raw: x.raw}
	if at, role := s.expires(); x.lenient && x.reference.After(at) {
		x.state.note(NoteExpired, "%s expired at %s and is believed: it was signed %s ago, at most %s is allowed here", role, at.Format(time.RFC3339),
			x.reference.Sub(s.docs[RoleTimestamp].signedAt).Round(time.Minute), x.o.MaxAge)
	}
	return s, x.raiseFloors(s)
}

// load makes go-tuf walk to a delegated role: it does so for the sake of a target only, which need not exist.
func (x *exchange) load(role, path string) error {
	_, err := x.tuf.GetTargetInfo(path)
	if x.tuf.GetTrustedMetadataSet().Targets[role] != nil {
		return x.unexpired(role)
	}
	if err == nil {
		err = &UntrustedError{Role: role, Reason: ReasonDelegation, Detail: "targets does not lead to it", Remedy: remedySource}
	}
	return err
}

// keepRoots reduces the fetched roots to those that go-tuf verified and tells whether there are any.
func (x *exchange) keepRoots() bool {
	if x.tuf == nil {
		return false
	}
	newest := uint64(x.tuf.GetTrustedMetadataSet().Root.Signed.Version)
	x.root = x.state.rootDoc
	for v, b := range x.roots {
		if v > newest {
			delete(x.roots, v)
		} else if d, err := parseDocument(RoleRoot, b); err == nil && v == newest {
			x.root = d
		}
	}
	if len(x.roots) == 0 {
		return false
	}
	good, err := signedBy(RoleRoot, x.roots[newest], x.root.roles[RoleRoot], x.root.keys)
	if err == nil && x.state.floors.Floors[RoleRoot].Value < newest {
		x.state.floors.raise(RoleRoot, newest, good)
	}
	return err == nil
}

// stale finds out whether what failed otherwise is older than what was seen: a source that lags behind mostly shows by expiry first.
func (x *exchange) stale() error {
	d := x.docs[RoleTimestamp]
	if x.tuf == nil || d == nil || x.tuf.GetTrustedMetadataSet().Timestamp == nil {
		return nil
	}
	err := x.state.floors.judge(RoleTimestamp, d.version, x.root.roles[RoleTimestamp])
	if errors.Is(err, ErrStale) {
		return err
	}
	return nil
}

// DownloadFile is what go-tuf calls for every document.
func (x *exchange) DownloadFile(url string, limit int64, _ time.Duration) ([]byte, error) {
	name, ok := strings.CutPrefix(url, sourceBase)
	role, version, good := splitName(name)
	if !ok || !good {
		return nil, &UntrustedError{Role: RoleTargets, Reason: ReasonDelegation, Detail: fmt.Sprintf("leads to the unknown role file %.64q", name), Remedy: remedySource}
	}
	if x.docs[role] != nil {
		return nil, &UntrustedError{Role: role, Reason: ReasonInternal, Detail: "asked for twice"}
	}
	x.last = role
	if role == RoleTimestamp {
		if err := x.endOfRoots(); err != nil {
			return nil, err
		}
	}
	limit = min(limit, limitOf(role))
	b := x.have(role)
	if b == nil {
		var err error
		b, err = x.fetch(name, limit)
		if role == RoleRoot && errors.Is(err, ErrNotFound) {
			return nil, &metadata.ErrDownloadHTTP{StatusCode: http.StatusNotFound, URL: name}
		}
		if err != nil {
			x.failed = fmt.Errorf("fetch %s: %w", name, err)
			return nil, x.failed
		}
	}
	if int64(len(b)) > limit {
		return nil, &UntrustedError{Role: role, Version: version, Reason: ReasonTooLong, Detail: fmt.Sprintf("more than %d bytes", limit), Remedy: remedySource}
	}
	d, err := parseDocument(role, b)
	if err != nil {
		return nil, err
	}
	if role == RoleRoot {
		x.root, x.roots[version] = d, b
	} else {
		x.docs[role], x.raw[role] = d, b
	}
	if role == RoleTimestamp {
		x.tolerate(d)
	}
	return b, nil
}

// fetch keeps a panic of the fetcher apart from those of the verifier: it says nothing about trust.
func (x *exchange) fetch(name string, limit int64) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the fetcher gave way: %v", p)
		}
	}()
	return x.f.Fetch(x.ctx, name, limit)
}

// splitName takes apart "timestamp.json" and "N.ROLE.json".
func splitName(name string) (role string, version uint64, ok bool) {
	if name == "timestamp.json" {
		return RoleTimestamp, 0, true
	}
	n, rest, _ := strings.Cut(name, ".")
	v, err := strconv.ParseUint(n, 10, 53)
	switch rest {
	case "root.json", "snapshot.json", "targets.json", "database.json", "restrictions.json":
		return strings.TrimSuffix(rest, ".json"), v, err == nil
	}
	return "", 0, false
}

// have is the stored document if it is, byte for byte, the one that is wanted.
func (x *exchange) have(role string) []byte {
	above := x.docs[RoleSnapshot]
	if role == RoleSnapshot {
		above = x.docs[RoleTimestamp]
	}
	if above == nil || x.state.stored == nil || role == RoleTimestamp {
		return nil
	}
	b := x.state.stored.raw[role]
	if want := above.meta[role]; int64(len(b)) != want.length || sha256.Sum256(b) != [32]byte(want.sha256) {
		return nil
	}
	return b
}

// endOfRoots is called when go-tuf has verified the last root there is: from here on its keys tell which floors count, and with
// them the moment at which expiry is judged.
func (x *exchange) endOfRoots() error {
	if have := x.state.floors.Floors[RoleRoot].Value; x.root.version < have {
		return &UntrustedError{Role: RoleRoot, Version: x.root.version, Floor: have, Reason: ReasonRollback,
			Detail: fmt.Sprintf("root %d was seen before", have), Remedy: "the source lags behind or replays: try another one"}
	}
	x.reference = x.state.referenceTime(x.root, x.o.Now)
	if x.reference.After(x.o.Now) {
		x.state.note(NoteClockBehind, "the clock says %s, the newest signature is of %s", x.o.Now.UTC().Format(time.RFC3339), x.reference.UTC().Format(time.RFC3339))
	}
	x.tuf.UnsafeSetRefTime(x.reference)
	return x.unexpired(RoleRoot)
}

// unexpired judges a verified document. go-tuf does so too, but it has one moment for all of them, and none once [exchange.tolerate] took it.
func (x *exchange) unexpired(role string) error {
	d := x.docs[role]
	if role == RoleRoot {
		d = x.root
	}
	if x.reference.After(d.expires) {
		x.last = role
		return expired(d)
	}
	return nil
}

// tolerate is called with a timestamp that go-tuf has not verified yet. Is it young enough, go-tuf judges no expiry from here on: it knows
// one moment for all documents and looks at timestamp and snapshot again with each one below them.
func (x *exchange) tolerate(d *document) {
	if x.o.MaxAge <= 0 || x.reference.Sub(d.signedAt) > x.o.MaxAge {
		return
	}
	x.tuf.UnsafeSetRefTime(time.Time{})
	x.lenient = true
}

// raiseFloors holds a verified set against the floors and raises them.
func (x *exchange) raiseFloors(s *set) error {
	numbers, err := s.numbers()
	if err != nil {
		return err
	}
	floors := x.state.floors
	for name, role := range floorNames {
		a, _ := s.authorityOf(role)
		if v, ok := floors.Floors[name]; ok && role != RoleRoot && !v.credible(a) {
			x.state.note(NoteFloorReset, "the keys that vouched for %s %d were taken away", name, v.Value)
			delete(floors.Floors, name)
		}
	}
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		a, _ := s.authorityOf(role)
		if err := floors.judge(role, numbers[role].Value, a); err != nil {
			return err
		}
	}
	signedAt := s.docs[RoleTimestamp].signedAt
	newest := time.Unix(int64(floors.Floors[floorSigned].Value), 0)
	if signedAt.Add(clockTolerance).Before(newest) {
		return &UntrustedError{Role: RoleTimestamp, Version: s.docs[RoleTimestamp].version, Floor: uint64(newest.Unix()), Reason: ReasonRollback,
			Detail: fmt.Sprintf("signed at %s, a signature of %s was seen before", signedAt.Format(time.RFC3339), newest.UTC().Format(time.RFC3339)),
			Remedy: "try another source; if all say the same, the publisher's clock is wrong"}
	}
	if signedAt.After(x.o.Now.Add(clockTolerance)) && !x.reference.After(x.o.Now) {
		x.state.note(NoteSignedInFuture, "the clock says %s, the newest signature is of %s", x.o.Now.UTC().Format(time.RFC3339), signedAt.Format(time.RFC3339))
	}
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		floors.raise(role, numbers[role].Value, numbers[role].Keys)
	}
	if at := signedFloor(signedAt, x.reference, x.o.Now); at.After(newest) {
		floors.raise(floorSigned, uint64(max(at.Unix(), 1)), numbers[floorSigned].Keys)
	}
	return nil
}
