// Package archive opens containers, so that what is inside them can be scanned like any other object: zip, gzip, Zstandard and tar, and these inside of
// each other. It reads an [io.ReaderAt] and gives one member after the other as an [io.Reader]. It opens no file, knows no clock and starts no goroutine.
//
// It promises, whatever the bytes are:
//   - What one top-level object costs is bounded by its [Limits], which all containers inside it share: one [Budget] counts bytes, members and depth of
//     them together. No count or size in a header leads to an allocation; memory is that of the decoders, of one buffer, and [Limits].Memory for spools.
//   - A limit is never silent. It ends the member, the container or the whole object with a [LimitError] that says which limit it was and where, and what
//     was given out until then stays good.
//   - What is broken is broken for itself. A damaged member gives what came of it and a [DamageError], and the others still come.
//   - The same bytes give the same members, bytes and errors.
//   - A member's name is for people only: valid UTF-8 without anything that a terminal obeys, at most [MaxName] bytes. Nothing here is ever used
//     as a path of a file system, so a name such as "../../etc/passwd" is no danger and is shown as it is.
//
// # What counts as a member
//
// Whatever some unpacker would write out, which is more than what one of them would:
//
//   - zip. The central directory is what most unpackers follow, local headers are what those follow that read a stream. Members are what the directory
//     lists; where a member's local header says something else about how to read its content, the member comes a second time as the local header has
//     it; then what another directory lists otherwise, if the end points at one and another is in front of it; and local headers that no entry points at, and entries
//     of no directory that lead to something else, come last. All but the first are marked Hidden. They are looked for in all of the file but what was given out as content:
//     an entry that claims more than it gives hides nothing. So a zip whose end is lost or whose directory is broken is read as far as it goes, and what was put before it or
//     between its files is seen; clamscan 1.4.6 looks at entries only. Deflated content ends where its own end mark is, whatever sizes the headers claim. Where a
//     local header says that a descriptor follows, stored content goes as far as the descriptor for those who read a stream, and other content as far
//     as it says itself: if that is not what the directory has, the member comes a second time. Methods are stored, deflate, bzip2 and Zstandard.
//     Folders only count, which are entries whose name ends in "/" and from which no reader gets a byte.
//     A zip behind other bytes, as programs have it that unpack themselves, is found in any object that is no other container of these ([Budget.Embedded]), as clamscan has it.
//   - gzip. One member: all streams one after the other, up to padding with zeros or other bytes that are none.
//   - Zstandard. One member: all frames one after the other. A window of more than [Limits].Window is a limit: see there.
//   - tar, in all dialects that archive/tar knows. Holes of sparse files are zeros, which count like other bytes. Links, devices and folders only count.
//     Behind a broken header the next block with a valid checksum is taken for a header again, as GNU tar does, and so it is behind the
//     two blocks of zeros that end an archive, where tar --ignore-zeros goes on. Headers of more than 1 MiB are refused
//     by archive/tar. What comes otherwise if nothing is read but name, size and type of the headers, junk behind their digits or not, comes at the
//     end, marked Hidden: that is how clamscan 1.4.6 reads them, and what is behind a header that archive/tar refuses.
//
// Members that are encrypted or packed by another method are listed with their flag, and reading them is an error.
//
// # Limits
//
// Defaults are ClamAV's where it has one (clamscan 1.4.6 and its manual page): 400 MB of content in all, 100 MB of a member, 10000 members, 17 levels.
// ClamAV counts the top-level object among the bytes and the levels; here only what is unpacked counts as bytes, and the object itself is level 1, so that
// 16 containers may be open inside each other, as clamscan has it (TestSeesWhatClamAVSees). Like clamscan a scan goes on with what came before a limit, and the object is not clean of anything
// but that: hence the error. What is read counts too, against twice what may be unpacked and the object's own size: a zip may name the same bytes ten
// thousand times, and a compressed stream may be long and yield nothing. A member packed with bzip2 counts 128 KiB more, for the memory that its decoder clears.
package archive
