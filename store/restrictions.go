package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"unicode/utf8"

	"example.org/avdb/dbformat"
)

type restrictionsFile struct {
	Schema int    `json:"schema"`
	Epoch  uint64 `json:"epoch"`
	Set    string `json:"set"` // the bytes of the set as they were signed
	Sum    string `json:"sum"` // CRC-32C of the file with eight zeros here, in hex
}

func encodeRestrictions(b []byte, epoch uint64) ([]byte, error) {
	f := restrictionsFile{Schema: 1, Epoch: epoch, Set: string(b), Sum: noSum}
	out, err := encodeJSON(f)
	if err != nil {
		return nil, err
	}
	f.Sum = fmt.Sprintf("%08x", castagnoli(out))
	return encodeJSON(f)
}

func parseRestrictions(b []byte) (*restrictionsFile, error) {
	var f restrictionsFile
	if err := dbformat.DecodeJSON(b, &f); err != nil {
		return nil, err
	}
	if f.Schema != 1 {
		return nil, fmt.Errorf("field schema is %d, want 1", f.Schema)
	}
	again, err := encodeRestrictions([]byte(f.Set), f.Epoch)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("field sum does not fit the content")
	}
	return &f, nil
}

// Restrictions gives the restriction set in force, the bytes that were signed; ok is false if none was ever stored. An error
// that matches [ErrDamaged] means that there was one.
func (s *Store) Restrictions() (b []byte, ok bool, err error) {
	f, err := s.restrictions()
	if err != nil || f == nil {
		return nil, false, err
	}
	return []byte(f.Set), true, nil
}

func (s *Store) restrictions() (*restrictionsFile, error) {
	path := s.restrictionsPath()
	b, err := readFile(path, 8*dbformat.MaxRestrictionSet) // JSON spells a byte with six characters at most
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(path, "cannot be read", err)
	}
	f, err := parseRestrictions(b)
	if err != nil {
		e := damaged(path, "is damaged")
		e.Err = err
		return nil, e
	}
	return f, nil
}

// PutRestrictions puts a verified set in force, durably. The highest epoch wins: a lower one than is stored, and another
// set with the same epoch, are refused with an error that matches [ErrHeld]; the same set again changes nothing.
// The caller must hold the update lock.
func (s *Store) PutRestrictions(b []byte, epoch uint64) error {
	if err := s.needLock(); err != nil {
		return err
	}
	path := s.restrictionsPath()
	if len(b) > dbformat.MaxRestrictionSet || !utf8.Valid(b) {
		return fmt.Errorf("store: %d bytes are no restriction set", len(b))
	}
	old, err := s.restrictions()
	if err != nil && !errors.Is(err, ErrDamaged) { // what is damaged is replaced; the floor of epochs is kept in trust, too
		return err
	}
	if old != nil {
		switch {
		case epoch == old.Epoch && string(b) == old.Set:
			return nil
		case epoch <= old.Epoch:
			return &Error{Kind: ErrHeld, Path: path, What: fmt.Sprintf("epoch %d is in force, another set has epoch %d", old.Epoch, epoch),
				Remedy: "publish the set under a higher epoch"}
		}
	}
	out, err := encodeRestrictions(b, epoch)
	if err != nil {
		return &Error{Kind: ErrStorage, Path: path, What: "cannot say this", Err: err}
	}
	return s.replace(path, out, modeFile)
}
