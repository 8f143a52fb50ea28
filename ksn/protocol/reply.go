package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// ErrUntrusted is matched by every error about a document that is not signed as it has to be.
var ErrUntrusted = errors.New("not signed by the network")

// MaxBatch is how many questions a request asks at most, and how many answers a reply carries.
const MaxBatch = 256

// untrusted makes an error that matches ErrUntrusted.
func untrusted(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUntrusted, fmt.Sprintf(format, args...))
}

const (
	domainReply = "avdb ksn reply 1\n"
	domainInfo  = "avdb ksn info 1\n"
)

// A proof says who signed the answers of a reply.
type proof struct {
	KeyID string
	Path  []string // from the one answer's leaf to the root
	Sig   string   // base64
}

type hash = [sha256.Size]byte

// The bytes that what is hashed begins with: no leaf is a node.
const (
	leafMark = 0
	nodeMark = 1
)

func leafHash(answer []byte) hash {
	h := sha256.New()
	h.Write([]byte{leafMark})
	h.Write(answer)
	return hash(h.Sum(nil))
}

// fan is how many hashes a node is made of at most: with four there is half as much to hash as with two, and a proof is half as long again.
const fan = 4

func nodeHash(below []hash) hash {
	var b [1 + fan*sha256.Size]byte
	b[0] = nodeMark
	n := 1
	for i := range below {
		n += copy(b[n:], below[i][:])
	}
	return sha256.Sum256(b[:n])
}

// siblings are the hashes of a level that make one node with number at.
func siblings(level []hash, at int) []hash {
	from := at / fan * fan
	return level[from:min(from+fan, len(level))]
}

// A tree holds the hashes of answers, and of groups of them, level by level from the leaves to the root. A last one by itself moves up.
type tree [][]hash

// maxHashes is how many a tree of MaxBatch leaves has, the leaves included.
const maxHashes = MaxBatch + MaxBatch/(fan-1) + maxPathUp

func newTree(leaves []hash) tree {
	all := slices.Grow(leaves, max(0, maxHashes-len(leaves)))
	t := append(make(tree, 0, 1+maxPathUp), all)
	for below := leaves; len(below) > 1; below = t[len(t)-1] {
		from := len(all)
		for i := 0; i < len(below); i += fan {
			if group := siblings(below, i); len(group) > 1 {
				all = append(all, nodeHash(group))
			} else {
				all = append(all, group[0])
			}
		}
		t = append(t, all[from:])
	}
	return t
}

func (t tree) root() hash { return t[len(t)-1][0] }

// path lists, for each node on the way from leaf at to the root, the place in it and the others' hashes.
func (t tree) path(at int) []string {
	var up []string
	for _, level := range t[:len(t)-1] {
		if group := siblings(level, at); len(group) > 1 {
			step := append(make([]byte, 0, 1+fan*2*sha256.Size), '0'+byte(at%fan))
			for i := range group {
				if i != at%fan {
					step = hex.AppendEncode(step, group[i][:])
				}
			}
			up = append(up, string(step))
		}
		at /= fan
	}
	return up
}

// follow is the root that a path leads to from a leaf.
func follow(leaf hash, path []string) (hash, error) {
	const digits = 2 * sha256.Size
	for _, step := range path {
		others := (len(step) - 1) / digits
		if others < 1 || others >= fan || len(step) != 1+others*digits || !isHex(step[1:]) {
			return hash{}, invalid("proof: a step of %d characters, want the place and 1 to %d hashes in lower-case hex", len(step), fan-1)
		}
		place := int(step[0]) - '0'
		if place < 0 || place > others {
			return hash{}, invalid("proof: place %q among %d", step[:1], others+1)
		}
		var group [fan]hash
		from := 1
		for i := range group[:others+1] {
			if i == place {
				group[i] = leaf
				continue
			}
			if _, err := hex.Decode(group[i][:], []byte(step[from:from+digits])); err != nil {
				return hash{}, invalid("proof: %v", err)
			}
			from += digits
		}
		leaf = nodeHash(group[:others+1])
	}
	return leaf, nil
}

// signed is what the signature of a reply is over, besides the domain. Where the root ends is known.
func signed(root hash, head []byte) []byte { return append(root[:], head...) }

// SignReply makes a reply of 1 to [MaxBatch] answers, all with the same head, with one signature. Entries are sorted in place, and must not change while
// it runs. The error says which answer breaks the protocol.
func SignReply(answers []Answer, k *SigningKey) ([]byte, error) {
	var w ReplyWriter
	for i := range answers {
		a := &answers[i]
		if i == 0 {
			w.Begin(nil, a.Head)
		}
		if a.Head != answers[0].Head {
			return nil, invalid("answer for %s: another head than that of the first answer", a.Prefix)
		}
		if err := w.Add(a.Prefix, a.Entries); err != nil {
			return nil, err
		}
	}
	return w.Sign(k)
}

// A ReplyWriter makes replies, one after the other, in memory that it uses again. The zero value is one. It is not safe for concurrent use.
type ReplyWriter struct {
	b       []byte
	head    Head
	at      [2]int // in b, where the head stands
	kind    [2]int // in b, what stands before the digits of last,
	last    Prefix // the one that was spelled last
	from    int    // in b, where the last answer begins
	answers int
	leaves  []hash
}

// Begin begins a reply, which is appended to b; b may be nil.
func (w *ReplyWriter) Begin(b []byte, h Head) {
	b = append(b, `{"head":`...)
	from := len(b)
	b = h.append(b)
	*w = ReplyWriter{b: append(b, `,"answers":{`...), head: h, at: [2]int{from, len(b)}, leaves: w.leaves[:0]}
}

// Add adds the answer for a prefix, at most [MaxBatch] times. Entries are sorted in place. The error says what breaks the protocol; the reply is lost
// then.
func (w *ReplyWriter) Add(p Prefix, entries []Entry) error {
	if len(entries) > 1 {
		slices.SortFunc(entries, func(x, y Entry) int { return x.Compare(&y) })
	}
	switch {
	case w.answers == MaxBatch:
		return invalid("a reply of more than %d answers", MaxBatch)
	case !p.isValid():
		return invalid("answer for a prefix of %d bits and the type %.40q", p.Bits, p.Type)
	}
	if err := checkEntries(p, entries); err != nil {
		return err
	}
	b := w.next()
	from := len(b)
	if p.Type == w.last.Type && p.Bits == w.last.Bits {
		b = append(b, b[w.kind[0]:w.kind[1]]...)
	} else {
		b = p.appendHead(append(b, '"'))
		w.kind, w.last = [2]int{from, len(b)}, p
	}
	b = appendEntries(append(p.AppendHex(b), `":`...), entries)
	if len(b)-from > MaxAnswer {
		return invalid("answer for %s: %d bytes, the limit is %d", p, len(b)-from, MaxAnswer)
	}
	// The byte before an answer is the mark of leaves for as long as it is hashed.
	before := b[from-1]
	b[from-1] = leafMark
	w.leaves = append(w.leaves, sha256.Sum256(b[from-1:]))
	b[from-1] = before
	w.b, w.from = b, from
	return nil
}

// next is the reply so far with what stands before one more answer.
func (w *ReplyWriter) next() []byte {
	if w.answers++; w.answers == 1 {
		return w.b
	}
	return append(w.b, ',')
}

// A Spelled answer is what Add made of one, without its head: it can be added to any reply. It does not change. The zero value is none.
type Spelled struct {
	b []byte // its leaf, and behind it its bytes
}

// Len is its length in bytes, 0 for none.
func (s Spelled) Len() int { return max(0, len(s.b)-sha256.Size) }

// Touch reads of each line of a processor's cache that the answer is in. Where many were not used for long, all of them are at hand sooner if they are touched
// one after the other first. What it gives means nothing.
func (s Spelled) Touch() (sum byte) {
	for i := 0; i < len(s.b); i += 64 {
		sum += s.b[i]
	}
	return sum
}

// Last is the answer that Add added last.
func (w *ReplyWriter) Last() Spelled {
	own, leaf := w.b[w.from:], &w.leaves[len(w.leaves)-1]
	return Spelled{append(append(make([]byte, 0, len(leaf)+len(own)), leaf[:]...), own...)}
}

// AddSpelled adds an answer that was added to another reply before, at no other cost than copying it.
func (w *ReplyWriter) AddSpelled(s Spelled) error {
	if w.answers == MaxBatch || s.Len() == 0 {
		return invalid("a reply of more than %d answers, or one that is none", MaxBatch)
	}
	b := w.next()
	w.from = len(b)
	w.b, w.leaves = append(b, s.b[sha256.Size:]...), append(w.leaves, hash(s.b))
	return nil
}

// Sign ends the reply and gives what Begin was given with the reply behind it, which belongs to the caller.
func (w *ReplyWriter) Sign(k *SigningKey) ([]byte, error) {
	if w.answers == 0 {
		return nil, invalid("a reply of no answers, want 1 to %d", MaxBatch)
	}
	if err := w.head.check(); err != nil {
		return nil, err
	}
	t := newTree(w.leaves)
	w.leaves = t[0][:0]
	b := append(w.b, `},"proof":`...)
	w.b = nil
	b = (&proof{KeyID: k.ID(), Sig: k.sign(domainReply, signed(t.root(), b[w.at[0]:w.at[1]]))}).append(b)
	return append(b, '}'), nil
}

func (p *proof) append(b []byte) []byte {
	b = append(b, `{"keyid":`...)
	b = appendString(b, p.KeyID)
	for i, up := range p.Path {
		if i == 0 {
			b = append(b, `,"path":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, up)
	}
	if len(p.Path) > 0 {
		b = append(b, ']')
	}
	b = append(b, `,"sig":`...)
	b = appendString(b, p.Sig)
	return append(b, '}')
}

// A Signed answer is one that was verified, with the bytes that prove it: a reply that holds this answer alone.
type Signed struct {
	Answer Answer
	Bytes  []byte // canonical; to be served, cached and verified again as they are
}

// Open verifies a reply with one answer, what GET /v1/l/… gives and what caches keep. The errors match [ErrUntrusted] where the
// signature is at fault, else [ErrInvalid]. Times are not looked at: see [Answer.CheckTime].
func (ks Keys) Open(b []byte) (Signed, error) {
	if len(b) > MaxAnswer+1024+maxPathUp*fan*2*sha256.Size {
		return Signed{}, invalid("reply of %d bytes", len(b))
	}
	all, err := ks.open(b)
	if err != nil {
		return Signed{}, err
	}
	if len(all) != 1 {
		return Signed{}, invalid("a reply of %d answers, want one", len(all))
	}
	return all[0], nil
}

// OpenAll verifies what POST /v1/lookup gives: exactly one answer for each of the prefixes, in their order.
func (ks Keys) OpenAll(b []byte, prefixes []Prefix) ([]Signed, error) {
	if len(b) > MaxReplies {
		return nil, invalid("replies of %d bytes, the limit is %d", len(b), MaxReplies)
	}
	raws, ok := scanReplies(b, len(prefixes))
	if !ok {
		return nil, invalid("the answer is no list of 1 to %d replies in the canonical spelling", len(prefixes))
	}
	var all []Signed
	for _, raw := range raws {
		some, err := ks.open(raw)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(all) != len(prefixes) {
		return nil, invalid("%d answers to %d questions", len(all), len(prefixes))
	}
	for i := range all {
		if got := all[i].Answer.Prefix; got != prefixes[i] {
			return nil, invalid("answer %d is for %s, the question was %s", i, got, prefixes[i])
		}
	}
	return all, nil
}

// open verifies a reply before it reads its head and its answers, and cuts it into single ones.
func (ks Keys) open(b []byte) ([]Signed, error) {
	r, ok := scanReply(b)
	if n := len(r.answers); !ok || n > 1 && len(r.proof.Path) > 0 {
		return nil, invalid("a reply that is not in the canonical spelling, or proves one of %d answers", n)
	}
	leaves := make([]hash, len(r.answers), maxHashes)
	for i, raw := range r.answers {
		if len(raw) > MaxAnswer {
			return nil, invalid("answer %d has %d bytes, the limit is %d", i, len(raw), MaxAnswer)
		}
		leaves[i] = leafHash(raw)
	}
	t := newTree(leaves)
	top, err := follow(t.root(), r.proof.Path)
	if err != nil {
		return nil, err
	}
	if err := ks.verify(r.proof.KeyID, domainReply, signed(top, r.head), r.proof.Sig); err != nil {
		return nil, err
	}
	return cut(&r, t)
}

// cut reads the answers of a reply whose signature fits, and gives each the head and the proof that it needs by itself.
func cut(r *reply, t tree) ([]Signed, error) {
	head, ok := scanHead(r.head)
	if !ok {
		return nil, invalid("the head of a reply is not in the canonical spelling")
	}
	if err := head.check(); err != nil {
		return nil, err
	}
	all := make([]Signed, len(r.answers))
	for i, raw := range r.answers {
		a, ok := scanAnswer(raw)
		if !ok {
			return nil, invalid("answer %d is not in the canonical spelling", i)
		}
		if err := checkEntries(a.Prefix, a.Entries); err != nil {
			return nil, err
		}
		a.Head = head
		all[i].Answer = a
		p := r.proof
		if len(r.answers) > 1 {
			p.Path = t.path(i)
		}
		b := append(make([]byte, 0, len(r.head)+len(raw)+256+len(p.Path)*fan*2*sha256.Size), `{"head":`...)
		b = append(append(b, r.head...), `,"answers":{`...)
		b = append(append(b, raw...), `},"proof":`...)
		all[i].Bytes = append(p.append(b), '}')
	}
	return all, nil
}

// JoinReplies makes what POST /v1/lookup gives out of replies, in the order of the questions.
func JoinReplies(all ...[]byte) []byte {
	b := []byte(`{"replies":[`)
	for i, r := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	return append(b, "]}"...)
}
