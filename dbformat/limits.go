package dbformat

import "fmt"

// FormatVersion is the version of every encoding of this package. A reader
// refuses any other with [ErrVersion].
const FormatVersion = 1

// Limits of format version 1. They are checked before anything is allocated, and
// a value above them is an error when it is written as well as when it is read.
const (
	MaxRows     = 1 << 27   // rows of one section
	MaxBlock    = 4 << 20   // canonical bytes of one block; the usual ones have 64 KiB
	MaxBlocks   = 1 << 18   // blocks of one layer
	MaxSections = 26        // sections of one layer: as many as version 1 defines
	MaxHeader   = 11 << 20  // canonical bytes of a header: MaxBlocks leaves and what is around them
	MaxBundle   = 1 << 34   // bytes of a bundle
	MaxDelta    = 64 << 20  // bytes of a delta, which is held in memory
	MaxVector   = 64 << 10  // bytes of a vector's content
	MaxVectors  = 1024      // vectors of a layer
	MaxPattern  = 1<<16 - 1 // bytes of a pattern: what two bytes can say, twice the longest line that ClamAV reads
	MinPrefix   = 8         // least p
	MaxPrefix   = 60        // greatest p; 2^p must fit a uint64
	MaxCut      = 18        // greatest b
	MaxGroup    = 8         // greatest k
)

// blockTarget is the mean size that blocks are cut for: small enough that a hit
// costs one short read, large enough that its leaf (40 bytes) does not count.
const blockTarget = 64 << 10

// corrupt makes the error of bytes that break the format. off is -1 where no
// offset is known.
func corrupt(what string, off int64, format string, args ...any) *FormatError {
	return &FormatError{What: what, Offset: off, Reason: fmt.Sprintf(format, args...)}
}

// A VersionError says that bytes are of a format version that this engine does
// not know. It matches [ErrVersion].
type VersionError struct {
	What    string // "bundle", "header", …
	Version uint8  // as found
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has format version %d, this engine reads version %d: install a newer engine", e.What, e.Version, FormatVersion)
}

// Is matches [ErrVersion].
func (e *VersionError) Is(target error) bool { return target == ErrVersion }
