package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"example.org/avdb/osfile"
)

// state.db is a record of what happened, no truth: nothing that is verified or decided depends on it, and
// a damaged one is put aside and begun again.
const (
	historyBucket = "history" // sequence number, 8 bytes big-endian → sealed Event
	sourcesBucket = "sources" // URL → sealed SourceState
	maxHistory    = 1000
	maxRecord     = 64 << 10
	asideSuffix   = ".damaged"
)

// An Event is a line of the history.
type Event struct {
	Time     time.Time       `json:"time"` // set by AppendHistory if zero
	Kind     string          `json:"kind"` // "update", "rollback", "state_recreated", …
	Result   string          `json:"result,omitempty"`
	From     uint64          `json:"from,omitempty"` // release before
	To       uint64          `json:"to,omitempty"`   // release after
	Variant  string          `json:"variant,omitempty"`
	Source   string          `json:"source,omitempty"`
	Bytes    int64           `json:"bytes,omitempty"`
	Requests int             `json:"requests,omitempty"`
	Seconds  float64         `json:"seconds,omitempty"`
	Error    string          `json:"error,omitempty"`
	Notes    []string        `json:"notes,omitempty"`
	Detail   json.RawMessage `json:"detail,omitempty"`
}

// A SourceState is what is remembered of a source.
type SourceState struct {
	CoolDownUntil time.Time `json:"cool_down_until,omitzero"`
	LastError     string    `json:"last_error,omitempty"`
	LastErrorTime time.Time `json:"last_error_time,omitzero"`
	LastSuccess   time.Time `json:"last_success,omitzero"`
	Failures      int       `json:"failures,omitempty"` // in a row
}

// AppendHistory adds an event, durably; beyond the newest 1000 the oldest go.
func (s *Store) AppendHistory(e Event) error {
	return s.changeState(func(tx *bolt.Tx) error { return s.addEvent(tx, e) })
}

func (s *Store) addEvent(tx *bolt.Tx, e Event) error {
	if e.Time.IsZero() {
		e.Time = s.o.Now()
	}
	e.Time = e.Time.UTC()
	b, err := tx.CreateBucketIfNotExists([]byte(historyBucket))
	if err != nil {
		return err
	}
	v, err := seal(e)
	if err != nil {
		return err
	}
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	if err := b.Put(binary.BigEndian.AppendUint64(nil, n), v); err != nil {
		return err
	}
	// Sequence numbers have no gaps but at the front: what is too old is what stands first.
	c := b.Cursor()
	for k, _ := c.First(); len(k) == 8 && binary.BigEndian.Uint64(k)+maxHistory <= n; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// History gives the newest n events, newest first; all that are kept if n is 0. Without a
// state.db there are none. An event that lost bits has the kind "unreadable".
func (s *Store) History(n int) ([]Event, error) {
	var events []Event
	err := s.viewState(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(historyBucket))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Last(); k != nil && (n <= 0 || len(events) < n) && len(events) < maxHistory; k, v = c.Prev() {
			var e Event
			if !unseal(v, &e) {
				e = Event{Kind: "unreadable"}
			}
			events = append(events, e)
		}
		return nil
	})
	return events, err
}

// SourceStates gives what is remembered of each source, by its URL.
func (s *Store) SourceStates() (map[string]SourceState, error) {
	states := map[string]SourceState{}
	err := s.viewState(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(sourcesBucket))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error { // what cannot be read is as good as forgotten
			var st SourceState
			if unseal(v, &st) {
				states[string(k)] = st
			}
			return nil
		})
	})
	return states, err
}

// UpdateSource changes what is remembered of one source, durably. States of sources that are not in known are
// forgotten, unless known is nil.
func (s *Store) UpdateSource(url string, known []string, change func(*SourceState)) error {
	return s.changeState(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(sourcesBucket))
		if err != nil {
			return err
		}
		if known != nil {
			if err := forget(b, append([]string{url}, known...)); err != nil {
				return err
			}
		}
		var st SourceState
		if !unseal(b.Get([]byte(url)), &st) {
			st = SourceState{}
		}
		change(&st)
		v, err := seal(st)
		if err != nil {
			return err
		}
		return b.Put([]byte(url), v)
	})
}

func forget(b *bolt.Bucket, known []string) error {
	keep := map[string]bool{}
	for _, u := range known {
		keep[u] = true
	}
	var gone [][]byte
	if err := b.ForEach(func(k, _ []byte) error {
		if !keep[string(k)] {
			gone = append(gone, append([]byte(nil), k...))
		}
		return nil
	}); err != nil {
		return err
	}
	for _, k := range gone {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// viewState runs f over state.db; without one f is not called.
func (s *Store) viewState(f func(*bolt.Tx) error) error {
	path := s.statePath()
	if i, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || err == nil && i.Mode().IsRegular() && i.Size() == 0 {
		return nil
	}
	db, err := openState(path, true)
	if err != nil {
		return openFailure(path, err)
	}
	defer closeState(path, db)
	return stateFailure(path, guardBolt(path, func() error { return db.View(f) }))
}

// changeState runs f in one transaction of state.db. A damaged file is put aside once and begun again.
func (s *Store) changeState(f func(*bolt.Tx) error) error {
	err := s.tryChangeState(f)
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	if tornBeginning(s.statePath()) {
		// A crash here leaves no state.db, as one after the rename below does.
		if e := s.files.Remove(s.statePath()); e != nil {
			return err
		}
		return s.tryChangeState(f)
	}
	// A crash here leaves no state.db: the next change begins one.
	if e := s.files.Rename(s.statePath(), s.statePath()+asideSuffix); e != nil {
		return err
	}
	note := Event{Kind: "state_recreated", Error: err.Error()}
	return s.tryChangeState(func(tx *bolt.Tx) error {
		if err := s.addEvent(tx, note); err != nil {
			return err
		}
		if err := f(tx); err != errUnchanged {
			return err
		}
		return nil
	})
}

// errUnchanged ends a transaction of state.db that has put nothing: nothing is written, and it is no failure.
var errUnchanged = errors.New("nothing to change")

// tornBeginning tells whether a damaged state.db is no longer than what bbolt writes before the first transaction: a crash
// tore that write, and nothing was ever kept in the file that would be worth putting aside.
func tornBeginning(path string) bool {
	i, err := os.Lstat(path)
	return err == nil && i.Mode().IsRegular() && i.Size() <= 4*boltPageSize
}

func (s *Store) tryChangeState(f func(*bolt.Tx) error) error {
	path := s.statePath()
	if err := s.makeState(path); err != nil {
		return err
	}
	db, err := openState(path, false)
	if err != nil {
		return openFailure(path, err)
	}
	defer closeState(path, db)
	err = s.files.Transaction(path, func() error {
		return guardBolt(path, func() error { return db.Update(f) })
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return stateFailure(path, err)
}

// makeState makes an empty file, which bbolt fills under its own lock: of two processes that get here at once neither
// takes the other's file away.
func (s *Store) makeState(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// A crash here leaves an empty file, which readers take for none.
	f, err := s.files.Create(path, modeSecret)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = s.files.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return failed(path, "cannot be made", err)
	}
	return nil
}

// seal puts a CRC-32C before a value: bbolt has none, and a changed digit in a time is still a time.
func seal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes, the limit is %d", len(b), maxRecord)
	}
	return append(binary.BigEndian.AppendUint32(nil, castagnoli(b)), b...), nil
}

// unseal tells whether b is what seal made of a value, and reads that into v.
func unseal(b []byte, v any) bool {
	return len(b) > 4 && binary.BigEndian.Uint32(b) == castagnoli(b[4:]) && json.Unmarshal(b[4:], v) == nil
}

// sealUnder puts before bytes a CRC-32C of the key that they stand under and of them: a value under another key is none.
func sealUnder(key, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), sumUnder(key, b)), b...)
}

// unsealUnder gives the bytes that sealUnder was given, as part of sealed.
func unsealUnder(key, sealed []byte) (b []byte, ok bool) {
	if len(sealed) < 4 || binary.BigEndian.Uint32(sealed) != sumUnder(key, sealed[4:]) {
		return nil, false
	}
	return sealed[4:], true
}

// sumUnder covers the key's length: a key that has lost its last byte to its value is another key.
func sumUnder(key, b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(binary.BigEndian.AppendUint32(nil, uint32(len(key))), table)
	return crc32.Update(crc32.Update(sum, table, key), table, b)
}

// openState opens state.db, and waits for others that have it open.
func openState(path string, readOnly bool) (*bolt.DB, error) {
	return openInPlace(path, bolt.Options{ReadOnly: readOnly, Timeout: boltTimeout})
}

// openInPlace opens a bbolt file that is written in place and checks its pages under bbolt's lock. One that is longer than o.MaxSize,
// unless that is 0, is damaged.
func openInPlace(path string, o bolt.Options) (db *bolt.DB, err error) {
	var f *os.File
	flag := os.O_RDWR
	if o.ReadOnly {
		flag = os.O_RDONLY
	}
	o.PageSize = boltPageSize // of a new file
	o.FreelistType = bolt.FreelistMapType
	o.NoStatistics = true
	o.OpenFile = func(path string, _ int, _ fs.FileMode) (*os.File, error) {
		var err error
		if f, err = openRegular(path, flag); err != nil {
			return nil, err
		}
		// A file that is written in place could be anybody's under a second name.
		i, err := f.Stat()
		switch {
		case err == nil && osfile.HardLinked(i):
			err = notRegular(path, "has a second name")
		case err == nil && o.MaxSize > 0 && i.Size() > int64(o.MaxSize):
			err = damaged(path, "has %d bytes, the limit is %d", i.Size(), o.MaxSize)
		case err == nil && !o.ReadOnly && freeListLies(f, i.Size()):
			// Or another process is writing. A reader looks under the lock, and reads no free list.
			err = lookInPlace(path, o)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	err = guardBolt(path, func() (err error) {
		if db, err = bolt.Open(path, modeSecret, &o); err != nil {
			return err
		}
		i, err := f.Stat()
		if err == nil {
			err = checkPages(f, i.Size(), false)
		}
		return err
	})
	if err == nil {
		return db, nil
	}
	if db != nil {
		closeState(path, db)
	}
	if f != nil {
		f.Close() // closed already unless bbolt panicked; this frees its lock
	}
	return nil, err
}

// lookInPlace checks the pages as a reader does.
func lookInPlace(path string, o bolt.Options) error {
	o.ReadOnly = true
	db, err := openInPlace(path, o)
	if err == nil {
		closeState(path, db)
	}
	return err
}

func closeState(path string, db *bolt.DB) { _ = guardBolt(path, db.Close) }

// stateFailure keeps errors of ours, and calls those of bbolt what they are.
func stateFailure(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrIncompatibleValue): // a bucket stands where a value should, or the other way round
		return openFailure(path, err)
	}
	return failed(path, "cannot be written", err)
}
