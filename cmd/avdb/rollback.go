package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// rollbackReport is what `rollback` and `release-hold` print.
type rollbackReport struct {
	From    uint64           `json:"from"`
	To      uint64           `json:"to"`
	Variant dbformat.Variant `json:"variant"`
	Held    uint64           `json:"held"`     // releases up to this one are not installed; 0 for none
	HeldAll bool             `json:"held_all"` // no release is, until release-hold
}

func newRollback(a *app) *cobra.Command {
	var hold bool
	c := &cobra.Command{
		Use:   "rollback",
		Short: "go back to the release before",
		Long: `Make the release before current again. It is on disk still, so this needs no network and works when the newest
release does harm. The release that was left is not installed again; a higher one is. With
--hold no release is, until "avdb release-hold". Restriction sets are still taken.`,
		Example: `  avdb rollback
  avdb rollback --hold`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(false)
			if err != nil {
				return err
			}
			var before, after store.Current
			err = d.locked(func() error {
				if before, err = d.store.Current(); err != nil {
					return err
				}
				if after, err = d.store.Rollback(hold); err != nil {
					return d.firstRelease(before, err)
				}
				d.remember(store.Event{Kind: "rollback", Result: "rolled_back", From: before.Version, To: after.Version, Variant: string(after.Variant())})
				return nil
			})
			if err != nil {
				return err
			}
			r := rollbackReport{From: before.Version, To: after.Version, Variant: after.Variant(), Held: after.Hold.Version, HeldAll: after.Hold.All}
			if a.json {
				return a.document(r)
			}
			fmt.Fprintf(a.stdout, "release %d → %d, %s database\n", r.From, r.To, r.Variant)
			if r.HeldAll {
				a.note("no release is installed until %q", "avdb release-hold")
			} else {
				a.note("release %d is not installed again; a higher one is", r.Held)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&hold, "hold", false, "install no release at all until release-hold")
	return c
}

func newReleaseHold(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "release-hold",
		Short: "end the hold that a roll-back left",
		Long: `Let updates install every release again, also the one that a roll-back left. Nothing is fetched:
the next update does that.`,
		Example: "  avdb release-hold",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(false)
			if err != nil {
				return err
			}
			var cur store.Current
			err = d.locked(func() error {
				if err := d.store.ReleaseHold(); err != nil {
					return err
				}
				if cur, err = d.store.Current(); err != nil {
					return err
				}
				d.remember(store.Event{Kind: "release_hold", To: cur.Version, Variant: string(cur.Variant())})
				return nil
			})
			if err != nil {
				return err
			}
			r := rollbackReport{From: cur.Version, To: cur.Version, Variant: cur.Variant(), Held: cur.Hold.Version, HeldAll: cur.Hold.All}
			if a.json {
				return a.document(r)
			}
			_, err = fmt.Fprintf(a.stdout, "release %d; nothing is held\n", r.To)
			return err
		},
	}
}

// firstRelease says of a rollback that failed for want of an earlier database why there is none, where
// enough are kept.
func (d *device) firstRelease(cur store.Current, err error) error {
	if !errors.Is(err, store.ErrNoPrevious) || cur.RolledBack != nil || d.effective().Update.Keep < 1 {
		return err
	}
	return hint(fmt.Errorf("there is no earlier database yet: %w", err), "there will be one to go back to once an update has installed a newer release")
}

// locked runs f under the update lock.
func (d *device) locked(f func() error) error {
	if !exists(d.store.Dir()) {
		return d.noDatabase()
	}
	lock, err := d.store.Lock()
	if err != nil {
		return err
	}
	return errors.Join(f(), lock.Unlock())
}

// noDatabase is the error of a device that was never set up.
func (d *device) noDatabase() error {
	return hint(fmt.Errorf("%s was never set up: %w yet", d.store.Dir(), store.ErrNoDatabase), "run %q first", "avdb init --source URL --root FILE")
}

func newHistory(a *app) *cobra.Command {
	n := 20
	c := &cobra.Command{
		Use:   "history",
		Short: "what updates and roll-backs did",
		Example: `  avdb history
  avdb history -n 0 --json        all that is kept`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if n < 0 {
				return usagef("-n is %d, want 0 or more", n)
			}
			d, err := a.device(true)
			if err != nil {
				return err
			}
			events, err := d.store.History(n)
			if err != nil {
				return err
			}
			if a.json {
				return a.document(struct {
					Events []store.Event `json:"events"`
				}{append([]store.Event{}, events...)})
			}
			for _, e := range events {
				fmt.Fprintln(a.stdout, eventText(e))
			}
			if len(events) == 0 {
				a.note("nothing happened yet")
			}
			return nil
		},
	}
	c.Flags().IntVarP(&n, "number", "n", n, "newest `N` events, 0 for all")
	return c
}

// eventText is an event in a line.
func eventText(e store.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-12s", stamp(e.Time), e.Kind)
	if e.From != e.To {
		fmt.Fprintf(&b, "  %d → %d", e.From, e.To)
	} else if e.To != 0 {
		fmt.Fprintf(&b, "  %d", e.To)
	}
	for _, s := range []string{e.Variant, e.Result} {
		if s != "" {
			b.WriteString("  " + s)
		}
	}
	if e.Requests > 0 {
		fmt.Fprintf(&b, "  %s in %s, %.1f s", bytesText(e.Bytes), plural(e.Requests, "request"), e.Seconds)
	}
	if e.Source != "" {
		b.WriteString("  " + e.Source)
	}
	if e.Error != "" {
		b.WriteString("  failed: " + firstLine(e.Error))
	}
	return escape(b.String())
}

// remember writes down what was done. What took effect stays done if that fails.
func (d *device) remember(e store.Event) {
	if err := d.store.AppendHistory(e); err != nil {
		d.a.warn("the history does not show this: %v", err)
	}
}
