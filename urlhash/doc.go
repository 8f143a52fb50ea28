// Package urlhash turns a URL into the hashes under which a database of URLs may list it. Both sides use it: the
// publisher makes the one expression of each line of a .urls source ([ParseEntry], [HashOf]), an endpoint makes all
// expressions of a URL that somebody asks about ([Canonicalize], [URL.Hashes]). The rules are the public ones of Safe
// Browsing ("URLs and Hashing", version 5), so that other implementations make the same hashes.
//
// # What it promises
//
//   - Spellings of one address have one canonical form, and a canonical form is its own: [Canonicalize] of it changes
//     nothing. It is printable ASCII.
//   - A URL has at most [MaxExpressions] expressions, without duplicates.
//   - What [ParseEntry] accepts is an expression of the URL that it was made from, and is its own entry.
//   - Time grows with the length of the URL and not with its square, whatever is escaped in it, and how often.
//   - Every function depends on its argument and the tables that are compiled in alone, and may be called by any number
//     of goroutines.
//
// An error from [Canonicalize] is no clean bill: the URL could not be checked.
//
// # Canonical form
//
//  1. Tabs, CR and LF go, then bytes up to 0x20 at both ends, then the first # and all behind it.
//  2. The scheme is http, https or ftp, or absent, which stands for http. A backslash before the query counts as a slash, as
//     browsers have it.
//  3. The host ends at the first slash or question mark; user and port go. Only then are escapes undone, again and again
//     until there are none: an escaped slash cannot move the end of the host away from where a browser sees it.
//  4. Host: a name that is not ASCII becomes Punycode (UTS 46, not transitional). Dots at the ends go, runs of dots become
//     one. IPv4 in decimal, octal and hexadecimal, of one to four parts, becomes dotted decimal. IPv6 has the form of RFC 5952; an
//     address that only carries an IPv4 address (::ffff:0:0/96, 64:ff9b::/96) becomes that. Letters become small.
//  5. Path: escapes are undone here as well, so that the query begins at the first ? in whatever spelling. /./ and /../
//     are resolved, then runs of slashes become one. An empty path is /.
//  6. Query: escapes are undone, and nothing else changes. "?" alone stays.
//  7. Bytes up to 0x20, from 0x7f on, # and % are written %XX, with capitals.
//
// # Expressions
//
// An expression is a host and a path without anything between. The hosts are the exact one and, unless it is an
// address, up to four more: the registrable domain (one label below its public suffix), and what follows by adding one
// label after the other. The paths are the exact one with its query, the exact one without, and up to four more: the root, and what
// follows by adding one folder after the other, with a slash at the end. An empty query makes no expression. A hash is the SHA-256 of an
// expression.
//
//	http://a.b.example.co.uk/1/2.html?x=1
//
//	a.b.example.co.uk/1/2.html?x=1   b.example.co.uk/1/2.html?x=1   example.co.uk/1/2.html?x=1
//	a.b.example.co.uk/1/2.html       b.example.co.uk/1/2.html       example.co.uk/1/2.html
//	a.b.example.co.uk/1/             b.example.co.uk/1/             example.co.uk/1/
//	a.b.example.co.uk/               b.example.co.uk/               example.co.uk/
//
// # Public suffixes
//
// Both parts of the public suffix list count, that of the registries (co.uk) and that of companies below which strangers
// have their sites (github.io). So each site is reached however deep its suffix is, and an entry for a suffix
// is looked up for that very host alone, never for the sites below. As a bare domain it says less than its writer
// means, and [ParseEntry] refuses it. Written as a URL, "github.io/", it is an entry for the host, on which
// pages may be; a registry's suffix is refused even so, for programs that follow version 4 of the rules, or have an older list,
// would take it for all below.
//
// The list and the tables of Unicode are those that the program was built with. Where publisher and endpoint differ in
// them, an entry for a domain that became a suffix is no longer looked up for the hosts below it; everything else
// is found as before.
package urlhash
