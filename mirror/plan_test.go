package mirror

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// states are states of releases, newest first, each with one file of its own and one of its release: "3 2- 2": "-" for one that was never shown.
func states(text string) []published {
	var list []published
	for i, word := range strings.Fields(text) {
		version, never := strings.CutSuffix(word, "-")
		p := published{Version: uint64(version[0] - '0'), Shown: time.Unix(1, 0)}
		if never {
			p.Shown = time.Time{}
		}
		p.Timestamp[0] = byte(i + 1)
		p.Files = []string{"metadata/" + string(rune('a'+i)), "targets/" + version}
		list = append(list, p)
	}
	return list
}

func TestPrune(t *testing.T) {
	for _, c := range []struct {
		states string
		keep   int
		stay   int
		gone   string
	}{
		{"1", 3, 1, ""},
		{"3 2 1", 3, 3, ""},
		{"4 3 2 1", 3, 3, "metadata/d targets/1"},
		{"4 3 2 1", 1, 1, "metadata/b metadata/c metadata/d targets/1 targets/2 targets/3"},
		{"4 3 2 1", 0, 1, "metadata/b metadata/c metadata/d targets/1 targets/2 targets/3"},
		{"2 2 2 2 1", 3, 4, "metadata/d"},                     // a release that is signed anew and anew
		{"3 2- 2 1", 2, 2, "metadata/b metadata/d targets/1"}, // never shown, and its release was
		{"4 3- 2 1", 3, 3, "metadata/b targets/3"},            // never shown
		{"2- 1", 3, 2, ""},                                    // the first is what is being shown
		{"3- 2- 1", 1, 1, "metadata/b metadata/c targets/1 targets/2"},
	} {
		stay, gone := prune(states(c.states), c.keep)
		if len(stay) != c.stay || strings.Join(gone, " ") != c.gone {
			t.Errorf("%s, keep %d: %d stay, %v go; want %d, %s", c.states, c.keep, len(stay), gone, c.stay, c.gone)
		}
	}
}

func TestWithState(t *testing.T) {
	list := states("2 1")
	again := published{Version: 2, Timestamp: list[0].Timestamp, Files: []string{"targets/x"}}
	got := withState(list, again)
	if len(got) != 2 || got[0].Shown.IsZero() || strings.Join(got[0].Files, " ") != "metadata/a targets/2 targets/x" {
		t.Errorf("the same state again: %+v", got)
	}
	other := published{Version: 2, Timestamp: [32]byte{9}, Files: []string{"targets/x"}}
	if got := withState(list, other); len(got) != 3 || !got[0].Shown.IsZero() || len(got[0].Files) != 1 {
		t.Errorf("another state: %+v", got)
	}
}

func TestWants(t *testing.T) {
	for _, c := range []struct {
		target string
		layers string
		want   bool
	}{
		{"light/1-2.delta", "light", true}, {"rest/1-2.delta", "light", false}, {"rest/x.bundle", "light rest", true}, {"light/x.bundle", "rest", false},
		{"release.json", "rest", true}, {"restrictions/set.json", "light", true}, {"global.json", "light", true}, {"light", "rest", true}, {"lightly/x", "rest", true},
	} {
		if got := wants(c.target, strings.Fields(c.layers)); got != c.want {
			t.Errorf("%s with %s: %t, want %t", c.target, c.layers, got, c.want)
		}
	}
}

// Files are removed by names from state.json: none of them may be another one than what this package writes.
func TestOurs(t *testing.T) {
	hash := strings.Repeat("a", 64)
	for name, want := range map[string]bool{
		"targets/light/" + hash + ".x.bundle": true, "targets/" + hash + ".release.json": true, "metadata/3.snapshot.json": true,
		"": false, "targets/": false, "targets/../x": false, "targets/a/../../x": false, "targets//x": false, "/etc/passwd": false, "metadata/timestamp.json": false,
		"metadata/1.root.json": false, "metadata/a/b": false, "metadata/..": false, ".mirror/state.json": false, "targets/a\\..\\..": false,
	} {
		if got := ours(name); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
}

func TestFoldersOf(t *testing.T) {
	if got := foldersOf([]string{"targets/light/b", "targets/a", "targets/light/c"}); !slices.Equal(got, []string{"targets", "targets/light"}) {
		t.Error(got)
	}
}
