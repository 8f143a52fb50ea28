package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// MaxPiece is the greatest length of a piece of an index, in bytes. A piece lies in one go in the mapped file and is checked whole when it is first
// touched: what is read here and there belongs into pieces of some 64 KiB, what is needed as a whole into one.
const MaxPiece = 1 << 30

const (
	piecesBucket = "pieces"
	tableKey     = "table"
	indexFormat  = "avdb index 1"
	tableEntry   = 8 // length and CRC-32C of a piece, 4 bytes each, big-endian
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
		table = binary.BigEndian.AppendUint32(table, castagnoli(p))
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
	db     *bolt.DB
	tx     *bolt.Tx
	pieces [][]byte
	sums   []uint32
	proved []atomic.Uint32
	holds  atomic.Int64
}

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
	db, err := openFinished(path)
	if err != nil {
		return nil, noIndex(err)
	}
	f := &IndexFile{path: path, db: db}
	f.holds.Store(1)
	err = guardBolt(path, func() error {
		if f.tx, err = db.Begin(false); err != nil {
			return err
		}
		return f.load()
	})
	if err != nil {
		f.Release()
		return nil, noIndex(err)
	}
	return f, nil
}

func (f *IndexFile) load() error {
	meta := f.tx.Bucket([]byte(metaBucket))
	if meta == nil || string(meta.Get([]byte(formatKey))) != indexFormat {
		return errors.New("the format is unknown")
	}
	table := meta.Get([]byte(tableKey))
	if len(table) < 4 || len(table)%tableEntry != 4 || len(table)/tableEntry > maxPieces {
		return fmt.Errorf("the table has %d bytes", len(table))
	}
	n := len(table) / tableEntry
	if binary.BigEndian.Uint32(table[n*tableEntry:]) != castagnoli(table[:n*tableEntry]) {
		return errors.New("the table is damaged")
	}
	f.proved = make([]atomic.Uint32, (n+31)/32)
	if n == 0 {
		return nil
	}
	pieces := f.tx.Bucket([]byte(piecesBucket))
	if pieces == nil {
		return errors.New("the pieces are absent")
	}
	c := pieces.Cursor()
	k, v := c.First()
	for i := range n {
		entry := table[i*tableEntry:]
		length := int(binary.BigEndian.Uint32(entry))
		if string(k) != string(pieceKey(i)) || length > MaxPiece || len(v) < length {
			return fmt.Errorf("piece %d is absent", i)
		}
		f.pieces = append(f.pieces, v[:length:length])
		f.sums = append(f.sums, binary.BigEndian.Uint32(entry[4:]))
		k, v = c.Next()
	}
	return nil
}

// Path is the file's name, for [Guard] and for messages.
func (f *IndexFile) Path() string { return f.path }

// Pieces is their number.
func (f *IndexFile) Pieces() int { return len(f.pieces) }

// Piece returns piece i: bytes of the mapped file, valid while f is held, not to be changed. Its CRC-32C is
// checked the first time in this process; an error matches [ErrNoIndex]. Code that reads the bytes belongs inside [Guard].
func (f *IndexFile) Piece(i int) ([]byte, error) {
	if i < 0 || i >= len(f.pieces) {
		return nil, fmt.Errorf("%s: there is no piece %d", f.path, i)
	}
	p := f.pieces[i]
	if f.proved[i/32].Load()&(1<<(i%32)) != 0 {
		return p, nil
	}
	if err := f.Recheck(i); err != nil {
		return nil, err
	}
	f.proved[i/32].Or(1 << (i % 32))
	return p, nil
}

// Recheck reads piece i, of those that there are, and checks its CRC-32C, whether or not that was done before: for who has met something in it that
// cannot be. An error matches [ErrNoIndex].
func (f *IndexFile) Recheck(i int) error {
	err := Guard(f.path, func() error {
		if castagnoli(f.pieces[i]) != f.sums[i] {
			return damaged(f.path, "piece %d is damaged", i)
		}
		return nil
	})
	if err != nil {
		return &Error{Kind: ErrNoIndex, Damaged: true, Path: f.path, What: fmt.Sprintf("piece %d cannot be used", i), Err: err, Remedy: "build it again"}
	}
	return nil
}

// Retain adds a holder and tells whether there still was one.
func (f *IndexFile) Retain() bool { return retain(&f.holds) }

// Release lets go; the last holder closes the file.
func (f *IndexFile) Release() {
	if f.holds.Add(-1) == 0 {
		closeBolt(f.path, f.db, f.tx)
	}
}

// Close is Release, for whoever opened the file.
func (f *IndexFile) Close() error {
	f.Release()
	return nil
}
