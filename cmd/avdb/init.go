package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/ksn"
	"example.org/avdb/osfile"
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
	root, err := findRoot(ctx, o, sources, a.env)
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
	if err := replaceTrust(s, root, o.replace); err != nil {
		if errors.Is(err, signing.ErrOtherRoot) {
			err = hint(fmt.Errorf("%s: another root is trusted already", s.Dir()),
				"add --replace-trust if the repository was made anew; everything that was seen under the old root is then forgotten")
		}
		return initReport{}, err
	}
	if len(o.sources) > 0 {
		err = s.UpdateSettings(func(v *store.Settings) error {
			v.Sources = withOptions(o.sources, v.Sources)
			return nil
		})
		if err != nil {
			return initReport{}, err
		}
	}
	sum := sha256.Sum256(root)
	r := initReport{State: s.Dir(), Root: hex.EncodeToString(sum[:])}
	for _, src := range sources {
		r.Sources = append(r.Sources, updater.SourceName(src.URL))
	}
	return r, nil
}

// replaceTrust makes the state trust a root. With another one trusted before, and only with it, the stored restriction set goes, too: it is of a
// repository whose epochs say nothing about those of the new one.
func replaceTrust(s *store.Store, root []byte, replace bool) error {
	err := signing.InitTrust(s.TrustDir(), root, false)
	if !replace || !errors.Is(err, signing.ErrOtherRoot) && !errors.Is(err, signing.ErrStorage) {
		return err
	}
	// A crash after this leaves the old trust, and nothing is asked until an update or this command is run again.
	if err := s.RemoveRestrictions(); err != nil {
		return err
	}
	return signing.InitTrust(s.TrustDir(), root, true)
}

// withOptions are the sources of URLs; one that is known keeps its credentials and whatever else is said of it.
func withOptions(urls []string, known []store.SettingsSource) []store.SettingsSource {
	list := []store.SettingsSource{}
	for _, u := range urls {
		s := store.SettingsSource{URL: u}
		if i := slices.IndexFunc(known, func(k store.SettingsSource) bool { return k.URL == u }); i >= 0 {
			s = known[i]
		}
		list = append(list, s)
	}
	return list
}

// initSources are the sources that hold from now on: those of the command line, unless policy
// names others; or, without any, those of policy or of the settings that are there.
func (d *device) initSources(given []string) ([]store.SettingsSource, error) {
	for _, s := range given {
		if err := updater.CheckSource(s); err != nil {
			return nil, usagef("%v", err)
		}
	}
	have := d.sources()
	p, held := d.policy.values["sources"]
	switch {
	case held && len(given) > 0 && !slices.EqualFunc(have, given, func(s store.SettingsSource, u string) bool { return s.URL == u }):
		return nil, &ksn.RefusedError{What: "changing sources", Why: fmt.Sprintf("policy names them (%s:%d)", d.policy.file, p.line),
			Remedy: "leave --source away, or ask who looks after this device to change the config file"}
	case len(given) > 0:
		return withOptions(given, have), nil
	case len(have) == 0:
		return nil, &usageError{text: "no source is known", command: "avdb init", remedy: "name one with --source URL"}
	}
	return have, nil
}

// sources are where updates come from, by policy or by the settings.
func (d *device) sources() []store.SettingsSource {
	k, _ := findKey("sources")
	v, _, _ := d.value(k)
	return v.([]store.SettingsSource)
}

// findRoot reads the root from a file, or fetches the one that has the fingerprint.
func findRoot(ctx context.Context, o initOptions, sources []store.SettingsSource, getenv func(string) string) ([]byte, error) {
	if o.rootFile != "" {
		return readRootFile(o.rootFile)
	}
	want, err := hex.DecodeString(o.rootSum)
	if err != nil || len(want) != sha256.Size {
		return nil, usagef("--root-sha256 is %q, want 64 hex digits", o.rootSum)
	}
	var errs []error
	for _, s := range sources {
		b, err := fetchRoot(ctx, s, getenv)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if sum := sha256.Sum256(b); string(sum[:]) != string(want) {
			errs = append(errs, hint(fmt.Errorf("%s: its root has the SHA-256 %x, which is not the one given: %w", updater.SourceName(s.URL), sum, signing.ErrUntrusted),
				"nothing was stored; check the fingerprint with who publishes the database, and the source"))
			continue
		}
		return b, nil
	}
	return nil, errors.Join(errs...)
}

// readRootFile reads a root that came another way than the files that it vouches for.
func readRootFile(name string) ([]byte, error) {
	f, err := osfile.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readRoot(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
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
func fetchRoot(ctx context.Context, s store.SettingsSource, getenv func(string) string) ([]byte, error) {
	src, err := updater.SourceOf(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return updater.FetchRoot(ctx, src, getenv)
}
