// Package proxy is the KSN proxy as an [http.Handler]: devices without internet get answers through it, and what it keeps in memory takes load off
// the channel. It speaks the protocol of package protocol to both sides: to devices and proxies as a server does, and to its upstreams, which are
// servers or other proxies.
//
// It promises:
//   - Nothing reaches a device, or the cache, that was not verified with the network's keys for exactly the question that was asked, and nothing
//     after the end of its life. Signatures are relayed as they are.
//   - Nothing of a device reaches an upstream but its question: no address, no header, no token. What goes upstream is the proxy's own.
//   - One network: whoever asks for another gets 421 and nothing else.
//   - A question is asked upstream once, however many devices wait for the answer; devices that give up take nothing from the others.
//   - A device that asks too much is told to wait (429) and takes nothing from the others.
//   - What it uses is bounded: requests to upstreams and the time that they take, questions and devices that wait for them, the cache.
//     Whoever comes when all of that is used gets 503 with a time to wait, and what is in the cache is answered all the same.
//   - Restrictions hold for what is sent, and never for what is known: the cache is asked before them.
//   - What restrictions have counted outlives the process where there is a [Memory]: after an end in good order nothing of a daily number is lost, after a
//     kill at most what is leased and not used: a lease and a half, of a sixteenth each. A kill never adds to it, unless the Memory failed before: what goes
//     upstream was counted there first. Rates are at most two seconds older.
//   - A refusal by an upstream (429, 451) is honoured and passed on; no other upstream is asked instead.
//   - There is no clock, file or log of its own, and no goroutine but for exchanges that were asked for, each with a deadline, and one that
//     writes to the Memory, where there is one: [Proxy.Close] ends them all.
//
// # Paths
//
// Those of package serving, which also holds each request against network, limit and spelling before it gets here; statistics are relayed. A proxy knows no
// tokens of devices: whoever reaches it may ask, and sees the status page where there is one.
//
// # The cache
//
// Its unit is the prefix. An answer is fresh as long as all that it says holds: a prefix of which a trusted file is known for a week says only for an
// hour that nothing else is. Fresh answers are given without asking anybody; Cache-Control and Age tell caches on the way how long that is. After
// that the next question goes upstream, and only if that fails an answer is given of which a part still holds, with no-store: clients
// know what each part is worth. A few seconds before the end of all lives it is worth nothing.
//
// # Batches
//
// A question that finds a free slot goes upstream at once, by GET. When [Config.MaxUpstream] requests are under way, questions of all devices gather, and
// the next free slot takes up to 256 of them by POST. Files, URLs and software never share a request, so that a refusal of
// one is none of the others. A batch that an upstream calls wrong or too large (400, 413) is asked again in halves: one device's question does not
// spoil those of others. An answer to a batch has all answers or is a problem; those that came are in the cache by then, and trying again costs the rest only.
//
// # Restrictions
//
// Each question, each relayed record of statistics and each request for info is a request in the meaning of package ksn, over the route "proxy", with
// the prefix as its key. The proxy does not know who waits for the answer: it holds back what a restriction forbids for every origin. What a
// restriction forbids for some origins only, devices hold back themselves. Of a batch the questions that may pass go upstream, and the device gets 451 for
// the others. Longer lives that a restriction asks for find none here: a signed life is never stretched.
//
// # Upstreams
//
// They are tried in order. One that fails (no connection, 5xx, too slow, too long, a redirect, a signature that does not fit) three times in a
// row is left alone for a second, then for longer, up to a minute; then one question probes it. 401 and 403 are about the proxy's own token, 421 about
// its configuration: such an upstream is left alone for a minute, then longer, up to an hour, and devices get 503, for it is none of their making.
// What an upstream says of waiting is honoured up to a day.
package proxy
