package updater_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// Folders of the layout that somebody removed are made again, with their modes, and what was in them is fetched again.
func TestLostFoldersAreMadeAgain(t *testing.T) {
	for name, mode := range map[string]fs.FileMode{"db": 0o755, "db/layers": 0o755, "db/index": 0o755, "downloads": 0o700} {
		t.Run(name, func(t *testing.T) {
			w := installed.begin(t)
			path := filepath.Join(w.store.Dir(), filepath.FromSlash(name))
			must(t, os.RemoveAll(path))
			if _, err := w.update(updater.Options{Check: true}); err != nil {
				t.Errorf("a look: %v", err)
			}
			if _, err := os.Lstat(path); err == nil {
				t.Error("a look made the folder")
			}
			w.mustUpdate(updater.Options{})
			w.mustBe("1 full")
			i, err := os.Lstat(path)
			must(t, err)
			if i.Mode().Perm() != mode && runtime.GOOS != "windows" {
				t.Errorf("mode %v, want %v", i.Mode(), mode)
			}
		})
	}
}

// What stands in the place of a folder is refused as long as it is there; the remedy is all that it takes.
func TestLinkInThePlaceOfAFolderIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a right there")
	}
	for _, name := range []string{"db", "db/layers", "db/index", "downloads", "trust", "trust/roots", "trust/tmp"} {
		t.Run(name, func(t *testing.T) {
			w := installed.begin(t)
			path, victim := filepath.Join(w.store.Dir(), filepath.FromSlash(name)), t.TempDir()
			aside := filepath.Join(t.TempDir(), "aside")
			must(t, os.Rename(path, aside))
			must(t, os.Symlink(victim, path))
			_, err := w.update(updater.Options{})
			if !isOnly(err, store.ErrStorage) && !errors.Is(err, signing.ErrStorage) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("%v", err)
			}
			_, err = store.Create(w.store.Dir(), store.Options{})
			if err == nil {
				err = signing.InitTrust(w.store.TrustDir(), w.file("metadata/1.root.json"), false)
			}
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("init: %v", err)
			}
			if list, err := os.ReadDir(victim); err != nil || len(list) > 0 {
				t.Errorf("behind the link are %v, %v", list, err)
			}
			must(t, os.Remove(path)) // the remedy
			if strings.HasPrefix(name, "trust") && name != "trust/tmp" {
				must(t, os.Rename(aside, path))
			}
			w.mustUpdate(updater.Options{})
			w.mustBe("1 full")
		})
	}
}

// No failed update promises protection by a database that cannot be opened.
func TestWhatStaysInUseCanBeOpened(t *testing.T) {
	down := func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotFound)
		return true
	}
	for _, c := range []struct {
		lost     string
		protects bool
	}{{"", true}, {"db/index", true}, {"db/layers", false}} {
		t.Run("without "+c.lost, func(t *testing.T) {
			w := installed.begin(t)
			if c.lost != "" {
				must(t, os.RemoveAll(filepath.Join(w.store.Dir(), filepath.FromSlash(c.lost))))
			}
			w.hostile(down)
			_, err := w.update(updater.Options{})
			if !isOnly(err, updater.ErrUnavailable) {
				t.Fatal(err)
			}
			if got := strings.Contains(err.Error(), "keeps protecting"); got != c.protects {
				t.Errorf("says that it protects: %v, want %v\n%v", got, c.protects, err)
			}
			if got := strings.Contains(err.Error(), "release 1 is installed and cannot be opened: "); got == c.protects {
				t.Error(err)
			}
		})
	}
}

// A publisher has no release or has one: none takes it back. Where nothing was ever seen, it has none yet.
func TestReleaseThatWasTakenBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		lose   []string
		kind   error
		source bool
	}{
		{"installed", nil, signing.ErrUntrusted, true},
		{"database lost", []string{"db"}, signing.ErrUntrusted, true},
		{"floors lost", []string{"trust/floors.json"}, signing.ErrUntrusted, true},
		{"both lost", []string{"db", "trust/floors.json", "trust/verified.json"}, updater.ErrUnavailable, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := installed.begin(t)
			r, err := signing.OpenRepository(w.repo, "")
			must(t, err)
			w.sign(r, signing.RoleDatabase, nil, nil)
			for _, name := range c.lose {
				must(t, os.RemoveAll(filepath.Join(w.store.Dir(), filepath.FromSlash(name))))
			}
			_, err = w.update(updater.Options{})
			if !isOnly(err, c.kind) || !strings.Contains(err.Error(), w.URL) {
				t.Errorf("%v; want %v of %s", err, c.kind, w.URL)
			}
		})
	}
}

// A look needs no right to write: it answers as it does elsewhere, and raises no floor. An update says what is wrong.
func TestLookWhereNothingCanBeWritten(t *testing.T) {
	w := installed.begin(t)
	w.publish(signatures(0, 500))
	full := errors.New("no space left")
	blocked := func(c signing.DiskCall, change func() error) error { return full }
	s, err := store.Open(w.store.Dir(), store.Options{Now: func() time.Time { return w.now }, Disk: diskFunc(blocked)})
	must(t, err)
	before := tree(t, w.store.Dir())
	w.store = s
	for _, o := range []updater.Options{{Check: true}, {DryRun: true}} {
		r, err := w.update(o)
		if err != nil || r.Result != updater.ResultAvailable || r.From != 1 || r.To != 2 || !hasNote(r, signing.NoteNotKept) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if after := tree(t, w.store.Dir()); after != before {
		t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}
	if _, err := w.update(updater.Options{}); !isOnly(err, store.ErrStorage) {
		t.Errorf("an update: %v", err)
	}
	w.mustBe("1 full")
}

type diskFunc func(c signing.DiskCall, change func() error) error

func (f diskFunc) Do(c signing.DiskCall, change func() error) error { return f(c, change) }

// tree is the content of all files below a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var content []byte
			content, err = os.ReadFile(name)
			fmt.Fprintf(&b, "%s %x\n", name, sha256.Sum256(content))
		}
		return err
	}))
	return b.String()
}
