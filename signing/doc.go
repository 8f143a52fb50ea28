// Package signing decides who may say what is new: it signs the repository that publishers make, and on endpoints it turns
// bytes of an untrusted mirror into a [Release] or [Restrictions] that nothing else can make.
//
// The repository follows The Update Framework (TUF), so that any TUF client can verify what is published; docs/format/trust.md has
// the layout, the roles and the bytes. go-tuf does the verifying and stays inside: none of its types is exported, it
// opens no file and no socket, and it is given no byte whose shape was not checked before.
//
// # Who signs for whom
//
//	root (offline, m of n) -> timestamp, snapshot (online), targets (offline, m of n)
//	targets -> database (online): release.json, light/*, rest/*
//	        -> restrictions (online): restrictions/*
//	timestamp -> snapshot -> targets, database, restrictions: version, length, SHA-256
//
// # What is promised
//
// A crash at any moment of [Repository.Commit] leaves a repository that serves the old or the new state. A crash at any moment of
// [Trust.Refresh] leaves a trust folder that believes no less than before and from which the next refresh goes on. No version, release, epoch or
// signed time goes back, also when cached metadata is lost or put back, except where a verified root or targets took away the keys
// that had vouched for it. All input is bounded before it is read and strict in form. The package reads no clock but
// where a zero time asks for it, and logs nothing.
package signing
