package publisher

import (
	"math/rand/v2"
	"slices"
	"testing"

	"example.org/avdb/dbformat"
)

func TestTablesGiveBackWhatTheyTookInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 63, 65, tableChunk - 1, tableChunk, tableChunk + 1, 3*tableChunk + 5} {
		var table table
		var want []dbformat.Record
		for range n {
			r := dbformat.Record{Size: random.Uint32N(3), Name: []string{"", "A", "B"}[random.IntN(3)]}
			// Few hashes, and the same first bits often.
			r.Hash[0], r.Hash[1], r.Hash[20] = byte(random.UintN(3))*127, byte(random.UintN(256)), byte(random.UintN(64))
			table.add(r)
			want = append(want, r)
		}
		slices.SortFunc(want, func(x, y dbformat.Record) int { return compareRecords(&x, &y) })
		if got := table.sorted(); !slices.Equal(got, want) {
			t.Errorf("%d records come back in another order", n)
		}
		if table.n != 0 || len(table.sorted()) != 0 {
			t.Errorf("%d records: the table is not empty", n)
		}
	}
}
