package proxy

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// Lookup answers GET /v1/l/{type}/{bits}/{prefix}.
func (x *exchange) Lookup(p protocol.Prefix) {
	x.prefix[0] = p
	if err := x.ask(x.R.Context(), x.prefix[:], x.one[:]); err != nil {
		x.fail(err)
		return
	}
	x.Charge(x.one[0].entries)
	x.sendKept(x.one[0])
}

// Batch answers POST /v1/lookup.
func (x *exchange) Batch(prefixes []protocol.Prefix) {
	got := make([]*kept, len(prefixes))
	if err := x.ask(x.R.Context(), prefixes, got); err != nil {
		x.fail(err)
		return
	}
	length, replies, entries := len(`{"replies":[]}`)+len(got), make([][]byte, len(got)), 0
	for i, k := range got {
		replies[i] = k.body
		length += len(k.body)
		entries += k.entries
	}
	if length > protocol.MaxReplies {
		x.fail(problem(protocol.CodeTooLarge, "too much to say", "Ask for fewer prefixes at once, or for more bits.", 0))
		return
	}
	x.Charge(entries)
	x.send(http.StatusOK, serving.JSON, protocol.JoinReplies(replies...))
}

// Info answers GET /v1/info.
func (x *exchange) Info() {
	if k := x.info.Load(); k != nil && k.isFresh(x.Began) {
		x.sendKept(k)
		return
	}
	ctx, cancel := context.WithTimeout(x.R.Context(), x.patience())
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
		*err = problem(protocol.CodeUnavailable, "internal error", "", serving.WaitUnavailable)
	}
}

// Stats passes a record of statistics on.
func (x *exchange) Stats(kind string, record []byte) {
	if err := x.gate.pass(ksn.ServiceStats, "", ""); err != nil {
		x.fail(err)
		return
	}
	select {
	case x.stats <- struct{}{}:
		defer func() { <-x.stats }()
	default:
		x.fail(problem(protocol.CodeUnavailable, "too much to do", "Send them again later.", serving.WaitUnavailable))
		return
	}
	if !x.begin() {
		x.fail(x.noUpstream())
		return
	}
	defer x.wg.Done()
	ctx, cancel := context.WithTimeout(x.base, x.patience())
	defer cancel()
	if err := x.forward(ctx, &question{method: http.MethodPost, path: protocol.PathStats, kind: kind, body: record}); err != nil {
		x.fail(err)
		return
	}
	x.send(http.StatusAccepted, serving.PlainText, nil)
}
