package main

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/avdb/store"
)

// exclusions are what a scan leaves out.
type exclusions struct{ files, dirs globs }

// globs are patterns of filepath.Match.
type globs []string

func newExclusions(files, dirs []string) (exclusions, error) {
	dirs = slices.Clone(dirs)
	for i, g := range dirs {
		for len(g) > 1 && os.IsPathSeparator(g[len(g)-1]) { // as people and shells write folders
			g = g[:len(g)-1]
		}
		dirs[i] = g
	}
	for flag, list := range map[string][]string{"exclude": files, "exclude-dir": dirs} {
		for _, g := range list {
			if _, err := filepath.Match(g, ""); err != nil || g == "" {
				return exclusions{}, usagef("--%s is %q, want a glob such as *.iso", flag, g)
			}
		}
	}
	return exclusions{files, dirs}, nil
}

// match tells whether a path is named: by a glob without a separator its last part, by another one the whole.
func (list globs) match(path string) bool {
	for _, g := range list {
		what := path
		if !strings.ContainsFunc(g, func(r rune) bool { return r < 0x80 && os.IsPathSeparator(uint8(r)) }) {
			what = filepath.Base(path)
		}
		if ok, _ := filepath.Match(g, what); ok { // checked before
			return true
		}
	}
	return false
}

// from gives what is left of roots. Without exclusions these are the roots themselves, and the matcher
// walks through them. With some, folders are walked through here, in the same order, and their files are
// given one by one. A file that somebody swaps for a link in between is then followed like a root.
func (x exclusions) from(roots iter.Seq[string]) iter.Seq[string] {
	if len(x.files)+len(x.dirs) == 0 {
		return roots
	}
	return func(yield func(string) bool) {
		for root := range roots {
			fi, err := os.Stat(root)
			switch {
			case err == nil && fi.IsDir():
				if !x.dirs.match(root) && !x.folder(root, yield) {
					return
				}
			case x.files.match(root):
			case !yield(root): // also what is not there, so that it is told
				return
			}
		}
	}
}

// folder gives the files in a folder. One that cannot be listed is given itself: the matcher then says why.
func (x exclusions) folder(path string, yield func(string) bool) bool {
	list, err := os.ReadDir(path)
	if err != nil {
		return yield(path)
	}
	for _, e := range list {
		at := path + string(os.PathSeparator) + e.Name()
		if os.IsPathSeparator(path[len(path)-1]) {
			at = path + e.Name()
		}
		switch {
		case e.Type()&fs.ModeType == fs.ModeDir:
			if !x.dirs.match(at) && !x.folder(at, yield) {
				return false
			}
		case e.Type().IsRegular() && !x.files.match(at):
			if !yield(at) {
				return false
			}
		}
	}
	return true
}

// days is a flag: a duration that may be given in days. 0 stands for none.
type days time.Duration

// Set takes 7d, or whatever time.ParseDuration takes.
func (d *days) Set(text string) error {
	v, err := time.ParseDuration(text)
	if number, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(number, 10, 16) // up to 179 years, which a Duration holds
		v = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || v < 0 {
		return errors.New("want an age such as 7d or 36h")
	}
	*d = days(v)
	return nil
}

// String is the age in the form that Set takes.
func (d *days) String() string {
	switch v := time.Duration(*d); {
	case v == 0:
		return "0"
	case v%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", v/(24*time.Hour))
	default:
		return durationText(v)
	}
}

// Type is what pflag calls the flag's value.
func (d *days) Type() string { return "age" }

// check refuses a database that was published longer ago, if there is a limit.
func (d days) check(g store.Generation, now time.Time) error {
	if age := now.Sub(g.Published); d > 0 && age > time.Duration(d) {
		return hint(fmt.Errorf("the database (release %d, published %s) is %s old, and --max-db-age allows %s: nothing was scanned",
			g.Version, stamp(g.Published), ago(age), &d), "run \"avdb update\"; \"avdb status\" says what keeps it from newer ones")
	}
	return nil
}
