package proxy_test

import (
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/proxy"
	ksnserver "example.org/avdb/ksn/server"
)

// few is a database that knows one hash.
type few struct{ sum [32]byte }

func (f few) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, ksnserver.Known) bool) (uint64, error) {
	for i, value := range values {
		if a == dbformat.SHA256 && binary.BigEndian.Uint32(f.sum[:])>>(32-bits) == value && !visit(i, ksnserver.Known{Sum: f.sum, Name: "Win.Trojan.Example"}) {
			break
		}
	}
	return 7, nil
}

func (f few) WithURLPrefixes(uint8, []uint32, func(int, ksnserver.Known) bool) (uint64, error) {
	return 7, nil
}

func (f few) Counts() (ksnserver.Counts, error) { return ksnserver.Counts{Release: 7, Files: 1}, nil }

// From the private server over two proxies to the device, over sockets: what it signed verifies.
func TestServerProxyProxyDevice(t *testing.T) {
	f := provider(t, 1, protocol.Private)
	key := protocol.Key{Type: protocol.FileSHA256, Sum: [32]byte{0x0a, 0x0b, 0x0c, 0x0d, 1}}
	tally := &tally{outcomes: map[string]int{}, fates: map[proxy.Fate]int{}}
	s, err := ksnserver.New(ksnserver.Config{Provider: f, Key: testKey(t, 2), Database: few{key.Sum}, Limit: ksnserver.Limit{PerSecond: -1}})
	if err != nil {
		t.Fatal(err)
	}
	at := httptest.NewServer(s)
	defer at.Close()
	for range 2 {
		p, err := proxy.New(proxy.Config{Provider: f, Upstreams: []string{at.URL}, Collector: tally})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		at = httptest.NewServer(p)
		defer at.Close()
	}
	device := &world{t: t, keys: f.ReputationKeys(), provider: f}
	for _, bits := range []uint8{16, 24, 32} {
		q := key.Prefix(bits)
		a := device.check(fetch(t, at.URL+q.Path()), q)
		if found := a.About(key, 5); len(found) != 1 || found[0].Verdict != protocol.Untrusted || a.Release != 7 {
			t.Errorf("%d bits: %+v", bits, a)
		}
	}
	rec := fetch(t, at.URL+protocol.PathInfo)
	if _, err := device.keys.OpenInfo(rec.Body.Bytes(), f.Fingerprint, time.Now()); err != nil {
		t.Error(err)
	}
	if forwarded := tally.of(proxy.FateForwarded); forwarded != 6 {
		t.Errorf("%d questions forwarded by two proxies, want 6", forwarded)
	}
	if rec := fetch(t, at.URL+protocol.PathStats); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// fetch gets a URL as a recorder has it.
func fetch(t *testing.T, url string) *httptest.ResponseRecorder {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	rec := httptest.NewRecorder()
	rec.Code = resp.StatusCode
	if _, err := rec.Body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return rec
}
