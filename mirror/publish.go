package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// An edition is a verified state of a repository that is to be shown.
type edition struct {
	v       *signing.Verified
	roots   []signing.Document
	version uint64   // of its release
	layers  []string // that are kept here
	keep    int      // releases
	source  string
	now     time.Time

	// get opens a target, verified; done tells whether it will not be needed again.
	get func(ctx context.Context, t signing.Target) (f *os.File, done func(used bool), err error)
}

// An outcome is what publishing did.
type outcome struct {
	changed bool // something is shown that was not
	targets int  // files that were got
	removed int  // files that nobody needs any more
}

// publish shows an edition, in the order that the package comment gives. Sync and Promote have it in common: there is one way.
func (f folder) publish(ctx context.Context, s *state, e edition) (outcome, error) {
	docs, targets := e.v.Documents(), wanted(e.v, e.layers)
	s.Layers = e.layers
	s.States = withState(s.States, published{Version: e.version, Timestamp: sha256.Sum256(docs[len(docs)-1].Bytes), Signed: e.v.SignedAt().UTC(),
		Source: e.source, Files: filesOf(docs, targets)})
	missing, proved, err := f.missing(ctx, s, targets)
	if err != nil {
		return outcome{}, err
	}
	docs, roots := f.differing(docs), f.differing(e.roots)
	out := outcome{changed: len(missing)+len(docs)+len(roots) > 0}
	if out.changed {
		if err := f.writeState(*s); err != nil {
			return out, err
		}
		if out.targets, err = f.bring(ctx, e, missing, proved); err != nil {
			return out, err
		}
		if err := f.show(e, docs, roots); err != nil {
			return out, err
		}
	}
	return out, f.finish(s, e, targets, &out)
}

// markShown finds the state that a run had shown and not yet said so.
func (s *state) markShown(f folder, now time.Time) {
	b, err := f.read(f.file(metadataDir+"/"+timestamp), signing.MaxTimestamp)
	if err != nil {
		return
	}
	sum := dbformat.Digest(sha256.Sum256(b))
	for i := range s.States {
		if s.States[i].Timestamp == sum && s.States[i].Shown.IsZero() {
			s.States[i].Shown = now.UTC()
		}
	}
}

// missing are the targets that are not there as they were signed. proved are the names of those that were read to find that out: a dead
// run may have renamed them and not synced their folders.
func (f folder) missing(ctx context.Context, s *state, targets []signing.Target) (missing []signing.Target, proved []string, err error) {
	for _, t := range targets {
		name := targetsDir + "/" + t.Name()
		now, ok := f.looks(name)
		if ok && now.Size == t.Length && s.Proved[name] == now {
			continue
		}
		if ok && now.Size == t.Length {
			good, err := f.isWhole(ctx, name, t)
			if err != nil {
				return nil, nil, err
			}
			if good {
				proved = append(proved, name)
				continue
			}
		}
		delete(s.Proved, name)
		missing = append(missing, t)
	}
	return missing, proved, nil
}

// isWhole reads a file and tells whether it is what was signed. One that cannot be read is as good as a wrong one: it will be replaced.
func (f folder) isWhole(ctx context.Context, name string, t signing.Target) (bool, error) {
	file, err := osfile.OpenOwn(f.file(name), os.O_RDONLY)
	if err != nil {
		return false, nil
	}
	defer file.Close()
	_, err = io.Copy(io.Discard, checking(ctx, name, t, file))
	return err == nil, ctx.Err()
}

// differing are the documents whose files are not there or hold something else.
func (f folder) differing(docs []signing.Document) (list []signing.Document) {
	for _, d := range docs {
		b, err := f.read(f.file(metadataDir+"/"+d.Name), int64(len(d.Bytes)))
		if err != nil || !bytes.Equal(b, d.Bytes) {
			list = append(list, d)
		}
	}
	return list
}

// bring gets the targets that are missing and makes all of this edition's durable that are not known to be.
func (f folder) bring(ctx context.Context, e edition, missing []signing.Target, proved []string) (n int, err error) {
	if err := f.space(missing); err != nil {
		return 0, err
	}
	names := slices.Clone(proved)
	for _, t := range missing {
		names = append(names, targetsDir+"/"+t.Name())
	}
	folders := map[string]bool{}
	for _, dir := range foldersOf(names) {
		for ; dir != "."; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	for _, dir := range sortedKeys(folders) {
		if err := f.mkdir(f.file(dir), 0o755); err != nil {
			return 0, err
		}
	}
	for _, t := range missing {
		if err := f.put(ctx, e, t); err != nil {
			return n, err
		}
		n++
	}
	for _, dir := range sortedKeys(folders) {
		if err := f.syncDir(f.file(dir)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// space refuses to begin what cannot be ended: each file is there twice for a moment.
func (f folder) space(missing []signing.Target) error {
	var sum, most int64
	for _, t := range missing {
		if t.Length > updater.MaxTarget {
			return &updater.TargetError{Source: f.dir, Target: t.Path, Reason: fmt.Sprintf("a signed length of %d, want at most %d", t.Length, int64(updater.MaxTarget))}
		}
		sum, most = sum+t.Length, max(most, t.Length)
	}
	free, err := osfile.FreeBytes(f.private())
	if need := sum + most; err == nil && len(missing) > 0 && free < need {
		return &store.Error{Kind: store.ErrStorage, Path: f.dir, What: fmt.Sprintf("%d bytes are free and %d are needed", free, need),
			Remedy: "make room, then try again; what the mirror serves is whole"}
	}
	return nil
}

// put copies a target into its place, through the descriptor that was verified, and verifies what it copies.
func (f folder) put(ctx context.Context, e edition, t signing.Target) error {
	file, done, err := e.get(ctx, t)
	if err != nil {
		return err
	}
	err = f.replace(targetsDir+"/"+t.Name(), checking(ctx, e.source, t, file), 0o644)
	done(err == nil)
	return err
}

// show makes an edition visible whose targets are in place.
func (f folder) show(e edition, docs, roots []signing.Document) error {
	dir := f.file(metadataDir)
	write := func(docs []signing.Document) error {
		for _, d := range docs {
			if err := f.replace(metadataDir+"/"+d.Name, bytes.NewReader(d.Bytes), 0o644); err != nil {
				return err
			}
		}
		return f.syncDir(dir)
	}
	var named, last []signing.Document
	for _, d := range docs {
		if d.Name == timestamp {
			last = append(last, d)
		} else {
			named = append(named, d)
		}
	}
	if err := write(named); err != nil {
		return err
	}
	_, shown := f.looks(metadataDir + "/" + timestamp)
	order := [][]signing.Document{last, roots}
	if rootsFirst(shown, f.newestRoot(e.roots), e.v) {
		order = [][]signing.Document{roots, last}
	}
	for _, docs := range order {
		if err := write(docs); err != nil {
			return err
		}
	}
	return nil
}

// newestRoot is the root to which the roots that are shown lead; nil for none.
func (f folder) newestRoot(chain []signing.Document) (newest []byte) {
	for _, d := range chain {
		if len(f.differing([]signing.Document{d})) > 0 {
			break
		}
		newest = d.Bytes
	}
	return newest
}

// finish removes what is needed no more and says what is shown.
func (f folder) finish(s *state, e edition, targets []signing.Target, out *outcome) error {
	if s.States[0].Shown.IsZero() {
		s.States[0].Shown = e.now.UTC()
	}
	for _, t := range targets {
		name := targetsDir + "/" + t.Name()
		if p, ok := f.looks(name); ok {
			s.Proved[name] = p
		}
	}
	stay, gone := prune(s.States, e.keep)
	if len(gone) > 0 { // not before the new state is durable, also where a dead run has shown it
		if err := f.syncDir(f.file(metadataDir)); err != nil {
			return err
		}
	}
	for _, name := range gone {
		if err := f.remove(f.file(name)); err != nil {
			return err
		}
		delete(s.Proved, name)
		out.removed++
	}
	s.States, s.Synced, s.Source = stay, e.now.UTC(), e.source
	return f.writeState(*s)
}

// A checkingReader gives what was signed, or an error in the place of its end.
type checkingReader struct {
	ctx    context.Context
	source string
	t      signing.Target
	r      io.Reader
	sum    hash.Hash
	n      int64
}

func checking(ctx context.Context, source string, t signing.Target, r io.Reader) io.Reader {
	return &checkingReader{ctx: ctx, source: source, t: t, r: io.LimitReader(r, t.Length+1), sum: sha256.New()}
}

func (c *checkingReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	if err != io.EOF {
		return n, err
	}
	if got := dbformat.Digest(c.sum.Sum(nil)); c.n != c.t.Length || got != c.t.SHA256 {
		err = &updater.TargetError{Source: c.source, Target: c.t.Path, Reason: fmt.Sprintf("%d bytes with SHA-256 %s, signed are %d with %s", c.n, got, c.t.Length, c.t.SHA256)}
	}
	return n, err
}
