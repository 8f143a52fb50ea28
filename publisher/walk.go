package publisher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.org/avdb/osfile"
)

// ErrSources is matched by errors about sources as a whole: one that is missing or cannot be read, an
// argument of unknown kind, or nothing at all that was accepted.
var ErrSources = errors.New("sources")

// A SourceError says which source cannot be used and what to do about it.
type SourceError struct {
	File   string // as it was given, or below a folder that was; "" for all of them
	Reason string
	Err    error // what the system said, or nil
}

func (e *SourceError) Error() string {
	s := "source"
	if e.File != "" {
		s += " " + e.File
	} else {
		s += "s"
	}
	s += ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is matches [ErrSources].
func (e *SourceError) Is(target error) bool { return target == ErrSources }

// Unwrap gives what the system said.
func (e *SourceError) Unwrap() error { return e.Err }

// A Reject is a line that is no part of the release, and why. Line 0 is about the file itself.
type Reject struct {
	File   string `json:"file"`
	Line   int    `json:"line"` // counted from 1; blank lines and comments count here, so that editors agree
	Reason string `json:"reason"`
}

// Reasons of rejects about a file in a folder.
const (
	reasonExtension = "unknown extension"
	reasonSymlink   = "symbolic link, not followed"
	reasonSpecial   = "neither a file nor a folder"
)

// A sourceFile is a file to read.
type sourceFile struct {
	path string
	kind kind
}

// findSources lists the files of the arguments, folders in sorted order. What a folder holds beside
// sources is a reject; what an argument names that is none is an error.
func findSources(arguments []string) (files []sourceFile, rejects []Reject, err error) {
	for _, arg := range arguments {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, nil, &SourceError{File: arg, Reason: "cannot be read", Err: bare(err)}
		}
		switch {
		case info.IsDir():
			f, r, err := findInFolder(arg)
			if err != nil {
				return nil, nil, err
			}
			files, rejects = append(files, f...), append(rejects, r...)
		case !info.Mode().IsRegular():
			return nil, nil, &SourceError{File: arg, Reason: reasonSpecial}
		default:
			k, ok := kindOf(arg)
			if !ok {
				return nil, nil, &SourceError{File: arg, Reason: reasonExtension + ", want one of " + extensions + " (or that and .gz or .zst)"}
			}
			files = append(files, sourceFile{arg, k})
		}
	}
	return files, rejects, nil
}

// extensions names every known extension, for messages.
const extensions = ".hdb .hsb .hdu .hsu .mdb .msb .mdu .msu .ndb .ndu .ldb .ldu .fp .sfp .ign .ign2 .hashes .urls"

func findInFolder(root string) (files []sourceFile, rejects []Reject, err error) {
	// An argument may be a link to a folder; WalkDir follows that only behind a separator.
	start := root
	if !strings.HasSuffix(start, string(filepath.Separator)) {
		start += string(filepath.Separator)
	}
	err = filepath.WalkDir(start, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return &SourceError{File: path, Reason: "cannot be read", Err: bare(err)}
		}
		path = filepath.Clean(path)
		switch t := d.Type(); {
		case t.IsDir():
		case t&fs.ModeSymlink != 0:
			rejects = append(rejects, Reject{File: path, Reason: reasonSymlink})
		case !t.IsRegular():
			rejects = append(rejects, Reject{File: path, Reason: reasonSpecial})
		default:
			if k, ok := kindOf(path); ok {
				files = append(files, sourceFile{path, k})
			} else {
				rejects = append(rejects, Reject{File: path, Reason: reasonExtension})
			}
		}
		return nil
	})
	return files, rejects, err
}

// bare strips the path that errors of opening and reading repeat.
func bare(err error) error {
	if _, ok := errors.AsType[*osfile.IrregularError](err); ok {
		return errors.New("not a regular file")
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}
