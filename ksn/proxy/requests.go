package proxy

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.org/avdb/ksn"
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
	x.prefix[0] = p
	if err := x.ask(x.r.Context(), x.prefix[:], x.one[:]); err != nil {
		x.fail(err)
		return
	}
	x.sendKept(x.one[0])
}

// batch answers POST /v1/lookup.
func (x *exchange) batch() {
	body, _ := x.readBody(protocol.MaxQuery, json)
	if body == nil {
		return
	}
	prefixes, err := protocol.ParseQuery(body)
	if err != nil {
		x.badRequest(err.Error())
		return
	}
	got := make([]*kept, len(prefixes))
	if err := x.ask(x.r.Context(), prefixes, got); err != nil {
		x.fail(err)
		return
	}
	length, replies := len(`{"replies":[]}`)+len(got), make([][]byte, len(got))
	for i, k := range got {
		replies[i] = k.body
		length += len(k.body)
	}
	if length > protocol.MaxReplies {
		x.fail(problem(protocol.CodeTooLarge, "too much to say", "Ask for fewer prefixes at once, or for more bits.", 0))
		return
	}
	x.send(http.StatusOK, json, protocol.JoinReplies(replies...))
}

// getInfo answers GET /v1/info.
func (x *exchange) getInfo() {
	if k := x.info.Load(); k != nil && k.isFresh(x.began) {
		x.sendKept(k)
		return
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), x.patience())
	defer cancel()
	select {
	case <-ctx.Done():
		x.fail(errSlow)
	case r := <-x.infos.DoChan("", x.Proxy.fetchInfo):
		if k, ok := r.Val.(*kept); ok && r.Err == nil {
			x.sendKept(k)
		} else {
			x.fail(r.Err)
		}
	}
}

// fetchInfo gets what the network offers from an upstream, once for all who ask.
func (p *Proxy) fetchInfo() (v any, err error) {
	defer contain(p, &err)
	if k := p.info.Load(); k != nil && k.isFresh(p.c.Now()) {
		return k, nil // it came while we looked
	}
	if !p.begin() {
		return nil, p.noUpstream()
	}
	defer p.wg.Done()
	if err := p.gate.pass(ksn.ServiceInfo, "", ""); err != nil {
		return p.oldInfo(err)
	}
	ctx, cancel := context.WithTimeout(p.base, p.patience())
	defer cancel()
	var k *kept
	err = p.forward(ctx, &question{method: http.MethodGet, path: protocol.PathInfo, most: protocol.MaxInfo, open: func(b []byte, now time.Time) error {
		i, err := p.keys.OpenInfo(b, p.network, now)
		if err != nil {
			return whatIsWrong(err)
		}
		life := min(time.Duration(i.TTL)*time.Second, protocol.MaxLife)
		often := now.Sub(i.Issued.Time) + max(time.Minute, time.Duration(i.MinWait)*time.Second) // the server wants to be asked no more often
		k = newKept(b, i.Issued.Time, min(often, life), life, now)
		return nil
	}})
	if err != nil {
		return p.oldInfo(err)
	}
	p.info.Store(k)
	return k, nil
}

// oldInfo is what was known before, as long as it holds.
func (p *Proxy) oldInfo(err error) (any, error) {
	if k := p.info.Load(); k != nil && k.isUsable(p.c.Now()) {
		return k, nil
	}
	return nil, err
}

// contain makes a problem of a panic.
func contain(p *Proxy, err *error) {
	if v := recover(); v != nil {
		p.c.Log.Error("KSN proxy: asking upstream ended in a panic", "type", fmt.Sprintf("%T", v))
		*err = problem(protocol.CodeUnavailable, "internal error", "", waitUnavailable)
	}
}

// relay passes a record of statistics on.
func (x *exchange) relay() {
	body, kind := x.readBody(MaxStats, json, jsonLines)
	if body == nil {
		return
	}
	if err := x.gate.pass(ksn.ServiceStats, "", ""); err != nil {
		x.fail(err)
		return
	}
	select {
	case x.stats <- struct{}{}:
		defer func() { <-x.stats }()
	default:
		x.fail(problem(protocol.CodeUnavailable, "too much to do", "Send them again later.", waitUnavailable))
		return
	}
	if !x.begin() {
		x.fail(x.noUpstream())
		return
	}
	defer x.wg.Done()
	ctx, cancel := context.WithTimeout(x.base, x.patience())
	defer cancel()
	if err := x.forward(ctx, &question{method: http.MethodPost, path: protocol.PathStats, kind: kind, body: body}); err != nil {
		x.fail(err)
		return
	}
	x.send(http.StatusAccepted, plainText, nil)
}

// readBody reads a body of one of the kinds and of 1 to most bytes; nil if there is none, which was answered then.
func (x *exchange) readBody(most int, kinds ...string) (body []byte, kind string) {
	if kind = kindOf(x.r.Header["Content-Type"]); !slices.Contains(kinds, kind) {
		x.badRequest("Content-Type must be " + strings.Join(kinds, " or ") + ".")
		return nil, ""
	}
	tooLarge := x.r.ContentLength > int64(most)
	if !tooLarge {
		var err error
		if body, err = readAtMost(x.r.Body, most); err != nil {
			x.w.Header().Set("Connection", "close")
			x.badRequest("The body ended too early, or came too slowly.")
			return nil, ""
		}
		tooLarge = len(body) > most
	}
	switch {
	case tooLarge:
		x.fail(problem(protocol.CodeTooLarge, "body too large", fmt.Sprintf("The limit is %d bytes.", most), 0))
	case len(body) == 0:
		x.badRequest("The body is missing.")
	default:
		return body, kind
	}
	return nil, ""
}

// kindOf is the media type of a Content-Type in UTF-8; "" for anything else.
func kindOf(fields []string) string {
	if len(fields) != 1 {
		return ""
	}
	kind, params, err := mime.ParseMediaType(fields[0])
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			err = errors.New("another character set")
		}
	}
	if err != nil {
		return ""
	}
	return kind
}
