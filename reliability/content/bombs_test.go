//go:build check

package content

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/publisher"
)

// maxHeap is the bound that is stated: a hostile file never makes an update need more heap than that, whatever it unpacks to. The
// worst that the format's limits leave is a delta whose texts have 64 MiB.
const maxHeap = 160 << 20

// run is one block of a zstd frame: 128 KiB in 4 bytes.
const run = 128 << 10

// zstdFrame is a frame that declares n bytes and holds size, all zero. Large ones have the largest window that a reader takes.
func zstdFrame(n, size uint64) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd}
	if n <= 8<<20 {
		b = append(b, 0xe0)
	} else {
		b = append(b, 0xc0, 13<<3)
	}
	b = binary.LittleEndian.AppendUint64(b, n)
	for first := true; first || size > 0; first = false {
		now, last := min(size, run), uint32(0)
		if size -= now; size == 0 {
			last = 1
		}
		head := uint32(now)<<3 | 1<<1 | last
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return b
}

// column is a column that says that it has n bytes in the frame, with the right CRC-32C.
func column(n uint64, frame []byte, how uint64) []byte {
	b := cat(number(n<<2|how), number(uint64(len(frame)+4)), frame)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// plain is a column of n zero bytes, as they are.
func plain(n int) []byte { return cat(number(uint64(n)<<2), make([]byte, n)) }

// zeroes is an honest column of n zero bytes, compressed.
func zeroes(n uint64) []byte { return column(n, zstdFrame(n, n), 1) }

// A bomb makes the column of a field that may have limit bytes.
type bomb struct {
	name string
	make func(limit, how uint64) []byte
}

func bombs() []bomb {
	const gigabyte, terabyte = 1 << 30, 1 << 40
	return []bomb{
		{"as much as the field may have", func(limit, how uint64) []byte { return column(limit, zstdFrame(limit, limit), how) }},
		{"a terabyte declared", func(limit, how uint64) []byte { return column(terabyte, zstdFrame(terabyte, gigabyte), how) }},
		{"a gigabyte in a frame that declares less", func(limit, how uint64) []byte { return column(limit, zstdFrame(limit, gigabyte), how) }},
		{"a gigabyte in a frame that declares it", func(limit, how uint64) []byte { return column(limit, zstdFrame(gigabyte, gigabyte), how) }},
	}
}

// A field is one compressed field of one kind of file.
type field struct {
	name  string
	word  string // what its column is called in errors
	layer dbformat.Layer
	limit uint64
	how   uint64 // 1, or 2 where the dictionary of the old layer is used
	delta bool
	file  func(c *cell, column []byte) []byte
}

// bundleWith is a light bundle of one section with one block, whose frame has the payload.
func bundleWith(id dbformat.SectionID, rows uint64, size int, payload []byte) []byte {
	b := cat("AVDB", "B", 1, int(dbformat.Light), 1, id, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, rows)
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = append(b, 0)
	for _, n := range []int{0, 1, size, len(payload)} {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return append(b, payload...)
}

// ones are n ranks of n rows: all of them.
func ones(n int) []byte {
	b := bytes.Repeat([]byte{0xff}, (n+7)/8)
	if n%8 != 0 {
		b[len(b)-1] <<= 8 - n%8
	}
	return b
}

func bundleFields() []field {
	const rows = 1000
	var list []field
	for i, name := range []string{"sizes, first byte", "sizes, second byte", "sizes, third byte", "sizes, last byte", "lengths of names", "names"} {
		limit, word := uint64(rows), "sizes"
		switch i {
		case 4:
			word = "lengths of names"
		case 5:
			limit, word = dbformat.MaxBlock, "names"
		}
		list = append(list, field{"bundle: " + name, word, dbformat.Light, limit, 1, false, func(c *cell, col []byte) []byte {
			p := cat(number(rows), make([]byte, 32*rows))
			for range i {
				p = append(p, plain(rows)...)
			}
			return bundleWith(allowSHA256, rows, dbformat.MaxBlock, cat(p, col))
		}})
	}
	for name, id := range map[string]dbformat.SectionID{"ignored names": dbformat.ClassIgnore.Section(0), "self-test": dbformat.ClassSelfTest.Section(0)} {
		list = append(list, field{"bundle: " + name, "block", dbformat.Light, dbformat.MaxBlock, 1, false, func(c *cell, col []byte) []byte {
			return bundleWith(id, 1, dbformat.MaxBlock, col)
		}})
	}
	return list
}

func deltaFields() []field {
	const added, replaced, text = 16, 32, 3
	const rows = 1000
	const many = 2_000_000 // rows that change their names only, which costs a bit each
	ignored := dbformat.ClassIgnore.Section(0)
	var list []field
	light := func(name, word string, limit, how uint64, entry func(col []byte) []byte) {
		list = append(list, field{"light delta: " + name, word, dbformat.Light, limit, how, true, func(c *cell, col []byte) []byte { return c.delta(entry(col)) }})
	}
	light("block of ignored names", "block", dbformat.MaxBlock, 1, func(col []byte) []byte { return cat(ignored, text, col) })
	light("block of ignored names, against the old one", "block", dbformat.MaxBlock, 2, func(col []byte) []byte { return cat(ignored, text, col) })
	whole := func(n int, columns ...[]byte) []byte {
		return cat(allowSHA256, edit|added, number(uint64(n)), make([]byte, 32*n), bytes.Join(columns, nil))
	}
	light("sizes of added records", "sizes", 5*rows, 1, func(col []byte) []byte { return whole(rows, col) })
	light("lengths of added names", "lengths of names", rows, 1, func(col []byte) []byte { return whole(rows, plain(rows), col) })
	light("added names", "names", rows*255, 1, func(col []byte) []byte { return whole(rows, plain(rows), plain(rows), col) })
	light("added names, against the old ones", "names", rows*255, 2, func(col []byte) []byte { return whole(rows, plain(rows), plain(rows), col) })
	renamed := func(n int, columns ...[]byte) []byte {
		return cat(allowSHA256, edit|replaced, number(uint64(n)), number(uint64(n)), ones(n), bytes.Join(columns, nil))
	}
	light("lengths of new names", "lengths of names", many, 1, func(col []byte) []byte { return renamed(many, col) })
	light("new names", "names", 60<<20, 1, func(col []byte) []byte { return renamed(many, zeroes(many), col) })

	rest := func(name, word string, limit uint64, entry func(p int, col []byte) []byte) {
		list = append(list, field{"rest delta: " + name, word, dbformat.Rest, limit, 1, true, func(c *cell, col []byte) []byte {
			_, s, _ := c.light.Section(hashSHA256)
			to := c.record().Stable.Rest.Digest
			return cat("AVDB", "R", 1, c.was.Rest[:8], to[:8], 1, hashSHA256, entry(int(s.P), col))
		}})
	}
	keys := func(p, n int) []byte { return make([]byte, (n*(256-p)+7)/8) }
	rest("sizes of added rows", "sizes", 5*rows, func(p int, col []byte) []byte { return cat(added, p, number(rows), keys(p, rows), col) })
	rest("lengths of added names", "lengths of names", rows, func(p int, col []byte) []byte { return cat(added, p, number(rows), keys(p, rows), plain(rows), col) })
	rest("added names", "names", rows*255, func(p int, col []byte) []byte {
		return cat(added, p, number(rows), keys(p, rows), plain(rows), plain(rows), col)
	})
	changed := func(p, n int, columns ...[]byte) []byte {
		return cat(replaced, p, number(uint64(n)), number(uint64(n)), ones(n), bytes.Join(columns, nil))
	}
	mask := func(n int, m byte) []byte { return cat(number(uint64(n)<<2), bytes.Repeat([]byte{m}, n)) }
	rest("what changes", "what changes", many, func(p int, col []byte) []byte { return changed(p, many, col) })
	rest("new sizes", "sizes", 5*rows, func(p int, col []byte) []byte { return changed(p, rows, mask(rows, 2), col) })
	rest("lengths of new names", "lengths of names", rows, func(p int, col []byte) []byte { return changed(p, rows, mask(rows, 4), plain(0), col) })
	rest("new names", "names", rows*255, func(p int, col []byte) []byte { return changed(p, rows, mask(rows, 4), plain(0), plain(rows), col) })
	return list
}

// peak runs f and gives the most heap that it needed beyond what was there, dead objects included.
func peak(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	before, most := sample[0].Value.Uint64(), uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			metrics.Read(sample)
			if now := sample[0].Value.Uint64(); now > before {
				most = max(most, now-before)
			}
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return most
}

// Each compressed field of each file, filled with what unpacks to far more than it is: refused in bounded memory and time.
func TestBombs(t *testing.T) {
	c := newCell(t, 1)
	var worst uint64
	var worstName string
	var slowest time.Duration
	ratio, cells := 0.0, 0
	for _, f := range append(bundleFields(), deltaFields()...) {
		for i, b := range bombs() {
			reason := f.word + " is not one zstd frame of "
			switch {
			case i == 0: // breaks a limit of the format only where its zeroes mean something impossible
				reason = ""
			case i == 1:
				reason = f.word + " is "
			case i == 2 && f.limit > 64<<10: // a frame longer than what it stands for is none
				reason = f.word + " does not decompress to "
			}
			name := f.name + ", " + b.name
			col := b.make(f.limit, f.how)
			file := f.file(c, col)
			if f.delta {
				c.onlyDelta(f.layer, file)
			} else {
				c.onlyBundle(f.layer, file)
			}
			ratio = max(ratio, float64(1<<30)/float64(len(zstdFrame(1<<30, 1<<30))))
			begin := time.Now()
			need := peak(func() { c.refused(untrusted, reason) })
			slowest = max(slowest, time.Since(begin))
			if need > worst {
				worst, worstName = need, name
			}
			if need > maxHeap {
				t.Errorf("%s: a file of %d bytes made an update need %d MiB", name, len(file), need>>20)
			}
			cells++
			if t.Failed() {
				t.Fatalf("in %s", name)
			}
		}
	}
	honest := peak(func() { c.nextEpoch(); c.heals() })
	t.Logf("D bombs: %d fields x %d bombs of up to %.0f:1 refused, %d of %d; most heap %d MiB of %d (%s), an honest update %d MiB; slowest run %d ms",
		len(bundleFields())+len(deltaFields()), len(bombs()), ratio, cells, cells, worst>>20, maxHeap>>20, worstName, honest>>20, slowest.Milliseconds())
}

// A compressed source is read as a stream: a publisher needs its window and a line, whatever it unpacks to.
func TestBombsAmongSources(t *testing.T) {
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	for range 256 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wide := zstdFrame(1<<30, 1<<30)
	wide[5] = 17 << 3 // a window of 128 MiB, the largest that is read
	for _, b := range []struct {
		name  string
		file  []byte
		bound uint64
	}{
		{"a.hsb.gz", gz.Bytes(), 32 << 20}, {"a.hsb.zst", zstdFrame(1<<30, 1<<30), 64 << 20}, {"wide.hsb.zst", wide, 192 << 20},
	} {
		p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
		p.Publish(map[string]string{"a.hsb": signatures(0, 10)})
		var r *publisher.Report
		var err error
		need := peak(func() { r, err = p.TryPublish(map[string]string{b.name: string(b.file)}) })
		if !errors.Is(err, publisher.ErrSources) || r == nil || r.Version != 1 || r.Published {
			t.Errorf("%s: %+v, %v", b.name, r, err)
		}
		if need > b.bound {
			t.Errorf("%s: it needed %d MiB", b.name, need>>20)
		}
		t.Logf("D bombs: source %s, %d bytes: refused, most heap %d MiB of %d", b.name, len(b.file), need>>20, b.bound>>20)
	}
}

// The measure measures: an update whose device holds as much as a bomb would is over the bound.
func TestPeakSeesAnUnboundedReader(t *testing.T) {
	var kept []byte
	need := peak(func() {
		kept = bytes.Repeat([]byte{1}, maxHeap+1)
		time.Sleep(5 * time.Millisecond)
	})
	if need <= maxHeap {
		t.Errorf("%d bytes were held and %d seen", len(kept), need)
	}
	if frame := zstdFrame(1<<20, 1<<20); !strings.HasPrefix(fmt.Sprintf("%x", frame), "28b52ffd") || len(frame) > 64 {
		t.Errorf("a frame of %d bytes: %x", len(frame), frame)
	}
}
