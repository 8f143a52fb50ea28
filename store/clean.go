package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

var (
	layerName = regexp.MustCompile(`^([0-9a-f]{64})\.db$`)
	indexName = regexp.MustCompile(`^([0-9a-z.-]+)\.idx$`)
	tempName  = regexp.MustCompile(`\.[0-9a-f]{16}\.tmp$`)
	fullHex   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Clean removes what runs that died have left: temporary files, and layers and indexes that no kept
// generation needs and keep does not name. Only names that the store gives are touched. Files that are in use (on Windows)
// are left for the next time. The caller must hold the update lock. It goes on after a failure and returns the first.
func (s *Store) Clean(keep ...dbformat.Digest) error {
	if err := s.needLock(); err != nil {
		return err
	}
	// CURRENT may have been renamed by a run that died before it synced: until this sync a power cut could bring
	// back one that names what is removed below. So may a layer, in the place of a damaged one that such a cut would bring back.
	if err := s.syncLayers(); err != nil {
		return err
	}
	if err := s.files.SyncDir(s.dbDir()); err != nil {
		return failed(s.dbDir(), "cannot be synced", err)
	}
	return s.removeLeftovers(keep)
}

// removeLeftovers is Clean when CURRENT is known to be durable.
func (s *Store) removeLeftovers(keep []dbformat.Digest) error {
	needed, known, err := s.needed(keep)
	if err != nil {
		return err
	}
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	note(s.sweep(s.dbDir(), isTemp))
	note(s.sweep(s.layersDir(), func(name string) bool {
		m := layerName.FindStringSubmatch(name)
		return isTemp(name) || known && m != nil && !needed[m[1]]
	}))
	note(s.sweep(s.indexDir(), func(name string) bool {
		if isTemp(name) {
			return s.abandoned(filepath.Join(s.indexDir(), name))
		}
		m := indexName.FindStringSubmatch(name)
		return known && m != nil && !indexNeeded(m[1], needed)
	}))
	note(s.cleanSettings())
	return first
}

func isTemp(name string) bool { return tempName.MatchString(name) }

// needed are the digests of all layers that must stay. known is false if CURRENT is damaged: then every layer stays, so
// that the update that heals it need not fetch them again.
func (s *Store) needed(keep []dbformat.Digest) (needed map[string]bool, known bool, err error) {
	needed = map[string]bool{}
	for _, d := range keep {
		needed[d.String()] = true
	}
	c, err := s.current()
	switch {
	case errors.Is(err, ErrNoDatabase):
		return needed, true, nil
	case errors.Is(err, ErrDamaged):
		return needed, false, nil
	case err != nil:
		return nil, false, err
	}
	for _, g := range c.generations() {
		for _, r := range g.refs() {
			needed[r.Digest.String()] = true
		}
	}
	return needed, true, nil
}

// indexNeeded tells whether all layers that the key names are needed.
func indexNeeded(key string, needed map[string]bool) bool {
	for part := range strings.SplitSeq(key, "-") {
		if fullHex.MatchString(part) && !needed[part] {
			return false
		}
	}
	return true
}

// sweep removes the files of a folder that doomed names.
func (s *Store) sweep(dir string, doomed func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed(dir, "cannot be read", err)
	}
	var first error
	for _, e := range entries {
		if e.IsDir() || !doomed(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if err := s.files.Remove(path); err != nil && first == nil && !osfile.InUse(err) {
			first = failed(path, "cannot be removed", err)
		}
	}
	return first
}

// abandoned tells whether nobody writes the temporary index file any more: its writer, who needs no update
// lock, keeps it locked.
func (s *Store) abandoned(path string) bool {
	if i, err := os.Lstat(path); err != nil || !i.Mode().IsRegular() {
		return true // no file of ours
	}
	f, ok, err := tryLock(path)
	if err != nil || !ok {
		return false
	}
	return f.Unlock() == nil
}

// cleanSettings removes temporary files beside settings, overrides and networks, unless somebody is just changing them.
func (s *Store) cleanSettings() error {
	lock, ok, err := tryLock(s.settingsLock())
	if err != nil || !ok {
		return nil
	}
	defer lock.Unlock()
	return firstError(s.sweep(s.dir, func(name string) bool {
		return isTemp(name) && (strings.HasPrefix(name, "settings.json.") || strings.HasPrefix(name, "overrides.json."))
	}), s.sweep(s.ksnDir(), isTemp))
}
