package archive

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math"
	"unicode/utf8"

	"example.org/avdb/filetype"
)

// An Unpacker holds limits, and what is used again from object to object: decoders and buffers. It belongs to one goroutine at a time.
type Unpacker struct {
	limits  Limits
	temp    func() (File, error)
	decoder decoders
	free    [][]byte // chunks of spools, at most Limits.Memory
	held    int64    // in memory by spools
}

// New makes an Unpacker. Temp gives a file for content that does not fit into memory, new and empty for each call; nil stands for none: then content
// beyond Limits.Memory is cut.
func New(l Limits, temp func() (File, error)) *Unpacker {
	return &Unpacker{limits: l.effective(), temp: temp}
}

// Unpacks tells whether objects of this kind are containers that Members opens.
func Unpacks(k filetype.Kind) bool {
	return k == filetype.Zip || k == filetype.Gzip || k == filetype.Zstd || k == filetype.Tar
}

// Embeds tells whether zips may be in an object of this kind that no member of it shows: those that [Budget.Embedded] finds. A zip's own headers are looked for
// anyway, and what gzip and tar hold comes as members.
func Embeds(k filetype.Kind) bool {
	return k != filetype.Unknown && k != filetype.Zip && k != filetype.Gzip && k != filetype.Tar
}

// Budget begins a top-level object of size bytes. When ctx is done, reading ends with its error.
func (u *Unpacker) Budget(ctx context.Context, size int64) *Budget {
	l := u.limits
	b := &Budget{u: u, ctx: ctx, spent: Spent{Depth: 1}, bytes: l.TotalBytes, by: LimitTotalBytes}
	size = max(size, 0)
	ratio := int64(math.MaxInt64)
	if size < math.MaxInt64/l.Ratio {
		ratio = max(size*l.Ratio, l.RatioFrom)
	}
	if ratio < b.bytes {
		b.bytes, b.by = ratio, LimitRatio
	}
	b.read = math.MaxInt64
	if sum := size/2 + b.bytes/2; sum < math.MaxInt64/4 {
		b.read = 2*(size+b.bytes) + 1<<20
	}
	return b
}

// A Member is one file inside a container. It is valid until the iteration goes on. Reading it never gives more than the limits allow; the error at its
// end is io.EOF, a [LimitError], a [DamageError], one that matches [ErrEncrypted] or [ErrUnsupported], the context's, or that of the object's own
// reader. Errors stay.
type Member struct {
	Name      string // for people; see [MaxName]; "" where the container has none
	Size      int64  // as the container claims, -1 for unknown: how much there is, only reading tells
	Encrypted bool   // its content cannot be read
	Method    string // of packing, when it is not known here; its content cannot be read
	Hidden    bool   // of a zip: only a local header says so; of a tar: only a plain header

	b     *Budget
	in    *input
	kind  filetype.Kind
	start func() (io.Reader, error)
	src   io.Reader // what start gave
	stop  func()    // gives the decoder back; nil for none
	sum   uint32    // CRC-32 so far
	want  uint32    // as it should be
	check bool      // want and Size are to hold at the end
	quiet bool      // nobody is told what is broken: it may be no member at all
	n     int64     // bytes given out
	err   error
}

// Members gives the members of a container of size bytes, one after the other. It may be called for a member while the iteration of the container that
// it is in goes on: that is how depth is counted. An error without a member is about the container: a [DamageError], after which more members may
// come; a [LimitError] or the error of r, after which none does. When a limit has ended the whole object, the iterations around end without
// saying it again. A kind that is no container has no members.
func (b *Budget) Members(k filetype.Kind, r io.ReaderAt, size int64) iter.Seq2[*Member, error] {
	return b.members(k, r, size, -1)
}

// Embedded gives the members of zips in an object of another kind, such as a program that unpacks itself, from a position on, where the first local
// header may be ([FindEmbedded]). They are read like those of a zip; but where there is nothing but local headers, what is broken is not said: four bytes that look like one are no damage.
func (b *Budget) Embedded(r io.ReaderAt, size, from int64) iter.Seq2[*Member, error] {
	return b.members(filetype.Zip, r, size, max(from, 0))
}

// members is both; embedded is where embedded zips begin, -1 for none.
func (b *Budget) members(k filetype.Kind, r io.ReaderAt, size, embedded int64) iter.Seq2[*Member, error] {
	return func(yield func(*Member, error) bool) {
		if !Unpacks(k) {
			return
		}
		if b.stop != nil && b.told {
			return
		}
		if err := b.check(); err != nil {
			yield(nil, err)
			return
		}
		if b.open+1 >= b.u.limits.Depth {
			yield(nil, &LimitError{Limit: LimitDepth, Max: int64(b.u.limits.Depth)})
			return
		}
		b.open++
		defer func() { b.open-- }()
		b.spent.Depth = max(b.spent.Depth, b.open+1)
		v := &visit{b: b, kind: k, in: &input{r: r, size: max(size, 0), b: b}, yield: yield, embedded: embedded >= 0}
		switch k {
		case filetype.Zip:
			v.zip(max(embedded, 0))
		case filetype.Gzip:
			v.gzip()
		case filetype.Zstd:
			v.zstd()
		case filetype.Tar:
			v.tar()
		}
		if !v.done && b.stop != nil && !b.told {
			v.fail(b.check())
		}
	}
}

// A visit is one iteration.
type visit struct {
	b     *Budget
	kind  filetype.Kind
	in    *input
	yield func(*Member, error) bool
	done  bool // the caller wants no more, or there is no more

	embedded bool // a zip in something else
}

// fail gives an error of the container; it says whether to go on.
func (v *visit) fail(err error) bool {
	if !v.done && !v.yield(nil, err) {
		v.done = true
	}
	if !errors.Is(err, ErrDamaged) {
		v.done = true
	}
	return !v.done
}

// damage is fail for what is broken at a place of the container. Each counts as an entry, so that their number is bounded.
func (v *visit) damage(at int64, reason string) bool {
	if v.in.err != nil {
		return v.fail(v.in.err)
	}
	if err := v.b.entry(""); err != nil {
		return v.fail(err)
	}
	return v.fail(&DamageError{Kind: v.kind, Offset: at, Reason: reason})
}

// member gives a member, counted already, and takes back what it needed.
func (v *visit) member(m *Member) bool {
	m.b, m.in, m.kind = v.b, v.in, v.kind
	if !v.yield(m, nil) {
		v.done = true
	}
	m.release()
	if m.err == nil {
		m.err = fmt.Errorf("member %q is read after the iteration went on", m.Name)
	}
	switch {
	case v.done:
	case v.in.err != nil:
		v.fail(v.in.err)
	case v.b.stop != nil:
		if !v.b.told {
			v.fail(v.b.check())
		}
		v.done = true
	}
	return !v.done
}

func (m *Member) release() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
	m.src = nil
}

// Read gives content.
func (m *Member) Read(p []byte) (int, error) {
	if m.err != nil || len(p) == 0 {
		return 0, m.err
	}
	n, err := m.read(p)
	if err != nil {
		m.err = err
		m.release()
	}
	return n, err
}

func (m *Member) read(p []byte) (int, error) {
	b := m.b
	if err := b.check(); err != nil {
		return 0, err
	}
	switch {
	case m.Encrypted:
		return 0, fmt.Errorf("%s, member %q: %w", m.kind, m.Name, ErrEncrypted)
	case m.Method != "":
		return 0, fmt.Errorf("%s, member %q: %w: %s", m.kind, m.Name, ErrUnsupported, m.Method)
	}
	if m.src == nil {
		src, err := contained(m.start)
		if err != nil {
			return 0, m.explain(err)
		}
		m.src = src
	}
	left, limit := b.bytes-b.spent.Bytes, b.by
	if own := b.u.limits.MemberBytes - m.n; own <= left {
		left, limit = own, LimitMemberBytes
	}
	if left <= 0 {
		return 0, m.beyond(limit)
	}
	n, err := step(m.src, p[:min(int64(len(p)), left)])
	if m.n < countedFrom && m.n+int64(n) >= countedFrom {
		if err := b.member(m.Name); err != nil {
			return 0, err
		}
	}
	m.n += int64(n)
	b.spent.Bytes += int64(n)
	if m.check {
		m.sum = crc32.Update(m.sum, crc32.IEEETable, p[:n])
	}
	if err == nil {
		return n, nil
	}
	if _, ok := err.(*panicError); ok {
		m.stop = nil // nothing of that decoder is used again
	}
	return n, m.explain(err)
}

// beyond tells a member that ends at a limit from one that goes on.
func (m *Member) beyond(limit Limit) error {
	var probe [1]byte
	n, err := step(m.src, probe[:])
	if n == 0 && err != nil {
		return m.explain(err)
	}
	if limit == LimitMemberBytes {
		return &LimitError{Limit: limit, Max: m.b.u.limits.MemberBytes, Member: m.Name}
	}
	m.b.halt(&LimitError{Limit: limit, Max: m.b.bytes, Member: m.Name})
	return m.b.check()
}

// patience is how many empty reads are taken in a row, as in package bufio.
const patience = 100

// step reads at least one byte or gives an error.
func step(r io.Reader, p []byte) (n int, err error) {
	for range patience {
		n, err = contained(func() (int, error) { return r.Read(p) })
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// A panicError is what is left of a panic.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("decoder panicked: %v", e.value) }

// contained calls into a decoder. These are foreign code that is fed by attackers: should one panic, one member is lost and not the process.
func contained[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p}
		}
	}()
	return f()
}

// explain turns the error of a decoder into one of this package.
func (m *Member) explain(err error) error {
	if m.in.err != nil {
		return m.in.err // not the content but its reader is at fault
	}
	if m.b.stop != nil {
		return m.b.check()
	}
	damage := &DamageError{Kind: m.kind, Member: m.Name, Offset: m.n}
	limit, isLimit := errors.AsType[*LimitError](err)
	switch {
	case isLimit:
		limit.Member = m.Name
		return limit
	case m.quiet:
		return io.EOF
	case errors.Is(err, ErrUnsupported):
		return fmt.Errorf("%s, member %q: %w", m.kind, m.Name, err)
	case err != io.EOF:
		damage.Reason = err.Error()
	case m.check && m.n != m.Size:
		damage.Reason = fmt.Sprintf("its header claims %d bytes", m.Size)
	case m.check && m.sum != m.want:
		damage.Reason = "its checksum is another"
	default:
		return io.EOF
	}
	return damage
}

// An input is the container. It counts what is read and tells its own failures from damage.
type input struct {
	r    io.ReaderAt
	size int64
	b    *Budget
	err  error // of r; nothing that is read after it can be trusted
}

// ReadAt reads by position, and never beyond the container's size.
func (in *input) ReadAt(p []byte, off int64) (int, error) {
	if in.err != nil {
		return 0, in.err
	}
	if in.b.stopped() { // this goes to a decoder; who hears of it tells the caller
		return 0, in.b.stop
	}
	if off < 0 || off >= in.size {
		return 0, io.EOF
	}
	cut := false
	if left := in.size - off; int64(len(p)) > left {
		p, cut = p[:left], true
	}
	if err := in.b.affords(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := in.r.ReadAt(p, off)
	in.b.spent.Read += int64(n)
	switch {
	case n == len(p) && cut:
		return n, io.EOF
	case n == len(p):
		return n, nil
	case err == nil || err == io.EOF:
		in.err = fmt.Errorf("the container ended at byte %d of %d: %w", off+int64(n), in.size, io.ErrUnexpectedEOF)
	default:
		in.err = fmt.Errorf("cannot read the container at byte %d: %w", off+int64(n), err)
	}
	return n, in.err
}

// from reads from a position on.
func (in *input) from(off int64) *io.SectionReader { return io.NewSectionReader(in, off, in.size-off) }

// MaxName is the length of a member's name in bytes. Longer ones are cut and end in "…".
const MaxName = 1024

// cleanName makes a name fit for people. What is no UTF-8 or could take hold of a terminal becomes U+FFFD.
func cleanName(s []byte) string {
	const cut = "…"
	out := make([]byte, 0, min(len(s), MaxName))
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRune(s[i:])
		if hostile(r) {
			r = utf8.RuneError
		}
		if len(out)+utf8.RuneLen(r) > MaxName-len(cut) {
			// Whether the rest fits is not worth a second pass.
			return string(out) + cut
		}
		out = utf8.AppendRune(out, r)
		i += size
	}
	return string(out)
}

// hostile tells what is no part of a name: control characters, separators of lines, and what turns the direction of text.
func hostile(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
