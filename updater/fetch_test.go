package updater

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// quick are limits under which no test waits long.
func quick() Limits {
	return Limits{Header: 300 * time.Millisecond, Idle: 300 * time.Millisecond, IdleBytes: 2000,
		RetryWait: time.Millisecond, RetryWaitMax: 5 * time.Millisecond, RetryAfter: 50 * time.Millisecond}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// content is n bytes that do not repeat.
func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func targetOf(path string, b []byte) signing.Target {
	return signing.Target{Path: path, Length: int64(len(b)), SHA256: sha256.Sum256(b)}
}

// A mirror is a server whose behaviour a test writes, and what it was asked.
type mirror struct {
	*httptest.Server
	mu  sync.Mutex
	log []string
}

func (m *mirror) asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.log...)
}

func serve(t *testing.T, h http.HandlerFunc) *mirror {
	m := new(mirror)
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		line := r.Method + " " + r.URL.Path
		if v := r.Header.Get("Range"); v != "" {
			line += " " + v
		}
		m.log = append(m.log, line)
		m.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

// plain serves b as any web server does, with ranges.
func plain(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

func sourceAt(t *testing.T, address string, l Limits) (*httpSource, *traffic) {
	t.Helper()
	u, err := parseSource(address)
	if err != nil {
		t.Fatal(err)
	}
	tr := new(traffic)
	l = l.withDefaults()
	m := &meter{next: newTransport(l), own: true, limits: l, traffic: tr}
	s := newHTTPSource(u, m, t.TempDir(), "test", func() time.Time { return noon }, func() float64 { return 0.5 })
	t.Cleanup(s.close)
	return s, tr
}

func partial(s *httpSource, t signing.Target) string {
	return filepath.Join(s.downloads, t.SHA256.String()+".unverified")
}

func ignore(int64) {}

func mustOpen(t *testing.T, s source, target signing.Target, want []byte) {
	t.Helper()
	f, err := s.open(t.Context(), target, ignore)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer f.done(true)
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, error %v; want the %d that were signed", len(got), err, len(want))
	}
}

// A download that was interrupted goes on where it stopped, also in another run, and moves only the remainder.
func TestDownloadResumesAcrossRuns(t *testing.T) {
	b := content(300_000)
	target := targetOf("light/a.bundle", b)
	m := serve(t, plain(b))
	s, tr := sourceAt(t, m.URL, quick())
	if err := os.WriteFile(partial(s, target), b[:200_000], 0o600); err != nil {
		t.Fatal(err)
	}
	var last int64
	f, err := s.open(t.Context(), target, func(n int64) { last = n })
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(f); !bytes.Equal(got, b) {
		t.Error("the content is not what was signed")
	}
	if got := tr.bytes.Load(); got != 100_000 {
		t.Errorf("%d bytes moved, want the missing 100000", got)
	}
	if last != 300_000 {
		t.Errorf("last progress %d, want 300000", last)
	}
	f.done(true)
	if entries, _ := os.ReadDir(s.downloads); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestDownloadCompleteOnDiskMovesNothing(t *testing.T) {
	b := content(5000)
	target := targetOf("light/a.bundle", b)
	m := serve(t, plain(b))
	s, tr := sourceAt(t, m.URL, quick())
	os.WriteFile(partial(s, target), b, 0o600)
	mustOpen(t, s, target, b)
	if n := tr.requests.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// A body that breaks off is resumed within the run.
func TestDownloadResumesABrokenBody(t *testing.T) {
	b := content(300_000)
	target := targetOf("rest/a.bundle", b)
	gets := 0
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			if gets++; gets == 1 {
				w.Header().Set("Content-Length", "300000")
				w.Write(b[:150_000])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}
		plain(b)(w, r)
	})
	s, tr := sourceAt(t, m.URL, quick())
	mustOpen(t, s, target, b)
	if got := tr.bytes.Load(); got != 300_000 {
		t.Errorf("%d bytes moved, want 300000: nothing twice (%q)", got, m.asked())
	}
}

// grab appends whatever comes to a partial file. Each of these answers to a range would spoil it; the guard
// under it refuses them and the download starts over, once.
func TestDownloadWrongAnswersToARange(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	for _, c := range []struct {
		name string
		part http.HandlerFunc
	}{
		{"200 for Range", func(w http.ResponseWriter, r *http.Request) { w.Write(b) }},
		{"206 from another offset", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-9999/20000")
			w.WriteHeader(206)
			w.Write(b[:10000])
		}},
		{"206 longer than asked", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 10000-29999/30000")
			w.WriteHeader(206)
			w.Write(make([]byte, 20000))
		}},
		{"206 without Content-Range", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "multipart/byteranges; boundary=x")
			w.WriteHeader(206)
			w.Write(b[10000:])
		}},
		{"206 with another body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 10000-19999/20000")
			w.WriteHeader(206)
			w.Write(b[:10000])
		}},
		{"416", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(416) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					c.part(w, r)
					return
				}
				w.Header().Set("Accept-Ranges", "bytes")
				w.Header().Set("Content-Length", "20000")
				if r.Method == http.MethodGet {
					w.Write(b)
				}
			})
			s, _ := sourceAt(t, m.URL, quick())
			os.WriteFile(partial(s, target), b[:10_000], 0o600)
			mustOpen(t, s, target, b)
			if n := len(m.asked()); n != 3 {
				t.Errorf("asked %q, want HEAD, the range, and once the whole", m.asked())
			}
		})
	}
}

// The guard itself, without the others that stand behind it.
func TestAnswersAreComparedWithWhatWasAsked(t *testing.T) {
	for _, c := range []struct {
		name, asked string
		status      int
		header      http.Header
		body        int64 // that is allowed; 0 where the answer is refused
	}{
		{"the whole file", "", 200, nil, 1000},
		{"a part though nothing was asked", "", 206, http.Header{"Content-Range": {"bytes 0-999/1000"}}, 0},
		{"no content", "", 204, nil, 0},
		{"the part", "bytes=400-", 206, http.Header{"Content-Range": {"bytes 400-999/1000"}}, 600},
		{"the part of a file whose length is not told", "bytes=400-", 206, http.Header{"Content-Range": {"bytes 400-999/*"}}, 600},
		{"200 that claims to be the part", "bytes=400-", 200, http.Header{"Content-Range": {"bytes 400-999/1000"}}, 0},
		{"another offset", "bytes=400-", 206, http.Header{"Content-Range": {"bytes 401-999/1000"}}, 0},
		{"another end", "bytes=400-", 206, http.Header{"Content-Range": {"bytes 400-998/1000"}}, 0},
		{"another length", "bytes=400-", 206, http.Header{"Content-Range": {"bytes 400-999/2000"}}, 0},
		{"no range told", "bytes=400-", 206, nil, 0},
		{"encoded", "", 200, http.Header{"Content-Encoding": {"br"}}, 0},
		{"encoded as itself", "", 200, http.Header{"Content-Encoding": {"Identity"}}, 1000},
		{"a part behind the end", "bytes=1000-", 206, http.Header{"Content-Range": {"bytes 1000-1000/1001"}}, 0},
	} {
		req := &http.Request{Header: http.Header{}}
		if c.asked != "" {
			req.Header.Set("Range", c.asked)
		}
		n, err := checkAnswer(req, &http.Response{StatusCode: c.status, Header: c.header}, &exchange{length: 1000})
		if n != c.body || (err == nil) != (c.body != 0) || err != nil && mayPass(err) {
			t.Errorf("%s: %d bytes, %v; want %d and no retry of a refused one", c.name, n, err, c.body)
		}
	}
}

// A source that gives bad bytes and breaks off leaves a spoiled partial file; the next source, a good one, must
// not be blamed for it.
func TestDownloadPartialSpoiledByAnotherSource(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	m := serve(t, plain(b))
	s, _ := sourceAt(t, m.URL, quick())
	os.WriteFile(partial(s, target), make([]byte, 10_000), 0o600)
	mustOpen(t, s, target, b)
}

func TestDownloadNotWhatWasSigned(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	flipped := bytes.Clone(b)
	flipped[10_000] ^= 1
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
	}{
		{"flipped byte", plain(flipped)},
		{"truncated", plain(b[:12_000])},
		{"truncated without a length", func(w http.ResponseWriter, r *http.Request) {
			w.Write(b[:12_000])
			w.(http.Flusher).Flush()
		}},
		{"length too large", plain(append(bytes.Clone(b), 0))},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}},
		{"captive portal", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>log in</html>") }},
		{"empty", func(w http.ResponseWriter, r *http.Request) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := serve(t, c.h)
			s, tr := sourceAt(t, m.URL, quick())
			_, err := s.open(t.Context(), target, ignore)
			te, ok := errors.AsType[*TargetError](err)
			if !ok || te.Target != target.Path || te.Source != m.URL || te.Reason == "" || !errors.Is(err, signing.ErrUntrusted) {
				t.Fatalf("error %v (%+v); want a TargetError that names source and target", err, te)
			}
			if n := tr.bytes.Load(); n > target.Length+64<<10 {
				t.Errorf("%d bytes read, want at most the signed length and 64 KiB", n)
			}
			if _, err := os.Lstat(partial(s, target)); !errors.Is(err, os.ErrNotExist) {
				t.Error("the bad file was kept: the next run would fail the same way")
			}
		})
	}
}

func TestDownloadContentEncodingIsRefused(t *testing.T) {
	b := content(2000)
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(b)
	})
	s, _ := sourceAt(t, m.URL, quick())
	_, err := s.open(t.Context(), targetOf("light/a.bundle", b), ignore)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "gzip") {
		t.Errorf("error %v, want ErrUnavailable that names the encoding", err)
	}
	if r := m.asked(); len(r) != 1 {
		t.Errorf("asked %q, want once", r)
	}
}

// Slow sources are left within the idle limit; what they gave is kept for the next run.
func TestDownloadSlowSources(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		kept bool
	}{
		{"stalled body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "20000")
			w.Write(b[:5000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, true},
		{"dripped body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "20000")
			for i := range b {
				w.Write(b[i : i+1])
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}, true},
		{"headers never end", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := serve(t, c.h)
			s, _ := sourceAt(t, m.URL, quick())
			start := time.Now()
			_, err := s.open(t.Context(), target, ignore)
			if !errors.Is(err, ErrUnavailable) {
				t.Fatalf("error %v, want ErrUnavailable", err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %s with a limit of 300 ms", took)
			}
			if _, err := os.Lstat(partial(s, target)); (err == nil) != c.kept {
				t.Errorf("partial file: %v, want kept %v", err, c.kept)
			}
			if n := len(m.asked()); n != 1 {
				t.Errorf("asked %q, want once", m.asked())
			}
		})
	}
}

func TestDownloadCancelledKeepsThePartialFile(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	ctx, cancel := context.WithCancel(t.Context())
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "20000")
		w.Write(b[:5000])
		w.(http.Flusher).Flush()
		time.Sleep(50 * time.Millisecond)
		cancel()
		<-r.Context().Done()
	})
	s, _ := sourceAt(t, m.URL, Limits{})
	if _, err := s.open(ctx, target, ignore); !errors.Is(err, context.Canceled) || kindOf(err) != nil {
		t.Errorf("error %v, want the context's", err)
	}
	if n := sizeOf(partial(s, target)); n != 5000 {
		t.Errorf("%d bytes kept, want 5000", n)
	}
}

// What stands at the place of a partial file is never followed or waited for.
func TestDownloadDestinationIsALink(t *testing.T) {
	b := content(2000)
	target := targetOf("light/a.bundle", b)
	for _, kind := range []string{"symlink", "dangling symlink", "hard link", "folder"} {
		t.Run(kind, func(t *testing.T) {
			m := serve(t, plain(b))
			s, _ := sourceAt(t, m.URL, quick())
			victim := filepath.Join(t.TempDir(), "victim")
			os.WriteFile(victim, b[:100], 0o600)
			var err error
			switch kind {
			case "symlink":
				err = os.Symlink(victim, partial(s, target))
			case "dangling symlink":
				err = os.Symlink(victim+"2", partial(s, target))
			case "hard link":
				err = os.Link(victim, partial(s, target))
			case "folder":
				err = os.Mkdir(partial(s, target), 0o700)
			}
			if err != nil {
				t.Fatal(err)
			}
			mustOpen(t, s, target, b)
			if got, _ := os.ReadFile(victim); !bytes.Equal(got, b[:100]) {
				t.Error("the victim was changed")
			}
			if _, err := os.Lstat(victim + "2"); err == nil {
				t.Error("a file was made through the dangling link")
			}
		})
	}
}

func TestDownloadFolderInTheWayIsAStorageError(t *testing.T) {
	b := content(2000)
	target := targetOf("light/a.bundle", b)
	s, tr := sourceAt(t, serve(t, plain(b)).URL, quick())
	os.MkdirAll(filepath.Join(partial(s, target), "x"), 0o700)
	_, err := s.open(t.Context(), target, ignore)
	if e, ok := errors.AsType[*store.Error](err); !ok || e.Path != partial(s, target) || !errors.Is(err, store.ErrStorage) {
		t.Errorf("error %v, want ErrStorage that names the path", err)
	}
	if tr.requests.Load() != 0 {
		t.Error("the network was used")
	}
}

func TestDownloadFileIsTheOwnersOnly(t *testing.T) {
	b := content(2000)
	target := targetOf("light/a.bundle", b)
	s, _ := sourceAt(t, serve(t, plain(b)).URL, quick())
	f, err := s.open(t.Context(), target, ignore)
	if err != nil {
		t.Fatal(err)
	}
	defer f.done(true)
	if st, _ := f.Stat(); st.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("mode %v, want 0600", st.Mode())
	}
}

func TestRetryAfterOfAYearIsACoolDown(t *testing.T) {
	for _, c := range []struct {
		name, header string
		status       int
		until        time.Time
	}{
		{"a year", "31536000", 429, noon.Add(24 * time.Hour)},
		{"overflow", "99999999999999999999999", 503, noon.Add(24 * time.Hour)},
		{"a date", "Sun, 01 Mar 2026 13:00:00 GMT", 503, noon.Add(time.Hour)},
		{"two minutes", "120", 429, noon.Add(2 * time.Minute)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", c.header)
				w.WriteHeader(c.status)
				w.Write(make([]byte, 1<<20))
			})
			s, tr := sourceAt(t, m.URL, quick())
			for _, f := range []func() error{
				func() error { _, err := s.Fetch(t.Context(), "timestamp.json", 1000); return err },
				func() error { _, err := s.open(t.Context(), targetOf("light/a.bundle", []byte{1}), ignore); return err },
			} {
				err := f()
				cd, ok := errors.AsType[*CoolDownError](err)
				if !ok || !cd.Until.Equal(c.until) || cd.Source != m.URL || !errors.Is(err, ErrCoolDown) || errors.Is(err, ErrUnavailable) {
					t.Errorf("error %v (%+v), want a cool-down until %s", err, cd, c.until)
				}
			}
			if n := len(m.asked()); n != 2 {
				t.Errorf("%d requests, want one for each: a wait above the cap is not retried", n)
			}
			if n := tr.bytes.Load(); n > 2<<10 {
				t.Errorf("%d bytes of error bodies read, want at most 1 KiB each", n)
			}
		})
	}
}

func TestErrorsThatPassAreRetried(t *testing.T) {
	b := []byte("metadata")
	n := 0
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n <= 2 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader([]int{500, 429}[n-1])
			return
		}
		w.Write(b)
	})
	s, _ := sourceAt(t, m.URL, quick())
	if got, err := s.Fetch(t.Context(), "timestamp.json", 1000); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%q, %v; want the third answer", got, err)
	}
}

func TestErrorsThatStayEndTheRetries(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	s, _ := sourceAt(t, m.URL, quick())
	_, err := s.Fetch(t.Context(), "timestamp.json", 1000)
	if se, ok := errors.AsType[*SourceError](err); !ok || se.Status != 500 || se.File != "metadata/timestamp.json" || len(m.asked()) != 3 {
		t.Errorf("error %v after %d requests; want status 500 after 3", err, len(m.asked()))
	}
}

// The walk to the newest root ends at the first that is not there; object stores answer 403 for it.
func TestMissingMetadata(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		absent bool
	}{{"2.root.json", 404, true}, {"2.root.json", 403, true}, {"timestamp.json", 404, true}, {"timestamp.json", 403, false}, {"2.root.json", 500, false}} {
		m := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(c.status) })
		s, _ := sourceAt(t, m.URL, quick())
		_, err := s.Fetch(t.Context(), c.name, 1000)
		if errors.Is(err, signing.ErrNotFound) != c.absent || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d for %s: %v; want ErrNotFound %v", c.status, c.name, err, c.absent)
		}
	}
}

func TestMetadataLongerThanItMayBe(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	s, tr := sourceAt(t, m.URL, quick())
	_, err := s.Fetch(t.Context(), "timestamp.json", 1000)
	if te, ok := errors.AsType[*TargetError](err); !ok || te.Target != "metadata/timestamp.json" {
		t.Errorf("error %v, want one that names the file", err)
	}
	if n := tr.bytes.Load(); n != 1001 || len(m.asked()) != 1 {
		t.Errorf("%d bytes in %d requests; want the limit and one byte, once", n, len(m.asked()))
	}
}

func TestHeadersWithoutEnd(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 100_000 {
			w.Header().Set(fmt.Sprintf("X-%d", i), "0123456789")
		}
	})
	s, _ := sourceAt(t, m.URL, quick())
	if _, err := s.Fetch(t.Context(), "timestamp.json", 1000); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
}

func TestRedirects(t *testing.T) {
	good := serve(t, plain([]byte("metadata")))
	for _, c := range []struct {
		name string
		to   func(r *http.Request) string
		err  string
	}{
		{"another host", func(*http.Request) string { return good.URL + "/x" }, ""},
		{"loop", func(r *http.Request) string { return r.URL.Path }, "more than 5"},
		{"file", func(*http.Request) string { return "file:///etc/hostname" }, "scheme"},
		{"ftp", func(*http.Request) string { return "ftp://localhost/x" }, "scheme"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, c.to(r), http.StatusFound) })
			s, _ := sourceAt(t, m.URL, quick())
			_, err := s.Fetch(t.Context(), "timestamp.json", 1000)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !errors.Is(err, ErrUnavailable)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if n := len(m.asked()); n > 6 {
				t.Errorf("%d requests, want at most one and five redirects", n)
			}
		})
	}
}

func TestRedirectPolicy(t *testing.T) {
	ask := func(to string, via ...string) error {
		var list []*http.Request
		for _, v := range via {
			r, _ := http.NewRequest("GET", v, nil)
			list = append(list, r)
		}
		r, _ := http.NewRequest("GET", to, nil)
		return redirectPolicy(5)(r, list)
	}
	for _, c := range []struct {
		to   string
		via  []string
		good bool
	}{
		{"https://b.example/x", []string{"http://a.example/x"}, true},
		{"http://b.example/x", []string{"http://a.example/x"}, true},
		{"http://a.example/x", []string{"https://a.example/x"}, false},
		{"http://a.example/x", []string{"http://a.example/x", "https://a.example/x"}, false},
		{"http://127.0.0.1/x", []string{"http://a.example/x"}, false},
		{"http://localhost:80/x", []string{"http://a.example/x"}, false},
		{"http://x.localhost/x", []string{"http://a.example/x"}, false},
		{"http://[::1]/x", []string{"http://a.example/x"}, false},
		{"http://[::ffff:127.0.0.1]/x", []string{"http://a.example/x"}, false},
		{"http://169.254.169.254/latest/meta-data", []string{"http://a.example/x"}, false},
		{"http://[fe80::1]/x", []string{"http://a.example/x"}, false},
		{"http://0.0.0.0/x", []string{"http://a.example/x"}, false},
		{"http://127.0.0.1/y", []string{"http://127.0.0.1/x"}, true},
	} {
		if err := ask(c.to, c.via...); (err == nil) != c.good {
			t.Errorf("%v to %s: %v, want followed %v", c.via, c.to, err, c.good)
		}
	}
}

// A redirect to a name that resolves to this machine gets no further than one to its address.
func TestRedirectToANameOfThisMachine(t *testing.T) {
	m := serve(t, plain([]byte("secret")))
	u, _ := url.Parse(m.URL)
	pin := new(hostPin)
	pin.set(u)
	d := new(dialer)
	ctx := withExchange(t.Context(), &exchange{moved: pin})
	if c, err := d.DialContext(ctx, "tcp", u.Host); !errors.As(err, new(*redirectError)) {
		t.Errorf("connected to %s (%v, %v)", u.Host, c, err)
	}
	other, _ := url.Parse("http://elsewhere.example")
	pin.set(other)
	c, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		t.Fatalf("a proxy on this machine is refused: %v", err)
	}
	c.Close()
}

func TestRateLimitHoldsForBodies(t *testing.T) {
	b := content(60_000)
	m := serve(t, plain(b))
	s, _ := sourceAt(t, m.URL, quick())
	s.meter.limiter = rate.NewLimiter(100_000, 20_000)
	start := time.Now()
	mustOpen(t, s, targetOf("light/a.bundle", b), b)
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("60000 bytes in %s at 100000 a second with a burst of 20000", took)
	}
}

func TestTLSBelow12AndCredentialsInErrors(t *testing.T) {
	if v := newTransport(Limits{}.withDefaults()).TLSClientConfig.MinVersion; v != 0x0303 {
		t.Errorf("least TLS version %#x, want 1.2", v)
	}
	s, _ := sourceAt(t, "http://user:hunter2@127.0.0.1:1", quick())
	_, err := s.Fetch(t.Context(), "timestamp.json", 10)
	if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v; want ErrUnavailable without the password", err)
	}
}

func TestParseSource(t *testing.T) {
	for s, good := range map[string]bool{
		"http://a.example/db/": true, "https://a.example": true, "file:///srv/db": true, "file://localhost/srv/db": true,
		"": false, "a.example/db": false, "ftp://a.example": false, "http://": false, "file://host/srv": false, "file:srv": false,
		"http://a.example/?x=1": false, "http://a.example/#f": false, "http:a": false, "http://a b/": false,
	} {
		if err := CheckSource(s); (err == nil) != good {
			t.Errorf("CheckSource(%q) = %v, want good %v", s, err, good)
		}
	}
}

// tree makes the public folder of a repository with one metadata file and one target.
func tree(t *testing.T, target signing.Target, b []byte) string {
	dir := t.TempDir()
	for name, b := range map[string][]byte{"metadata/timestamp.json": []byte("metadata"), "targets/" + target.Name(): b} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		os.MkdirAll(filepath.Dir(p), 0o700)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func folderSource(t *testing.T, dir string) (*fileSource, *traffic) {
	tr := new(traffic)
	slashed := filepath.ToSlash(dir)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	u, err := parseSource((&url.URL{Scheme: "file", Path: slashed}).String())
	if err != nil {
		t.Fatal(err)
	}
	s := newFileSource(u, tr)
	t.Cleanup(s.close)
	return s, tr
}

func TestFileSource(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	s, tr := folderSource(t, tree(t, target, b))
	if got, err := s.Fetch(t.Context(), "timestamp.json", 8); err != nil || string(got) != "metadata" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Fetch(t.Context(), "timestamp.json", 7); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("too long: %v, want ErrUntrusted", err)
	}
	if _, err := s.Fetch(t.Context(), "2.root.json", 7); !errors.Is(err, signing.ErrNotFound) {
		t.Errorf("absent: %v, want ErrNotFound", err)
	}
	mustOpen(t, s, target, b)
	if got, err := s.small(t.Context(), target, 1<<20); err != nil || !bytes.Equal(got, b) {
		t.Errorf("small: %d bytes, %v", len(got), err)
	}
	if n := tr.requests.Load(); n != 5 {
		t.Errorf("%d files counted, want 5", n)
	}
}

func TestFileSourceHostileFolder(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	outside := filepath.Join(t.TempDir(), "outside")
	os.WriteFile(outside, b, 0o600)
	flipped := bytes.Clone(b)
	flipped[1] ^= 1
	for _, c := range []struct {
		name string
		make func(p string) error
		kind error
	}{
		{"link out of the folder", func(p string) error { return os.Symlink(outside, p) }, ErrUnavailable},
		{"pipe", makePipe, ErrUnavailable},
		{"folder", func(p string) error { return os.Mkdir(p, 0o700) }, ErrUnavailable},
		{"nothing", func(p string) error { return nil }, ErrUnavailable},
		{"flipped byte", func(p string) error { return os.WriteFile(p, flipped, 0o600) }, signing.ErrUntrusted},
		{"truncated", func(p string) error { return os.WriteFile(p, b[:100], 0o600) }, signing.ErrUntrusted},
		{"longer", func(p string) error { return os.WriteFile(p, append(bytes.Clone(b), 1), 0o600) }, signing.ErrUntrusted},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, target, b)
			p := filepath.Join(dir, "targets", filepath.FromSlash(target.Name()))
			os.Remove(p)
			if err := c.make(p); err != nil {
				t.Fatal(err)
			}
			s, _ := folderSource(t, dir)
			if _, err := s.open(t.Context(), target, ignore); !errors.Is(err, c.kind) {
				t.Errorf("open: %v, want %v", err, c.kind)
			}
			if _, err := s.small(t.Context(), target, 1<<20); !errors.Is(err, c.kind) {
				t.Errorf("small: %v, want %v", err, c.kind)
			}
		})
	}
	s, _ := folderSource(t, filepath.Join(t.TempDir(), "absent"))
	if _, err := s.Fetch(t.Context(), "2.root.json", 10); !errors.Is(err, ErrUnavailable) || errors.Is(err, signing.ErrNotFound) {
		t.Errorf("absent folder: %v; want ErrUnavailable and not the end of the root walk", err)
	}
}

func TestTargetsThatAreNotFetched(t *testing.T) {
	s, tr := sourceAt(t, "http://127.0.0.1:1", quick())
	good := targetOf("light/a.bundle", []byte{1})
	for _, p := range []string{"", "/x", "../x", "a/../x", "a//b", "a/%2e", "A", "a\x00", "x\\y"} {
		bad := good
		bad.Path = p
		if _, err := s.open(t.Context(), bad, ignore); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("path %q: %v, want ErrUntrusted", p, err)
		}
	}
	for _, n := range []int64{-1, 0, MaxTarget + 1} {
		bad := good
		bad.Length = n
		if _, err := s.open(t.Context(), bad, ignore); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("length %d: %v, want ErrUntrusted", n, err)
		}
	}
	bad := good
	bad.Length = 101
	if _, err := s.small(t.Context(), bad, 100); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("small file above its limit: %v, want ErrUntrusted", err)
	}
	if tr.requests.Load() != 0 {
		t.Error("the network was used")
	}
}
