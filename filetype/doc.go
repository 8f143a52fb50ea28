// Package filetype tells what kind of file an object is, as far as signatures in ClamAV's formats can ask, and where the entry point and the
// sections of an executable are. It is what Target:, EntryPoint:, NumberOfSections:, the offsets EP+n, EP-n, Sx+n, SL+n, SEx and the section hashes of
// .mdb and .msb files need. It opens nothing, keeps nothing and imports nothing of this module.
//
//   - [Detect] is a pure function of an object's first bytes and its size, and allocates nothing.
//   - [Read] parses the headers of a PE, ELF or Mach-O file through an [io.ReaderAt]: at most [MaxReads] reads of at most 4 KiB each.
//
// # Whose semantics
//
// A signature was written and tested against ClamAV. What is here is therefore what ClamAV does, also where a loader or a specification says
// otherwise, and as it was observed with clamscan 1.4.6 and its built-in magics: TestDetectAgreesWithClamAV compares kinds,
// TestTargetsAgreeWithClamAV, TestOffsetsAgreeWithClamAV, TestSectionHashesAgreeWithClamAV and TestRealProgramsAgreeWithClamAV compare hits. They
// are skipped where clamscan 1.4 is not installed. Sources of the rules: "ftm" is ClamAV's database of file type magics in the format that its
// documentation describes (File Type Magic), its target types are in the documentation's appendix File Types; "spec" is the public
// specification of a format; "probe" is what clamscan was seen to do.
//
// Only the first [HeadSize] bytes decide, by magics at fixed places first. What has none is text or data by its bytes, and then looked through for
// marks of HTML, mail and other formats; of several marks the one with the highest precedence counts, but a program's header and an
// archive's count over what was found before them. Notable, each held by a test:
//
//   - Whatever begins with MZ is of kind PE, a DOS program too. Whether its headers hold is what Read tells; where they do not, signatures
//     without a relative offset still apply and those with one do not (EOF-n counts as relative).
//   - Text is ASCII and all that extends it, and UTF-16. Without a mark of its byte order UTF-16 is whatever has no control character when it is read
//     as big-endian: a text with a few control characters is still text. Target 7 has them all.
//   - Mail by its first bytes has target 4; its body is an object of its own, which is often text. Mail that is found behind the head has targets
//     4 and 7.
//   - A universal binary has the target of Mach-O but no layout: ClamAV matches its bytes as a whole and takes each architecture for an object of its
//     own, which is the matter of whoever unpacks containers. A Java class shares its magic; the number after it decides, and of versions that are
//     not 32 to 63, or with a minor version, ClamAV knows none.
//   - Objects of up to five bytes have no kind: ClamAV does not look at them.
//
// # Where it differs
//
//   - Text is looked through for HTML and mail as far as the head goes that was given, at most [MaxHead]. ClamAV goes to the end of the file.
//   - Zstandard is a kind; ClamAV 1.4 takes it for data or text by its other bytes. Its next version knows it.
//   - Marks that ClamAV looks for behind the head (disk images, packed installers, documents in XML) are not looked for: none has a target.
//   - ClamAV's next version wants a delimiter behind the tags of HTML. 1.4 does not, nor does Detect.
//   - A PE file with a section that lies behind its end and has a negative address has no layout. ClamAV has none for offsets either, but
//     hashes its other sections. No such file loads.
//   - Mach-O files with more than [MaxSections] sections have no layout; ClamAV counts them modulo 65536.
//
// What clamscan 1.4.6 does and a matcher should not: in PE files of 256 KiB and more it looks for a signature without wildcards at SEx only at the
// first byte of the section, and it crashes when SL+n meets an ELF or Mach-O file without sections.
//
// # Limits
//
// ClamAV's own, where it has one: 128 program headers and 256 sections of an ELF file, 1024 load commands and 255 sections in a segment of a Mach-O
// file. Sections of a PE file are limited by their 16-bit number only: of 100 and of 300 all have their offsets and hashes (probe), so that the 96 of
// older Windows loaders is no limit there. Each section costs 16 bytes of memory, after the 40 or more of its header were read; no count in a
// header leads to an allocation before that of more than 16 sections (256 for ELF).
package filetype
