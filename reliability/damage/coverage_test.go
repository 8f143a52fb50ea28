//go:build check

package damage_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// decoders are the files that read what others wrote, by package.
var decoders = map[string][]string{
	"dbformat": {"assemble.go", "bits.go", "block_prefix.go", "block_rows.go", "block_text.go", "bundle.go", "bundle_index.go", "column.go", "cursor.go",
		"delta.go", "delta_apply.go", "delta_apply_rest.go", "delta_parse.go", "frame.go", "header.go", "release.go", "restrictions.go", "source.go",
		"strictjson.go", "versionrange.go"},
	"signing": {"shape.go", "target.go"},
	"store":   {"current.go", "index.go", "layer.go", "pages.go"},
}

// encoding are the functions of these files that write, or decide and read nothing: they are not counted.
var encoding = regexp.MustCompile(`^((\w*(Encoder|Writer|writer|packer|Store|Generation|Current))\.|` +
	`(\w+\.)?(Encode|MarshalJSON|MarshalText|Error|Is|Unwrap|String|encode\w*|append\w*|Write\w*|write\w*|new\w*(Encoder|Writer)|pieceKey|succeed|refOf|toFile|` +
	`useDict|Reaches|Admits|Sort|Retain|Release|Close|closeBolt|retain|Path|Ref|Matches|HasLayer)$)`)

// least is what seeds alone must reach, in percent of statements.
const least = 90

// seedsWanted is the least number of seeds of each target; those of the rows of H have more.
const seedsWanted = 8

// targets are the fuzz targets that the attack matrix names, with the package that has them.
var targets = map[string]string{
	"FuzzReadBundle":         "dbformat",  // bundle header
	"FuzzParseHeader":        "dbformat",  // layer header
	"FuzzBlocks":             "dbformat",  // record stream
	"FuzzBundleIndex":        "dbformat",  // table of frames
	"FuzzApplyDelta":         "dbformat",  // delta on its base
	"FuzzDeltaOfHistories":   "dbformat",  // apply(delta, base) = full
	"FuzzParseRestrictions":  "dbformat",  // restriction record
	"FuzzParseReleaseRecord": "dbformat",  // release record
	"FuzzColumn":             "dbformat",  // zstd frame limits of a column
	"FuzzSourceReader":       "dbformat",  // zstd and gzip limits of a source
	"FuzzParseDocument":      "signing",   // metadata shape check
	"FuzzTargetPath":         "signing",   // target name check
	"FuzzSourceURL":          "store",     // source list
	"FuzzSettings":           "store",     // configuration of a device
	"FuzzLayerFile":          "store",     // store open on mutated bytes
	"FuzzIndexFile":          "store",     // the same of an index
	"FuzzCurrent":            "store",     // CURRENT
	"FuzzPublishConsume":     "publisher", // publish, consume
}

// A statement block of a coverage profile.
type stretch struct {
	file             string
	line, statements int
	reached          bool
}

// seedRun runs the fuzz targets of a package on their seeds, and gives the number of seeds of each and what they reach.
func seedRun(t *testing.T, pkg string) (seeds map[string]int, profile []stretch) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "cover.out")
	cmd := exec.Command("go", "test", "-tags=check", "-count=1", "-run=^Fuzz", "-v", "-coverprofile="+out, "./"+pkg)
	cmd.Dir = filepath.Join("..", "..")
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", pkg, err, text)
	}
	seeds = map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^ +--- PASS: (Fuzz\w+)/`).FindAllStringSubmatch(string(text), -1) {
		seeds[m[1]]++
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^example\.org/avdb/(\S+?):(\d+)\.\S+ (\d+) (\d+)$`).FindAllStringSubmatch(string(b), -1) {
		line, err1 := strconv.Atoi(m[2])
		n, err2 := strconv.Atoi(m[3])
		if err1 != nil || err2 != nil {
			t.Fatalf("profile says %q", m[0])
		}
		profile = append(profile, stretch{m[1], line, n, m[4] != "0"})
	}
	return seeds, profile
}

// functions gives the name of the function at each line of a file.
func functions(t *testing.T, path string) func(line int) string {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, filepath.Join("..", "..", filepath.FromSlash(path)), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return func(line int) string {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fset.Position(fn.Pos()).Line > line || fset.Position(fn.End()).Line < line {
				continue
			}
			if fn.Recv == nil {
				return fn.Name.Name
			}
			typ := fn.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			return fmt.Sprintf("%s.%s", typ, fn.Name.Name)
		}
		return ""
	}
}

// TestFuzzSeedsReachTheDecoders runs every fuzz target of the decoders on its seeds, and nothing but these, and demands that they reach 90 % of
// the statements that decode.
func TestFuzzSeedsReachTheDecoders(t *testing.T) {
	have := map[string]int{}
	all, reached := 0, 0
	packages := []string{"dbformat", "signing", "store", "publisher"}
	for _, pkg := range packages {
		seeds, profile := seedRun(t, pkg)
		for name, n := range seeds {
			have[pkg+" "+name] = n
		}
		for _, name := range decoders[pkg] {
			path := pkg + "/" + name
			in := functions(t, path)
			n, hit := 0, 0
			var missed []string
			for _, s := range profile {
				if s.file != path || encoding.MatchString(in(s.line)) {
					continue
				}
				n += s.statements
				if s.reached {
					hit += s.statements
				} else {
					missed = append(missed, fmt.Sprintf("%d %s", s.line, in(s.line)))
				}
			}
			if n == 0 {
				t.Errorf("%s has no statements that decode: the file has moved", path)
				continue
			}
			t.Logf("%-30s %4d of %4d statements, %5.1f %%", path, hit, n, 100*float64(hit)/float64(n))
			if testing.Verbose() && os.Getenv("AVDB_MISSED") != "" {
				t.Logf("  not reached: %s", strings.Join(missed, ", "))
			}
			all, reached = all+n, reached+hit
		}
	}
	if 100*reached < least*all {
		t.Errorf("seeds reach %d of %d statements, want %d %%", reached, all, least)
	}
	total := 0
	for _, n := range have {
		total += n
	}
	for name, pkg := range targets {
		if n := have[pkg+" "+name]; n < 50 {
			t.Errorf("%s in %s has %d seeds, want 50", name, pkg, n)
		}
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range have {
			if !yield(name) {
				return
			}
		}
	}) {
		t.Logf("%-40s %4d seeds", name, have[name])
		if have[name] < seedsWanted {
			t.Errorf("%s has %d seeds, want %d", name, have[name], seedsWanted)
		}
	}
	t.Logf("H fuzz seeds: %d targets, %d seeds, %d of %d statements of the decoders, %.1f %%", len(have), total, reached, all, 100*float64(reached)/float64(all))
}
