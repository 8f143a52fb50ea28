// Package protocol is what a KSN client, a proxy and a private server say to each other: bytes and signatures, no
// connection, no file and no clock. The requests are described for other languages in docs/api/openapi.yaml.
//
// It promises:
//   - There is one way from bytes to an [Answer], an [Info] or a [Provider]: through a signature that was verified. What
//     does not verify gives an error and nothing else.
//   - One spelling for each value. A document whose canonical spelling differs from its bytes is refused, so that what
//     was signed, what is cached and what is compared are the same bytes.
//   - Every count and length has a limit that is checked before memory is asked for.
//   - A question names only a type, a number of bits and that many bits of a key: who asks learns what the
//     network knows of all keys with that prefix, the network does not learn which of them was meant.
//
// # Keys and prefixes
//
// An object is known by a [Key]: a [Type] and a hash. file-sha256, file-sha1 and file-md5 hash the content; url hashes one
// host/path expression with SHA-256; software is the SHA-256 over publisher, product and version ([SoftwareKey]).
// A [Prefix] is its first 16 to 32 bits, written as hex digits: the last digit's unused low bits are zero.
//
// # Signed answers
//
// All documents are JSON in the canonical spelling: fields in the order of the types here, no white space, only
// ", \ and control characters escaped, nothing after the document. A [Reply] carries one or more answers and one signature:
//
//	{"answers":[ANSWER,…],"proof":{"keyid":"…","path":["l…","r…"],"sig":"…"}}
//
// The signature (Ed25519, base64) is over "avdb ksn reply 1\n" and the 32 bytes of a Merkle root over the answers
// in their order. A leaf is SHA-256(0x00, ANSWER), a node SHA-256(0x01, left, right); a last node without a partner moves up as it is.
// So 256 answers cost one signature, and whoever holds a reply can cut one answer out of it that still verifies by itself:
// its path lists the neighbours on the way up, lowest first, each "l" or "r" for the side on which it stands, and 64 hex digits.
// path is present, and empty or not, only where there is one answer; "path":[] is left out.
//
// GET /v1/l/{type}/{bits}/{prefix} gives a reply with one answer, POST /v1/lookup (a [Query]) gives
//
//	{"replies":[REPLY,…]}
//
// with the answers in the order of the questions. GET /v1/info gives {"info":INFO,"keyid":"…","sig":"…"}, signed over
// "avdb ksn info 1\n" and the bytes of INFO. A provider file is {"provider":PROVIDER,"key":"…","sig":"…"}: the
// provider's own public key, and its signature over "avdb ksn provider 1\n" and the bytes of PROVIDER. keyid is the first 16
// hex digits of the SHA-256 of a raw public key; a fingerprint is all 64 of them.
package protocol
