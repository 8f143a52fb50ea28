// Package prefilter finds, in a stream of bytes, every place where one of many literals occurs: up to [MaxLiterals] of them, of [MinLiteral] to
// [MaxLiteral] bytes each. It is what stands between the bytes of a file and the body patterns that could be in it: most files hold no
// literal at all, and of those bytes all but one in some hundreds are looked at once and never again.
//
// # What it promises
//
//   - A hit means that all bytes of the literal were compared; there is no false hit and no missed one, at the first and last byte of the stream,
//     where literals overlap, and wherever the stream was cut into blocks.
//   - Each occurrence is told once for each identifier of its literal. The hits of one literal come in ascending order of position; those of
//     different literals are told when they are recognised, which is at most two lengths of the longest literal after their last byte.
//   - The same literals, in any order, with the same model and the same set to reuse, give the same bytes on every machine.
//   - [Open] follows every offset and count of a set, so that scanning with a set that it accepted stays inside it. What it does not notice is a
//     changed byte whose meaning is content and not place (a filter word, a byte of a literal): such a set misses or adds hits, and a checksum
//     over the file is its owner's business. [Map] checks the header only, for sets whose bytes are trusted; of damaged ones a scan ends too, if
//     need be with a panic that the owner recovers, and stays inside the set and the stream.
//   - The package does no input or output, keeps no globals that change, and starts no goroutines. A [Set] is shared by any number of
//     goroutines; a [Scanner] belongs to one.
//
// # How
//
// A literal of n bytes belongs to a tier (q, s) with q+s-1 <= n. One window of q+s-1 of its bytes, the one whose grams are rarest, is its anchor. The
// window's s shifted grams of q bytes go into the tier's filter, so that one of them lies at a multiple of s wherever the literal occurs, and only those
// places are tested: one load, one multiplication and one word of a filter of at most 1 MiB for each s bytes. What passes is looked up by a
// second hash in lines of tags, then compared in four of its rarest bytes, then as a whole. Each of these stages runs over many candidates at a
// time, so that their cache misses overlap.
//
// The tiers with s of 1 and 2 would test many places. Before their filters stands a table of two-byte numbers, made of their literals when the first scanner
// is: where it knows a gram's first two bytes and the next two, or some of them, the place is worth a look.
//
//	tier    0  1  2  3  4  5  6  7  8
//	q       5  8  3  6  4  4  3  2  2
//	s      16  8  8  4  4  2  2  2  1
//	n >=   20 15 10  9  7  5  4  3  2
//
// A set pays a pass over the text for each tier that it uses. [Build] reckons with it: literals are in the first tier in use that is for their length, and a
// tier is used if its pass costs less than the candidates that its literals would make in the one below. The first one is for sets of up to some ten
// thousand literals without a shorter one, tier 2 for sets whose literals are rare enough to be told by three bytes, so that some of 10 to 14 bytes cost no
// pass over twice as many places.
//
// Literals that share a gram, however many, stand in a tree that compares up to eight bytes on both sides of the gram at each step by binary
// search. A candidate costs the depth of this tree, which the bytes of the file have to match step by step, and not the number of the literals.
//
// The bytes of a set are described in docs/format/prefilter.md.
package prefilter
