package signing

import (
	"errors"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzTargetPath: a path that is taken stays inside its folder on every system, is spelled in one way, and so is the name that is
// made of it.
func FuzzTargetPath(f *testing.F) {
	for _, p := range wickedPaths {
		f.Add(p)
		f.Add("light/" + p)
		f.Add(p + "/x")
	}
	for _, p := range []string{"release.json", "light/1-2.delta", "restrictions/set.json", "rest/" + strings.Repeat("ab", 32) + ".bundle", strings.Repeat("a", MaxTargetPath), "-", "_", "a/b/c/d", "nul", "com1.x"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if err := CheckTargetPath(p); err != nil {
			if !errors.Is(err, ErrTarget) {
				t.Fatalf("%q: %v", p, err)
			}
			return
		}
		for _, name := range []string{p, Target{Path: p}.Name()} {
			if path.Clean(name) != name || path.IsAbs(name) || strings.ToLower(name) != name || strings.ContainsAny(name, "\\:*?%#~ ") {
				t.Fatalf("%q is taken", name)
			}
		}
		// The path itself names no file: "nul" is none on Windows, and is taken.
		if name := (Target{Path: p}).Name(); !filepath.IsLocal(filepath.FromSlash(name)) {
			t.Fatalf("%q leaves its folder", name)
		}
	})
}
