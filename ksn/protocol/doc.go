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
// ", \ and control characters escaped, what is zero or empty left out where it is not required, nothing after the document. A reply carries one or
// more answers under one [Head], and one signature:
//
//	{"head":HEAD,"answers":{ANSWER,…},"proof":{"keyid":"…","path":["0…","2…"],"sig":"…"}}
//	HEAD    {"v":1,"issued":"…","ttl":…,"neg_ttl":…,"release":…}
//	ANSWER  "file-sha256/24/0a0b0c":[ENTRY,…]
//	ENTRY   {"key":"…","size":…,"verdict":"…","name":"…",…}
//
// An answer is a member of the object "answers": the prefix, and what is known of the keys that begin with it. What all answers of a reply have in
// common is spelled, sent and hashed once.
//
// The signature (Ed25519, base64) is over "avdb ksn reply 1\n", the 32 bytes of the root of a Merkle tree over the answers in their order, and the bytes of
// HEAD. A leaf is SHA-256(0x00, ANSWER), a node SHA-256(0x01, two to four hashes): each level is cut into groups of four from its beginning, and a last one
// by itself moves up as it is. So 256 answers cost one signature, and whoever holds a reply can cut one answer out of it that still verifies by itself:
// under the same head, with a path that has a step for each node on the way up, lowest first: the place in the node, 0 to 3, and the other hashes in their
// order, 64 hex digits each. path is present only where there is one answer; "path":[] is left out. No answer verifies under another head, in another place
// of the tree or as a node of it.
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
