package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/network"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/osfile"
	"example.org/avdb/store"
)

func newKSNProvider(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "provider",
		Short: "which network answers: make one, install one, show it",
		Long: `A network is a signed provider file: its servers, the keys that sign its answers, what it can do. The global one
comes with updates. A private one is installed here by the fingerprint of its provider's key, and takes the place of
the global one: nothing that this device asks goes to global servers then, whatever fails.`,
		Example: `  avdb ksn provider create net --name Example --url https://ksn.example.net
  avdb ksn provider install net/provider.json --fingerprint HEX
  avdb ksn provider show`,
	})
	c.AddCommand(newProviderCreate(a), newProviderInstall(a), newProviderShow(a), newProviderRemove(a))
	return c
}

func newProviderCreate(a *app) *cobra.Command {
	var o network.Options
	var days int
	var noCloud, noStats bool
	var statements []string
	c := &cobra.Command{
		Use:   "create DIR",
		Short: "make the keys and the provider file of a network",
		Long: `Make a network in DIR: keys in DIR/keys (0600) and the signed DIR/provider.json, which devices install by the
fingerprint that is printed. Once more in the same DIR makes a file with the next serial by the same keys: devices
take it in the place of the one that they have. A server needs DIR/provider.json and DIR/keys/reputation.pem only.`,
		Example: `  avdb ksn provider create net --name Example --url https://ksn.example.net
  avdb ksn provider create net --name Example --url https://ksn2.example.net --days 90`,
		Args: exactArgs("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			if days < 1 || days > int(protocol.MaxProviderLife/(24*time.Hour)) {
				return usagef("--days is %d, want 1 to %d", days, int(protocol.MaxProviderLife/(24*time.Hour)))
			}
			if len(o.URLs) == 0 || o.Name == "" {
				return &usageError{text: "--name and --url are needed", command: "avdb ksn provider create"}
			}
			o.Life, o.Now, o.Capabilities = time.Duration(days)*24*time.Hour, time.Now(), []string{}
			if !noCloud {
				o.Capabilities = append(o.Capabilities, protocol.CapabilityCloudMode)
			}
			if !noStats {
				o.Capabilities = append(o.Capabilities, protocol.CapabilityStats)
			}
			for _, name := range statements {
				text, err := readStatement(name)
				if err != nil {
					return err
				}
				o.Statements = append(o.Statements, text)
			}
			f, err := network.Create(args[0], o)
			if errors.Is(err, protocol.ErrInvalid) {
				return usagef("%v", err)
			}
			if err != nil {
				return onDisk(err, diskRemedyNetwork)
			}
			r := reportProvider(filepath.Join(args[0], network.File), f)
			if a.json {
				return a.document(r)
			}
			a.providerText(r)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Network, "network", protocol.Private, "`KIND`: private, or global for one that a publisher's offline keys vouch for")
	f.StringVar(&o.Name, "name", "", "`NAME` of the network, as users see it")
	f.StringArrayVar(&o.URLs, "url", nil, "`URL` of a server; once for each, in the order in which they are tried")
	f.IntVar(&days, "days", 365, "how many `DAYS` the file lives")
	f.StringVar(&o.Contact, "contact", "", "`TEXT`: whom users turn to")
	f.StringArrayVar(&statements, "statement", nil, "`FILE` with a statement of the network's own; once for each language")
	f.BoolVar(&noCloud, "no-cloud-mode", false, "devices must keep the full database")
	f.BoolVar(&noStats, "no-stats", false, "no statistics are taken")
	return c
}

const diskRemedyNetwork = "make room or repair the disk, then run the command again, which goes on with the keys that are there"

// readStatement reads a statement and proves that devices can.
func readStatement(name string) (string, error) {
	f, err := osfile.Open(name)
	if err != nil {
		return "", fmt.Errorf("--statement: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, ksn.MaxStatement+1))
	if err != nil {
		return "", fmt.Errorf("--statement: %w", err)
	}
	if _, err := ksn.ParseStatement(b); err != nil {
		return "", usagef("--statement %s: %v", name, err)
	}
	return string(b), nil
}

func newProviderInstall(a *app) *cobra.Command {
	var fingerprint string
	c := &cobra.Command{
		Use:   "install FILE",
		Short: "make a private network this device's own",
		Long: `Install a private network. The fingerprint, which the operator tells by another way than the file, says that it is
the right one. A newer file of the network that is installed needs no fingerprint: it is signed by the same key.`,
		Example: `  avdb ksn provider install provider.json --fingerprint HEX
  avdb ksn provider install provider.json`,
		Args: exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := network.ReadFile(args[0])
			if errors.Is(err, protocol.ErrUntrusted) || errors.Is(err, protocol.ErrInvalid) {
				return hint(err, "nothing was changed; ask the operator for the file")
			}
			if err != nil {
				return err
			}
			d, err := a.device(false)
			if err != nil {
				return err
			}
			if err := d.ready(); err != nil {
				return err
			}
			if err := d.installable(f, fingerprint); err != nil {
				return err
			}
			// A crash after this leaves a device that asks nobody until the file is there.
			if err := d.belong(f.Fingerprint, append(d.installed(), f)...); err != nil {
				return err
			}
			if err := d.store.PutNetwork(protocol.Private, f.Bytes); err != nil {
				return err
			}
			r := reportProvider("", f)
			if a.json {
				return a.document(r)
			}
			a.providerText(r)
			return nil
		},
	}
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "`HEX`: SHA-256 of the provider's key, as the operator tells it")
	return c
}

// installable tells why a provider file may not become this device's own.
func (d *device) installable(f protocol.ProviderFile, fingerprint string) error {
	if f.Provider.Network != protocol.Private {
		return hint(usagef("the file is of a %s network", f.Provider.Network), "the global network comes with updates")
	}
	if f.Expired(time.Now()) {
		return hint(fmt.Errorf("%w: the provider file expired at %s", protocol.ErrUntrusted, stamp(f.Provider.Expires.Time)), "nothing was changed; ask the operator for a newer file")
	}
	if fingerprint != "" {
		want, err := protocol.ParseFingerprint(fingerprint)
		if err != nil {
			return usagef("--fingerprint: %v", err)
		}
		if f.Fingerprint != want {
			return hint(fmt.Errorf("%w: the file is signed by the key %s, the fingerprint is of %s", protocol.ErrUntrusted, f.Fingerprint, want),
				"nothing was changed; ask the operator for the right file")
		}
	}
	old, ok, err := d.network(protocol.Private)
	if err != nil && !errors.Is(err, protocol.ErrUntrusted) && !errors.Is(err, protocol.ErrInvalid) {
		return err
	}
	switch {
	case (!ok || err != nil) && fingerprint == "":
		return hint(usagef("no private network is installed that can be read: which key is the right one?"), "give --fingerprint, as the operator tells it")
	case ok && err == nil && (fingerprint == "" || old.Fingerprint == f.Fingerprint):
		if err := old.Succeeds(&f); err != nil {
			return hint(err, "the installed one stays; another network is installed with its --fingerprint")
		}
	}
	if was, ok := d.settings.KSN.Serial(f.Fingerprint); ok && (f.Provider.Serial < was.Serial || f.Provider.Serial == was.Serial && sha256.Sum256(f.Bytes) != was.SHA256) {
		return hint(fmt.Errorf("%w: the file has serial %d; the newest one of this network that was installed here has serial %d", protocol.ErrUntrusted, f.Provider.Serial, was.Serial),
			"nothing was changed; ask the operator for the newest file")
	}
	return nil
}

// belong makes the private network with the fingerprint this device's own, "" for none, and keeps the serials of files. What waits to be told or asked is of
// the network before, and no other one's business.
func (d *device) belong(fingerprint string, files ...protocol.ProviderFile) error {
	next := d.settings.KSN
	for _, f := range files {
		next.KeepSerial(serialOf(f))
	}
	if next.Network == fingerprint && slices.Equal(next.Serials, d.settings.KSN.Serials) {
		return nil
	}
	if next.Network != fingerprint {
		waiting, err := d.store.DeferredObjects(0)
		if err == nil {
			err = d.store.Undefer(waiting)
		}
		if err == nil {
			err = d.store.ClearSpool()
		}
		if err != nil {
			return err
		}
	}
	return d.store.UpdateSettings(func(s *store.Settings) error {
		s.KSN.Network = fingerprint
		for _, f := range files {
			s.KSN.KeepSerial(serialOf(f))
		}
		d.settings.KSN.Network, d.settings.KSN.Serials = s.KSN.Network, s.KSN.Serials
		return nil
	})
}

// installed is the file of the private network, if there is one that this device chose: engines before this one did not keep its serial.
func (d *device) installed() []protocol.ProviderFile {
	f, ok, err := d.network(protocol.Private)
	if !ok || err != nil || f.Fingerprint != d.settings.KSN.Network {
		return nil
	}
	return []protocol.ProviderFile{f}
}

func serialOf(f protocol.ProviderFile) store.SettingsSerial {
	return store.SettingsSerial{Network: f.Fingerprint, Serial: f.Provider.Serial, SHA256: sha256.Sum256(f.Bytes)}
}

// network is the provider file of a kind that the device has. An error that matches dbformat.ErrVersion is about a genuine one that this engine cannot use,
// or about one of which this user cannot tell whether it is.
func (d *device) network(kind string) (f protocol.ProviderFile, ok bool, err error) {
	b, ok, err := d.store.Network(kind)
	if err != nil {
		return protocol.ProviderFile{}, false, err
	}
	if !ok {
		if _, u := d.refusedNetwork(kind); u != nil {
			return protocol.ProviderFile{}, false, u
		}
		return protocol.ProviderFile{}, false, nil
	}
	f, err = openNetwork(kind, b)
	if err != nil && d.namesNetwork(kind, b) {
		return f, true, unusableNetwork(d.store.NetworkFile(kind), err)
	}
	if err != nil && kind == protocol.Global && d.trustHidden() {
		return f, true, hiddenNetwork(d.store.NetworkFile(kind), err)
	}
	if errors.Is(err, protocol.ErrInvalid) {
		err = &store.Error{Kind: store.ErrStorage, Damaged: true, Path: d.store.NetworkFile(kind), What: "cannot be used", Err: err, Remedy: remedyNetwork(kind)}
	} else if err != nil {
		err = hint(fmt.Errorf("%s: %w", d.store.NetworkFile(kind), err), "%s", remedyNetwork(kind))
	}
	return f, true, err
}

// behindSerial tells whether the file in use is an older one than the newest of its network that was installed here: put back by another way than this program.
func (d *device) behindSerial(f protocol.ProviderFile) error {
	was, ok := d.settings.KSN.Serial(f.Fingerprint)
	if !ok || f.Provider.Serial >= was.Serial {
		return nil
	}
	return &store.Error{Kind: store.ErrStorage, Damaged: true, Path: d.store.NetworkFile(protocol.Private),
		What:   fmt.Sprintf("has serial %d; the newest one of this network that was installed here has serial %d", f.Provider.Serial, was.Serial),
		Remedy: remedyBehind}
}

const remedyBehind = "install the newest file with \"avdb ksn provider install\", or leave the network with \"avdb ksn provider remove\""

func openNetwork(kind string, b []byte) (protocol.ProviderFile, error) {
	f, err := protocol.OpenProvider(b)
	if err == nil && f.Provider.Network != kind {
		err = fmt.Errorf("%w: the file of the %s network says that it is a %s one", protocol.ErrInvalid, kind, f.Provider.Network)
	}
	return f, err
}

// unusableNetwork is about a provider file that is the one that was signed, and that this engine cannot read: no damage, and nothing that an update heals.
func unusableNetwork(path string, err error) error {
	return &store.Error{Kind: dbformat.ErrVersion, Path: path, What: "is what the signed metadata name, and this engine cannot use it", Err: err,
		Remedy: "a newer avdb is needed; if there is none, tell who publishes the database"}
}

// hiddenNetwork is about a provider file that cannot be used, of which another user than the owner of the state cannot tell whether it is damaged.
func hiddenNetwork(path string, err error) error {
	return &store.Error{Kind: dbformat.ErrVersion, Path: path, What: "cannot be used, and whether it is what the signed metadata name is not known to this user", Err: err,
		Remedy: "run \"avdb verify\" as the user that the state belongs to"}
}

// trustHidden tells whether the trust folder is another user's, as the settings are.
func (d *device) trustHidden() bool {
	if !d.blind {
		return false
	}
	_, err := d.store.OpenTrust()
	return errors.Is(err, fs.ErrPermission)
}

// refusedNetwork is the provider file of the global network that updates could not put in use though the signed metadata name it, with the reason; nil for none.
func (d *device) refusedNetwork(kind string) (b []byte, unusable error) {
	if kind != protocol.Global {
		return nil, nil
	}
	b, ok, err := d.store.Network(store.NetworkRefused)
	if err != nil || !ok || !d.namesNetwork(kind, b) {
		return nil, nil
	}
	if _, err := openNetwork(kind, b); err != nil {
		return b, unusableNetwork(d.store.NetworkFile(store.NetworkRefused), err)
	}
	return nil, nil // the next update puts it in use
}

// namesNetwork tells whether b is the provider file of the global network that the signed metadata name, as far as this user may read them.
func (d *device) namesNetwork(kind string, b []byte) bool {
	if kind != protocol.Global {
		return false
	}
	t, err := d.store.OpenTrust()
	if err != nil {
		return false
	}
	v, err := t.Stored()
	if err != nil {
		return false
	}
	want, named := v.Target(dbformat.NetworkTarget)
	return named && sha256.Sum256(b) == want.SHA256
}

// ownNetwork is the network that this device belongs to: the private one where one is installed, else the global one. A private file that
// cannot be read, or is older than one that was installed here, is an error and never leads to the global network.
func (d *device) ownNetwork() (f protocol.ProviderFile, kind ksn.NetworkKind, ok bool, err error) {
	chosen := d.settings.KSN.Network
	f, ok, err = d.network(protocol.Private)
	if err == nil && ok && d.known && f.Fingerprint != chosen {
		err = fmt.Errorf("%s: %w: the file is of the key %.16s…, the settings say %.16s…", d.store.NetworkFile(protocol.Private), protocol.ErrUntrusted, f.Fingerprint, chosen)
	}
	if err == nil && ok {
		if err := d.behindSerial(f); err != nil {
			return f, ksn.NetworkPrivate, true, err
		}
	}
	const remedy = "nobody is asked until it is installed again with its --fingerprint, or left with \"avdb ksn provider remove\""
	switch {
	case err != nil:
		return f, ksn.NetworkPrivate, ok, hint(err, remedy)
	case chosen != "" && !ok:
		return f, ksn.NetworkPrivate, false, hint(fmt.Errorf("%s: %w: the provider file of the private network %.16s… is missing", d.store.NetworkFile(protocol.Private), store.ErrStorage, chosen), remedy)
	case ok:
		return f, ksn.NetworkPrivate, true, nil
	}
	f, ok, err = d.network(protocol.Global)
	return f, ksn.NetworkGlobal, ok, err
}

func newProviderShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "the network that this device belongs to",
		Example: "  avdb ksn provider show --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			f, _, ok, err := d.ownNetwork()
			if err != nil {
				return err
			}
			if a.json {
				if !ok {
					return a.document(struct {
						Provider *providerReport `json:"provider"`
					}{})
				}
				r := reportProvider("", f)
				return a.document(struct {
					Provider *providerReport `json:"provider"`
				}{&r})
			}
			if !ok {
				fmt.Fprintln(a.stdout, "no network is installed")
				return nil
			}
			a.providerText(reportProvider("", f))
			return nil
		},
	}
}

func newProviderRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove",
		Short: "leave the private network; the global one, where there is one, is this device's own again",
		Long: `Leave the private network: nothing is asked of it any more, and its file is removed. Where the global one, which is this device's
own then, cannot be used, a warning says why; the exit code is 0.`,
		Example: "  avdb ksn provider remove",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(false)
			if err != nil {
				return err
			}
			if err := d.belong(d.settings.KSN.Network, d.installed()...); err != nil {
				return err
			}
			// A crash after this leaves a device that asks nobody; the command goes on with it.
			if err := d.store.RemoveNetwork(protocol.Private); err != nil {
				return err
			}
			if err := d.belong(""); err != nil {
				return err
			}
			f, _, ok, err := d.ownNetwork()
			if err != nil { // the private one is left, which is what was wanted
				ok = false
				text, remedy := a.explain(err)
				a.warn("the global network cannot be asked: %s; %s", text, remedy)
			}
			if a.json {
				var r *providerReport
				if ok {
					p := reportProvider("", f)
					r = &p
				}
				return a.document(struct {
					Provider *providerReport `json:"provider"`
				}{r})
			}
			switch {
			case ok:
				a.providerText(reportProvider("", f))
			case err != nil:
				fmt.Fprintln(a.stdout, "no network that can be used is installed")
			default:
				fmt.Fprintln(a.stdout, "no network is installed")
			}
			return nil
		},
	}
}
