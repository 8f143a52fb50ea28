// Package exchange stands between go-tuf and everything else: the source, the disk and the bytes that go-tuf would give way to.
//
// It promises that go-tuf opens no socket and writes no file, that it is given no document before its client has checked the shape
// ([Tree], [Shape]) and its length, none twice, and that a panic of go-tuf or of a fetcher is an error. What a document may look like, where it comes
// from and what is kept of it is its client's to say: package signing says it strictly for what avdb publishes, the conformance program
// loosely for whatever TUF allows.
package exchange

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

// A Client is whom an [Exchange] asks. Its methods are called from one goroutine. Errors of theirs end the exchange and are found again by
// errors.As in what it returns.
type Client interface {
	// Begin is called before a document is fetched, version 0 where the file's name has none. With the first role that is not root, all roots
	// are verified. What it returns, unless nil, is used in place of the source's bytes and goes through Check like them.
	Begin(role string, version uint64) ([]byte, error)

	// Fetch gets a file of the source by its name below metadata/. For a file longer than max it may give any max+1 bytes. It matches
	// [ErrMissing] for a root that the source does not have.
	Fetch(name string, max int64) ([]byte, error)

	// Check tells whether go-tuf may see a document, whose length was checked. Nothing in it is verified yet.
	Check(role string, version uint64, b []byte) error

	// Limit is the greatest length of a role's document in bytes.
	Limit(role string) int64
}

// ErrMissing is matched by what [Client.Fetch] gives for a root that is not there: how the walk over the roots ends.
var ErrMissing = errors.New("no such root")

// A Kind says what an exchange itself refuses.
type Kind int

// The kinds.
const (
	TooLong  Kind = iota + 1 // above the limit of the role or the length that was signed
	Unknown                  // a file name that is no role's
	Internal                 // go-tuf gave way, or asked for something twice
)

// An Error is what an exchange itself refuses, whatever its client allows.
type Error struct {
	Role    string
	Version uint64
	Kind    Kind
	Detail  string
}

func (e *Error) Error() string { return e.Role + ": " + e.Detail }

// A FetchError is what [Client.Fetch] returned: it says nothing about trust.
type FetchError struct {
	Name string
	Err  error
}

func (e *FetchError) Error() string { return "fetch " + e.Name + ": " + e.Err.Error() }

// Unwrap is the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// Options say what an exchange starts from.
type Options struct {
	Root           []byte // verified newest root
	Folder         string // where go-tuf looks for documents that were verified before, each ROLE.json; a path below a file for none
	MaxRoots       int64  // roots that one exchange walks
	MaxDelegations int    // roles that one look-up visits
}

// sourceBase stands for the source in the names that go-tuf makes. Nothing resolves it.
const sourceBase = "https://source.invalid/metadata/"

// An Exchange is one refresh and what is looked up after it, with one go-tuf Updater. It is for one goroutine.
type Exchange struct {
	client Client
	tuf    *updater.Updater
	last   string
	seen   map[string]bool
	failed *FetchError
}

// Run makes an exchange and lets do use it. A panic in it becomes an [Error]. The exchange is never nil; it has no [Exchange.Trusted] when the root
// is not good.
func Run(c Client, o Options, do func(*Exchange) error) (*Exchange, error) {
	x := &Exchange{client: c, last: metadata.ROOT, seen: map[string]bool{}}
	err := Contain(&x.last, func() error {
		var err error
		// A literal instead of config.New, which would make go-tuf's own HTTP client. The local folder is given although the cache is off:
		// go-tuf still reads one, by default the working folder.
		x.tuf, err = updater.New(&config.UpdaterConfig{
			MaxRootRotations: o.MaxRoots, MaxDelegations: o.MaxDelegations,
			RootMaxLength: c.Limit(metadata.ROOT), TimestampMaxLength: c.Limit(metadata.TIMESTAMP),
			SnapshotMaxLength: c.Limit(metadata.SNAPSHOT), TargetsMaxLength: c.Limit(metadata.TARGETS),
			Fetcher: x, LocalTrustedRoot: o.Root, LocalMetadataDir: o.Folder,
			RemoteMetadataURL: sourceBase, DisableLocalCache: true,
		})
		if err != nil {
			return err
		}
		return do(x)
	})
	if x.failed != nil {
		return x, x.failed
	}
	return x, err
}

// Contain runs code of go-tuf and turns a panic into an [Error] about the role: its verifiers give way to some shapes, and the next version may to others.
func Contain(role *string, do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Role: *role, Kind: Internal, Detail: fmt.Sprint("the verifier gave way: ", p)}
		}
	}()
	return do()
}

// Refresh walks the roots, then timestamp, snapshot and targets. Once an exchange.
func (x *Exchange) Refresh() error { return x.tuf.Refresh() }

// Lookup walks the delegations to the role that names a target and gives what it says of it.
func (x *Exchange) Lookup(path string) (*metadata.TargetFiles, error) {
	return x.tuf.GetTargetInfo(path)
}

// At sets the moment at which go-tuf judges expiry from here on; at the zero time nothing has expired.
func (x *Exchange) At(t time.Time) { x.tuf.UnsafeSetRefTime(t) }

// Last is the role that go-tuf was given last: the one that an error is about.
func (x *Exchange) Last() string { return x.last }

// About says that the next error is about another role.
func (x *Exchange) About(role string) { x.last = role }

// Trusted is what go-tuf has verified so far; false before it has verified the root.
func (x *Exchange) Trusted() (trustedmetadata.TrustedMetadata, bool) {
	if x.tuf == nil {
		return trustedmetadata.TrustedMetadata{}, false
	}
	return x.tuf.GetTrustedMetadataSet(), true
}

// DownloadFile is what go-tuf calls for every document that is not in its folder. The path of its URL is the name of the file.
func (x *Exchange) DownloadFile(address string, limit int64, _ time.Duration) ([]byte, error) {
	name, ours := strings.CutPrefix(address, sourceBase)
	role, version, good := "", uint64(0), false
	if ours {
		role, version, good = x.splitName(name)
	}
	if !good {
		return nil, &Error{Role: metadata.TARGETS, Kind: Unknown, Detail: fmt.Sprintf("leads to the unknown role file %.64q", name)}
	}
	if role != metadata.ROOT && x.seen[role] {
		return nil, &Error{Role: role, Kind: Internal, Detail: "asked for twice"}
	}
	b, err := x.client.Begin(role, version)
	if err != nil {
		return nil, err
	}
	x.last = role
	limit = min(limit, x.client.Limit(role))
	if b == nil {
		b, err = x.fetch(name, limit)
		if role == metadata.ROOT && errors.Is(err, ErrMissing) {
			return nil, &metadata.ErrDownloadHTTP{StatusCode: http.StatusNotFound, URL: name}
		}
		if err != nil {
			x.failed = &FetchError{name, err}
			return nil, x.failed
		}
	}
	if int64(len(b)) > limit {
		return nil, &Error{Role: role, Version: version, Kind: TooLong, Detail: fmt.Sprintf("more than %d bytes", limit)}
	}
	if err := x.client.Check(role, version, b); err != nil {
		return nil, err
	}
	x.seen[role] = true
	return b, nil
}

// fetch keeps a panic of the fetcher apart from those of the verifier: it says nothing about trust.
func (x *Exchange) fetch(name string, limit int64) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the fetcher gave way: %v", p)
		}
	}()
	return x.client.Fetch(name, limit)
}

// splitName takes apart "timestamp.json", "N.root.json" and, as the root says, "N.ROLE.json" or "ROLE.json".
func (x *Exchange) splitName(name string) (role string, version uint64, ok bool) {
	role, ok = strings.CutSuffix(name, ".json")
	if !ok {
		return "", 0, false
	}
	n, rest, _ := strings.Cut(role, ".")
	if role != metadata.TIMESTAMP && (rest == metadata.ROOT || x.tuf.GetTrustedMetadataSet().Root.Signed.ConsistentSnapshot) {
		v, err := strconv.ParseUint(n, 10, 53)
		if err != nil {
			return "", 0, false
		}
		role, version = rest, v
	}
	role, err := url.PathUnescape(role)
	return role, version, err == nil && role != ""
}
