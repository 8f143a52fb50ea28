package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// A LayerRef names a layer file of a generation.
type LayerRef struct {
	Digest  dbformat.Digest
	Since   uint64 // the lowest release that has this digest, as the release record says
	Records uint64 // rows of all sections
	Bytes   int64  // canonical bytes of all blocks
}

// A Generation is an installed release: verified layers that belong together.
type Generation struct {
	Version   uint64    // of the release, 1 to dbformat.MaxVersion
	Published time.Time // whole seconds, UTC
	Installed time.Time // when it became current here; whole seconds, UTC; set by Activate
	Light     LayerRef
	Rest      *LayerRef // nil for the light variant
}

// Variant is full if the generation has both layers, else light.
func (g *Generation) Variant() dbformat.Variant {
	if g.Rest != nil {
		return dbformat.VariantFull
	}
	return dbformat.VariantLight
}

// Layer is the ref of one layer, nil if the generation lacks it.
func (g *Generation) Layer(l dbformat.Layer) *LayerRef {
	switch l {
	case dbformat.Light:
		return &g.Light
	case dbformat.Rest:
		return g.Rest
	}
	return nil
}

// SameContent tells whether both have the same digests: by these generations are told apart.
func (g *Generation) SameContent(o *Generation) bool {
	if g.Light.Digest != o.Light.Digest || (g.Rest == nil) != (o.Rest == nil) {
		return false
	}
	return g.Rest == nil || g.Rest.Digest == o.Rest.Digest
}

// same tells whether both are one installation of one release.
func (g *Generation) same(o *Generation) bool { return g.Version == o.Version && g.SameContent(o) }

func (g *Generation) refs() []LayerRef {
	if g.Rest == nil {
		return []LayerRef{g.Light}
	}
	return []LayerRef{g.Light, *g.Rest}
}

// A Hold says which releases must not become current.
type Hold struct {
	Version uint64    // this one and those below it, until a higher one; 0 for none
	All     bool      // every release, until ReleaseHold
	Since   time.Time // zero without a hold
}

// RolledBack says that the current generation is the result of a rollback.
type RolledBack struct {
	From  Generation // what was left; its layers stay on disk until another release is current
	Since time.Time
}

// Current is what CURRENT says.
type Current struct {
	Generation
	Previous   *Generation  // what a rollback makes current: the newest of Others of an earlier release; nil for none
	Others     []Generation // kept beside the current one, newest first; may hold the other variant of the same release
	Hold       Hold
	RolledBack *RolledBack // nil if the current generation is not the result of a rollback
}

// setPrevious finds Previous in Others.
func (c *Current) setPrevious() {
	c.Previous = nil
	for i := range c.Others {
		if c.Others[i].Version < c.Version {
			c.Previous = &c.Others[i]
			return
		}
	}
}

// Holds tells whether the hold forbids to make the release with this version current. The release that is
// current already is never held.
func (c *Current) Holds(version uint64) bool {
	return version != c.Version && (c.Hold.All || version <= c.Hold.Version)
}

// generations are all that must stay on disk.
func (c *Current) generations() []*Generation {
	all := []*Generation{&c.Generation}
	for i := range c.Others {
		all = append(all, &c.Others[i])
	}
	if c.RolledBack != nil {
		all = append(all, &c.RolledBack.From)
	}
	return all
}

// maxOthers bounds how many generations are kept beside the current one.
const maxOthers = 32

// maxCurrent bounds the size of CURRENT: 34 generations take 20 KiB.
const maxCurrent = 64 << 10

type currentFile struct {
	Schema     int              `json:"schema"`
	Current    generationFile   `json:"current"`
	Previous   []generationFile `json:"previous"`
	Hold       *holdFile        `json:"hold,omitempty"`
	RolledBack *rolledBackFile  `json:"rolled_back,omitempty"`
	Sum        string           `json:"sum"` // CRC-32C of the file with eight zeros here, in hex
}

type generationFile struct {
	Version   uint64        `json:"version"`
	Published dbformat.Time `json:"published"`
	Installed dbformat.Time `json:"installed"`
	Light     layerFile     `json:"light"`
	Rest      *layerFile    `json:"rest,omitempty"`
}

type layerFile struct {
	Digest  dbformat.Digest `json:"digest"`
	Since   uint64          `json:"since"`
	Records uint64          `json:"records"`
	Bytes   int64           `json:"bytes"`
}

type holdFile struct {
	Version uint64        `json:"version,omitempty"`
	All     bool          `json:"all,omitempty"`
	Since   dbformat.Time `json:"since"`
}

type rolledBackFile struct {
	From  generationFile `json:"from"`
	Since dbformat.Time  `json:"since"`
}

func toFile(g *Generation) generationFile {
	f := generationFile{Version: g.Version, Published: dbformat.At(g.Published), Installed: dbformat.At(g.Installed), Light: layerFile(g.Light)}
	if g.Rest != nil {
		rest := layerFile(*g.Rest)
		f.Rest = &rest
	}
	return f
}

func (f *generationFile) generation() Generation {
	g := Generation{Version: f.Version, Published: f.Published.Time, Installed: f.Installed.Time, Light: LayerRef(f.Light)}
	if f.Rest != nil {
		rest := LayerRef(*f.Rest)
		g.Rest = &rest
	}
	return g
}

const noSum = "00000000"

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// encodeCurrent gives the one spelling of c.
func encodeCurrent(c *Current) ([]byte, error) {
	f := currentFile{Schema: 1, Current: toFile(&c.Generation), Previous: []generationFile{}, Sum: noSum}
	for i := range c.Others {
		f.Previous = append(f.Previous, toFile(&c.Others[i]))
	}
	if c.Hold != (Hold{}) {
		f.Hold = &holdFile{Version: c.Hold.Version, All: c.Hold.All, Since: dbformat.At(c.Hold.Since)}
	}
	if c.RolledBack != nil {
		f.RolledBack = &rolledBackFile{From: toFile(&c.RolledBack.From), Since: dbformat.At(c.RolledBack.Since)}
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	b, err := encodeJSON(f)
	if err != nil {
		return nil, err
	}
	f.Sum = fmt.Sprintf("%08x", castagnoli(b))
	return encodeJSON(f)
}

// parseCurrent is the inverse of encodeCurrent and takes nothing else: a file that was edited or lost a bit is
// refused as a whole.
func parseCurrent(b []byte) (*Current, error) {
	// The schema alone comes first: a later one may have fields that this engine does not know, and that is no damage.
	var later struct {
		Schema int `json:"schema"`
	}
	if json.Unmarshal(b, &later) != nil || later.Schema <= 1 {
		return parseSchema1(b)
	}
	// One flipped bit makes a 3 of our 1. The sum tells that from another engine's file.
	ours := bytes.Replace(b, fmt.Appendf(nil, `"schema": %d`, later.Schema), []byte(`"schema": 1`), 1)
	if _, err := parseSchema1(ours); err == nil {
		return nil, fmt.Errorf("field schema is %d, the sum is that of 1", later.Schema)
	}
	return nil, fmt.Errorf("field schema is %d, this engine reads 1: %w", later.Schema, dbformat.ErrVersion)
}

func parseSchema1(b []byte) (*Current, error) {
	var f currentFile
	if err := dbformat.DecodeJSON(b, &f); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	c := &Current{Generation: f.Current.generation()}
	for i := range f.Previous {
		c.Others = append(c.Others, f.Previous[i].generation())
	}
	if h := f.Hold; h != nil {
		c.Hold = Hold{Version: h.Version, All: h.All, Since: h.Since.Time}
	}
	if r := f.RolledBack; r != nil {
		c.RolledBack = &RolledBack{From: r.From.generation(), Since: r.Since.Time}
	}
	c.setPrevious()
	again, err := encodeCurrent(c)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("field sum does not fit the content")
	}
	return c, nil
}

func (f *currentFile) check() error {
	if f.Schema != 1 {
		return fmt.Errorf("field schema is %d, want 1", f.Schema)
	}
	if err := f.Current.check("current"); err != nil {
		return err
	}
	if len(f.Previous) > maxOthers {
		return fmt.Errorf("field previous has %d generations, the limit is %d", len(f.Previous), maxOthers)
	}
	for i := range f.Previous {
		if err := f.Previous[i].check(fmt.Sprintf("previous[%d]", i)); err != nil {
			return err
		}
	}
	if f.Hold != nil && (f.Hold.Version > dbformat.MaxVersion || !f.Hold.All && f.Hold.Version == 0) {
		return errors.New("field hold holds nothing that there can be")
	}
	if f.RolledBack != nil {
		return f.RolledBack.From.check("rolled_back.from")
	}
	return nil
}

func (f *generationFile) check(where string) error {
	if f.Version < 1 || f.Version > dbformat.MaxVersion {
		return fmt.Errorf("field %s.version is %d, want 1 to 2^53-1", where, f.Version)
	}
	for _, t := range []dbformat.Time{f.Published, f.Installed} {
		if t.Year() < 1 || t.Year() > 9999 {
			return fmt.Errorf("field %s has a time in the year %d", where, t.Year())
		}
	}
	layers := []*layerFile{&f.Light}
	if f.Rest != nil {
		layers = append(layers, f.Rest)
	}
	for _, l := range layers {
		if l.Digest.IsZero() || l.Since > f.Version || l.Records > dbformat.MaxVersion || l.Bytes < 0 || l.Bytes > dbformat.MaxVersion {
			return fmt.Errorf("field %s names an impossible layer %s", where, l.Digest)
		}
	}
	return nil
}

// Current reads CURRENT. Errors match [ErrNoDatabase] if nothing was installed yet, [ErrDamaged] if the file does
// not hold what was written (an update heals that), dbformat.ErrVersion if a newer engine wrote it, else [ErrStorage].
func (s *Store) Current() (Current, error) {
	c, err := s.current()
	if err != nil {
		return Current{}, err
	}
	return *c, nil
}

func (s *Store) current() (*Current, error) {
	path := s.currentPath()
	b, err := readFile(path, maxCurrent)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Error{Kind: ErrNoDatabase, Path: s.dir, What: "has no database yet", Remedy: "run an update"}
	case err != nil:
		return nil, failed(path, "cannot be read", err)
	}
	c, err := parseCurrent(b)
	if errors.Is(err, dbformat.ErrVersion) {
		return nil, &Error{Kind: dbformat.ErrVersion, Path: path, What: "was written by a newer engine", Err: err, Remedy: "use that engine"}
	}
	if err != nil {
		e := damaged(path, "is damaged")
		e.Err = err
		return nil, e
	}
	return c, nil
}

// known is Current for those who are about to replace it: what is damaged is as good as absent, and the
// result is then nil.
func (s *Store) known() (*Current, error) {
	c, err := s.current()
	if errors.Is(err, ErrNoDatabase) || errors.Is(err, ErrDamaged) {
		return nil, nil
	}
	return c, err
}

func (s *Store) putCurrent(c *Current) error {
	b, err := encodeCurrent(c)
	if err != nil {
		return &Error{Kind: ErrStorage, Path: s.currentPath(), What: "cannot say this", Err: err}
	}
	return s.replace(s.currentPath(), b, modeFile)
}

// succeed is the state after g has become current, with up to keep generations of earlier
// releases kept beside it, and the other variant of g's own release if keep is not 0. It is a
// pure function; old may be nil.
func succeed(old *Current, g Generation, keep int) *Current {
	c := &Current{Generation: g}
	if old == nil {
		return c
	}
	c.Hold = old.Hold
	if g.Version > c.Hold.Version {
		c.Hold.Version = 0
	}
	if !c.Hold.All && c.Hold.Version == 0 {
		c.Hold = Hold{}
	}
	if old.SameContent(&g) {
		// The same content under a new number is no new generation.
		c.Installed, c.Others, c.RolledBack = old.Installed, old.Others, old.RolledBack
		if g.Version > old.Version {
			c.RolledBack = nil
		}
	} else {
		c.Others = append([]Generation{old.Generation}, old.Others...)
	}
	c.Others = slices.DeleteFunc(slices.Clone(c.Others), func(o Generation) bool { return o.SameContent(&g) })
	kept := c.Others[:0]
	earlier := 0
	for _, o := range c.Others {
		switch {
		case keep <= 0:
		case o.Version == g.Version:
			kept = append(kept, o)
		case earlier < min(keep, maxOthers-2):
			kept = append(kept, o)
			earlier++
		}
	}
	c.Others = kept
	c.setPrevious()
	return c
}

// keepMeasure keeps the full generation of old that a refusal names beside a light one, beyond the number that is kept otherwise: it is
// the only thing on this device that shows what a later rest takes away.
func (c *Current) keepMeasure(old *Current, r Refusal) {
	measure := Generation{Light: LayerRef{Digest: r.FullLight}, Rest: &LayerRef{Digest: r.FullRest}}
	if c.Rest != nil || len(c.Others) >= maxOthers || slices.ContainsFunc(c.Others, func(o Generation) bool { return o.SameContent(&measure) }) {
		return
	}
	for _, o := range append([]Generation{old.Generation}, old.Others...) {
		if o.SameContent(&measure) {
			c.Others = append(c.Others, o) // the oldest: what was dropped was the end of the list
			c.setPrevious()
			return
		}
	}
}
