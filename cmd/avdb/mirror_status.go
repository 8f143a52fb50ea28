package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/mirror"
)

func newMirrorStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status STAGE [LIVE]",
		Short:   "what mirrors show, how far one is behind, and when roles expire",
		Long:    `Tell what a mirror shows, or a stage and the mirror that is promoted to, from what runs wrote down. The files themselves are looked at by "avdb mirror verify".`,
		Example: "  avdb mirror status /srv/stage /srv/live --json",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return exactArgs("STAGE")(c, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			live := ""
			if len(args) == 2 {
				live = args[1]
			}
			s, err := mirror.ReadStatus(args[0], live, time.Now())
			if errors.Is(err, mirror.ErrNoMirror) {
				err = hint(err, "make one with \"avdb mirror sync\"")
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.document(s)
			}
			a.standing("stage", s.Stage)
			if s.Live != nil {
				a.standing("live", *s.Live)
				fmt.Fprintf(a.stdout, "lag    %s, %d min\n", plural(int(s.LagVersions), "version"), s.LagMinutes)
			}
			return nil
		},
	}
}

// standing prints how one mirror stands.
func (a *app) standing(name string, x mirror.Standing) {
	fmt.Fprintf(a.stdout, "%-6s release %d of %s, shown since %s in %s (%s)\n", name, x.Version, stamp(x.Signed), stamp(x.Shown), x.Dir, strings.Join(x.Layers, ", "))
	fmt.Fprintf(a.stdout, "       synced %s from %s\n", stamp(x.Synced), x.Source)
	if x.Unproved != "" {
		fmt.Fprintf(a.stdout, "       NOT VERIFIED: %s\n", x.Unproved)
	} else {
		fmt.Fprintf(a.stdout, "       verified %s\n", stamp(x.Verified))
	}
	if x.Unsettled != "" {
		fmt.Fprintf(a.stdout, "       %s\n", x.Unsettled)
	}
	for _, r := range x.Roles {
		left := "in " + ago(time.Duration(r.Seconds)*time.Second)
		if r.Seconds < 0 {
			left = "EXPIRED"
		}
		fmt.Fprintf(a.stdout, "       %-12s version %-4d expires %s  %s\n", r.Role, r.Version, stamp(r.Expires), left)
	}
}
