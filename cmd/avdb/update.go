package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

const updateHelp = `Bring the database up to date: ask the sources in their order for what is new, fetch the fewest bytes that
lead there, verify them, test the result, and make it current. What is installed stays in use
whatever fails. Silent when all is well and standard output is no terminal, as cron likes it.

With --check nothing is changed, and the exit code is 100 when an update is available. With
--dry-run the plan is printed.

With --json the document lists what was done, or would be, as steps. The layer of a step is light or
rest; restrictions, for the restriction set, whose from and to are epochs; or network, for the
provider file of the global KSN network, whose from and to are serials. How is delta, bundle, reuse
or none for the first two, and set for the others.`

func newUpdate(a *app) *cobra.Command {
	var o updater.Options
	var sources []string
	c := &cobra.Command{
		Use:   "update",
		Short: "bring the database up to date",
		Long:  updateHelp,
		Example: `  avdb update
  avdb update --jitter 10m --limit-rate 2M        from cron, politely
  avdb update --check                             is there something new? exit code 100
  avdb update --dry-run                           what would be fetched?
  avdb update --variant light                     the light database, this once`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Check && o.DryRun {
				return usagef("--check and --dry-run exclude each other")
			}
			d, err := a.device(false)
			if err != nil {
				return err
			}
			if err := d.flagged(c.Flags(), map[string]string{"variant": "update.variant", "limit-rate": "update.limit_rate", "jitter": "update.jitter"}); err != nil {
				return err
			}
			return a.update(c.Context(), d, o, sources)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.Check, "check", false, "only look: exit code 100 when an update is available")
	f.BoolVar(&o.DryRun, "dry-run", false, "print the plan and change nothing")
	f.String("variant", "auto", "`VARIANT` of this run: auto, light or full")
	f.StringArrayVar(&sources, "source", nil, "take this `URL` instead of the device's sources, this once (can be repeated)")
	f.String("limit-rate", "0", "most `BYTES` per second, such as 500k or 2M; 0 for no limit")
	f.String("jitter", "0s", "wait a random time up to `DURATION` before starting")
	return c
}

func (a *app) update(ctx context.Context, d *device, o updater.Options, sources []string) error {
	if err := d.ready(); err != nil {
		return err
	}
	u, err := d.updater(sources)
	if err != nil {
		return err
	}
	o.Variant = d.effective().Update.Variant
	k, _ := findKey("update.jitter")
	if v, _, _ := d.value(k); v.(time.Duration) > 0 && !o.Check && !o.DryRun {
		if err := pause(ctx, rand.N(v.(time.Duration))); err != nil {
			return err
		}
	}
	p := a.progress()
	progressTo(&u, p)
	up, err := updater.New(u)
	if err != nil {
		return err
	}
	p.set("looking for what is new", 0, 0)
	r, err := up.Update(ctx, o)
	p.end()
	if !o.Check && !o.DryRun && ctx.Err() == nil {
		d.errands(ctx)
	}
	return a.updated(r, o, err)
}

// progressTo has the downloads of an update drawn on the line.
func progressTo(c *updater.Config, p *progress) {
	if p == nil {
		return
	}
	c.Progress = func(x updater.Progress) {
		layer, file := path.Split(x.Target)
		what := strings.TrimSuffix(layer, "/") + strings.Replace(path.Ext(file), ".", " ", 1)
		p.set(what, x.Done, x.Total)
	}
}

// updater is the configuration of package updater: flags, environment and policy count as they do
// everywhere.
func (d *device) updater(sources []string) (updater.Config, error) {
	s := d.effective()
	c := updater.Config{Store: d.store, Logger: d.a.logger(), Getenv: d.a.env, RateLimit: s.Update.LimitRate}
	if c.RateLimit == 0 {
		c.RateLimit = -1 // none, whatever the settings say
	}
	if c.Keep = s.Update.Keep; c.Keep == 0 {
		c.Keep = -1
	}
	list := withOptions(sources, d.sources())
	if p, ok := d.policy.values["sources"]; ok {
		if len(sources) > 0 {
			d.a.warn("--source has no effect: %s:%d names the sources", d.policy.file, p.line)
		}
		list = d.sources()
	}
	for _, v := range list {
		src, err := updater.SourceOf(v)
		if err != nil {
			return c, usagef("%v", err)
		}
		c.Sources = append(c.Sources, src)
	}
	variant, err := d.variant()
	if err != nil && !errors.Is(err, store.ErrDamaged) {
		return c, err
	}
	c.Auto = func(now store.Settings) dbformat.Variant {
		seen := *d
		seen.settings = now
		f, err := seen.facts(variant)
		if err != nil {
			return dbformat.VariantFull // in doubt nothing is asked, so everything is needed here
		}
		return ksn.WantedVariant(seen.effective().CloudMode, f)
	}
	return c, nil
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// updated prints the report of an update, which is good beside an error too.
func (a *app) updated(r updater.Report, o updater.Options, err error) error {
	if err == nil && o.Check && r.Result == updater.ResultAvailable {
		err = errAvailable
	}
	if a.json {
		return a.reportJSON(r, err)
	}
	show := terminal(a.stdout) || a.verbose || o.Check || o.DryRun
	if a.quiet || !show {
		return err
	}
	if _, isResult := errors.AsType[verdictError](err); err != nil && !isResult {
		return err
	}
	fmt.Fprintln(a.stdout, updateText(r))
	for _, s := range r.Steps {
		if a.verbose || o.DryRun || s.How != updater.HowNone {
			fmt.Fprintf(a.stdout, "  %-12s %-7s %9s  %s\n", s.Layer, s.How, bytesText(s.Bytes), s.Why)
		}
	}
	for _, n := range r.Notes {
		a.note("%s", n)
	}
	return err
}

// updateText is the outcome in a line.
func updateText(r updater.Report) string {
	traffic := fmt.Sprintf("%s in %s, %.1f s", bytesText(r.Bytes), plural(int(r.Requests), "request"), r.Seconds)
	switch {
	case r.Result == updater.ResultAvailable:
		return fmt.Sprintf("release %d is available (%s)", r.To, traffic)
	case r.Result == updater.ResultUpdated && r.From == 0:
		return fmt.Sprintf("release %d is installed, %s database (%s)", r.To, r.Variant, traffic)
	case r.Result == updater.ResultUpdated && r.From == r.To:
		return fmt.Sprintf("release %d, now the %s database (%s)", r.To, r.Variant, traffic)
	case r.Result == updater.ResultUpdated:
		return fmt.Sprintf("release %d → %d, %s database (%s)", r.From, r.To, r.Variant, traffic)
	}
	return fmt.Sprintf("release %d is current, %s database (%s)", r.To, r.Variant, traffic)
}
