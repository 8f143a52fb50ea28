package statistics

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// A Spool keeps records until they are taken; *store.Store is one. E is its type of a spooled record.
type Spool[E ~struct {
	ID     uint64
	Record []byte
}] interface {
	Spool(record []byte, maxBytes int64) (dropped int, err error)
	Spooled(n int) ([]E, error)
	Unspool(ids []uint64) error
	ClearSpool() error
}

// DefaultMaxSpool is how much is spooled at most if nothing else is said, in bytes.
const DefaultMaxSpool = 1 << 20

// Config is what a [Recorder] is made of. Facts is required.
type Config struct {
	Facts     func() (ksn.Facts, error) // read at each flush and before each request; must not call the recorder
	Program   string                    // version of the program; what is no version ("(devel)") is left out
	OS, Arch  string                    // "": those of this program
	MaxSpool  int64                     // bytes; 0 for DefaultMaxSpool
	Manifests []Manifest                // nil: DefaultManifests
	Rand      io.Reader                 // nil: that of the system
}

// idBytes is the length of a record's id.
const idBytes = 16

type spooled struct {
	ID     uint64
	Record []byte
}

// A Recorder counts in memory until [Recorder.Flush]. Its methods may be called by many goroutines at once; those that count touch no
// file, wait for none and keep nothing of what they are given but names of signatures.
type Recorder struct {
	c     Config
	spool struct {
		put   func(record []byte, maxBytes int64) (dropped int, err error)
		list  func() ([]spooled, error)
		del   func(ids []uint64) error
		clear func() error
	}

	sending sync.Mutex // before slow

	slow  sync.Mutex // held over spool and settings, before mu
	grant grant      // when what counts holds was begun; under slow

	mu       sync.Mutex
	id       string // of the next record
	counts   counts
	database uint64
	variant  dbformat.Variant
}

// New makes a recorder over a spool. What is counted from now on is kept only if extended mode is in force now.
func New[E ~struct {
	ID     uint64
	Record []byte
}](s Spool[E], c Config) (*Recorder, error) {
	if c.Facts == nil {
		return nil, fmt.Errorf("statistics: the source of the facts is missing")
	}
	if c.Manifests == nil {
		c.Manifests = DefaultManifests()
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.MaxSpool == 0 {
		c.MaxSpool = DefaultMaxSpool
	}
	if c.OS == "" {
		c.OS = runtime.GOOS
	}
	if c.Arch == "" {
		c.Arch = runtime.GOARCH
	}
	r := &Recorder{c: c}
	r.spool.put, r.spool.del, r.spool.clear = s.Spool, s.Unspool, s.ClearSpool
	r.spool.list = func() ([]spooled, error) {
		list, err := s.Spooled(0)
		all := make([]spooled, len(list))
		for i, e := range list {
			all[i] = spooled(e)
		}
		return all, err
	}
	facts, err := c.Facts()
	if err != nil {
		return nil, fmt.Errorf("statistics: %w", err)
	}
	r.grant = granted(facts)
	if r.id, err = r.newID(); err != nil {
		return nil, err
	}
	return r, nil
}

// Asked counts a question that was asked.
func (r *Recorder) Asked(o ksn.Object) {
	r.count(func(c *counts) { c.question(o, func(q *QuestionCount) { add(&q.Asked, 1) }) })
}

// Answered counts a question that was answered, and how long that took.
func (r *Recorder) Answered(o ksn.Object, took time.Duration) {
	r.count(func(c *counts) {
		c.question(o, func(q *QuestionCount) {
			add(&q.Answered, 1)
			c.took(took)
		})
	})
}

// Suppressed counts a question that the gate held back.
func (r *Recorder) Suppressed(o ksn.Object) {
	r.count(func(c *counts) { c.question(o, func(q *QuestionCount) { add(&q.Suppressed, 1) }) })
}

// Matched counts a match of the signature with the name, which must be one of the signed database: names that a device's owner chose are not
// statistics.
func (r *Recorder) Matched(name string) {
	r.count(func(c *counts) { c.matched(name, 1) })
}

// Failed counts a failure of a request.
func (r *Recorder) Failed(kind Failure) {
	r.count(func(c *counts) { c.failed(kind, 1) })
}

// Database says which release and variant are in use; records tell the last that was said.
func (r *Recorder) Database(release uint64, v dbformat.Variant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.database, r.variant = release, v
}

func (r *Recorder) count(change func(*counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.any = true
	change(&r.counts)
}

func (c *counts) question(o ksn.Object, change func(*QuestionCount)) {
	if q := c.questions.question(o); q != nil {
		change(q)
	}
}

// A grant is the consent to statistics. Two that are equal were given by one decision; the zero value is none.
type grant struct {
	statement int
	accepted  time.Time
	since     time.Time
	policy    ksn.Mode
	text      dbformat.Digest
}

func granted(f ksn.Facts) grant {
	if m, _ := f.InForce(); m != ksn.ModeExtended {
		return grant{}
	}
	g := grant{statement: f.Consent.Accepted.Version, accepted: f.Consent.Accepted.Time.UTC(), policy: f.Policy, text: f.Consent.Accepted.SHA256}
	if f.Consent.Since != nil {
		g.since = f.Consent.Since.UTC()
	}
	return g
}

// Flush writes what was counted as one record into the spool, if extended mode is in force and has been since counting began; else it forgets
// it, and without extended mode it clears the spool as well. If settings or spool cannot be used, the counts stay for the next flush. It is to be
// called at the end of a process, each hour or so within, and after each change of the mode.
func (r *Recorder) Flush() error {
	r.slow.Lock()
	defer r.slow.Unlock()
	facts, err := r.c.Facts()
	if err != nil {
		return fmt.Errorf("statistics: %w", err)
	}
	now, began := granted(facts), r.grant
	next, err := r.newID()
	if err != nil {
		return err
	}
	r.mu.Lock()
	record, taken := r.record(), r.counts
	r.id, r.counts = next, counts{}
	r.mu.Unlock()
	r.grant = now
	switch {
	case now == grant{}:
		return r.spool.clear()
	case now != began || !taken.any:
		return nil
	}
	record, ok := FindManifest(r.c.Manifests, now.statement).filter(record)
	if !ok {
		return nil
	}
	b, err := record.Marshal()
	if err == nil {
		_, err = r.spool.put(b, r.c.MaxSpool)
	}
	if err != nil {
		r.mu.Lock()
		r.counts.merge(&taken)
		r.mu.Unlock()
		return fmt.Errorf("statistics: %w", err)
	}
	// Whoever switched it off meanwhile cleared the spool perhaps before the record was in it.
	if facts, err = r.c.Facts(); err == nil && granted(facts) == (grant{}) {
		r.grant = grant{}
		return r.spool.clear()
	}
	return nil
}

// record is what the counts make, with the id that the next record has. The caller holds mu.
func (r *Recorder) record() Record {
	all := Record{V: 1, ID: r.id, Database: min(r.database, 1<<53-1)}
	if isVersion(r.c.Program) {
		all.Program = r.c.Program
	}
	if isPlatform(r.c.OS) {
		all.OS = r.c.OS
	}
	if isPlatform(r.c.Arch) {
		all.Arch = r.c.Arch
	}
	if r.variant.Layers() != nil {
		all.Variant = r.variant
	}
	r.counts.fill(&all)
	return all
}

func (r *Recorder) newID() (string, error) {
	var b [idBytes]byte
	if _, err := io.ReadFull(r.c.Rand, b[:]); err != nil {
		return "", fmt.Errorf("statistics: random id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
