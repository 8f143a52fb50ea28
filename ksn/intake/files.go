package intake

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"example.org/avdb/ksn/statistics"
	"example.org/avdb/osfile"
)

// FilesConfig is what [Files] is made of. Dir is required; zero stands for the default.
type FilesConfig struct {
	Dir      string           // made with mode 0700 if it is missing
	MaxFile  int64            // bytes of a file, at least MinFile; 64 MiB
	MaxTotal int64            // bytes of all files, at least 2*MaxFile; 1 GiB
	Window   int              // ids of records that are remembered, the newest; 131072
	Delay    time.Duration    // least time between two syncs; 100 ms
	Now      func() time.Time // nil: time.Now
}

// MinFile is the least FilesConfig.MaxFile: a group of bodies fits into a file.
const MinFile = 2 * statistics.MaxBody

func (c *FilesConfig) complete() error {
	if c.MaxFile == 0 {
		c.MaxFile = 64 << 20
	}
	if c.MaxTotal == 0 {
		c.MaxTotal = max(1<<30, 2*c.MaxFile)
	}
	if c.Window == 0 {
		c.Window = 1 << 17
	}
	if c.Delay == 0 {
		c.Delay = 100 * time.Millisecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Dir == "":
		return errors.New("the folder is missing")
	case c.MaxFile < MinFile || c.MaxTotal < 2*c.MaxFile:
		return fmt.Errorf("files of %d bytes, %d together: want at least %d, and twice a file", c.MaxFile, c.MaxTotal, MinFile)
	case c.Window < 0 || c.Delay < 0 || c.Delay > time.Minute:
		return fmt.Errorf("window of %d ids, %s between two syncs", c.Window, c.Delay)
	}
	return nil
}

// maxQueued is how many bodies wait for a sync; the next ones wait for a place.
const maxQueued = 64

// Files is a [Sink] of JSON lines in a folder. One goroutine writes, until [Files.Close].
type Files struct {
	c     FilesConfig
	queue chan *put
	quit  chan struct{} // closed by Close
	done  chan struct{} // closed when the writer has ended
	once  sync.Once

	w writer // the goroutine's
}

// A put waits in the queue.
type put struct {
	records    []Record
	ids        [][16]byte
	duplicates int
	err        error
	done       chan struct{}
}

var errClosed = errors.New("the intake is closed")

// OpenFiles repairs what a crash left in the folder, reads the ids of the newest records and begins to take more.
func OpenFiles(c FilesConfig) (*Files, error) { return openFiles(c, disk{c.Dir}) }

func openFiles(c FilesConfig, d folder) (*Files, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("intake: %w", err)
	}
	f := &Files{c: c, queue: make(chan *put, maxQueued), quit: make(chan struct{}), done: make(chan struct{})}
	f.w = writer{c: c, folder: d, ids: newWindow(c.Window)}
	if err := f.w.open(); err != nil {
		return nil, fmt.Errorf("intake: %w", err)
	}
	go f.run()
	return f, nil
}

// Put implements [Sink].
func (f *Files) Put(ctx context.Context, records []Record) (duplicates int, err error) {
	p := &put{records: records, ids: make([][16]byte, len(records)), done: make(chan struct{})}
	for i, r := range records {
		if n, err := hex.Decode(p.ids[i][:], []byte(r.ID)); len(r.ID) != 32 || err != nil || n != 16 {
			return 0, fmt.Errorf("intake: id %.80q of a record: want 32 hex digits", r.ID)
		}
	}
	select {
	case <-f.quit:
		return 0, errClosed
	default:
	}
	select {
	case f.queue <- p:
	case <-f.quit:
		return 0, errClosed
	case <-ctx.Done():
		return 0, fmt.Errorf("intake: waiting for the disk: %w", ctx.Err())
	}
	select {
	case <-p.done:
		return p.duplicates, p.err
	case <-ctx.Done():
		return 0, fmt.Errorf("intake: waiting for the disk: %w", ctx.Err())
	case <-f.done:
	}
	select { // the last thing that the writer did may have been ours
	case <-p.done:
		return p.duplicates, p.err
	default:
		return 0, errClosed
	}
}

// Close writes what waits and ends the writer. It can be called more than once.
func (f *Files) Close() error {
	f.once.Do(func() { close(f.quit) })
	<-f.done
	return nil
}

// run is the writer: a group of puts, one sync, and a pause of Delay between two syncs, in which the next group gathers.
func (f *Files) run() {
	defer close(f.done)
	defer f.w.close()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case p := <-f.queue:
			group := f.gather(p, pause.C)
			f.w.commit(group)
			pause.Reset(f.c.Delay)
		case <-f.quit:
			for {
				select {
				case p := <-f.queue:
					f.w.commit([]*put{p})
				default:
					return
				}
			}
		}
	}
}

// gather takes puts out of the queue until the pause ends, the group is half a file, or the intake is closed.
func (f *Files) gather(first *put, pause <-chan time.Time) []*put {
	group, size := []*put{first}, first.size()
	for size < f.c.MaxFile/2 {
		select {
		case p := <-f.queue:
			group, size = append(group, p), size+p.size()
			continue
		case <-pause:
		case <-f.quit:
		}
		break
	}
	for size < f.c.MaxFile/2 { // what came in the meantime goes along
		select {
		case p := <-f.queue:
			group, size = append(group, p), size+p.size()
			continue
		default:
		}
		break
	}
	return group
}

func (p *put) size() (n int64) {
	for _, r := range p.records {
		n += int64(len(r.JSON)) + 1
	}
	return n
}

// A folder is where a writer keeps its files.
type folder interface {
	make() error
	list() (names []string, err error)
	open(name string) (file, error)   // an existing one
	create(name string) (file, error) // a new one; the name is durable
	remove(name string) error
}

type file interface {
	ReadAt(b []byte, off int64) (int, error)
	WriteAt(b []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
	Stat() (os.FileInfo, error)
}

// disk is a folder of the system.
type disk struct{ dir string }

func (d disk) make() error { return os.MkdirAll(d.dir, 0o700) }

func (d disk) list() (names []string, err error) {
	entries, err := os.ReadDir(d.dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (d disk) open(name string) (file, error) {
	f, err := osfile.OpenOwn(filepath.Join(d.dir, name), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d disk) create(name string) (file, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := osfile.SyncDir(d.dir); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

func (d disk) remove(name string) error { return os.Remove(filepath.Join(d.dir, name)) }
