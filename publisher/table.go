package publisher

import (
	"encoding/binary"
	"runtime"
	"slices"

	"example.org/avdb/dbformat"
)

// tableChunk is the number of records in a piece of a table.
const tableChunk = 1 << 14

// collect runs the garbage collector after a phase over many records has left large things behind: by itself it would wait until
// the next phase has made as much again, which with ten million records is a gigabyte.
func collect(records uint64) {
	if records >= 1<<20 {
		runtime.GC()
	}
}

// A table collects records in pieces: one slice that grows would leave four times its own size behind for the garbage
// collector on its way to ten million records.
type table struct {
	chunks [][]dbformat.Record
	n      int
}

func (t *table) add(r dbformat.Record) {
	last := len(t.chunks) - 1
	if last < 0 || len(t.chunks[last]) == tableChunk {
		size := tableChunk
		if last < 0 {
			size = 64 // most tables are small; append lets the first piece grow
		}
		t.chunks = append(t.chunks, make([]dbformat.Record, 0, size))
		last++
	}
	t.chunks[last] = append(t.chunks[last], r)
	t.n++
}

// sorted gives all records in the order of key and name, and empties the table. Large tables are spread by the first 16 bits of
// their hashes first, which leaves little to sort.
func (t *table) sorted() []dbformat.Record {
	chunks, n := t.chunks, t.n
	*t = table{}
	compare := func(x, y dbformat.Record) int { return compareRecords(&x, &y) }
	if n <= tableChunk {
		records := slices.Concat(chunks...)
		slices.SortFunc(records, compare)
		return records
	}
	place := func(r *dbformat.Record) int { return int(binary.BigEndian.Uint16(r.Hash[:])) }
	next := make([]int, 1<<16+1)
	for _, c := range chunks {
		for i := range c {
			next[place(&c[i])+1]++
		}
	}
	for i := range 1 << 16 {
		next[i+1] += next[i]
	}
	records := make([]dbformat.Record, n)
	for i, c := range chunks {
		for j := range c {
			p := place(&c[j])
			records[next[p]] = c[j]
			next[p]++
		}
		chunks[i] = nil
	}
	collect(uint64(n))
	// next[p] is now where the records of p end.
	start := 0
	for _, end := range next[:1<<16] {
		slices.SortFunc(records[start:end], compare)
		start = end
	}
	return records
}
