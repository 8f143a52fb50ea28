package server

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
)

// lookup answers GET /v1/l/{type}/{bits}/{prefix}.
func (x *exchange) lookup() {
	typ, rest, _ := strings.Cut(strings.TrimPrefix(x.r.URL.Path, protocol.PathLookup), "/")
	bits, digits, ok := strings.Cut(rest, "/")
	if !ok || strings.Contains(digits, "/") {
		x.notFound()
		return
	}
	p, err := protocol.ParsePrefix(typ, bits, digits)
	if err != nil {
		x.badRequest(err.Error())
		return
	}
	x.prefixes[0] = p
	life, err := x.sign(x.prefixes[:], "", "")
	if err != nil {
		x.failWith(err)
		return
	}
	x.send(&response{kind: json, cache: x.caching(life * 3 / 4), tag: tagOf(x.reply), body: x.reply})
}

// caching lets whoever may see an answer keep it for so long.
func (x *exchange) caching(d time.Duration) string {
	who := "public, max-age="
	if len(*x.tokens.Load()) > 0 {
		who = "private, max-age="
	}
	return who + strconv.FormatInt(int64(d/time.Second), 10)
}

// batch answers POST /v1/lookup.
func (x *exchange) batch() {
	if !x.readBody(protocol.MaxQuery, json) {
		return
	}
	prefixes, err := protocol.ParseQuery(x.body)
	if err != nil {
		x.badRequest(err.Error())
		return
	}
	if _, err := x.sign(prefixes, `{"replies":[`, `]}`); err != nil {
		x.failWith(err)
		return
	}
	x.send(&response{kind: json, cache: noStore, body: x.reply})
}

// info answers GET /v1/info.
func (x *exchange) info() {
	n, err := x.counts()
	if err != nil {
		x.failWith(fmt.Errorf("database: %w", err))
		return
	}
	issued := dbformat.At(x.began.Truncate(x.step))
	b, err := protocol.SignInfo(protocol.Info{V: protocol.Version, Network: x.network, Name: x.c.Provider.Provider.Name, Issued: issued,
		TTL: inSeconds(x.c.Lives.Info), Release: n.Release, Files: n.Files, URLs: n.URLs, Software: n.Software,
		PrefixBits: x.c.PrefixBits, MinWait: inSeconds(x.c.MinWait + time.Second - 1),
		Statement: x.c.Statement, Capabilities: x.offers}, x.c.Key)
	if err != nil {
		x.failWith(fmt.Errorf("signing: %w", err))
		return
	}
	x.c.Collector.Signed()
	life := issued.Add(x.c.Lives.Info).Sub(x.began)
	x.send(&response{kind: json, cache: x.caching(min(life*3/4, x.c.MinWait)), tag: tagOf(b), body: b})
}

// counts are what all that answers are made from knows together; without a usable database, with its error, what the rest knows.
func (s *Server) counts() (Counts, error) {
	n, err := s.c.Database.Counts()
	if err != nil {
		n = Counts{}
	}
	add := func(c Counts) { n.Files, n.URLs, n.Software = n.Files+c.Files, n.URLs+c.URLs, n.Software+c.Software }
	add(s.overrides.Load().counts())
	for _, source := range s.c.Sources {
		add(source.Counts())
	}
	return n, err
}

// stats answers POST /v1/stats.
func (x *exchange) stats() {
	if !x.readBody(MaxStats, json, jsonLines) {
		return
	}
	record := append(make([]byte, 0, len(x.body)), x.body...)
	kind, _, _ := strings.Cut(x.r.Header.Get("Content-Type"), ";")
	switch err := x.c.Intake.Take(x.r.Context(), strings.ToLower(strings.TrimSpace(kind)), record); {
	case errors.Is(err, protocol.ErrInvalid):
		x.badRequest(err.Error())
	case err != nil:
		x.warn(fmt.Errorf("intake: %w", err))
		x.fail(protocol.NewProblem(protocol.CodeUnavailable, "no statistics taken", "Send them again later.", waitUnavailable))
	default:
		x.send(&response{status: http.StatusAccepted, kind: plainText, cache: noStore})
	}
}

// readBody reads a body of one of the kinds and of 1 to most bytes into x.body.
func (x *exchange) readBody(most int, kinds ...string) bool {
	if !isKind(x.r.Header["Content-Type"], kinds) {
		x.badRequest("Content-Type must be " + strings.Join(kinds, " or ") + ".")
		return false
	}
	tooLarge := x.r.ContentLength > int64(most)
	if !tooLarge {
		var err error
		if x.body, err = readAtMost(x.r.Body, x.body[:0], most); err != nil {
			x.w.Header().Set("Connection", "close")
			x.badRequest("The body ended too early, or came too slowly.")
			return false
		}
		tooLarge = len(x.body) > most
	}
	switch {
	case tooLarge:
		x.fail(protocol.NewProblem(protocol.CodeTooLarge, "body too large", fmt.Sprintf("The limit is %d bytes.", most), 0))
	case len(x.body) == 0:
		x.badRequest("The body is missing.")
	default:
		return true
	}
	return false
}

// readAtMost appends all of r to b, but no more than one byte beyond most.
func readAtMost(r io.Reader, b []byte, most int) ([]byte, error) {
	for len(b) <= most {
		if len(b) == cap(b) {
			b = append(b, make([]byte, 4<<10)...)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(cap(b), most+1)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// isKind tells whether a Content-Type is one of the kinds, in UTF-8.
func isKind(fields, kinds []string) bool {
	if len(fields) != 1 {
		return false
	}
	for _, k := range kinds {
		if fields[0] == k {
			return true
		}
	}
	got, params, err := mime.ParseMediaType(fields[0])
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	for _, k := range kinds {
		if err == nil && got == k {
			return true
		}
	}
	return false
}
