// Package network proves the part of the attack matrix that is about hostile mirrors: 44 behaviours of a source, each
// tried on the timestamp, on the metadata of the role database and on a bundle, 132 cells in all.
//
// A cell is a device on an older release, a mirror that behaves in one way for one file and honestly for every other one,
// and one run of updater.Update with the transport that the product makes itself, over real sockets on loopback. Names are
// resolved by a server of the tests, so that redirects and dead addresses meet the product's own dialer. Afterwards the same device
// meets an honest mirror; and another device meets five mirrors that behave like that and an honest one behind them.
//
// The oracle, in figures:
//   - the run ends within Limits.Update and one second;
//   - what the process takes from a connection is at most the file's signed length (of the timestamp: its limit) and 64 KiB; in all
//     requests of a run for one file at most twice the length of a bundle, or four times that of metadata (a first try and three
//     more after bodies that broke off), and 64 KiB for each of three tries at its headers; in at most twelve requests;
//   - the generation is exactly the old or the new one, each block of it proved, and a report or error says which, with the one
//     documented kind that the table names;
//   - floors never go back; nothing but the state folder is written; the next honest run ends in the new generation and leaves no file behind;
//   - a child process that meets a flood takes at most 24 MiB more memory than one that meets an honest mirror;
//   - no goroutine is left at the end.
//
// The tests are for Linux: they use the whole of 127.0.0.0/8, full backlogs, and how much of a socket's buffer was not read.
package network
