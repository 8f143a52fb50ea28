package store

import (
	"bytes"
	"fmt"
	"reflect"

	bolt "go.etcd.io/bbolt"
)

const (
	ksnBucket = "ksn" // these keys → sealed JSON
	clientKey = "remembered"
	proxyKey  = "proxy"
)

// ReadKSN fills v, a pointer, with what [Store.UpdateKSN] wrote last. Where nothing was written, or it cannot be read, ok is false and *v is
// the zero value. An error matches [ErrStorage]: nothing is remembered for whoever asked; for users who may not read state.db it matches
// fs.ErrPermission too.
func (s *Store) ReadKSN(v any) (ok bool, err error) { return s.readKSN(clientKey, v) }

// ReadKSNProxy is [Store.ReadKSN] for the record of a proxy, which [Store.UpdateKSNProxy] writes: a proxy asks for others, and what a client on the same machine
// remembers is none of its business.
func (s *Store) ReadKSNProxy(v any) (ok bool, err error) { return s.readKSN(proxyKey, v) }

func (s *Store) readKSN(key string, v any) (ok bool, err error) {
	if err := wantPointer(v); err != nil {
		return false, err
	}
	var sealed []byte
	err = s.viewState(func(tx *bolt.Tx) error {
		sealed = bytes.Clone(ksnRecord(tx, key))
		return nil
	})
	return recall(sealed, v), err
}

// UpdateKSN fills v, a pointer, as [Store.ReadKSN] does, lets change alter *v, and writes it back, durably, all in one transaction: of several
// processes each sees what the others wrote. What is written is the JSON of *v, at most 64 KiB. An error of change ends it without a
// change and is returned as it is. Nothing is written if change altered nothing. change must not call the store, and may be called
// twice: the second time, if state.db turns out to be damaged, with what is then remembered.
func (s *Store) UpdateKSN(v any, change func(ok bool) error) error {
	return s.updateKSN(clientKey, v, change)
}

// UpdateKSNProxy is [Store.UpdateKSN] for the record of a proxy.
func (s *Store) UpdateKSNProxy(v any, change func(ok bool) error) error {
	return s.updateKSN(proxyKey, v, change)
}

func (s *Store) updateKSN(key string, v any, change func(ok bool) error) error {
	if err := wantPointer(v); err != nil {
		return err
	}
	var own error
	var panicked any
	err := s.changeState(func(tx *bolt.Tx) error {
		before := bytes.Clone(ksnRecord(tx, key))
		var after []byte
		// What the caller's code comes to says nothing of the file: neither its errors nor its panics may be taken for damage.
		func() {
			defer func() { panicked = recover() }()
			if own = change(recall(before, v)); own != nil {
				return
			}
			if after, own = seal(v); own != nil {
				own = fmt.Errorf("store: %T cannot be remembered: %w", v, own)
			}
		}()
		if panicked != nil || own != nil || bytes.Equal(before, after) {
			return errUnchanged
		}
		b, err := tx.CreateBucketIfNotExists([]byte(ksnBucket))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), after)
	})
	switch {
	case panicked != nil:
		panic(panicked)
	case own != nil:
		return own
	}
	return err
}

func ksnRecord(tx *bolt.Tx, key string) []byte {
	if b := tx.Bucket([]byte(ksnBucket)); b != nil {
		return b.Get([]byte(key))
	}
	return nil
}

// recall fills *v with what sealed holds, all of it or nothing.
func recall(sealed []byte, v any) bool {
	to := reflect.ValueOf(v).Elem()
	to.SetZero()
	if unseal(sealed, v) {
		return true
	}
	to.SetZero()
	return false
}

func wantPointer(v any) error {
	if r := reflect.ValueOf(v); r.Kind() != reflect.Pointer || r.IsNil() {
		return fmt.Errorf("store: a record cannot be read into %T", v)
	}
	return nil
}
