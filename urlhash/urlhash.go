package urlhash

import (
	"crypto/sha256"
	"strings"
)

// MaxURL is the most bytes of a URL, as it is written and in its canonical form. Servers take 8 to 16 KiB, and a line of a
// source has at most as much.
const MaxURL = 64 << 10

// A URL is the canonical form of a URL. Only [Canonicalize] makes one; the zero URL has no expressions. URLs are equal if
// their canonical forms are.
type URL struct {
	scheme  string
	host    string
	path    string // begins with a slash
	query   string // with its question mark, or empty
	address bool   // host is an IP address
}

// String is the canonical form with its scheme, "" for the zero URL.
func (u URL) String() string {
	if u.host == "" {
		return ""
	}
	return u.scheme + "://" + u.host + u.path + u.query
}

// Canonicalize gives the canonical form of a URL; a host alone is one as well. Errors are of type [Error].
func Canonicalize(raw string) (URL, error) {
	u, _, err := canonicalize(raw)
	return u, err
}

// canonicalize gives the port as well: digits, as many as there are, or nothing.
func canonicalize(raw string) (u URL, port string, err error) {
	if len(raw) > MaxURL {
		return URL{}, "", errLong
	}
	scheme, rest, err := cutScheme(cleaned(raw))
	if err != nil {
		return URL{}, "", err
	}
	end := strings.IndexAny(rest, `/\?`)
	if end < 0 {
		end = len(rest)
	}
	host, port, err := cutHost(rest[:end], scheme != "")
	if err != nil {
		return URL{}, "", err
	}
	u = URL{scheme: scheme}
	if scheme == "" {
		u.scheme = "http"
	}
	if u.host, u.address, err = canonicalHost(host); err != nil {
		return URL{}, "", err
	}
	u.path, u.query = canonicalPath(rest[end:])
	if len(u.scheme)+len("://")+len(u.host)+len(u.path)+len(u.query) > MaxURL {
		return URL{}, "", errLong
	}
	return u, port, nil
}

// cleaned is raw without what never counts: tabs and line ends, blanks at both ends, the fragment.
func cleaned(raw string) string {
	if strings.ContainsAny(raw, "\t\r\n") {
		raw = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(raw)
	}
	text, _, _ := strings.Cut(trimmed(raw), "#")
	return text
}

// trimmed is s without the blanks and control characters at both ends.
func trimmed(s string) string {
	for len(s) > 0 && s[0] <= ' ' {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1] <= ' ' {
		s = s[:len(s)-1]
	}
	return s
}

// cutScheme splits off the scheme and the slashes behind it. The scheme is "" if there is none.
func cutScheme(text string) (scheme, rest string, err error) {
	end := 0
	for end < len(text) && (isLetter(text[end]) || isDigit(text[end]) || strings.IndexByte("+-.", text[end]) >= 0) {
		end++
	}
	if end == 0 || end == len(text) || text[end] != ':' {
		// A scheme that is escaped with the rest leads nowhere in a browser, but people have it in their lists.
		if scheme, rest, ok := cutKnown(unescape(text)); ok {
			return scheme, rest, nil
		}
		return "", text, nil
	}
	if scheme, rest, ok := cutKnown(text); ok {
		return scheme, rest, nil
	}
	switch strings.ToLower(text[:end]) {
	case "http", "https", "ftp":
		return "", "", errSlashes
	}
	// What looks like a scheme may be a host before its port.
	port := text[end+1:]
	if i := strings.IndexAny(port, `/\?`); i >= 0 {
		port = port[:i]
	}
	if port == "" || !isNumber(port) {
		return "", "", errScheme
	}
	return "", text, nil
}

// cutKnown splits off one of the schemes that we know, with the two slashes behind it.
func cutKnown(text string) (scheme, rest string, ok bool) {
	for _, scheme := range [...]string{"http", "https", "ftp"} {
		n := len(scheme)
		if len(text) >= n+3 && strings.EqualFold(text[:n], scheme) && text[n] == ':' && isSlash(text[n+1]) && isSlash(text[n+2]) {
			return scheme, text[n+3:], true
		}
	}
	return "", "", false
}

// cutHost is the host between user and port, and the port.
func cutHost(authority string, hasScheme bool) (host, port string, err error) {
	host = authority[strings.LastIndexByte(authority, '@')+1:]
	end := strings.IndexByte(host, ':')
	if strings.HasPrefix(host, "[") {
		end = strings.IndexByte(host, ']')
		if end++; end == 0 {
			return "", "", errIPv6
		} else if end == len(host) {
			end = -1
		}
	}
	if end < 0 {
		return host, "", nil
	}
	port = host[end:]
	if port[0] != ':' || !isNumber(port[1:]) || !hasScheme && port == ":" {
		return "", "", errPort
	}
	return host[:end], port[1:], nil
}

// canonicalPath splits what follows the host into path and query.
func canonicalPath(rest string) (path, query string) {
	path, query, hasQuery := strings.Cut(unescape(rest), "?")
	if hasQuery {
		query = "?" + escape(query)
	}
	return escape(resolved(strings.ReplaceAll(path, `\`, "/"))), query
}

// resolved is a path, or nothing, without dot segments and with single slashes. As the rules have it, /../ takes the segment
// before it away even if that is empty, and only then are runs of slashes joined.
func resolved(path string) string {
	if path == "/" || path == "" {
		return "/"
	}
	segments := strings.Split(path[1:], "/")
	last := segments[len(segments)-1]
	kept := segments[:0]
	for _, s := range segments {
		switch s {
		case ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, s)
		}
	}
	var b strings.Builder
	b.Grow(len(path))
	for _, s := range kept {
		if s != "" {
			b.WriteByte('/')
			b.WriteString(s)
		}
	}
	if last == "" || last == "." || last == ".." || b.Len() == 0 {
		b.WriteByte('/')
	}
	return b.String()
}

// unescape undoes escapes until there are none. What an escape becomes can be part of the next one, but no two escapes
// overlap, so the order does not matter, and one look at the last three bytes after each byte is enough.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		b = append(b, s[i])
		for n := len(b); n >= 3 && b[n-3] == '%' && isHex(b[n-2]) && isHex(b[n-1]); n = len(b) {
			b = append(b[:n-3], hexValue(b[n-2])<<4|hexValue(b[n-1]))
		}
	}
	return string(b)
}

// escape writes what must not stand in a canonical form as %XX.
func escape(s string) string {
	n := 0
	for i := range len(s) {
		if isEscaped(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; isEscaped(c) {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func isEscaped(c byte) bool { return c <= ' ' || c >= 0x7f || c == '#' || c == '%' }
func isSlash(c byte) bool   { return c == '/' || c == '\\' }
func isDigit(c byte) bool   { return '0' <= c && c <= '9' }
func isLetter(c byte) bool  { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isHex(c byte) bool     { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// hexValue is the value of a hex digit.
func hexValue(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// isNumber tells whether there are digits only, or nothing.
func isNumber(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// A Hash is the SHA-256 of an expression.
type Hash [sha256.Size]byte

// HashOf is the hash of an expression, as [URL.Expressions] and [ParseEntry] give them.
func HashOf(expression string) Hash { return sha256.Sum256([]byte(expression)) }
