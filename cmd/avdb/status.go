package main

import (
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
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// A statusReport is what `status` prints.
type statusReport struct {
	Version   uint64                 `json:"version"` // 0 for none
	Variant   dbformat.Variant       `json:"variant"` // "" for none
	Wanted    dbformat.Variant       `json:"wanted_variant"`
	Published *time.Time             `json:"published"`
	Installed *time.Time             `json:"installed"`
	Age       int64                  `json:"age_seconds"` // since publication, 0 for none or a time to come
	Freshness string                 `json:"freshness"`   // current, out_of_date, very_out_of_date or none
	Records   map[string]uint64      `json:"records"`     // by layer
	Layers    map[string]statusLayer `json:"layers"`
	Previous  uint64                 `json:"previous"` // what a roll-back leads to, 0 for none
	Held      bool                   `json:"held"`     // some release must not become current
	Hold      *statusHold            `json:"hold"`
	KSN       ksn.Status             `json:"ksn"`
	Device    ksn.DeviceState        `json:"device"`
	Sources   []statusSource         `json:"sources"`
	Last      *store.Event           `json:"last_update"` // null for never
	Policy    []string               `json:"policy"`      // keys that the config file holds
	State     string                 `json:"state"`
}

type statusLayer struct {
	Digest dbformat.Digest `json:"digest"`
	Bytes  int64           `json:"bytes"`
}

type statusHold struct {
	Version uint64    `json:"version"` // this one and those below it, 0 for none
	All     bool      `json:"all"`     // every release, until release-hold
	Since   time.Time `json:"since"`
}

type statusSource struct {
	URL       string     `json:"url"`
	MaxAge    string     `json:"max_age,omitempty"` // how old its metadata may be though it expired
	CoolDown  *time.Time `json:"cool_down_until"`
	LastError string     `json:"last_error"`
	ErrorTime *time.Time `json:"last_error_time"`
	Success   *time.Time `json:"last_success"`
}

func newStatus(a *app) *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "status",
		Short: "what is installed, and is all well",
		Long: `Open the database that is in use and say what it is, how old it is, what the next update would change,
how things stand with KSN, and what there is to attend to. A database that is missing or damaged is
never reported as fine: exit codes 10 and 15. With --check the exit code is 1 when something
needs attention.`,
		Example: `  avdb status
  avdb status --check --quiet || mail -s "avdb needs attention" root
  avdb status --json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			d.tellBlind()
			r, err := d.status()
			if err == nil && check && r.Device.Status != ksn.SeverityOK {
				err = errFinding
			}
			if a.json {
				return a.reportJSON(r, err)
			}
			if !a.quiet {
				a.statusText(r)
			}
			return err
		},
	}
	c.Flags().BoolVar(&check, "check", false, "exit code 1 when something needs attention")
	return c
}

// status gathers the report. It is good beside an error too, which says why there is no usable
// database.
func (d *device) status() (statusReport, error) {
	r := statusReport{Records: map[string]uint64{}, Layers: map[string]statusLayer{}, Sources: []statusSource{}, Policy: d.heldKeys(), State: d.store.Dir()}
	cur, err := d.open()
	have := err == nil
	if errors.Is(err, store.ErrNoDatabase) && !d.known && !exists(d.store.TrustDir()) {
		err = d.noDatabase()
	}
	dev := ksn.Device{IfUnavailable: ksn.Severity(d.effective().KSN.UnavailableStatus), Now: d.now()}
	r.Freshness = ksn.Freshness(time.Time{}, dev.Now)
	if have {
		d.describe(&r, &dev, cur)
	}
	dev.BadNetwork = d.badNetwork()
	if _, serr := d.restrictions(); serr != nil {
		dev.BadSet, _ = d.a.explain(serr)
	}
	in, serr := d.situation(r.Variant)
	if err == nil {
		err = serr // a damaged restriction set is no more fine than a damaged layer
	} else if serr != nil {
		d.a.warn("%v", serr)
	}
	r.KSN = ksn.NewStatus(in)
	r.Wanted = d.wanted(in.Facts)
	dev.KSN = r.KSN
	d.past(&r, &dev)
	r.judge(dev)
	if have && !d.known && !d.blind {
		addReason(&r.Device, ksn.DeviceReason{Code: "not_set_up", Severity: ksn.SeverityWarning, Text: "no update can run: " + d.ready().Error()})
	}
	return r, err
}

// badNetwork is what is wrong with the provider files, "" for nothing: with the one of this device's own network that it cannot be used, with the global one
// that nothing vouches for it. The remedy is with it where no error of status tells it.
func (d *device) badNetwork() string {
	_, _, _, err := d.ownNetwork()
	own := err != nil
	if !own {
		var f protocol.ProviderFile
		var have bool
		if f, have, err = d.network(protocol.Global); err == nil {
			_, _, _, err = d.proveNetwork(protocol.Global, f, have)
		} else if errors.Is(err, dbformat.ErrVersion) {
			err = nil // the device belongs to a private network, and nothing is wrong
		}
	}
	if err == nil {
		return ""
	}
	text, remedy := d.a.explain(err)
	if !own || errors.Is(err, dbformat.ErrVersion) {
		text += ": " + remedy
	}
	return text
}

// judge says what there is to attend to.
func (r *statusReport) judge(dev ksn.Device) {
	r.Device = ksn.DeviceStatus(dev)
	if r.ahead(dev.Now) {
		addReason(&r.Device, ksn.DeviceReason{Code: "published_in_future", Severity: ksn.SeverityWarning})
	}
}

// open opens the layers of the current generation, so that one that is damaged is met here, and
// closes them.
func (d *device) open() (store.Current, error) {
	cur, light, rest, err := d.store.OpenCurrent()
	if err != nil {
		return cur, err
	}
	err = light.Close()
	if rest != nil {
		err = errors.Join(err, rest.Close())
	}
	return cur, err
}

// describe fills in what the current generation is.
func (d *device) describe(r *statusReport, dev *ksn.Device, cur store.Current) {
	r.Version, r.Variant = cur.Version, cur.Variant()
	published, installed := cur.Published.UTC(), cur.Installed.UTC()
	r.Published, r.Installed = &published, &installed
	r.Age = int64(max(0, dev.Now.Sub(published)).Seconds())
	r.Freshness = ksn.Freshness(published, dev.Now)
	dev.Published, dev.Variant = published, r.Variant
	if r.Variant == dbformat.VariantLight {
		dev.LightSince = installed
	}
	for _, l := range r.Variant.Layers() {
		ref := cur.Layer(l)
		r.Records[l.String()] = ref.Records
		r.Layers[l.String()] = statusLayer{Digest: ref.Digest, Bytes: ref.Bytes}
	}
	if cur.Previous != nil {
		r.Previous = cur.Previous.Version
	}
	if cur.Hold != (store.Hold{}) {
		r.Held = true
		r.Hold = &statusHold{Version: cur.Hold.Version, All: cur.Hold.All, Since: cur.Hold.Since.UTC()}
	}
	if cur.RolledBack != nil {
		dev.RolledBack = cur.RolledBack.Since
	}
}

// clockSlack is how far the clocks of a publisher and a device may lie apart before it is told.
const clockSlack = 5 * time.Minute

// ahead tells whether the release says that it was published later than now: one of the two clocks is
// wrong, and the age tells nothing.
func (r *statusReport) ahead(now time.Time) bool {
	return r.Published != nil && r.Published.After(now.Add(clockSlack))
}

// addReason adds a reason behind those that are as bad, so that the worst stay first.
func addReason(s *ksn.DeviceState, r ksn.DeviceReason) {
	rank := []ksn.Severity{ksn.SeverityCritical, ksn.SeverityWarning, ksn.SeverityOK}
	s.Reasons = append(s.Reasons, r)
	slices.SortStableFunc(s.Reasons, func(a, b ksn.DeviceReason) int {
		return slices.Index(rank, a.Severity) - slices.Index(rank, b.Severity)
	})
	s.Status = s.Reasons[0].Severity
}

// past fills in what history tells. It belongs to the owner of the state; to others there is none.
func (d *device) past(r *statusReport, dev *ksn.Device) {
	states, err := d.store.SourceStates()
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		d.a.warn("%v", err)
	}
	for _, src := range d.sources() {
		s := statusSource{URL: updater.SourceName(src.URL), MaxAge: src.MaxAge}
		st := states[s.URL]
		s.LastError, s.Success, s.ErrorTime = st.LastError, moment(st.LastSuccess), moment(st.LastErrorTime)
		if st.CoolDownUntil.After(time.Now()) {
			s.CoolDown = moment(st.CoolDownUntil)
		}
		r.Sources = append(r.Sources, s)
	}
	events, err := d.store.History(0)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		d.a.warn("%v", err)
	}
	events = slices.DeleteFunc(events, func(e store.Event) bool { return e.Kind != "update" })
	if len(events) > 0 {
		r.Last = &events[0]
	}
	for _, e := range events {
		if e.Error == "" {
			break
		}
		if e.Result == updater.EventCoolDown || e.Result == updater.EventInterrupted {
			continue // no failure, and no success either
		}
		dev.FailedCycles++
		dev.FailingSince = e.Time
	}
	for _, e := range events {
		if e.Error == "" && e.Variant != string(dbformat.VariantLight) {
			break
		}
		if e.Error == "" && r.Variant == dbformat.VariantLight {
			dev.LightSince = e.Time // the oldest update in a row that left light in place
		}
	}
}

// heldKeys are the keys that policy sets.
func (d *device) heldKeys() []string {
	held := []string{}
	for _, k := range keys() {
		if _, ok := d.policy.values[k.name]; ok {
			held = append(held, k.name)
		}
	}
	return held
}

// moment is t in UTC, nil for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// ageText is how old the release is, in words.
func (r *statusReport) ageText() string {
	for _, x := range r.Device.Reasons {
		if x.Code == "published_in_future" {
			return "later than it is by the clock of this device"
		}
	}
	return ago(time.Duration(r.Age)*time.Second) + " ago"
}

// statusText prints the report for people.
func (a *app) statusText(r statusReport) {
	w := a.stdout
	if r.Version == 0 {
		fmt.Fprintf(w, "database: none that can be used\n")
	} else {
		fmt.Fprintf(w, "database: release %d, %s, published %s (%s, %s)\n", r.Version, r.Variant, stamp(*r.Published), r.ageText(), r.Freshness)
		fmt.Fprint(w, "records:  ")
		for i, l := range r.Variant.Layers() {
			if i > 0 {
				fmt.Fprint(w, ", ")
			}
			fmt.Fprintf(w, "%s %s (%s)", l, countText(r.Records[l.String()]), bytesText(r.Layers[l.String()].Bytes))
		}
		fmt.Fprintln(w)
		if r.Wanted != r.Variant {
			fmt.Fprintf(w, "pending:  the next update changes to the %s database\n", r.Wanted)
		}
	}
	if r.Previous != 0 {
		fmt.Fprintf(w, "previous: release %d\n", r.Previous)
	}
	if r.Hold != nil && r.Hold.All {
		fmt.Fprintf(w, "held:     every release, since %s; end it with \"avdb release-hold\"\n", stamp(r.Hold.Since))
	} else if r.Hold != nil {
		fmt.Fprintf(w, "held:     releases up to %d, since %s\n", r.Hold.Version, stamp(r.Hold.Since))
	}
	fmt.Fprintf(w, "KSN:      %s", r.KSN.Text)
	if r.KSN.Reason != "" {
		fmt.Fprintf(w, " (%s)", escape(r.KSN.Reason))
	}
	fmt.Fprintln(w)
	if r.Last != nil {
		outcome := r.Last.Result
		if r.Last.Error != "" {
			outcome = "failed: " + firstLine(r.Last.Error)
		}
		fmt.Fprintf(w, "update:   last %s, %s\n", stamp(r.Last.Time), escape(outcome))
	}
	for _, s := range r.Sources {
		fmt.Fprintf(w, "source:   %s", escape(s.URL))
		if s.CoolDown != nil {
			fmt.Fprintf(w, ", left alone until %s", stamp(*s.CoolDown))
		}
		if s.MaxAge != "" {
			fmt.Fprintf(w, ", may be as old as %s", escape(s.MaxAge))
		}
		fmt.Fprintln(w)
	}
	if len(r.Policy) > 0 {
		fmt.Fprintf(w, "policy:   holds %s\n", strings.Join(r.Policy, ", "))
	}
	fmt.Fprintf(w, "device:   %s\n", r.Device.Status)
	for _, x := range r.Device.Reasons {
		since := ""
		if x.Since != nil {
			since = " since " + stamp(*x.Since)
		}
		text := ""
		if x.Text != "" {
			text = ": " + firstLine(x.Text)
		}
		fmt.Fprintf(w, "  %s: %s%s%s\n", x.Severity, x.Code, since, escape(text))
	}
}
