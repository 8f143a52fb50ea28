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
// update need not fetch them again to find the same. It names the content of both sides; a rest that is not there is zero.
type Refusal struct {
	OldLight dbformat.Digest  `json:"old_light"`
	OldRest  dbformat.Digest  `json:"old_rest"`
	NewLight dbformat.Digest  `json:"new_light"`
	NewRest  dbformat.Digest  `json:"new_rest"`
	Changes  dbformat.Changes `json:"changes"`
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
