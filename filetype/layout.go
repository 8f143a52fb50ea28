package filetype

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// The limits of [Read]. They are held whatever the file says.
const (
	MaxReads    = 4096      // reads, of at most 4 KiB each: 16 MiB. The other limits end every file before
	MaxSections = 1<<16 - 1 // in a layout
	MaxHashed   = 1 << 30   // bytes of a section that is hashed; ClamAV's limit as well
)

// ErrFormat is matched by the error of a file whose headers do not hold: it has no layout, and no signature with a relative offset applies.
var ErrFormat = errors.New("no layout")

// errNotExecutable costs the files that are none nothing.
var errNotExecutable error = &FormatError{Reason: "not executable"}

// A FormatError says where the headers of a file stop making sense.
type FormatError struct {
	Kind   Kind   // what the file was read as
	Offset int64  // in bytes, of the structure that is wrong
	Reason string // in a few words
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s headers at byte %d: %s; match without relative offsets", e.Kind, e.Offset, e.Reason)
}

func (e *FormatError) Is(target error) bool { return target == ErrFormat }

// A Layout is where the parts of an executable are, in the numbers that signatures count from.
type Layout struct {
	Kind Kind
	// Entry is the file offset of the entry point, 0 where there is none. Of ELF and Mach-O files it can lie behind the file's end; of Mach-O files
	// without sections it is an address.
	Entry uint32
	// Sections are in the order of the file's table; their number is NumberOfSections.
	Sections []Section
}

// A Section is one row of an executable's section table. Of a PE file it lies in the file: the offset is rounded down to the file
// alignment, the size up, and then cut at the file's end; a section that begins behind the end has size 0. Of ELF and Mach-O files offset and
// size are the header's claims, cut to 32 bits; see [Section.Within]. Where their sum does not fit into 32 bits SEx stands for no place.
type Section struct {
	Offset, Size         uint32 // in the file, in bytes
	Address, VirtualSize uint32 // in memory; VirtualSize is 0 for ELF
}

// A Range is a piece of a file.
type Range struct{ Offset, Size int64 }

// Within is the part of the section that lies in a file of size bytes.
func (s Section) Within(size int64) Range {
	off := min(int64(s.Offset), size)
	return Range{off, min(int64(s.Size), size-off)}
}

// Hashed yields the ranges whose hashes the signatures of .mdb and .msb files list, with their size, in the order of the section table. Only PE files
// have any, of 32 bits and, other than ClamAV's documentation has it, of 64 bits as well. A range is what [Section] says of PE files, so that neither
// its offset nor its size need be those of the header: a size that is no multiple of the file alignment is rounded up, and what the
// file's end cuts off counts neither in the size nor in the hash. Source: probe (TestSectionHashesAgreeWithClamAV).
func (l *Layout) Hashed() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		if l.Kind != PE {
			return
		}
		for _, s := range l.Sections {
			if s.Size > 0 && s.Size <= MaxHashed && !yield(Range{int64(s.Offset), int64(s.Size)}) {
				return
			}
		}
	}
}

// Read parses the headers of a file of size bytes and of a kind that [Detect] found. A file without a layout is a *FormatError, which matches
// ErrFormat; any other error is the reader's. Nothing at or behind size is read. Read keeps nothing of r and is safe for
// concurrent use if r is.
func Read(r io.ReaderAt, size int64, kind Kind) (*Layout, error) {
	if !kind.Executable() {
		return nil, errNotExecutable
	}
	w := &window{r: r, size: size, kind: kind}
	l := &Layout{Kind: kind}
	var err error
	switch kind {
	case PE:
		err = l.pe(w)
	case ELF:
		err = l.elf(w)
	case MachO:
		err = l.macho(w)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// A window is the piece of a file that was read last.
type window struct {
	r     io.ReaderAt
	size  int64 // of the file
	kind  Kind
	reads int
	at, n int64 // the piece
	buf   [4096]byte
}

// need returns n bytes at off, of which n is at most the size of a window. They are valid until the next call. That the file has less is a
// *FormatError that says what should be there.
func (w *window) need(off uint64, n int, what string) ([]byte, error) {
	if w.size < int64(n) || off > uint64(w.size-int64(n)) {
		return nil, w.wrong(off, what+" lies behind the file's end")
	}
	at := int64(off)
	if at < w.at || at+int64(n) > w.at+w.n {
		if w.reads == MaxReads {
			return nil, w.wrong(off, "headers are scattered over too many places")
		}
		w.reads++
		b := w.buf[:min(int64(len(w.buf)), w.size-at)]
		w.n = 0
		if got, err := w.r.ReadAt(b, at); got < len(b) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("%s headers: byte %d of %d: %w", w.kind, at+int64(got), w.size, err)
		}
		w.at, w.n = at, int64(len(b))
	}
	return w.buf[at-w.at:][:n:n], nil
}

func (w *window) wrong(off uint64, reason string) error {
	return &FormatError{Kind: w.kind, Offset: int64(min(off, 1<<63-1)), Reason: reason}
}
