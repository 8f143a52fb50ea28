package urlhash

import (
	"crypto/sha256"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// MaxExpressions is the most expressions of a URL: five hosts with six paths each.
const MaxExpressions = 30

// shorter is the most hosts beside the exact one, and the most paths beside the exact ones.
const shorter = 4

// maxPort is the highest port that TCP has.
const maxPort = "65535"

// Expressions are those of the URL, the most specific first: all paths of the exact host, then those of the next shorter one.
func (u URL) Expressions() []string {
	var all []string
	u.each(func(host, path string) { all = append(all, host+path) })
	return all
}

// Hashes are those of [URL.Expressions], in the same order.
func (u URL) Hashes() []Hash {
	var all []Hash
	var expression []byte
	u.each(func(host, path string) {
		expression = append(append(expression[:0], host...), path...)
		all = append(all, sha256.Sum256(expression))
	})
	return all
}

func (u URL) each(f func(host, path string)) {
	if u.host == "" {
		return
	}
	paths := u.paths()
	for _, host := range u.hosts() {
		for _, path := range paths {
			f(host, path)
		}
	}
}

func (u URL) hosts() []string {
	all := []string{u.host}
	if u.address {
		return all
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(u.host)
	if err != nil {
		return all // a public suffix itself
	}
	for start := len(u.host) - len(domain); start > 0 && len(all) <= shorter; {
		all = append(all, u.host[start:])
		start = strings.LastIndexByte(u.host[:start-1], '.') + 1
	}
	slices.Reverse(all[1:])
	return all
}

func (u URL) paths() []string {
	var all []string
	if len(u.query) > len("?") {
		all = append(all, u.path+u.query)
	}
	all = append(all, u.path)
	exact := len(all)
	for i := 0; len(all)-exact < shorter; {
		n := strings.IndexByte(u.path[i:], '/') + 1
		if i += n; n == 0 || i == len(u.path) {
			break
		}
		all = append(all, u.path[:i])
	}
	slices.Reverse(all[exact:])
	return all
}

// ParseEntry gives the expression that a line of a .urls source lists: for a URL that of its exact path with its query, if it
// has one; for a domain or an address its root, which stands for all that is there. Spaces around it do not count. What
// no look-up would find, what says less or more than its writer means, and what no program could ask for is an error of type [Error]: it is stricter
// than [Canonicalize], which must answer for whatever a browser takes.
func ParseEntry(line string) (expression string, err error) {
	line = strings.Trim(line, " ")
	switch {
	case strings.ContainsAny(line, "\t\r\n"):
		return "", errLine // Canonicalize would join what stands around it
	case trimmed(line) != line:
		return "", errControl
	case strings.Contains(line, "#"):
		return "", errFragment // without it, the line may stand for a whole site
	}
	u, port, err := canonicalize(line)
	if err != nil {
		return "", err
	}
	if digits := strings.TrimLeft(port, "0"); len(digits) > len(maxPort) || len(digits) == len(maxPort) && digits > maxPort {
		return "", errPortHigh
	}
	if u.query == "?" {
		u.query = ""
	}
	if !u.address {
		if err := u.checkDomain(!strings.ContainsAny(line, `/\?`)); err != nil {
			return "", err
		}
	}
	return u.host + u.path + u.query, nil
}

// checkDomain refuses what a slip of the pen makes of a line; bare tells that the line is a domain and not a URL.
func (u URL) checkDomain(bare bool) error {
	if strings.IndexFunc(u.host, func(r rune) bool { return !isLetter(byte(r)) && !isDigit(byte(r)) && !strings.ContainsRune("-_.", r) }) >= 0 {
		return errHostName
	}
	if !strings.Contains(u.host, ".") {
		return errNoDot
	}
	switch suffix, registry := publicsuffix.PublicSuffix(u.host); {
	case suffix != u.host || u.path+u.query != "/":
	case registry:
		return errRegistry
	case bare:
		return errBareZone
	}
	return nil
}
