package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.org/avdb/ksn/protocol"
)

// NetworkRefused is the kind under which the provider file of the global network is kept that the repository names and that the engine could not use. The
// file that is in use stays beside it.
const NetworkRefused = "global.refused"

// PutNetwork keeps the provider file of a kind of network (protocol.Global, protocol.Private or [NetworkRefused]), durably, in place of the one before; at most
// protocol.MaxProvider bytes. What it says is not looked at: whoever reads it verifies it. Of several writers the last wins; each waits for at
// most two seconds.
func (s *Store) PutNetwork(kind string, b []byte) error {
	path, err := s.networkPath(kind)
	if err != nil {
		return err
	}
	if len(b) == 0 || len(b) > protocol.MaxProvider {
		return fmt.Errorf("store: a provider file of %d bytes, want 1 to %d", len(b), protocol.MaxProvider)
	}
	lock, err := waitLock(s.settingsLock(), settingsPatient)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	// State folders that older engines made have no folder for networks. A crash here leaves an empty one.
	if err := s.folder(s.ksnDir(), modeFolder); err != nil {
		return err
	}
	if err := s.files.SyncDir(s.dir); err != nil {
		return failed(s.dir, "cannot be synced", err)
	}
	return s.replace(path, b, modeFile)
}

// Network gives the provider file that [Store.PutNetwork] kept, to be verified by the caller; ok is false if there is none. An error that matches
// [ErrDamaged] means that something else is in its place.
func (s *Store) Network(kind string) (b []byte, ok bool, err error) {
	path, err := s.networkPath(kind)
	if err != nil {
		return nil, false, err
	}
	if i, err := os.Lstat(s.ksnDir()); err == nil && !i.IsDir() {
		return nil, false, networkDamaged(s.ksnDir(), "is not a folder")
	}
	b, err = readFile(path, protocol.MaxProvider)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if e, is := errors.AsType[*Error](err); is {
		return nil, false, networkDamaged(path, e.What)
	}
	if err != nil {
		return nil, false, failed(path, "cannot be read", err)
	}
	return b, true, nil
}

// RemoveNetwork removes the provider file of a kind of network, durably. If there is none, that is fine.
func (s *Store) RemoveNetwork(kind string) error {
	path, err := s.networkPath(kind)
	if err != nil {
		return err
	}
	lock, err := waitLock(s.settingsLock(), settingsPatient)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	i, err := os.Lstat(s.ksnDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !i.IsDir() {
		return networkDamaged(s.ksnDir(), "is not a folder")
	}
	if err := s.files.Remove(path); err != nil {
		return failed(path, "cannot be removed", err)
	}
	// Also where nothing was to be removed: a run that died may not have come to this, and a power cut would bring the file back.
	if err := s.files.SyncDir(s.ksnDir()); err != nil {
		return failed(s.ksnDir(), "cannot be synced", err)
	}
	return nil
}

func (s *Store) networkPath(kind string) (string, error) {
	if kind != protocol.Global && kind != protocol.Private && kind != NetworkRefused {
		return "", fmt.Errorf("store: network %.40q, want %s, %s or %s", kind, protocol.Global, protocol.Private, NetworkRefused)
	}
	return s.NetworkFile(kind), nil
}

// NetworkFile is where the provider file of a kind of network is kept, for messages.
func (s *Store) NetworkFile(kind string) string { return filepath.Join(s.ksnDir(), kind+".json") }

func networkDamaged(path, what string) error {
	return &Error{Kind: ErrStorage, Damaged: true, Path: path, What: what, Remedy: "move it away and install the network again"}
}
