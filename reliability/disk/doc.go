// Package disk proves rows A1 to A4, A6 and A7 of the attack matrix: whatever a disk does to an update, the device keeps
// the old generation or has the new one, says nothing that is not so, and heals by itself.
//
// A cell is one fault in one scenario. The state folder lies on a file system of our own in memory, mounted through
// FUSE: it sees every call of the endpoint, which is another process, and can end that process before a call, apply
// half of a write, fail a call with or without its effect, and tell at any moment what a power cut would leave: of each
// file what was synced, of each folder the names at its last sync or newer ones. The same calls are repeated on image
// files with ext4 and xfs, and on tmpfs that is full or read-only.
//
// The oracle looks at what is left, without the fault: the current generation is exactly the old or the new one, every
// block and the self-test of it proved; look-ups of known hashes are right; no floor went back; a run that had said "done"
// has the new generation on disk even if the power fails at that instant; the next undisturbed run ends in the new generation,
// fetches no layer twice and leaves no file behind. That the oracle can fail is shown with a disk that lies and with products
// whose syncs were taken out.
//
// The tests need root and FUSE on Linux and skip, with a word, where these are missing. CI runs a sample that is fixed;
// AVDB_CELLS=all runs every cell.
package disk
