// Package avdb_test holds the rules of the house: what the design decides and no compiler checks.
package avdb_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "example.org/avdb/"

// imports is the design: what each package may import from this module. Arrows point down only.
// A new arrow is a decision: it belongs into docs/ARCHITECTURE.md as well.
var imports = map[string][]string{
	"osfile":           {},
	"dbformat":         {},
	"pattern":          {"dbformat"},
	"signing":          {"dbformat", "osfile", "signing/internal/exchange"},
	"store":            {"dbformat", "ksn/protocol", "osfile", "signing"},
	"matcher":          {"archive", "dbformat", "filetype", "matcher/patterns", "osfile", "pattern", "store", "urlhash"},
	"urlhash":          {},
	"filetype":         {},
	"archive":          {"filetype"},
	"matcher/patterns": {"filetype", "pattern", "prefilter"},
	"prefilter":        {},
	"ksn":              {"dbformat", "store"},
	"ksn/protocol":     {"dbformat"},
	"ksn/reputation":   {"dbformat", "ksn", "ksn/protocol", "matcher", "store"},
	"ksn/network":      {"dbformat", "ksn/protocol", "osfile"},
	"ksn/statistics":   {"dbformat", "ksn"},
	"ksn/intake":       {"dbformat", "ksn/protocol", "ksn/statistics", "osfile"},
	"ksn/serving":      {"ksn/protocol"},
	"ksn/proxy":        {"dbformat", "ksn", "ksn/protocol", "ksn/serving", "statuspage"},
	"ksn/server":       {"dbformat", "docs/api", "ksn/protocol", "ksn/serving", "statuspage"},
	"docs/api":         {},
	"updater":          {"dbformat", "ksn", "ksn/protocol", "matcher", "osfile", "signing", "store"},
	"publisher":        {"dbformat", "osfile", "pattern", "signing", "urlhash"},
	"mirror":           {"dbformat", "matcher", "osfile", "signing", "store", "updater"},
	"statuspage":       {},
	"cmd/avdb": {"dbformat", "ksn", "ksn/intake", "ksn/network", "ksn/protocol", "ksn/proxy", "ksn/reputation", "ksn/server", "ksn/serving",
		"ksn/statistics", "matcher", "mirror", "osfile", "publisher", "signing", "store", "updater", "urlhash"},
	"signing/internal/exchange":    {},
	"signing/internal/conformance": {"osfile", "signing/internal/exchange"},                             // a program for tests only
	"fixtures":                     {"dbformat", "publisher", "signing", "store", "matcher", "updater"}, // for tests only
	"pattern/patterntest":          {"pattern"},                                                         // for tests only
}

// owners are the libraries that enter through one package only, so that replacing one is a local change.
var owners = map[string][]string{
	"github.com/theupdateframework/go-tuf/v2": {"signing", "signing/internal/exchange", "signing/internal/conformance"},
	"github.com/sigstore/sigstore":            {"signing"},
	"go.etcd.io/bbolt":                        {"store"},
	"github.com/gofrs/flock":                  {"store", "signing", "mirror"},
	"github.com/klauspost/compress":           {"dbformat", "archive"},
	"github.com/cavaliergopher/grab/v3":       {"updater"},
	"github.com/hashicorp/go-retryablehttp":   {"updater"},
	"github.com/spf13/cobra":                  {"cmd/avdb"},
	"github.com/goccy/go-yaml":                {"cmd/avdb", "publisher"},
	"github.com/prometheus/client_golang":     {"statuspage"},
	"golang.org/x/term":                       {"cmd/avdb"},
	"github.com/maypok86/otter/v2":            {"ksn/reputation", "ksn/proxy"},
	"github.com/nats-io/nats.go":              {"ksn/intake"},
	"golang.org/x/net":                        {"urlhash"},
	"golang.org/x/sys":                        {"osfile", "cmd/avdb"},
	"github.com/getkin/kin-openapi":           {"ksn/server"},       // in tests only
	"github.com/hanwen/go-fuse/v2":            {"reliability/disk"}, // in tests only
}

// embeddable packages go into other people's programs: none of these may come with them.
var (
	embeddable = []string{"updater", "store", "matcher", "ksn", "ksn/reputation", "ksn/statistics"}
	unwelcome  = []string{"github.com/spf13/", "github.com/prometheus/", "github.com/minio/", "github.com/goccy/go-yaml", "github.com/nats-io/",
		module + "ksn/server", module + "ksn/serving", module + "ksn/proxy", module + "ksn/intake", module + "statuspage",
		module + "publisher", module + "mirror", module + "fixtures", module + "cmd/"}
)

type listed struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Dir,Imports,Deps", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(p.ImportPath, module); ok {
			all[name] = p
		}
	}
	if len(all) < 5 {
		t.Fatalf("go list shows %d packages: the module path or the layout has changed", len(all))
	}
	return all
}

func TestImportArrowsPointDown(t *testing.T) {
	for name, p := range packages(t) {
		allowed, known := imports[name]
		if !known && !strings.HasPrefix(name, "fixtures/") && !strings.HasPrefix(name, "reliability/") { // folders of tests
			t.Errorf("%s is not in the import table: add it there and to docs/ARCHITECTURE.md", name)
			continue
		}
		for _, imported := range p.Imports {
			if target, ours := strings.CutPrefix(imported, module); ours && !slices.Contains(allowed, target) {
				t.Errorf("%s imports %s: no such arrow in the design", name, target)
			}
			for library, who := range owners {
				if (imported == library || strings.HasPrefix(imported, library+"/")) && !slices.Contains(who, name) {
					t.Errorf("%s imports %s, which enters through %s only", name, imported, strings.Join(who, ", "))
				}
			}
		}
	}
}

// What is for tests only, nothing else imports: neither a package that could be linked into a program nor one of another purpose.
func TestPackagesForTestsAreImportedByTestsOnly(t *testing.T) {
	all := packages(t)
	for _, test := range []string{"fixtures", "pattern/patterntest", "signing/internal/conformance"} {
		if _, ok := all[test]; !ok {
			t.Errorf("no package %s: it has moved", test)
		}
		for name, p := range all {
			if slices.Contains(p.Imports, module+test) && !strings.HasPrefix(name, "fixtures/") {
				t.Errorf("%s imports %s, which is for tests only", name, test)
			}
		}
	}
}

func TestEmbeddedPackagesStaySmall(t *testing.T) {
	all := packages(t)
	for _, name := range embeddable {
		for _, dep := range all[name].Deps {
			for _, bad := range unwelcome {
				if strings.HasPrefix(dep, bad) {
					t.Errorf("%s links %s: embedders must not get it", name, dep)
				}
			}
		}
	}
}

// goFiles calls f for every Go file of the module with its path.
func goFiles(t *testing.T, f func(path string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, ".go") {
			n++
			f(path)
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d Go files: %v", n, err)
	}
}

func TestEveryPackageAndExportedNameHasAComment(t *testing.T) {
	for name, p := range packages(t) {
		fset := token.NewFileSet()
		entries, err := os.ReadDir(p.Dir)
		if err != nil {
			t.Fatal(err)
		}
		var files []*ast.File
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, e.Name()), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		if len(files) == 0 {
			continue
		}
		d, err := doc.NewFromFiles(fset, files, p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Doc) < 80 {
			t.Errorf("package %s has no comment that says what it is for and what it promises", name)
		}
		missing := func(what, comment string) {
			if strings.TrimSpace(comment) == "" {
				t.Errorf("%s: %s has no comment", name, what)
			}
		}
		funcs := func(fs []*doc.Func) {
			for _, f := range fs {
				// The methods that fmt, errors, sort and encoding call are known by their interfaces.
				if f.Recv != "" && slices.Contains([]string{"Error", "Is", "Unwrap", "String"}, f.Name) {
					continue
				}
				missing(f.Recv+" "+f.Name, f.Doc)
			}
		}
		funcs(d.Funcs)
		for _, typ := range d.Types {
			missing("type "+typ.Name, typ.Doc)
			funcs(typ.Funcs)
			funcs(typ.Methods)
		}
		for _, v := range slices.Concat(d.Consts, d.Vars) {
			missing(strings.Join(v.Names, ", "), v.Doc+commentsInside(v.Decl))
		}
	}
}

// commentsInside gathers the comments beside the names of a group.
func commentsInside(d *ast.GenDecl) string {
	var all strings.Builder
	for _, s := range d.Specs {
		if v, ok := s.(*ast.ValueSpec); ok {
			all.WriteString(v.Doc.Text() + v.Comment.Text())
		}
	}
	return all.String()
}

func TestNoInitFunctions(t *testing.T) {
	goFiles(t, func(path string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: state belongs into values that callers make", path)
			}
		}
	})
}

// No other engine may take our own tree for the test file, and no file may hold work that is left to do.
func TestNothingForbiddenInTheTree(t *testing.T) {
	forbidden := []string{
		"EICAR-STANDARD-" + "ANTIVIRUS-TEST-FILE!", // built at run time wherever it is needed
		"TO" + "DO", "FIX" + "ME", "not " + "implemented",
	}
	n := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		n++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, word := range forbidden {
			if bytes.Contains(b, []byte(word)) {
				t.Errorf("%s contains %q", path, word)
			}
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files: %v", n, err)
	}
}

// The documents that README and DESIGN promise exist, and what they link to exists.
func TestDocumentsAndTheirLinks(t *testing.T) {
	for _, path := range []string{"README.md", "CHANGELOG.md", "LICENSE", "docs/ARCHITECTURE.md", "docs/THREATS.md", "docs/PERFORMANCE.md"} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	documents, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	formats, err := filepath.Glob("docs/format/*.md")
	if err != nil || len(formats) == 0 {
		t.Fatalf("docs/format holds %d pages: %v", len(formats), err)
	}
	for _, path := range slices.Concat([]string{"README.md"}, documents, formats) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(string(b), "](") {
			link, _, ok := strings.Cut(part, ")")
			if !ok || strings.Contains(link, "://") || strings.HasPrefix(link, "#") || strings.ContainsAny(link, " \n") {
				continue
			}
			link, _, _ = strings.Cut(link, "#")
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), link)); err != nil && link != "" && part != string(b) {
				t.Errorf("%s links to %s, which does not exist", path, link)
			}
		}
	}
}

// promised are the pages on which each claim names the tests that hold it.
var promised = []string{"docs/THREATS.md", "docs/RELIABILITY.md"}

// TestClaimsNameTestsThatExist: a claim is held by a test of that name in that package, or it is a wish. In a cell of a table, a folder in backquotes
// is followed by the names of its tests.
func TestClaimsNameTestsThatExist(t *testing.T) {
	words := regexp.MustCompile("`[a-z/]+`|\\b(Test|Fuzz)[A-Z][A-Za-z0-9_]*")
	for _, page := range promised {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for n, line := range strings.Split(string(b), "\n") {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			folder := ""
			for _, w := range words.FindAllString(line, -1) {
				if name := strings.Trim(w, "`"); name != w {
					folder = name
					continue
				}
				found++
				if !declares(t, folder, w) {
					t.Errorf("%s:%d: no func %s in the tests of %q", page, n+1, w, folder)
				}
			}
		}
		if found < 20 {
			t.Errorf("%s names %d tests: the page, or the way it names them, has changed", page, found)
		}
	}
}

// declares tells whether the tests of a folder have a function of that name.
func declares(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("\nfunc "+name+"(")) {
			return true
		}
	}
	return false
}
