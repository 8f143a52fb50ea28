package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"example.org/avdb/mirror"
	"example.org/avdb/updater"
)

func newMirrorVerify(a *app) *cobra.Command {
	var c mirror.VerifyConfig
	var root string
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "look at a mirror as clients would, before it is promoted",
		Long: `Look at the mirror in DIR as clients would, from its files alone: metadata under the root and not older than what DIR and LIVE have
shown, every file by length and hash, each variant loaded and put to its self-test, files that must not be found and files
that must. Then gates refuse (16) a set that differs much from the last one, or expires within a day.
What was found is kept for "avdb mirror promote". Damage is exit code 12, and fetched again by the next sync.`,
		Example: `  avdb mirror verify /srv/stage --root 1.root.json
  avdb mirror verify /srv/stage --live /srv/live --clean-corpus /usr/bin --detect /srv/samples
  avdb mirror verify /srv/stage --accept                            the source was cleaned up, on purpose`,
		Args: exactArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Dir = args[0]
			if c.MaxChange < 1 {
				return usagef("--max-change is %d, want a number of percent, 1 or more", c.MaxChange)
			}
			if root != "" {
				var err error
				if c.Root, err = readRootFile(root); err != nil {
					return err
				}
			}
			r, err := mirror.Verify(cmd.Context(), c)
			if _, damaged := errors.AsType[*updater.TargetError](err); damaged {
				err = hint(err, "clients refuse what is damaged; sync it again from its source, which fetches that, then verify it again")
			}
			return a.mirrorVerified(r, mirrorError(err))
		},
	}
	f := cmd.Flags()
	f.StringVar(&root, "root", "", "`FILE` with the repository's root (default: the one that DIR trusts)")
	f.StringVar(&c.Live, "live", "", "the mirror `LIVE` that is served: nothing older passes, and counts are compared with its last set")
	f.StringArrayVar(&c.CleanCorpus, "clean-corpus", nil, "`PATH` of files in which nothing may be found (can be repeated)")
	f.StringArrayVar(&c.Detect, "detect", nil, "`PATH` of files each of which must be found (can be repeated)")
	f.IntVar(&c.MaxChange, "max-change", mirror.DefaultMaxChange, "refuse a layer whose records or bytes changed by more than so many `PERCENT`")
	f.BoolVar(&c.Accept, "accept", false, "let pass a layer that changed more")
	f.BoolVar(&c.AcceptExpiring, "accept-expiring", false, "let pass a set that expires within 24 hours")
	return cmd
}

// mirrorVerified prints what a verification looked at, which is good beside an error, too.
func (a *app) mirrorVerified(r mirror.VerifyReport, err error) error {
	if a.json {
		return a.reportJSON(r, err)
	}
	if err != nil || a.quiet || !terminal(a.stdout) && !a.verbose {
		return err
	}
	fmt.Fprintf(a.stdout, "release %d is good: %s, %s, expires %s\n", r.Version, plural(r.Targets, "file"), bytesText(r.Bytes), stamp(r.Expires))
	fmt.Fprintf(a.stdout, "self-test  %s\n", strings.Join(r.Variants, ", "))
	if r.Clean+r.Detected > 0 {
		fmt.Fprintf(a.stdout, "files      nothing found in %s, %s found\n", countText(r.Clean), countText(r.Detected))
	}
	return nil
}

func newMirrorPromote(a *app) *cobra.Command {
	var c mirror.PromoteConfig
	cmd := &cobra.Command{
		Use:   "promote STAGE LIVE",
		Short: "show in LIVE what was verified in STAGE",
		Long: `Show in LIVE exactly what "avdb mirror verify" found good in STAGE. Everything is verified again while it is copied, and becomes visible
at once, in the end. What changed in STAGE since, or is older than what LIVE showed, is refused (12), and LIVE stays as it is.`,
		Example: `  avdb mirror sync https://db.example.net/avdb /srv/stage && avdb mirror verify /srv/stage --live /srv/live &&
    avdb mirror promote /srv/stage /srv/live`,
		Args: exactArgs("STAGE", "LIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Keep < 1 {
				return usagef("--keep is %d, want 1 or more", c.Keep)
			}
			if c.Stage, c.Live = args[0], args[1]; sameFolder(c.Stage, c.Live) {
				return usagef("STAGE and LIVE are the same folder")
			}
			r, err := mirror.Promote(cmd.Context(), c)
			return a.synced(r, mirrorError(err))
		},
	}
	cmd.Flags().IntVar(&c.Keep, "keep", mirror.DefaultKeep, "keep the files of the last `N` releases in LIVE for slow clients")
	return cmd
}
