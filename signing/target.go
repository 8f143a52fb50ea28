package signing

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
)

// Limits of what a repository may name.
const (
	MaxTargetPath   = 255                 // bytes of a target path
	MaxTargetLength = dbformat.MaxVersion // bytes of a target: what every JSON reader keeps exact
)

// A Target is a file that a role vouches for.
type Target struct {
	Path   string          // slash-separated, of [a-z0-9._/-]
	Length int64           // exact, in bytes
	SHA256 dbformat.Digest // of the whole file
}

// Name is the file's name below targets/ on a mirror: its hash stands before the last element of its path, so
// that a name never changes its content.
func (t Target) Name() string {
	dir, base := path.Split(t.Path)
	return dir + t.SHA256.String() + "." + base
}

// CheckTargetPath tells why a path cannot be a target's: it must be of [a-z0-9._/-], at most [MaxTargetPath] bytes,
// relative, without empty segments or such that end in a dot. Such a path is the same in a URL, on every file system and under every mirror's
// rules for case, and stays inside its folder.
func CheckTargetPath(p string) error {
	if p == "" || len(p) > MaxTargetPath {
		return &RepositoryError{Kind: ErrTarget, What: fmt.Sprintf("target path %.64q", p),
			Detail: fmt.Sprintf("has %d bytes, want 1 to %d", len(p), MaxTargetPath)}
	}
	for i := range len(p) {
		c := p[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != '/' {
			return &RepositoryError{Kind: ErrTarget, What: fmt.Sprintf("target path %.64q", p),
				Detail: fmt.Sprintf("holds %q, want only a-z, 0-9 and . _ - /", c)}
		}
	}
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "" || strings.HasSuffix(segment, ".") { // some systems drop a last dot
			return &RepositoryError{Kind: ErrTarget, What: fmt.Sprintf("target path %.64q", p),
				Detail: "has an empty segment or one that ends in a dot"}
		}
	}
	return nil
}

// matchPath tells whether a delegation's pattern covers a path: "*" stands for any run within one
// segment, as in the TUF specification; other wildcards do not pass the shape check.
func matchPath(pattern, p string) bool {
	ok, err := path.Match(pattern, p)
	return ok && err == nil
}

func sortedTargets(m map[string]Target) []Target {
	return slices.SortedFunc(maps.Values(m), func(a, b Target) int { return strings.Compare(a.Path, b.Path) })
}
