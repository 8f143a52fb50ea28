package archive

import (
	"context"
	"errors"
	"fmt"
	"math"

	"example.org/avdb/filetype"
)

// The kinds of errors; errors.Is tells them apart.
var (
	// ErrLimit is matched by every [LimitError].
	ErrLimit = errors.New("limit of unpacking exceeded")
	// ErrDamaged is matched by every [DamageError].
	ErrDamaged = errors.New("damaged container")
	// ErrEncrypted is the error of reading a member that is encrypted.
	ErrEncrypted = errors.New("encrypted member")
	// ErrUnsupported is matched by the error of reading a member that is packed by a method that is not known here.
	ErrUnsupported = errors.New("unsupported method of packing")
)

// Limits bound what one top-level object may cost, all containers inside it together. A field that is not above 0 takes its default.
type Limits struct {
	Depth int // objects inside each other, the top-level one included; default 17 as in ClamAV (MaxRecursion), at most 100
	// Members are those of all containers that have content, of six bytes and more as ClamAV counts them; the default is 10000 as in ClamAV (MaxFiles). Of entries, which
	// folders, links, empty and broken ones are too, there may be 25 times as many.
	Members     int64
	MemberBytes int64 // content of one member; default 100 MiB as in ClamAV (MaxFileSize)
	TotalBytes  int64 // content of all members; default 400 MiB as in ClamAV (MaxScanSize)

	// Ratio is how many times the size of the top-level object its members may have together, once they have more than RatioFrom bytes. Deflate reaches 1032
	// and only with content like zeros, which disk images and sparse files have as well; the defaults are 1000 and 128 MiB. ClamAV has had no such limit since
	// its version 0.95.
	Ratio, RatioFrom int64

	// Window is the largest window of Zstandard in bytes, which is what its decoder keeps in memory. The default is 8 MiB, which RFC 8878 asks of every
	// decoder and which levels up to 19 stay under; only "ultra" levels need more, up to 128 MiB. It is needed once for each goroutine that unpacks.
	Window int64

	// Memory is what the spools of an Unpacker, so those of one top-level object, may hold in memory together; default 16 MiB. Beyond it they go to a [File].
	Memory int64
}

const (
	maxDepth  = 100     // each level is a frame on the stack and a decoder
	minWindow = 1 << 10 // of the format
)

// DefaultLimits are the limits that the zero Limits stand for.
func DefaultLimits() Limits {
	return Limits{Depth: 17, Members: 10000, MemberBytes: 100 << 20, TotalBytes: 400 << 20, Ratio: 1000, RatioFrom: 128 << 20, Window: 8 << 20, Memory: 16 << 20}
}

// effective fills in the defaults.
func (l Limits) effective() Limits {
	d := DefaultLimits()
	or := func(v *int64, def int64) {
		if *v <= 0 {
			*v = def
		}
	}
	if l.Depth <= 0 {
		l.Depth = d.Depth
	}
	l.Depth = min(l.Depth, maxDepth)
	or(&l.Members, d.Members)
	or(&l.MemberBytes, d.MemberBytes)
	or(&l.TotalBytes, d.TotalBytes)
	or(&l.Ratio, d.Ratio)
	or(&l.RatioFrom, d.RatioFrom)
	or(&l.Window, d.Window)
	or(&l.Memory, d.Memory)
	l.Window = max(l.Window, minWindow)
	return l
}

// A Limit names one of the Limits. Its text form is stable.
type Limit string

// The limits that a [LimitError] can name.
const (
	LimitDepth       Limit = "depth"        // Limits.Depth: this container is not opened
	LimitMembers     Limit = "members"      // Limits.Members: ends the whole object
	LimitEntries     Limit = "entries"      // 25 times Limits.Members: ends the whole object
	LimitMemberBytes Limit = "member bytes" // Limits.MemberBytes: ends this member
	LimitTotalBytes  Limit = "total bytes"  // Limits.TotalBytes: ends the whole object
	LimitRatio       Limit = "ratio"        // Limits.Ratio: ends the whole object
	LimitRead        Limit = "bytes read"   // what may be read of containers, see the package comment: ends the whole object
	LimitWindow      Limit = "window"       // Limits.Window: ends this member
	LimitMemory      Limit = "memory"       // Limits.Memory, and there is no file to go to: cuts this spool
)

// A LimitError says which limit ended what. It matches [ErrLimit].
type LimitError struct {
	Limit  Limit
	Max    int64  // in the unit of the limit; of LimitRatio and LimitRead the bytes that it comes to
	Member string // Name of the member that was read or met, "" for a container as a whole
}

func (e *LimitError) Error() string {
	where := "container"
	if e.Member != "" {
		where = fmt.Sprintf("member %q", e.Member)
	}
	return fmt.Sprintf("%s: not unpacked further: over the limit of %s (%d); raise it or scan the content by itself", where, e.Limit, e.Max)
}

func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// A DamageError says what is broken. It matches [ErrDamaged]; what was given out before it stays good.
type DamageError struct {
	Kind   filetype.Kind // of the container
	Member string        // Name of the member, "" for the container itself
	Offset int64         // in the container for its own headers, else how many bytes of the member came
	Reason string
}

func (e *DamageError) Error() string {
	if e.Member == "" {
		return fmt.Sprintf("%s at byte %d: %s", e.Kind, e.Offset, e.Reason)
	}
	return fmt.Sprintf("%s, member %q after %d bytes: %s", e.Kind, e.Member, e.Offset, e.Reason)
}

func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Spent is what an object has cost so far.
type Spent struct {
	Members int64 // with content, as Limits.Members counts them
	Entries int64 // met, the members among them
	Bytes   int64 // content given out
	Read    int64 // bytes read of containers, and what else costs as much; see the package comment
	Depth   int   // of the deepest object that was met, 1 for the top-level one
}

// A Budget is what is left for one top-level object and everything inside it. It belongs to one goroutine.
type Budget struct {
	u     *Unpacker
	ctx   context.Context // of this object's scan; a Budget does not outlive it
	spent Spent
	open  int   // containers open inside each other
	bytes int64 // that may be unpacked in all
	by    Limit // what says so
	read  int64 // that may be read in all
	stop  error // why nothing more is unpacked
	told  bool  // stop was given to the caller
}

// Spent tells what the object has cost so far.
func (b *Budget) Spent() Spent { return b.spent }

// halt stops everything, for the first reason that there is.
func (b *Budget) halt(err error) {
	if b.stop == nil {
		b.stop = err
	}
}

// stopped looks whether to go on; b.stop says why not.
func (b *Budget) stopped() bool {
	if b.stop == nil {
		b.stop = b.ctx.Err()
	}
	return b.stop != nil
}

// check is stopped for the eyes of the caller.
func (b *Budget) check() error {
	if !b.stopped() {
		return nil
	}
	b.told = true
	return b.stop
}

// entriesShare is how many entries there may be for each member: each costs a microsecond or two, and some memory in a zip.
const entriesShare = 25

// entry counts an entry of a container.
func (b *Budget) entry(name string) error {
	if err := b.check(); err != nil {
		return err
	}
	most := b.u.limits.Members
	if most <= math.MaxInt64/entriesShare {
		most *= entriesShare
	}
	if b.spent.Entries >= most {
		b.halt(&LimitError{Limit: LimitEntries, Max: most, Member: name})
		return b.check()
	}
	b.spent.Entries++
	return nil
}

// countedFrom is the size in bytes of the smallest member that counts: ClamAV does not look at smaller ones.
const countedFrom = 6

// member counts a member that has that much content.
func (b *Budget) member(name string) error {
	if b.spent.Members >= b.u.limits.Members {
		b.halt(&LimitError{Limit: LimitMembers, Max: b.u.limits.Members, Member: name})
		return b.check()
	}
	b.spent.Members++
	return nil
}

// affords tells whether n more bytes may be read. If not that halts everything.
func (b *Budget) affords(n int64) error {
	if n > b.read-b.spent.Read {
		b.halt(&LimitError{Limit: LimitRead, Max: b.read})
		return b.stop
	}
	return nil
}

// charge counts n bytes as read.
func (b *Budget) charge(n int64) error {
	if err := b.affords(n); err != nil {
		return err
	}
	b.spent.Read += n
	return nil
}
