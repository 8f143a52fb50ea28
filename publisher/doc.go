// Package publisher turns sources into a signed release: it reads and judges their lines, compiles
// what is valid into the two layers of a release, makes bundles and direct deltas, checks the guards, and has the
// result signed.
//
//	sources --Compile--> dbformat.Content --Build--> light, rest --Publish--> bundles, deltas, release.json, signed
//
// It promises that no line is lost in silence (each is accepted or is a [Reject] with file, line and
// reason), that the same sources give the same layer digests in whichever order files and lines come, that content which did not
// change publishes nothing, and that a crash leaves the old release or the new one served, never a mixture:
// the signed metadata is the truth, and the private state beside it is brought back in step with it by the next run.
//
// The sources' formats are specified in docs/format/sources.md.
package publisher
