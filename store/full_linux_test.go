package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// mounted gives a store on a small file system of its own.
func mounted(t *testing.T) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("only a user who may mount can see a full disk: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s, err := Create(filepath.Join(dir, "state"), Options{Now: func() time.Time { return day(100) }})
	must(t, err)
	return s, dir
}

// TestFullDisk installs with 0 to 2 MiB of room in steps of 64 KiB: too little room is an error that says so,
// the old generation stays whole, and with room again the same install works.
func TestFullDisk(t *testing.T) {
	s, dir := mounted(t)
	one, two := newRelease(t, 1, 8000, 1), newRelease(t, 2, 8000, 2)
	locked(t, s, func() { must(t, install(s, one, dbformat.VariantFull)) })
	ballast := filepath.Join(dir, "ballast")
	refused, done := 0, 0
	for room := int64(0); room <= 2<<20; room += 64 << 10 {
		free, err := s.FreeBytes()
		must(t, err)
		must(t, os.WriteFile(ballast, make([]byte, free-room), 0o600))
		locked(t, s, func() {
			old, next := one, two
			if room/(64<<10)%2 == 1 {
				old, next = two, one
			}
			old, next = old.at(uint64(1+room>>16)), next.at(uint64(2+room>>16))
			err := install(s, next, dbformat.VariantFull)
			if err == nil {
				done++
			} else {
				refused++
				if !errors.Is(err, ErrStorage) || errors.Is(err, ErrDamaged) || !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("with %d bytes of room: %v, want ErrStorage with ENOSPC", room, err)
				}
				requireCurrent(t, s, old, dbformat.VariantFull)
			}
			must(t, os.Remove(ballast))
			must(t, install(s, next, dbformat.VariantFull))
			requireCurrent(t, s, next, dbformat.VariantFull)
			// Only the current generation stays, so that each step begins alike.
			must(t, s.makeCurrent(next.generation(dbformat.VariantFull), 0))
			requireNoLeftovers(t, s)
		})
	}
	if refused < 5 || done < 5 {
		t.Errorf("%d installs refused, %d done: the sizes miss the interesting range", refused, done)
	}
	t.Logf("%d installs refused, %d done", refused, done)
}

// TestFullDiskForClients: without room each write of what clients keep says so, nothing is damaged, and with room again it works.
func TestFullDiskForClients(t *testing.T) {
	s, dir := mounted(t)
	for _, f := range []func(*Store) error{remember("old"), putCache(0), putOverrides(1), putNetwork("old")} {
		must(t, f(s))
	}
	before, ballast := kept(t, s), filepath.Join(dir, "ballast")
	var more []CacheEntry
	for i := range 100 {
		more = append(more, CacheEntry{fmt.Sprint(i), make([]byte, 4000), day(101)})
	}
	refused := 0
	for room := range 4 { // each leaves pages that it wrote, so that more room would do in the end
		free, err := s.FreeBytes()
		must(t, err)
		must(t, os.WriteFile(ballast, make([]byte, free-int64(room)*4096), 0o600))
		for what, err := range map[string]error{
			"remember": remember(strings.Repeat("n", maxRecord-100))(s), "cache": s.WriteCache(more, nil),
			"overrides": putOverrides(manyNumbers(300)...)(s), "network": putNetwork(strings.Repeat("n", 100<<10))(s),
		} {
			if !errors.Is(err, ErrStorage) || errors.Is(err, ErrDamaged) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("%s with %d pages of room: %v, want ErrStorage with ENOSPC", what, room, err)
			}
			refused++
		}
		must(t, os.Remove(ballast))
		if got := kept(t, s); got != before {
			t.Fatalf("with %d pages of room what is kept became\n%s", room, got)
		}
	}
	for _, f := range []func(*Store) error{remember("new"), putCache(1), putOverrides(2), putNetwork("new")} {
		must(t, f(s))
	}
	if events, err := s.History(0); err != nil || len(events) > 0 {
		t.Errorf("it was taken for damage: %+v, %v", events, err)
	}
	t.Logf("%d writes refused", refused)
}

func manyNumbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// TestReadOnlyDisk: everything that reads works, everything that writes says why it does not.
func TestReadOnlyDisk(t *testing.T) {
	s, dir := mounted(t)
	one, two := newRelease(t, 1, 100, 1), newRelease(t, 2, 101, 2)
	locked(t, s, func() { must(t, install(s, one, dbformat.VariantFull)) })
	must(t, s.AppendHistory(Event{Kind: "update"}))
	for _, f := range []func(*Store) error{remember("x"), deferTwo, spool("x"), putCache(1), putOverrides(1), putNetwork("x")} {
		must(t, f(s))
	}
	before := kept(t, s)
	must(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	requireCurrent(t, s, one, dbformat.VariantFull)
	if _, err := s.Verify(true, nil); err != nil {
		t.Error(err)
	}
	if events, err := s.History(0); err != nil || len(events) != 1 {
		t.Errorf("history is %v, %v", events, err)
	}
	if _, err := s.Settings(); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"history":  s.AppendHistory(Event{Kind: "update"}),
		"settings": s.UpdateSettings(func(v *Settings) error { v.CloudMode = true; return nil }),
		"index":    s.PutIndex("k", func(yield func([]byte) bool) { yield([]byte("x")) }),
		"remember": remember("y")(s), "undefer": s.Undefer([]Deferred{{Key: objectKey(1), Path: "/a"}}), "spool": spool("y")(s), "clear the spool": s.ClearSpool(),
		"cache": putCache(2)(s), "clear the cache": s.ClearCache(), "overrides": putOverrides(2)(s), "network": putNetwork("y")(s), "remove the network": s.RemoveNetwork("private"),
	} {
		if !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.EROFS) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrStorage with EROFS", what, err)
		}
	}
	if after := kept(t, s); after != before {
		t.Errorf("what clients keep was\n%s\nand reads as\n%s", before, after)
	}
	locked(t, s, func() {
		if err := install(s, two, dbformat.VariantFull); !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.EROFS) {
			t.Errorf("install: %v, want ErrStorage with EROFS", err)
		}
	})
	must(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""))
	locked(t, s, func() { must(t, install(s, two, dbformat.VariantFull)) })
	requireCurrent(t, s, two, dbformat.VariantFull)
}

// TestLockOfKilledProcess: the lock of a process that is killed is free at once.
func TestLockOfKilledProcess(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_LOCK"); dir != "" {
		s, err := Open(dir, Options{})
		must(t, err)
		_, err = s.Lock()
		must(t, err)
		os.Stdout.WriteString("locked\n")
		io.Copy(io.Discard, os.Stdin) // until the parent ends
		return
	}
	s, err := Create(filepath.Join(t.TempDir(), "state"), Options{})
	must(t, err)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestLockOfKilledProcess$")
	cmd.Env = append(os.Environ(), "STORE_TEST_LOCK="+s.dir)
	in, err := cmd.StdinPipe()
	must(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "locked" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	_, err = s.Lock()
	requireError(t, err, ErrLocked, "another update is running")
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	lock, err := s.Lock()
	must(t, err)
	must(t, lock.Unlock())
}
