// Package clamscan holds the whole product against Debian's clamscan: lines of real databases and made-up ones are published, an endpoint updates, and both
// programs look at the same files with the same lines. It has tests only, under the build tag check.
//
// A cell is a file. Files are made from each signature so that it matches (wildcards are filled at random, the terms of an expression are satisfied by as
// many matches as it asks for, executables get headers with the sections and the entry point that offsets need), or are such a file with one static byte
// changed, or are the system's own. A cell differs if one program detects the file and the other does not, if the name that [matcher.Matcher.Scan] gives is
// none of those that clamscan gives with --allmatch, or if the names of all signatures that match, as package patterns gives them, are others. What
// docs/COMPATIBILITY.md explains, by the form of the signature or the kind of the file, is counted by its reason and is no difference.
//
// In a test of its own both look into containers, of which signatures know members: clamscan then has to have the name that we give.
//
// Elsewhere clamscan unpacks and normalises nothing, as we do; signatures for normalised files (targets 3, 4 and 7) are left out, and counted. A fixed sample runs
// unless AVDB_CELLS is all. Without clamscan the tests are skipped, unless CI is set.
package clamscan
