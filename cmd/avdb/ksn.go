package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/store"
)

func newKSN(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "ksn",
		Short: "the cloud reputation network: consent, mode, restrictions, status",
		Long: `KSN answers what the local database leaves open. Taking part is voluntary: nothing is asked and
nothing is sent before a statement was accepted and KSN was enabled, and both can be taken
back at any time. The signed database can restrict what is asked; a device cannot undo that.`,
		Example: `  avdb ksn statement show
  avdb ksn statement accept
  avdb ksn enable
  avdb ksn status`,
	})
	c.AddCommand(newKSNStatus(a), newKSNStatement(a), newKSNEnable(a), newKSNDisable(a), newKSNRestrictions(a), newKSNCheck(a), newKSNCheckConnection(a),
		newKSNOverride(a), newKSNProvider(a), newKSNServe(a), newKSNProxy(a), newKSNStats(a), newKSNRecheck(a))
	return c
}

// now is the time for decisions about KSN: never before what was signed.
func (d *device) now() time.Time { return ksn.TimeUsed(time.Now(), d.signedAt()) }

// facts are what is known of this device. A generation that is not there leaves the
// variant empty.
//
// An acceptance counts for the network whose statement it was: where the network has texts of its own, for one of these.
func (d *device) facts(variant dbformat.Variant) (ksn.Facts, error) {
	f, err := d.consentFacts(variant)
	if err != nil {
		return f, err
	}
	net, kind, ok, err := d.ownNetwork()
	if err != nil {
		f.Unusable = kind
	}
	if errors.Is(err, dbformat.ErrVersion) {
		return f, nil // nothing is wrong here; there is nobody to ask
	}
	if !ok || err != nil {
		return f, err
	}
	f.Network = reputation.Installed(&net)
	if a := f.Consent.Accepted; a != nil && !hasStatement(&net, a.SHA256) {
		f.Consent.Accepted = nil
	}
	return f, nil
}

// hasStatement tells whether a text is one that the network's users are asked to accept.
func hasStatement(net *protocol.ProviderFile, sum dbformat.Digest) bool {
	for _, text := range net.Provider.Statements {
		if sha256.Sum256([]byte(text)) == sum {
			return true
		}
	}
	return len(net.Provider.Statements) == 0 && slices.ContainsFunc(ksn.DefaultStatements(), func(s ksn.Statement) bool { return s.SHA256() == sum })
}

// consentFacts are the facts without the network.
func (d *device) consentFacts(variant dbformat.Variant) (ksn.Facts, error) {
	consent, err := ksn.ReadConsent(d.settings.KSN)
	if err != nil {
		return ksn.Facts{}, hint(err, "accept the statement anew with %q", "avdb ksn statement accept")
	}
	f := ksn.Facts{Consent: consent, Install: d.settings.Install, Product: "avdb", Variant: variant}
	if v := readVersion().Version; strings.HasPrefix(v, "v") {
		f.Version = v[1:]
	}
	k, _ := findKey("ksn.mode")
	if v, from, _ := d.value(k); from == originPolicy || from == originEnv {
		f.Policy = ksn.Mode(v.(string))
	}
	return f, nil
}

// situation is all that the status of KSN depends on, with what the clients of this device experienced. It makes no request and writes nothing. Beside
// an error it leaves out what could not be read: consent, in whose place there is none, or the experience; restrictions that cannot be proved let nothing pass.
func (d *device) situation(variant dbformat.Variant) (ksn.Situation, error) {
	f, ferr := d.facts(variant)
	set, serr := d.restrictions()
	s := d.effective()
	in := ksn.Situation{Facts: f, Set: set, Now: d.now(), Routes: ksn.Routes(s.KSN.UseProxy, s.KSN.UseServersIfProxyUnavailable)}
	if ferr == nil && serr == nil && d.known && f.Unusable == "" {
		if past, err := d.experience(); err != nil {
			ferr = err
		} else {
			in = past
			in.Facts.Variant = variant
		}
	}
	in.CloudMode, in.Language = s.CloudMode, d.a.language()
	return in, errors.Join(ferr, serr)
}

// restrictions is the set in force, nil for none. Beside an error it is one that lets nothing pass.
func (d *device) restrictions() (*ksn.Set, error) {
	b, err := d.restrictionBytes()
	if err != nil {
		return ksn.Unproved(), err
	}
	set, err := ksn.ParseSet(b)
	if err != nil {
		return ksn.Unproved(), err
	}
	return set, nil
}

// restrictionBytes is the stored set, held against what was verified; nil for none. Whoever may not read the settings may not read the trust folder
// either: such a user, who asks nobody, sees the set as it is.
func (d *device) restrictionBytes() ([]byte, error) {
	b, _, err := d.store.ProvedRestrictions()
	if d.blind && errors.Is(err, fs.ErrPermission) {
		b, _, err = d.store.Restrictions()
	}
	return b, err
}

// variant is that of the current generation, "" without one.
func (d *device) variant() (dbformat.Variant, error) {
	cur, err := d.store.Current()
	if errors.Is(err, store.ErrNoDatabase) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return cur.Variant(), nil
}

// here is the situation of the device as it is now.
func (d *device) here() (ksn.Situation, error) {
	d.tellBlind()
	v, err := d.variant()
	if err != nil {
		return ksn.Situation{}, err
	}
	return d.situation(v)
}

// language is the user's, as the environment tells it.
func (a *app) language() string {
	return firstOf(a.env("LC_ALL"), a.env("LC_MESSAGES"), a.env("LANG"))
}

// setMode changes the mode of KSN in settings, as package ksn allows it.
func setMode(s *store.Settings, mode string, now time.Time) error {
	return changeConsent(s, func(c ksn.Consent) (ksn.Consent, error) {
		if ksn.Mode(mode) == ksn.ModeOff {
			return c.Disable(now), nil
		}
		return c.Enable(ksn.Mode(mode), now)
	})
}

func changeConsent(s *store.Settings, change func(ksn.Consent) (ksn.Consent, error)) error {
	c, err := ksn.ReadConsent(s.KSN)
	if err != nil {
		return err
	}
	if c, err = change(c); err != nil {
		return err
	}
	ksn.WriteConsent(&s.KSN, c)
	return nil
}

func newKSNStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "how things stand with KSN",
		Long: `Print how things stand with KSN: disabled, not_authorized, unavailable, restricted, unknown or enabled,
which network answers, and which restrictions are in force. Nothing is asked over the network.`,
		Example: `  avdb ksn status
  avdb ksn status --json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			in, err := d.here() // what could not be read is told beside what is known without it
			st := ksn.NewStatus(in)
			if a.json {
				return a.reportJSON(st, err)
			}
			return errors.Join(a.ksnText(st), err)
		},
	}
}

func (a *app) ksnText(st ksn.Status) error {
	text := fmt.Sprintf("KSN: %s", st.Text)
	if st.Reason != "" {
		text += fmt.Sprintf(" (%s)", escape(st.Reason))
	}
	fmt.Fprintf(a.stdout, "%s\nnetwork: %s, mode: %s, cloud mode: %s\n", text, st.Network, st.Mode, onOff(st.CloudMode))
	if st.CloudModeReason != "" {
		fmt.Fprintf(a.stdout, "cloud mode has no effect: %s\n", escape(st.CloudModeReason))
	}
	if st.LastOK != nil {
		fmt.Fprintf(a.stdout, "last answer: %s\n", stamp(*st.LastOK))
	}
	for _, r := range st.Restrictions {
		a.restrictionText("in force", r)
	}
	for _, r := range st.Scheduled {
		a.restrictionText("scheduled", r)
	}
	return nil
}

func (a *app) restrictionText(when string, r ksn.InForce) {
	from := ""
	if r.From != nil && when == "scheduled" {
		from = " from " + stamp(*r.From)
	}
	fmt.Fprintf(a.stdout, "restriction %s, %s: %s%s until %s", escape(r.ID), when, r.Action, from, stamp(r.Until))
	if r.Text != "" {
		fmt.Fprintf(a.stdout, " (%s)", escape(r.Text))
	} else if r.Reason != "" {
		fmt.Fprintf(a.stdout, " (%s)", escape(r.Reason))
	}
	fmt.Fprintln(a.stdout)
}

func onOff(v bool) string {
	if v {
		return "on"
	}
	return "off"
}

// A consentReport is what commands print that change consent.
type consentReport struct {
	Mode      ksn.Mode         `json:"mode"`     // in force
	Reason    string           `json:"reason"`   // why it is off
	Accepted  *ksn.Acceptance  `json:"accepted"` // the statement in force
	Declined  *ksn.Refusal     `json:"declined"` // the newest one that was declined
	Statement *statementReport `json:"statement,omitempty"`
}

// consent changes the consent of the device and reports it.
func (a *app) consent(change func(*device, ksn.Consent) (ksn.Consent, error)) (consentReport, error) {
	d, err := a.device(false)
	if err != nil {
		return consentReport{}, err
	}
	if err := d.ready(); err != nil {
		return consentReport{}, err
	}
	err = d.store.UpdateSettings(func(s *store.Settings) error {
		return changeConsent(s, func(c ksn.Consent) (ksn.Consent, error) { return change(d, c) })
	})
	if err != nil {
		return consentReport{}, err
	}
	if d.settings, err = d.store.Settings(); err != nil {
		return consentReport{}, err
	}
	f, err := d.facts("")
	if err != nil {
		f, err = d.consentFacts("") // a network that cannot be read keeps nobody from ending KSN
	}
	if err != nil {
		return consentReport{}, err
	}
	if mode, _ := f.InForce(); mode != ksn.ModeExtended {
		if err := d.clearSpool(); err != nil { // what was to be told under another consent is not told under this one
			return consentReport{}, err
		}
	}
	r := consentReport{Accepted: f.Consent.Accepted, Declined: f.Consent.Declined}
	r.Mode, r.Reason = f.InForce()
	return r, nil
}

func newKSNEnable(a *app) *cobra.Command {
	mode := string(ksn.ModeBasic)
	c := &cobra.Command{
		Use:   "enable",
		Short: "begin with KSN, or change the mode",
		Long: `Begin with KSN in basic mode (look-ups) or extended mode (look-ups and statistics). A statement must have
been accepted before: exit code 16 otherwise.`,
		Example: `  avdb ksn enable
  avdb ksn enable --mode extended`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			m, err := ksn.ParseMode(mode)
			if err != nil || !m.On() {
				return usagef("--mode is %q, want basic or extended", mode)
			}
			return a.switchKSN(m)
		},
	}
	c.Flags().StringVar(&mode, "mode", mode, "`MODE`: basic or extended")
	return c
}

func newKSNDisable(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "disable",
		Short:   "end KSN; the accepted statement stays accepted",
		Example: `  avdb ksn disable`,
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return a.switchKSN(ksn.ModeOff) },
	}
}

// switchKSN sets the mode.
func (a *app) switchKSN(m ksn.Mode) error {
	r, err := a.consent(func(d *device, c ksn.Consent) (ksn.Consent, error) {
		k, _ := findKey("ksn.mode")
		if err := d.held(k, string(m)); err != nil {
			return c, err
		}
		if !m.On() {
			return c.Disable(time.Now()), nil
		}
		if f, err := d.facts(""); err == nil && f.Consent.Accepted == nil {
			c.Accepted = nil // it was accepted for another network
		}
		return c.Enable(m, time.Now())
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.document(r)
	}
	if r.Mode.On() {
		_, err = fmt.Fprintf(a.stdout, "KSN is enabled, mode %s\n", r.Mode)
	} else {
		_, err = fmt.Fprintf(a.stdout, "KSN is disabled: %s\n", escape(r.Reason))
	}
	return err
}
