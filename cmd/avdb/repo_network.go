package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/network"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/signing"
)

// A providerReport is a provider file in JSON documents.
type providerReport struct {
	File         string        `json:"file,omitempty"`
	Fingerprint  string        `json:"fingerprint"` // SHA-256 of the provider's key, hex
	Network      string        `json:"network"`     // global or private
	Name         string        `json:"name"`
	Serial       uint64        `json:"serial"`
	Issued       dbformat.Time `json:"issued"`
	Expires      dbformat.Time `json:"expires"`
	Expired      bool          `json:"expired"`
	URLs         []string      `json:"urls"`
	Keys         []string      `json:"keys"` // ids of those that sign answers
	Capabilities []string      `json:"capabilities"`
	Contact      string        `json:"contact"`
	Statements   int           `json:"statements"` // texts of its own
}

func reportProvider(name string, f protocol.ProviderFile) providerReport {
	p := f.Provider
	r := providerReport{File: name, Fingerprint: f.Fingerprint, Network: p.Network, Name: p.Name, Serial: p.Serial, Issued: p.Issued, Expires: p.Expires,
		Expired: f.Expired(time.Now()), URLs: p.URLs, Capabilities: p.Capabilities, Contact: p.Contact, Statements: len(p.Statements)}
	for _, k := range p.Keys {
		r.Keys = append(r.Keys, protocol.KeyID(k))
	}
	return r
}

func (a *app) providerText(r providerReport) {
	fmt.Fprintf(a.stdout, "%s network %q, serial %d, until %s", r.Network, escape(r.Name), r.Serial, stamp(r.Expires.Time))
	if r.Expired {
		fmt.Fprint(a.stdout, ": expired")
	}
	fmt.Fprintln(a.stdout)
	for _, u := range r.URLs {
		fmt.Fprintf(a.stdout, "server %s\n", escape(u))
	}
	if r.Contact != "" {
		fmt.Fprintf(a.stdout, "contact %s\n", escape(r.Contact))
	}
	fmt.Fprintf(a.stdout, "fingerprint %s\n", r.Fingerprint)
}

func newRepoNetwork(a *app) *cobra.Command {
	var keys string
	c := &cobra.Command{
		Use:   "network DIR FILE",
		Short: "have the offline keys name the servers of the global KSN network",
		Long: `Publish a provider file as that of the global network. The offline keys of targets vouch for it, so that
who holds the online keys cannot send the questions of endpoints elsewhere. FILE is made with
"avdb ksn provider create --network global". Where more than one host has to sign, the rest follows
with "avdb repo sign".`,
		Example: `  avdb ksn provider create net --network global --name Example --url https://ksn.example.org
  avdb repo network /srv/avdb net/provider.json --keys /media/safe/keys`,
		Args: exactArgs("DIR", "FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := network.ReadFile(args[1])
			if err != nil {
				return err
			}
			if f.Provider.Network != protocol.Global {
				return hint(usagef("%s is of a %s network", args[1], f.Provider.Network), "devices install it with %q", "avdb ksn provider install")
			}
			if f.Expired(time.Now()) {
				return hint(usagef("%s expired at %s", args[1], stamp(f.Provider.Expires.Time)), "make a newer one with %q", "avdb ksn provider create")
			}
			repo, err := signing.OpenRepository(args[0], keys)
			if err != nil {
				return err
			}
			if err := repo.PublishNetwork(f.Bytes, time.Now()); err != nil {
				return err
			}
			r := reportProvider(args[1], f)
			if a.json {
				return a.document(r)
			}
			a.providerText(r)
			return nil
		},
	}
	c.Flags().StringVar(&keys, "keys", "", "`FOLDER` of the keys (default: keys in DIR)")
	return c
}
