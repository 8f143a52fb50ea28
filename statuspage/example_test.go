package statuspage_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"example.org/avdb/statuspage"
)

// A server declares what it counts, keeps the series, and tells the rest when it is asked.
func Example() {
	var m statuspage.Metrics
	m.Section("Look-ups")
	lookups := m.Counters(statuspage.Family{Name: "lookups", Title: "Look-ups", Help: "By what became of them.", Headline: true,
		Labels: []statuspage.Label{{Name: "outcome", Values: []string{"from_cache", "forwarded"}}}})
	cached := lookups.With("from_cache")
	took := m.Histograms(statuspage.Family{Name: "lookup_duration", Title: "Time to answer", Help: "From request to answer."}).With()

	page, err := statuspage.New(statuspage.Config{Title: "KSN proxy", Server: "ksn_proxy", Version: "1.0.0", Metrics: &m,
		Status: func() statuspage.Status {
			return statuspage.Status{Sections: []statuspage.Section{{Title: "Cache", Rows: []statuspage.Row{{Name: "Size", Value: statuspage.Bytes(64 << 20)}}}}}
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A server that runs calls `go page.Run(ctx)` as well, for the histories.

	cached.Inc()
	took.Observe(300 * time.Microsecond)

	answer := httptest.NewRecorder()
	page.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "avdb_ksn_proxy_lookups") || strings.HasPrefix(line, "avdb_ksn_proxy_lookup_duration_seconds_count") {
			fmt.Print(line)
		}
	}
	// Output:
	// avdb_ksn_proxy_lookup_duration_seconds_count 1
	// avdb_ksn_proxy_lookups_total{outcome="forwarded"} 0
	// avdb_ksn_proxy_lookups_total{outcome="from_cache"} 1
}
