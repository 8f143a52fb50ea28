package statuspage

import (
	"net/http"
	"strconv"
	"strings"
)

// Handler answers the paths that the package comment lists, and 404 for others. It may be asked by any number at once.
func (c *Collector) Handler() http.Handler {
	paths := map[string]http.HandlerFunc{
		"/": c.serveHTML, "/status": c.serveHTML, "/status.json": c.serveJSON, "/metrics": c.serveMetrics, "/readyz": c.serveReady,
		"/healthz": func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, plain, []byte("ok\n")) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, paths[r.URL.Path]) })
}

// serve answers with show, nil for a path that is not known.
func (c *Collector) serve(w http.ResponseWriter, r *http.Request, show http.HandlerFunc) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", c.style.policy)
	switch {
	case show == nil:
		answer(w, http.StatusNotFound, plain, []byte("not found; there are /status, /status.json, /metrics, /healthz and /readyz\n"))
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		answer(w, http.StatusMethodNotAllowed, plain, []byte("only GET and HEAD are answered\n"))
	default:
		show(w, r)
	}
}

const plain = "text/plain; charset=utf-8"

// answer writes all at once, so that no answer ends halfway.
func answer(w http.ResponseWriter, code int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body) // whoever asked may be gone
}

// snapshotFor looks for a request, and answers it itself if that fails.
func (c *Collector) snapshotFor(w http.ResponseWriter, r *http.Request) *snapshot {
	s, err := c.look(r.Context())
	if err != nil {
		answer(w, http.StatusServiceUnavailable, plain, []byte("not ready: "+err.Error()+"\n"))
	}
	return s
}

func (c *Collector) serveHTML(w http.ResponseWriter, r *http.Request) {
	if s := c.snapshotFor(w, r); s != nil {
		body, err := s.html(c.page, c.style, r.URL.RawQuery != "refresh=off")
		rendered(w, "text/html; charset=utf-8", body, err)
	}
}

func (c *Collector) serveJSON(w http.ResponseWriter, r *http.Request) {
	if s := c.snapshotFor(w, r); s != nil {
		body, err := s.json()
		rendered(w, "application/json", body, err)
	}
}

func rendered(w http.ResponseWriter, contentType string, body []byte, err error) {
	if err != nil {
		answer(w, http.StatusInternalServerError, plain, []byte("cannot be shown: "+clean(err.Error(), maxText)+"\n"))
		return
	}
	answer(w, http.StatusOK, contentType, body)
}

func (c *Collector) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if s := c.snapshotFor(w, r); s != nil {
		c.metrics(s).ServeHTTP(w, r)
	}
}

func (c *Collector) serveReady(w http.ResponseWriter, r *http.Request) {
	switch status, err := c.ask(r.Context()); {
	case err != nil:
		answer(w, http.StatusServiceUnavailable, plain, []byte("not ready: "+err.Error()+"\n"))
	case status.NotReady != "":
		answer(w, http.StatusServiceUnavailable, plain, []byte("not ready: "+strings.TrimSpace(status.NotReady)+"\n"))
	default:
		answer(w, http.StatusOK, plain, []byte("ready\n"))
	}
}
