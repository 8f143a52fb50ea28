//go:build check && !windows

package statuspage_test

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The screens that the page is looked at on. AVDB_PICTURES names a folder for what was seen, for people.
var screens = []struct {
	name          string
	width, height int
	scheme        string
	ground        color.RGBA // as page.css has it
}{
	{"desk-light", 1280, 800, "light", color.RGBA{0xf4, 0xf6, 0xf8, 0xff}},
	{"desk-dark", 1280, 800, "dark", color.RGBA{0x0f, 0x13, 0x18, 0xff}},
	{"phone-light", 390, 844, "light", color.RGBA{0xf4, 0xf6, 0xf8, 0xff}},
	{"narrow-dark", 360, 740, "dark", color.RGBA{0x0f, 0x13, 0x18, 0xff}},
}

// A browser shows the page as it is meant: in light and dark, on a desk and on a phone, without a complaint and without anything at the sides.
func TestPageInABrowser(t *testing.T) {
	h := newProxy(t).Handler()
	s := httptest.NewServer(h)
	defer s.Close()
	b := newBrowser(t)
	pictures := map[string]image.Image{}
	var roles map[string]int
	for _, screen := range screens {
		b.open(s.URL+"/status?refresh=off", screen.width, screen.height, screen.scheme)
		fits(t, b, screen.name)
		raw := b.picture(false)
		if dir := os.Getenv("AVDB_PICTURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, screen.name+".png"), raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, err := png.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		pictures[screen.name] = p
		if size := p.Bounds().Size(); size != image.Pt(screen.width, screen.height) {
			t.Errorf("%s: the picture is %v", screen.name, size)
		}
		if c := color.RGBAModel.Convert(p.At(3, 3)); c != screen.ground {
			t.Errorf("%s: the ground is %v, want %v", screen.name, c, screen.ground)
		}
		if n := colours(p); n < 100 { // smoothed letters alone have more
			t.Errorf("%s: %d colours: is the page blank?", screen.name, n)
		}
		if got := b.roles(); roles == nil {
			roles = got
		} else if got["table"] != roles["table"] || got["rowheader"] != roles["rowheader"] || got["img"] != roles["img"] {
			t.Errorf("%s: those who hear the page find %v, on another screen %v", screen.name, got, roles)
		}
	}
	if share := differing(pictures["desk-light"], pictures["desk-dark"]); share < 0.95 {
		t.Errorf("light and dark have %.0f %% of their pixels in common", 100*(1-share))
	}
	if roles["table"] != 9 || roles["img"] != 23 || roles["columnheader"] < 30 {
		t.Errorf("those who hear the page find %v", roles)
	}
	if len(b.console) > 0 {
		t.Errorf("the browser complains: %q", b.console)
	}
}

// fits demands that nothing reaches beyond the sides of the screen, and that no text is cut off.
func fits(t *testing.T, b *browser, name string) {
	t.Helper()
	var wide []string
	b.eval(`[...document.querySelectorAll("body, body *")].filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5 ||
		e.getBoundingClientRect().left < -0.5).map(e => e.tagName + " " + e.textContent.slice(0, 40))`, &wide)
	var scroll, client int
	b.eval("document.documentElement.scrollWidth", &scroll)
	b.eval("document.documentElement.clientWidth", &client)
	if len(wide) > 0 || scroll > client {
		t.Errorf("%s: the page scrolls sideways (%d of %d): %q", name, client, scroll, wide)
	}
}

// roles counts what assistive technology is told of.
func (b *browser) roles() map[string]int {
	b.t.Helper()
	var tree struct {
		Nodes []struct {
			Ignored bool
			Role    struct{ Value string }
		}
	}
	b.call("Accessibility.getFullAXTree", nil, &tree)
	n := map[string]int{}
	for _, node := range tree.Nodes {
		if role := node.Role.Value; !node.Ignored && role == "image" {
			n["img"]++
		} else if !node.Ignored {
			n[role]++
		}
	}
	return n
}

func colours(p image.Image) int {
	seen := map[color.Color]bool{}
	r := p.Bounds()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			seen[color.RGBAModel.Convert(p.At(x, y))] = true
		}
	}
	return len(seen)
}

// differing is the share of pixels in which two pictures of one size differ.
func differing(a, b image.Image) float64 {
	n, r := 0, a.Bounds()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if color.RGBAModel.Convert(a.At(x, y)) != color.RGBAModel.Convert(b.At(x, y)) {
				n++
			}
		}
	}
	return float64(n) / float64(r.Dx()*r.Dy())
}

// Long words and hostile texts neither run nor push the page apart.
func TestHostilePageInABrowser(t *testing.T) {
	p := newProxy(t)
	p.routeError = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>` + strings.Repeat("W", 5000)
	p.notReady = strings.Repeat("\u202eabc<b>", 40) + strings.Repeat("漢", 500)
	s := httptest.NewServer(p.Handler())
	defer s.Close()
	b := newBrowser(t)
	for _, screen := range screens {
		b.open(s.URL+"/?refresh=off", screen.width, screen.height, screen.scheme)
		fits(t, b, screen.name)
	}
	var title string
	b.eval("document.title", &title)
	var tags int
	b.eval(`document.querySelectorAll("script, img, b").length`, &tags)
	if title != "KSN proxy: critical" || tags != 0 || len(b.console) > 0 {
		t.Errorf("title %q, %d tags, console %q", title, tags, b.console)
	}
}

// The page asks again by itself, keeps its place, and its policy does not forbid it.
func TestRefreshInABrowser(t *testing.T) {
	var asked atomic.Int32
	h := newProxy(t).Handler()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/status" {
			asked.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
	defer s.Close()
	b := newBrowser(t)
	b.open(s.URL+"/status", 1280, 800, "light")
	began := time.Now()
	for b.next().Method != "Page.loadEventFired" {
	}
	if n, d := asked.Load(), time.Since(began); n != 2 || d < 8*time.Second {
		t.Errorf("asked %d times in %v", n, d)
	}
}

// What the page is without any tool of ours between: the browser's own dump has the texts, the numbers and the drawings.
func TestDumpedPage(t *testing.T) {
	s := httptest.NewServer(newProxy(t).Handler())
	defer s.Close()
	cmd := exec.Command(chromium(t), append(quiet(t), "--dump-dom", s.URL+"/status")...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dom := string(out)
	for _, want := range []string{"KSN proxy", "warning", "1 of 3 servers does not answer", "83,462", `<data value="83462">`, "68.0 MiB", "81.0 %",
		"2026-03-01T10:42:07Z", "https://ksn-c.example.net", "503 Service Unavailable", "2026-03-ddos-a", "stats-pause", "p99 in the last hour"} {
		if !strings.Contains(dom, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	_, _, page := get(t, newProxy(t).Handler(), "/status")
	was, is := readPage(t, page), readPage(t, dom)
	if !slices.EqualFunc(was.rows, is.rows, func(a, b shownRow) bool { return a.head == b.head && slices.Equal(a.cells, b.cells) }) {
		t.Error("the browser understands other tables than were sent")
	}
	if n := strings.Count(dom, "<svg"); n != 23 || strings.Count(dom, `class="line" d="M`) != n {
		t.Errorf("%d drawings", n)
	}
}
