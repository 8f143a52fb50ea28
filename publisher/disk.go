package publisher

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.org/avdb/osfile"
)

// A disk makes every change to DIR/state and takes files off the mirror. Each change asks the hook first,
// if there is one: tests stop there, and what they find then is what a kill at that point leaves.
type disk struct {
	hook func(step, name string) error
}

// partial is the end of the names of files that are being written.
const partial = ".partial"

func (d disk) step(step, name string) error {
	if d.hook == nil {
		return nil
	}
	return d.hook(step, name)
}

// folder makes a folder that only the publisher reads.
func (d disk) folder(name string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	if err := d.step("mkdir", name); err != nil {
		return err
	}
	return os.MkdirAll(name, 0o700)
}

// write makes name hold what fill writes: synced under another name, then renamed. A crash leaves the old file, and at
// most a partial one that [disk.sweep] removes.
func (d disk) write(name string, fill func(io.Writer) error) (size int64, err error) {
	if err := d.step("write", name); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(name+partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = fill(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return 0, err
	}
	return size, d.rename(name+partial, name)
}

func (d disk) writeJSON(name string, v any) error {
	_, err := d.write(name, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(v)
	})
	return err
}

// rename is durable: the folder is synced after it.
func (d disk) rename(from, to string) error {
	if err := d.step("rename", to); err != nil {
		return err
	}
	if err := osfile.Rename(from, to); err != nil {
		return err
	}
	return osfile.SyncDir(filepath.Dir(to))
}

// remove takes a file away; one that is not there is no error.
func (d disk) remove(name string) error {
	if err := d.step("remove", name); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweep removes the regular files of a folder of which unwanted holds, and all partial ones.
func (d disk) sweep(name string, unwanted func(name string) bool) error {
	entries, err := os.ReadDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && (strings.HasSuffix(e.Name(), partial) || unwanted(e.Name())) {
			if err := d.remove(filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
