package signing

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

func TestCreateRepositoryLayout(t *testing.T) {
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	var got []string
	for name := range tree(t, r.dir) {
		got = append(got, strings.TrimPrefix(filepath.ToSlash(name), "/"))
	}
	slices.Sort(got)
	count := func(prefix string) (n int) {
		for _, name := range got {
			if strings.HasPrefix(name, prefix) && strings.HasSuffix(name, ".pem") {
				n++
			}
		}
		return n
	}
	for prefix, want := range map[string]int{"keys/offline/root-": 3, "keys/offline/targets-": 3, "keys/offline/": 6, "keys/online/database-": 1,
		"keys/online/restrictions-": 1, "keys/online/snapshot-": 1, "keys/online/timestamp-": 1, "keys/": 10} {
		if n := count(prefix); n != want {
			t.Errorf("%d keys %s*, want %d: %v", n, prefix, want, got)
		}
	}
	for _, name := range []string{"1.root.json", "1.targets.json", "1.snapshot.json", "1.database.json", "1.restrictions.json", "timestamp.json"} {
		if !slices.Contains(got, "public/metadata/"+name) {
			t.Errorf("no %s", name)
		}
	}
	if len(got) != 10+6+1 {
		t.Errorf("%d files: %v", len(got), got)
	}
	if len(r.RootFingerprint()) != 64 {
		t.Errorf("fingerprint %q", r.RootFingerprint())
	}
	if _, err := CreateRepository(r.dir, RepositoryOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v, want ErrExists", err)
	}
	for _, o := range []RepositoryOptions{{Threshold: 3, Keys: 2}, {Keys: maxOfflineKeys + 1}} {
		if _, err := CreateRepository(t.TempDir(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// The real thing, with every sync, through the exported functions.
func TestOnARealDisk(t *testing.T) {
	dir := t.TempDir()
	r, err := CreateRepository(filepath.Join(dir, "repo"), RepositoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, r, 1, time.Now())
	if err := InitTrust(filepath.Join(dir, "trust"), firstRoot(t, r), false); err != nil {
		t.Fatal(err)
	}
	tr, err := OpenTrust(filepath.Join(dir, "trust"))
	if err != nil {
		t.Fatal(err)
	}
	refresh(t, tr, serve(r), time.Now())
	if _, err := tr.Stored(); err != nil {
		t.Error(err)
	}
}

// Publishing and renewing work on a host that never had the offline keys.
func TestPublishWithoutOfflineKeys(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	if err := os.RemoveAll(filepath.Join(r.dir, "keys", "offline")); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRepository(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, r, 1, day0)
	if _, err := r.Renew(day0.Add(6 * day)); err != nil {
		t.Fatal(err)
	}
	if err := r.Rotate(RoleSnapshot, day0.Add(6*day), nil); !errors.Is(err, ErrNoKey) {
		t.Errorf("rotation without them: %v, want ErrNoKey", err)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "keys", "online")); err != nil {
		t.Fatal(err)
	}
	err = r.Commit(nil, day0.Add(6*day))
	if e, ok := errors.AsType[*RepositoryError](err); !ok || !errors.Is(err, ErrNoKey) || !strings.Contains(e.What, RoleSnapshot) {
		t.Errorf("without online keys: %v, want ErrNoKey for snapshot", err)
	}
	refresh(t, newTrust(t, r), serve(r), day0.Add(6*day))
}

func TestKeysElsewhere(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "k")
	r := newRepository(t, RepositoryOptions{KeysDir: keys})
	if _, err := os.Stat(filepath.Join(r.dir, "keys")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("keys in the repository's folder: %v", err)
	}
	publish(t, r, 1, day0)
	if r, err := OpenRepository(r.dir, keys); err != nil {
		t.Error(err)
	} else if err := r.Commit(nil, day0); err != nil {
		t.Error(err)
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	for _, c := range []struct {
		at   time.Duration
		want string
	}{
		{4 * day, "[]"},
		{5 * day, "[timestamp]"},
		{5 * day, "[]"},
		{9*day + 9*time.Hour, "[snapshot timestamp]"},
		{21 * day, "[database restrictions snapshot timestamp]"},
		{360 * day, "[database restrictions snapshot timestamp]"}, // all expired long ago
	} {
		done, err := r.Renew(day0.Add(c.at))
		if err != nil {
			t.Fatal(err)
		}
		var roles []string
		for _, d := range done {
			roles = append(roles, d.Role)
			if want := day0.Add(c.at).Add(Life(d.Role)); !d.Expires.Equal(want) {
				t.Errorf("%s until %v, want %v", d.Role, d.Expires, want)
			}
		}
		if got := fmt.Sprint(roles); got != c.want {
			t.Errorf("after %v: renewed %v, want %v", c.at, got, c.want)
		}
	}
	v := refresh(t, newTrust(t, r), serve(r), day0.Add(360*day))
	if _, ok := v.Target(dbformat.ReleaseTarget); !ok {
		t.Error("renewing lost a target")
	}
	// Offline roles are not for Renew: it says so instead of signing what clients refuse.
	_, err := r.Renew(day0.Add(366 * day))
	if e, ok := errors.AsType[*RepositoryError](err); !ok || !errors.Is(err, ErrOfflineKeys) || !strings.Contains(e.What, RoleTargets) || !strings.Contains(e.Detail, "2027-03-01") {
		t.Errorf("expired targets: %v, want ErrOfflineKeys", err)
	}
	if err := r.Commit(nil, day0.Add(366*day)); !errors.Is(err, ErrOfflineKeys) {
		t.Errorf("expired targets: %v, want ErrOfflineKeys", err)
	}
	done, err := r.RenewOffline(day0.Add(800 * day)) // root too
	if err != nil || len(done) != 6 {
		t.Fatalf("%v, %v", done, err)
	}
	publish(t, r, 2, day0.Add(800*day))
	refresh(t, newTrust(t, r), serve(r), day0.Add(800*day))
}

// A commit renews what is near its expiry, so that regular publishing needs no renewing.
func TestCommitRenews(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	b := releaseBytes(t, 2)
	target, err := r.AddTargetBytes(dbformat.ReleaseTarget, b)
	if err != nil {
		t.Fatal(err)
	}
	now := day0.Add(25 * day)
	if err := r.Commit(map[string][]Target{RoleDatabase: {target}}, now); err != nil {
		t.Fatal(err)
	}
	v := refresh(t, newTrust(t, r), serve(r), now)
	if want := map[string]uint64{"root": 1, "timestamp": 3, "snapshot": 3, "targets": 1, "database": 3, "restrictions": 3}; fmt.Sprint(v.Versions()) != fmt.Sprint(want) {
		t.Errorf("versions %v, want %v", v.Versions(), want)
	}
	if _, ok := v.Target(dbformat.RestrictionsTarget); !ok {
		t.Error("the set is gone")
	}
}

func TestClockBehindAtPublishing(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	if err := r.Commit(nil, day0.Add(-day-time.Second)); !errors.Is(err, ErrClock) {
		t.Errorf("a clock a day behind: %v, want ErrClock", err)
	}
	publish(t, r, 2, day0.Add(-day))
}

func TestCommitRefusesBadTargets(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	before := tree(t, r.PublicDir())
	good, err := r.AddTargetBytes("light/a.bundle", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	longer := good
	longer.Length++
	for name, c := range map[string]map[string][]Target{
		"of another role":     {RoleRestrictions: {good}},
		"twice":               {RoleDatabase: {good, good}},
		"without its file":    {RoleDatabase: {{Path: "light/b.bundle", Length: 1}}},
		"of another length":   {RoleDatabase: {longer}},
		"with a wicked path":  {RoleDatabase: {{Path: "light/../x", Length: 1}}},
		"of no online role":   {RoleTargets: {good}},
		"of a role not there": {"database2": {good}},
	} {
		err := r.Commit(c, day0)
		if !errors.Is(err, ErrTarget) && !errors.Is(err, ErrOfflineKeys) {
			t.Errorf("a target %s: %v", name, err)
		}
	}
	for _, p := range wickedPaths {
		if _, err := r.AddTargetBytes(p, []byte("x")); !errors.Is(err, ErrTarget) {
			t.Errorf("%.20q: %v, want ErrTarget", p, err)
		}
	}
	after := tree(t, r.PublicDir())
	for name, b := range after {
		if before[name] != b && !strings.HasSuffix(name, ".a.bundle") {
			t.Errorf("%s changed", name)
		}
	}
	if len(after) != len(before)+1 {
		t.Errorf("%d files, want %d", len(after), len(before)+1)
	}
}

func TestAddTargetCopiesFiles(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := r.AddTarget("rest/x.bundle", name)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(r.TargetFile(got)); err != nil || string(b) != "hello" || got.Length != 5 {
		t.Errorf("%q, %+v, %v", b, got, err)
	}
	if _, err := r.AddTarget("rest/y.bundle", name+"y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want fs.ErrNotExist", err)
	}
}

// Guard: exactly. A file that changes or grows while it is copied does not get the name of what it was, and an endless one ends.
func TestFileChangesWhileItIsAdded(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	want := Target{Path: "light/x.bundle", Length: 5, SHA256: sha256.Sum256([]byte("hello"))}
	for name, in := range map[string]io.Reader{"changed": strings.NewReader("hallo"), "cut": strings.NewReader("hell"), "endless": &stream{}} {
		if _, err := r.add(want, in); !errors.Is(err, ErrTarget) {
			t.Errorf("%s: %v, want ErrTarget", name, err)
		}
		if _, err := os.Stat(r.TargetFile(want)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it is there: %v", name, err)
		}
	}
	if left := tree(t, filepath.Join(r.dir, "tmp")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// Guard: the lock, and the versions that a publisher read.
func TestTwoPublishers(t *testing.T) {
	a := newRepository(t, RepositoryOptions{})
	b, err := OpenRepository(a.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := a.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(nil, day0); !errors.Is(err, ErrBusy) {
		t.Errorf("while another publishes: %v, want ErrBusy", err)
	}
	if _, err := b.Renew(day0); !errors.Is(err, ErrBusy) {
		t.Errorf("while another publishes: %v, want ErrBusy", err)
	}
	if _, err := b.Status(day0); err != nil {
		t.Errorf("status waits for nobody: %v", err)
	}
	publish(t, a, 1, day0)
	unlock()
	unlock() // twice does no harm
	target, err := b.AddTargetBytes(dbformat.ReleaseTarget, releaseBytes(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(map[string][]Target{RoleDatabase: {target}}, day0); !errors.Is(err, ErrChanged) {
		t.Errorf("on what it had read before: %v, want ErrChanged", err)
	}
	if _, err := b.Targets(RoleDatabase); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(map[string][]Target{RoleDatabase: {target}}, day0); err != nil {
		t.Errorf("after reading again: %v", err)
	}
}

func TestStatus(t *testing.T) {
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	publish(t, r, 1, day0)
	s, err := r.Status(day0.Add(8 * day))
	if err != nil {
		t.Fatal(err)
	}
	if s.RootFingerprint != r.RootFingerprint() || !s.SignedAt.Equal(day0) || !s.Expires.Equal(day0.Add(LifeTimestamp)) {
		t.Errorf("%+v", s)
	}
	var lines []string
	for _, role := range s.Roles {
		lines = append(lines, fmt.Sprintf("%s v%d %d-of-%d here=%d online=%t expired=%t due=%t targets=%d", role.Role, role.Version, role.Threshold,
			len(role.Keys), role.KeysHere, role.Online, role.Expired, role.RenewDue, role.Targets))
		if role.Bytes == 0 || role.Expires.IsZero() {
			t.Errorf("%+v", role)
		}
	}
	want := `root v1 2-of-3 here=0 online=false expired=false due=false targets=0
timestamp v2 1-of-1 here=1 online=true expired=true due=true targets=0
snapshot v2 1-of-1 here=1 online=true expired=false due=false targets=0
targets v1 2-of-3 here=0 online=false expired=false due=false targets=0
database v2 1-of-1 here=1 online=true expired=false due=false targets=1
restrictions v2 1-of-1 here=1 online=true expired=false due=false targets=1`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The sizes that the design promises, for two bundles, the record and 24 deltas of each layer.
func TestMetadataSizes(t *testing.T) {
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	var targets []Target
	add := func(path string) {
		target, err := r.AddTargetBytes(path, []byte(path))
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target)
	}
	add(dbformat.ReleaseTarget)
	for _, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
		add(dbformat.BundleTarget(l, dbformat.Digest{byte(l)}))
		for i := range uint64(24) {
			add(dbformat.DeltaTarget(l, 1_000_000+i, 1_000_024))
		}
	}
	if err := r.Commit(map[string][]Target{RoleDatabase: targets}, day0); err != nil {
		t.Fatal(err)
	}
	s, err := r.Status(day0)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, role := range s.Roles {
		t.Logf("%-12s %5d bytes", role.Role, role.Bytes)
		if role.Role != RoleRoot {
			total += role.Bytes
		}
		limit := map[string]int{RoleDatabase: 12 << 10, RoleTimestamp: 512}[role.Role]
		if limit != 0 && role.Bytes > limit {
			t.Errorf("%s has %d bytes, want at most %d", role.Role, role.Bytes, limit)
		}
	}
	t.Logf("all but root %5d bytes", total)
	if total > 12<<10 {
		t.Errorf("all roles together have %d bytes, want at most 12 KiB", total)
	}
}

// Guard: the proof before writing. What clients would refuse is not published.
func TestDamagedRepositoryIsNotSigned(t *testing.T) {
	for _, name := range []string{"timestamp.json", "2.snapshot.json", "1.targets.json", "2.database.json", "2.restrictions.json", "1.root.json"} {
		r := newRepository(t, RepositoryOptions{})
		publish(t, r, 1, day0)
		file := filepath.Join(r.PublicDir(), "metadata", name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, flip(b, len(b)/2), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(nil, day0); !errors.Is(err, ErrRepository) || !strings.Contains(err.Error(), "restore") {
			t.Errorf("%s: %v, want ErrRepository with a remedy", name, err)
		}
	}
}

// A host whose clock is behind signs nothing and makes no key: endpoints would take its timestamp for a replay.
func TestClockBehindSignsNothing(t *testing.T) {
	t.Parallel()
	late := day0.Add(-2 * day)
	for name, do := range map[string]func(r *Repository) error{
		"commit":          func(r *Repository) error { return r.Commit(nil, late) },
		"renew":           func(r *Repository) error { _, err := r.Renew(late); return err },
		"renew --offline": func(r *Repository) error { _, err := r.RenewOffline(late); return err },
		"approve":         func(r *Repository) error { return r.Approve(2, late) },
		"sign":            func(r *Repository) error { _, err := r.Sign(late); return err },
		"rotate": func(r *Repository) error {
			_, err := r.RotateKeys(RoleTimestamp, RotateOptions{Now: late, Rand: &stream{seed: 7}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			publishHeld(t, r, 2, day0)
			before := tree(t, r.dir)
			if err := do(r); !errors.Is(err, ErrClock) {
				t.Errorf("got %v, want %v", err, ErrClock)
			}
			if !maps.Equal(tree(t, r.dir), before) {
				t.Error("something was written")
			}
		})
	}
}

// Where what waits cannot be read, a rotation fails before it makes keys that nobody would ever name.
func TestRotateBesideADamagedPending(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publishHeld(t, r, 1, day0)
	if err := os.WriteFile(r.pending(pendingFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := tree(t, r.dir)
	if _, err := r.RotateKeys(RoleTimestamp, RotateOptions{Now: day0, Rand: &stream{seed: 7}}); !errors.Is(err, ErrRepository) {
		t.Errorf("got %v, want %v", err, ErrRepository)
	}
	if !maps.Equal(tree(t, r.dir), before) {
		t.Error("something was written")
	}
}
