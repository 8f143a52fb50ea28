// Package history proves row A14 of the attack matrix, in tests only: long lives of one endpoint, in which everything goes
// wrong that the other rows break one at a time.
//
// A cell is a history: [steps] updates (or rollbacks, holds) of one endpoint, over its real state folder, with the real
// updater, store, signing and matcher in process. Everything that happens in it is drawn from its seed beforehand, so that a
// seed is a history: which of the publisher's states each of one to three sources serves, and how it lies about it; at which
// change of the disk an error comes, with or without effect, or the process dies; whether the power goes with it, and
// what of the unsynced changes that leaves; what is damaged, lost or put back in the state folder between two steps; the clock;
// the variant; rollbacks and holds; a second update at once, a reader in the midst, a cancellation.
//
// The oracle is a model of its own that knows the publisher's states and the step, and looks at the disk with a fresh store. After
// every step:
//
//	I1 I5  the store opens and is, block by block, the generation from before or one that the step could lead to
//	I2     what a run said it did is there, and is in what a power cut at that instant would leave
//	I3     one good source suffices; at the end one undisturbed run is on the newest release, each layer fetched whole at most once
//	I4     the floors on disk are not below those from before, nor below what vouched for the current generation, and the newest
//	       root on disk vouches for the stored set
//	I6     no answer is read further than its limit and 64 KiB, no update asks more often than stated
//	I7     a reader in the midst of an update has one whole generation
//	I8     no panic, no hang, one documented kind of error, nothing left over after a run that went well
//
// What an attack on the state folder itself takes away (a CURRENT put back, floors and metadata put back or removed both) is not held
// against the engine; that nothing else is lost with it, is.
//
// AVDB_CELLS=all runs ten thousand histories, AVDB_CELLS=N the first N. A history that fails is reduced to the steps that it needs and
// printed with the command that runs it alone.
package history
