package signing

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"example.org/avdb/osfile"
)

const (
	adviceRoot   = "restore it from a copy, or run avdb init with --replace-trust and the root that you trust"
	adviceAway   = "move it away, then " + adviceRoot
	adviceFolder = "move it away, then restore the folder from a copy, or run avdb init with the root that you trust"
	adviceRemove = "remove it and update again, which makes it anew"
)

// A damage is what is wrong with a file of a trust folder, and what to do. The path stands in the [fs.PathError] around it.
type damage struct {
	what   string
	advice string
	err    error // of the system, nil if there is none; never one about a source
}

func (d *damage) Error() string { return d.what + "; " + d.advice }

// Remedy is what to do about it.
func (d *damage) Remedy() string { return d.advice }

// Unwrap is the cause.
func (d *damage) Unwrap() error { return d.err }

// damaged is an error that matches [ErrStorage] and not [ErrUntrusted], whatever found the damage: no source had a part in it.
func damaged(name, advice string, why error) error {
	d := &damage{what: plain(why), advice: advice}
	if !errors.Is(why, ErrUntrusted) {
		d.err = why
	}
	return storage(&fs.PathError{Op: "read", Path: name, Err: d})
}

// plain is an error without the path, which its reader knows, and without a remedy that is meant for metadata of a source.
func plain(err error) string {
	if u, ok := errors.AsType[*UntrustedError](err); ok {
		bare := *u
		bare.Remedy = ""
		return bare.Error()
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// What can lie in the place of a file of ours.
var (
	errLink     = errors.New("is a symbolic link")
	errFolder   = errors.New("is a folder")
	errNoFolder = errors.New("is not a folder")
)

// inTheWay tells whether an update cannot, or must not, put a new file in the place of what a reader found there.
func inTheWay(err error) bool { return errors.Is(err, errLink) || errors.Is(err, errFolder) }

// readOwn reads a file of a trust folder, of at most limit bytes; a longer one is an error, never cut. Links are not followed, and
// nothing that is no regular file is read or waited for.
func readOwn(name string, limit int64) ([]byte, error) {
	file, err := openOwn(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	return b, err
}

func openOwn(name string) (*os.File, error) {
	file, err := osfile.OpenOwn(name, os.O_RDONLY)
	e, irregular := errors.AsType[*osfile.IrregularError](err)
	switch {
	case osfile.IsLinkError(err):
		return nil, errLink
	case irregular && e.Mode.IsDir():
		return nil, errFolder
	case irregular:
		return nil, errors.New("is not a regular file")
	}
	return file, err
}
