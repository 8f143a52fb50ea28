package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// folder serves a repository's public folder.
type folder string

func (f folder) Fetch(_ context.Context, name string, _ int64) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(string(f), "metadata", name))
	if errors.Is(err, os.ErrNotExist) {
		err = signing.ErrNotFound
	}
	return b, err
}

// signed makes a verified release of a record, the only way there is: a repository signs it and a trust folder verifies it.
func signed(t *testing.T, record *dbformat.ReleaseRecord) signing.Release {
	t.Helper()
	now := time.Now()
	repo, err := signing.CreateRepository(filepath.Join(t.TempDir(), "repo"), signing.RepositoryOptions{Now: now})
	must(t, err)
	b, err := record.Encode()
	must(t, err)
	target, err := repo.AddTargetBytes(dbformat.ReleaseTarget, b)
	must(t, err)
	must(t, repo.Commit(map[string][]signing.Target{signing.RoleDatabase: {target}}, now))
	root, err := os.ReadFile(filepath.Join(repo.PublicDir(), "metadata", "1.root.json"))
	must(t, err)
	dir := filepath.Join(t.TempDir(), "trust")
	must(t, signing.InitTrust(dir, root, false))
	trust, err := signing.OpenTrust(dir)
	must(t, err)
	v, err := trust.Refresh(t.Context(), folder(repo.PublicDir()), signing.RefreshOptions{Now: now})
	must(t, err)
	rel, err := v.Release(b)
	must(t, err)
	return rel
}

func (r *release) info(variants ...dbformat.Variant) dbformat.Release {
	one := func(m *dbformat.MemLayer) dbformat.LayerInfo {
		return dbformat.LayerInfo{Digest: m.Header().Digest(), Since: 1, Records: m.Header().Records(), Bytes: uint64(m.Header().Bytes())}
	}
	return dbformat.Release{Version: r.version, Created: dbformat.At(day(int(r.version))), MinEngine: 1, Variants: variants, Light: one(r.light), Rest: one(r.rest)}
}

// TestActivateTakesWhatIsSigned: only a generation that the verified release names becomes current, and what CURRENT says of it
// comes from the release and the layers.
func TestActivateTakesWhatIsSigned(t *testing.T) {
	s := newMemoryStore(t)
	stable, candidate, other := newRelease(t, 4, 100, 1), newRelease(t, 5, 101, 2), newRelease(t, 4, 102, 3)
	rel := signed(t, &dbformat.ReleaseRecord{Schema: 1, Stable: stable.info(dbformat.VariantLight, dbformat.VariantFull),
		Candidate: &dbformat.Candidate{Release: candidate.info(dbformat.VariantFull), ShareBP: 100}})
	for _, r := range []*release{stable, candidate, other} {
		for _, m := range []*dbformat.MemLayer{r.light, r.rest} {
			_, err := writeLayer(s, m)
			must(t, err)
		}
	}
	ask := func(r *release, v dbformat.Variant) Generation {
		g := Generation{Version: r.version, Light: LayerRef{Digest: r.light.Header().Digest()}}
		if v == dbformat.VariantFull {
			g.Rest = &LayerRef{Digest: r.rest.Header().Digest()}
		}
		return g
	}
	for _, c := range []struct {
		name, text string
		g          Generation
		rel        signing.Release
	}{
		{"no release", "verified record does not have", ask(stable, dbformat.VariantFull), signing.Release{}},
		{"another version", "verified record does not have", ask(stable.at(6), dbformat.VariantFull), rel},
		{"other layers", "the light layer", ask(other, dbformat.VariantFull), rel},
		{"a variant that is not offered", "is not offered as that", ask(candidate, dbformat.VariantLight), rel},
		{"rest of another release", "the rest layer", ask(&release{light: stable.light, rest: other.rest, version: 4}, dbformat.VariantFull), rel},
	} {
		requireError(t, s.Activate(c.g, c.rel, 1), ErrDigestMismatch, c.text)
		if _, err := s.Current(); !errors.Is(err, ErrNoDatabase) {
			t.Fatalf("%s became current", c.name)
		}
	}
	must(t, s.Activate(ask(stable, dbformat.VariantLight), rel, 1))
	c := requireCurrent(t, s, stable, dbformat.VariantLight)
	if l := c.Light; l.Since != 1 || l.Records != stable.light.Header().Records() || l.Bytes != stable.light.Header().Bytes() || !c.Installed.Equal(day(100)) {
		t.Errorf("CURRENT says %+v", c.Generation)
	}
	_, err := writeLayer(s, candidate.light) // Activate has removed what nothing named
	must(t, err)
	_, err = writeLayer(s, candidate.rest)
	must(t, err)
	must(t, s.Activate(ask(candidate, dbformat.VariantFull), rel, 1))
	requireCurrent(t, s, candidate, dbformat.VariantFull)
	requireNoLeftovers(t, s)
}

// A countedContext ends when it was asked often enough. Each block is asked for once before it is proved.
type countedContext struct {
	context.Context
	asked, end int
}

func (c *countedContext) Err() error {
	if c.asked++; c.end != 0 && c.asked >= c.end {
		return context.Canceled
	}
	return nil
}

func blocksOf(layers ...*dbformat.MemLayer) (n int) {
	for _, l := range layers {
		for i := range l.Header().Sections {
			n += len(l.Header().Sections[i].Blocks)
		}
	}
	return n
}

// TestDropDamagedReadsWhatIsNotProved: what is kept beside the current generation is proved block by block, but for the layers that the current generation
// has, too, and each of the others once.
func TestDropDamagedReadsWhatIsNotProved(t *testing.T) {
	older, newer := newRelease(t, 1, 3000, 1), newRelease(t, 2, 3001, 2)
	for _, c := range []struct {
		name      string
		installed []*release
		variants  []dbformat.Variant
		kept      int
		read      []*dbformat.MemLayer
	}{
		{"two releases", []*release{older, newer}, []dbformat.Variant{dbformat.VariantFull, dbformat.VariantFull}, 1,
			[]*dbformat.MemLayer{older.light, older.rest}},
		{"full beside light of one release", []*release{older, older}, []dbformat.Variant{dbformat.VariantFull, dbformat.VariantLight}, 1,
			[]*dbformat.MemLayer{older.rest}},
		{"light beside full of one release", []*release{older, older}, []dbformat.Variant{dbformat.VariantLight, dbformat.VariantFull}, 1, nil},
		{"both of the release before", []*release{older, older, newer}, []dbformat.Variant{dbformat.VariantFull, dbformat.VariantLight, dbformat.VariantFull}, 2,
			[]*dbformat.MemLayer{older.light, older.rest}},
	} {
		s := newStore(t)
		for i, r := range c.installed {
			must(t, install(s, r, c.variants[i]))
		}
		cur, err := s.current()
		must(t, err)
		if c.kept == 2 { // install keeps one
			cur.Others = append(cur.Others, older.generation(dbformat.VariantFull))
			must(t, s.putCurrent(cur))
			_, err := writeLayer(s, older.rest)
			must(t, err)
		}
		ctx := &countedContext{Context: t.Context()}
		dropped, err := s.DropDamaged(ctx)
		must(t, err)
		if blocks := blocksOf(c.read...); len(cur.Others) != c.kept || len(dropped) > 0 || ctx.asked != blocks+c.kept {
			t.Errorf("%s: %d kept, %d let go of, %d questions to the context, want %d of blocks and one for each that is kept",
				c.name, len(cur.Others), len(dropped), ctx.asked, blocks)
		}
	}
}

// TestDropDamagedEndsWithItsContext: whoever ends the context waits for one block at most, and everything stays as it was, also what is damaged.
func TestDropDamagedEndsWithItsContext(t *testing.T) {
	older, newer := newRelease(t, 1, 3000, 1), newRelease(t, 2, 3001, 2)
	s := newStore(t)
	must(t, install(s, older, dbformat.VariantFull))
	must(t, install(s, newer, dbformat.VariantFull))
	must(t, os.Remove(s.layerPath(older.rest.Header().Digest())))
	before, err := os.ReadFile(s.currentPath())
	must(t, err)
	for end := 1; end <= blocksOf(older.light)+1; end++ {
		ctx := &countedContext{Context: t.Context(), end: end}
		dropped, err := s.DropDamaged(ctx)
		if after, e := os.ReadFile(s.currentPath()); err == nil || len(dropped) > 0 || e != nil || string(after) != string(before) || ctx.asked > end+3 {
			t.Fatalf("ended at question %d: %d let go of, %v, asked %d times, CURRENT changed: %v", end, len(dropped), err, ctx.asked, string(after) != string(before))
		}
	}
	dropped, err := s.DropDamaged(t.Context())
	if err != nil || len(dropped) != 1 || dropped[0].Version != 1 {
		t.Errorf("let go of %v, %v, want release 1", dropped, err)
	}
}
