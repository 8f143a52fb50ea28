package store

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// listDisk keeps what it was told, and fails one kind of call before its effect.
type listDisk struct {
	calls []signing.DiskCall
	fail  string
}

func (d *listDisk) Do(c signing.DiskCall, change func() error) error {
	d.calls = append(d.calls, c)
	if c.Op == d.fail {
		return errFault
	}
	return change()
}

// A disk is told of every kind of change that the store makes, state.db and trust folder included, and what it says counts.
func TestDiskIsAskedForEachChange(t *testing.T) {
	disk := &listDisk{}
	s, err := Create(filepath.Join(memoryDir(t), "state"), Options{Disk: disk})
	must(t, err)
	one, two := newRelease(t, 1, 300, 1), newRelease(t, 2, 301, 2)
	locked(t, s, func() {
		must(t, install(s, one, dbformat.VariantFull))
		must(t, s.Clean())
	})
	must(t, s.PutIndex("x-1", func(yield func([]byte) bool) { yield([]byte("piece")) }))
	must(t, s.AppendHistory(Event{Kind: "update"}))
	for _, op := range []string{"mkdir", "create", "write", "sync", "rename", "syncdir", "commit", "finish", "transaction"} {
		if !slices.ContainsFunc(disk.calls, func(c signing.DiskCall) bool { return c.Op == op }) {
			t.Errorf("the disk was not told of any %s", op)
		}
	}
	for _, c := range disk.calls {
		if c.Path == "" || (c.Op == "rename") != (c.From != "") {
			t.Errorf("call without its paths: %+v", c)
		}
	}
	for _, op := range []string{"create", "commit", "finish", "sync", "rename", "syncdir"} {
		disk.fail = op
		locked(t, s, func() {
			if err := install(s, two, dbformat.VariantFull); !errors.Is(err, ErrStorage) || !errors.Is(err, errFault) {
				t.Errorf("every %s fails: %v", op, err)
			}
		})
		requireCurrent(t, s, one, dbformat.VariantFull)
	}
	disk.fail = "transaction"
	if err := s.AppendHistory(Event{Kind: "update"}); !errors.Is(err, ErrStorage) {
		t.Errorf("every transaction fails: %v", err)
	}
	disk.fail = ""
	locked(t, s, func() { must(t, install(s, two, dbformat.VariantFull)) })
	requireCurrent(t, s, two, dbformat.VariantFull)
}
