// Package serving is one HTTP exchange of package protocol, seen from the side that answers: what servers and proxies of a KSN network have in
// common before and after the answer itself. Whoever answers has a [Side], makes an [Exchange] of each request, and is its [Answerer].
//
// It promises:
//   - A request reaches the Answerer only if it is one of the protocol, in its one spelling, meant for this network, within its client's limit, with
//     a token where one is needed, and not longer than the protocol allows. Everything else gets its problem, and an error is kept by no cache.
//   - Network, then limit and token, then the request itself: whoever asks for another network gets 421 and learns nothing else, and whoever has no
//     token learns nothing but that.
//   - A request whose length could be read in two ways, in chunks or of HTTP/1.0, is the last one of its connection: nothing that hides behind it is
//     answered to whoever shares that connection.
//   - A panic ends the exchange in which it happens and no other one. What was begun then is cut off and never looks whole.
//   - Memory is bounded: a body by what the protocol allows, a connection by [NewHTTPServer], clients by [MaxClients].
//   - There is no goroutine, clock or file of its own, and nothing here says who asked for what.
//
// # Paths
//
//	GET  /v1/l/{type}/{bits}/{prefix}         one answer
//	POST /v1/lookup                           up to 256 of them
//	GET  /v1/info                             what the network offers
//	POST /v1/stats                            statistics, where they are taken
//	GET  /healthz, /readyz                    200 as long as requests are answered at all; whether answers can be given
//	GET  /, /status, /status.json, /metrics   of the status page, where there is one
//	GET  anything else                        of [Side.Documents]
//
// HEAD is answered wherever GET is. There are no escapes, queries, doubled slashes or redirects.
//
// The status page is not for clients of the network. Where tokens are needed it is shown to who has one, and to this machine without: to a
// connection from a loopback address that asks for a loopback address or localhost (Host), if nothing says that somebody else stands behind it
// ([Side.Client], Forwarded, X-Forwarded-For).
//
// # Limits
//
// Each client, which is a token or else an address (the /64 of an IPv6 one), has [Limit.PerSecond] requests, and [Limit.Burst] at once. A request whose
// answers have many entries costs one more for each 1024 of them. Of the clients that were seen the last [MaxClients] are remembered.
package serving
