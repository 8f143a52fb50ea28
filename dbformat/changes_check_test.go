//go:build check

package dbformat_test

import (
	"runtime"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// A million records are compared in memory that does not grow with them.
func TestChangesAreCheap(t *testing.T) {
	const n = 1_000_000
	id := dbformat.ClassHash.Section(dbformat.SHA256)
	c := benchContent(n)
	old := makeRelease(t, c, dbformat.ChooseParams(c, nil))
	c.Sections[id] = c.Sections[id][:n*9/10]
	new := makeRelease(t, c, dbformat.ChooseParams(c, nil))
	for _, rest := range []bool{true, false} {
		oldRest, newRest := dbformat.LayerReader(old.rest), dbformat.LayerReader(new.rest)
		if !rest {
			oldRest, newRest = nil, nil
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		got, err := dbformat.CountChanges(old.light, oldRest, new.light, newRest)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if err != nil || got.Light.Removed != n/10 || rest && got.Rest.Removed != n/10 {
			t.Fatalf("%+v, %v; want %d removed", got, err, n/10)
		}
		allocated := after.TotalAlloc - before.TotalAlloc
		t.Logf("CountChanges of 1,000,000 records, rest %t: %d ms, %d KiB allocated", rest, took.Milliseconds(), allocated>>10)
		if allocated > 4<<20 {
			t.Errorf("took %s and %d bytes", took, allocated)
		}
	}
}
