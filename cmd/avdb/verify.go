package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// verifyReport is what `verify` prints.
type verifyReport struct {
	store.VerifyReport
	Version  uint64 `json:"version"`
	Deep     bool   `json:"deep"`
	SelfTest string `json:"self_test"` // ok, failed, or "" when it was not reached

	Restrictions verifiedSet       `json:"restrictions"`
	Networks     []verifiedNetwork `json:"networks"` // provider files that are installed, or ought to be
}

// verifiedSet is what was found out about the stored restriction set.
type verifiedSet struct {
	Epoch uint64 `json:"epoch"` // 0 for none
	Proof string `json:"proof"` // signed, floor, none, or unknown where the trust folder is another user's
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// verifiedNetwork is what was found out about a provider file.
type verifiedNetwork struct {
	Kind   string `json:"kind"`
	Serial uint64 `json:"serial"` // 0 for a file that cannot be read
	Proof  string `json:"proof"`  // signed: by the repository's metadata; key: by its provider's key, which this device chose or the signed file has; unknown
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
	Note   string `json:"note,omitempty"` // what this engine cannot use though it is, or may be, what was signed, and the remedy
}

func newVerify(a *app) *cobra.Command {
	var deep bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "prove that what is installed is what was signed",
		Long: `Read every block of the database that is in use and prove it against the digest that the signed release names; then
run the self-test. The stored restriction set is held against what was verified last, provider files of KSN networks
against their signatures. With --deep the kept earlier databases and every derived index are proved too. What is
damaged is healed by the next update: exit code 15. A provider file that is not trusted is not: exit code 12. One that is
signed and that this version of avdb cannot use is noted.`,
		Example: `  avdb verify
  avdb verify --deep`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.protecting() // what is proved does not depend on settings
			if err != nil {
				return err
			}
			p := a.progress()
			var proved int64
			r := verifyReport{Deep: deep}
			r.VerifyReport, err = d.store.Verify(deep, func(n int64) {
				proved += n
				p.set("proving", proved, 0)
			})
			if err == nil {
				err = d.selfTest(&r)
			}
			p.end()
			err = errors.Join(err, d.verifyRestrictions(&r), d.verifyNetworks(&r))
			r.OK = r.OK && err == nil
			if a.json {
				return a.reportJSON(r, err)
			}
			for _, l := range r.Layers {
				state := "ok"
				if !l.OK {
					state = "DAMAGED: " + escape(l.Error)
				}
				fmt.Fprintf(a.stdout, "release %d  %-5s  %s in %s  %s\n", l.Version, l.Layer, bytesText(l.Bytes), plural(l.Blocks, "block"), state)
			}
			a.verifiedText(r)
			for _, x := range r.Indexes {
				if !x.OK {
					a.warn("index %s is damaged and will be made anew: %s", x.Key, x.Error)
				}
			}
			if r.SelfTest != "" {
				fmt.Fprintf(a.stdout, "self-test  %s\n", r.SelfTest)
			}
			return err
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "prove the kept earlier databases and the indexes too")
	return c
}

// selfTest runs the vectors of the current generation.
func (d *device) selfTest(r *verifyReport) (err error) {
	cur, light, rest, err := d.store.OpenCurrent()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, light.Close())
		if rest != nil {
			err = errors.Join(err, rest.Close())
		}
	}()
	r.Version = cur.Version
	if rest == nil {
		err = matcher.SelfTest(light, nil)
	} else {
		err = matcher.SelfTest(light, rest)
	}
	r.SelfTest = "ok"
	if err != nil {
		r.SelfTest = "failed"
	}
	return err
}

// verifyRestrictions holds the stored set against what the trust folder knows.
func (d *device) verifyRestrictions(r *verifyReport) error {
	by, epoch, err := d.store.CheckRestrictions()
	r.Restrictions = verifiedSet{Epoch: epoch, Proof: string(by), OK: err == nil}
	if d.blind && errors.Is(err, fs.ErrPermission) {
		var set *ksn.Set
		r.Restrictions.Proof = proofUnknown
		if set, err = d.unprovedSet(); err == nil {
			r.Restrictions.Epoch, r.Restrictions.OK = set.Epoch(), true
		}
	}
	if err != nil {
		r.Restrictions.Error = errorText(err)
	}
	return err
}

const proofUnknown = "unknown"

// unprovedSet reads the stored set as it is.
func (d *device) unprovedSet() (*ksn.Set, error) {
	b, _, err := d.store.Restrictions()
	if err != nil {
		return nil, err
	}
	return ksn.ParseSet(b)
}

// verifyNetworks proves the provider files. The one of the global network is what the metadata name: its own signature is by a key that only they vouch for.
func (d *device) verifyNetworks(r *verifyReport) error {
	r.Networks = []verifiedNetwork{}
	var all []error
	for _, kind := range []string{protocol.Global, protocol.Private} {
		f, ok, err := d.network(kind)
		n := verifiedNetwork{Kind: kind, Serial: f.Provider.Serial}
		switch {
		case errors.Is(err, dbformat.ErrVersion):
			n.Proof, n.Note, ok, err = "signed", errorText(err), true, nil
			if d.trustHidden() {
				n.Proof = proofUnknown
			}
		case err == nil:
			n.Proof, n.Note, ok, err = d.proveNetwork(kind, f, ok)
		}
		if !ok && err == nil {
			continue
		}
		if n.OK = err == nil; !n.OK {
			n.Error, n.Proof = errorText(err), ""
			all = append(all, err)
		}
		r.Networks = append(r.Networks, n)
	}
	return errors.Join(all...)
}

func remedyNetwork(kind string) string {
	if kind == protocol.Global {
		return "run an update, which fetches it again"
	}
	return "install it again with its --fingerprint, or leave it with \"avdb ksn provider remove\""
}

// proveNetwork says what vouches for a provider file that its own key has signed; ok tells whether there is one, or ought to be. note is about another one
// that the signed metadata name and this engine cannot use: then the key that signed that one vouches for the one in use.
func (d *device) proveNetwork(kind string, f protocol.ProviderFile, have bool) (proof, note string, ok bool, err error) {
	if kind == protocol.Private {
		if !d.known {
			return proofUnknown, "", have, nil
		}
		_, own, _, err := d.ownNetwork() // whether it is the one that was chosen
		if own != ksn.NetworkPrivate {
			return "", "", false, nil // none was chosen, and the error is the global one's
		}
		return "key", "", have || err != nil, err
	}
	var v *signing.Verified
	t, err := d.store.OpenTrust()
	if err == nil {
		v, err = t.Stored()
	}
	if err != nil { // not set up, another user's, or damaged, which the set has told
		return proofUnknown, "", have, nil
	}
	if _, named := v.Target(dbformat.NetworkTarget); !named {
		return proofUnknown, "", have, nil
	}
	remedy := remedyNetwork(kind)
	switch b, unusable := d.refusedNetwork(kind); {
	case !have:
		err = errors.New("is missing, and the signed metadata name one")
	case d.namesNetwork(kind, f.Bytes):
		return "signed", "", true, nil
	case unusable != nil:
		if signer, serr := protocol.ProviderSigner(b); serr == nil && signer == f.Fingerprint {
			return "key", errorText(unusable), true, nil
		}
		err = errors.New("is not the provider file that the signed metadata name, which this engine cannot use, and nothing else vouches for it")
		remedy = "a newer avdb is needed; until then, remove the file unless you know whose it is"
	default:
		err = errors.New("is not the provider file that the signed metadata name")
	}
	return "", "", true, &store.Error{Kind: store.ErrStorage, Damaged: true, Path: d.store.NetworkFile(kind), What: err.Error(), Remedy: remedy}
}

// verifiedText prints what was found out about restrictions and networks.
func (a *app) verifiedText(r verifyReport) {
	state := func(ok bool, proof, text string) string {
		words := map[string]string{"signed": "ok, named by the signed metadata", "floor": "ok, the one that was verified last",
			"key": "ok, signed by its provider's key", proofUnknown: "not proved: what it could be held against is not here, or another user's"}
		if !ok {
			return "DAMAGED: " + escape(text)
		}
		return words[proof]
	}
	if x := r.Restrictions; x.Proof != string(signing.ProofNone) && (!x.OK || x.Epoch != 0) {
		fmt.Fprintf(a.stdout, "restrictions  epoch %d  %s\n", x.Epoch, state(x.OK, x.Proof, x.Error))
	}
	for _, x := range r.Networks {
		if x.Serial != 0 || x.Note == "" {
			fmt.Fprintf(a.stdout, "network  %-7s  serial %d  %s\n", x.Kind, x.Serial, state(x.OK, x.Proof, x.Error))
		}
		if x.Note != "" {
			fmt.Fprintf(a.stdout, "network  %-7s  note: %s\n", x.Kind, escape(x.Note))
		}
	}
}
