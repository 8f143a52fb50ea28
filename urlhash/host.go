package urlhash

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxWritten is the most bytes of a host before it is made canonical, when characters that are dropped may still stand in it:
// making Punycode takes the square of it.
const maxWritten = 2048

// The most bytes of a name and of a label that DNS can carry.
const (
	maxName  = 253
	maxLabel = 63
)

// profile is what browsers do to a name that is not ASCII.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false), idna.BidiRule())

// nat64 is the range of IPv6 addresses that stand for IPv4 addresses behind a translator (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// canonicalHost makes the host canonical and tells whether it is an IP address.
func canonicalHost(raw string) (host string, address bool, err error) {
	host = unescape(raw)
	if len(host) > maxWritten {
		return "", false, errHostLong
	}
	if strings.HasPrefix(host, "[") {
		host, err = canonicalIPv6(host)
		return host, err == nil, err
	}
	if host, err = toASCII(host); err != nil {
		return "", false, err
	}
	if strings.ContainsAny(host, "\x00/\\?@:[]") {
		return "", false, errHostChar
	}
	labels := strings.FieldsFunc(lower(host), func(r rune) bool { return r == '.' })
	if len(labels) == 0 {
		return "", false, errNoHost
	}
	if isIPv4Number(labels[len(labels)-1]) {
		a, ok := parseIPv4(labels)
		if !ok {
			return "", false, errIPv4
		}
		return a.String(), true, nil
	}
	for _, l := range labels {
		if len(l) > maxLabel {
			return "", false, errHostLong
		}
	}
	if host = strings.Join(labels, "."); len(host) > maxName {
		return "", false, errHostLong
	}
	return escape(host), false, nil
}

// toASCII makes Punycode of a name. Bytes that are not UTF-8 are no name of any kind, but the rules keep them. They are an error
// beside labels that are: those would have another form here than in a shorter host, without the bytes.
func toASCII(host string) (string, error) {
	if isASCII(host) {
		return host, nil
	}
	if utf8.ValidString(host) {
		name, err := profile.ToASCII(host)
		if err != nil || strings.IndexFunc(name, isForbidden) >= 0 {
			return "", errHostIDN
		}
		return name, nil
	}
	for label := range strings.SplitSeq(host, ".") {
		if !isASCII(label) && utf8.ValidString(label) {
			return "", errHostIDN
		}
	}
	return host, nil
}

// canonicalIPv6 reads an IPv6 address in brackets. A zone is an error: it has a meaning on one machine only.
func canonicalIPv6(host string) (string, error) {
	text, ok := strings.CutSuffix(host[1:], "]")
	if !ok {
		return "", errIPv6
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is6() || a.Zone() != "" {
		return "", errIPv6
	}
	if b := a.As16(); nat64.Contains(a) {
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if a = a.Unmap(); a.Is4() {
		return a.String(), nil
	}
	return "[" + a.String() + "]", nil
}

// isIPv4Number tells whether the last label of a host makes it an IPv4 address or an error, as browsers have it: no top-level
// domain is a number.
func isIPv4Number(label string) bool {
	if digits, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.IndexFunc(digits, func(r rune) bool { return r >= utf8.RuneSelf || !isHex(byte(r)) }) < 0
	}
	return isNumber(label)
}

// parseIPv4 reads the forms of inet_aton: one to four numbers, of which the last fills the bytes that are left.
// A number that is too large is no address; older software cuts it, and a slip of the pen would then list somebody else's address.
func parseIPv4(parts []string) (netip.Addr, bool) {
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, p := range parts {
		base := 10
		if digits, ok := strings.CutPrefix(p, "0x"); ok {
			base, p = 16, "0"+digits
		} else if p[0] == '0' {
			base = 8
		}
		n, err := strconv.ParseUint(p, base, 64)
		width := 8
		if i == len(parts)-1 {
			width = 8 * (4 - i)
		}
		if err != nil || n >= 1<<width {
			return netip.Addr{}, false
		}
		sum = sum<<width | n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

// lower makes ASCII letters small and leaves other bytes, which may be no UTF-8, as they are.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isForbidden tells of what no browser takes in a host.
func isForbidden(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`#%/:<>?@[\]^|`, r)
}
