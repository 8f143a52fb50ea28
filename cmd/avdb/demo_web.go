package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A web is the demo's mirror: a plain static web server on loopback, which knows
// nothing about databases. It keeps a log of what was asked for.
type web struct {
	url string
	srv *http.Server

	mu   sync.Mutex
	dir  string // what it serves
	seen []hit
}

// A hit is one answer.
type hit struct {
	path  string
	bytes int64 // of its body
}

// serve starts the server on a free port.
func serve(dir string) (*web, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &web{url: "http://" + l.Addr().String(), dir: dir}
	w.srv = &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	go w.srv.Serve(l) // returns when close is called
	return w, nil
}

// ServeHTTP implements [http.Handler].
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	dir := w.dir
	w.mu.Unlock()
	c := &countingWriter{ResponseWriter: rw}
	http.FileServer(http.Dir(dir)).ServeHTTP(c, r)
	w.mu.Lock()
	w.seen = append(w.seen, hit{path: r.URL.Path, bytes: c.n})
	w.mu.Unlock()
}

// show makes the server serve another folder under the same address.
func (w *web) show(dir string) {
	w.mu.Lock()
	w.dir = dir
	w.mu.Unlock()
}

// forget empties the log.
func (w *web) forget() {
	w.mu.Lock()
	w.seen = nil
	w.mu.Unlock()
}

// log is what was asked for since the last forget, below the path prefix.
func (w *web) log(prefix string) (hits []hit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.seen {
		if strings.HasPrefix(h.path, prefix) {
			hits = append(hits, h)
		}
	}
	return hits
}

// layers are the requests for files of layers.
func (w *web) layers() []hit {
	return append(w.log("/targets/light/"), w.log("/targets/rest/")...)
}

func (w *web) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.srv.Shutdown(ctx)
}

// A countingWriter counts the bytes of a body.
type countingWriter struct {
	http.ResponseWriter
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}
