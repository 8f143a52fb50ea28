// Package content proves row D of the attack matrix through the whole product: content that is validly signed and wrong, as a broken or
// robbed publisher would sign it, and files that are small and unpack to gigabytes.
//
// A cell is a repository with its real keys, an endpoint that has one of its releases in full, and a newer state of the repository that the keys
// of a role sign although its content is hostile. The way around is closed: where a delta is hostile, no bundle is signed. The cell is whole if
// the update says why it refuses, in its error or in a note of its report; if the generation, its every block, the restriction set in force and the
// verdicts are those of before; and if the next run against the true state of the repository ends in the newest release without leftovers.
// Two kinds of content are no mistake and are judged by what they may do instead: a restriction set that switches every request off is
// taken, changes no verdict, and ends by itself.
//
// Bombs are judged by memory: the heap that an update needs more for a bomb than for an honest file of the same field, sampled while it runs,
// and its time. The tests are built with the tag check.
package content
