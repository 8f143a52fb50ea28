// Package patterns matches all body and logical signatures of a generation against one object while it is read in blocks, at the speed of memory for
// objects that hold nothing of them. [Compile] makes the bytes of a set of the records that layers store, once; [Open] makes a [Set] of these wherever they
// are mapped; a [Scanner] takes one object after another: Begin with what is known about it, Write for its bytes, End for the signatures that match.
//
// # What it promises
//
//   - What matches is what [pattern.BodySignature.Match] and [pattern.Logical.Match] say of the whole object, whatever the sizes of the blocks. Two
//     exceptions are said and not guessed: [Result.Undecided] and [Result.Limited].
//   - Signatures of targets that the object is not of cost nothing: there are at most two passes over it, one for any target and one for its own.
//   - It opens nothing and has no clock. End reads the object again through the reader that it is given, in blocks, if it must; see below.
//   - A Set is immutable and shared by any number of goroutines. A Scanner belongs to one; an object in which nothing is found allocates nothing.
//   - Opening a set takes time and memory that do not follow the number of signatures. What an object costs beside its bytes does not either, but for two
//     kinds of signatures: those that may hold where nothing is found, and those with parts of few or common bytes at offsets of their own.
//   - The same records and the same model give the same bytes, with [Options.Previous] or without. A set holds no pattern in clear.
//   - Facts are the caller's: the kind of a file and its layout, from package filetype, and its size, all of which must be known before the first byte. A
//     PE, ELF or Mach-O file without a layout is one whose header is broken. For targets 3, 4 and 7 the bytes are those that normalisation made.
//
// # How
//
// Each part of a body that is looked for has an anchor, the bytes of it that package prefilter's model calls rarest, up to 64 of them; equal parts of
// all signatures are one. The prefilter gets the anchors, and where one is, the part is verified in the bytes around it. The first parts of
// subsignatures whose offset leaves fewer than 64 places, and is common or leaves no good anchor, have none: they are tested at their places as these come
// by, by two of their bytes first.
// Of matches of parts of one chain, those that could still be extended are kept as the places where the next part may start: one number behind an
// unbounded gap, else disjoint spans, of which there is one for each (max-min+2) bytes of the gap at most. Counting ends where more matches make
// no difference to the expression.
//
// Anchors of less than nine bytes need passes of their own over each object, common ones are verified all the time, and those of 9 to 14 bytes beside a longer
// part or one with a place are not worth a pass. So a subsignature with such a part is late: as long as others rule its signature out, and they do nearly always, nobody has to know how often it matches. Of a signature
// that is ruled out by no other part, the cheapest late parts are looked for all the same, until it is. This is sound for negations and counts
// too, as it asks the expression itself: whether it may hold for some numbers of matches of what is not known, and whether it may not. Where both are so at
// the end, the object is read again, once for the late subsignatures of all signatures that are left. Their parts are looked for by an index of one gram each,
// made for this reading: of all grams of a part the one that is rarest in this very object, and among the parts, so that it costs little what the object was made for.
// A part is verified as long as some chain waits for it, that is once the one before it matched.
//
// # Limits
//
// A scanner keeps 2^16 matches and spans for each of its two groups (some MiB, whatever the object), the longest part four times over, and some
// 50 bytes for each part, subsignature and chain that an object touched, 200 for those of a reading. Chains that leave more open are counted by reading
// again, like late ones, with 2^18 spans each and 2^19 together; one that finds no room is left to the next reading, of four at most. A signature is
// Undecided if there is no reader for that or if these are too few, which takes a bounded gap of more than 2^18 bytes, or many of more than 2^16, and an object
// that repeats the part before it that often.
//
// Time is counted in steps: an anchor that was met, a part that was verified (at most [pattern.MaxWays] runs through it), a signature that a match was
// told to, a span that was looked at, 128 bytes of a part that are there, 32 bytes that are read again. A part is verified once at most at each byte; so a byte of the object costs no more than a few steps for each
// part whose anchor is there and for each signature that it belongs to, and a few for each part whose gram is there when it is read again. An object
// of nothing but one signature's anchor costs two steps a byte. [Object.MaxSteps] bounds the sum for an object. Where it ends the scan, what was found
// before counts: a signature that holds whatever else is in the object matches.
//
// The bytes of a set are described in docs/format/patternset.md. They are trusted: see [Open] for what damage can do, and cannot.
package patterns
