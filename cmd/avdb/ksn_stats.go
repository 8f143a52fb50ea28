package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/ksn/statistics"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

// errandTime bounds what a command does for KSN besides its own work.
const errandTime = 10 * time.Second

// recorder counts what extended mode may tell. In other modes it keeps nothing.
func (d *device) recorder() (*statistics.Recorder, error) {
	return statistics.New[store.Spooled](d.store, statistics.Config{
		Facts: func() (ksn.Facts, error) {
			now := *d
			s, err := d.store.Settings()
			if err != nil {
				return ksn.Facts{}, err
			}
			now.settings = s
			return now.facts("")
		},
		Program: readVersion().Version})
}

// A telling counts what a scan has to tell in extended mode; in other modes it is nil and counts nothing.
type telling struct {
	d   *device
	rec *statistics.Recorder
	c   *cloud // nil where nothing was asked
}

func (d *device) beginTelling() *telling {
	f, err := d.consentFacts("")
	if mode, _ := f.InForce(); err != nil || mode != ksn.ModeExtended {
		return nil
	}
	rec, err := d.recorder()
	if err != nil {
		d.a.logger().Debug("no statistics", "error", err)
		return nil
	}
	return &telling{d: d, rec: rec}
}

// observer gets the requests of the client that asks; nil where nothing is counted.
func (t *telling) observer() func(reputation.Exchange) {
	if t == nil {
		return nil
	}
	return t.exchange
}

// through names the client that asks, for this scan alone.
func (t *telling) through(c *cloud) {
	if t != nil {
		t.c = c
	}
}

func (t *telling) result(r matcher.Result) {
	if t != nil && r.Verdict == matcher.Malicious && r.Source != matcher.SourceOverride {
		t.rec.Matched(r.Name)
	}
}

// exchange counts what came of one request.
func (t *telling) exchange(x reputation.Exchange) {
	for range x.Answered {
		t.rec.Answered(x.Object, x.Took)
	}
	if x.Err != nil {
		t.rec.Failed(failureOf(x.Err))
	}
}

// failureOf is the kind of a failed request, as statistics know kinds.
func failureOf(err error) statistics.Failure {
	e, ok := errors.AsType[*reputation.RouteError](err)
	if !ok {
		return statistics.FailureOther
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return statistics.FailureUnauthorized
	case http.StatusMisdirectedRequest:
		return statistics.FailureWrongNetwork
	case http.StatusTooManyRequests:
		return statistics.FailureTooMany
	case http.StatusUnavailableForLegalReasons:
		return statistics.FailureRestricted
	}
	switch {
	case e.Status >= 500:
		return statistics.FailureServer
	case e.Status != 0 || e.Fault == reputation.FaultLength:
		return statistics.FailureProtocol
	case e.Fault == reputation.FaultTimeout:
		return statistics.FailureTimeout
	case e.Fault == reputation.FaultUnverified:
		return statistics.FailureSignature
	case e.Fault == reputation.FaultConnection && ofTLS(e.Err):
		return statistics.FailureTLS
	case e.Fault == reputation.FaultConnection:
		return statistics.FailureConnect
	}
	return statistics.FailureOther
}

// ofTLS tells whether a connection was made and then found not to be secure.
func ofTLS(err error) bool {
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return certificate || record || alert
}

// end writes it down.
func (t *telling) end(g store.Generation) {
	if t == nil {
		return
	}
	t.rec.Database(g.Version, g.Variant())
	if t.c != nil {
		t.questions()
	}
	if err := t.rec.Flush(); err != nil {
		t.d.a.logger().Debug("statistics are not kept", "error", err)
	}
}

// questions tells how many were asked and held back.
func (t *telling) questions() {
	l := t.c.client.Ledger() // not the device's, which counts what other scans ask meanwhile
	for kind, n := range map[ksn.Object]ksn.Tally{ksn.ObjectFile: l.File, ksn.ObjectURL: l.URL, ksn.ObjectSoftware: l.Software} {
		for range n.Asked {
			t.rec.Asked(kind)
		}
		for range n.Suppressed {
			t.rec.Suppressed(kind)
		}
	}
}

// A previewReport is what `ksn stats --preview` prints.
type previewReport struct {
	Mode       ksn.Mode `json:"mode"`
	Lookup     string   `json:"lookup"`     // the shape of a look-up
	Statistics []string `json:"statistics"` // bodies, byte for byte
}

// A statsReport is what `ksn stats` prints.
type statsReport struct {
	Mode    ksn.Mode `json:"mode"`
	Waiting int      `json:"waiting"` // records
	Bytes   int      `json:"bytes"`
	Sent    bool     `json:"sent"`
}

func newKSNStats(a *app) *cobra.Command {
	var preview, send bool
	c := &cobra.Command{
		Use:   "stats",
		Short: "what extended mode tells: look at it before it is sent",
		Long: `In extended mode, and in no other, this device tells its network what the accepted statement says. It waits here until "avdb update"
or --send delivers it; changing to basic mode throws it away. With --preview the exact bytes are printed that each mode would send.`,
		Example: `  avdb ksn stats --preview
  avdb ksn stats --send`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := a.device(!send)
			if err != nil {
				return err
			}
			if preview && send {
				return usagef("--preview and --send exclude each other")
			}
			if preview {
				return a.preview(d)
			}
			return a.stats(c.Context(), d, send)
		},
	}
	c.Flags().BoolVar(&preview, "preview", false, "print what each mode would send, byte for byte")
	c.Flags().BoolVar(&send, "send", false, "deliver what waits now")
	return c
}

func (a *app) preview(d *device) error {
	f, err := d.facts("")
	if err != nil {
		return err
	}
	rec, err := d.recorder()
	if err != nil {
		return err
	}
	all, err := a.statements()
	if err != nil {
		return err
	}
	version := all[0].Version() // the newest
	if f.Consent.Accepted != nil {
		version = f.Consent.Accepted.Version
	}
	list := []previewReport{}
	for _, m := range []ksn.Mode{ksn.ModeOff, ksn.ModeBasic, ksn.ModeExtended} {
		p, err := rec.Preview(m, version)
		if err != nil {
			return err
		}
		r := previewReport{Mode: m, Lookup: string(p.Lookup), Statistics: []string{}}
		for _, b := range p.Statistics {
			r.Statistics = append(r.Statistics, string(b))
		}
		list = append(list, r)
	}
	if a.json {
		return a.document(struct {
			Modes []previewReport `json:"modes"`
		}{list})
	}
	for _, r := range list {
		fmt.Fprintf(a.stdout, "mode %s\n", r.Mode)
		if r.Lookup == "" {
			fmt.Fprintln(a.stdout, "  nothing")
		} else {
			fmt.Fprintf(a.stdout, "a look-up:\n%s\n", indented(r.Lookup))
		}
		for _, b := range r.Statistics {
			fmt.Fprintf(a.stdout, "statistics:\n%s\n", indented(b))
		}
	}
	return nil
}

// indented is a text of several lines as a terminal may show it.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + escape(strings.TrimRight(line, "\r\n")) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func (a *app) stats(ctx context.Context, d *device, send bool) error {
	f, err := d.facts("")
	if err != nil {
		return err
	}
	r := statsReport{}
	r.Mode, _ = f.InForce()
	if send {
		if r.Mode != ksn.ModeExtended {
			return &ksn.RefusedError{What: "sending statistics", Why: "they are sent in extended mode only", Remedy: "run \"avdb ksn enable --mode extended\""}
		}
		c, err := d.cloud(false)
		if err != nil {
			return err
		}
		defer c.close()
		if c.provider == nil {
			return c.nobody()
		}
		if err := c.deliver(ctx); err != nil {
			return err
		}
		r.Sent = true
	}
	list, err := d.store.Spooled(0)
	if err != nil {
		return err
	}
	for _, s := range list {
		r.Waiting, r.Bytes = r.Waiting+1, r.Bytes+len(s.Record)
	}
	if a.json {
		return a.document(r)
	}
	fmt.Fprintf(a.stdout, "mode %s, %s waiting, %s\n", r.Mode, plural(r.Waiting, "record"), bytesText(int64(r.Bytes)))
	return nil
}

// deliver sends what waits.
func (c *cloud) deliver(ctx context.Context) error {
	rec, err := c.d.recorder()
	if err != nil {
		return err
	}
	return rec.Deliver(ctx, func(ctx context.Context, body []byte) error {
		err := c.client.SendStats(ctx, body)
		if errors.Is(err, reputation.ErrUnwanted) {
			err = errors.Join(statistics.ErrUnwanted, err)
		}
		return err
	})
}

// A recheckReport is what `ksn recheck` prints.
type recheckReport struct {
	Settled []settledReport `json:"settled"`
	Left    int             `json:"left"` // that wait for an answer
}

type settledReport struct {
	Path    string          `json:"path"`
	Key     string          `json:"key"`
	Verdict matcher.Verdict `json:"verdict"` // malicious or clean
	Name    string          `json:"name"`
	Source  string          `json:"source"`
	Since   time.Time       `json:"since"` // it was suspected
}

// recheck asks again about what only the light database suspects.
func (c *cloud) recheck(ctx context.Context) (recheckReport, error) {
	r := recheckReport{Settled: []settledReport{}}
	pua := c.d.effective().Scan.PUA
	left, err := c.client.DrainDeferred(ctx, func(d reputation.Deferred, v reputation.Verdict) {
		s := v.Settle(pua)
		r.Settled = append(r.Settled, settledReport{Path: d.Path, Key: d.Key, Verdict: s.Verdict, Name: s.Name, Source: s.Source, Since: d.Since.UTC()})
	})
	r.Left = left
	return r, err
}

func newKSNRecheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "recheck",
		Short: "ask again about what is only suspected",
		Long: `Files that the light database suspects, and about which KSN gave no answer, are remembered and asked about again: by every
"avdb update", and by this command. The exit code is 1 when one of them turns out to be malicious, 13 when nobody answers.`,
		Example: "  avdb ksn recheck",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := a.device(false)
			if err != nil {
				return err
			}
			cl, err := d.cloud(false)
			if err != nil {
				return err
			}
			defer cl.close()
			if cl.provider == nil {
				return cl.nobody()
			}
			r, err := cl.recheck(c.Context())
			if err == nil && r.found() {
				err = errFinding
			}
			if a.json {
				return a.reportJSON(r, err)
			}
			a.recheckText(r)
			return err
		},
	}
}

func (r recheckReport) found() bool {
	for _, s := range r.Settled {
		if s.Verdict == matcher.Malicious {
			return true
		}
	}
	return false
}

func (a *app) recheckText(r recheckReport) {
	for _, s := range r.Settled {
		if s.Verdict == matcher.Malicious {
			fmt.Fprintf(a.stdout, "%s: %s FOUND\n", pathText(s.Path), escape(s.Name))
		} else if a.verbose {
			fmt.Fprintf(a.stdout, "%s: OK\n", pathText(s.Path))
		}
	}
	if r.Left > 0 {
		a.note("%s still suspected", plural(r.Left, "object"))
	}
}

// clearSpool throws statistics away that wait, and writes nothing where none do.
func (d *device) clearSpool() error {
	if list, err := d.store.Spooled(1); err != nil || len(list) == 0 {
		return err
	}
	return d.store.ClearSpool()
}

// errands is what an update does for KSN afterwards, within a short time: it asks again about suspicions, learns how long prefixes should be, and delivers
// statistics. Nothing of it
// makes the update fail, and without consent nothing is asked.
func (d *device) errands(ctx context.Context) {
	f, err := d.facts("")
	mode, _ := f.InForce()
	if mode != ksn.ModeExtended { // policy or a file may have ended it: what waits is of a consent that is over
		if err := d.clearSpool(); err != nil {
			d.a.logger().Debug("old statistics cannot be thrown away", "error", err)
		}
	}
	if err != nil || !mode.On() || f.Network == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, errandTime)
	defer cancel()
	c, err := d.cloud(false)
	if err != nil {
		d.a.warn("KSN is not asked: %v", err)
		return
	}
	defer c.close()
	r, err := c.recheck(ctx)
	if err != nil {
		d.a.logger().Debug("suspicions stay open", "error", err)
	}
	for _, s := range r.Settled {
		if s.Verdict == matcher.Malicious {
			d.a.warn("%s, suspected since %s, is %s", s.Path, stamp(s.Since), s.Name)
		}
	}
	if v, verr := d.variant(); err == nil && verr == nil && v == dbformat.VariantLight { // scans that ask are over too soon to learn it
		if err := c.client.Learn(ctx); err != nil {
			d.a.logger().Debug("what the network says of itself is not known", "error", err)
		}
	}
	if mode == ksn.ModeExtended {
		if err := c.deliver(ctx); err != nil && !errors.Is(err, ksn.ErrRefused) {
			d.a.logger().Debug("statistics wait", "error", err)
		}
	}
}
