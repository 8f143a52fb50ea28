package pattern

import "strings"

// A FileType is a type of file by ClamAV's names, without the CL_TYPE_ before them: its number is what records hold, and never changes.
type FileType uint8

// The file types that have a meaning of their own here.
const (
	TypeNone FileType = 0 // not in the line
	TypeAny  FileType = 1 // as a container: the file is in none
)

const typePrefix = "CL_TYPE_"

// typeNames are the names of ClamAV 1.4 in the order of our numbers, from 1.
const typeNames = "ANY TEXT_ASCII TEXT_UTF8 TEXT_UTF16LE TEXT_UTF16BE BINARY_DATA IGNORED MSEXE ELF MACHO MACHO_UNIBIN POSIX_TAR OLD_TAR " +
	"CPIO_OLD CPIO_ODC CPIO_NEWC CPIO_CRC GZ ZIP BZ RAR ARJ MSSZDD MSOLE2 MSCAB MSCHM SIS SCRENC GRAPHICS GIF PNG JPEG TIFF RIFF BINHEX " +
	"TNEF CRYPTFF PDF UUENCODED HTML_UTF16 SCRIPT RTF HTML MAIL SFX ZIPSFX RARSFX CABSFX ARJSFX NULSFT AUTOIT ISHIELD_MSI 7Z 7ZSFX SWF " +
	"ISO9660 JAVA DMG MBR GPT APM XAR PART_ANY PART_HFSPLUS XZ OOXML_WORD OOXML_PPT OOXML_XL INTERNAL XDP XML_WORD XML_XL HWP3 XML_HWP " +
	"HWPOLE2 OOXML_HWP PS MHTML LNK EGG EGGSFX UDF ALZ ONENOTE PYTHON_COMPILED LHA_LZH"

// maxFileType is the greatest number of a type.
const maxFileType = 86

// FileTypeOf gives the type of a name such as CL_TYPE_ZIP.
func FileTypeOf(name string) (FileType, bool) {
	short, ok := strings.CutPrefix(name, typePrefix)
	if !ok {
		return TypeNone, false
	}
	n := FileType(0)
	for known := range strings.FieldsSeq(typeNames) {
		if n++; known == short {
			return n, true
		}
	}
	return TypeNone, false
}

// String gives ClamAV's name, "" for TypeNone and for numbers that are no type.
func (t FileType) String() string {
	n := FileType(0)
	for known := range strings.FieldsSeq(typeNames) {
		if n++; n == t {
			return typePrefix + known
		}
	}
	return ""
}
