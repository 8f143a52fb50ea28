package matcher

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"example.org/avdb/archive"
	"example.org/avdb/dbformat"
)

// ErrChanged is matched by the error of a file that did not hold still: what was read of it
// is no state that it ever had, so its verdict would be a guess.
var ErrChanged = errors.New("changed while it was read")

// An algSet is a set of algorithms, a bit for each.
type algSet uint8

func (s algSet) has(a dbformat.Algorithm) bool    { return s>>a&1 != 0 }
func (s algSet) with(a dbformat.Algorithm) algSet { return s | 1<<a }

// anySize stands for a size that is not known.
const anySize = -1

// An object is what the sections are asked about.
type object struct {
	have algSet
	size int64                       // in bytes, or anySize
	sums [dbformat.SHA256 + 1][]byte // by algorithm, of the length that it has
}

// sum is the object's hash; only for algorithms that it has.
func (o *object) sum(a dbformat.Algorithm) []byte { return o.sums[a] }

// sha256 is the hash in hex, "" when the object has none.
func (o *object) sha256() string {
	if !o.have.has(dbformat.SHA256) {
		return ""
	}
	return hex.EncodeToString(o.sum(dbformat.SHA256))
}

// bufferSize is how much is read at once: it stays in a core's cache while all
// hashes pass over it.
const bufferSize = 256 << 10

// A hasher turns content into objects. It is reused from file to file and belongs to one
// goroutine at a time.
type hasher struct {
	buf  []byte
	by   [dbformat.SHA256 + 1]hash.Hash
	sums [dbformat.SHA256 + 1][32]byte // of the object
	part [dbformat.SHA256 + 1][32]byte // of a section of it

	unpack *archive.Unpacker // nil as long as none was needed
	limits archive.Limits    // as it was made with

	// Of the object that is looked at.
	content content
	again   stoppableAt
	bytes   bytes.Reader
	inflow  inflow
	members members
	proof   proof
}

// An inflow is a reader that is read no more once its context has ended: one that gives a byte now and then would else fill a buffer for hours.
type inflow struct {
	ctx context.Context
	r   io.Reader
}

func (f *inflow) Read(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.r.Read(b)
}

// A proof is the member that the verdict of an object may rest on: its SHA-256, which is computed of findings alone.
type proof struct {
	verdict Verdict // "" for no member
	sha256  string
}

func newHasher() *hasher {
	return &hasher{
		buf: make([]byte, bufferSize),
		by: [...]hash.Hash{
			dbformat.MD5:    md5.New(),
			dbformat.SHA1:   sha1.New(),
			dbformat.SHA256: sha256.New(),
		},
	}
}

// start makes the hasher ready for an object.
func (h *hasher) start(algs algSet) {
	for a := dbformat.MD5; a <= dbformat.SHA256; a++ {
		if algs.has(a) {
			h.by[a].Reset()
		}
	}
}

// write takes a piece of content, all algorithms one after the other while it is in cache.
func (h *hasher) write(algs algSet, b []byte) {
	for a := dbformat.MD5; a <= dbformat.SHA256; a++ {
		if algs.has(a) {
			h.by[a].Write(b) // never fails, by its contract
		}
	}
}

// finish writes the sums to room, which o refers to from then on.
func (h *hasher) finish(algs algSet, room *[dbformat.SHA256 + 1][32]byte, o *object) {
	for a := dbformat.MD5; a <= dbformat.SHA256; a++ {
		if algs.has(a) {
			o.sums[a] = h.by[a].Sum(room[a][:0])
			o.have = o.have.with(a)
		}
	}
}

// reader hashes all of r, at most max bytes when max is above 0; more says that there is more.
func (h *hasher) reader(ctx context.Context, r io.Reader, algs algSet, max int64) (o object, more bool, err error) {
	h.start(algs)
	for {
		if err := ctx.Err(); err != nil {
			return object{}, false, err
		}
		n, err := io.ReadFull(r, h.buf)
		o.size += int64(n)
		if max > 0 && o.size > max {
			return o, true, nil
		}
		h.write(algs, h.buf[:n])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			h.finish(algs, &h.sums, &o)
			return o, false, nil
		}
		if err != nil {
			return object{}, false, err
		}
	}
}

// whole hashes a content.
func (h *hasher) whole(ctx context.Context, c *content, algs algSet, o *object) error {
	h.start(algs)
	for off := int64(0); off < c.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := c.block(h.buf, off)
		if err != nil {
			return err
		}
		h.write(algs, b)
		off += int64(len(b))
	}
	h.finish(algs, &h.sums, o)
	o.size = c.size
	return nil
}

// unchanged looks whether f is still what was says, once it has been read by position: it is never mapped, so that a file that shrinks is an
// error and no fault. A writer that is quicker than the file system's clock goes unnoticed,
// as it does for every reader.
func unchanged(f *os.File, was fs.FileInfo) error {
	is, err := f.Stat()
	if err != nil {
		return err
	}
	if is.Size() != was.Size() || !is.ModTime().Equal(was.ModTime()) {
		return fmt.Errorf("%s: %w, scan it again when nothing writes to it", f.Name(), ErrChanged)
	}
	return nil
}
