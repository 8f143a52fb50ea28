package updater

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/avdb/signing"
)

// A Remote reads folder and web server alike, counts what it read, and leaves no download behind that was used.
func TestRemoteReads(t *testing.T) {
	b := content(20_000)
	target := targetOf("light/a.bundle", b)
	dir := tree(t, target, b)
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(web.Close)
	slashed := filepath.ToSlash(dir)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	for _, url := range []string{web.URL, "file://" + slashed} {
		downloads := t.TempDir()
		r, err := OpenRemote(Source{URL: url}, RemoteConfig{Downloads: downloads})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Fetch(t.Context(), "timestamp.json", 8); err != nil || string(got) != "metadata" {
			t.Errorf("%s: %q, %v", url, got, err)
		}
		if _, err := r.Fetch(t.Context(), "2.root.json", 8); !errors.Is(err, signing.ErrNotFound) {
			t.Errorf("%s: a missing root: %v", url, err)
		}
		if got, err := r.Small(t.Context(), target, 1<<20); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, %v", url, len(got), err)
		}
		f, done, err := r.Open(t.Context(), target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, %v", url, len(got), err)
		}
		done(true)
		if left, err := os.ReadDir(downloads); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left of the downloads, %v", url, left, err)
		}
		if n, requests := r.Traffic(); n < int64(2*len(b)+8) || requests != 4 {
			t.Errorf("%s: %d bytes in %d requests are counted", url, n, requests)
		}
		r.Close()
	}
}

// What is said of a Remote in the config holds, and what a source sends back of its credentials does not come out.
func TestRemoteKeepsLimitsAndSecrets(t *testing.T) {
	var asked atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, password, _ := r.BasicAuth()
		if r.URL.Path == "/metadata/timestamp.json" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, "http://169.254.1.1/"+password, http.StatusFound)
	}))
	t.Cleanup(web.Close)
	url := strings.Replace(web.URL, "://", "://user:terribly-secret@", 1)
	l := quick()
	l.Retries = -1
	r, err := OpenRemote(Source{URL: url}, RemoteConfig{Downloads: t.TempDir(), Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Fetch(t.Context(), "timestamp.json", 8); !errors.Is(err, ErrUnavailable) || asked.Load() != 1 {
		t.Errorf("%v after %d requests, want ErrUnavailable after 1", err, asked.Load())
	}
	target := targetOf("light/a.bundle", content(100))
	_, _, openErr := r.Open(t.Context(), target, nil)
	_, smallErr := r.Small(t.Context(), target, 100)
	for _, err := range []error{openErr, smallErr} {
		if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "terribly") {
			t.Errorf("a redirect to a link's address: %v", err)
		}
	}
	if _, err := OpenRemote(Source{URL: "ftp://a.example"}, RemoteConfig{}); err == nil {
		t.Error("a source that cannot be one was opened")
	}
}
