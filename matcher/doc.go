// Package matcher turns objects into verdicts, over one generation at a time and with no lock
// that an update could hold.
//
// It promises:
//   - A record that covers an object is never missed: the index only says where to look, and what it
//     cannot say is looked up in the layers themselves. A verdict never rests on part of a hash when the whole
//     is there.
//   - What cannot be read is an error of that object or of the database, never "clean" and
//     never the end of the program.
//   - One object sees one generation. A [Matcher] follows the current one and changes over
//     between two objects.
//   - A scan gives its results in the order of the walk, with bounded memory.
//   - What is inside a container is matched as a file of its own is, whichever way the container comes; what was left out is said, and one object costs no more
//     than its limits allow ([Archives]).
//   - A [Cloud] that answers from the full generation makes of the light one what full is, and one that misbehaves makes of it nothing
//     but what it was.
//
// # From an object to a verdict
//
//	file ─ kind and layout by its first bytes, then 256 KiB at a time
//	                             │
//	         hashes that the generation has records of, SHA-256 where there are overrides; body patterns; then hashes of
//	         the sections of a PE file whose size is listed
//	                             │
//	         an administrator's override: allowed or malicious, and nothing else is asked
//	                             │
//	            for each section of such an algorithm, strongest first:
//	                             │
//	         tag line ─ not there: next section       (nearly always; one cache line)
//	                             │ row number
//	         light block ─ the prefix, exactly ─ without rest: suspected
//	                             │ same row
//	         rest block ─ the other bits, size, name: malicious
//	                             │
//	         allow records, ignored names, then the strongest verdict
//	                             │
//	         a container: the same for each member, and its verdict if it is a stronger finding
//	                             │
//	         suspected, and a cloud is there: it settles each prefix that was hit, then the same rules once more
//
// An allow record of SHA-256 cancels every detection; one of SHA-1 all but those by SHA-256; one of
// MD5 all but those by SHA-256 and SHA-1. What knows an object by something in it, a body pattern or the hash of a section, is
// the weakest evidence: any allow record of the file cancels it, as clamscan has it. Records of MD5 and SHA-1 allow only objects of the size that they name. If
// something stronger remains it is reported, else the object is allowed, whether or not anything was detected. Of several
// detections the exact one wins, then SHA-256, SHA-1, MD5, patterns and sections (one kind), then the first name in
// byte order.
//
// A cloud is asked only where light alone leaves a suspicion: one hit for each algorithm whose detections no allow record cancels, and none
// where an exact record has decided. Each is malicious, clean or not settled; an ignored name is clean. If the cloud answers from the full
// generation of the same release, verdict and name are those that full gives, except that full would name another record now and
// then where an exact one of light has decided. What is not settled, because the cloud cannot tell, fails or has not answered after 30 seconds,
// stays suspected; [Result].Why says why.
//
// # Many look-ups
//
// Most of the time of a look-up that misses is waiting for its line of memory. [Engine.LookupMany] takes the hashes of many objects and has 64 lines on their way at the same time: the
// look-ups are those of [Engine.Lookup], and cost a third to a half of it each.
//
// # Patterns and sections
//
// Body patterns and logical signatures (package patterns) and hashes of sections of PE files stand whole in light or in rest, and match what they
// match in a variant that has them. They are about the bytes of an object as it is: HTML, mail and text are not normalised, so that a
// pattern for targets 3, 4 and 7 finds what it says only where the file itself has it. Kind and layout are those of package filetype, which follows ClamAV: a file of
// less than six bytes has no kind, and no pattern is looked for. Sections are hashed as clamscan 1.4 does it, of PE32+ files as well, other than its
// documentation has it: of the rounded range that [filetype.Layout.Hashed] gives, with the size of that range.
//
// A file is read once, and its kind is told by its first bytes. Sections whose size is listed are read again, and so is a file of which one pass leaves a signature
// open. Both have limits ([Options].MaxSteps; twice the file's size and 64 MiB of sections): what goes beyond is given up, and the result says so
// with [ErrLimit], beside what was found. Such an object is never called clean, and neither is one on which the matching itself failed.
//
// # Containers
//
// Files that package archive can unpack are looked into, member by member and each before what is in it. A member has its own kind, hashes, sections and verdict, and knows the
// containers around it, for which signatures can ask. The file's verdict is the strongest of its own and its members'; of equals its own, then that of the first member,
// and [Result].Member says which. A malicious member ends the way.
//
// Allow records hold downwards: that of a container cancels what it would cancel of the container, in everything that is in it; that of a member, in the
// member and what is in it. A member that is allowed does not allow the file. An override ends the matter for the object that it is about with all that is in it.
//
// Members that light suspects are settled in one call together with the file, as far as its 256 hits go. Where there are more, the file stays suspected unless one of
// those that were asked about is malicious.
//
// A limit, damage, encryption and unknown methods are notes ([Result].Limits, [Result].Unread) and no errors: so has it clamscan, and a scan of a disk would be full
// of errors for what nobody can open. What could not be read because of the device, a context that ended, or work that [Options].MaxSteps ends are errors of the file.
//
// # URLs
//
// A look-up of a URL ([Engine.LookupURL]) asks the section of URLs alone, by the hashes of the expressions that package urlhash makes of it, and no file is ever
// asked about there. The way from tag line to rest block is the same. There are neither allow records nor sizes; the first expression that is listed decides,
// the most specific one first. With light alone a prefix makes the URL suspected, and package ksn/reputation can settle it.
//
// # The indexes
//
// There are two, the index of a light layer and that of a generation. Both are derived and hold nothing that is not in the layers. They can be lost, made anew by
// anyone, and are made the same by everyone. They are stored in pieces, each with a checksum that package store checks
// when a process first reads it. All integers are little-endian.
//
// # The index of a light layer
//
// Piece 0, the header:
//
//	offset  size  field     meaning
//	     0     8  magic     "AVDBcl64"
//	     8     4  version   1
//	    12     4  lines     of each piece but the last: 1024
//	    16    32  digest    of the light layer
//	    48     4  sections  how many follow
//	    52     4  lines     of all sections together
//
// Each section with rows, in the order of the layer: id (2), key bits p (1), 0 (1), number of its first line (4),
// number of its lines (4), number of its rows (4). A reader makes the header that it expects and compares.
//
// Pieces 1 and up: the lines of all sections one after the other, 64 bytes each:
//
//	offset  size  field  meaning
//	     0     4  first  number of the line's first row in its section
//	     4    60  tags   30 tags of 2 bytes, for row first, first+1, …; 0 where there is no row
//
// A section of n rows has ⌈n/20⌉ lines. The key of a row is the first p bits of its hash (p of the section; 64 where records are whole),
// followed by zeros to 64 bits. Its line is ⌊key × lines / 2^64⌋, so that the rows of a line are
// neighbours. Its tag is 1 + ⌊t × 65534 / 65536⌋ of the last 16 bits t of the p. In a line with more
// than 30 rows the last tag is 65535: rows from first+29 on have none and are searched for in the
// layer.
//
// # The index of a generation
//
// It has the sizes of what is listed by hash, so that files and sections are only hashed by algorithms that may know them, and the set of all body patterns. A generation
// without patterns, in which every algorithm has prefixes alone, has none; so have light layers mostly. Its header is checked when it is opened, lists of sizes where they are looked at, and the set when the first object is matched
// against it. Where a list is damaged files of all sizes are hashed, where the set is one is compiled in memory, and no object is judged by what was not checked.
//
// Piece 0, the header, which is compared as above:
//
//	offset  size  field     meaning
//	     0     8  magic     "AVDBsize"
//	     8     4  version   1
//	    12     4  patterns  of both layers, potentially unwanted applications among them
//	    16    32  light     digest of the layer
//	    48    32  rest      digest of the layer, zeros without one
//	    80     4  sections  how many follow
//
// Each section of an algorithm whose sections about files all have sizes (whole ones, and split ones with rest), in the order of ids of each algorithm, then each section about
// sections of PE files, those of light first: id (2), layer (1), 0 (1), number of its rows (4).
//
// Piece 1: for each of these sections how many different sizes it has, times 2, plus 1 if it has rows for any size (4 bytes); then for each its sizes, ascending (4 bytes
// each); then the number of sections (4).
//
// Piece 2, only where there are patterns: the set that package patterns compiles of the patterns of light, then of rest, in the order of sections and rows.
package matcher
