package statuspage_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkLook is what one look costs the server: 20 series with their histories, and a Status.
func BenchmarkLook(b *testing.B) {
	h := newProxy(b).Handler()
	for _, path := range []string{"/status", "/status.json", "/metrics", "/readyz"} {
		b.Run("path="+path, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				n = w.Body.Len()
			}
			b.ReportMetric(float64(n), "bytes")
		})
	}
}
