package publisher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// Limits of what a publisher keeps for itself.
const (
	keptStates   = 24   // layer states that direct deltas start from
	keptFiles    = 3    // releases whose files stay on the mirror
	keptReleases = 1024 // releases whose digests are remembered, so that content that comes back has its old number
	maxState     = 1 << 20
)

// A state is what a publisher knows beside what is signed: DIR/state/state.json. All of it is derived; a lost or
// foreign state costs deltas, never correctness. The state of a release is written as pending.json before the release is
// signed and renamed after, so that one of both always fits what is signed.
type state struct {
	Schema   int             `json:"schema"` // 1
	Params   dbformat.Params `json:"params"` // of the newest release
	Whole    dbformat.Digest `json:"whole"`  // of what its policy said about whole signatures
	Releases []published     `json:"releases"`
}

// A published release, oldest first in the list.
type published struct {
	Version uint64     `json:"version"`
	First   bool       `json:"first,omitempty"` // there was none before
	Light   layerState `json:"light"`
	Rest    layerState `json:"rest"`
	Files   []string   `json:"files,omitempty"` // below public/targets, of the newest releases only
}

// A layerState is a digest and the lowest release that has it.
type layerState struct {
	Digest dbformat.Digest `json:"digest"`
	Since  uint64          `json:"since"`
}

func (p *published) layer(l dbformat.Layer) layerState {
	if l == dbformat.Rest {
		return p.Rest
	}
	return p.Light
}

// newest is the release that the state is about, nil before the first.
func (s *state) newest() *published {
	if len(s.Releases) == 0 {
		return nil
	}
	return &s.Releases[len(s.Releases)-1]
}

// since is the lowest release that has the digest; version if there is none before.
func (s *state) since(l dbformat.Layer, d dbformat.Digest, version uint64) uint64 {
	for i := len(s.Releases) - 1; i >= 0; i-- {
		if of := s.Releases[i].layer(l); of.Digest == d {
			return of.Since
		}
	}
	return version
}

// with is the state after one more release.
func (s *state) with(p published, params dbformat.Params, whole dbformat.Digest) *state {
	next := &state{Schema: 1, Params: params, Whole: whole, Releases: append(slices.Clone(s.Releases), p)}
	if n := len(next.Releases); n > keptReleases {
		next.Releases = next.Releases[n-keptReleases:]
	}
	for i := range max(0, len(next.Releases)-keptFiles) {
		next.Releases[i].Files = nil
	}
	return next
}

// states lists the newest distinct states of a layer other than current, newest first, each
// with the newest release that has it.
func (s *state) states(l dbformat.Layer, current dbformat.Digest) []*published {
	seen := map[dbformat.Digest]bool{current: true}
	var out []*published
	for i := len(s.Releases) - 1; i >= 0 && len(out) < keptStates; i-- {
		p := &s.Releases[i]
		if d := p.layer(l).Digest; !seen[d] {
			seen[d] = true
			out = append(out, p)
		}
	}
	return out
}

// bundles lists the names of the bundles that the next release may need.
func (s *state) bundles() map[string]bool {
	names := map[string]bool{}
	newest := s.newest()
	if newest == nil {
		return names
	}
	for _, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
		current := newest.layer(l).Digest
		names[bundleName(l, current)] = true
		for _, p := range s.states(l, current) {
			// A rest state is only of use beside its light one.
			names[bundleName(dbformat.Light, p.Light.Digest)] = true
			names[bundleName(l, p.layer(l).Digest)] = true
		}
	}
	return names
}

// bundleName is a bundle's name in DIR/state/bundles.
func bundleName(l dbformat.Layer, d dbformat.Digest) string {
	return l.String() + "-" + d.String() + ".bundle"
}

// readState reads a state file; nil without an error if it does not exist.
func readState(name string) (*state, error) {
	f, err := osfile.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxState {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxState)
	}
	s := new(state)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.Schema != 1 {
		return nil, fmt.Errorf("%s has schema %d, this program writes 1", name, s.Schema)
	}
	return s, nil
}

// fits tells whether the newest release of s is the one that is signed.
func (s *state) fits(r *dbformat.Release) bool {
	p := s.newest()
	if r == nil || p == nil {
		return r == nil && p == nil
	}
	return p.Version == r.Version && p.Light == (layerState{r.Light.Digest, r.Light.Since}) && p.Rest == (layerState{r.Rest.Digest, r.Rest.Since})
}
