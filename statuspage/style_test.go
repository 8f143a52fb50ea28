package statuspage

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// luminance is the relative luminance of a colour "#rrggbb", as WCAG 2 defines it.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 32)
	if err != nil || len(colour) != 7 {
		t.Fatalf("colour %q: %v", colour, err)
	}
	linear := func(c uint64) float64 {
		x := float64(c&0xff) / 255
		if x <= 0.04045 {
			return x / 12.92
		}
		return math.Pow((x+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestContrastOfKnownColours(t *testing.T) {
	if c := contrast(t, "#ffffff", "#000000"); math.Abs(c-21) > 1e-9 {
		t.Error(c)
	}
	if c := contrast(t, "#767676", "#ffffff"); c < 4.5 || c > 4.6 { // the lightest grey that passes on white
		t.Error(c)
	}
}

// palettes are the variables of the style sheet, in light and in dark.
func palettes(t *testing.T) map[string]map[string]string {
	t.Helper()
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(styleSource, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d palettes", len(blocks))
	}
	all := map[string]map[string]string{"light": {}, "dark": {}}
	for i, name := range []string{"light", "dark"} {
		for _, v := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(blocks[i][1], -1) {
			all[name][v[1]] = v[2]
		}
	}
	return all
}

// Every text can be read, in both modes: WCAG 2.2 AA asks for 4.5 for texts, and for 3 for lines that say something.
func TestContrast(t *testing.T) {
	texts := map[string][]string{ // what stands on what
		"text": {"ground", "card", "warning-ground", "critical-ground"}, "muted": {"ground", "card"}, "accent": {"ground"},
		"ok": {"card", "ok-ground"}, "warning": {"card", "warning-ground"}, "critical": {"card", "critical-ground"},
	}
	lines := map[string][]string{"accent": {"card", "shade"}}
	for mode, colours := range palettes(t) {
		for least, pairs := range map[float64]map[string][]string{4.5: texts, 3: lines} {
			for front, backs := range pairs {
				for _, back := range backs {
					if c := contrast(t, colours[front], colours[back]); c < least {
						t.Errorf("%s: %s on %s has a contrast of %.2f, want %v", mode, front, back, c, least)
					}
				}
			}
		}
	}
	// Nothing stands on the page in a colour that is not held above.
	tested := slices.Concat(slices.Collect(maps.Values(texts))...)
	for _, use := range regexp.MustCompile(`[ ;{](color|background): ([^;]+);`).FindAllStringSubmatch(styleSource, -1) {
		name := strings.TrimSuffix(strings.TrimPrefix(use[2], "var(--"), ")")
		switch _, text := texts[name]; {
		case use[2] == "inherit" || use[2] == "currentColor":
		case use[1] == "color" && !text, use[1] == "background" && !slices.Contains(tested, name):
			t.Errorf("%s is held by no test", use[0])
		}
	}
}

// Both modes have the same variables, all are used, and there is no colour besides them.
func TestPalettesAreComplete(t *testing.T) {
	p := palettes(t)
	names := slices.Sorted(maps.Keys(p["light"]))
	if dark := slices.Sorted(maps.Keys(p["dark"])); !slices.Equal(names, dark) || len(names) < 10 {
		t.Errorf("light has %v, dark has %v", names, dark)
	}
	rest := regexp.MustCompile(`(?s):root \{.*?\}`).ReplaceAllString(styleSource, "")
	for _, n := range names {
		if !strings.Contains(rest, "var(--"+n+")") {
			t.Errorf("--%s is not used", n)
		}
	}
	if c := regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(`).FindString(rest); c != "" {
		t.Errorf("%s is not in the palette", c)
	}
}

// The box that the template draws in is the one that paths are made for.
func TestTemplateHasTheBoxOfSparklines(t *testing.T) {
	want := `viewBox="0 0 ` + strconv.Itoa(sparkWidth) + ` ` + strconv.Itoa(sparkHeight) + `"`
	if n := strings.Count(pageSource, want); n != 1 || strings.Count(pageSource, "viewBox") != n {
		t.Errorf("the template does not draw in %s", want)
	}
}
