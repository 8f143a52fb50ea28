package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// Lookup answers GET /v1/l/{type}/{bits}/{prefix}.
func (x *exchange) Lookup(p protocol.Prefix) {
	x.prefixes[0] = p
	life, err := x.sign(x.prefixes[:], "", "")
	if err != nil {
		x.failWith(err)
		return
	}
	x.Send(&serving.Response{Kind: serving.JSON, Cache: x.caching(life * 3 / 4), Tag: serving.Tag(x.reply), Body: x.reply})
}

// caching lets whoever may see an answer keep it for so long.
func (x *exchange) caching(d time.Duration) string {
	who := "public, max-age="
	if len(*x.tokens.Load()) > 0 {
		who = "private, max-age="
	}
	return who + strconv.FormatInt(int64(d/time.Second), 10)
}

// Batch answers POST /v1/lookup.
func (x *exchange) Batch(prefixes []protocol.Prefix) {
	if _, err := x.sign(prefixes, `{"replies":[`, `]}`); err != nil {
		x.failWith(err)
		return
	}
	x.Send(&serving.Response{Kind: serving.JSON, Cache: serving.NoStore, Body: x.reply})
}

// Info answers GET /v1/info.
func (x *exchange) Info() {
	n, err := x.counts()
	if err != nil {
		x.failWith(fmt.Errorf("database: %w", err))
		return
	}
	issued := dbformat.At(x.Began.Truncate(x.step))
	b, err := protocol.SignInfo(protocol.Info{V: protocol.Version, Network: x.c.Provider.Fingerprint, Name: x.c.Provider.Provider.Name, Issued: issued,
		TTL: inSeconds(x.c.Lives.Info), Release: n.Release, Files: n.Files, URLs: n.URLs, Software: n.Software,
		PrefixBits: x.c.PrefixBits, MinWait: inSeconds(x.c.MinWait + time.Second - 1),
		Statement: x.c.Statement, Capabilities: x.offers}, x.c.Key)
	if err != nil {
		x.failWith(fmt.Errorf("signing: %w", err))
		return
	}
	x.c.Collector.Signed()
	life := issued.Add(x.c.Lives.Info).Sub(x.Began)
	x.Send(&serving.Response{Kind: serving.JSON, Cache: x.caching(min(life*3/4, x.c.MinWait)), Tag: serving.Tag(b), Body: b})
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

// Stats answers POST /v1/stats.
func (x *exchange) Stats(kind string, record []byte) {
	switch err := x.c.Intake.Take(x.R.Context(), kind, append(make([]byte, 0, len(record)), record...)); {
	case errors.Is(err, protocol.ErrInvalid):
		x.BadRequest(err.Error())
	case err != nil:
		x.warn(fmt.Errorf("intake: %w", err))
		x.Fail(protocol.NewProblem(protocol.CodeUnavailable, "no statistics taken", "Send them again later.", serving.WaitUnavailable))
	default:
		x.Send(&serving.Response{Status: http.StatusAccepted, Kind: serving.PlainText, Cache: serving.NoStore})
	}
}
