// Command conformance is a TUF client for tests only: it speaks the command line of the public tuf-conformance suite on the exchange that
// avdb's own client uses, so that what stands between go-tuf and a source is tested against whatever TUF allows.
//
//	conformance --metadata-dir DIR init ROOT
//	conformance --metadata-dir DIR --metadata-url URL refresh
//	conformance --metadata-dir DIR --metadata-url URL download --target-name N --target-dir DIR --target-base-url URL
//
// Flags stand before or after the command. --target-name may be repeated; targets are fetched in that order, up to the first that fails. The time
// comes by --now (RFC 3339), without it from the clock. It exits with 0 when everything was done and with 1 otherwise. The suite sets the time by
// faketime, which a Go program does not see and date does; so its entry point is a script that ends in
//
//	exec conformance --now "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$@"
//
// The profile is looser than the product's where TUF is: keys of any kind that go-tuf verifies, any delegations, roles and target paths of
// any name, no hashes or lengths in snapshot, several hashes for a target, documents without versions in their names. Nothing of a
// repository becomes a path on disk but by an encoding that keeps it one name.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// names is a flag that may be repeated.
type names []string

func (n *names) String() string { return strings.Join(*n, " ") }

// Set is part of flag.Value.
func (n *names) Set(s string) error {
	*n = append(*n, s)
	return nil
}

func run(ctx context.Context, args []string, log io.Writer) error {
	var targets names
	fs := flag.NewFlagSet("conformance", flag.ContinueOnError)
	fs.SetOutput(log)
	dir := fs.String("metadata-dir", "", "folder of trusted metadata")
	metadataURL := fs.String("metadata-url", "", "where the metadata is")
	targetDir := fs.String("target-dir", "", "folder of downloaded targets")
	targetURL := fs.String("target-base-url", "", "where the targets are")
	now := fs.String("now", "", "the time (RFC 3339)")
	fs.Var(&targets, "target-name", "target to download; repeatable")
	var words []string
	for len(args) > 0 {
		if err := fs.Parse(args); err != nil {
			return err
		}
		if args = fs.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	c := &client{dir: *dir, now: time.Now(), source: source{ctx: ctx, base: *metadataURL, http: newHTTP()}}
	if *now != "" {
		var err error
		if c.now, err = time.Parse(time.RFC3339, *now); err != nil {
			return err
		}
	}
	switch {
	case *dir == "":
		return errors.New("--metadata-dir is missing")
	case len(words) == 2 && words[0] == "init":
		return c.init(words[1])
	case len(words) == 1 && *metadataURL == "":
		return errors.New("--metadata-url is missing")
	case len(words) == 1 && words[0] == "refresh":
		return c.refresh()
	case len(words) == 1 && words[0] == "download" && len(targets) > 0 && *targetDir != "" && *targetURL != "":
		for _, name := range targets {
			if err := c.download(name, *targetDir, *targetURL); err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
		}
		return nil
	}
	return errors.New("want init ROOT, refresh, or download with --target-name, --target-dir and --target-base-url")
}

// newHTTP asks the source itself, whatever the environment says, and follows nothing.
func newHTTP() *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
