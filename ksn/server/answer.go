package server

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// maxEntries is of all answers of a request: no more fit into protocol.MaxReplies.
const maxEntries = 1 << 16

// A problemError ends a request.
type problemError struct{ protocol.Problem }

func (e *problemError) Error() string { return e.Title }

var (
	errChanging = &problemError{protocol.NewProblem(protocol.CodeUnavailable, "the database is changing", "", waitChanging)}
	errTooMuch  = &problemError{protocol.NewProblem(protocol.CodeTooLarge, "too much to say", "Ask for fewer prefixes at once, or for more bits.", 0)}
)

// A scratch is memory that requests use one after the other.
type scratch struct {
	body     []byte // of the request
	reply    []byte
	writer   protocol.ReplyWriter
	found    []protocol.Entry // of all prefixes
	ends     []int            // in found, of each prefix
	kept     []kept           // of each prefix
	touched  byte
	missing  []protocol.Prefix // of which nothing is kept
	of       basis             // of what is kept
	set      *overrideSet      // that this request is answered by
	prefixes [1]protocol.Prefix
	values   []uint32 // of prefixes of one type
}

// maxKept is what a scratch keeps from request to request, in bytes of a buffer.
const maxKept = 1 << 20

func (s *scratch) reset() {
	clear(s.found)
	clear(s.kept)
	s.of, s.set = basis{}, nil
	if cap(s.reply) > maxKept {
		s.reply = nil
	}
	if cap(s.found) > maxKept/128 {
		s.found = nil
	}
}

// sign makes a reply to prefixes in x.reply, with before and after around it, and tells for how long all of it holds.
func (x *exchange) sign(prefixes []protocol.Prefix, before, after string) (life time.Duration, err error) {
	release, err := x.gather(prefixes)
	if err != nil {
		return 0, err
	}
	head := protocol.Head{V: protocol.Version, Issued: dbformat.At(x.Began.Truncate(x.step)), TTL: inSeconds(x.c.Lives.Entry), NegTTL: inSeconds(x.c.Lives.Silence),
		Release: release}
	least := x.c.Lives.Silence
	x.writer.Begin(append(x.reply[:0], before...), head)
	x.answers, x.entries = len(prefixes), 0
	from, n := 0, 0 // in x.found, and in x.ends
	keeping, learnt := x.of != (basis{}), false
	for i, p := range prefixes {
		if k := &x.kept[i]; k.is() {
			if err := x.writer.AddSpelled(k.answer); err != nil {
				return 0, fmt.Errorf("signing: %w", err)
			}
			x.entries += k.entries
			least = min(least, k.life)
			continue
		}
		entries := x.found[from:x.ends[n]]
		from, n = x.ends[n], n+1
		if err := x.writer.Add(p, entries); err != nil {
			return 0, fmt.Errorf("signing: %w", err)
		}
		life := x.c.Lives.Silence
		if len(entries) > 0 {
			life = min(life, head.Life(entries))
		}
		least = min(least, life)
		x.entries += len(entries)
		if keeping && x.keep.wants(p) {
			learnt = true
			x.kept[i] = kept{x.writer.Last(), len(entries), life}
		}
	}
	if x.entries > maxEntries {
		return 0, errTooMuch
	}
	if learnt {
		x.keep.put(x.of, prefixes, x.kept)
	}
	if x.reply, err = x.writer.Sign(x.c.Key); err != nil {
		return 0, fmt.Errorf("signing: %w", err)
	}
	x.reply = append(x.reply, after...)
	if len(x.reply) > protocol.MaxReplies {
		return 0, errTooMuch
	}
	x.Charge(x.entries)
	x.c.Collector.Signed()
	x.c.Collector.Answered(x.answers, x.entries, release)
	return head.Issued.Add(least).Sub(x.Began), nil
}

// gather gets together what answers are made of, all of it from one release: for a batch what is kept, in x.kept, and for the rest what the database says, in
// x.found and x.ends. x.of is what it was made from, the zero value if it is not to be kept.
func (x *exchange) gather(prefixes []protocol.Prefix) (release uint64, err error) {
	x.of = basis{}
	x.kept = slices.Grow(x.kept[:0], len(prefixes))[:len(prefixes)]
	clear(x.kept)
	x.set = x.overrides.Load()
	if x.teller != nil && len(prefixes) > 1 {
		if release, ok, err := x.gatherKept(prefixes); ok || err != nil {
			return release, err
		}
		clear(x.kept)
		x.of = basis{}
	}
	release, same, err := x.collect(prefixes)
	if err == nil && !same {
		release, same, err = x.collect(prefixes) // the database has changed: once more, from the new one
	}
	if err == nil && !same {
		err = errChanging
	}
	return release, err
}

// gatherKept is gather with what is kept; not ok if the database changed on the way, or does not tell what it answers from, as long as it cannot be used.
func (x *exchange) gatherKept(prefixes []protocol.Prefix) (release uint64, ok bool, err error) {
	content, release, unusable := x.teller.Content()
	if unusable != nil {
		return 0, false, nil
	}
	x.of = basis{content, x.set}
	rest := prefixes
	missing, touched := x.keep.find(x.of, prefixes, x.kept)
	x.touched = touched
	switch missing {
	case 0:
		rest = nil
	case len(prefixes):
	default:
		x.missing = x.missing[:0]
		for i := range x.kept {
			if !x.kept[i].is() {
				x.missing = append(x.missing, prefixes[i])
			}
		}
		rest = x.missing
	}
	read, same, err := x.collect(rest)
	if err != nil || !same {
		return 0, false, err
	}
	if len(rest) > 0 {
		if again, _, unusable := x.teller.Content(); unusable != nil || again != content {
			return 0, false, nil
		}
		if !slices.ContainsFunc(rest, func(p protocol.Prefix) bool { return inDatabase(p.Type) }) {
			read = release
		}
		if read != release {
			return 0, false, nil
		}
	}
	if !slices.ContainsFunc(prefixes, func(p protocol.Prefix) bool { return inDatabase(p.Type) }) {
		release = 0
	}
	return release, true, nil
}

// inDatabase tells whether answers of a type are made from the database.
func inDatabase(t protocol.Type) bool { return t == protocol.URL || algorithm(t) != 0 }

// algorithm is the hash function of a type of files, 0 for another type.
func algorithm(t protocol.Type) dbformat.Algorithm {
	switch t {
	case protocol.FileSHA256:
		return dbformat.SHA256
	case protocol.FileSHA1:
		return dbformat.SHA1
	case protocol.FileMD5:
		return dbformat.MD5
	}
	return 0
}

// collect gathers what is known of prefixes into x.found and x.ends. same is false if the database changed on the way.
func (x *exchange) collect(prefixes []protocol.Prefix) (release uint64, same bool, err error) {
	c := collection{x: x, found: x.found[:0], overrides: *x.set}
	x.ends = x.ends[:0]
	asked := false
	for len(prefixes) > 0 {
		together := 1
		for together < len(prefixes) && prefixes[together].Type == prefixes[0].Type && prefixes[together].Bits == prefixes[0].Bits {
			together++
		}
		r, err := c.gather(prefixes[:together])
		if err != nil {
			return 0, false, err
		}
		if inDatabase(prefixes[0].Type) {
			if asked && r != release {
				return 0, false, nil
			}
			release, asked = r, true
		}
		prefixes = prefixes[together:]
	}
	x.found = c.found
	return release, true, nil
}

// A collection gathers entries, prefix by prefix.
type collection struct {
	x         *exchange
	found     []protocol.Entry
	overrides overrideSet

	p       protocol.Prefix
	from    int               // in found, where those of p begin
	mine    overrideSet       // of p
	allowed map[allowing]bool // of p
	full    bool
}

// gather adds what is known of prefixes of one type, with as many bits each, and tells from which release that is.
func (c *collection) gather(prefixes []protocol.Prefix) (release uint64, err error) {
	c.begin(prefixes[0])
	now := 0 // the place of the prefix that has begun
	upTo := func(at int) (err error) {
		for ; now < at && err == nil; now++ {
			if err = c.end(); err == nil && now+1 < len(prefixes) {
				c.begin(prefixes[now+1])
			}
		}
		return err
	}
	var failed error
	visit := func(at int, k Known) bool {
		if failed = upTo(at); failed != nil {
			return false
		}
		return c.visit(k)
	}
	x, p := c.x, prefixes[0]
	x.values = x.values[:0]
	for i := range prefixes {
		x.values = append(x.values, prefixes[i].Value)
	}
	switch {
	case p.Type == protocol.URL:
		release, err = x.c.Database.WithURLPrefixes(p.Bits, x.values, visit)
	case algorithm(p.Type) != 0:
		release, err = x.c.Database.WithPrefixes(algorithm(p.Type), p.Bits, x.values, visit)
	}
	if err != nil {
		return 0, fmt.Errorf("database: %w", err)
	}
	if failed == nil {
		failed = upTo(len(prefixes))
	}
	return release, failed
}

func (c *collection) begin(p protocol.Prefix) {
	c.p, c.from, c.mine = p, len(c.found), c.overrides.with(p)
	clear(c.allowed)
}

// room tells whether one more entry can be answered.
func (c *collection) room() bool {
	c.full = c.full || len(c.found)-c.from >= protocol.MaxEntries || len(c.found) >= maxEntries
	return !c.full
}

// visit takes one record of the database.
func (c *collection) visit(k Known) bool {
	key := protocol.Key{Type: c.p.Type, Sum: k.Sum}
	if k.Allowed && c.p.Type != protocol.FileSHA256 || c.mine.has(key) {
		return true
	}
	if !c.room() {
		return false
	}
	e := protocol.Entry{Key: key, Size: k.Size, Verdict: protocol.Untrusted, Name: printable(k.Name), Category: "malware"}
	switch {
	case k.Allowed:
		e.Verdict, e.Category = protocol.Trusted, ""
		if c.x.c.Lives.Trusted != c.x.c.Lives.Entry {
			e.TTL = inSeconds(c.x.c.Lives.Trusted)
		}
		if c.allowed == nil {
			c.allowed = map[allowing]bool{}
		}
		c.allowed[allowing{e.Key, e.Size}] = true
	case k.PUA:
		e.Verdict, e.Category = protocol.PotentiallyUnwanted, "pua"
	case c.p.Type == protocol.URL:
		e.Category = "" // a list of URLs does not say what is bad about them
	}
	c.found = append(c.found, e)
	return true
}

// add takes one entry of a source.
func (c *collection) add(e protocol.Entry) bool {
	if c.mine.has(e.Key) {
		return true
	}
	if !c.room() {
		return false
	}
	if e.TTL > 0 {
		e.TTL = max(e.TTL, inSeconds(8*c.x.c.Lives.step())) // the time of issue moves in steps
	}
	c.found = append(c.found, e)
	return true
}

// An allowing is a key that the database allows, for objects of one size or dbformat.AnySize: it cancels detections of that size, or of any.
type allowing struct {
	key  protocol.Key
	size uint32
}

// end adds what the sources and the overrides say of a prefix, and puts its entries in order.
func (c *collection) end() error {
	for _, s := range c.x.c.Sources {
		if err := s.Entries(c.p, c.add); err != nil {
			return fmt.Errorf("source: %w", err)
		}
	}
	for i := range c.mine {
		if c.room() {
			c.found = append(c.found, c.mine[i].entry())
		}
	}
	if c.full {
		if c.p.Bits < protocol.MaxBits && len(c.found)-c.from >= protocol.MaxEntries {
			return &problemError{protocol.NewProblem(protocol.CodeBadRequest, "too much to say",
				"More than "+strconv.Itoa(protocol.MaxEntries)+" keys begin with one of the prefixes: ask for more bits.", 0)}
		}
		return errTooMuch
	}
	if mine := c.found[c.from:]; len(mine) > 1 {
		c.found = c.found[:c.from+len(c.sort(mine))]
	}
	c.x.ends = append(c.x.ends, len(c.found))
	return nil
}

// sort gives entries in order, without the second of two equal ones and without what an allow record cancels.
func (c *collection) sort(mine []protocol.Entry) []protocol.Entry {
	slices.SortFunc(mine, func(a, b protocol.Entry) int { return a.Compare(&b) })
	mine = slices.CompactFunc(mine, func(a, b protocol.Entry) bool { return a.Compare(&b) == 0 })
	if len(c.allowed) > 0 {
		mine = slices.DeleteFunc(mine, func(e protocol.Entry) bool {
			return e.Verdict != protocol.Trusted && (c.allowed[allowing{e.Key, dbformat.AnySize}] || c.allowed[allowing{e.Key, e.Size}])
		})
	}
	return mine
}

// printable is a signature's name as an entry may have it: databases allow a few characters more.
func printable(name string) string {
	for i := range len(name) {
		if name[i] < 0x20 || name[i] > 0x7e {
			return strings.Map(func(r rune) rune {
				if !unicode.IsPrint(r) {
					return '?'
				}
				return r
			}, strings.ToValidUTF8(name, "?"))
		}
	}
	return name
}

// failWith answers with what err stands for.
func (x *exchange) failWith(err error) {
	if p, ok := errors.AsType[*problemError](err); ok {
		x.Fail(p.Problem)
		return
	}
	x.warn(err)
	x.Fail(protocol.NewProblem(protocol.CodeUnavailable, "no answer now", "The server's database cannot be used.", serving.WaitUnavailable))
}
