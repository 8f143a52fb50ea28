package updater

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// A source is a place that updates come from. Nothing that it gives is believed: metadata is verified by signing, targets
// are held against their signed length and hash here.
type source interface {
	signing.Fetcher

	// small gives a whole target of at most limit bytes, verified.
	small(ctx context.Context, t signing.Target, limit int64) ([]byte, error)

	// open gives a target as an open file, verified through the very descriptor that is returned and
	// standing at its start. done closes it, and removes what was kept of it if it is of no more use.
	open(ctx context.Context, t signing.Target, progress func(done int64)) (*fetched, error)

	// close drops idle connections and open folders.
	close()
}

// A fetched target is an open file whose content was found to be what was signed.
type fetched struct {
	*os.File
	remove string // the file to remove when it is no more needed; "" for one that is not ours
}

// done closes the file; used tells that it will not be needed again.
func (f *fetched) done(used bool) {
	f.Close()
	if used && f.remove != "" {
		os.Remove(f.remove)
	}
}

// readAll reads r to its end, which must come within limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLong
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// checkBytes holds a small target against what was signed.
func checkBytes(source string, t signing.Target, b []byte) error {
	if int64(len(b)) != t.Length {
		return &TargetError{Source: source, Target: t.Path, Reason: fmt.Sprintf("%d bytes, signed are %d", len(b), t.Length)}
	}
	if got := dbformat.Digest(sha256.Sum256(b)); got != t.SHA256 {
		return &TargetError{Source: source, Target: t.Path, Reason: fmt.Sprintf("SHA-256 %s, signed is %s", got, t.SHA256)}
	}
	return nil
}

// checkFile holds an open file against what was signed and leaves it at its start. It looks at the
// descriptor only: who swaps the name afterwards changes nothing.
func checkFile(ctx context.Context, source string, t signing.Target, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() != t.Length {
		return &TargetError{Source: source, Target: t.Path,
			Reason: fmt.Sprintf("%s of %d bytes, signed are %d", kindOfFile(st.Mode()), st.Size(), t.Length)}
	}
	h := sha256.New()
	n, err := io.Copy(h, &contextReader{ctx, io.LimitReader(f, t.Length+1)})
	if err != nil {
		return err
	}
	if got := dbformat.Digest(h.Sum(nil)); n != t.Length || got != t.SHA256 {
		return &TargetError{Source: source, Target: t.Path, Reason: fmt.Sprintf("SHA-256 %s, signed is %s", got, t.SHA256)}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

func kindOfFile(m os.FileMode) string {
	if m.IsRegular() {
		return "a file"
	}
	return fmt.Sprintf("no regular file (%s)", m.Type())
}

// A contextReader ends with the context's error once that is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// storable tells why a target cannot be fetched at all: its length is signed, and still it must make sense.
func storable(source string, t signing.Target, limit int64) error {
	if err := signing.CheckTargetPath(t.Path); err != nil {
		return &TargetError{Source: source, Target: fmt.Sprintf("%.100q", t.Path), Reason: "its path is not one that is fetched", Err: err}
	}
	if t.Length < 1 || t.Length > limit {
		return &TargetError{Source: source, Target: t.Path, Reason: fmt.Sprintf("a signed length of %d, want 1 to %d", t.Length, limit)}
	}
	return nil
}

// MaxTarget is the greatest length of a bundle or delta that is fetched, in bytes.
const MaxTarget = 16 << 30
