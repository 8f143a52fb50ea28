package matcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"example.org/avdb/archive"
	"example.org/avdb/dbformat"
	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
)

// Archives says how containers are looked into: zip, gzip, Zstandard and tar, and these inside of each other; see package archive. The zero value looks
// into them with ClamAV's limits.
type Archives struct {
	// Off has containers matched by their own bytes alone.
	Off bool
	// Limits bound what one file may cost with everything in it; a field of 0 takes its default. Limits.Memory also bounds what of a file that
	// comes through a reader is kept in memory.
	Limits archive.Limits
}

// memberMark stands between the names of members inside each other.
const memberMark = "//"

// unpacker gives the hasher's unpacker with these limits.
func (h *hasher) unpacker(l archive.Limits) *archive.Unpacker {
	if h.unpack == nil || h.limits != l {
		h.unpack, h.limits = archive.New(l, newMaskedFile), l
	}
	return h.unpack
}

// members is the way through what is inside one top-level object, member by member and each before what is in it. It belongs to a hasher, so that
// objects with nothing inside cost no memory.
type members struct {
	look   look // how each is looked at
	outer  tally
	path   string // of the top-level object
	budget *archive.Budget
	shared allowance
	in     []pattern.FileType // the containers around a member, the nearest first
	names  []string           // of them but the top-level object, from the outermost on

	found          Result // the strongest finding so far, the first of equals; none while its verdict is ""
	open           *suspicion
	limits, unread note
	err            error // the first
}

// A note is the first of what happened, and how many more there were.
type note struct {
	first string
	more  int
}

func (n *note) add(text string) {
	if n.first == "" {
		n.first = text
	} else {
		n.more++
	}
}

func (n *note) String() string {
	if n.more == 0 {
		return n.first
	}
	return fmt.Sprintf("%s; and %d more", n.first, n.more)
}

// opens tells whether an object that was looked at is a container whose members may still change its verdict. An override is the last word about an object with all that
// is in it, and so is an allow record that cancels every kind of detection.
func (l *look) opens(t *tally, r *Result) bool {
	return !l.archives.Off && (l.tar || archive.Unpacks(l.kind) || l.zip.found) && r.Verdict != Malicious && r.Source != SourceOverride && !t.cancels(dbformat.SHA256)
}

// unpack looks at the members of a top-level object with this verdict, and changes that if one of them is a finding, and the note of what is left to a cloud.
func (l *look) unpack(ctx context.Context, c *content, t *tally, r *Result) {
	u := l.h.unpacker(l.archives.Limits)
	w := &l.h.members
	w.look, w.outer, w.path, w.open, w.budget = *l, *t, r.Path, l.open, u.Budget(ctx, c.size)
	w.shared = l.e.memberAllowance()
	w.look.shared = &w.shared
	w.enter(ctx, l, c.r, c.size, t.allow)
	if l.open = w.open; w.found.Verdict == Malicious {
		l.open = nil
	}
	if f := &w.found; outdoes(f.Verdict, r.Verdict) {
		r.Verdict, r.Name, r.Signature, r.Source, r.Member = f.Verdict, f.Name, f.Signature, f.Source, f.Member
	}
	r.Limits, r.Unread = w.limits.String(), w.unread.String()
	if w.err != nil {
		r.fail(w.err)
	}
	clear(w.names[:cap(w.names)])
	*w = members{in: w.in[:0], names: w.names[:0]}
}

// enter looks at the members of an object, as what it was taken for: of one that is a tar as well at those of both, and at those of zips in what is no container.
func (w *members) enter(ctx context.Context, l *look, r io.ReaderAt, size int64, allow finding) {
	kind, tar, zip := l.kind, l.tar, l.zip // the look is at the members then
	outer := len(w.in)
	walk := func(members iter.Seq2[*archive.Member, error], around ...pattern.FileType) {
		if w.found.Verdict == Malicious { // nothing that comes can be more
			return
		}
		w.in = slices.Insert(w.in, 0, around...)
		w.walk(ctx, members, allow)
		w.in = slices.Delete(w.in, 0, len(w.in)-outer)
	}
	if archive.Unpacks(kind) {
		walk(w.budget.Members(kind, r, size), containerType(kind, r))
	}
	if tar {
		walk(w.budget.Members(filetype.Tar, r, size), containerType(filetype.Tar, r))
	}
	if zip.found { // to clamscan it is a container of its own
		walk(w.budget.Embedded(r, size, zip.at), containerType(filetype.Zip, r), containerType(kind, r))
	}
}

// walk looks at the members of a container. allow is the strongest allow record of the containers around them.
func (w *members) walk(ctx context.Context, all iter.Seq2[*archive.Member, error], allow finding) {
	for m, err := range all {
		if err != nil {
			w.notOpened(err)
			continue
		}
		w.member(ctx, m, allow)
		if w.found.Verdict == Malicious {
			break
		}
	}
}

// member looks at one member and at what is in it. Of one that is not whole it looks at what there is.
func (w *members) member(ctx context.Context, m *archive.Member, allow finding) {
	s, err := m.Spool()
	defer func() { s.Close() }() // it is thrown away, and never nil
	if err != nil {
		w.notOpened(err)
		if s.Size() == 0 {
			return
		}
	}
	w.names = append(w.names, nameOfMember(m))
	defer func() { w.names = w.names[:len(w.names)-1] }()
	l := w.look
	l.in = w.in
	c := &l.h.content
	*c = content{r: s, size: s.Size(), name: "its content"}
	o, t, r := object{size: anySize}, tally{allow: allow}, Result{}
	err = l.inspect(ctx, c, l.e.algorithms(l.pua, c.size, &t), &o, &t)
	if err != nil {
		w.fail(err)
		if o.size == anySize {
			return
		}
	}
	l.verdict(&o, &t, &r)
	w.take(&l, &o, &t, &r)
	if err == nil && l.opens(&t, &r) {
		w.enter(ctx, &l, s, s.Size(), t.allow)
	}
}

// take takes the verdict of a member. One that is allowed says nothing about the others.
func (w *members) take(l *look, o *object, t *tally, r *Result) {
	if r.Err != nil {
		w.fail(r.Err)
	}
	switch r.Verdict {
	case Suspected:
		if l.asks() {
			if w.open == nil {
				w.open = w.look.suspicion(&w.outer)
			}
			w.open.add(l, o, t, w.path, w.where())
		}
		if w.found.Verdict == Suspected {
			return
		}
	case Malicious:
	default:
		return
	}
	w.found = *r
	w.found.Member = w.where()
}

// where is the path of the member that is looked at. Of one that is too long for people its end is shown.
func (w *members) where() string {
	const most = 4 << 10 // bytes
	path := strings.Join(w.names, memberMark)
	if len(path) <= most {
		return path
	}
	return "…" + strings.ToValidUTF8(path[len(path)-most:], "")
}

// notOpened notes what could not be unpacked of the container that is walked through.
func (w *members) notOpened(err error) {
	text := err.Error()
	if len(w.names) > 0 {
		text = w.where() + ": " + text
	}
	switch {
	case errors.Is(err, archive.ErrLimit):
		w.limits.add(text)
	case errors.Is(err, archive.ErrDamaged), errors.Is(err, archive.ErrEncrypted), errors.Is(err, archive.ErrUnsupported):
		w.unread.add(text)
	default:
		w.fail(err)
	}
}

// fail keeps the first error that is one of the top-level object.
func (w *members) fail(err error) {
	switch {
	case w.err != nil:
	case len(w.names) > 0 && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		w.err = fmt.Errorf("member %q: %w", w.where(), err)
	default:
		w.err = err
	}
}

// nameOfMember is what a member is called in paths. Gzip need not and Zstandard cannot name what it holds.
func nameOfMember(m *archive.Member) string {
	if m.Name == "" {
		return "content"
	}
	return m.Name
}

// containerType is what signatures call an object that holds others, TypeNone where that is more than one name or none.
func containerType(k filetype.Kind, r io.ReaderAt) pattern.FileType {
	name := ""
	switch k {
	case filetype.Zip:
		name = "CL_TYPE_ZIP"
	case filetype.Gzip:
		name = "CL_TYPE_GZ"
	case filetype.Tar:
		const magic, at = "ustar", 257
		b := make([]byte, len(magic))
		if n, _ := r.ReadAt(b, at); string(b[:n]) == magic {
			name = "CL_TYPE_POSIX_TAR"
		} else {
			name = "CL_TYPE_OLD_TAR"
		}
	case filetype.PE:
		name = "CL_TYPE_MSEXE"
	case filetype.ELF:
		name = "CL_TYPE_ELF"
	case filetype.PDF:
		name = "CL_TYPE_PDF"
	case filetype.Data:
		name = "CL_TYPE_BINARY_DATA"
	}
	t, _ := pattern.FileTypeOf(name)
	return t
}
