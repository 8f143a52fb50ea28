package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// What is damaged, put back or far behind: each is noticed and heals with the next refresh.

// Guard: the store's own copy of the set. Damaged in any way it counts as absent and is fetched again; the floors stand.
func TestDamagedStoreHeals(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	name := filepath.Join(tr.dir, verifiedFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{
		"empty": {}, "truncated": good[:len(good)/2], "flipped": flip(good, len(good)/3), "zeros": make([]byte, len(good)),
		"null": []byte("null"), "no documents": []byte(`{"schema":1}`), "schema": []byte(`{"schema":2}`),
		"nulls inside": []byte(`{"schema":1,"documents":{"timestamp":"null","snapshot":"{\"signed\":null}"}}`),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Stored(); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: stored gives %v, want ErrUntrusted", what, err)
		}
		v := refresh(t, tr, serve(r), day0)
		if n := v.Notes(); len(n) != 1 || n[0].Code != NoteStoreUnreadable {
			t.Errorf("%s: notes %v, want %s", what, n, NoteStoreUnreadable)
		}
		if healed, err := os.ReadFile(name); err != nil || !bytes.Equal(healed, good) {
			t.Errorf("%s: not healed, %v", what, err)
		}
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// Guard: readRoot. A damaged newest root is fetched again; with all roots damaged nothing is believed.
func TestDamagedRootHeals(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	if err := r.Rotate(RoleRoot, day0, &stream{seed: 3}); err != nil {
		t.Fatal(err)
	}
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	good, err := os.ReadFile(tr.rootName(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{{}, good[:100], flip(good, 50), flip(good, len(good)-80), firstRoot(t, r)} {
		if err := os.WriteFile(tr.rootName(2), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		v := refresh(t, tr, serve(r), day0)
		if n := v.Notes(); len(n) == 0 || n[0].Code != NoteRootUnreadable {
			t.Errorf("notes %v, want %s", n, NoteRootUnreadable)
		}
		if b, err := os.ReadFile(tr.rootName(2)); err != nil || !bytes.Equal(b, good) {
			t.Errorf("not healed: %v", err)
		}
	}
	// A root under a number that is not its own.
	if err := os.WriteFile(tr.rootName(9), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := refresh(t, tr, serve(r), day0); len(v.Notes()) != 1 || v.Notes()[0].Code != NoteRootUnreadable || v.Version(RoleRoot) != 2 {
		t.Errorf("root %d, notes %v", v.Version(RoleRoot), v.Notes())
	}
	if err := os.Remove(tr.rootName(9)); err != nil {
		t.Fatal(err)
	}
	for v := range uint64(2) {
		if err := os.WriteFile(tr.rootName(v+1), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Refresh(t.Context(), serve(r), RefreshOptions{Now: day0}); !errors.Is(err, ErrStorage) || errors.Is(err, ErrUntrusted) {
		t.Errorf("without a root: %v, want ErrStorage and no distrust", err)
	}
}

// Guard: readFloors. floors.json put back to an older state, or damaged, is noticed and changes nothing.
func TestFloorsPutBack(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	name := filepath.Join(tr.dir, floorsFile)
	older, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	old := serveDir(t, r)
	publish(t, r, 2, day0)
	refresh(t, tr, serve(r), day0)
	for _, c := range []struct {
		b    []byte
		note string
	}{{older, NoteFloorsBehind}, {older[:40], NoteFloorsLost}, {nil, NoteFloorsLost}, {[]byte("null\n"), NoteFloorsLost}} {
		if err := os.WriteFile(name, c.b, 0o600); err != nil {
			t.Fatal(err)
		}
		refuse(t, tr, old, day0, RoleTimestamp, ReasonRollback)
		v := refresh(t, tr, serve(r), day0)
		if n := v.Notes(); len(n) == 0 || n[0].Code != c.note {
			t.Errorf("notes %v, want %s", n, c.note)
		}
	}
}

// Guard: nothing of go-tuf touches the working folder, where with its cache off it looks for metadata by default, and nothing is left over.
func TestNoFilesOfTheLibrary(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	stranger := newRepository(t, RepositoryOptions{Rand: &stream{seed: 8}})
	publish(t, stranger, 1, day0)
	cwd := t.TempDir()
	for _, role := range setRoles {
		if err := os.WriteFile(filepath.Join(cwd, role+".json"), []byte(`{"signed":{"_type":"timestamp"}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(cwd)
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	refuse(t, tr, serve(stranger), day0, RoleTimestamp, ReasonSignature)
	want := []string{"/floors.json", "/roots/1.root.json", "/verified.json"}
	got := tree(t, tr.dir)
	for _, name := range want {
		delete(got, filepath.FromSlash(name))
	}
	if len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
	if s, err := os.Stat(tr.dir); err != nil || s.Mode().Perm() != 0o700 {
		t.Errorf("trust folder is %v, %v", s.Mode(), err)
	}
}

// Guard: maxRootSteps is far above go-tuf's 256, and verified roots are kept even when the source fails after them.
func TestManyRootsBehind(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	const behind = 300
	tr := newTrust(t, r)
	// Roots are made by the forge: one signing each, no disk.
	f := newForge(t, r)
	src := &mapSource{files: f.files()}
	for v := 2; v <= behind; v++ {
		f.signed[RoleRoot]["version"] = json.Number(fmt.Sprint(v))
		src.files[fmt.Sprintf("%d.root.json", v)] = f.sign(RoleRoot)
	}
	broken := src.clone()
	broken.files["timestamp.json"] = []byte("{}")
	refuse(t, tr, broken, day0, RoleTimestamp, ReasonMalformed)
	src.log = nil
	if v := refresh(t, tr, src, day0); v.Version(RoleRoot) != behind {
		t.Errorf("root %d, want %d", v.Version(RoleRoot), behind)
	}
	if src.log[0] != fmt.Sprintf("%d.root.json", behind+1) {
		t.Errorf("the roots that were verified before the failure were fetched again: %s", src.log[0])
	}
}
