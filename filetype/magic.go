package filetype

import "bytes"

// A magic is bytes at a fixed place that decide a kind.
type magic struct {
	at    int
	bytes string
	kind  Kind
}

// magics are the fixed magics of ftm, by their bytes. Those that are not of interest as kinds are here as well: what has
// one is neither text nor data.
var magics = [...]magic{
	{0, "[aliases]", Tar}, // a tar archive that claims to be something else (CVE-2012-1419)
	{0, "MZ", PE},
	{0, "\x7fELF", ELF},
	{0, "\xce\xfa\xed\xfe", MachO}, // 32 bits, little-endian
	{0, "\xcf\xfa\xed\xfe", MachO}, // 64 bits, little-endian
	{0, "\xfe\xed\xfa\xce", MachO}, // 32 bits, big-endian
	{0, "\xfe\xed\xfa\xcf", MachO}, // 64 bits, big-endian
	{0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE2},
	{0, "%PDF-", PDF},
	{0, "FWS", Flash}, // plain
	{0, "CWS", Flash}, // zlib
	{0, "ZWS", Flash}, // LZMA

	{0, "BM", Graphics}, // BMP
	{0, "GIF", Graphics},
	{0, "\x89PNG", Graphics},
	{0, "\xff\xd8\xff", Graphics},                   // JPEG
	{0, "\x00\x00\x00\x0cjP  \r\n\x87\n", Graphics}, // JPEG 2000
	{0, "II*\x00", Graphics},                        // TIFF, little-endian
	{0, "MM", Graphics},                             // TIFF, big-endian
	{0, "PK\x03\x04", Zip},
	{0, "PK00PK\x03\x04", Zip}, // one volume of several
	{0, "\x1f\x8b", Gzip},
	{0, "\x28\xb5\x2f\xfd", Zstd},
	{257, "ustar", Tar},
	{0, ">From ", Mail},
	{0, "Date: ", Mail},
	{0, "Delivered-To: ", Mail},
	{0, "Delivery-date: ", Mail},
	{0, "Envelope-to: ", Mail},
	{0, "For: ", Mail}, // Eserv
	{0, "From ", Mail}, // mbox
	{0, "From: ", Mail},
	{0, "Hi. This is the qmail-send", Mail},
	{0, "Message-ID: ", Mail},
	{0, "Message-Id: ", Mail},
	{0, "Received: ", Mail},
	{0, "Received-SPF: ", Mail},
	{0, "Return-Path: ", Mail},
	{0, "Return-path: ", Mail},
	{0, "Subject: ", Mail},
	{0, "To: ", Mail},
	{0, "X-Apparently-To: ", Mail},
	{0, "X-EVS", Mail},
	{0, "X-Envelope-From: ", Mail},
	{0, "X-Original-To: ", Mail},
	{0, "X-Real-To: ", Mail},
	{0, "X-Sieve: ", Mail},
	{0, "X-Symantec-", Mail},
	{0, "X-UIDL: ", Mail},
	{0, "v:\nReceived: ", Mail}, // VPOP3
	{0, "v:\r\nReceived: ", Mail},
	{0, ".RMF", Ignored},         // Real Media
	{0, "ID3", Ignored},          // MP3
	{0, "\xff\xfb\x90", Ignored}, // MP3
	{0, "OggS", Ignored},
	{0, "SIP-HIT (SIP/H", Ignored},
	{0, "SYMC\x01\x00", Ignored},
	{0, "7\x7f\x06\x82\x00\x2d\xe2\x18", Ignored}, // SQLite: log
	{0, "7\x7f\x06\x83\x00\x2d\xe2\x18", Ignored},
	{0, "SQLite format 3\x00", Ignored},
	{0, "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", Ignored}, // SQLite: journal
	{0, "#@~^", Other},                               // encoded script
	{0, "(This file must be converted with BinHex 4.0)", Other},
	{0, "BZh", Other},  // bzip2
	{0, "ITSF", Other}, // CHM
	{0, "RIFF", Other},
	{0, "RIFX", Other},
	{0, "Rar!", Other},
	{0, "SZDD", Other},
	{0, "\x60\xea", Other},                         // ARJ
	{0, "begin ", Other},                           // uuencode
	{0, "\x78\x9f\x3e\x22", Other},                 // TNEF
	{0, "\xb6\xb9\xac\xae\xfe\xff\xff\xff", Other}, // CryptFF
	{0, "7z\xbc\xaf\x27\x1c", Other},
	{0, "070701", Other}, // cpio
	{0, "070702", Other},
	{0, "070707", Other},
	{0, "\x71\xc7", Other},
	{0, "\xc7\x71", Other},
	{0, "MSCF\x00\x00\x00\x00", Other}, // cabinet
	{0, "xar!", Other},
	{0, "\xfd7zXZ\x00", Other},
	{512, "EFI PART", Other},
	{4, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Other}, // HWP: OLE2 behind a length
	{0, "HWP Document File V3.00 \x1a\x01\x02\x03\x04\x05", Other},
	{0, "{\\rt", Other},       // RTF
	{0, "%!PS-Adobe-", Other}, // PostScript
	{0, "L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46", Other}, // shortcut of Windows
	{0, "EGGA", Other},
	{0, "ALZ\x01", Other},
	{0, "{\n  \"Magic\":\"CLAMJSONv0\"", Other},
	{0, "\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3", Other}, // OneNote
}

// compiled are the first two bytes of Python's compiled files before 3.7, in little-endian order; CR LF follows. Sources: ftm; CPython's
// Lib/importlib/_bootstrap_external.py lists the same numbers.
var compiled = [...]uint16{
	0x2e89, 0x1704, 0x4e99, 0xc4fc, 0xc4fd, 0xc687, 0xc688, 0xeb2a, 0xeb2b, 0xed2d, 0xed2e, 0xf23b, 0xf23c, 0xf245, 0xf259, 0xf263, 0xf26d, 0xf26e,
	0xf277, 0xf281, 0xf28b, 0xf28c, 0xf295, 0xf29f, 0xf2a9, 0xf2b3, 0xf2b4, 0xf2c7, 0xf2d1, 0xf2d2, 0xf2db, 0xf2e5, 0xf2ef, 0xf2f9, 0xf303, 0xf304,
	0xf30a, 0x0bb8, 0x0bc2, 0x0bcc, 0x0bd6, 0x0be0, 0x0bea, 0x0bf4, 0x0bf5, 0x0bff, 0x0c09, 0x0c13, 0x0c1d, 0x0c1f, 0x0c27, 0x0c3b, 0x0c45, 0x0c4f,
	0x0c58, 0x0c62, 0x0c6c, 0x0c76, 0x0c80, 0x0c8a, 0x0c94, 0x0c9e, 0x0cb2, 0x0cbc, 0x0cc6, 0x0cd0, 0x0cda, 0x0ce4, 0x0cee, 0x0cf8, 0x0d02, 0x0d0c,
	0x0d16, 0x0d17, 0x0d20, 0x0d21, 0x0d2a, 0x0d2b, 0x0d2c, 0x0d2d, 0x0d2f, 0x0d30, 0x0d31, 0x0d32, 0x0d33, 0x0d3e, 0x0d3f, 0x0df0, 0x0100, 0x0150,
}

// byMagic is the kind that a magic at a fixed place decides.
func byMagic(b []byte) (Kind, bool) {
	for i := range magics {
		m := &magics[i]
		if len(b) > m.at && b[m.at] == m.bytes[0] && bytes.HasPrefix(b[m.at:], []byte(m.bytes)) {
			return m.kind, true
		}
	}
	if len(b) < 4 {
		return Unknown, false
	}
	if b[0] == 2 || b[0] == 3 { // Python 1.0 to 1.2
		if b[1] == 0x09 && b[2] == 0x99 && b[3] == 0 {
			return Data, true
		}
	}
	if b[2] == '\r' && b[3] == '\n' {
		for _, v := range compiled {
			if b[0] == byte(v) && b[1] == byte(v>>8) {
				return Data, true
			}
		}
	}
	return Unknown, false
}
