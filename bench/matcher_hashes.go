package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

// misses measures look-ups of hashes that are not there, and the same in bbolt.
func (w *matcherWorld) misses(ctx context.Context, p *page) error {
	sizes := []struct {
		n      int
		demand string
	}{{1_000_000, demandMiss1e6}, {10_000_000, demandMiss1e7}}
	if w.quick {
		sizes[0].n, sizes[1].n = 1_000, 10_000
	}
	t := table{title: "Look-ups of SHA-256 hashes that are not listed", how: "`Matcher.Lookup` of random hashes over the full database, `Matcher.LookupMany` of them, and `Get` of a bbolt bucket with the same keys within one open transaction; processor time of one goroutine.",
		columns: []string{"signatures", "a look-up", "one of many", "of bbolt", "ratio", "ratio of many", "index an entry"}}
	for _, s := range sizes {
		w.note("look-ups among %s hashes", count(float64(s.n)))
		dir := filepath.Join(w.dir, fmt.Sprintf("misses-%d", s.n))
		if err := w.publish(ctx, dir, map[string]string{"a.hsb": w.hashSignatures(s.n)}); err != nil {
			return err
		}
		ours, many, theirs, entry, err := w.compareMisses(dir, s.n)
		if err != nil {
			return err
		}
		w.found[s.demand] = many
		w.least(demandBolt, theirs/many)
		w.found[demandEntry] = max(w.found[demandEntry], entry)
		t.add(count(float64(s.n)), nanos(ours), nanos(many), nanos(theirs), times(theirs/ours), times(theirs/many), perEntry(entry))
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	p.tables = append(p.tables, t)
	return nil
}

func (w *matcherWorld) compareMisses(dir string, n int) (ours, many, theirs, entry float64, err error) {
	s, err := store.Open(filepath.Join(dir, "state"), store.Options{})
	if err != nil {
		return 0, 0, 0, 0, err
	}
	m, err := matcher.Open(s, matcher.Options{})
	if err != nil {
		return 0, 0, 0, 0, err
	}
	defer m.Close()
	taken, err := folderSize(filepath.Join(dir, "state", "db", "index"))
	if err != nil {
		return 0, 0, 0, 0, err
	}
	entry = float64(taken) / float64(n)
	db, err := fillBolt(filepath.Join(dir, "bolt.db"), n)
	if err != nil {
		return 0, 0, 0, 0, err
	}
	defer db.Close()
	const several = 1 << 20 // look-ups a call
	asked := randomBytes(seeded(11), 32*several)
	size := int64(w.lengths[0])
	sizes := slices.Repeat([]int64{size}, several)
	var failed error
	hits := 0
	err = db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("h"))
		costs := measure(w.pace().turns, w.pace().slice, func() {
			for i := 0; i < len(asked); i += 32 {
				r, err := m.Lookup(dbformat.SHA256, asked[i:i+32], size)
				if err != nil {
					failed = err
				}
				if r.Verdict != matcher.Clean {
					hits++
				}
			}
		}, func() {
			if err := m.LookupMany(dbformat.SHA256, asked, sizes, func(int, matcher.Result) bool { hits++; return true }); err != nil {
				failed = err
			}
		}, func() {
			for i := 0; i < len(asked); i += 32 {
				if bucket.Get(asked[i:i+32]) != nil {
					hits++
				}
			}
		})
		ours, many, theirs = costs[0].cpu/several, costs[1].cpu/several, costs[2].cpu/several
		return nil
	})
	if hits > 0 {
		failed = errors.Join(failed, fmt.Errorf("%d random hashes are listed", hits))
	}
	return ours, many, theirs, entry, errors.Join(err, failed)
}

// folderSize is the bytes of the files in dir.
func folderSize(dir string) (size int64, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			return 0, err
		}
		size += fi.Size()
	}
	return size, err
}

// fillBolt makes a database of the hashes of hashSignatures.
func fillBolt(path string, n int) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	r := seeded(7)
	all := make([][32]byte, n)
	for i := range all {
		all[i] = [32]byte(randomBytes(r, 32))
	}
	slices.SortFunc(all, func(x, y [32]byte) int { return bytes.Compare(x[:], y[:]) })
	for len(all) > 0 {
		some := all[:min(len(all), 1<<18)]
		all = all[len(some):]
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("h"))
			if err != nil {
				return err
			}
			b.FillPercent = 0.95
			for i := range some {
				if err := b.Put(some[i][:], []byte{1, 0, 0, 0}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

// childArgument has this program open a database, look at one file, and say what that took.
const childArgument = "first-verdict"

// A firstVerdict is what a process found about itself.
type firstVerdict struct {
	Nanoseconds int64 // from opening the state to the verdict
	Private     int64 // bytes of memory that is no file's, beyond what the runtime had before
	Err         string
}

// child is the process that is measured: args are state and file.
func child(args []string) firstVerdict {
	own := &process{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	runtime.GC()
	debug.FreeOSMemory()
	_, before, err := own.memory()
	if err != nil {
		return firstVerdict{Err: err.Error()}
	}
	began := time.Now()
	s, err := store.Open(args[0], store.Options{})
	if err != nil {
		return firstVerdict{Err: err.Error()}
	}
	m, err := matcher.Open(s, matcher.Options{})
	if err != nil {
		return firstVerdict{Err: err.Error()}
	}
	r := m.ScanFile(context.Background(), args[1])
	took := time.Since(began)
	_, after, err := own.memory()
	if err = errors.Join(r.Err, err); err != nil {
		return firstVerdict{Err: err.Error()}
	}
	if r.Verdict != matcher.Clean {
		return firstVerdict{Err: "the file is " + string(r.Verdict)}
	}
	return firstVerdict{Nanoseconds: took.Nanoseconds(), Private: after - before}
}

// first measures how soon a fresh process has its first verdict, and at what price, beside clamscan's.
func (w *matcherWorld) first(ctx context.Context, p *page) error {
	hashes, n := 5_000_000, 100_000
	if w.quick {
		hashes, n = 5_000, 1_000
	}
	w.note("a fresh process opens %s hashes and %s patterns", count(float64(hashes)), count(float64(n)))
	dir := filepath.Join(w.dir, "first")
	if err := w.publish(ctx, dir, map[string]string{"a.hsb": w.hashSignatures(hashes), "b.ndb": bodySignatures(w.kinds()["random"](n))}); err != nil {
		return err
	}
	file := filepath.Join(w.empty, "x")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var took, private []float64
	rounds := 9
	if w.quick {
		rounds = 2
	}
	for range rounds {
		out, err := exec.CommandContext(ctx, self, childArgument, filepath.Join(dir, "state"), file).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", childArgument, err)
		}
		var v firstVerdict
		if err := json.Unmarshal(out, &v); err != nil {
			return fmt.Errorf("%s: %w", childArgument, err)
		}
		if v.Err != "" {
			return fmt.Errorf("%s: %s", childArgument, v.Err)
		}
		took, private = append(took, float64(v.Nanoseconds)), append(private, float64(v.Private))
	}
	w.found[demandFirst], w.found[demandFirstMemory] = median(took), median(private)
	t := table{title: "First verdict of a fresh process", how: fmt.Sprintf("%s random SHA-256 hashes and %s random patterns, all in the page cache. avdb: from `store.Open` to the result of `ScanFile` of a file of one byte, "+
		"and the growth of memory that is no file's; clamscan: its whole run over that file and its peak of memory.", count(float64(hashes)), count(float64(n))), columns: []string{"who", "time", "memory"}}
	t.add("avdb", nanos(w.found[demandFirst]), mebibytes(w.found[demandFirstMemory]))
	if c, err := newClamscan(); err == nil {
		x := c.with(filepath.Join(dir, "src"))
		cmd := exec.CommandContext(ctx, x.args[0], append(x.args[1:], file)...)
		began := time.Now()
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("clamscan: %w", err)
		}
		t.add("clamscan", nanos(float64(time.Since(began))), orDash(peak(cmd.ProcessState), mebibytes))
	}
	p.tables = append(p.tables, t)
	return os.RemoveAll(dir)
}
