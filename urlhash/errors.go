package urlhash

// An Error says why a text is no URL that can be checked, or no entry of a list. There are few of them and none quotes its
// input, so that a list of millions of rejects holds no text of its own; who reports one names the place.
type Error string

// Error is the reason.
func (e Error) Error() string { return string(e) }

const (
	errLong     Error = "URL is longer than 65536 bytes, as it is written or in its canonical form: try it without its query"
	errScheme   Error = "URL has another scheme than http, https and ftp, or its port is no number"
	errSlashes  Error = "scheme is not followed by //"
	errNoHost   Error = "URL has no host"
	errPort     Error = "port is no number"
	errHostLong Error = "host is longer than 253 bytes, or a label of it than 63"
	errHostChar Error = "host holds a NUL or one of / \\ ? @ : [ ]"
	errHostIDN  Error = "host is no valid internationalised domain name"
	errIPv4     Error = "host ends in a number and is no IPv4 address"
	errIPv6     Error = "host in brackets is no IPv6 address"
	errLine     Error = "line holds a tab or a line end: write one URL or domain a line, without further columns"
	errControl  Error = "line begins or ends with a control character: only spaces may stand around a URL"
	errPortHigh Error = "port is above 65535"
	errFragment Error = "line holds a fragment, which no look-up sees: leave it out, or write %23 for a # that is meant"
	errHostName Error = "host has something else than letters, digits, - and _: write one URL or domain a line, without wildcards"
	errNoDot    Error = "host is neither an address nor a domain with a dot"
	errRegistry Error = "host is a registry's public suffix, below which strangers have their sites: list the sites"
	errBareZone Error = "domain is a public suffix, below which strangers have their sites: list the sites, or write DOMAIN/ for that very host"
)
