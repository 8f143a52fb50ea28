// Package statistics counts what extended mode may tell the operator of the network, keeps it in the spool until it is taken, and shows
// beforehand what would be sent. It opens no connection and no file: spool, settings, randomness and sending come from outside.
//
// It promises:
//   - A record holds what the accepted statement names, and nothing else. Each statement version has a [Manifest], which lists every field; a field
//     that the manifest in force does not list is taken out before a record is spooled and once more before it is sent.
//   - Records hold no path, hash, URL, time, name of a user or device, nor the install id. Their own id is random and links nothing.
//   - Nothing is spooled or sent unless extended mode is in force at that moment, and nothing that was counted outside of it. Whoever looks and
//     finds it not in force clears the spool.
//   - Delivery is at least once: records leave the spool after they were taken. The receiver knows a record that comes again by its id.
//   - Memory is bounded, whatever is counted.
//
// # Bytes
//
// A [Record] is JSON with the fields in the order of the type, without white space and without fields that say nothing; <, > and & are not escaped.
// There is one spelling of each record; others are refused.
//
//	{"v":1,"id":"8f…32 hex digits…","program":"2.1.0","database":7,"variant":"full","os":"linux","arch":"amd64",
//	 "questions":{"file":{"asked":12,"answered":11,"suppressed":1}},
//	 "signatures":[{"name":"Win.Trojan.Example-1","count":2}],"signatures_more":3,
//	 "answer_times":[4,5,2,0,0,0,0],"failures":[{"kind":"timeout","count":1}]}
//
// A body is what one request carries: {"v":1,"records":[RECORD,…]}, as canonical, at most [MaxBody] bytes, sent as [ContentType].
//
// # Names
//
// Signatures without a name of their own are named after their hash, and those of the light layer after its first bits. Of such names
// the part that is or may be a hash is cut ("Hash.SHA256", "URL.SHA256", "Prefix.MD5"), and 16 or more hex digits in any name become "*".
package statistics
