package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"unicode/utf8"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
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

// Restrictions gives the restriction set that is stored, the bytes that were signed; ok is false if there is none. An error
// that matches [ErrDamaged] means that there was one. A checksum is all that is looked at: whoever decides by the set what may be asked calls
// [Store.ProvedRestrictions].
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
	if e, ok := errors.AsType[*Error](err); ok && !e.Damaged {
		// A link or a folder is somebody's who put it there. No update takes it away, nor does any go on: what is asked of KSN waits for it.
		e.Remedy = "remove " + path + " by hand, which no update does, and update again"
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

// ProvedRestrictions is [Store.Restrictions] for whoever decides by the set what may be asked: it gives the set only if what the trust folder knows
// proves that it is the one that was verified last, and no set only if it proves that there is to be none. Every other state is damage that the next
// update heals: the error matches [ErrDamaged], and nothing may be asked.
//
// An error that matches fs.ErrPermission and not ErrDamaged means that the trust folder belongs to another user, so that there is nothing to hold the set
// against. No lock is needed; an update that replaces the set meanwhile is followed.
func (s *Store) ProvedRestrictions() (b []byte, ok bool, err error) {
	b, _, err = s.proveRestrictions()
	return b, err == nil && b != nil, err
}

// CheckRestrictions is [Store.ProvedRestrictions] and says what vouches for the set, and its epoch, 0 for none.
func (s *Store) CheckRestrictions() (by signing.ProofBy, epoch uint64, err error) {
	b, by, err := s.proveRestrictions()
	if err != nil || b == nil {
		return by, 0, err
	}
	set, err := dbformat.ParseRestrictionSet(b)
	if err != nil {
		return "", 0, err // a proof has read it
	}
	return by, set.Epoch, nil
}

func (s *Store) proveRestrictions() ([]byte, signing.ProofBy, error) {
	var b []byte
	var by signing.ProofBy
	var err error
	for range 3 {
		// The set before what vouches for it: an update stores metadata before the set that they name. One that was at work between shows in a set that is
		// proved now.
		if b, _, err = s.Restrictions(); err != nil {
			return nil, "", err
		}
		if by, err = s.proofOf(b); err == nil {
			return b, by, nil
		}
		if !errors.Is(err, ErrDamaged) {
			break
		}
	}
	return nil, "", err
}

// proofOf tells what vouches for a stored set, nil for none.
func (s *Store) proofOf(b []byte) (signing.ProofBy, error) {
	var p signing.RestrictionProof
	t, err := s.OpenTrust()
	if err == nil {
		p, err = t.RestrictionProof()
	}
	switch {
	case errors.Is(err, signing.ErrNoTrust): // as if nothing was ever seen
	case errors.Is(err, fs.ErrPermission):
		return "", failed(s.TrustDir(), "cannot be read", err)
	case err != nil:
		return "", s.unproved("cannot be proved", err, "")
	}
	by, why := p.Check(b)
	if by == signing.ProofNone && !p.Known {
		// No update makes a generation without metadata that it verified: somebody took away what told of a set.
		if _, err := s.current(); !errors.Is(err, ErrNoDatabase) {
			by, why = "", "is missing, and nothing tells whether there was one: the floors and the signed metadata are gone"
		}
	}
	if by == "" {
		return "", s.unproved(why, nil, "run an update, which fetches the signed set; nothing is asked until then")
	}
	return by, nil
}

// unproved is about a set that nothing vouches for. An error of the trust folder knows its own remedy.
func (s *Store) unproved(why string, err error, remedy string) error {
	return &Error{Kind: ErrStorage, Damaged: true, Path: s.restrictionsPath(), What: why, Err: err, Remedy: remedy}
}

// PutRestrictions puts a verified set in force, durably. The highest epoch wins: a lower one than is stored, and another
// set with the same epoch, are refused with an error that matches [ErrHeld]; the same set again changes nothing.
// The caller must hold the update lock.
func (s *Store) PutRestrictions(b []byte, epoch uint64) error {
	if err := s.needLock(); err != nil {
		return err
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
			return &Error{Kind: ErrHeld, Path: s.restrictionsPath(), What: fmt.Sprintf("epoch %d is in force, another set has epoch %d", old.Epoch, epoch),
				Remedy: "publish the set under a higher epoch"}
		}
	}
	return s.ReplaceRestrictions(b, epoch)
}

// ReplaceRestrictions puts a verified set in the place of whatever is stored, durably. It is for a caller who has proved that what is stored is not the
// set that was verified last, or that the set with the same number is signed anew; b is not below the floor of epochs. The caller must hold the
// update lock.
func (s *Store) ReplaceRestrictions(b []byte, epoch uint64) error {
	if err := s.needLock(); err != nil {
		return err
	}
	path := s.restrictionsPath()
	if len(b) > dbformat.MaxRestrictionSet || !utf8.Valid(b) {
		return fmt.Errorf("store: %d bytes are no restriction set", len(b))
	}
	out, err := encodeRestrictions(b, epoch)
	if err != nil {
		return &Error{Kind: ErrStorage, Path: path, What: "cannot say this", Err: err}
	}
	return s.replace(path, out, modeFile)
}

// RemoveRestrictions removes a stored set, durably, for a caller who has proved that there is to be none. The caller must hold the update lock.
func (s *Store) RemoveRestrictions() error {
	if err := s.needLock(); err != nil {
		return err
	}
	path := s.restrictionsPath()
	// A crash here leaves a set that nothing vouches for, by which nothing is asked; the next update removes it.
	if err := s.files.Remove(path); err != nil {
		return failed(path, "cannot be removed", err)
	}
	if err := s.files.SyncDir(s.dbDir()); err != nil {
		return failed(s.dbDir(), "cannot be synced", err)
	}
	return nil
}
