// Package damage holds rows A8, A9 and A11 of the attack matrix, and the measure of how much of the decoders the fuzz seeds reach. It
// has tests only, under the build tag check. AVDB_CELLS=all runs every cell instead of a fixed sample, AVDB_CELLS=rest:12345 one cell
// of A8 alone: byte 12345 of that file.
//
// # A8: damage of an installed generation
//
// A cell is one bit of one byte of a generation's files (light, rest, index) flipped, or one of these files cut to a multiple of
// 512 bytes. The oracle is a process that has just begun: it opens the store and the matcher, which keep what they have proved for
// their own lifetime only, and looks hashes up whose answers the test knows from the text that was published. An answer must be
// that of the undamaged generation, or an error that matches store.ErrDamaged and store.ErrStorage beside the verdict error or
// suspected. Any other verdict is silently wrong, a panic or a fault is a crash.
//
// Opening costs about a millisecond and there are millions of cells, hence two kinds of groups:
//
//   - A byte inside a block of a layer, or inside a piece of the index, is read by the look-ups of that block or of the lines of
//     that piece and by nothing else: opening reads headers, tables and pages of the tree, and the one block of ignored names, which is therefore
//     not counted among these. So one byte of each block is flipped at once, and each cell is judged by look-ups of its own block:
//     of the record that the byte belongs to, of its neighbours, of the first and the last one, and of hashes that are absent.
//     They stop at the first error, for each of them proves the whole block before it reads a byte of it.
//   - Every other byte may matter to every look-up, so that a record of each block and an absent hash are looked up. 64 neighbouring cells are
//     flipped at once. If all answers are right without an error each of them counts as harmless; otherwise both halves
//     are judged, down to the single cell. So a cell that is noticed was judged alone, and only flips that undo each other could hide.
//
// TestA8CellsAreIndependent checks both on a sample: alone, with every record of the generation looked up, a cell comes to the same. The
// sample of TestA8FlippedBytes without AVDB_CELLS=all is judged without groups.
//
// # A9: damage of what is decoded
//
// A cell is one bit of a bundle or delta flipped, or the file cut at one byte, and given to the decoder as if its outer hash were right. A
// decoder may refuse it, or give a layer with another digest, which the caller refuses: store.LayerWriter.Finish compares with the signed one.
// Accepted is a cell from which the signed digest comes although the bytes differ. There must be none: zstd can say the same text in several
// ways, but the CRC-32C after each frame holds it to the one that was written. A panic is a crash.
//
// # A11: readers while generations change
//
// Goroutines and processes look up while generations with different answers are activated. Each answer must be one of a generation, no
// look-up may fail, and where the generation in use was the same before and after a look-up, the answer must be that one's.
//
// # Coverage
//
// The fuzz targets are run on their seeds alone, and the statements of each decoding file that they reach are counted; functions of these
// files that only write are not. What seeds cannot reach: errors of the reader, the base and the sink that a decoder is given (they are never of its
// input, and have tests of their own), errors of making a zstd decoder, limits of gigabytes, and second checks of what an
// earlier step has refused already. AVDB_MISSED=1 lists all of it by line and function.
package damage
