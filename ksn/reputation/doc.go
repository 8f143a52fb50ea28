// Package reputation asks a KSN network what it knows of files, web resources and software. Endpoint products embed it: one [Client] for a
// device and a network, used by any number of goroutines.
//
// # What it promises
//
//   - A verdict comes from an override of the administrator or from an answer whose signature was verified by a key of the installed
//     provider, over the very prefix that was asked for. Everything else a server can send is at most a reason why there is none.
//   - No request leaves without a decision of [ksn.Decide] made for it just before, from facts that were read just before. One function
//     sends, and it takes nothing but such decisions. Before consent and after it was taken back there are no requests.
//   - Requests go to the URLs of the installed provider file and to the proxies of the settings, and name the network that they are meant for.
//     Of the objects they carry prefixes of hashes only.
//   - [Client.Lookup] is back by its deadline whatever servers do, and never waits for a disk.
//   - Whatever a server sends is bounded before it is held, and what was learnt from it is bounded in memory, on disk and in time: no reply can
//     silence a device for longer than [MaxWait], or [MaxPlainWait] over plain http.
//   - A suspicion of the light database ends as clean only by an answer made from a database that is at least as new as the one that raised it.
//
// # How an object is looked up
//
// Overrides, then the answer cache, then the gate, then proxies or servers in the order of the fallback table (routes.go). A restriction
// therefore never hides a known answer. What a server cannot say now is unknown with a reason ([Verdict.Why]); where an error is the reason, an
// answer that is past its life is better than none, for a limited time ([StaleUntrusted], [StaleTrusted], [StaleEmpty]) and marked as such.
// Suspicions that nothing settled are handed to [Memory] and asked again, see [Client.DrainDeferred].
package reputation
