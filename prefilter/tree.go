package prefilter

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// A tree holds the postings of a gram that more than leafSize of them share. Each of its nodes narrows them down by the bytes around the gram; see
// docs/format/prefilter.md for the words of a node.
const (
	leafSize  = 4
	kindLeaf  = 0 // count<<8, then postings
	kindGram  = 1 // splits by the bytes of the gram as they are, for grams may be folded and hashes may be equal; a root only
	kindSides = 2 // splits by up to four bytes on either side of what was compared
	foldClass = 1 << 8
)

// A side says how many bytes left and right of a gram are compared already, and how many are next.
type side struct{ left, right, a, b int }

func (d side) next() side { return side{left: d.left + d.a, right: d.right + d.b} }

// contextKey packs the bytes that d names around the gram of q bytes at p, the left ones first.
func contextKey(b []byte, p, q int, d side) (key uint64) {
	for i := range d.a {
		key |= uint64(b[p-d.left-d.a+i]) << (8 * i)
	}
	for i := range d.b {
		key |= uint64(b[p+q+d.right+i]) << (32 + 8*i)
	}
	return key
}

// A treeWriter makes the trees of a tier.
type treeWriter struct {
	shape
	content func(literal uint32) (b []byte, noCase bool)
	words   []byte
}

type pendingNode struct {
	postings []uint32
	side     side
	root     bool
	slot     int // where in words the place of this node goes; -1 at the root
}

// add appends the tree of these postings and returns the place of its root. Nodes are written level by level, so that each is named exactly
// once, in the order in which they follow each other: a reader can prove that it is a tree without remembering what it saw.
func (w *treeWriter) add(postings []uint32) uint32 {
	root := uint32(len(w.words) / 4)
	queue := []pendingNode{{postings: postings, root: len(postings) > leafSize, slot: -1}}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if n.slot >= 0 {
			binary.LittleEndian.PutUint32(w.words[n.slot:], uint32(len(w.words)/4))
		}
		queue = w.node(n, queue)
	}
	return root
}

func (w *treeWriter) put(n uint32) { w.words = binary.LittleEndian.AppendUint32(w.words, n) }

// A choice is a posting with what a node tells it apart by.
type choice struct {
	class   uint32
	key     uint64
	posting uint32
}

func (w *treeWriter) node(n pendingNode, queue []pendingNode) []pendingNode {
	if !n.root && len(n.postings) <= leafSize {
		w.put(kindLeaf | uint32(len(n.postings))<<8)
		for _, p := range n.postings {
			w.put(p)
		}
		return queue
	}
	kind := uint32(kindSides)
	if n.root {
		kind = kindGram
	}
	var choices []choice
	for _, p := range n.postings {
		b, noCase := w.content(p >> offsetBits)
		choices = append(choices, w.choose(p, b, noCase, n))
	}
	slices.SortFunc(choices, func(x, y choice) int {
		return cmp.Or(cmp.Compare(x.class, y.class), cmp.Compare(x.key, y.key), cmp.Compare(x.posting, y.posting))
	})
	head := len(w.words)
	w.put(0)
	classes := uint32(0)
	for len(choices) > 0 {
		class := choices[0].class
		size := slices.IndexFunc(choices, func(c choice) bool { return c.class != class })
		if size < 0 {
			size = len(choices)
		}
		queue = w.class(choices[:size], n, queue)
		choices = choices[size:]
		classes++
	}
	binary.LittleEndian.PutUint32(w.words[head:], kind|classes<<8)
	return queue
}

// choose finds class and key of a posting in a node.
func (w *treeWriter) choose(p uint32, b []byte, noCase bool, n pendingNode) choice {
	at := int(p % (1 << offsetBits))
	c := choice{posting: p}
	if noCase {
		c.class = foldClass
	}
	if n.root {
		var eight [8]byte
		copy(eight[:], b[at:at+w.q])
		c.key = load64(eight[:]) ^ hiddenAll
		return c
	}
	d := n.side
	d.a, d.b = min(4, at-d.left), min(4, len(b)-at-w.q-d.right)
	c.class |= uint32(d.a<<4 | d.b)
	c.key = contextKey(b, at, w.q, d) ^ hiddenAll
	return c
}

// class writes the sorted keys of one class, and queues what stands under each.
func (w *treeWriter) class(choices []choice, n pendingNode, queue []pendingNode) []pendingNode {
	class := choices[0].class
	w.put(class)
	count := len(w.words)
	w.put(0)
	keys := uint32(0)
	d := n.side
	d.a, d.b = int(class>>4&15), int(class&15)
	for i := 0; i < len(choices); {
		key := choices[i].key
		var under []uint32
		for ; i < len(choices) && choices[i].key == key; i++ {
			under = append(under, choices[i].posting)
		}
		w.put(uint32(key))
		w.put(uint32(key >> 32))
		queue = append(queue, pendingNode{postings: under, side: d.next(), slot: len(w.words)})
		w.put(0)
		keys++
	}
	binary.LittleEndian.PutUint32(w.words[count:], keys)
	return queue
}

const keySize = 12 // key and place of the node under it

// checkTree follows the tree that begins at this word of t's nodes and returns where it ends.
func (s *Set) checkTree(t *tier, at int) (end int, ok bool) {
	type named struct {
		at    int
		depth int
	}
	queue := []named{{at: at}}
	words := len(t.nodes) / 4
	word := func(i int) uint32 { return load32(t.nodes[4*i:]) }
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if n.at != at || at >= words {
			return 0, false
		}
		kind, count := word(at)&0xff, int(word(at)>>8)
		at++
		switch {
		case kind == kindLeaf:
			if count == 0 || count > words-at {
				return 0, false
			}
			for range count {
				if !s.posting(t, word(at)) {
					return 0, false
				}
				at++
			}
		case kind > kindSides || (kind == kindGram) != (n.depth == 0) || count == 0 || n.depth > MaxLiteral+1:
			return 0, false
		default:
			for range count {
				if words-at < 2 {
					return 0, false
				}
				class, keys := word(at), int(word(at+1))
				at += 2
				a, b := class>>4&15, class&15
				if class >= 2*foldClass || a > 4 || b > 4 || a|b != 0 && kind == kindGram || keys == 0 || keys > (words-at)/(keySize/4) {
					return 0, false
				}
				for range keys {
					queue = append(queue, named{at: int(word(at + 2)), depth: n.depth + 1})
					at += keySize / 4
				}
			}
		}
	}
	return at, true
}
