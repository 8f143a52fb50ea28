package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
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

func leafHash(answer []byte) hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(answer)
	return hash(h.Sum(nil))
}

func nodeHash(l, r *hash) hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], l[:])
	copy(b[1+sha256.Size:], r[:])
	return sha256.Sum256(b[:])
}

// A tree holds the hashes of answers, and of pairs of them, level by level from the leaves to the root. A last one without a partner moves up.
type tree [][]hash

func newTree(leaves []hash) tree {
	all := slices.Grow(leaves, len(leaves)+maxPathUp)
	t := append(make(tree, 0, 1+maxPathUp), all)
	for below := leaves; len(below) > 1; below = t[len(t)-1] {
		from := len(all)
		for i := 0; i+1 < len(below); i += 2 {
			all = append(all, nodeHash(&below[i], &below[i+1]))
		}
		if len(below)%2 == 1 {
			all = append(all, below[len(below)-1])
		}
		t = append(t, all[from:])
	}
	return t
}

func (t tree) root() hash { return t[len(t)-1][0] }

// path lists the neighbours of leaf at on the way to the root.
func (t tree) path(at int) []string {
	var up []string
	for _, level := range t[:len(t)-1] {
		switch other := at ^ 1; {
		case other < at:
			up = append(up, "l"+hex.EncodeToString(level[other][:]))
		case other < len(level):
			up = append(up, "r"+hex.EncodeToString(level[other][:]))
		}
		at /= 2
	}
	return up
}

// follow is the root that a path leads to from a leaf.
func follow(leaf hash, path []string) (hash, error) {
	for _, p := range path {
		var other hash
		if len(p) != 1+2*len(other) {
			return hash{}, invalid("proof: a neighbour of %d characters", len(p))
		}
		if n, err := hex.Decode(other[:], []byte(p[1:])); err != nil || n != len(other) || hex.EncodeToString(other[:]) != p[1:] {
			return hash{}, invalid("proof: a neighbour is not lower-case hex")
		}
		switch p[0] {
		case 'l':
			leaf = nodeHash(&other, &leaf)
		case 'r':
			leaf = nodeHash(&leaf, &other)
		default:
			return hash{}, invalid("proof: a neighbour on the side %q", p[:1])
		}
	}
	return leaf, nil
}

// SignReply makes a reply of 1 to [MaxBatch] answers with one signature. Entries are sorted in place, and must not change while
// it runs. The error says which answer breaks the protocol.
func SignReply(answers []Answer, k *SigningKey) ([]byte, error) {
	return AppendReply(nil, answers, k)
}

// AppendReply is SignReply that appends to b, which may be nil.
func AppendReply(b []byte, answers []Answer, k *SigningKey) ([]byte, error) {
	if len(answers) < 1 || len(answers) > MaxBatch {
		return nil, invalid("a reply of %d answers, want 1 to %d", len(answers), MaxBatch)
	}
	b = append(b, `{"answers":[`...)
	leaves := make([]hash, len(answers), 2*len(answers)+maxPathUp) // room for the tree
	var head, middle []byte                                        // of the answer before
	for i := range answers {
		a := &answers[i]
		if a.Entries == nil {
			a.Entries = []Entry{}
		}
		if len(a.Entries) > 1 {
			slices.SortFunc(a.Entries, func(x, y Entry) int { return x.compare(&y) })
		}
		if err := a.check(); err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		from := len(b)
		if i > 0 && a.likes(&answers[i-1]) {
			b = append(b, head...)
			b = appendString(b, a.Prefix)
			b = append(b, middle...)
		} else {
			b = a.appendHead(b)
			head = b[from:]
			b = appendString(b, a.Prefix)
			until := len(b)
			b = a.appendMiddle(b)
			middle = b[until:]
		}
		b = a.appendEntries(b)
		if len(b)-from > MaxAnswer {
			return nil, invalid("answer for %s: %d bytes, the limit is %d", a.Of(), len(b)-from, MaxAnswer)
		}
		// The byte before an answer is 0 for as long as it is hashed.
		before := b[from-1]
		b[from-1] = 0
		leaves[i] = sha256.Sum256(b[from-1:])
		b[from-1] = before
	}
	top := newTree(leaves).root()
	b = append(b, `],"proof":`...)
	b = (&proof{KeyID: k.ID(), Sig: k.sign(domainReply, top[:])}).append(b)
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
	if len(b) > MaxAnswer+1024+maxPathUp*80 {
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
		if got := all[i].Answer.Of(); got != prefixes[i] {
			return nil, invalid("answer %d is for %s, the question was %s", i, got, prefixes[i])
		}
	}
	return all, nil
}

// open verifies a reply before it reads an answer of it, and cuts it into single ones.
func (ks Keys) open(b []byte) ([]Signed, error) {
	r, ok := scanReply(b)
	if n := len(r.answers); !ok || n > 1 && len(r.proof.Path) > 0 {
		return nil, invalid("a reply that is not in the canonical spelling, or proves one of %d answers", n)
	}
	leaves := make([]hash, len(r.answers), 2*len(r.answers)+maxPathUp) // room for the tree
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
	if err := ks.verify(r.proof.KeyID, domainReply, top[:], r.proof.Sig); err != nil {
		return nil, err
	}
	return cut(&r, t)
}

// cut reads the answers of a reply whose signature fits, and gives each the proof that it needs by itself.
func cut(r *reply, t tree) ([]Signed, error) {
	all := make([]Signed, len(r.answers))
	for i, raw := range r.answers {
		a, ok := scanAnswer(raw)
		if !ok {
			return nil, invalid("answer %d is not in the canonical spelling", i)
		}
		if err := a.check(); err != nil {
			return nil, err
		}
		all[i].Answer = a
		p := r.proof
		if len(r.answers) > 1 {
			p.Path = t.path(i)
		}
		b := append(make([]byte, 0, len(raw)+256+len(p.Path)*70), `{"answers":[`...)
		b = append(b, raw...)
		b = append(b, `],"proof":`...)
		b = p.append(b)
		all[i].Bytes = append(b, '}')
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

// A Query is what POST /v1/lookup takes: 1 to [MaxBatch] questions, none twice.
type Query struct {
	V       int             `json:"v"` // Version
	Queries []PrefixOfQuery `json:"queries"`
}

// A PrefixOfQuery is a question.
type PrefixOfQuery struct {
	Type   Type   `json:"type"`
	Bits   uint8  `json:"bits"`
	Prefix string `json:"prefix"` // hex, as [Prefix.Hex]
}

// MaxQuery is the greatest length of a query in bytes.
const MaxQuery = 32 << 10

// MarshalQuery is the request that asks for prefixes, 1 to [MaxBatch] different ones.
func MarshalQuery(prefixes []Prefix) ([]byte, error) {
	b := []byte(fmt.Sprintf(`{"v":%d,"queries":[`, Version))
	for i, p := range prefixes {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"type":%q,"bits":%d,"prefix":%q}`, p.Type, p.Bits, p.Hex())
	}
	b = append(b, "]}"...)
	if _, err := ParseQuery(b); err != nil {
		return nil, err
	}
	return b, nil
}

// ParseQuery reads a request. White space is allowed here: nothing of it is signed.
func ParseQuery(b []byte) ([]Prefix, error) {
	if len(b) > MaxQuery {
		return nil, invalid("query of %d bytes, the limit is %d", len(b), MaxQuery)
	}
	all, ok := parseUsualQuery(b)
	if !ok {
		var err error
		if all, err = parseAnyQuery(b); err != nil {
			return nil, err
		}
	}
	if err := checkTwice(all); err != nil {
		return nil, err
	}
	return all, nil
}

// parseAnyQuery reads a request in any spelling.
func parseAnyQuery(b []byte) ([]Prefix, error) {
	var q Query
	if err := dbformat.DecodeJSON(b, &q); err != nil {
		return nil, invalid("query: %v", err)
	}
	if q.V != Version {
		return nil, invalid("query of version %d, want %d", q.V, Version)
	}
	if n := len(q.Queries); n < 1 || n > MaxBatch {
		return nil, invalid("query of %d prefixes, want 1 to %d", n, MaxBatch)
	}
	all := make([]Prefix, len(q.Queries))
	for i, x := range q.Queries {
		p, err := makePrefix(x.Type, x.Bits, x.Prefix)
		if err != nil {
			return nil, invalid("query %d: %v", i, err)
		}
		all[i] = p
	}
	return all, nil
}

// parseUsualQuery reads a good request that is spelled as MarshalQuery does it: a server reads many of them. Of everything else it says false, and
// parseAnyQuery what is wrong.
func parseUsualQuery(b []byte) ([]Prefix, bool) {
	rest, ok := strings.CutPrefix(string(b), `{"v":1,"queries":[`)
	if !ok {
		return nil, false
	}
	all := make([]Prefix, 0, min(MaxBatch, 1+len(rest)/len(`{"type":"url","bits":24,"prefix":"000000"},`)))
	for len(all) < MaxBatch {
		if rest, ok = strings.CutPrefix(rest, `{"type":"`); !ok {
			return nil, false
		}
		i := strings.IndexByte(rest, '"')
		if i < 0 {
			return nil, false
		}
		typ, after := Type(rest[:i]), rest[i+1:]
		if after, ok = strings.CutPrefix(after, `,"bits":`); !ok || len(after) < 2 || after[0] < '1' || after[0] > '3' || after[1] < '0' || after[1] > '9' {
			return nil, false
		}
		bits := (after[0]-'0')*10 + after[1] - '0'
		if after, ok = strings.CutPrefix(after[2:], `,"prefix":"`); !ok {
			return nil, false
		}
		if i = strings.IndexByte(after, '"'); i < 0 {
			return nil, false
		}
		p, err := makePrefix(typ.known(), bits, after[:i])
		if err != nil {
			return nil, false
		}
		all = append(all, p)
		switch rest = after[i+1:]; {
		case rest == "}]}":
			return all, true
		case !strings.HasPrefix(rest, "},"):
			return nil, false
		}
		rest = rest[2:]
	}
	return nil, false
}

// checkTwice refuses a question that is asked twice.
func checkTwice(all []Prefix) error {
	order := make([]uint64, 0, MaxBatch)
	for _, p := range all {
		order = append(order, p.number())
	}
	slices.Sort(order)
	for i := 1; i < len(order); i++ {
		if order[i] == order[i-1] {
			at := slices.IndexFunc(all, func(p Prefix) bool { return p.number() == order[i] })
			return invalid("query %d: %s stands twice", at, all[at])
		}
	}
	return nil
}
