package publisher

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"regexp"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
	"example.org/avdb/signing"
)

// load reads what is signed, which is the truth, and brings the private state in step with it. Whatever a run
// that was stopped left is taken over or removed.
func (r *run) load() error {
	for _, role := range []string{signing.RoleDatabase, signing.RoleRestrictions} {
		targets, err := r.repo.Targets(role)
		if err != nil {
			return err
		}
		r.signed[role] = targets
	}
	if b, ok, err := r.signedFile(signing.RoleDatabase, dbformat.ReleaseTarget, dbformat.MaxReleaseRecord); err != nil {
		return err
	} else if ok {
		if r.record, err = dbformat.ParseReleaseRecord(b); err != nil {
			return err
		}
	}
	if b, ok, err := r.signedFile(signing.RoleRestrictions, dbformat.RestrictionsTarget, dbformat.MaxRestrictionSet); err != nil {
		return err
	} else if ok {
		if r.set, err = dbformat.ParseRestrictionSet(b); err != nil {
			return err
		}
	}
	if err := r.disk.folder(r.file("bundles")); err != nil {
		return err
	}
	if err := r.loadState(); err != nil {
		return err
	}
	return r.tidy()
}

// signedFile reads a small target that is signed now.
func (r *run) signedFile(role, path string, limit int64) (b []byte, ok bool, err error) {
	t, ok := findTarget(r.signed[role], path)
	if !ok {
		return nil, false, nil
	}
	name := r.publicFile(t)
	broken := func(reason any) error {
		return &signing.RepositoryError{Kind: signing.ErrRepository, What: name, Detail: fmt.Sprint(reason), Remedy: "restore the file from a mirror"}
	}
	f, err := osfile.Open(name)
	if err != nil {
		return nil, false, broken(bare(err))
	}
	defer f.Close()
	if b, err = io.ReadAll(io.LimitReader(f, limit+1)); err != nil {
		return nil, false, broken(bare(err))
	}
	if int64(len(b)) != t.Length || dbformat.Digest(sha256.Sum256(b)) != t.SHA256 {
		return nil, false, broken("is not what is signed")
	}
	return b, true, nil
}

func findTarget(targets []signing.Target, path string) (signing.Target, bool) {
	for _, t := range targets {
		if t.Path == path {
			return t, true
		}
	}
	return signing.Target{}, false
}

func (r *run) publicFile(t signing.Target) string {
	return filepath.Join(r.repo.PublicDir(), "targets", filepath.FromSlash(t.Name()))
}

// loadState finds the state that fits what is signed, or makes one of it.
func (r *run) loadState() error {
	previous := r.previous()
	for _, name := range []string{"state.json", "pending.json"} {
		s, err := readState(r.file(name))
		if err != nil {
			r.warn("the private state cannot be read and is made anew from what is signed, without deltas from earlier releases: %v", err)
			continue
		}
		if s != nil && s.fits(previous) {
			if r.state = s; name == "pending.json" {
				return r.disk.rename(r.file("pending.json"), r.file("state.json"))
			}
			return r.dropPending()
		}
		if s != nil && r.state == nil {
			r.state = s
		}
	}
	// A crash after the last commit, or a state of another time: what is older than what is signed stays known.
	known := r.state
	r.state = &state{Schema: 1}
	if previous == nil {
		return r.dropPending()
	}
	if known != nil {
		for _, p := range known.Releases {
			if p.Version < previous.Version {
				r.state.Releases = append(r.state.Releases, p)
			}
		}
	}
	p := published{Version: previous.Version, Light: layerState{previous.Light.Digest, previous.Light.Since},
		Rest: layerState{previous.Rest.Digest, previous.Rest.Since}}
	for _, targets := range r.signed {
		for _, t := range targets {
			p.Files = append(p.Files, t.Name())
		}
	}
	r.state.Releases = append(r.state.Releases, p)
	return r.dropPending()
}

// dropPending removes the state of a release that was never signed, unless it still waits for signatures.
func (r *run) dropPending() error {
	name := r.file("pending.json")
	if w := r.waitingRelease(); w != nil {
		if s, err := readState(name); err == nil && s != nil && s.fits(w) {
			r.waiting = s
			return nil
		}
	}
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return r.disk.remove(name)
}

// previousParams are the parameters of the newest release: as they are remembered, else as its layers show them.
func (r *run) previousParams() *dbformat.Params {
	if r.previous() == nil {
		return nil
	}
	if r.state.Params.Prefix != 0 {
		return &r.state.Params
	}
	light, err := r.layer(dbformat.Light, r.previous().Light.Digest)
	if err != nil {
		r.warn("the widths of release %d are unknown, so that all endpoints may need bundles: %v", r.previous().Version, err)
		return nil
	}
	p := &dbformat.Params{Cuts: map[dbformat.SectionID]dbformat.CutParams{}}
	for i := range light.Header().Sections {
		s := &light.Header().Sections[i]
		switch {
		case s.ID.OfURLs():
			p.URLRows, p.URLPrefix = s.Rows(), s.P
		case s.ID.Split():
			p.Prefix = s.P
		}
		if s.ID.Detects() && s.ID.OfFiles() {
			p.Rows += s.Rows()
		}
		if s.ID.Keyed() {
			p.Cuts[s.ID] = dbformat.CutParams{B: s.B, K: s.K}
		}
	}
	rest, err := r.layer(dbformat.Rest, r.previous().Rest.Digest)
	if err != nil {
		r.warn("how the rest layer of release %d was cut is unknown, so that endpoints may rewrite it: %v", r.previous().Version, err)
		return p
	}
	for i := range rest.Header().Sections {
		if s := &rest.Header().Sections[i]; s.ID.Placed() {
			if p.RestCuts == nil {
				p.RestCuts = map[dbformat.SectionID]dbformat.CutParams{}
			}
			p.RestCuts[s.ID] = dbformat.CutParams{B: s.B, K: s.K}
		}
	}
	return p
}

// layer reads a layer state of this or an earlier release from the bundle that was kept, or from the one that is served.
func (r *run) layer(l dbformat.Layer, d dbformat.Digest) (*dbformat.MemLayer, error) {
	layer, err := readBundle(r.file("bundles", bundleName(l, d)), l, d)
	if err == nil {
		return layer, nil
	}
	if t, ok := findTarget(r.signed[signing.RoleDatabase], dbformat.BundleTarget(l, d)); ok {
		return readBundle(r.publicFile(t), l, d)
	}
	return nil, err
}

func readBundle(name string, l dbformat.Layer, want dbformat.Digest) (*dbformat.MemLayer, error) {
	f, err := osfile.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var sink dbformat.MemSink
	h, err := dbformat.ReadBundle(f, l, &sink)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if got := h.Digest(); got != want {
		return nil, fmt.Errorf("%s: %w", name, &dbformat.FormatError{What: "bundle", Offset: -1, Reason: "holds the layer " + got.String()})
	}
	return sink.Layer(h)
}

// heldWhole lists the signatures that are whole in the newest release, if the policy still says the same about them.
func (r *run) heldWhole() map[wholeKey]bool {
	if r.previous() == nil {
		return nil
	}
	if r.state.Whole != r.policy.wholeDigest() {
		if r.o.Policy == "" && r.state.Whole != (dbformat.Digest{}) {
			r.warn("release %d had a policy about whole signatures and this run has no policy file: nothing is whole any more", r.previous().Version)
		}
		return nil
	}
	if len(r.policy.names) == 0 && len(r.policy.hashes) == 0 {
		return nil
	}
	light, err := r.layer(dbformat.Light, r.previous().Light.Digest)
	if err != nil {
		r.warn("which signatures release %d had whole is unknown: %v", r.previous().Version, err)
		return nil
	}
	held := map[wholeKey]bool{}
	for i := range light.Header().Sections {
		for key, err := range wholeKeys(light, i) {
			if err != nil {
				r.warn("which signatures release %d had whole is not wholly known: %v", r.previous().Version, err)
				break
			}
			held[key] = true
		}
	}
	return held
}

// wholeKeys gives the keys of section i of light, in the order of its rows; none if its signatures are not whole.
func wholeKeys(light dbformat.LayerReader, i int) iter.Seq2[wholeKey, error] {
	s := &light.Header().Sections[i]
	key := wholeKey{alg: s.ID.Algorithm()}
	switch c := s.ID.Class(); {
	case c == dbformat.ClassWhole, c == dbformat.ClassWholePUA:
		key.of = dbformat.ClassHash
	case s.ID.OfPESections():
		key.of = dbformat.ClassPESection
	case s.ID.OfPatterns():
		key.of = dbformat.ClassPattern
	}
	return func(yield func(wholeKey, error) bool) {
		if key.of == 0 {
			return
		}
		for n := range s.Blocks {
			data, err := light.Block(i, n)
			if err != nil {
				yield(wholeKey{}, err)
				return
			}
			if key.of == dbformat.ClassPattern {
				b, err := dbformat.ParsePatternBlock(data, s, n)
				if err != nil {
					yield(wholeKey{}, err)
					return
				}
				for _, record := range b.All() {
					if key.hash = sha256.Sum256(record); !yield(key, nil) {
						return
					}
				}
				continue
			}
			b, err := dbformat.ParseRecordBlock(data, s, n)
			if err != nil {
				yield(wholeKey{}, err)
				return
			}
			for row := range b.Rows() {
				key.size = b.Size(row)
				b.Hash(row, &key.hash)
				if !yield(key, nil) {
					return
				}
			}
		}
	}
}

// ourTarget matches the names below public/targets that a publisher makes and may take away.
var ourTarget = regexp.MustCompile(`^(?:[0-9a-f]{64}\.release\.json|restrictions/[0-9a-f]{64}\.set\.json|` +
	`(?:light|rest)/[0-9a-f]{64}\.(?:[0-9a-f]{64}\.bundle|[0-9]+-[0-9]+\.delta))$`)

// tidy removes what nothing needs any more: bundles of states that no delta starts from, and files on the mirror that none of the newest
// releases names (clients that began an update find theirs until then). Without a full account of these releases, after a loss of
// the state, the mirror is left alone. A file that cannot be removed now is a warning: the next run tries again.
func (r *run) tidy() error {
	err := r.removeUnused()
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		r.warn("files that nothing needs are left: %v", e)
		return nil
	}
	return err
}

func (r *run) removeUnused() error {
	keep := r.state.bundles()
	if r.waiting != nil {
		maps.Copy(keep, r.waiting.bundles())
	}
	if err := r.disk.sweep(r.file("bundles"), func(name string) bool { return !keep[name] }); err != nil {
		return err
	}
	if err := r.disk.sweep(r.dir, func(string) bool { return false }); err != nil {
		return err
	}
	files := map[string]bool{}
	known := r.state.newest() == nil
	for i := len(r.state.Releases) - 1; i >= 0 && i >= len(r.state.Releases)-keptFiles; i-- {
		p := &r.state.Releases[i]
		if p.Files == nil {
			return nil
		}
		for _, f := range p.Files {
			files[f] = true
		}
		known = known || p.First || i == len(r.state.Releases)-keptFiles
	}
	if !known {
		return nil
	}
	for _, targets := range r.signed {
		for _, t := range targets {
			files[t.Name()] = true
		}
	}
	for _, dir := range []string{"", "light/", "rest/", "restrictions/"} {
		err := r.disk.sweep(filepath.Join(r.repo.PublicDir(), "targets", filepath.FromSlash(dir)), func(name string) bool {
			return ourTarget.MatchString(dir+name) && !files[dir+name]
		})
		if err != nil {
			return err
		}
	}
	return nil
}
