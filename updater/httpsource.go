package updater

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/cavaliergopher/grab/v3"
	"github.com/hashicorp/go-retryablehttp"

	"example.org/avdb/osfile"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// An httpSource is a web server, bucket or CDN.
type httpSource struct {
	name      string
	url       *url.URL
	meter     *meter
	client    *retryablehttp.Client
	agent     string
	downloads string // the folder for partial files
	now       func() time.Time
}

// newHTTPSource makes a source of what its credentials came to; name is how it is called in errors.
func newHTTPSource(name string, m *meter, downloads, agent string, now func() time.Time, random func() float64) *httpSource {
	return &httpSource{name: name, url: m.access.url, meter: m, downloads: downloads, agent: agent, now: now,
		client: newClient(m, name, now, random)}
}

// newMeter makes the meter of a source; lent is the transport of the host program, nil for none.
func newMeter(a access, l Limits, lent http.RoundTripper, t *traffic) *meter {
	m := &meter{next: lent, elsewhere: lent, access: a, limits: l, traffic: t}
	if lent == nil {
		m.own = true
		m.next, m.elsewhere = newTransport(l, &m.access, a.tls), newTransport(l, &m.access, a.elsewhere)
	}
	return m
}

// Fetch gets a metadata file of at most limit bytes. A 404, and a 403 for a root (object stores answer so for what
// they do not have), matches [signing.ErrNotFound].
func (s *httpSource) Fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	return s.get(ctx, path.Join("metadata", name), limit)
}

func (s *httpSource) small(ctx context.Context, t signing.Target, limit int64) ([]byte, error) {
	if err := storable(s.name, t, limit); err != nil {
		return nil, err
	}
	b, err := s.get(ctx, path.Join("targets", t.Name()), t.Length)
	if err != nil {
		return nil, err
	}
	return b, checkBytes(s.name, t, b)
}

func (s *httpSource) close() { s.meter.CloseIdleConnections() }

// get reads a whole file into memory. The meter ends the body at its first byte above limit.
func (s *httpSource) get(ctx context.Context, name string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(withExchange(ctx, &exchange{length: limit, moved: new(hostPin)}),
		http.MethodGet, s.url.JoinPath(name).String(), nil)
	if err != nil {
		return nil, err
	}
	var b []byte
	for try := 0; ; try++ {
		var resp *http.Response
		if resp, err = s.do(req); err != nil {
			break
		}
		b, err = readAll(resp.Body, limit)
		if resp.StatusCode != http.StatusOK {
			err = s.status(name, resp.StatusCode)
		}
		resp.Body.Close()
		if err == nil || resp.StatusCode != http.StatusOK || !mayPass(err) || ctx.Err() != nil || try >= s.meter.limits.Resumes {
			break
		}
	}
	if err != nil {
		return nil, s.failed(ctx, name, err)
	}
	return b, nil
}

// do makes a request with retries. It is what grab takes for an HTTP client, too: an answer that asks to be
// left alone becomes a [CoolDownError] here, before grab reduces it to its status.
func (s *httpSource) do(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", s.agent)
	r, err := retryablehttp.FromRequest(req)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(r)
	if err == nil {
		if wait, ok := toldToWait(resp, s.now()); ok {
			err = coolDown(s.name, resp, wait, s.meter.limits, s.now())
		}
	}
	if err != nil {
		if resp != nil {
			io.Copy(io.Discard, resp.Body) // the meter gives no more than errorBody
			resp.Body.Close()
		}
		return nil, err
	}
	return resp, nil
}

// status is the error for an answer that is not what was asked for. Web servers answer 404 for what they do not have, object stores
// 403 where nobody may list them. So a 403 ends the walk over the roots; for the first file that every source has, the
// timestamp, it is about credentials; and for a target, after metadata was had, about that file.
func (s *httpSource) status(name string, code int) error {
	e := &SourceError{Source: s.name, File: name, Status: code, Reason: strings.ToLower(http.StatusText(code))}
	metadata := strings.HasPrefix(name, "metadata/")
	switch code {
	case http.StatusNotFound, http.StatusGone:
		if metadata {
			e.Err = signing.ErrNotFound
		} else {
			e.Reason = "unavailable there"
		}
	case http.StatusForbidden:
		switch {
		case strings.HasSuffix(name, ".root.json"):
			e.Err = signing.ErrNotFound
		case metadata:
			e.Reason, e.Remedy = s.refused()
		default:
			e.Reason = "unavailable there, or not for everybody"
		}
	case http.StatusUnauthorized:
		e.Reason, e.Remedy = s.refused()
	case http.StatusProxyAuthRequired:
		e.Reason, e.Remedy = proxyRefused, adviceProxy
	}
	return e
}

const (
	proxyRefused = "the proxy wants credentials"
	adviceProxy  = "name them with proxy_basic of the source"
)

// refused says what a source that lets nobody in may want.
func (s *httpSource) refused() (reason, remedy string) {
	if a := &s.meter.access; a.authorization != "" || len(a.tls.Certificates) > 0 {
		return "it refuses the credentials", "correct what basic, bearer or client_cert of the source refer to"
	}
	return "it wants credentials", "name them with basic, bearer or client_cert of the source in the config file"
}

// failed gives an error of the network its kind.
func (s *httpSource) failed(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errTooLong) {
		return &TargetError{Source: s.name, Target: name, Reason: "longer than it may be"}
	}
	if kindOf(err) != nil {
		return err
	}
	var u *url.Error
	if errors.As(err, &u) { // its text would repeat the address, credentials and all
		err = u.Err
	}
	e := &SourceError{Source: s.name, File: name, Err: err}
	switch text := err.Error(); { // for neither has the library a type
	case strings.HasSuffix(text, "tls: certificate required"):
		_, e.Remedy = s.refused()
	case text == http.StatusText(http.StatusProxyAuthRequired): // of a tunnel
		e.Reason, e.Remedy, e.Err = proxyRefused, adviceProxy, nil
	}
	return e
}

// open downloads a target with grab into the downloads folder, or goes on with what an earlier run left there,
// and gives it verified. A body that breaks off is resumed a few times; a partial file that turned out to be
// wrong is removed and the download starts over, once.
func (s *httpSource) open(ctx context.Context, t signing.Target, progress func(int64)) (*fetched, error) {
	if err := storable(s.name, t, MaxTarget); err != nil {
		return nil, err
	}
	// What is written here is never trusted for being there: a crash, or a power cut that keeps any part of it, leaves a partial
	// file under the name of the hash that it must get. The next run resumes it, finds out that it is wrong and starts it over, or
	// removes it where no plan needs it.
	file := filepath.Join(s.downloads, partialName(t))
	fresh, stuck := false, false
	for try := 0; ; try++ {
		before, err := prepare(file)
		if err != nil {
			return nil, err
		}
		err = s.grab(ctx, t, file, before, progress)
		var f *fetched
		if err == nil {
			f, err = s.verify(ctx, t, file)
		}
		if err == nil {
			return f, nil
		}
		if keepPartial(ctx, err) {
			if ctx.Err() != nil || !mayPass(err) || try >= s.meter.limits.Resumes {
				return nil, s.targetFailed(ctx, t, err)
			}
			// It moved on before it broke off. That a body breaks off before its first byte may happen once.
			if sizeOf(file) <= before {
				if stuck || !errors.Is(err, io.ErrUnexpectedEOF) {
					return nil, s.targetFailed(ctx, t, err)
				}
				stuck = true
			}
			continue
		}
		if rmErr := os.Remove(file); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
			return nil, storageError(file, "the partial file cannot be removed", rmErr)
		}
		// What was on disk may be the fault of another source, or of the disk.
		if before == 0 || fresh {
			return nil, s.targetFailed(ctx, t, err)
		}
		fresh = true
	}
}

// prepare looks at what is at the place of a partial file and tells its size. Whatever is no plain file there is
// removed, never followed: a link's target is none of our business.
func prepare(file string) (int64, error) {
	st, err := os.Lstat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, storageError(file, "cannot be looked at", err)
	case st.Mode().IsRegular() && st.Size() > 0 && !osfile.HardLinked(st):
		return st.Size(), nil
	}
	if err := os.Remove(file); err != nil {
		return 0, storageError(file, "is no plain file and cannot be removed", err)
	}
	return 0, nil
}

func sizeOf(file string) int64 {
	st, err := os.Lstat(file)
	if err != nil {
		return 0
	}
	return st.Size()
}

// keepPartial tells whether what was fetched so far is still good after err: the network's fault or the
// caller's wish, not an answer that was wrong.
func keepPartial(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, ErrCoolDown) {
		return true
	}
	var (
		status   grab.StatusCodeError
		target   *TargetError
		ranged   *rangeError
		protocol *protocolError
	)
	switch {
	case errors.Is(err, grab.ErrBadLength), errors.Is(err, grab.ErrBadChecksum), errors.Is(err, errTooLong),
		errors.As(err, &target), errors.As(err, &ranged), errors.As(err, &protocol):
		return false
	case errors.As(err, &status):
		return status != http.StatusRequestedRangeNotSatisfiable
	}
	return true
}

// grab runs one download. Size and checksum are always set: without them grab would keep a file of
// any length, and panic in a goroutine of its own.
func (s *httpSource) grab(ctx context.Context, t signing.Target, file string, before int64, progress func(int64)) error {
	req, err := grab.NewRequest(file, s.url.JoinPath("targets", t.Name()).String())
	if err != nil {
		return err
	}
	req.Size = t.Length
	req.SetChecksum(sha256.New(), t.SHA256[:], true)
	req.NoCreateDirectories = true
	req.IgnoreRemoteTime = true
	req.BeforeCopy = func(*grab.Response) error { return os.Chmod(file, 0o600) }
	done := before
	ctx = withExchange(ctx, &exchange{length: t.Length, moved: new(hostPin), progress: func(n int) {
		done += int64(n)
		progress(min(done, t.Length))
	}})
	client := &grab.Client{HTTPClient: grabClient{s}, UserAgent: s.agent, BufferSize: 64 << 10}
	return client.Do(req.WithContext(ctx)).Err()
}

// A grabClient is an httpSource as grab wants it.
type grabClient struct{ s *httpSource }

// Do makes a request with retries.
func (c grabClient) Do(req *http.Request) (*http.Response, error) { return c.s.do(req) }

// verify opens the finished download, makes it durable and holds it against what was signed.
func (s *httpSource) verify(ctx context.Context, t signing.Target, file string) (*fetched, error) {
	if _, err := prepare(file); err != nil {
		return nil, err
	}
	f, err := osfile.OpenOwn(file, os.O_RDWR)
	if err != nil {
		return nil, storageError(file, "the download cannot be opened", err)
	}
	if err = f.Sync(); err != nil {
		err = storageError(file, "the download cannot be synced", err)
	} else {
		err = checkFile(ctx, s.name, t, f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &fetched{File: f, remove: file}, nil
}

// targetFailed gives an error of a download its kind.
func (s *httpSource) targetFailed(ctx context.Context, t signing.Target, err error) error {
	var (
		status grab.StatusCodeError
		disk   *os.PathError
	)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, grab.ErrBadLength):
		return &TargetError{Source: s.name, Target: t.Path, Reason: fmt.Sprintf("another length than the signed %d bytes", t.Length)}
	case errors.Is(err, grab.ErrBadChecksum):
		return &TargetError{Source: s.name, Target: t.Path, Reason: "another SHA-256 than the signed " + t.SHA256.String()}
	case errors.Is(err, errTooLong):
		return &TargetError{Source: s.name, Target: t.Path, Reason: fmt.Sprintf("longer than the signed %d bytes", t.Length)}
	case errors.As(err, &status):
		return s.status(path.Join("targets", t.Path), int(status))
	case errors.As(err, &disk):
		return storageError(disk.Path, "the download cannot be written", disk)
	}
	return s.failed(ctx, t.Path, err)
}

// storageError is a failure of this machine's disk, not of the source. It names the path that err names, else file.
func storageError(file, what string, err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		file, err = p.Path, p.Err
	} else if l, ok := errors.AsType[*os.LinkError](err); ok {
		file, err = l.New, l.Err
	}
	e := &store.Error{Kind: store.ErrStorage, Path: file, What: what, Err: err,
		Remedy: "make room or make the folder writable, then update again; the database in use stays as it is"}
	if r, ok := err.(interface{ Remedy() string }); ok { // it knows better, and its text says so, too
		e.Remedy, e.Err = r.Remedy(), &bareError{strings.TrimSuffix(err.Error(), "; "+r.Remedy()), err}
	}
	return e
}

// A bareError is an error without the remedy at the end of its text.
type bareError struct {
	text string
	err  error
}

func (e *bareError) Error() string { return e.text }
func (e *bareError) Unwrap() error { return e.err }
