package updater

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// quick are limits under which no retry waits long. Those on a source's slowness are ample, so that a busy machine is none;
// [hasty] is for sources that are to be found slow.
func quick() Limits {
	return Limits{Header: 20 * time.Second, Idle: 20 * time.Second, IdleBytes: 2000,
		RetryWait: time.Millisecond, RetryWaitMax: 5 * time.Millisecond, RetryAfter: 50 * time.Millisecond}
}

func hasty() Limits {
	l := quick()
	l.Header, l.Idle = 2*time.Second, 2*time.Second
	return l
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
	m := unstarted(h)
	m.Start()
	t.Cleanup(m.Close)
	return m
}

func unstarted(h http.HandlerFunc) *mirror {
	m := new(mirror)
	m.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		line := r.Method + " " + r.URL.Path
		if v := r.Header.Get("Range"); v != "" {
			line += " " + v
		}
		m.log = append(m.log, line)
		m.mu.Unlock()
		h(w, r)
	}))
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
	return sourceOf(t, Source{URL: address}, l)
}

func sourceOf(t *testing.T, src Source, l Limits) (*httpSource, *traffic) {
	t.Helper()
	if err := src.check(); err != nil {
		t.Fatal(err)
	}
	a, err := src.resolve(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	tr := new(traffic)
	m := newMeter(a, l.withDefaults(), nil, tr)
	s := newHTTPSource(src.Name(), m, t.TempDir(), "test", func() time.Time { return noon }, func() float64 { return 0.5 })
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

// A body that breaks off before its first byte is asked for once more, and not for ever.
func TestDownloadBrokenBeforeTheFirstByte(t *testing.T) {
	b := content(20_000)
	target := targetOf("rest/a.bundle", b)
	for _, c := range []struct {
		name           string
		broken, wanted int
		keptFromBefore int
	}{
		{name: "once", broken: 1, wanted: 2},
		{name: "always", broken: 100, wanted: 2},
		{name: "once in the middle", broken: 1, wanted: 4, keptFromBefore: 5000}, // with a HEAD for each
	} {
		t.Run(c.name, func(t *testing.T) {
			gets := 0
			m := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					if gets++; gets <= c.broken {
						if r.Header.Get("Range") != "" {
							w.Header().Set("Content-Range", "bytes 5000-19999/20000")
							w.Header().Set("Content-Length", "15000")
							w.WriteHeader(http.StatusPartialContent)
						} else {
							w.Header().Set("Content-Length", "20000")
							w.WriteHeader(http.StatusOK)
						}
						w.(http.Flusher).Flush()
						panic(http.ErrAbortHandler)
					}
				}
				plain(b)(w, r)
			})
			s, _ := sourceAt(t, m.URL, quick())
			if c.keptFromBefore > 0 {
				os.WriteFile(partial(s, target), b[:c.keptFromBefore], 0o600)
			}
			if c.broken == 1 {
				mustOpen(t, s, target, b)
			} else if _, err := s.open(t.Context(), target, ignore); !errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v, want ErrUnavailable", err)
			}
			if n := len(m.asked()); n != c.wanted {
				t.Errorf("asked %q, want %d requests", m.asked(), c.wanted)
			}
		})
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
			s, _ := sourceAt(t, m.URL, hasty())
			start := time.Now()
			_, err := s.open(t.Context(), target, ignore)
			if !errors.Is(err, ErrUnavailable) {
				t.Fatalf("error %v, want ErrUnavailable", err)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %s with limits of two seconds", took)
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
		<-r.Context().Done()
	})
	s, _ := sourceAt(t, m.URL, Limits{})
	enough := func(done int64) {
		if done == 5000 {
			cancel()
		}
	}
	if _, err := s.open(ctx, target, enough); !errors.Is(err, context.Canceled) || kindOf(err) != nil {
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
