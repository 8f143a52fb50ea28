package intake

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"example.org/avdb/ksn/statistics"
)

// A kept file has a name and a length.
type kept struct {
	number uint64
	day    string
	size   int64 // of what was acknowledged; the last file may be longer if dirty
}

const (
	dayLayout = "2006-01-02"
	nameForm  = "stats-%08d-%s.ndjson"
)

func (k kept) name() string { return fmt.Sprintf(nameForm, k.number, k.day) }

// parseName is the inverse of name; other files in the folder are none of ours.
func parseName(name string) (k kept, ok bool) {
	if _, err := fmt.Sscanf(name, "stats-%8d-%10s", &k.number, &k.day); err != nil || k.name() != name {
		return kept{}, false
	}
	t, err := time.Parse(dayLayout, k.day)
	return k, err == nil && t.Format(dayLayout) == k.day
}

// A writer appends groups of records. Not safe for concurrent use.
type writer struct {
	c       FilesConfig
	folder  folder
	files   []kept // in the order of their numbers; the last one is open
	current file   // nil: none
	dirty   bool   // the open file may hold more than was acknowledged
	ids     *window
}

// open makes the folder ready: what a crash left is cut, and known ids are those of what is durable.
func (w *writer) open() error {
	if err := w.folder.make(); err != nil {
		return err
	}
	names, err := w.folder.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		if k, ok := parseName(name); ok {
			w.files = append(w.files, k)
		}
	}
	slices.SortFunc(w.files, func(a, b kept) int { return cmp.Compare(a.number, b.number) })
	known := make([][][16]byte, len(w.files))
	missing := w.c.Window
	for i, k := range slices.Backward(w.files) {
		last := i == len(w.files)-1
		if known[i], err = w.look(&w.files[i], last, missing > 0); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", k.name(), err), w.close())
		}
		missing -= len(known[i])
	}
	for _, ids := range known {
		for _, id := range ids {
			w.ids.add(id)
		}
	}
	return w.makeRoom(0)
}

// look measures a file and reads its ids if they are wanted. The last one is repaired and stays open.
func (w *writer) look(k *kept, last, ids bool) (known [][16]byte, err error) {
	f, err := w.folder.open(k.name())
	if err != nil {
		return nil, err
	}
	if last {
		w.current = f
	} else {
		defer f.Close()
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	k.size = st.Size()
	if !ids && !last {
		return nil, nil
	}
	known, whole, err := readIDs(f, st.Size())
	if err != nil || !last {
		return known, err
	}
	if k.size = whole; whole < st.Size() {
		if err := f.Truncate(whole); err != nil {
			return nil, err
		}
	}
	return known, f.Sync() // what is counted as known is durable
}

// lineBegin stands before the id of a record in its canonical spelling.
var lineBegin = []byte(`{"v":1,"id":"`)

// readIDs gives the ids of a file's lines, and where its last line that looks whole ends. Lines in the middle that lost bits are passed over.
func readIDs(f io.ReaderAt, size int64) (ids [][16]byte, whole int64, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), statistics.MaxRecord+1)
	long := false
	for at := int64(0); ; {
		line, err := r.ReadSlice('\n')
		at += int64(len(line))
		switch {
		case errors.Is(err, io.EOF):
			return ids, whole, nil
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			continue
		case err != nil:
			return nil, 0, err
		}
		if id, ok := lineID(line); ok && !long {
			ids, whole = append(ids, id), at
		}
		long = false
	}
}

func lineID(line []byte) (id [16]byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, lineBegin)
	if !ok || len(rest) < 36 || !bytes.HasSuffix(line, []byte("}\n")) || bytes.IndexByte(line, 0) >= 0 {
		return id, false
	}
	_, err := hex.Decode(id[:], rest[:32])
	return id, err == nil
}

// commit makes a group durable and tells each of its puts.
func (w *writer) commit(group []*put) {
	var lines []byte
	var fresh [][16]byte
	inGroup := map[[16]byte]bool{}
	for _, p := range group {
		for i, r := range p.records {
			id := p.ids[i]
			if w.ids.has(id) || inGroup[id] {
				p.duplicates++
				continue
			}
			inGroup[id] = true
			fresh = append(fresh, id)
			lines = append(append(lines, r.JSON...), '\n')
		}
	}
	var err error
	if len(lines) > 0 {
		err = w.append(lines)
	}
	for _, id := range fresh {
		if err == nil {
			w.ids.add(id)
		}
	}
	for _, p := range group {
		if err != nil {
			p.duplicates, p.err = 0, fmt.Errorf("intake: %w", err)
		}
		close(p.done)
	}
}

// append makes lines durable. After an error the file is cut to what was durable before; until that works nothing more is written.
func (w *writer) append(lines []byte) error {
	if err := w.clean(); err != nil {
		return err
	}
	if err := w.rotate(int64(len(lines))); err != nil {
		return err
	}
	k := &w.files[len(w.files)-1]
	w.dirty = true
	_, err := w.current.WriteAt(lines, k.size)
	if err == nil {
		err = w.current.Sync()
	}
	if err != nil {
		return errors.Join(err, w.clean())
	}
	w.dirty = false
	k.size += int64(len(lines))
	return nil
}

func (w *writer) clean() error {
	if !w.dirty {
		return nil
	}
	if err := w.current.Truncate(w.files[len(w.files)-1].size); err != nil {
		return err
	}
	if err := w.current.Sync(); err != nil {
		return err
	}
	w.dirty = false
	return nil
}

// rotate sees to it that the open file is today's and has room for n bytes.
func (w *writer) rotate(n int64) error {
	day := w.c.Now().UTC().Format(dayLayout)
	next := kept{number: 1, day: day}
	if len(w.files) > 0 {
		last := w.files[len(w.files)-1]
		if w.current != nil && last.day == day && (last.size == 0 || last.size+n <= w.c.MaxFile) {
			return nil
		}
		next.number = last.number + 1
	}
	if err := w.makeRoom(w.c.MaxFile); err != nil {
		return err
	}
	f, err := w.folder.create(next.name())
	for range 16 { // what an earlier try left, when the disk failed
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		next.number++
		f, err = w.folder.create(next.name())
	}
	if err != nil {
		return err
	}
	err = w.close()
	w.files, w.current = append(w.files, next), f
	return err
}

// makeRoom removes the oldest files but the open one until there is room for n bytes more.
func (w *writer) makeRoom(n int64) error {
	for total := n + w.size(); total > w.c.MaxTotal && len(w.files) > 1; {
		oldest := w.files[0]
		if err := w.folder.remove(oldest.name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		w.files = w.files[1:]
		total -= oldest.size
	}
	return nil
}

func (w *writer) size() (n int64) {
	for _, k := range w.files {
		n += k.size
	}
	return n
}

func (w *writer) close() error {
	if w.current == nil {
		return nil
	}
	err := w.current.Close()
	w.current = nil
	return err
}

// A window knows the last ids that were added, up to a number.
type window struct {
	known map[[16]byte]bool
	ring  [][16]byte
	next  int // of the ring, to be overwritten
	most  int
}

func newWindow(most int) *window { return &window{known: map[[16]byte]bool{}, most: most} }

func (w *window) has(id [16]byte) bool { return w.known[id] }

func (w *window) add(id [16]byte) {
	if w.known[id] {
		return
	}
	if len(w.ring) < w.most {
		w.ring = append(w.ring, id)
	} else {
		delete(w.known, w.ring[w.next])
		w.ring[w.next] = id
		w.next = (w.next + 1) % w.most
	}
	w.known[id] = true
}
