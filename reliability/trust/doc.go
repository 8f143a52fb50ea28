// Package trust proves, cell by cell and through the whole product, what metadata that is signed, stolen, replayed or withheld can do to
// an endpoint: the attacks of the TUF specification (C3), stolen keys (C4), trust folders put back (C6) and freezes (C7).
//
// A cell is an endpoint, once before its first install and once running, an attacker who holds named keys and the network, and what is
// attempted. The oracle proves every block of what is installed and compares it with the releases that the true publisher made: a
// cell is broken if a byte of the attacker's is in use, if a floor goes back, if the error is of another kind than documented, or
// if the device does not reach the newest release once the network is honest again (where a key was stolen: once it was replaced).
//
// What docs/THREATS.md says of each stolen key is what the rows of C4 hold. The tests are built with the tag check.
package trust
