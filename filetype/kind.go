package filetype

// A Kind is what an object is taken for. The zero Kind is Unknown.
type Kind uint8

// The kinds. All but those with a comment of their own are known by their magic.
const (
	Unknown Kind = iota // too small for ClamAV to look at
	Data                // none of the others
	Text                // in any of the encodings that the package comment names
	HTML                // by tags, also as UTF-16
	Mail                // by a header's first line, or by two typical ones
	PE                  // begins with MZ, whatever follows; or a PE header where data or text would be
	ELF
	MachO     // for one architecture
	Universal // Mach-O for several architectures
	OLE2
	Graphics // BMP, GIF, JPEG, JPEG 2000, PNG, TIFF
	PDF
	Flash
	Java // a class file
	Zip
	Gzip
	Zstd
	Tar     // by its magic, or by the checksum of its first header
	Ignored // audio, video, databases of SQLite: ClamAV looks no further
	Other   // known to ClamAV, and without a target
)

// String is the kind's name in lower case.
func (k Kind) String() string {
	names := [...]string{"unknown", "data", "text", "html", "mail", "pe", "elf", "macho", "universal", "ole2", "graphics", "pdf", "flash", "java", "zip",
		"gzip", "zstd", "tar", "ignored", "other"}
	if int(k) < len(names) {
		return names[k]
	}
	return "invalid"
}

// A Target is the number of a target type in a signature.
type Target uint8

// The target types of ClamAV's documentation (appendix File Types), and 14, which its signatures use for data.
const (
	TargetAny      Target = 0 // of signatures: any file. Of objects: no target type but that
	TargetPE       Target = 1
	TargetOLE2     Target = 2
	TargetHTML     Target = 3 // normalised
	TargetMail     Target = 4
	TargetGraphics Target = 5
	TargetELF      Target = 6
	TargetText     Target = 7 // normalised
	TargetMachO    Target = 9
	TargetPDF      Target = 10
	TargetFlash    Target = 11
	TargetJava     Target = 12
	TargetData     Target = 14
)

// Target is the target type of signatures that apply to objects of this kind beside those for any file.
func (k Kind) Target() Target {
	switch k {
	case Data:
		return TargetData
	case Text:
		return TargetText
	case HTML:
		return TargetHTML
	case Mail:
		return TargetMail
	case PE:
		return TargetPE
	case ELF:
		return TargetELF
	case MachO, Universal:
		return TargetMachO
	case OLE2:
		return TargetOLE2
	case Graphics:
		return TargetGraphics
	case PDF:
		return TargetPDF
	case Flash:
		return TargetFlash
	case Java:
		return TargetJava
	}
	return TargetAny
}

// Executable says whether objects of this kind can have a layout. See [Read].
func (k Kind) Executable() bool { return k == PE || k == ELF || k == MachO }
