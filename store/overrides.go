package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
)

// MaxOverrides bounds the number of overrides.
const MaxOverrides = 10000

// maxOverridesFile has room for MaxOverrides of the longest.
const maxOverridesFile = 32 << 20

// An Override is what the owner of this device says of an object, whatever database and network say.
type Override struct {
	Key     string           `json:"key"`              // protocol.Key.String()
	Verdict protocol.Verdict `json:"verdict"`          // trusted, untrusted or potentially_unwanted
	Object  string           `json:"object,omitempty"` // for people: what Key is the hash of, as it was given; bounds as of Note; "" if not known
	Note    string           `json:"note,omitempty"`   // for people: why, by whom; at most dbformat.MaxName bytes of what a name may have
	Since   dbformat.Time    `json:"since"`            // set by UpdateOverrides if zero
	OverrideAbout
}

// OverrideAbout is what the owner knows of an object besides, for those who ask about it. All of it can be missing.
type OverrideAbout struct {
	Name       string         `json:"name,omitempty"`       // of the threat or the software; bounds as of a note
	Category   string         `json:"category,omitempty"`   // a word in lower case, as "phishing"; at most 32 letters, digits and _
	FirstSeen  *dbformat.Time `json:"first_seen,omitempty"` //
	Popularity uint64         `json:"popularity,omitempty"` // number of users, at most 2^53-1; answers round it down to a power of ten
	Signer     string         `json:"signer,omitempty"`     // of the file's own signature; bounds as of a note
	Regions    []string       `json:"regions,omitempty"`    // where it is seen most: at most 16 different ISO 3166 codes of two capitals
}

const maxPopularity = 1<<53 - 1 // what every JSON reader keeps exact

var (
	categoryForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	regionForm   = regexp.MustCompile(`^[A-Z]{2}$`)
)

func (a *OverrideAbout) check() error {
	switch {
	case a.Category != "" && !categoryForm.MatchString(a.Category):
		return fmt.Errorf("category %.40q, want a word of at most 32 lower-case letters, digits and _", a.Category)
	case a.FirstSeen != nil && (a.FirstSeen.UTC().Year() < 1970 || a.FirstSeen.UTC().Year() > 9999):
		return fmt.Errorf("first_seen in the year %d", a.FirstSeen.UTC().Year())
	case a.Popularity > maxPopularity:
		return fmt.Errorf("popularity %d, the limit is %d", a.Popularity, uint64(maxPopularity))
	case a.Regions != nil && len(a.Regions) == 0:
		return errors.New("an empty list of regions: leave it out")
	case len(a.Regions) > protocol.MaxRegions:
		return fmt.Errorf("%d regions, the limit is %d", len(a.Regions), protocol.MaxRegions)
	}
	for i, r := range a.Regions {
		if !regionForm.MatchString(r) || slices.Contains(a.Regions[:i], r) {
			return fmt.Errorf("region %.40q, want different codes of two capitals", r)
		}
	}
	return nil
}

type overridesFile struct {
	Schema    int        `json:"schema"`    // 1
	Overrides []Override `json:"overrides"` // in ascending order of their keys when they are written
}

// check names the first override that cannot be. The list is in order.
func (f *overridesFile) check() error {
	switch {
	case f.Schema != 1:
		return fmt.Errorf("field schema is %d, want 1", f.Schema)
	case len(f.Overrides) > MaxOverrides:
		return fmt.Errorf("field overrides has %d entries, the limit is %d", len(f.Overrides), MaxOverrides)
	}
	for i := range f.Overrides {
		o := &f.Overrides[i]
		if _, err := protocol.ParseTypedKey(o.Key); err != nil {
			return fmt.Errorf("override %.80q: %w", o.Key, err)
		}
		if i > 0 && o.Key == f.Overrides[i-1].Key {
			return fmt.Errorf("override %s stands twice", o.Key)
		}
		if !slices.Contains([]protocol.Verdict{protocol.Trusted, protocol.Untrusted, protocol.PotentiallyUnwanted}, o.Verdict) {
			return fmt.Errorf("override %s: verdict %.40q, want %s, %s or %s", o.Key, o.Verdict, protocol.Trusted, protocol.Untrusted, protocol.PotentiallyUnwanted)
		}
		if err := o.OverrideAbout.check(); err != nil {
			return fmt.Errorf("override %s: %w", o.Key, err)
		}
		for _, text := range []struct{ what, is string }{{"note", o.Note}, {"text of the object", o.Object}, {"name", o.Name}, {"signer", o.Signer}} {
			if err := dbformat.CheckName(text.is); text.is != "" && err != nil {
				return fmt.Errorf("override %s: as a %s the %w", o.Key, text.what, err)
			}
		}
		if y := o.Since.UTC().Year(); y < 1970 || y > 9999 {
			return fmt.Errorf("override %s: since is missing or in the year %d", o.Key, y)
		}
	}
	return nil
}

func (f *overridesFile) sort() {
	slices.SortFunc(f.Overrides, func(x, y Override) int { return cmp.Compare(x.Key, y.Key) })
}

func parseOverrides(b []byte) ([]Override, error) {
	var f overridesFile
	if err := dbformat.DecodeJSON(b, &f); err != nil {
		return nil, err
	}
	f.sort()
	if err := f.check(); err != nil {
		return nil, err
	}
	return f.Overrides, nil
}

func encodeOverrides(list []Override) ([]byte, error) {
	f := overridesFile{Schema: 1, Overrides: append([]Override{}, list...)}
	f.sort()
	if err := f.check(); err != nil {
		return nil, err
	}
	b, err := encodeJSON(f)
	if err == nil && len(b) > maxOverridesFile {
		err = fmt.Errorf("the file would have %d bytes, the limit is %d", len(b), maxOverridesFile)
	}
	return b, err
}

// Overrides reads the overrides without a lock, in ascending order of their keys; none if there is no file. If the file is damaged, down to a single
// field, or every user may write it, the error matches [ErrStorage], and in the first case [ErrSettings] and [ErrDamaged] and names the field; for
// other users it matches ErrStorage and fs.ErrPermission.
func (s *Store) Overrides() ([]Override, error) {
	path := s.overridesPath()
	if err := refuseOpenToAll(path); err != nil {
		return nil, err
	}
	b, err := readFile(path, maxOverridesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if e, ok := errors.AsType[*Error](err); ok { // a link, a folder, too long
		return nil, s.overridesDamaged(e.What, nil)
	}
	if err != nil {
		return nil, failed(path, "cannot be read", err)
	}
	list, err := parseOverrides(b)
	if err != nil {
		return nil, s.overridesDamaged("cannot be used", err)
	}
	return list, nil
}

func (s *Store) overridesDamaged(what string, err error) error {
	return &Error{Kind: ErrSettings, Damaged: true, Path: s.overridesPath(), What: what, Err: err,
		Remedy: "correct it or restore it from a copy, or remove it, which leaves no overrides"}
}

// UpdateOverrides reads the overrides, and puts what change makes of them in their place, durably. Other processes that change overrides, settings or
// networks wait for at most two seconds; readers never: change must not call those. An error of change ends it without a change and is returned as it is.
// Overrides that cannot be, two for one key, or more than [MaxOverrides] are refused with an error that matches [ErrSettings].
func (s *Store) UpdateOverrides(change func([]Override) ([]Override, error)) error {
	lock, err := waitLock(s.settingsLock(), settingsPatient)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	list, err := s.Overrides()
	if err != nil {
		return err
	}
	before, err := encodeOverrides(list)
	if err != nil {
		return s.overridesError(err)
	}
	if list, err = change(list); err != nil {
		return err
	}
	list = slices.Clone(list)
	for i := range list {
		if list[i].Since.IsZero() {
			list[i].Since.Time = s.o.Now()
		}
		list[i].Since = dbformat.At(list[i].Since.Time)
		if t := list[i].FirstSeen; t != nil {
			seen := dbformat.At(t.Time)
			list[i].FirstSeen = &seen
		}
	}
	after, err := encodeOverrides(list)
	if err != nil {
		return s.overridesError(err)
	}
	if string(after) == string(before) {
		// A run that died may have renamed the file and not have come to the sync.
		if err := s.files.SyncDir(s.dir); err != nil {
			return failed(s.dir, "cannot be synced", err)
		}
		return nil
	}
	return s.replace(s.overridesPath(), after, modeSecret)
}

func (s *Store) overridesError(err error) error {
	return &Error{Kind: ErrSettings, Path: s.overridesPath(), What: "cannot be changed", Err: err, Remedy: "correct the override"}
}
