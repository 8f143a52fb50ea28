package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/mirror"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

func newMirror(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "mirror",
		Short: "keep a copy of a repository that web servers serve",
		Long: `Keep a folder that any web server can serve as a copy of a repository. What such a folder shows is verified
before it becomes visible, and one whole release at any moment.`,
		Example: `  avdb mirror sync https://db.example.net/avdb /srv/stage --root 1.root.json
  avdb mirror verify /srv/stage --root 1.root.json
  avdb mirror promote /srv/stage /srv/live`,
	})
	c.AddCommand(newMirrorSync(a), newMirrorVerify(a), newMirrorPromote(a), newMirrorStatus(a))
	return c
}

func newMirrorSync(a *app) *cobra.Command {
	var c mirror.Config
	var root, layers, rate string
	cmd := &cobra.Command{
		Use:   "sync URL DIR",
		Short: "bring a mirror to the state of its source",
		Long: `Bring the mirror in DIR to the state of its source: a repository's public folder or another mirror, by http://, https://
or file://. Everything is verified before it becomes visible, under the root that the first sync is
given. Without news it costs two requests; what is damaged in DIR is fetched again. Serve DIR, but not
DIR/.mirror. Silent when all is well and standard output is no terminal, as cron likes it.`,
		Example: `  avdb mirror sync https://db.example.net/avdb /srv/mirror --root 1.root.json
  avdb mirror sync https://db.example.net/avdb /srv/mirror          from then on
  avdb mirror sync file:///mnt/usb/avdb /srv/mirror                 over an air gap
  avdb mirror sync https://db.example.net/avdb /srv/light --root 1.root.json --layers light`,
		Args: exactArgs("URL", "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := updater.CheckSource(args[0]); err != nil {
				return usagef("%v", err)
			}
			c.Source, c.Dir = updater.Source{URL: args[0]}, args[1]
			c.Remote = updater.RemoteConfig{Getenv: a.env}
			var err error
			if c.Layers, err = parseLayers(layers); err != nil {
				return err
			}
			if c.Keep < 1 {
				return usagef("--keep is %d, want 1 or more", c.Keep)
			}
			if c.Remote.RateLimit, err = parseSize(rate); err != nil {
				return usagef("--limit-rate is %q, want a number of bytes such as 500k or 2M", rate)
			}
			if root != "" {
				if c.Root, err = readRootFile(root); err != nil {
					return err
				}
			}
			p := a.progress()
			c.Progress = func(x updater.Progress) { p.set(x.Target, x.Done, x.Total) }
			p.set("looking for what is new", 0, 0)
			r, err := mirror.Sync(cmd.Context(), c)
			p.end()
			return a.synced(r, mirrorError(err))
		},
	}
	f := cmd.Flags()
	f.StringVar(&root, "root", "", "`FILE` with the repository's first root (1.root.json), which came another way; the first sync needs it")
	f.StringVar(&layers, "layers", "light,rest", "`LAYERS` to keep: light, rest or both")
	f.IntVar(&c.Keep, "keep", mirror.DefaultKeep, "keep the files of the last `N` releases for slow clients")
	f.StringVar(&rate, "limit-rate", "0", "most `BYTES` per second, such as 500k or 2M; 0 for no limit")
	return cmd
}

func parseLayers(text string) ([]dbformat.Layer, error) {
	var list []dbformat.Layer
	for name := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc([]dbformat.Layer{dbformat.Light, dbformat.Rest}, func(l dbformat.Layer) bool { return l.String() == strings.TrimSpace(name) })
		if i < 0 {
			return nil, usagef("--layers is %q, want light, rest or light,rest", text)
		}
		list = append(list, []dbformat.Layer{dbformat.Light, dbformat.Rest}[i])
	}
	return list, nil
}

// mirrorError gives errors of a mirror the remedies that hold there; what others say of installed databases does not.
func mirrorError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, signing.ErrNoTrust):
		return hint(errors.New("this mirror trusts no root yet"), "give the repository's first root with --root FILE; it must come another way than the files")
	case errors.Is(err, signing.ErrOtherRoot):
		return hint(err, "name another folder, or remove DIR/.mirror/trust if the repository was made anew")
	case own(err):
		return err
	case errors.Is(err, updater.ErrUnavailable):
		return hint(err, "what the mirror serves stays as it is; check the network and the source, and run it again")
	case errors.Is(err, updater.ErrCoolDown):
		return hint(err, "what the mirror serves stays as it is; run it again then")
	case errors.Is(err, signing.ErrUntrusted):
		return hint(err, "what the mirror serves stays as it is; sync from another source, or tell who runs this one")
	}
	return err
}

// own tells whether the error knows itself what to do.
func own(err error) bool {
	_, gate := errors.AsType[*mirror.GateError](err)
	_, unverified := errors.AsType[*mirror.UnverifiedError](err)
	_, hinted := errors.AsType[*hintError](err)
	return gate || unverified || hinted
}

// sameFolder tells whether two paths lead to one folder.
func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// synced prints the report of a sync, which is good beside an error, too.
func (a *app) synced(r mirror.Report, err error) error {
	if a.json {
		return a.reportJSON(r, err)
	}
	for _, n := range r.Notes {
		a.note("%s", n)
	}
	if err != nil || a.quiet || !terminal(a.stdout) && !a.verbose {
		return err
	}
	traffic := fmt.Sprintf("%s in %s, %.1f s", bytesText(r.Bytes), plural(int(r.Requests), "request"), r.Seconds)
	switch {
	case r.Result == mirror.ResultCurrent:
		fmt.Fprintf(a.stdout, "release %d is what the source has (%s)\n", r.Version, traffic)
	case r.From == r.Version:
		fmt.Fprintf(a.stdout, "release %d, %s got (%s)\n", r.Version, plural(r.Targets, "file"), traffic)
	default:
		fmt.Fprintf(a.stdout, "release %d → %d, %s got (%s)\n", r.From, r.Version, plural(r.Targets, "file"), traffic)
	}
	return nil
}
