// Package updater brings an endpoint's database up to date: it decides what to fetch, fetches it from sources
// that are never trusted, proves the result and makes it current.
//
//	source -> fetch -> partial file -> decode -> layer file -> digest -> self-test -> CURRENT
//	           |          |                                      |          |
//	         meter     length, SHA-256                     signed digest  vectors
//
//	...untrusted bytes...|...as signed, result unproved..........|...proved...........
//
// It promises that
//
//   - what is installed is never taken away: after any failure, also a crash, the old or the new generation is
//     current and whole;
//   - nothing is used that does not follow from signed metadata: a file is verified through the descriptor that
//     is then decoded, and its result's digest is the one that the release names;
//   - one good source among bad ones suffices, and no source costs more than its [Limits];
//   - a restriction set is in force as soon as it is verified, whatever becomes of the layers.
//
// [MakePlan] decides, as a pure function; [Updater.Update] carries out, one cycle a call, under the store's
// update lock. The steps of the cycle have names ([Steps]), which tests use to stop a process between any two of
// them. This is the only package that uses grab and retryablehttp; what these lack is added below them, in
// the meter, which sees every single request.
package updater
