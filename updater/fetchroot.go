package updater

import (
	"context"
	"runtime"

	"example.org/avdb/signing"
)

// FetchRoot gets the first root, metadata/1.root.json, of at most signing.MaxRoot bytes, from a source that is not trusted yet: the caller holds it
// against a fingerprint that came another way. Secrets in the environment are read by getenv; nil means os.Getenv. Errors are those of a source: [ErrUnavailable], [ErrCoolDown] or,
// for a file that is too long, signing.ErrUntrusted.
func FetchRoot(ctx context.Context, s Source, getenv func(string) string) ([]byte, error) {
	r, err := OpenRemote(s, RemoteConfig{Getenv: getenv})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Fetch(ctx, "1.root.json", signing.MaxRoot)
}

func defaultAgent() string { return "avdb/1 (" + runtime.GOOS + "; " + runtime.GOARCH + ")" }
