package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/ksn"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// initReport is what `init` prints.
type initReport struct {
	State   string   `json:"state"`
	Sources []string `json:"sources"`
	Root    string   `json:"root_sha256"` // of the root that is trusted
}

func newInit(a *app) *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use:   "init --source URL... (--root FILE | --root-sha256 HEX)",
		Short: "tell this device where updates come from and whom to believe",
		Long: `Make the state of this device: the sources, in the order in which they are tried, and the root of trust, which
must come another way than the updates: as a file, or as the SHA-256 of the repository's
first root (1.root.json), which "avdb repo init" prints. Sources are never trusted. Run again, it
changes the sources; another root is refused unless --replace-trust is given.`,
		Example: `  avdb init --source https://db.example.net/avdb --root 1.root.json
  avdb init --source https://a.example.net --source https://b.example.net --root-sha256 5f2c…
  avdb init --source file:///srv/avdb/public --root /srv/avdb/public/metadata/1.root.json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := a.initialise(c.Context(), o)
			if err != nil {
				return err
			}
			if a.json {
				return a.document(r)
			}
			a.note("%s is ready; fetch the database with %q", r.State, "avdb update")
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.sources, "source", nil, "`URL` that updates come from: http://, https:// or file:// (can be repeated)")
	f.StringVar(&o.rootFile, "root", "", "`FILE` with the root of trust")
	f.StringVar(&o.rootSum, "root-sha256", "", "SHA-256 in `HEX` of the repository's 1.root.json, which is then fetched")
	f.BoolVar(&o.replace, "replace-trust", false, "forget the root that is trusted, and all that was seen under it")
	return c
}

type initOptions struct {
	sources           []string
	rootFile, rootSum string
	replace           bool
}

func (a *app) initialise(ctx context.Context, o initOptions) (initReport, error) {
	d, err := a.device(false)
	if err != nil {
		return initReport{}, err
	}
	if (o.rootFile == "") == (o.rootSum == "") {
		return initReport{}, &usageError{text: "one of --root and --root-sha256 is needed", command: "avdb init"}
	}
	sources, err := d.initSources(o.sources)
	if err != nil {
		return initReport{}, err
	}
	root, err := findRoot(ctx, o, sources)
	if err != nil {
		return initReport{}, err
	}
	// The state is made only once there is a root to put into it: a refused root leaves nothing.
	s, err := store.Create(d.store.Dir(), store.Options{})
	if err != nil {
		return initReport{}, err
	}
	lock, err := s.Lock()
	if err != nil {
		return initReport{}, err
	}
	defer lock.Unlock()
	if err := signing.InitTrust(s.TrustDir(), root, o.replace); err != nil {
		if errors.Is(err, signing.ErrOtherRoot) {
			err = hint(fmt.Errorf("%s: another root is trusted already", s.Dir()),
				"add --replace-trust if the repository was made anew; everything that was seen under the old root is then forgotten")
		}
		return initReport{}, err
	}
	if len(o.sources) > 0 {
		err = s.UpdateSettings(func(v *store.Settings) error {
			v.Sources = nil
			for _, u := range o.sources {
				v.Sources = append(v.Sources, store.SettingsSource{URL: u})
			}
			return nil
		})
		if err != nil {
			return initReport{}, err
		}
	}
	sum := sha256.Sum256(root)
	r := initReport{State: s.Dir(), Root: hex.EncodeToString(sum[:])}
	for _, u := range sources {
		r.Sources = append(r.Sources, redacted(u))
	}
	return r, nil
}

// initSources are the sources that hold from now on: those of the command line, unless policy
// names others; or, without any, those of policy or of the settings that are there.
func (d *device) initSources(given []string) ([]string, error) {
	for _, s := range given {
		if err := updater.CheckSource(s); err != nil {
			return nil, usagef("%v", err)
		}
	}
	have := d.sources()
	p, held := d.policy.values["sources"]
	switch {
	case held && len(given) > 0 && !slices.Equal(have, given):
		return nil, &ksn.RefusedError{What: "changing sources", Why: fmt.Sprintf("policy names them (%s:%d)", d.policy.file, p.line),
			Remedy: "leave --source away, or ask who looks after this device to change the config file"}
	case len(given) > 0:
		return given, nil
	case len(have) == 0:
		return nil, &usageError{text: "no source is known", command: "avdb init", remedy: "name one with --source URL"}
	}
	return have, nil
}

// sources are the URLs that updates come from, by policy or by the settings.
func (d *device) sources() []string {
	k, _ := findKey("sources")
	v, _, _ := d.value(k)
	var list []string
	for _, s := range v.([]store.SettingsSource) {
		list = append(list, s.URL)
	}
	return list
}

// findRoot reads the root from a file, or fetches the one that has the fingerprint.
func findRoot(ctx context.Context, o initOptions, sources []string) ([]byte, error) {
	if o.rootFile != "" {
		f, err := openRegular(o.rootFile)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		b, err := readRoot(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.rootFile, err)
		}
		return b, nil
	}
	want, err := hex.DecodeString(o.rootSum)
	if err != nil || len(want) != sha256.Size {
		return nil, usagef("--root-sha256 is %q, want 64 hex digits", o.rootSum)
	}
	var errs []error
	for _, s := range sources {
		b, err := fetchRoot(ctx, s)
		if err != nil {
			errs = append(errs, &updater.SourceError{Source: redacted(s), File: "metadata/1.root.json", Err: err})
			continue
		}
		if sum := sha256.Sum256(b); string(sum[:]) != string(want) {
			errs = append(errs, hint(fmt.Errorf("%s: its root has the SHA-256 %x, which is not the one given: %w", redacted(s), sum, signing.ErrUntrusted),
				"nothing was stored; check the fingerprint with who publishes the database, and the source"))
			continue
		}
		return b, nil
	}
	return nil, errors.Join(errs...)
}

// readRoot reads at most what a root may have.
func readRoot(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, signing.MaxRoot+1))
	if err == nil && len(b) > signing.MaxRoot {
		err = fmt.Errorf("longer than the %d bytes that a root may have", signing.MaxRoot)
	}
	return b, err
}

// fetchRoot gets the first root from a source. Its bytes are believed only after their
// SHA-256 was compared.
func fetchRoot(ctx context.Context, source string) ([]byte, error) {
	u, err := url.Parse(source)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "file" {
		f, err := openRegular(filepath.Join(filePath(u), "metadata", "1.root.json"))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readRoot(f)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(source, "/")+"/metadata/1.root.json", nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) >= 5 || via[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
			return errors.New("redirect not followed")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL, which may hold credentials, is named by the caller
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return readRoot(resp.Body)
}

// filePath is the folder that a file:// URL names.
func filePath(u *url.URL) string {
	p := u.Path
	if len(p) > 2 && p[0] == '/' && p[2] == ':' {
		p = p[1:] // file:///C:/folder
	}
	return filepath.FromSlash(p)
}

// redacted is a URL without its password.
func redacted(source string) string {
	u, err := url.Parse(source)
	if err != nil {
		return "source"
	}
	return u.Redacted()
}
