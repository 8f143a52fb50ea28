package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// --state is advised only where the state is what could not be reached.
func TestPermissionRemedy(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	denied := func(path string) error {
		return fmt.Errorf("command: %w", &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission})
	}
	for _, c := range []struct {
		state, path string
		named       bool
	}{
		{state, filepath.Join(state, "settings.json"), true},
		{state, filepath.Dir(state), true},
		{state, filepath.Join(filepath.Dir(state), "root.json"), false},
		{"", filepath.Join(state, "settings.json"), false}, // repo, inspect
	} {
		_, remedy := (&app{state: c.state}).explain(denied(c.path))
		if got := strings.Contains(remedy, "--state"); got != c.named || remedy == "" {
			t.Errorf("state %q, %s: %q", c.state, c.path, remedy)
		}
	}
	err := hint(denied("policy.yaml"), "its own advice")
	if _, remedy := (&app{state: state}).explain(err); remedy != "its own advice" {
		t.Errorf("the error's own advice is not given: %q", remedy)
	}
}

// A list with a line that no path can be says so, after the paths before it.
func TestPathListTooLongLine(t *testing.T) {
	text := "first\n" + strings.Repeat("x", maxPath+1) + "\nlast\n"
	l := &pathList{from: io.NopCloser(bytes.NewReader([]byte(text)))}
	var got []string
	for p := range l.all(t.Context()) {
		got = append(got, p)
	}
	text, remedy := (&app{}).explain(l.err)
	if len(got) != 1 || text != "--files-from: a path is longer than 1048576 bytes; those after it were not scanned" || !strings.Contains(remedy, "-0") {
		t.Errorf("paths %q, %q, %q", got, text, remedy)
	}
}
