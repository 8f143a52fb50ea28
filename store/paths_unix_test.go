//go:build unix

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// TestModesWhateverTheUmask installs under three umasks. The umask is the process's: no other test runs meanwhile.
func TestModesWhateverTheUmask(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for _, mask := range []int{0, 0o022, 0o077} {
		syscall.Umask(mask)
		s := newStore(t)
		r := newRelease(t, 1, 50, 1)
		must(t, install(s, r, dbformat.VariantFull))
		must(t, s.PutIndex("k", func(yield func([]byte) bool) { yield([]byte("x")) }))
		must(t, s.PutRestrictions([]byte("{}"), 1))
		must(t, s.AppendHistory(Event{Kind: "update"}))
		must(t, s.UpdateSettings(func(v *Settings) error { v.CloudMode = true; return nil }))
		must(t, putOverrides(1)(s))
		must(t, putCache(1)(s))
		for _, path := range []string{s.indexDir(), s.DownloadsDir(), s.ksnDir()} {
			must(t, os.RemoveAll(path))
		}
		must(t, s.MakeFolders())
		must(t, putNetwork("x")(s))
		must(t, s.PutIndex("k", func(yield func([]byte) bool) { yield([]byte("x")) }))
		want := map[string]fs.FileMode{
			".": 0o755, "db": 0o755, "db/layers": 0o755, "db/index": 0o755, "trust": 0o700, "downloads": 0o700, "ksn": 0o755,
			"db/CURRENT": 0o644, "db/restrictions.json": 0o644, "db/index/k.idx": 0o644,
			"db/layers/" + r.light.Header().Digest().String() + ".db": 0o644,
			"db/layers/" + r.rest.Header().Digest().String() + ".db":  0o644,
			"settings.json": 0o600, "settings.lock": 0o600, "state.db": 0o600, "update.lock": 0o600,
			"overrides.json": 0o600, "cache.db": 0o600, "ksn/private.json": 0o644,
		}
		must(t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
			must(t, err)
			name, _ := filepath.Rel(s.dir, path)
			i, err := d.Info()
			must(t, err)
			if i.Mode().Perm() != want[name] {
				t.Errorf("umask %03o: %s has mode %04o, want %04o", mask, name, i.Mode().Perm(), want[name])
			}
			delete(want, name)
			return nil
		}))
		for name := range want {
			t.Errorf("umask %03o: %s is missing", mask, name)
		}
	}
}

// A provider file does not get behind a link in the place of its folder, nor does one come from there.
func TestNetworkBehindALink(t *testing.T) {
	s := newStore(t)
	must(t, putNetwork("theirs")(s))
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.Rename(s.ksnDir(), victim))
	must(t, os.Symlink(victim, s.ksnDir()))
	_, ok, err := s.Network("private")
	for _, err := range []error{err, putNetwork("ours")(s), s.RemoveNetwork("private")} {
		requireError(t, err, ErrStorage, "is not a folder")
	}
	if b, err := os.ReadFile(filepath.Join(victim, "private.json")); ok || err != nil || string(b) != "theirs" {
		t.Errorf("theirs is %q, %v, %v", b, ok, err)
	}
}

// An index, which is written without a lock, does not get behind a link in the place of its folder, nor does one come from there.
func TestIndexBehindALink(t *testing.T) {
	piece := func(yield func([]byte) bool) { yield([]byte("x")) }
	for what, path := range map[string]func(*Store) string{"index": (*Store).indexDir, "db": (*Store).dbDir} {
		t.Run(what, func(t *testing.T) {
			s := newStore(t)
			must(t, s.PutIndex("theirs", piece))
			victim := filepath.Join(t.TempDir(), "victim")
			must(t, os.Rename(path(s), victim))
			must(t, os.Symlink(victim, path(s)))
			if err := s.PutIndex("k", piece); !errors.Is(err, ErrStorage) || !strings.Contains(err.Error(), path(s)) {
				t.Errorf("put: %v", err)
			}
			if f, err := s.OpenIndex("theirs"); !errors.Is(err, ErrNoIndex) {
				t.Errorf("open: %v, %v", f, err)
			}
			must(t, filepath.WalkDir(victim, func(path string, d fs.DirEntry, err error) error {
				if !d.IsDir() && d.Name() != "theirs.idx" {
					t.Errorf("%s was written", path)
				}
				return err
			}))
		})
	}
}

func TestOpenFoldersAreClosed(t *testing.T) {
	s := newStore(t)
	must(t, os.Chmod(s.TrustDir(), 0o777))
	must(t, os.Chmod(s.dir, 0o700)) // the owner's own choice
	_, err := Create(s.dir, Options{})
	must(t, err)
	for path, want := range map[string]fs.FileMode{s.TrustDir(): 0o700, s.dir: 0o700} {
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, i.Mode(), want)
		}
	}
}

// TestPathsThatAreNotOurs puts what a local attacker may at each path that is written: nothing outside
// changes, nothing hangs, and each call works or says what is wrong.
func TestPathsThatAreNotOurs(t *testing.T) {
	plant := map[string]func(path, victim string) error{
		"symlink":          func(path, victim string) error { return os.Symlink(victim, path) },
		"dangling symlink": func(path, victim string) error { return os.Symlink(victim+".none", path) },
		"hard link":        func(path, victim string) error { return os.Link(victim, path) },
		"fifo":             func(path, _ string) error { return syscall.Mkfifo(path, 0o666) },
		"folder":           func(path, _ string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o755) },
		"device": func(path, _ string) error {
			return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|3) // as /dev/null
		},
		"read-only file": func(path, _ string) error { return os.WriteFile(path, []byte("theirs"), 0o400) },
	}
	r := newRelease(t, 1, 50, 1)
	paths := map[string]func(s *Store) string{
		"CURRENT":             (*Store).currentPath,
		"layer":               func(s *Store) string { return s.layerPath(r.light.Header().Digest()) },
		"index":               func(s *Store) string { return s.indexPath("k") },
		"restrictions.json":   (*Store).restrictionsPath,
		"settings.json":       (*Store).settingsPath,
		"settings.lock":       (*Store).settingsLock,
		"state.db":            (*Store).statePath,
		"update.lock":         (*Store).lockPath,
		"layers":              (*Store).layersDir,
		"trust":               (*Store).TrustDir,
		"ksn":                 (*Store).ksnDir,
		"private.json":        func(s *Store) string { return filepath.Join(s.ksnDir(), "private.json") },
		"global.refused.json": func(s *Store) string { return filepath.Join(s.ksnDir(), NetworkRefused+".json") },
		"overrides.json":      (*Store).overridesPath,
		"cache.db":            (*Store).cachePath,
	}
	for what, put := range plant {
		for where, path := range paths {
			t.Run(what+" at "+where, func(t *testing.T) {
				dir := memoryDir(t)
				victim := filepath.Join(dir, "victim")
				must(t, os.WriteFile(victim, []byte("precious"), 0o600))
				s, err := Create(filepath.Join(dir, "state"), Options{})
				must(t, err)
				must(t, os.RemoveAll(path(s)))
				if err := put(path(s), victim); err != nil {
					t.Skip(err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					everything(s, r)
				}()
				select {
				case <-done:
				case <-time.After(time.Minute):
					t.Fatal("it hangs")
				}
				if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
					t.Errorf("the victim now says %q, %v", b, err)
				}
				if i, err := os.Stat(victim); err != nil || i.Mode().Perm() != 0o600 {
					t.Errorf("the victim's mode is %v", i.Mode())
				}
				if _, err := os.Lstat(victim + ".none"); err == nil {
					t.Error("the target of a dangling link was made")
				}
			})
		}
	}
}

// everything calls what writes. Errors are fine: victims are what counts.
func everything(s *Store, r *release) {
	if lock, err := s.Lock(); err == nil {
		defer lock.Unlock()
	}
	_ = install(s, r, dbformat.VariantFull)
	_, _ = s.Current()
	_ = s.PutIndex("k", func(yield func([]byte) bool) { yield([]byte("x")) })
	_, _ = s.OpenIndex("k")
	_ = s.PutRestrictions([]byte("{}"), 1)
	_ = s.UpdateSettings(func(v *Settings) error { v.CloudMode = true; return nil })
	_ = s.AppendHistory(Event{Kind: "update"})
	_, _ = s.History(0)
	_, _ = s.Verify(true, nil)
	_ = putNetwork("x")(s)
	_, _, _ = s.Network("private")
	_ = s.PutNetwork(NetworkRefused, []byte("x"))
	_, _, _ = s.Network(NetworkRefused)
	_ = putOverrides(1)(s)
	_, _ = s.Overrides()
	_ = remember("x")(s)
	_ = deferTwo(s)
	_ = spool("x")(s)
	_ = s.ReadCache(func(CacheEntry) bool { return true })
	_ = putCache(1)(s)
	_ = s.Clean()
	_ = s.ClearSpool()
	_ = s.RemoveNetwork("private")
	_ = s.RemoveNetwork(NetworkRefused)
	_ = s.ClearCache()
	_, _ = Create(s.dir, Options{})
}

// TestThingsInThePlaceOfTheCache: a cache that is no file of ours is empty, and a writer takes what is there away and begins its own.
func TestThingsInThePlaceOfTheCache(t *testing.T) {
	for what, put := range map[string]func(path, victim string) error{
		"symlink":          func(path, victim string) error { return os.Symlink(victim, path) },
		"dangling symlink": func(path, victim string) error { return os.Symlink(victim+".none", path) },
		"hard link":        func(path, victim string) error { return os.Link(victim, path) },
		"fifo":             func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		"empty folder":     func(path, _ string) error { return os.Mkdir(path, 0o700) },
	} {
		s := newMemoryStore(t)
		list := cached(0, 20, 0)
		must(t, s.WriteCache(list, nil))
		victim := filepath.Join(s.dir, "victim")
		must(t, os.Rename(s.cachePath(), victim)) // a sound cache, and somebody else's
		before, err := os.ReadFile(victim)
		must(t, err)
		must(t, put(s.cachePath(), victim))
		requireCache(t, s)
		must(t, s.WriteCache(list[:3], nil))
		requireCache(t, s, list[:3]...)
		if after, err := os.ReadFile(victim); err != nil || string(after) != string(before) {
			t.Errorf("%s: the victim was changed, %v", what, err)
		}
		if events, err := s.History(0); err != nil || len(events) != 1 || events[0].Kind != "cache_recreated" {
			t.Errorf("%s: history is %+v, %v", what, events, err)
		}
	}
}

// TestForeignLock: whoever may read a layer file can lock it; scans neither fail nor wait for that.
func TestForeignLock(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 500, 1)
	must(t, install(s, r, dbformat.VariantFull))
	for _, m := range []*dbformat.MemLayer{r.light, r.rest} {
		f, err := os.Open(s.layerPath(m.Header().Digest()))
		must(t, err)
		defer f.Close()
		must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	}
	if d := fastest(10, func() { requireCurrent(t, s, r, dbformat.VariantFull) }); d > time.Second {
		t.Errorf("opening locked files takes %v", d)
	}
	must(t, os.Truncate(s.layerPath(r.rest.Header().Digest()), 4096))
	_, _, _, err := s.OpenCurrent()
	requireError(t, err, ErrDamaged, "")
}

// TestCacheCutWhileItIsRead: a cache that is cut under a reader ends there.
func TestCacheCutWhileItIsRead(t *testing.T) {
	s := newMemoryStore(t)
	var list []CacheEntry
	for i := range 2000 {
		list = append(list, CacheEntry{fmt.Sprintf("%04d", i), make([]byte, 2000), day(101)})
	}
	must(t, s.WriteCache(list, nil))
	seen := 0
	must(t, s.ReadCache(func(CacheEntry) bool {
		if seen++; seen == 1 {
			must(t, os.Truncate(s.cachePath(), boltPageSize))
		}
		return true
	}))
	if seen == 0 || seen == len(list) {
		t.Errorf("visited %d of %d", seen, len(list))
	}
	must(t, s.WriteCache(list[:5], nil))
	requireCache(t, s, list[:5]...)
}

func TestLinksAreRefusedByName(t *testing.T) {
	s := newMemoryStore(t)
	must(t, install(s, newRelease(t, 1, 50, 1), dbformat.VariantFull))
	for _, path := range []string{s.currentPath(), s.settingsPath()} {
		must(t, os.Rename(path, path+".real"))
		must(t, os.Symlink(path+".real", path))
	}
	_, err := s.Current()
	if e := requireError(t, err, ErrStorage, "is a symbolic link"); e.Path != s.currentPath() {
		t.Errorf("error is about %s", e.Path)
	}
	_, err = s.Settings()
	requireError(t, err, ErrStorage, "is a symbolic link")
	requireDamagedSettings(t, s, "is a symbolic link")
	must(t, os.Remove(s.currentPath()))
	must(t, syscall.Mkfifo(s.currentPath(), 0o644))
	_, err = s.Current()
	requireError(t, err, ErrStorage, "is not a regular file")
	must(t, os.Remove(s.lockPath()))
	must(t, os.Symlink("elsewhere", s.lockPath()))
	_, err = s.Lock()
	requireError(t, err, ErrStorage, "is not a regular file")
}

// TestForeignUser runs this test binary as another user, who may only read.
func TestForeignUser(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_FOREIGN"); dir != "" {
		foreign(t, dir)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := memoryDir(t)
	must(t, os.Chmod(dir, 0o755))
	s, err := Create(filepath.Join(dir, "state"), Options{})
	must(t, err)
	locked(t, s, func() { must(t, install(s, newRelease(t, 1, 50, 1), dbformat.VariantFull)) })
	must(t, s.PutIndex("k", func(yield func([]byte) bool) { yield([]byte("x")) }))
	for _, f := range []func(*Store) error{remember("secret"), deferTwo, spool("secret"), putCache(1), putOverrides(1), putNetwork("public")} {
		must(t, f(s))
	}
	binary := filepath.Join(dir, "test")
	b, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(binary, b, 0o755))
	cmd := exec.Command(binary, "-test.run", "^TestForeignUser$", "-test.v")
	cmd.Env = append(os.Environ(), "STORE_TEST_FOREIGN="+s.dir)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestForeignUser") {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}

func foreign(t *testing.T, dir string) {
	s, err := Open(dir, Options{})
	must(t, err)
	requireCurrent(t, s, newRelease(t, 1, 50, 1), dbformat.VariantFull)
	if _, err := s.Verify(true, nil); err != nil {
		t.Error(err)
	}
	f, err := s.OpenIndex("k")
	must(t, err)
	f.Close()
	if _, ok, err := s.Restrictions(); ok || err != nil {
		t.Errorf("Restrictions: %v %v", ok, err)
	}
	if _, err := s.Settings(); !errors.Is(err, fs.ErrPermission) || !errors.Is(err, ErrStorage) {
		t.Errorf("Settings: %v, want permission denied", err)
	}
	if _, err := s.Lock(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Lock: %v, want permission denied", err)
	}
	if err := s.PutIndex("j", func(yield func([]byte) bool) { yield([]byte("x")) }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("PutIndex: %v, want permission denied", err)
	}
	if n, err := s.FreeBytes(); err != nil || n <= 0 {
		t.Errorf("FreeBytes: %d %v", n, err)
	}
	if b, ok, err := s.Network("private"); string(b) != "public" || !ok || err != nil {
		t.Errorf("Network: %q %v %v", b, ok, err)
	}
	foreignSecrets(t, s)
}

// foreignSecrets: what the owner's clients keep is nothing to another user, and says so in a way that a caller can pass over.
func foreignSecrets(t *testing.T, s *Store) {
	v := remembered{State: "mine"}
	ok, err := s.ReadKSN(&v)
	if ok || v.State != "" {
		t.Errorf("ReadKSN: %v, %+v", ok, v)
	}
	list, err2 := s.DeferredObjects(0)
	spooled, err3 := s.Spooled(0)
	overrides, err4 := s.Overrides()
	if len(list)+len(spooled)+len(overrides) > 0 {
		t.Errorf("queued %v, spooled %v, overrides %v", list, spooled, overrides)
	}
	for what, err := range map[string]error{
		"ReadKSN": err, "DeferredObjects": err2, "Spooled": err3, "Overrides": err4,
		"ReadCache":       s.ReadCache(func(CacheEntry) bool { t.Error("visited"); return true }),
		"UpdateKSN":       remember("x")(s),
		"Defer":           deferTwo(s),
		"Undefer":         s.Undefer([]Deferred{{Key: objectKey(1), Path: "/a"}}),
		"Spool":           spool("x")(s),
		"Unspool":         s.Unspool([]uint64{1}),
		"ClearSpool":      s.ClearSpool(),
		"WriteCache":      putCache(2)(s),
		"ClearCache":      s.ClearCache(),
		"PutNetwork":      putNetwork("x")(s),
		"RemoveNetwork":   s.RemoveNetwork("private"),
		"UpdateOverrides": putOverrides(2)(s),
	} {
		if !errors.Is(err, ErrStorage) || !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want permission denied", what, err)
		}
	}
}

// TestLinkedFoldersAreRefused: a link in the place of a folder of the layout keeps an update from starting, so that nothing is
// written, or cleaned away, in the folder that it leads to. The state folder itself may be reached through one.
func TestLinkedFoldersAreRefused(t *testing.T) {
	for _, sub := range []string{"db", "db/layers", "db/index", "trust", "downloads", "ksn"} {
		t.Run(sub, func(t *testing.T) {
			s, err := Create(filepath.Join(t.TempDir(), "state"), Options{})
			must(t, err)
			path := filepath.Join(s.dir, sub)
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			must(t, os.Rename(path, elsewhere))
			must(t, os.Symlink(elsewhere, path))
			_, err = s.Lock()
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != ErrStorage || e.Path != path {
				t.Fatalf("Lock = %v, want ErrStorage about %s", err, path)
			}
			must(t, os.Remove(path))
			must(t, os.Rename(elsewhere, path))
			l, err := s.Lock()
			must(t, err)
			must(t, l.Unlock())
		})
	}
	s, err := Create(filepath.Join(t.TempDir(), "state"), Options{})
	must(t, err)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(s.dir, link))
	s, err = Open(link, Options{})
	must(t, err)
	l, err := s.Lock()
	must(t, err)
	must(t, l.Unlock())
}

// TestWhatEveryUserMayWriteIsRefused: who may replace trust, database or settings decides what the device believes.
func TestWhatEveryUserMayWriteIsRefused(t *testing.T) {
	for _, name := range []string{".", "db", "db/layers", "trust", "ksn", "settings.json", "overrides.json"} {
		t.Run(name, func(t *testing.T) {
			s, err := Create(filepath.Join(t.TempDir(), "state"), Options{})
			must(t, err)
			must(t, putOverrides(1)(s))
			path := filepath.Join(s.dir, name)
			i, err := os.Stat(path)
			must(t, err)
			must(t, os.Chmod(path, i.Mode().Perm()|0o002))
			_, err = s.Lock()
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != ErrStorage || e.Path != path || !strings.Contains(e.Remedy, "chmod o-w") {
				t.Fatalf("Lock = %v, want ErrStorage about %s", err, path)
			}
			if _, err := s.Overrides(); (name == "overrides.json") != errors.Is(err, ErrStorage) {
				t.Errorf("Overrides: %v", err)
			}
			must(t, os.Chmod(path, i.Mode().Perm()))
			l, err := s.Lock()
			must(t, err)
			must(t, l.Unlock())
		})
	}
}
