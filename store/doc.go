// Package store keeps an endpoint's generations and state on disk. It promises that after any
// crash the old or the new generation is current and whole, that nothing is used that is not exactly
// what its digest names, and that no reader waits for a writer.
//
// # The state folder
//
//	STATE/                       0755
//	STATE/db/                    0755
//	STATE/db/CURRENT             0644  the current generation and those kept beside it; replaced by rename
//	STATE/db/layers/DIGEST.db    0644  one immutable layer file per layer digest
//	STATE/db/index/KEY.idx       0644  compiled index of a generation, derived from its layers
//	STATE/db/restrictions.json   0644  the restriction set of the last good update; package signing proves it at each reading
//	STATE/trust/                 0700  for package signing
//	STATE/downloads/             0700  partial files of the updater
//	STATE/ksn/                   0755
//	STATE/ksn/KIND.json          0644  provider file of the global or private network; replaced by rename
//	STATE/settings.json          0600  the device's own settings; replaced by rename
//	STATE/settings.lock          0600  held while settings, overrides or networks are changed
//	STATE/overrides.json         0600  what the owner says of single objects; replaced by rename
//	STATE/state.db               0600  history, the state of each source, what clients of a network remember; opened per operation
//	STATE/cache.db               0600  answers of a network; may be lost at any time
//	STATE/update.lock            0600  held by the one updater that may change db
//
// The modes hold whatever the umask. Files in the making are named NAME.RANDOM.tmp beside their
// final name; only [Store.Clean] and the writer that made one remove it. docs/format/store.md
// has the bytes of each file.
//
// # Order of writes
//
// A layer file is written under a temporary name, synced, opened again, each block compared with its
// leaf, renamed, and its folder synced; only then may CURRENT name it. CURRENT is written under a
// temporary name, synced, renamed, and its folder synced; only then are files removed that
// no kept generation needs.
//
// # Reading
//
// Layer and index files are bbolt files, mapped read-only. bbolt checks no page of its own beyond the two meta
// pages, so the pages on the way to a value are checked before bbolt follows them, and every
// value is checked against a digest (blocks) or a CRC-32C (pieces of an index), when this process first touches it. What opening costs follows the
// number of blocks, which the header of a layer lists, and not what is in them. A block that is absent is damage, never a miss. A verification walks the whole page tree (it must be a tree, inside the file), and so does whoever
// has written a file, before it gets its name.
//
// state.db and cache.db are written in place, by any process, which locks them for the moments in which it has them open. Their pages are
// checked each time, under that lock. Every value of theirs has a sum, and what does not fit it is as good as absent.
package store
