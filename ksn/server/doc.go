// Package server is the private KSN server as an [http.Handler]: it answers questions by prefix (package protocol) from a database, from further
// sources and from what its operator decided, and signs what it says.
//
// It promises:
//   - An answer names the release that it was made from; all answers of a batch are made from one. Where that cannot be, because the database
//     is missing or damaged or has too much to say, the client gets a problem and never an empty answer.
//   - One signature for each request, however many questions it has.
//   - What is kept of batches, where the database tells what it answers from ([Teller]), is given for as long as database and overrides are the same ones, and
//     takes no more memory than Config.KeepBytes.
//   - Whoever asks for another network gets 421 and nothing else; where tokens are configured, whoever has none gets 401 and nothing else.
//   - Every request is bounded before it is read. Every error is application/problem+json with a code of package protocol, and says how long to wait
//     where waiting helps. Errors are never kept by caches.
//   - Nothing is logged but at debug level, and there neither who asked nor what, unless that is configured; keys are not in
//     requests at all. Intakes of statistics are not told who sent them.
//   - Servers share nothing: any two with a key of the same provider and the same database give answers that are worth the same.
//   - There is no goroutine, clock or file of its own.
//
// # Paths
//
// Those of package serving, which also holds each request against network, limit, token and spelling before it gets here, and GET /openapi.yaml: the
// protocol for other languages.
//
// # What caches may do
//
// The answer to a GET may be kept by any HTTP cache for three quarters of the shortest life of what it says, so that none reaches a client with
// less than a quarter of its life. With tokens it is private, for no other client may have it. Vary names the header of the network, so
// that no cache answers a request that was meant for another network. The time of issue moves in steps of up to a minute: within a step the same answer has the same
// bytes, and If-None-Match gives 304.
package server
