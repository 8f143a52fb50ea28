package matcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher/patterns"
	"example.org/avdb/prefilter"
	"example.org/avdb/store"
)

// indexed is a generation with everything that its index is about.
func indexed(v string) database {
	d := database{
		lines: map[string][]string{
			"patterns":      {"In.Light." + v + ":0:*:696e206c696768742069742069732066697273742d6f6e65"},
			"rest patterns": {"In.Rest." + v + ":0:0:696e2072657374206974206973207365636f6e64"},
		},
		rows: sections{
			"hash/md5":             {listed(dbformat.MD5, "by md5", true, "MD5."+v), listed(dbformat.MD5, "longer by md5", true, "MD5."+v)},
			"whole/md5":            {listed(dbformat.MD5, "whole by md5", true, "Whole."+v)},
			"hash/sha1":            {listed(dbformat.SHA1, "by sha1", true, "SHA1."+v), listed(dbformat.SHA1, "any by sha1", false, "SHA1."+v)},
			"pua/sha256":           {listed(dbformat.SHA256, "pua", true, "PUA."+v)},
			"sections/md5":         {listed(dbformat.MD5, sector("one"), true, "Section."+v)},
			"rest sections/sha256": {listed(dbformat.SHA256, sector("two"), true, "Section.Rest."+v)},
		},
	}
	for i := range 300 {
		d.lines["rest patterns"] = append(d.lines["rest patterns"], fmt.Sprintf("Other.%d:0:*:%x", i, fmt.Sprintf("pattern %d of them", i)))
	}
	return d
}

// contents of the files that indexed finds, and of some that it does not.
func contents() []string {
	return []string{"by md5", "longer by md5", "whole by md5", "by sha1", "any by sha1", "pua", peFile(false, sector("one")), peFile(true, sector("two")),
		"here in light it is first-one", "in rest it is second", "pattern 77 of them",
		"", "x", "by md6", "in rest it is another", "pattern 777 of them", peFile(false, sector("six")), strings.Repeat("clean ", 10_000)}
}

func writeAll(t *testing.T, contents []string) []string {
	dir := t.TempDir()
	var paths []string
	for i, c := range contents {
		paths = append(paths, write(t, filepath.Join(dir, fmt.Sprint(i)), c))
	}
	return paths
}

// What the index of a generation says changes no verdict; it spares the hashes that cannot be listed.
func TestGenerationIndexChangesNoVerdict(t *testing.T) {
	d := newDevice(t)
	light, rest := indexed("one").build(t)
	d.install(t, 1, light, rest)
	if err := prepareIndex(d, d.current.Generation); err != nil {
		t.Fatal(err)
	}
	m := openMatcher(t, d, Options{}, time.Hour)
	if m.now.Load().gen == nil {
		t.Fatal("the index is not in use")
	}
	bare := openMatcher(t, without{d}, Options{}, time.Hour)
	if bare.now.Load().gen != nil {
		t.Fatal("there is an index where none can be")
	}
	e, err := OpenGeneration(light, rest, Options{})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i, path := range writeAll(t, contents()) {
		want := e.ScanFile(t.Context(), path)
		if (want.Verdict == Malicious) != (i < 11 && contents()[i] != "pua") {
			t.Errorf("%q: %+v", contents()[i], want)
		}
		for name, m := range map[string]*Matcher{"with the index": m, "without any": bare} {
			got := m.ScanFile(t.Context(), path)
			if want.Verdict == Clean {
				want.SHA256, got.SHA256 = "", ""
			}
			if got != want {
				t.Errorf("%q, %s: %+v\nwant %+v", contents()[i], name, got, want)
			}
		}
		if want.Verdict == Malicious {
			found++
		}
	}
	if found < 10 {
		t.Errorf("%d files are found: the test asks too little", found)
	}
	inUse := m.now.Load().engine
	for size, want := range map[int64]algSet{
		6:                    algSet(0).with(dbformat.MD5).with(dbformat.SHA1),
		13:                   algSet(0).with(dbformat.MD5).with(dbformat.SHA1),
		3:                    algSet(0).with(dbformat.SHA1), // a record for any size
		dbformat.MaxSize + 1: algSet(0).with(dbformat.SHA1),
	} {
		if got := inUse.algorithms(false, size, &tally{}); got != want {
			t.Errorf("files of %d bytes are hashed by %b, want %b", size, got, want)
		}
	}
	if got := inUse.algorithms(true, 3, &tally{}); got != algSet(0).with(dbformat.SHA1).with(dbformat.SHA256) {
		t.Errorf("with PUA: %b", got)
	}
	var none tally
	if md5, sha := inUse.partAlgorithms(false, 512, &none), inUse.partAlgorithms(false, 513, &none); md5 == 0 || sha != 0 || none.err != nil {
		t.Errorf("sections of 512 bytes are hashed by %b, of 513 by %b, %v", md5, sha, none.err)
	}
	// Light alone has prefixes, which are of any size.
	alone := d.current.Generation
	alone.Rest = nil
	d.set(alone, nil)
	if err := m.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.now.Load().engine.algorithms(false, 3, &tally{}); got != algSet(0).with(dbformat.MD5).with(dbformat.SHA1) {
		t.Errorf("light: %b", got)
	}
}

// The bytes of an index follow from the layers alone, whatever was installed before.
func TestGenerationIndexIsTheSameForEveryone(t *testing.T) {
	piecesOf := func(d *device, g store.Generation) (all [][]byte) {
		f, err := d.OpenIndex(generationKey(&g))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range f.Pieces() {
			b, err := f.Piece(i)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, bytes.Clone(b))
		}
		return all
	}
	var want [][]byte
	for _, before := range []bool{false, true} {
		d := newDevice(t)
		if before {
			light, rest := indexed("before").build(t)
			g := d.install(t, 1, light, rest)
			if err := prepareIndex(d, g); err != nil {
				t.Fatal(err)
			}
			if s, f := previousSet(d); s == nil || s.Len() != 302 {
				t.Fatal("the set of the current generation is not used again")
			} else {
				f.Close()
			}
		}
		light, rest := indexed("two").build(t)
		g := store.Generation{Version: 2, Light: d.write(t, light)}
		ref := d.write(t, rest)
		g.Rest = &ref
		if err := prepareIndex(d, g); err != nil {
			t.Fatal(err)
		}
		got := piecesOf(d, g)
		if want == nil {
			want = got
		}
		if len(got) != 3 || !slices.EqualFunc(got, want, bytes.Equal) {
			t.Error("the index differs where another generation was there before")
		}
		d.set(g, nil)
		openMatcher(t, d, Options{}, time.Hour)
		if n := len(d.indexes(t)); n != map[bool]int{false: 2, true: 4}[before] {
			t.Errorf("%d indexes", n)
		}
	}
}

// Whatever is wrong with the index of a generation, it is made anew, and nothing is called clean meanwhile that is not.
func TestDamagedGenerationIndexHeals(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	flip := func(piece int) func(*device, string, [][]byte) {
		return func(d *device, key string, pieces [][]byte) {
			at := rng.IntN(len(pieces[piece]))
			path := filepath.Join(d.Dir(), "db", "index", key+".idx")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			begin := bytes.Index(b, pieces[piece])
			if begin < 0 {
				t.Fatal("the piece is not in the file")
			}
			b[begin+at] ^= 1 << rng.IntN(8)
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(change func(pieces [][]byte) [][]byte) func(*device, string, [][]byte) {
		return func(d *device, key string, pieces [][]byte) { put(t, d, key, change(pieces)) }
	}
	paths := writeAll(t, contents())
	for name, spoil := range map[string]func(d *device, key string, pieces [][]byte){
		"missing": func(d *device, key string, _ [][]byte) {
			if err := os.Remove(filepath.Join(d.Dir(), "db", "index", key+".idx")); err != nil {
				t.Fatal(err)
			}
		},
		"a bit of the header":      flip(0),
		"a bit of the sizes":       flip(1),
		"a bit of the set":         flip(2),
		"another bit of it":        flip(2),
		"of another version":       replace(func(p [][]byte) [][]byte { p[0][8]++; return p }),
		"of other layers":          replace(func(p [][]byte) [][]byte { p[0][20]++; return p }),
		"a piece short":            replace(func(p [][]byte) [][]byte { return p[:2] }),
		"a piece more":             replace(func(p [][]byte) [][]byte { return append(p, []byte("more")) }),
		"short sizes":              replace(func(p [][]byte) [][]byte { p[1] = p[1][:len(p[1])-4]; return p }),
		"too many sizes":           replace(func(p [][]byte) [][]byte { p[1][3] = 0x7f; return p }),
		"a short set":              replace(func(p [][]byte) [][]byte { p[2] = p[2][:len(p[2])-1]; return p }),
		"a set of another version": replace(func(p [][]byte) [][]byte { p[2][8]++; return p }),
		"a set of other length":    replace(func(p [][]byte) [][]byte { p[2][24]++; return p }),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			light, rest := indexed("one").build(t)
			g := d.install(t, 1, light, rest)
			if err := prepareIndex(d, g); err != nil {
				t.Fatal(err)
			}
			key := generationKey(&g)
			var want, pieces [][]byte
			f, err := d.OpenIndex(key)
			if err != nil {
				t.Fatal(err)
			}
			for i := range f.Pieces() {
				b, err := f.Piece(i)
				if err != nil {
					t.Fatal(err)
				}
				want, pieces = append(want, bytes.Clone(b)), append(pieces, bytes.Clone(b))
			}
			f.Close()
			spoil(d, key, pieces)
			m := openMatcher(t, d, Options{PUA: true}, -1)
			for i, p := range paths {
				if r := m.ScanFile(t.Context(), p); (r.Verdict == Malicious) != (i < 11) || r.Err != nil {
					t.Fatalf("%q: %+v", contents()[i], r)
				}
			}
			if m.now.Load().gen == nil || m.Err() != nil {
				t.Fatalf("not healed: %v", m.Err())
			}
			if f, err = d.OpenIndex(key); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Pieces() != len(want) {
				t.Fatalf("after healing there are %d pieces, want %d", f.Pieces(), len(want))
			}
			for i := range want {
				if b, err := f.Piece(i); err != nil || !bytes.Equal(b, want[i]) {
					t.Fatalf("after healing piece %d is still wrong, %v", i, err)
				}
			}
		})
	}
}

// Engines of two versions on one state do not take the index from each other: each finds its own again, and cleaning up leaves both.
func TestIndexesOfTwoVersionsStandSideBySide(t *testing.T) {
	d := newDevice(t)
	light, rest := indexed("one").build(t)
	g := d.install(t, 1, light, rest)
	if err := prepareIndex(d, g); err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(generationKey(&g), patterns.Version(), "9.9.999", 1)
	if other == generationKey(&g) {
		t.Fatalf("the key %s does not name the version %s", other, patterns.Version())
	}
	if err := d.PutIndex(other, slices.Values([][]byte{[]byte("of another engine")})); err != nil {
		t.Fatal(err)
	}
	if err := d.Clean(g.Light.Digest, g.Rest.Digest); err != nil {
		t.Fatal(err)
	}
	openMatcher(t, d, Options{}, time.Hour)
	for _, key := range []string{other, generationKey(&g)} {
		f, err := d.OpenIndex(key)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		f.Close()
	}
}

// A damaged pattern is never "clean": where there is no index the generation does not open, and where there is one its name cannot be read.
func TestDamagedPatterns(t *testing.T) {
	d := newDevice(t)
	light, rest := database{lines: map[string][]string{"rest patterns": {"Bad:0:*:7061747465726e2d6f6e65"}}}.build(t)
	g := d.install(t, 1, light, rest)
	path := d.file(*g.Rest)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoilBlock(t, path, rest, 0)
	if m, err := open(d, Options{}, time.Hour); !errors.Is(err, store.ErrDamaged) {
		if err == nil {
			m.Close()
		}
		t.Fatalf("without an index: %v, want damage", err)
	}
	if err := prepareIndex(d, g); !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("PrepareIndex: %v, want damage", err)
	}
	restore := func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	restore()
	if err := prepareIndex(d, g); err != nil {
		t.Fatal(err)
	}
	spoilBlock(t, path, rest, 0)
	m := openMatcher(t, d, Options{}, time.Hour)
	if r := m.ScanBytes(t.Context(), []byte("it has pattern-one")); r.Verdict != Failed || !errors.Is(r.Err, store.ErrDamaged) || !errors.Is(m.Err(), store.ErrDamaged) {
		t.Fatalf("a hit without its name: %+v, %v", r, m.Err())
	}
	restore()
	if err := m.Refresh(t.Context()); err != nil || m.ScanBytes(t.Context(), []byte("it has pattern-one")).Name != "Bad" || m.Err() != nil {
		t.Fatalf("not healed: %v", err)
	}
}

// A mapped index that is cut while it is in use faults. That must be an error of the file, and of the database, which heals.
func TestFaultsOfPatternsAreErrors(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a mapped file cannot be cut there
	}
	d := newDevice(t)
	light, rest := indexed("one").build(t)
	g := d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, time.Hour)
	paths := writeAll(t, contents())
	path := filepath.Join(d.Dir(), "db", "index", generationKey(&g)+".idx")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	for i, p := range paths[:11] {
		if r := m.ScanFile(t.Context(), p); r.Verdict == Clean && contents()[i] != "pua" || r.Verdict == Failed && !errors.Is(r.Err, store.ErrStorage) {
			t.Errorf("%q: %+v", contents()[i], r)
		}
	}
	if !errors.Is(m.Err(), store.ErrStorage) {
		t.Fatalf("Err is %v, want the damage", m.Err())
	}
	if err := m.Refresh(t.Context()); err != nil || m.ScanFile(t.Context(), paths[9]).Name != "In.Rest.one" || m.Err() != nil {
		t.Errorf("not healed: %v, %v", err, m.Err())
	}
}

// Where the bytes of a mapped set change after they were checked and break the matching, they are checked again, and the set is made anew.
func TestASetThatRotsIsTold(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a mapped file cannot be written there
	}
	d := newDevice(t)
	light, rest := indexed("one").build(t)
	g := d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, time.Hour)
	const content = "here in light it is first-one"
	if r := m.ScanBytes(t.Context(), []byte(content)); r.Name != "In.Light.one" {
		t.Fatalf("%+v", r)
	}
	m.now.Load().engine.bodies.scanners = sync.Pool{}
	f, err := d.OpenIndex(generationKey(&g))
	if err != nil {
		t.Fatal(err)
	}
	set, err := f.Piece(genSet)
	if err != nil {
		t.Fatal(err)
	}
	set = bytes.Clone(set)
	path := f.Path()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, set)
	f.Close()
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte{set[len(set)/2] ^ 1}, int64(at+len(set)/2)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	m.now.Load().engine.bodies.set = nil // what a scanner does with such bytes is package patterns' to say: here it panics
	if r := m.ScanBytes(t.Context(), []byte(content)); r.Verdict != Failed || !errors.Is(r.Err, store.ErrNoIndex) || !errors.Is(m.Err(), store.ErrNoIndex) {
		t.Errorf("%+v, Err %v; want the damage", r, m.Err())
	}
	if err := m.Refresh(t.Context()); err != nil || m.ScanBytes(t.Context(), []byte(content)).Name != "In.Light.one" || m.Err() != nil {
		t.Errorf("not healed: %v, %v", err, m.Err())
	}
}

// Damage of the prefilter's part, which nobody follows when it is opened, is damage of the database in every scan, also where the first scanner is made: no
// panic leaves the matcher, and no file is clean whose scan a panic ended.
func TestDamagedPrefiltersAreTold(t *testing.T) {
	light, rest := indexed("one").build(t)
	e, err := OpenGeneration(light, rest, Options{})
	if err != nil {
		t.Fatal(err)
	}
	good, err := e.bodies.compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	from := bytes.Index(good, []byte("AVDBpref"))
	if from < 0 {
		t.Fatal("there is no prefilter in the set")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	content := []byte("here in light it is first-one") // and what all others look for
	for i := range 300 {
		content = fmt.Appendf(content, " pattern %d of them", i)
	}
	told, ended := 0, 0
	for i := range 2000 {
		bad := bytes.Clone(good)
		for range 1 + rng.IntN(8) {
			at := from + rng.IntN(min(len(bad)-from, 16<<10)) // the literals, which are first, and something of all that follows
			bad[at] = [...]byte{0, 1, 0xff, bad[at] ^ 1<<rng.IntN(8), byte(i)}[rng.IntN(5)]
		}
		e.bodies.scanners, e.hurt = sync.Pool{}, atomic.Pointer[error]{}
		if e.bodies.open(bad) != nil {
			continue
		}
		r := e.ScanBytes(t.Context(), content)
		if r.Err == nil {
			continue
		}
		ended++
		if r.Verdict == Clean || r.Error == "" {
			t.Fatalf("%+v", r)
		}
		if errors.Is(r.Err, store.ErrDamaged) {
			told++
			if !errors.Is(r.Err, prefilter.ErrFormat) || !errors.Is(e.damage(), store.ErrDamaged) {
				t.Fatalf("%v, and the database says %v", r.Err, e.damage())
			}
		}
	}
	t.Logf("%d scans were broken, %d of them by what the prefilter noticed", ended, told)
	if told < 20 || ended == told {
		t.Errorf("%d scans were broken, %d of them by what the prefilter noticed: the changes test little", ended, told)
	}
}

// What a prefilter says of itself is damage wherever a set is used, and other panics are not.
func TestPanicsOfPrefiltersAreDamage(t *testing.T) {
	try := func(p any) (err error) {
		defer guardError(debug.SetPanicOnFault(true), &err)
		panic(p)
	}
	if err := try(fmt.Errorf("x: %w", prefilter.ErrFormat)); !errors.Is(err, store.ErrDamaged) || !errors.Is(err, prefilter.ErrFormat) {
		t.Errorf("got %v, want damage", err)
	}
	defer func() {
		if p := recover(); p != io.EOF {
			t.Errorf("recovered %v, want what was passed on", p)
		}
	}()
	t.Errorf("another panic was taken for damage: %v", try(io.EOF))
}
