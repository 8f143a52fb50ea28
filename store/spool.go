package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// MaxSpoolRecord is the greatest length of a spooled record, in bytes.
const MaxSpoolRecord = 16 << 10

const (
	spoolBucket = "spool" // id, 8 bytes big-endian → record under its CRC
	maxSpooled  = 10000   // records
)

// A Spooled is a record that waits to be sent.
type Spooled struct {
	ID     uint64 // grows from record to record
	Record []byte // the caller's
}

// Spool keeps a record of 1 to [MaxSpoolRecord] bytes until [Store.Unspool], durably. The oldest go so that all together have at most
// maxBytes, and that there are at most 10000; dropped is how many went. The record is not kept.
func (s *Store) Spool(record []byte, maxBytes int64) (dropped int, err error) {
	if len(record) == 0 || len(record) > MaxSpoolRecord || int64(len(record)) > maxBytes {
		return 0, fmt.Errorf("store: a record of %d bytes cannot be spooled, the limit is %d", len(record), min(MaxSpoolRecord, max(0, maxBytes)))
	}
	err = s.changeState(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(spoolBucket))
		if err != nil {
			return err
		}
		if dropped, err = makeSpoolRoom(b, len(record), maxBytes); err != nil {
			return err
		}
		if b.Sequence() == 0 {
			// A spool that is begun again, because state.db was damaged, must not use ids that are being sent at this moment.
			if err := b.SetSequence(uint64(max(0, s.o.Now().UnixMilli()))); err != nil {
				return err
			}
		}
		id, err := b.NextSequence()
		if err != nil {
			return err
		}
		k := spoolKey(id)
		return b.Put(k, sealUnder(k, record))
	})
	if err != nil {
		return 0, err
	}
	return dropped, nil
}

// makeSpoolRoom removes the oldest records until one of the given length has room.
func makeSpoolRoom(b *bolt.Bucket, length int, maxBytes int64) (dropped int, err error) {
	count, size := 1, int64(length)
	if err := b.ForEach(func(_, v []byte) error {
		count, size = count+1, size+int64(len(v))
		return nil
	}); err != nil {
		return 0, err
	}
	size -= 4 * int64(count-1) // the sums
	c := b.Cursor()
	for k, v := c.First(); k != nil && (count > maxSpooled || size > maxBytes); k, v = c.First() {
		count, size = count-1, size-int64(len(v))+4
		if err := c.Delete(); err != nil {
			return 0, err
		}
		dropped++
	}
	return dropped, nil
}

// Spooled gives the n oldest records, oldest first; all if n is 0. Those that lost bits are left out. An error matches [ErrStorage], and
// fs.ErrPermission for users who may not read state.db.
func (s *Store) Spooled(n int) ([]Spooled, error) {
	var list []Spooled
	err := s.viewState(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(spoolBucket))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.First(); k != nil && (n <= 0 || len(list) < n) && len(list) < maxSpooled; k, v = c.Next() {
			if record, ok := unsealUnder(k, v); ok && len(k) == 8 {
				list = append(list, Spooled{binary.BigEndian.Uint64(k), bytes.Clone(record)})
			}
		}
		return nil
	})
	return list, err
}

// Unspool removes records that were sent, durably and in one transaction. Ids that are not there are passed over.
func (s *Store) Unspool(ids []uint64) error {
	return s.changeState(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(spoolBucket))
		if b == nil {
			return errUnchanged
		}
		done := errUnchanged
		for _, id := range ids {
			k := spoolKey(id)
			if b.Get(k) == nil {
				continue
			}
			if err := b.Delete(k); err != nil {
				return err
			}
			done = nil
		}
		return done
	})
}

// ClearSpool removes all records, durably. Their ids are not used again. The bytes stay in state.db, unreachable, until others take their place.
func (s *Store) ClearSpool() error {
	return s.changeState(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(spoolBucket))
		if b == nil {
			return errUnchanged
		}
		if k, _ := b.Cursor().First(); k == nil {
			return errUnchanged
		}
		last := b.Sequence()
		if err := tx.DeleteBucket([]byte(spoolBucket)); err != nil {
			return err
		}
		b, err := tx.CreateBucket([]byte(spoolBucket))
		if err != nil {
			return err
		}
		return b.SetSequence(last)
	})
}

func spoolKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }
