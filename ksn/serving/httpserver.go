package serving

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"time"
)

// What a connection may take.
const (
	readHeader = 5 * time.Second
	readAll    = 15 * time.Second
	writeAll   = 30 * time.Second
	idle       = 90 * time.Second
	maxHeader  = 16 << 10
	maxStreams = 100 // at once on one HTTP/2 connection
)

// NewHTTPServer serves h with time-outs against clients that are slow on purpose, and bounded headers. t, which may be nil, is for
// ServeTLS. What net/http has to say of connections is dropped, for it names clients; h says all that there is to know of requests.
func NewHTTPServer(h http.Handler, t *tls.Config) *http.Server {
	return &http.Server{Handler: h, TLSConfig: t, ReadHeaderTimeout: readHeader, ReadTimeout: readAll, WriteTimeout: writeAll, IdleTimeout: idle,
		MaxHeaderBytes: maxHeader, DisableGeneralOptionsHandler: true, ErrorLog: log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams}}
}
