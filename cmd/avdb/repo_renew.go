package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/signing"
)

// A renewReport is what `repo renew` prints.
type renewReport struct {
	Renewed []roleReport `json:"renewed"`
	Offline []roleReport `json:"offline_due"` // root and targets, where they are due and were not renewed
	Pending bool         `json:"pending"`     // what else is due lacks signatures
	Lacks   string       `json:"lacks"`
}

func newRepoRenew(a *app) *cobra.Command {
	var keys string
	var offline bool
	c := &cobra.Command{
		Use:   "renew DIR",
		Short: "sign anew what is near its expiry",
		Long: `Sign anew every online role that has less than a third of its life left. Run it daily from cron, on
the publishing host: clients refuse metadata that has expired. Nothing due is no error. Offline keys are not read, even
where they are at hand: root and targets live for years, and it warns when less than a third is left.

With --offline root and targets are signed anew too when they are due or expired; run it where their keys are, or name their
folder with --keys. Where a role needs signatures of other hosts, what can be renewed here is, and the rest
waits for "avdb repo sign" there.`,
		Example: `  avdb repo renew /srv/avdb
  avdb repo renew /srv/avdb --offline --keys /media/safe/keys`,
		Args: exactArgs("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			repo, err := signing.OpenRepository(args[0], keys)
			if err != nil {
				return err
			}
			renew, now := repo.Renew, time.Now()
			if offline {
				renew = repo.RenewOffline
			}
			done, err := renew(now)
			lacks, err := waits(err)
			if err != nil {
				return err
			}
			r := renewReport{Renewed: []roleReport{}, Offline: []roleReport{}, Pending: lacks != "", Lacks: lacks}
			for _, d := range done {
				r.Renewed = append(r.Renewed, roleReport{Role: d.Role, Version: d.Version, Expires: d.Expires.UTC()})
			}
			if r.Offline, err = offlineDue(repo, now); err != nil {
				return err
			}
			if a.json {
				return a.document(r)
			}
			for _, d := range r.Renewed {
				fmt.Fprintf(a.stdout, "%s version %d, expires %s\n", d.Role, d.Version, stamp(d.Expires))
			}
			for _, d := range r.Offline {
				a.warn("%s expires %s: run \"avdb repo renew --offline\" where the offline keys are", d.Role, stamp(d.Expires))
			}
			switch {
			case r.Pending:
				a.warn("what else is due waits for signatures: %s", lacks)
				a.note("run \"avdb repo sign\" where the other keys are, before it expires")
			case len(r.Renewed) == 0:
				a.note("nothing is due")
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&keys, "keys", "", "`FOLDER` of the keys (default: keys in DIR)")
	f.BoolVar(&offline, "offline", false, "sign root and targets anew too, with the offline keys")
	return c
}

// offlineDue lists root and targets where they have less than a third of their life left.
func offlineDue(repo *signing.Repository, now time.Time) ([]roleReport, error) {
	st, err := repo.Status(now)
	if err != nil {
		return nil, err
	}
	due := []roleReport{}
	for _, s := range st.Roles {
		if !s.Online && s.RenewDue {
			due = append(due, roleReport{Role: s.Role, Version: s.Version, Expires: s.Expires.UTC(), Expired: s.Expired, RenewDue: true,
				Bytes: s.Bytes, Targets: s.Targets, Threshold: s.Threshold, Keys: s.Keys})
		}
	}
	return due, nil
}
