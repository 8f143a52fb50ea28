package signing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing/internal/exchange"
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

// RefreshOptions say when expired metadata is believed.
type RefreshOptions struct {
	// Now is the moment at which expiry is judged; the newest signed time that was seen counts instead when Now is more than a day before it.
	// The zero time means the system's clock.
	Now time.Time

	// MaxAge is for a source that cannot be renewed in time, such as a mirror behind an air gap: timestamp and snapshot count as
	// unexpired while the timestamp was signed at most so long ago. Root, targets, database and restrictions expire as ever, and no floor
	// moves. Whoever stands between the publisher and this device can keep news back for so long. Zero or less: every expiry counts.
	MaxAge time.Duration

	// Look is for a caller that installs nothing: where the trust folder cannot be written, what was verified is returned all the same,
	// with [NoteNotKept]. On disk nothing goes back by that; what was seen and not kept is not known to the next refresh.
	Look bool

	// Epoch is that of a restriction set which is kept elsewhere, 0 for none. It counts only where the folder has lost its metadata, or never had any, and
	// its floors, if they are there, know a lower one, as a copy of older ones does: then no lower epoch is accepted, as if there had been a floor. The
	// set itself is not proved by that.
	Epoch uint64

	// Installed tells that a generation is in use. Where the folder has lost metadata and floors, a restriction set that the new metadata name counts as
	// one that was in force before: that it is not here must not pass for none.
	Installed bool
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
	x := &refreshing{ctx: ctx, f: f, state: s, o: o, reference: o.Now, root: s.rootDoc, docs: map[string]*document{},
		raw: map[string][]byte{}, roots: map[uint64][]byte{}}
	// The folder that go-tuf reads lies below a file: it finds nothing there.
	verified, err := x.run(filepath.Join(t.dir, floorsFile, "none"))
	if err != nil {
		// Roots that were verified count even if the source fails later.
		if x.keepRoots() && s.floors.Floors[RoleRoot].Value <= x.root.version {
			if e := t.save(s, x.roots, nil); e != nil && !o.Look {
				return nil, errors.Join(err, e)
			}
		}
		return nil, err
	}
	if err := t.save(s, x.roots, verified); err != nil {
		if !o.Look {
			return nil, err
		}
		s.note(NoteNotKept, "%v", err)
	}
	return &Verified{set: verified, floors: s.floors, notes: s.notes}, nil
}

// A refreshing is one refresh: what [exchange] asks, with the strict profile.
type refreshing struct {
	*exchange.Exchange
	ctx   context.Context
	f     Fetcher
	state *state
	o     RefreshOptions

	reference time.Time
	lenient   bool                 // go-tuf judges no expiry, for the sake of an old timestamp
	root      *document            // the newest root handed over; verified once the timestamp is asked for
	docs      map[string]*document // handed over
	raw       map[string][]byte
	roots     map[uint64][]byte // fetched; after the walk only verified ones
}

func (x *refreshing) run(nowhere string) (*set, error) {
	o := exchange.Options{Root: x.state.root, Folder: nowhere, MaxRoots: maxRootSteps, MaxDelegations: 8}
	var err error
	x.Exchange, err = exchange.Run(x, o, x.walk)
	if e, ok := errors.AsType[*exchange.FetchError](err); ok {
		return nil, e
	}
	if err != nil {
		if stale := x.stale(); stale != nil {
			return nil, stale
		}
		d := x.docs[x.Last()]
		if x.Last() == RoleRoot {
			d = x.root
		}
		return nil, explain(x.Last(), d, err)
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

func (x *refreshing) walk(e *exchange.Exchange) error {
	x.Exchange = e
	x.At(x.reference)
	if err := x.Refresh(); err != nil {
		return err
	}
	if err := x.unexpired(RoleTargets); err != nil {
		return err
	}
	if err := x.load(RoleDatabase, dbformat.ReleaseTarget); err != nil {
		return err
	}
	return x.load(RoleRestrictions, dbformat.RestrictionsTarget)
}

// load makes go-tuf walk to a delegated role: it does so for the sake of a target only, which need not exist.
func (x *refreshing) load(role, path string) error {
	_, err := x.Lookup(path)
	if trusted, _ := x.Trusted(); trusted.Targets[role] != nil {
		return x.unexpired(role)
	}
	if err == nil {
		err = &UntrustedError{Role: role, Reason: ReasonDelegation, Detail: "targets does not lead to it", Remedy: remedySource}
	}
	return err
}

// keepRoots reduces the fetched roots to those that go-tuf verified and tells whether there are any.
func (x *refreshing) keepRoots() bool {
	trusted, ok := x.Trusted()
	if !ok {
		return false
	}
	newest := uint64(trusted.Root.Signed.Version)
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
func (x *refreshing) stale() error {
	d := x.docs[RoleTimestamp]
	if trusted, ok := x.Trusted(); !ok || d == nil || trusted.Timestamp == nil {
		return nil
	}
	err := x.state.floors.judge(RoleTimestamp, d.version, x.root.roles[RoleTimestamp])
	if errors.Is(err, ErrStale) {
		return err
	}
	return nil
}

// Begin is part of [exchange.Client].
func (x *refreshing) Begin(role string, version uint64) ([]byte, error) {
	if role != RoleRoot && role != RoleTimestamp && (version == 0 || !slices.Contains(setRoles, role)) {
		return nil, &UntrustedError{Role: RoleTargets, Reason: ReasonDelegation, Detail: fmt.Sprintf("leads to the unknown role %.64q", role), Remedy: remedySource}
	}
	if role == RoleTimestamp {
		x.About(role)
		if err := x.endOfRoots(); err != nil {
			return nil, err
		}
	}
	return x.have(role), nil
}

// Limit is part of [exchange.Client].
func (x *refreshing) Limit(role string) int64 { return limitOf(role) }

// Fetch is part of [exchange.Client].
func (x *refreshing) Fetch(name string, max int64) ([]byte, error) {
	b, err := x.f.Fetch(x.ctx, name, max)
	if strings.HasSuffix(name, "."+RoleRoot+".json") && errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: %w", exchange.ErrMissing, err)
	}
	return b, err
}

// Check is part of [exchange.Client].
func (x *refreshing) Check(role string, version uint64, b []byte) error {
	d, err := parseDocument(role, b)
	if err != nil {
		return err
	}
	if role == RoleRoot {
		x.root, x.roots[version] = d, b
		return nil
	}
	x.docs[role], x.raw[role] = d, b
	if role == RoleTimestamp {
		x.tolerate(d)
	}
	return nil
}

// have is the stored document if it is, byte for byte, the one that is wanted.
func (x *refreshing) have(role string) []byte {
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
func (x *refreshing) endOfRoots() error {
	if have := x.state.floors.Floors[RoleRoot].Value; x.root.version < have {
		return &UntrustedError{Role: RoleRoot, Version: x.root.version, Floor: have, Reason: ReasonRollback,
			Detail: fmt.Sprintf("root %d was seen before", have), Remedy: "the source lags behind or replays: try another one"}
	}
	x.reference = x.state.referenceTime(x.root, x.o.Now)
	if x.reference.After(x.o.Now) {
		x.state.note(NoteClockBehind, "the clock says %s, the newest signature is of %s", x.o.Now.UTC().Format(time.RFC3339), x.reference.UTC().Format(time.RFC3339))
	}
	x.At(x.reference)
	return x.unexpired(RoleRoot)
}

// unexpired judges a verified document. go-tuf does so too, but it has one moment for all of them, and none once [refreshing.tolerate] took it.
func (x *refreshing) unexpired(role string) error {
	d := x.docs[role]
	if role == RoleRoot {
		d = x.root
	}
	if x.reference.After(d.expires) {
		x.About(role)
		return expired(d)
	}
	return nil
}

// tolerate is called with a timestamp that go-tuf has not verified yet. Is it young enough, go-tuf judges no expiry from here on: it knows
// one moment for all documents and looks at timestamp and snapshot again with each one below them.
func (x *refreshing) tolerate(d *document) {
	if x.o.MaxAge <= 0 || x.reference.Sub(d.signedAt) > x.o.MaxAge {
		return
	}
	x.At(time.Time{})
	x.lenient = true
}

// lives refuses documents of the online roles that would live longer than such a document may: a thief of a key would otherwise sign a freeze
// without an end, and what a stolen key gives would not end by itself. It says nothing where this device's clock is known to be behind, for then
// what is signed properly seems to live too long as well.
func (x *refreshing) lives(s *set) error {
	if x.o.Now.Before(engineEpoch) || x.reference.After(x.o.Now) {
		return nil
	}
	for _, role := range []string{RoleTimestamp, RoleSnapshot, RoleDatabase, RoleRestrictions} {
		d := s.docs[role]
		if d.expires.After(x.o.Now.Add(Life(role) + lifeTolerance)) {
			return &UntrustedError{Role: role, Version: d.version, Expires: d.expires, Reason: ReasonLifetime,
				Detail: fmt.Sprintf("expires at %s, and lives at most %.0f days", d.expires.Format(time.RFC3339), Life(role).Hours()/24),
				Remedy: fmt.Sprintf("check this device's clock, which says %s; if it is right, ask the publisher whether a key was stolen", x.o.Now.UTC().Format(time.RFC3339))}
		}
	}
	return nil
}

// raiseFloors holds a verified set against the floors and raises them. A set that is refused changes none: whose keys it takes away is no
// better proved than the rest of it, and with a new root the floors are saved all the same.
func (x *refreshing) raiseFloors(s *set) error {
	numbers, err := s.numbers()
	if err != nil {
		return err
	}
	floors := x.state.floors.clone()
	lost := x.state.stored == nil && x.state.onDisk == nil
	seen := lost && x.o.Installed // a restriction set may have been in force whose floor is gone
	for _, name := range slices.Sorted(maps.Keys(floorNames)) {
		role := floorNames[name]
		a, _ := s.authorityOf(role)
		if v, ok := floors.Floors[name]; ok && role != RoleRoot && !v.credible(a) {
			x.state.note(NoteFloorReset, "the keys that vouched for %s %d were taken away", name, v.Value)
			delete(floors.Floors, name)
			seen = seen || name == floorEpoch
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
	if err := x.lives(s); err != nil {
		return err
	}
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		floors.raise(role, numbers[role].Value, numbers[role].Keys)
	}
	epoch := uint64(0) // of a floor that no set was accepted for
	if _, named := s.docs[RoleRestrictions].targets[dbformat.RestrictionsTarget]; named && seen {
		epoch = 1
	}
	if x.state.stored == nil && (lost || x.state.onDisk.Floors[floorEpoch].Value < x.o.Epoch) {
		epoch = max(epoch, min(x.o.Epoch, dbformat.MaxVersion))
	}
	if epoch > floors.Floors[floorEpoch].Value {
		floors.set(floorEpoch, floor{Value: epoch, SHA256: noSet.String(), Keys: numbers[RoleRestrictions].Keys})
	}
	if at := signedFloor(signedAt, x.reference, x.o.Now); at.After(newest) {
		floors.raise(floorSigned, uint64(max(at.Unix(), 1)), numbers[floorSigned].Keys)
	}
	x.state.floors = floors
	return nil
}
