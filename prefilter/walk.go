package prefilter

// A walk goes through a tree with the bytes around a gram.
type walk struct {
	*tier
	text  []byte
	end   int // of the stream in text
	at    int // where the gram stands
	found []place
	steps uint64
	left  int // words that the walk may still read: in a tree it reads none twice, in what is damaged it would never end
}

// down appends the postings of a tree that the bytes around the gram leave over, from the node at this word on. It panics if that is no tree: nodes
// follow those that name them, and there are no more under each other than a literal has bytes.
func (w *walk) down(node int, d side, depth int) {
	w.steps++
	words := w.nodes[4*node:]
	head := load32(words)
	kind, count := head&0xff, int(head>>8)
	words = words[4:]
	if w.spend(1 + count); depth > MaxLiteral+1 {
		panic(broken("a tree has no end"))
	}
	if kind == kindLeaf {
		for i := range count {
			w.found = append(w.found, place{at: uint32(w.at), posting: load32(words[4*i:])})
		}
		return
	}
	for range count {
		class, keys := load32(words), int(load32(words[4:]))
		table := words[8 : 8+keys*keySize]
		words = words[8+keys*keySize:]
		d.a, d.b = int(class>>4&15), int(class&15)
		if w.at-d.left-d.a < 0 || w.at+w.q+d.right+d.b > w.end {
			continue
		}
		var key uint64
		if kind == kindGram {
			key = load64(w.text[w.at:]) & w.keep
		} else {
			key = contextKey(w.text, w.at, w.q, d)
		}
		if class&foldClass != 0 {
			key = lower(key)
		}
		if under, ok := findKey(table, key^hiddenAll); ok {
			if int(under) <= node {
				panic(broken("a node stands before the one that names it"))
			}
			w.down(int(under), d.next(), depth+1)
		}
	}
}

func (w *walk) spend(words int) {
	if w.left -= words; w.left < 0 {
		panic(broken("a tree names a node twice"))
	}
}

// findKey searches the sorted keys of a class for the node under one of them.
func findKey(table []byte, key uint64) (node uint32, ok bool) {
	low, high := 0, len(table)/keySize
	for low < high {
		middle := (low + high) / 2
		switch k := load64(table[middle*keySize:]); {
		case k < key:
			low = middle + 1
		case k > key:
			high = middle
		default:
			return load32(table[middle*keySize+8:]), true
		}
	}
	return 0, false
}
