package store

import (
	bolt "go.etcd.io/bbolt"

	"example.org/avdb/dbformat"
)

const (
	refusalBucket = "refusal" // one key → sealed Refusal
	refusalKey    = "newest"
)

// A Refusal is what an update found when it had brought the layers of a release here and the guards refused the step to them: with it the next
// update need not fetch them again to find the same. It stays with the release, in whatever variant that is asked for.
type Refusal struct {
	Version uint64           `json:"version"` // of the release, with its digests
	Light   dbformat.Digest  `json:"light"`
	Rest    dbformat.Digest  `json:"rest"`
	Against uint64           `json:"against"` // the release that it was held against
	Changes dbformat.Changes `json:"changes"`

	// The newest full generation that was on disk, zero for none. Activate keeps it beside light ones while the refusal stands, so that a
	// release in the place of the refused one meets the same measure.
	FullLight dbformat.Digest `json:"full_light"`
	FullRest  dbformat.Digest `json:"full_rest"`
}

// Refusal gives what [Store.PutRefusal] kept last; false where nothing is kept or it cannot be read, which costs a download and no more.
func (s *Store) Refusal() (r Refusal, ok bool) {
	err := s.viewState(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte(refusalBucket)); b != nil {
			ok = unseal(b.Get([]byte(refusalKey)), &r)
		}
		return nil
	})
	if err != nil || !ok {
		return Refusal{}, false
	}
	return r, true
}

// PutRefusal keeps the newest refusal, durably, in place of the one before.
func (s *Store) PutRefusal(r Refusal) error {
	return s.changeState(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(refusalBucket))
		if err != nil {
			return err
		}
		v, err := seal(r)
		if err != nil {
			return err
		}
		return b.Put([]byte(refusalKey), v)
	})
}

// ForgetRefusal removes what [Store.PutRefusal] kept, durably.
func (s *Store) ForgetRefusal() error {
	return s.changeState(func(tx *bolt.Tx) error {
		if tx.Bucket([]byte(refusalBucket)) == nil {
			return nil
		}
		return tx.DeleteBucket([]byte(refusalBucket))
	})
}
