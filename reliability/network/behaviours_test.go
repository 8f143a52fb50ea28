//go:build check && linux

package network

import (
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"example.org/avdb/updater"
)

// What a run with such mirrors only comes to.
const (
	updated     = "updated"
	unavailable = "unavailable"
	untrusted   = "untrusted"
	coolDown    = "cool-down"
)

// A behaviour is one way of a mirror to be broken or hostile, for one kind of file.
type behaviour struct {
	name string
	want [3]string // for timestamp, database, bundle, with mirrors of this behaviour only

	secure bool // https; with keep HTTP/2
	keep   bool // connections serve more than one request
	named  func(m *mirror) []netip.Addr

	answer  func(m *mirror, r *request)                       // answers requests for the file
	also    string                                            // another kind that answer is for
	connect func(m *mirror, c *paced)                         // takes connections once the file is next
	tls     func(m *mirror, good tls.Certificate) *tls.Config // for connections once the file is next
	arm     func(m *mirror)                                   // when the file is next
	setup   func(t *testing.T, m *mirror)                     // before the mirror serves
	after   func(m *mirror) string                            // something that must not have happened
	limits  func(l *updater.Limits)                           // where those of the cells do not fit
	mirrors int                                               // in a run with such mirrors only: one for each variant; 0 means 1
}

func all(s string) [3]string { return [3]string{s, s, s} }

// behaviours are part B of the matrix, by its names and in its order.
var behaviours = []*behaviour{
	{name: "refused", want: all(unavailable), arm: func(m *mirror) { m.hits.Add(1); m.listener.Close() }},
	{name: "reset at 0", want: all(unavailable), answer: resetAt(0)},
	{name: "reset at k", want: all(unavailable), answer: resetAt(half)},
	{name: "headers never end", want: all(unavailable), answer: endlessHeaders},
	{name: "header dripped", want: all(unavailable), answer: drippedHeader, limits: hasty},
	{name: "body stalled", want: all(unavailable), answer: stalledBody, limits: hasty},
	{name: "body at 1 byte/s", want: all(unavailable), answer: drippedBody, limits: hasty},
	{name: "endless chunked", want: all(untrusted), answer: endlessChunked},
	{name: "endless with length", want: all(untrusted), answer: endlessWithLength},
	{name: "length too small", want: all(untrusted), answer: falseLength(-10)},
	{name: "length too large", want: [3]string{unavailable, unavailable, untrusted}, answer: falseLength(+1000)},
	{name: "length negative", want: all(unavailable), answer: rawHeader("Content-Length: -5")},
	{name: "length twice, different", want: all(unavailable), answer: rawHeader("Content-Length: 5\r\nContent-Length: 7")},
	{name: "200 for Range", want: [3]string{updated, updated, unavailable}, answer: afterHalf(part200)},
	{name: "206 from another offset", want: all(unavailable), answer: afterHalf(part206Elsewhere)},
	{name: "206 longer than asked", want: [3]string{unavailable, unavailable, untrusted}, answer: afterHalf(part206Longer), mirrors: 2},
	{name: "multipart/byteranges", want: all(unavailable), answer: afterHalf(partMultipart)},
	{name: "416", want: all(unavailable), answer: afterHalf(part416)},
	{name: "ETag changes in mid-resume", want: all(untrusted), answer: afterHalf(partOfAnother)},
	{name: "Content-Encoding gzip bomb", want: all(unavailable), answer: bomb("gzip", gzipBomb)},
	{name: "Content-Encoding zstd bomb", want: all(unavailable), answer: bomb("zstd", zstdBomb)},
	{name: "redirect to another host", want: all(updated), setup: withHelper(false), answer: redirect(toHelper)},
	{name: "redirect from https to http", want: all(unavailable), secure: true, setup: withHelper(false), answer: redirect(toHelper), after: helperUntouched},
	{name: "redirect loop", want: all(unavailable), answer: redirect(toItself)},
	{name: "redirect to file", want: all(unavailable), setup: withFile, answer: redirect(toFile)},
	{name: "redirect to loopback or 169.254.169.254", want: all(unavailable), named: ownAddress, setup: withHelper(true), answer: redirect(inward),
		after: helperUntouched, mirrors: 4},
	{name: "403 for the next root", want: all(unavailable), answer: status(403, ""), also: "root"},
	{name: "404 for the timestamp", want: all(unavailable), answer: status(404, "")},
	{name: "429/503 with Retry-After of a year", want: all(coolDown), answer: busy("31536000"), mirrors: 2},
	{name: "Retry-After overflow", want: all(coolDown), answer: busy("99999999999999999999999"), mirrors: 2},
	{name: "500 always", want: all(unavailable), answer: status(500, "")},
	{name: "captive portal with 200", want: all(untrusted), answer: status(200, "<html><title>Welcome</title>please log in</html>")},
	{name: "empty 200", want: all(untrusted), answer: status(200, "")},
	{name: "1 MiB of headers", want: all(unavailable), answer: longHeader},
	{name: "100,000 headers", want: all(unavailable), answer: manyHeaders},
	{name: "HTTP/2 GOAWAY and RST", want: all(unavailable), secure: true, connect: brokenHTTP2},
	{name: "expired certificate", want: all(unavailable), secure: true, tls: expiredCertificate},
	{name: "other host's certificate", want: all(unavailable), secure: true, tls: othersCertificate},
	{name: "TLS 1.0", want: all(unavailable), secure: true, tls: onlyTLS10},
	{name: "Content-Disposition with a path", want: all(updated), answer: disposition},
	{name: "name does not resolve", want: all(unavailable), named: ownAddressAtFirst, arm: func(m *mirror) { m.hits.Add(1) }},
	{name: "mirrors disagree", want: [3]string{unavailable, untrusted, untrusted}, answer: fromAnotherRelease},
	{name: "all but one mirror stale", want: [3]string{untrusted, unavailable, unavailable}, answer: fromAnEarlierRelease},
	{name: "first address black-holed", want: all(updated), named: blackHoleFirst, setup: withBlackHole, answer: disarm,
		limits: func(l *updater.Limits) { l.Header, l.Update = 8*time.Second, time.Minute }},
}
