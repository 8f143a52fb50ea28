package signing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

var errKilled = errors.New("killed")

// killer ends the world at its nth step: that step takes effect or not, and none after it does.
type killer struct {
	at      int
	applies bool
	n       int
	ops     []string
	dir     string
}

func (k *killer) hook(op, name string) (bool, error) {
	k.n++
	name = regexp.MustCompile(`new-[0-9]+`).ReplaceAllString(strings.TrimPrefix(filepath.ToSlash(name), filepath.ToSlash(k.dir)), "new-*")
	name = regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(name, "HASH")
	k.ops = append(k.ops, op+" "+strings.TrimPrefix(name, "/"))
	switch {
	case k.at == 0 || k.n < k.at:
		return withoutSync(op, name)
	case k.n == k.at:
		return k.applies, errKilled
	}
	return false, errKilled
}

// waysToDie are the ways in which step at fails: without effect and with it. A sample alternates between them.
func waysToDie(at int) []bool {
	if thorough {
		return []bool{false, true}
	}
	return []bool{at%2 == 0}
}

func copyTree(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func tryPublish(t *testing.T, r *Repository, version uint64, now time.Time) error {
	change := map[string][]Target{}
	for _, c := range []struct {
		role, path string
		b          []byte
	}{{RoleDatabase, dbformat.ReleaseTarget, releaseBytes(t, version)}, {RoleRestrictions, dbformat.RestrictionsTarget, setBytes(t, version)}} {
		target, err := r.AddTargetBytes(c.path, c.b)
		if err != nil {
			return err
		}
		change[c.role] = []Target{target}
	}
	return r.Commit(change, now)
}

// A commit that is killed before or after any of its steps leaves a repository that serves exactly the old or the new release, and on which
// the next commit works and leaves nothing behind.
func TestKillBetweenAnyTwoStepsOfCommit(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	served := func(dir string, r *Repository) uint64 {
		v := refresh(t, newTrust(t, r), &source{dir: filepath.Join(dir, "public")}, day0)
		rel, err := v.Release(targetBytes(t, r, v, dbformat.ReleaseTarget))
		if err != nil {
			t.Fatal(err)
		}
		set, err := v.Restrictions(targetBytes(t, r, v, dbformat.RestrictionsTarget))
		if err != nil {
			t.Fatal(err)
		}
		if rel.Record().Stable.Version != set.Set().Epoch {
			t.Fatalf("release %d with set %d", rel.Record().Stable.Version, set.Set().Epoch)
		}
		return set.Set().Epoch
	}
	old, fresh := 0, 0
	for at := 1; ; at++ {
		for _, applies := range waysToDie(at) {
			dir := copyTree(t, r.dir)
			k := &killer{at: at, applies: applies, dir: dir}
			dying, err := openRepository(dir, "", files{disk: hook(k.hook)})
			if err != nil {
				t.Fatal(err)
			}
			err = tryPublish(t, dying, 2, day0)
			if k.n < at {
				t.Logf("%d steps; the old release was served %d times, the new one %d times", k.n, old, fresh)
				if old == 0 || fresh == 0 {
					t.Error("the kills did not reach both sides of the commit")
				}
				return
			}
			step := fmt.Sprintf("killed at %s (effect: %t)", k.ops[at-1], applies)
			if err == nil {
				t.Errorf("%s: no error", step)
			}
			again, err := openRepository(dir, "", noSync)
			if err != nil {
				t.Fatalf("%s: %v", step, err)
			}
			switch served(dir, again) {
			case 1:
				old++
			case 2:
				fresh++
			}
			before := tree(t, filepath.Join(dir, "public"))
			if err := tryPublish(t, again, 3, day0); err != nil {
				t.Fatalf("%s: next commit: %v", step, err)
			}
			for name, b := range tree(t, filepath.Join(dir, "public")) {
				if was, ok := before[name]; ok && was != b && filepath.Base(name) != "timestamp.json" {
					t.Errorf("%s: the next commit changed %s, which a mirror may have copied", step, name)
				}
			}
			if got := served(dir, again); got != 3 {
				t.Fatalf("%s: next commit serves %d", step, got)
			}
			if left := tree(t, filepath.Join(dir, "tmp")); len(left) != 0 {
				t.Errorf("%s: left over: %v", step, maps.Keys(left))
			}
		}
	}
}

// The order of steps is the promise; a missing sync is a line of difference here.
func TestOrderOfCommit(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	k := &killer{dir: r.dir}
	r, err := openRepository(r.dir, "", files{disk: hook(k.hook)})
	if err != nil {
		t.Fatal(err)
	}
	target, err := r.AddTargetBytes("light/x.bundle", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(map[string][]Target{RoleDatabase: {target}}, day0); err != nil {
		t.Fatal(err)
	}
	var want []string
	put := func(name string) {
		for _, op := range []string{"create", "write", "sync", "rename"} {
			want = append(want, op+" "+name)
		}
	}
	put("public/targets/light/HASH.x.bundle")
	want = append(want, "syncdir public/targets/light")
	put("public/metadata/2.snapshot.json")
	put("public/metadata/2.database.json")
	want = append(want, "syncdir public/metadata")
	put("public/metadata/timestamp.json")
	want = append(want, "syncdir public/metadata")
	if got := strings.Join(k.ops, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// The same for rotating keys: killed anywhere, clients that know the old root and clients that know the new one are served.
func TestKillBetweenAnyTwoStepsOfRotate(t *testing.T) {
	t.Parallel()
	for i, role := range []string{RoleTimestamp, RoleTargets, RoleDatabase, RoleRoot} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			first, stride := 1, 1
			if !thorough { // together the roles still die at steps of each kind
				first, stride = 1+i%3, 3
			}
			for at := first; ; at += stride {
				dir := copyTree(t, r.dir)
				k := &killer{at: at, applies: at%2 == 0, dir: dir}
				dying, err := openRepository(dir, "", files{disk: hook(k.hook)})
				if err != nil {
					t.Fatal(err)
				}
				tr := newTrust(t, r)
				src := &source{dir: filepath.Join(dir, "public")}
				refresh(t, tr, src, day0)
				err = dying.Rotate(role, day0, &stream{seed: 4})
				if k.n < at {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				refresh(t, tr, src, day0)
				refresh(t, newTrust(t, r), src, day0)
				again, err := openRepository(dir, "", noSync)
				if err != nil {
					t.Fatalf("killed at %s: %v", k.ops[at-1], err)
				}
				if err := again.Rotate(role, day0, &stream{seed: 5}); err != nil {
					t.Fatalf("killed at %s: %v", k.ops[at-1], err)
				}
				publish(t, again, 2, day0)
				refresh(t, tr, src, day0)
			}
		})
	}
}

// A refresh that is killed before or after any of its steps believes no less than before, and the next one succeeds.
func TestKillBetweenAnyTwoStepsOfRefresh(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	before := newTrust(t, r)
	refresh(t, before, serve(r), day0)
	old := serveDir(t, r)
	if err := r.Rotate(RoleRoot, day0, &stream{seed: 4}); err != nil {
		t.Fatal(err)
	}
	publish(t, r, 2, day0)
	for at := 1; ; at++ {
		for _, applies := range waysToDie(at) {
			dir := copyTree(t, before.dir)
			k := &killer{at: at, applies: applies, dir: dir}
			dying := &Trust{dir: dir, f: files{disk: hook(k.hook)}}
			_, err := dying.Refresh(t.Context(), serve(r), RefreshOptions{Now: day0})
			if k.n < at {
				t.Logf("%d steps: %v", k.n, k.ops)
				return
			}
			step := fmt.Sprintf("killed at %s (effect: %t)", k.ops[at-1], applies)
			if !errors.Is(err, errKilled) || !errors.Is(err, ErrStorage) || errors.Is(err, ErrUntrusted) {
				t.Errorf("%s: %v, want ErrStorage", step, err)
			}
			tr, err := OpenTrust(dir)
			if err != nil {
				t.Fatalf("%s: %v", step, err)
			}
			tr.f = noSync
			v, err := tr.Stored()
			if err != nil {
				t.Fatalf("%s: stored: %v", step, err)
			}
			if n := v.Version(RoleTimestamp); n != 2 && n != 3 {
				t.Fatalf("%s: timestamp %d", step, n)
			}
			if len(v.Notes()) != 0 {
				t.Errorf("%s: notes %v, nobody tampered", step, v.Notes())
			}
			if b, err := os.ReadFile(filepath.Join(dir, floorsFile)); err == nil && !strings.Contains(string(b), `"value": 3`) {
				refresh(t, tr, old, day0) // not yet seen: not yet refused
			}
			refresh(t, tr, serve(r), day0)
			if _, err := tr.Refresh(t.Context(), old, RefreshOptions{Now: day0}); !errors.Is(err, ErrStale) {
				t.Errorf("%s: the old state is believed again: %v", step, err)
			}
			if left := tree(t, filepath.Join(dir, "tmp")); len(left) != 0 {
				t.Errorf("%s: left over in tmp", step)
			}
		}
	}
}

// The order in which trust is kept: floors, roots, set.
func TestOrderOfRefresh(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	tr := newTrust(t, r)
	if err := r.Rotate(RoleRoot, day0, &stream{seed: 4}); err != nil {
		t.Fatal(err)
	}
	k := &killer{dir: tr.dir}
	tr.f.disk = hook(k.hook)
	refresh(t, tr, serve(r), day0)
	var want []string
	put := func(name string, dirs ...string) {
		for _, op := range []string{"create", "write", "sync", "rename"} {
			want = append(want, op+" "+name)
		}
		for _, dir := range dirs {
			want = append(want, "syncdir "+dir)
		}
	}
	put("floors.json", "roots", "") // the roots that are there may be a dead run's
	put("roots/2.root.json", "roots")
	put("verified.json", "")
	if got := strings.Join(k.ops, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	k.ops = nil
	refresh(t, tr, serve(r), day0)
	if len(k.ops) != 0 {
		t.Errorf("without news: %v", k.ops)
	}
}

// What a run that died had renamed and not synced is made durable by the next run that builds on it, though it changes nothing.
func TestNextRunSyncsWhatADeadRunRenamed(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	next, err := OpenTrust(tr.dir)
	if err != nil {
		t.Fatal(err)
	}
	k := &killer{dir: tr.dir}
	next.f.disk = hook(k.hook)
	refresh(t, next, serve(r), day0)
	if got := strings.Join(k.ops, ", "); got != "syncdir roots, syncdir " {
		t.Errorf("the next run did %q", got)
	}
}

// noTimestamp has roots and nothing else.
type noTimestamp struct{ Fetcher }

func (f noTimestamp) Fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	if name == "timestamp.json" {
		return nil, errKilled
	}
	return f.Fetcher.Fetch(ctx, name, limit)
}

// A run that died after it had saved the floors of rotated keys, and before their root: a next run that gets the roots and no further
// does not take these floors for those of a thief.
func TestFloorsOfNewKeysSurviveAKillBeforeTheirRoot(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	for i, role := range []string{RoleTimestamp, RoleSnapshot} {
		if err := r.Rotate(role, day0, &stream{seed: uint64(4 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	old := &source{dir: filepath.Join(copyTree(t, r.dir), "public")}
	if err := r.Commit(nil, day0); err != nil {
		t.Fatal(err)
	}
	tr.f.disk = hook(func(op, name string) (bool, error) {
		if strings.HasSuffix(name, ".root.json") {
			return false, errKilled
		}
		return true, nil
	})
	if _, err := tr.Refresh(t.Context(), serve(r), RefreshOptions{Now: day0}); !errors.Is(err, errKilled) {
		t.Fatalf("the disk fails, and yet: %v", err)
	}
	tr.f.disk = nil
	if _, err := tr.Refresh(t.Context(), noTimestamp{serve(r)}, RefreshOptions{Now: day0}); err == nil {
		t.Fatal("a source without a timestamp is good")
	}
	if _, err := tr.Refresh(t.Context(), old, RefreshOptions{Now: day0}); !errors.Is(err, ErrStale) {
		t.Errorf("an older state under the new keys is believed: %v", err)
	}
	refresh(t, tr, serve(r), day0)
}
