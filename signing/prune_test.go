package signing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// published commits so often that the next commit removes documents of roles, and gives each timestamp that was served.
func published(t *testing.T, r *Repository, commits uint64) (timestamps [][]byte) {
	t.Helper()
	for v := range commits {
		publish(t, r, v+1, day0)
		b, err := os.ReadFile(r.public("metadata", "timestamp.json"))
		if err != nil {
			t.Fatal(err)
		}
		timestamps = append(timestamps, b)
	}
	return timestamps
}

// midway is a source as a client meets it that read timestamp.json before what is published now.
func midway(r *Repository, timestamp []byte) *source {
	return &source{dir: r.PublicDir(), edit: func(name string, b []byte) ([]byte, error) {
		if name == "timestamp.json" {
			return timestamp, nil
		}
		return nil, nil
	}}
}

func wantWritten(t *testing.T, r *Repository, role string, first, last uint64) {
	t.Helper()
	got, err := r.written(role)
	if err != nil || uint64(len(got)) != last-first+1 || got[0] != first || got[len(got)-1] != last {
		t.Errorf("documents of %s: %v, %v; want %d to %d", role, got, err, first, last)
	}
}

// The folder does not grow for ever, and no client that is in the middle of a refresh misses anything: each of the last 16 timestamps leads
// to a whole state, and every root is there.
func TestOldDocumentsGoAndNoClientMissesThem(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	if err := r.Rotate(RoleRoot, day0, &stream{seed: 4}); err != nil {
		t.Fatal(err)
	}
	const commits = keptSnapshots + 5
	timestamps := published(t, r, commits)
	for _, role := range []string{RoleSnapshot, RoleDatabase, RoleRestrictions} {
		wantWritten(t, r, role, commits+2-keptSnapshots, commits+1)
	}
	wantWritten(t, r, RoleTargets, 1, 1) // named by every snapshot
	wantWritten(t, r, RoleRoot, 1, 2)
	for i, b := range timestamps {
		_, err := newTrust(t, r).Refresh(t.Context(), midway(r, b), RefreshOptions{Now: day0})
		if kept := i >= commits-keptSnapshots; kept != (err == nil) || !kept && !errors.Is(err, ErrNotFound) {
			t.Errorf("timestamp %d of %d: %v", i+1, commits, err)
		}
	}
	if err := r.Rotate(RoleTargets, day0, &stream{seed: 5}); err != nil { // it ends with the same tidying
		t.Fatal(err)
	}
	wantWritten(t, r, RoleSnapshot, commits+3-keptSnapshots, commits+2)
	wantWritten(t, r, RoleTargets, 1, 2)
	refresh(t, newTrust(t, r), serve(r), day0)
}

// Killed at any removal, the commit is done, and the next one removes what is left.
func TestKillWhileOldDocumentsGo(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	published(t, r, keptSnapshots)
	removals := 0
	for at := 1; ; at++ {
		dir := copyTree(t, r.dir)
		n := 0
		dying, err := openRepository(dir, "", files{disk: hook(func(op, name string) (bool, error) {
			if op == "remove" {
				n++
			}
			if n >= at {
				return n == at && at%2 == 0, errKilled
			}
			return withoutSync(op, name)
		})})
		if err != nil {
			t.Fatal(err)
		}
		if err := tryPublish(t, dying, keptSnapshots+1, day0); err != nil {
			t.Fatalf("removal %d: %v; the new state was there already", at, err)
		}
		if n < at {
			break
		}
		removals++
		refresh(t, newTrust(t, r), &source{dir: filepath.Join(dir, "public")}, day0)
		again, err := openRepository(dir, "", noSync)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, again, keptSnapshots+2, day0)
		for _, role := range []string{RoleSnapshot, RoleDatabase, RoleRestrictions} {
			wantWritten(t, again, role, 4, keptSnapshots+3)
		}
	}
	if removals != 3 {
		t.Errorf("%d removals, want one of each role", removals)
	}
}

// A snapshot that cannot be read says nothing about what is needed: then nothing is removed.
func TestNothingGoesBehindADamagedSnapshot(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	published(t, r, keptSnapshots-1)
	if err := os.WriteFile(r.public("metadata", fmt.Sprintf("%d.snapshot.json", 2)), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	publish(t, r, keptSnapshots, day0)
	wantWritten(t, r, RoleSnapshot, 1, keptSnapshots+1)
	publish(t, r, keptSnapshots+1, day0)
	wantWritten(t, r, RoleSnapshot, 3, keptSnapshots+2)
}
