package updater

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"example.org/avdb/signing"
)

// FetchRoot gets the first root, metadata/1.root.json, of at most signing.MaxRoot bytes, from a source that is not trusted yet: the caller holds it
// against a fingerprint that came another way. Secrets in the environment are read by getenv; nil means os.Getenv. Errors are those of a source: [ErrUnavailable], [ErrCoolDown] or,
// for a file that is too long, signing.ErrUntrusted.
func FetchRoot(ctx context.Context, s Source, getenv func(string) string) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if getenv == nil {
		getenv = os.Getenv
	}
	a, err := s.resolve(getenv)
	if err != nil {
		return nil, err
	}
	var src source
	if a.url.Scheme == "file" {
		src = newFileSource(a.url, new(traffic))
	} else {
		m := newMeter(a, Limits{}.withDefaults(), nil, new(traffic))
		src = newHTTPSource(s.Name(), m, "", defaultAgent(), time.Now, rand.Float64)
	}
	defer src.close()
	b, err := src.Fetch(ctx, "1.root.json", signing.MaxRoot)
	return b, a.hideErr(err)
}

func defaultAgent() string { return "avdb/1 (" + runtime.GOOS + "; " + runtime.GOARCH + ")" }
