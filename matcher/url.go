package matcher

import (
	"encoding/hex"
	"fmt"
	"runtime/debug"

	"example.org/avdb/dbformat"
	"example.org/avdb/urlhash"
)

// LookupURL answers for a URL: all of its expressions are looked up among the signatures of URLs, the most specific first, and nowhere
// else. With the rest layer the first expression that is listed makes it malicious, by the signature's name; with light alone the
// first whose prefix is listed makes it suspected, by the name "Prefix.URL." and the prefix in hex. Result.SHA256 is the hash of that expression,
// Result.Size is -1. Names that the generation ignores do not count. Options.Overrides and Options.Cloud, which are about
// files, are not asked.
//
// The error is the result's Err, or matches [ErrInput]: the zero URL, which [urlhash.Canonicalize] gives beside an error, is no clean one. A look-up
// that finds nothing allocates nothing but the URL's hashes.
func (e *Engine) LookupURL(u urlhash.URL) (r Result, err error) {
	err = e.lookupURL(u.Hashes(), &r)
	return r, err
}

// LookupURL is [Engine.LookupURL] over the generation in use.
func (m *Matcher) LookupURL(u urlhash.URL) (r Result, err error) {
	hashes := u.Hashes()
	m.follow()
	g := m.hold()
	if g == nil {
		return failed("", ErrClosed), ErrClosed
	}
	defer g.release()
	err = g.engine.lookupURL(hashes, &r)
	return r, err
}

// lookupURL answers for the URL that has these hashes.
func (e *Engine) lookupURL(hashes []urlhash.Hash, r *Result) error {
	if len(hashes) == 0 {
		err := fmt.Errorf("%w: a URL without a host", ErrInput)
		*r = failed("", err)
		return err
	}
	r.Verdict, r.Source, r.Size = Clean, SourceLocal, anySize
	if e.urls == nil {
		return nil
	}
	var t tally
	if at := e.matchURL(hashes, &t); at >= 0 {
		f := t.found[dbformat.SHA256]
		r.Verdict, r.Name, r.Signature, r.SHA256 = f.verdict, f.name, f.section.String(), hex.EncodeToString(hashes[at][:])
	}
	if t.err != nil {
		err := t.err
		e.hurt.CompareAndSwap(nil, &err)
		r.fail(err)
	}
	return r.Err
}

// matchURL asks the section of URLs for each hash until one is malicious. It leaves what was found, if anything, in t, and gives the place of its
// hash, else -1. Like match it is where mapped bytes are touched.
func (e *Engine) matchURL(hashes []urlhash.Hash, t *tally) (at int) {
	at = -1
	defer guardTally(debug.SetPanicOnFault(true), t)
	s, o := e.urls, object{size: anySize}
	for i := range hashes {
		sum := hashes[i][:]
		key := keyOf(sum, s.p)
		l := e.index.line(s.lines.first + bucketOf(key, s.lines.count))
		if l != nil && !mayHold(l, tagOf(key, s.p)) {
			continue
		}
		var one tally
		s.near(&question{o: &o, sum: sum, key: key, t: &one, ignore: &e.ignore}, l)
		if one.err != nil {
			t.fail(one.err)
		}
		if f := one.found[dbformat.SHA256]; f.verdict.Rank() > t.found[dbformat.SHA256].verdict.Rank() {
			at, t.found[dbformat.SHA256], t.met = i, f, one.met
		}
		if t.found[dbformat.SHA256].verdict == Malicious {
			break
		}
	}
	return at
}

// WithURLPrefixes is [Engine.WithPrefixes] for the signatures of URLs: it visits every one whose hash, the SHA-256 of an expression, has these first
// bits. Records of files, allow records among them, have nothing to do with it; sizes are dbformat.AnySize.
func (e *Engine) WithURLPrefixes(bits uint8, values []uint32, visit func(at int, k Known) bool) error {
	if e.urls == nil {
		return e.checkPrefixes(bits, values)
	}
	return e.withPrefixes(prefix{e: e, bits: bits}, values, visit, e.urls)
}

// WithURLPrefixes is [Engine.WithURLPrefixes] over the generation in use, and says of which release that is.
func (m *Matcher) WithURLPrefixes(bits uint8, values []uint32, visit func(at int, k Known) bool) (release uint64, err error) {
	m.follow()
	g := m.hold()
	if g == nil {
		return 0, ErrClosed
	}
	defer g.release()
	return g.version(), g.engine.WithURLPrefixes(bits, values, visit)
}

// URLs is how many records [Engine.WithURLPrefixes] has to give, those that it leaves out among them.
func (e *Engine) URLs() uint64 {
	if e.urls == nil {
		return 0
	}
	return e.urls.rows
}

// URLs is [Engine.URLs] of the generation in use; 0 after Close.
func (m *Matcher) URLs() uint64 {
	m.follow()
	g := m.hold()
	if g == nil {
		return 0
	}
	defer g.release()
	return g.engine.URLs()
}

// tryURL looks the URL of a vector up, as tryVector matches a file.
func (e *Engine) tryURL(content []byte) (Verdict, *tally, error) {
	var t tally
	u, err := urlhash.Canonicalize(string(content))
	if err != nil {
		return Failed, &t, err
	}
	if e.urls != nil {
		e.matchURL(u.Hashes(), &t)
	}
	return t.decide().verdict, &t, t.err
}
