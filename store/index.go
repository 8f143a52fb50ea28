package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
)

// MaxPiece is the greatest length of a piece of an index, in bytes. A piece lies in one go in the mapped file.
const MaxPiece = 1 << 30

// PieceCut is how many bytes of a piece have a checksum of their own: so much is read to check any byte of it.
const PieceCut = 64 << 10

const (
	piecesBucket = "pieces"
	tableKey     = "table"
	indexFormat  = "avdb index 2"
	maxPieces    = 1 << 20
)

var indexKey = regexp.MustCompile(`^[0-9a-z.-]{1,200}$`)

// ErrNoIndex: there is no index under the key, or it is damaged: build it again.
var ErrNoIndex = errors.New("no index")

func (s *Store) indexPath(key string) string { return filepath.Join(s.indexDir(), key+".idx") }

// indexFolder refuses a link, or what else is no folder, in the place of a folder on the way to the indexes: no lock is taken
// before them, which would do it, and below a link lie files that are not ours.
func (s *Store) indexFolder() error {
	for _, dir := range []string{s.dbDir(), s.indexDir()} {
		i, err := os.Lstat(dir)
		if err != nil {
			return failed(dir, "cannot be looked at", err)
		}
		if !i.IsDir() {
			return &Error{Kind: ErrStorage, Path: dir, What: "is not a folder", Remedy: remedyFolder}
		}
	}
	return nil
}

// PutIndex stores an index that was derived from layers, in place of one under the same key. The key is made of
// parts joined by "-", among them the digest (64 hex digits) of each layer that the index was made from: Clean
// removes it with the first of these. Pieces have 1 to MaxPiece bytes and are not kept. No lock is needed: the
// last of several writers wins, with equal content. Failing is no drama: an index can be built in memory.
func (s *Store) PutIndex(key string, pieces iter.Seq[[]byte]) (err error) {
	if !indexKey.MatchString(key) {
		return fmt.Errorf("store: %.200q cannot name an index", key)
	}
	if err := s.indexFolder(); err != nil {
		return err
	}
	path := s.indexPath(key)
	temp, err := s.tempPath(path)
	if err != nil {
		return err
	}
	// A crash from here to the rename leaves a temporary file, which Clean removes when nobody has it locked.
	b, err := s.files.CreateBolt(temp, modeFile)
	if err != nil {
		return failed(temp, "cannot be made", err)
	}
	defer func() {
		b.Close()
		if err != nil {
			s.files.Remove(temp)
		}
	}()
	if err := writeIndex(b, pieces); err != nil {
		return failed(temp, "cannot be written", err)
	}
	if err := b.Close(); err != nil { // Windows renames closed files only
		return failed(temp, "cannot be written", err)
	}
	// The folder is not synced: an index that a power cut takes back is built again.
	if err := s.files.Rename(temp, path); err != nil {
		return failed(path, "cannot be put in place", err)
	}
	return nil
}

func writeIndex(b newBolt, pieces iter.Seq[[]byte]) error {
	out := batch{b: b}
	var table []byte
	var padded []byte
	n, at := 0, 0
	put := func(p []byte) error {
		padded = append(padded[:0], p...)
		for len(padded)%lineSize != lineSize-pieceKeySize {
			padded = append(padded, 0)
		}
		return out.put(piecesBucket, pieceKey(at), padded)
	}
	for p := range pieces {
		if len(p) == 0 || len(p) > MaxPiece || n == maxPieces {
			return fmt.Errorf("piece %d has %d bytes, want 1 to %d", n, len(p), MaxPiece)
		}
		at = n
		if err := put(p); err != nil {
			return err
		}
		table = binary.BigEndian.AppendUint32(table, uint32(len(p)))
		for cut := range slices.Chunk(p, PieceCut) {
			table = binary.BigEndian.AppendUint32(table, castagnoli(cut))
		}
		n++
	}
	for at = n; at < n+4+n%2; at++ {
		if err := put(nil); err != nil {
			return err
		}
	}
	table = binary.BigEndian.AppendUint32(table, castagnoli(table))
	if err := out.put(metaBucket, []byte(formatKey), []byte(indexFormat)); err != nil {
		return err
	}
	if err := out.put(metaBucket, []byte(tableKey), table); err != nil {
		return err
	}
	if err := out.flush(); err != nil {
		return err
	}
	return b.Finish()
}

// A matcher reads lines of lineSize bytes, and one that does not lie on such a boundary costs it two cache lines.
// bbolt puts two large values on a page: header and elements take 48 bytes, then come key, value, key, value. With keys of 16
// bytes and values padded to 48 more than a multiple of 64 each value begins on a boundary. The last page of a bucket may
// hold up to four: four or five empty values after the pieces take that place. Where a value lies
// elsewhere after all nothing is wrong but the speed.
const (
	lineSize     = 64
	pieceKeySize = 16
)

func pieceKey(i int) []byte {
	k := make([]byte, pieceKeySize)
	binary.BigEndian.PutUint32(k, uint32(i))
	return k
}

// An IndexFile is an index on disk, mapped into memory. It is held and let go like a [LayerFile], and safe for
// concurrent use.
type IndexFile struct {
	path   string
	file   *finishedFile
	table  []byte // of the file, proved: lengths and sums
	pieces []indexPiece
	proved []atomic.Uint32 // a bit for each cut of each piece
	holds  atomic.Int64
}

// An indexPiece is what the table says of a piece, and its bytes as soon as they were found.
type indexPiece struct {
	length int
	sums   int // offset in the table of the first one
	cut    int // number of the first one among the cuts of all pieces
	bytes  atomic.Pointer[[]byte]
}

// cuts is how many checksums a piece of n bytes has.
func cuts(n int) int { return (n + PieceCut - 1) / PieceCut }

// OpenIndex opens the index under key. Whatever is wrong with it, the error matches [ErrNoIndex]: build it again.
func (s *Store) OpenIndex(key string) (*IndexFile, error) {
	if !indexKey.MatchString(key) {
		return nil, fmt.Errorf("store: %.200q cannot name an index", key)
	}
	path := s.indexPath(key)
	noIndex := func(err error) error {
		return &Error{Kind: ErrNoIndex, Path: path, What: "cannot be used", Err: err, Remedy: "build it again"}
	}
	if err := s.indexFolder(); err != nil {
		return nil, noIndex(err)
	}
	file, err := openFile(path)
	if err != nil {
		return nil, noIndex(err)
	}
	f := &IndexFile{path: path, file: file}
	f.holds.Store(1)
	if err := Guard(path, f.load); err != nil {
		f.Release()
		return nil, noIndex(err)
	}
	return f, nil
}

// load reads the table. Pieces are found when they are touched.
func (f *IndexFile) load() error {
	v, err := f.file.get(metaBucket, []byte(formatKey))
	if err != nil {
		return err
	}
	if string(v) != indexFormat {
		return errors.New("the format is unknown")
	}
	if v, err = f.file.get(metaBucket, []byte(tableKey)); err != nil {
		return err
	}
	last := len(v) - 4
	if last < 0 || last%4 != 0 {
		return fmt.Errorf("the table has %d bytes", len(v))
	}
	if binary.BigEndian.Uint32(v[last:]) != castagnoli(v[:last]) {
		return errors.New("the table is damaged")
	}
	f.table = v[:last]
	all := 0
	for at := 0; at < last; {
		n, sums := int(binary.BigEndian.Uint32(v[at:])), at+4
		if n == 0 || n > MaxPiece || cuts(n) > (last-sums)/4 || len(f.pieces) == maxPieces {
			return fmt.Errorf("piece %d cannot have %d bytes", len(f.pieces), n)
		}
		f.pieces = append(f.pieces, indexPiece{length: n, sums: sums, cut: all})
		all += cuts(n)
		at = sums + 4*cuts(n)
	}
	f.proved = make([]atomic.Uint32, (all+31)/32)
	return nil
}

// Path is the file's name, for [Guard] and for messages.
func (f *IndexFile) Path() string { return f.path }

// Pieces is their number.
func (f *IndexFile) Pieces() int { return len(f.pieces) }

// Piece returns piece i: bytes of the mapped file, valid while f is held, not to be changed. Its checksums are looked at
// the first time in this process; an error matches [ErrNoIndex]. Code that reads the bytes belongs inside [Guard].
func (f *IndexFile) Piece(i int) ([]byte, error) {
	p, err := f.Unproved(i)
	if err == nil {
		err = f.Prove(i, 0, len(p))
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Unproved is Piece without a look at the checksums, for large pieces that are read here and there: no byte of it may be believed before
// [IndexFile.Prove] has.
func (f *IndexFile) Unproved(i int) ([]byte, error) {
	if i < 0 || i >= len(f.pieces) {
		return nil, fmt.Errorf("%s: there is no piece %d", f.path, i)
	}
	if p := f.pieces[i].bytes.Load(); p != nil {
		return *p, nil
	}
	v, err := f.file.get(piecesBucket, pieceKey(i))
	n := f.pieces[i].length
	if err == nil && len(v) < n {
		err = damaged(f.path, "piece %d is absent", i)
	}
	if err != nil {
		return nil, f.unusable(i, err)
	}
	v = v[:n:n]
	f.pieces[i].bytes.CompareAndSwap(nil, &v)
	return v, nil
}

// Prove checks the bytes from one offset in piece i up to another, and those around them that share a checksum with them. What was checked before in this process
// costs little more than nothing. The error matches [ErrNoIndex].
func (f *IndexFile) Prove(i, from, to int) error {
	p, err := f.Unproved(i)
	if err != nil {
		return err
	}
	if from < 0 || to > len(p) || from > to {
		return f.unusable(i, fmt.Errorf("it has %d bytes, not those from %d to %d", len(p), from, to))
	}
	for at := from / PieceCut; at < cuts(to); at++ {
		cut := f.pieces[i].cut + at
		if f.proved[cut/32].Load()&(1<<(cut%32)) != 0 {
			continue
		}
		if err := f.proveCut(i, at, p); err != nil {
			return err
		}
		f.proved[cut/32].Or(1 << (cut % 32))
	}
	return nil
}

// proveCut compares a cut of piece i with its sum.
func (f *IndexFile) proveCut(i, at int, p []byte) error {
	err := Guard(f.path, func() error {
		want := binary.BigEndian.Uint32(f.table[f.pieces[i].sums+4*at:])
		if castagnoli(p[at*PieceCut:min(len(p), (at+1)*PieceCut)]) != want {
			return damaged(f.path, "piece %d is damaged", i)
		}
		return nil
	})
	if err != nil {
		return f.unusable(i, err)
	}
	return nil
}

func (f *IndexFile) unusable(i int, err error) error {
	return &Error{Kind: ErrNoIndex, Damaged: true, Path: f.path, What: fmt.Sprintf("piece %d cannot be used", i), Err: err, Remedy: "build it again"}
}

// Recheck reads piece i, of those that there are, and looks at its checksums, whether or not that was done before: for who has met something in it that
// cannot be. An error matches [ErrNoIndex].
func (f *IndexFile) Recheck(i int) error {
	p, err := f.Unproved(i)
	for at := range cuts(len(p)) {
		if err == nil {
			err = f.proveCut(i, at, p)
		}
	}
	return err
}

// Retain adds a holder and tells whether there still was one.
func (f *IndexFile) Retain() bool { return retain(&f.holds) }

// Release lets go; the last holder closes the file.
func (f *IndexFile) Release() {
	if f.holds.Add(-1) == 0 {
		f.file.close()
	}
}

// Close is Release, for whoever opened the file.
func (f *IndexFile) Close() error {
	f.Release()
	return nil
}
