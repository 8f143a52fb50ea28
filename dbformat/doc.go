// Package dbformat turns the content of a release into bytes and back: layers,
// the bundles and deltas that carry them, and the records that are signed. It
// promises one encoding for each value, bounds for every input, and nothing else:
// it opens no file, reads no clock and writes no log.
//
// All integers are big-endian. Bits are packed most significant first, so that the
// order of packed values is the order of their bytes; what is left of a last byte is
// zero. "hash" is the full hash of an object: 16 bytes for MD5, 20 for SHA-1, 32 for
// SHA-256. Everything here is format version 1.
//
// # Layers and sections
//
// A layer is a list of sections in ascending order of their ids; a section without
// rows does not exist. An id is a class (high byte) and an algorithm (low byte):
//
//	id       name             light        rest    row
//	0x01aa   hash/ALGORITHM   prefix       tail    signature
//	0x02aa   pua/ALGORITHM    prefix       tail    signature of an unwanted application
//	0x03aa   whole/ALGORITHM  record       -       signature
//	0x04aa   wholepua/ALG…    record       -       signature of an unwanted application
//	0x05aa   allow/ALGORITHM  record       -       allow record
//	0x0600   ignore           name         -       name that is not to be reported
//	0x0700   selftest         vector       -       content with the expected verdicts
//	0x0803   url/sha256       prefix       tail    signature of a URL
//	0x09aa   sections/ALG…    record       record  signature of a section of a PE file
//	0x0aaa   sectionspua/A…   record       record  signature of a section of an unwanted application
//	0x0b03   patterns         pattern      pattern body pattern
//	0x0c03   patternspua      pattern      pattern body pattern of an unwanted application
//
// aa is 1 for MD5, 2 for SHA-1, 3 for SHA-256. Rows of url, of sections and of the first five classes stand in
// order of (hash, size), no two alike. Row i of a split section (hash, pua, url) in light is
// row i of the same section in rest: light has the first p bits of the hash, rest
// the others, the size (0: any) and the name. An empty name stands for "Hash.", "MD5",
// "SHA1" or "SHA256", "." and the first 16 hex digits of the hash; in url for "URL.SHA256." and these digits, in sections for "Section.", "MD5" and so on; that name is never
// spelled out.
//
// The last four classes are placed: each row stands whole in one layer, as the publisher decides. Such a section may be part of light, of rest, or
// of both with different rows and cuts. That no row stands in both is the publisher's promise ([Build] keeps it): a reader of both layers would have to
// compare all rows, and a row that stood twice would do no harm but to be counted twice. The hash of a row of sections is that of the bytes of one section of a
// PE file, its size that section's. A row of patterns is a name, never empty, and a pattern of 1 to [MaxPattern] bytes, which are opaque here. Its
// key is [PatternKey]: the SHA-256 of length of the name (1), name and pattern in clear, hence the 03 of the ids. It is not stored; rows stand in its order, no
// two alike, and its first bits say to which range a row belongs. A release with a placed section needs an engine of level 3.
//
// The hash of a row of url is that of one Safe Browsing expression (package urlhash) of a URL, not of a file, and its size is always 0:
// another one is an error. A release with a url section needs an engine of level 2 ([EngineLevel]).
//
// A section has three parameters. p is the width of a prefix, a multiple of 4 from
// [MinPrefix] to [MaxPrefix], 0 where nothing is split. The first b bits of a hash say to which of
// 2^b key ranges a row belongs, b <= [MaxCut], b < p. A block of rest and of a whole or placed
// section is one range; a block of a split section in light is 2^k consecutive ranges,
// k <= b and k <= [MaxGroup]. Blocks are numbered in key order and all of them exist, empty ones too. ignore
// and selftest have one block and p = b = k = 0.
//
// # Blocks
//
// Prefix block (hash, pua, url in light):
//
//	size                field   meaning
//	4 x 2^k             ends    number of the block's rows up to the end of each range
//	rows x (p-b) bits   low     bits b to p of each hash, not descending within a range
//
// Tail block (hash, pua, url in rest) and record block (whole, wholepua, allow, sections, sectionspua; p = 0):
//
//	size                field   meaning
//	4                   rows
//	1                   w       bytes of a size: the least that hold the largest one
//	rows x (n-p) bits   keys    bits p to n of each hash of n bits
//	rows x w            sizes   0: any size; at most 2^32-2; w is 0 in url
//	rows x 1            lens    length of each name
//	sum of lens         names   UTF-8, see [CheckName]
//
// Pattern block (patterns, patternspua):
//
//	size                field     meaning
//	4                   rows
//	1                   w         bytes of a length: the least that hold the largest one, at most 2; 0 without rows
//	rows x 1            lens      length of each name
//	rows x w            lengths   of each pattern
//	sum of lens         names     UTF-8, see [CheckName]
//	sum of lengths      patterns  each byte XORed with 0xa7, as the content of vectors
//
// Ignore block: rows (4), lens (rows x 1), names; names ascend strictly, none is empty.
//
// Selftest block: rows (4), then for each vector in strictly ascending order of
// (section, content in clear):
//
//	size   field     meaning
//	2      section   id of the section of rows that it tests, 0 for a benign one
//	1      light     expected verdict with light alone: 0 clean, 1 suspected, 2 malicious, 3 allowed
//	1      full      expected verdict with both layers
//	4      length    at most MaxVector
//	len    content   each byte XORed with 0xa7, so that no file holds what engines look for; of url a URL
//
// # Digests
//
// All digests are SHA-256; the first byte tells what is hashed.
//
//	block     02, layer (1: 1 light, 2 rest), section id (2), index (4), block
//	leaf      00, rows (4), bytes (4), block digest
//	node      01, left, right
//	section   03, layer, parameters as in the header, rows (8), root of the tree over leaves
//	layer     04, version (1), layer, number of sections (1), section digests
//
// The number of blocks is a power of two, so the tree is complete. A split section's parameters in rest
// hold its pair: the digest of the light section that it belongs to. Those of a placed section hold 32 zeros there: a section has parameters of
// one length in rest, whatever it is.
//
// # Header
//
//	offset  size  field
//	     0     4  magic     "AVDB"
//	     4     1  kind      'H'
//	     5     1  version   1
//	     6     1  layer     1 light, 2 rest
//	     7     1  sections  how many follow
//
// Each section: id (2), p (1), b (1), k (1), in rest pair (32, zero of placed sections), then its leaf table: rows (4), bytes (4) and
// block digest (32) of each block.
//
// # Bundle
//
// A bundle carries a whole layer. It has no digests: a reader computes them from what it decodes.
//
//	head      "AVDB", 'B', version, layer, number of sections, as a header; then of each section
//	          the parameters as in a header, rows (8) and canonical bytes (8)
//	frames    in order of sections and blocks, all of them
//	table     of each frame: section (1), first (4), blocks (4), size (4), offset (8), length (4, head included)
//	trailer   offset of the table (8), number of frames (4), "AVDE"
//
// A frame holds consecutive blocks of one section, at most 1 MiB of canonical bytes or one block, and can
// be decoded without the others:
//
//	section  1   number of the section, from 0
//	first    4   index of its first block
//	blocks   4   how many
//	size     4   canonical bytes of these blocks
//	length   4   bytes of the payload that follows
//
// The payload of prefix blocks: number of rows, then the prefixes of all rows, coded as Rice gaps (below)
// from first x 2^(p-b+k) on, with the span blocks x 2^(p-b+k). To which range a row belongs follows from its prefix.
//
// The payload of tail and record blocks: the number of rows of each block; keys of each block as they are; four columns
// of the most significant byte of every size, the next one, …; a column of the lengths of names; a column of names.
// The payload of pattern blocks: the number of rows of each block; a column of the lengths of names; a column of names; a column of the lengths of
// patterns (numbers); a column of patterns, masked.
// The payload of an ignore or selftest block is one column.
//
// A number is a group of seven bits a byte, least significant first, the high bit set when another byte
// follows, in its shortest form. A column is a number, 4 x its length + how; if how is not 0, the number
// of stored bytes; the stored bytes. how: 0 as it is, 1 one zstd frame, 2 (in deltas) one zstd frame with a dictionary.
// A zstd frame declares its content's size, has neither checksum nor dictionary id, and a window of at most 8 MiB. The CRC-32C (4,
// Castagnoli) of the column up to there follows it, as the last of the stored bytes, which are fewer with it than what they stand for.
//
// Rice gaps: n ascending values below a span. With t the greatest power of two that is not above span/n (rounded down),
// but at least 1: of each value's difference to the one before it (the first: to 0; where values ascend strictly, less one)
// the quotient by t as that many zero bits and a one bit, then the remainder in log2(t) bits. The last byte is filled up with zeros.
//
// # Deltas
//
// A delta turns one layer into another of the same prefix widths:
//
//	offset  size  field
//	     0     4  magic    "AVDB"
//	     4     1  kind     'L' light delta, 'R' rest delta
//	     5     1  version  1
//	     6     8  from     first bytes of the digest of the layer that it changes
//	    14     8  to       first bytes of the digest of the result, not equal to from
//	    22     1  entries  how many follow, in ascending order of their sections
//
// An entry: section id (2), operation (1), then what the operation says, in this order.
//
//	operation     field      size, meaning
//	bits 0-1 = 0             drop: the section disappears; nothing follows
//	bits 0-1 = 1             edit: rows of the section change
//	bits 0-1 = 2             new: the section appears (with cut and added)
//	bits 0-1 = 3  block      ignore, selftest: column with the new block, dictionary: the old block
//	split         p          1, as in both layers
//	bit 2         b, k       1 each: the cut, where it changes
//	bits 3 or 5   rows       number of rows before
//	bit 3         removed    number, Rice gaps: ranks of removed rows below rows, strictly ascending
//	bit 4         added      number, then for a split section of light Rice gaps: prefixes below 2^p, not descending;
//	                         otherwise rows
//	bit 5         replaced   number, Rice gaps: ranks before of rows that stay, strictly ascending; then changes
//
// A light delta has bit 5 in whole sections and in sections of PE files only; a rest delta has bits 4 and 5 only in split sections, bits 0-1 are 0 there.
// A placed section has in rest what it has in light: it says itself which rows go. Added rows: keys from bit p on,
// packed; column of sizes (numbers); column of lengths of names; column of names. Added patterns: column of lengths of names; column of names; column of
// lengths of patterns (numbers); column of patterns, masked; a changed pattern is another row. Changes, in rest: column with what changes of each
// row (1 tail, 2 size, 4 name, at least one); packed tails, column of sizes, column of lengths, column of names, each of those rows that it says. In light
// (and of placed sections) the name changes: column of lengths, column of names. Rows stand in the order of the result, changes in that of ranks. A change that changes nothing is an error.
//
// In light, a prefix that stands m times before and n times after has its last m-n rows removed or n-m rows added. In rest, rows go and come
// where the light delta of the same releases says (in split sections): what stays keeps its order, an added row follows those with the same prefix. Where the new
// layer has another row in the place of one that stays, it is a replaced one. A rest delta without a light delta, between
// releases with equal light layers, has replaced rows only in split sections. New cuts follow from light. A delta that changes nothing is an error.
//
// The dictionary of a column of names is taken from the old layer's section: of m = min(16, n) of its n blocks, those at i x n/m (rounded down) for
// i from 0, the first 256 KiB / m bytes of names each. That of a column of patterns is taken in the same way from the patterns as they are stored. A dictionary of
// less than 8 bytes is none.
package dbformat
