package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"example.org/avdb/osfile"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

func newRepo(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "repo",
		Short: "publish a database: keys, releases, renewals",
		Long: `A repository is a folder: DIR/public is a complete static site for any web server, DIR/keys/offline holds the
keys of root and targets (take them off this host), DIR/keys/online those that publishing
and renewing need. What waits for the signatures of other hosts is in DIR/pending.`,
		Example: `  avdb repo init /srv/avdb
  avdb repo publish /srv/avdb signatures/
  avdb repo renew /srv/avdb
  avdb repo rotate /srv/avdb timestamp --keys /media/safe/keys
  avdb repo status /srv/avdb`,
	})
	c.AddCommand(newRepoInit(a), newRepoPublish(a), newRepoSign(a), newRepoRenew(a), newRepoApprove(a), newRepoRotate(a), newRepoNetwork(a), newRepoStatus(a))
	for _, sub := range c.Commands() {
		run, remedy := sub.RunE, diskRemedy
		if sub.Name() == "init" {
			remedy = diskRemedyInit
		}
		sub.RunE = func(c *cobra.Command, args []string) error { return onDisk(run(c, args), remedy) }
	}
	return c
}

// What still holds when the disk of a repository fails: what is published is whole at any moment, and each run goes on where one
// ended early.
const (
	diskRemedy     = "what DIR/public serves is whole; make room or repair the disk, then run the command again, which tidies up and goes on"
	diskRemedyInit = "nothing is published yet; make room or repair the disk, remove DIR/public and DIR/keys, then run the command again"
)

// A diskError is a failure of the disk under a repository. It matches [store.ErrStorage].
type diskError struct {
	error
	remedy string
}

func (e *diskError) Is(target error) bool { return target == store.ErrStorage }
func (e *diskError) Unwrap() error        { return e.error }
func (e *diskError) Remedy() string       { return e.remedy }

// onDisk tells failures of a repository's disk from other errors, among them those of standard output.
func onDisk(err error, remedy string) error {
	if p, ok := errors.AsType[*fs.PathError](err); !osfile.DiskFailed(err) || ok && p.Path == os.Stdout.Name() {
		return err
	}
	if _, known := errors.AsType[*diskError](err); known {
		return err
	}
	return &diskError{err, remedy}
}

// A repoReport is what `repo init` prints.
type repoReport struct {
	Dir         string `json:"dir"`
	Public      string `json:"public"`      // what web servers serve
	Root        string `json:"root"`        // the file that endpoints are given
	Fingerprint string `json:"fingerprint"` // SHA-256 of its bytes, hex
	Keys        string `json:"keys"`        // folder
	Threshold   int    `json:"threshold"`
	Offline     int    `json:"offline_keys"` // of root, and as many of targets
	Online      int    `json:"online_threshold"`
	Cosign      string `json:"cosign_keys,omitempty"` // folder of the keys to move to the co-signing host
}

func newRepoInit(a *app) *cobra.Command {
	var o signing.RepositoryOptions
	var keys []string
	c := &cobra.Command{
		Use:   "init DIR",
		Short: "make keys and an empty repository",
		Long: `Make a repository in DIR: new keys and the first signed metadata. The fingerprint that is printed is what
endpoints are told out of band, with "avdb init --root-sha256". Move DIR/keys/offline to a safe
place afterwards: publishing and renewing never need it.

With --online-threshold 2 every release needs the signature of a second host as well: move DIR/keys/cosign
there, publish with --unsigned here, and run "avdb repo sign" there and then here.`,
		Example: `  avdb repo init /srv/avdb
  avdb repo init /srv/avdb --online-threshold 2
  avdb repo init /srv/avdb --threshold 2 --keys 3
  avdb repo init /srv/avdb --keys /media/safe/keys`,
		Args: exactArgs("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Keys, o.KeysDir = numberOrFolder(keys)
			if o.Keys == 0 {
				o.Keys = o.Threshold
			}
			if o.Threshold < 1 || o.Keys < o.Threshold {
				return usagef("--threshold %d of --keys %d: want at least 1, and as many keys", o.Threshold, o.Keys)
			}
			if o.Online < 1 || o.Online > 2 {
				return usagef("--online-threshold %d: want 1, or 2 for a co-signing host", o.Online)
			}
			repo, err := signing.CreateRepository(args[0], o)
			if err != nil {
				return err
			}
			r := repoReport{Dir: args[0], Public: repo.PublicDir(), Fingerprint: repo.RootFingerprint(),
				Root: filepath.Join(repo.PublicDir(), "metadata", "1.root.json"),
				Keys: firstOf(o.KeysDir, filepath.Join(args[0], "keys")), Threshold: o.Threshold, Offline: o.Keys, Online: o.Online}
			if o.Online > 1 {
				r.Cosign = filepath.Join(r.Keys, "cosign")
			}
			if a.json {
				return a.document(r)
			}
			fmt.Fprintf(a.stdout, "root fingerprint: %s\nserve %s\n", r.Fingerprint, pathText(r.Public))
			a.note("move %s to a safe place: nothing but new keys needs it", filepath.Join(r.Keys, "offline"))
			if r.Cosign != "" {
				a.note("move %s to the co-signing host: releases are visible once it has signed them", r.Cosign)
			}
			return nil
		},
	}
	f := c.Flags()
	f.IntVar(&o.Threshold, "threshold", 1, "`N` signatures that root and targets each need")
	f.IntVar(&o.Online, "online-threshold", 1, "`N` signatures that database, restrictions and snapshot each need: 1, or 2 with a co-signing host")
	f.StringArrayVar(&keys, "keys", nil, "`N` keys of root, and as many of targets (default: the threshold); or the folder to keep the keys in (default: keys in DIR)")
	return c
}

// numberOrFolder takes apart what --keys of a command may be: how many, and where.
func numberOrFolder(values []string) (n int, folder string) {
	for _, v := range values {
		if i, err := strconv.Atoi(v); err == nil {
			n = i
		} else {
			folder = v
		}
	}
	return n, folder
}

func newRepoPublish(a *app) *cobra.Command {
	var o publisher.Options
	c := &cobra.Command{
		Use:   "publish DIR SOURCE...",
		Short: "make the sources the content of a new release",
		Long: `Compile the sources, which are the whole content of the release, cut them into the two layers, make deltas
and have it all signed. Sources are files or folders, by extension: .hdb .hsb .hdu .hsu .mdb .msb .mdu .msu
.ndb .ndu .ldb .ldu .fp .sfp .ign .ign2 (ClamAV), .hashes (a hash a line, a name after it), .urls (a URL or
domain a line); any of them also as .gz or .zst. A line that cannot be used is listed with file, line and
reason.

Content that did not change publishes nothing. A release that loses most of its records is refused
by a guard: exit code 16.

With --unsigned the release is prepared and signed by this host only; it is not visible in DIR/public until
"avdb repo sign" has collected the signatures that it needs. A later release takes its place.`,
		Example: `  avdb repo publish /srv/avdb signatures/
  avdb repo publish /srv/avdb main.hdb daily.hsb clean.fp --policy policy.yaml
  avdb repo publish /srv/avdb signatures/ --restrictions quiet-day.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("avdb repo publish: DIR and at least one SOURCE are needed")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.Dir, o.Sources = args[0], args[1:]
			p := a.progress()
			o.Progress = func(step string, done, total int) { p.set(fmt.Sprintf("%s %d of %d", step, done, total), 0, 0) }
			r, err := publisher.Publish(c.Context(), o)
			p.end()
			return a.published(r, onDisk(err, diskRemedy))
		},
	}
	f := c.Flags()
	f.StringVar(&o.KeysDir, "keys", "", "`FOLDER` of the keys (default: keys in DIR)")
	f.StringVar(&o.Policy, "policy", "", "policy `FILE`: what is whole in light, variants offered, guards")
	f.StringVar(&o.Restrictions, "restrictions", "", "restriction set `FILE`, or none for an empty set (default: as it is)")
	f.BoolVar(&o.Unsigned, "unsigned", false, "prepare the release for other hosts to sign too (see avdb repo sign)")
	f.Uint64Var(&o.Version, "version", 0, "`NUMBER` of the release (default: the next)")
	return c
}

// rejectedBy tells how many rejects there are of the most frequent kinds.
func (a *app) rejectedBy(r *publisher.Report) {
	kinds := slices.SortedFunc(maps.Keys(r.RejectedBy), func(x, y string) int {
		return cmp.Or(cmp.Compare(r.RejectedBy[y], r.RejectedBy[x]), cmp.Compare(x, y))
	})
	for _, kind := range kinds[:min(len(kinds), 20)] {
		a.warn("rejected in all: %s: %s", countText(r.RejectedBy[kind]), kind)
	}
}

// published prints the report of a publish, which there may be beside an error.
func (a *app) published(r *publisher.Report, err error) error {
	if r == nil {
		return err
	}
	for _, w := range r.Warnings {
		a.warn("%s", w)
	}
	if a.json {
		return a.reportJSON(r, err)
	}
	const shown = 20
	for i, reject := range r.Rejects {
		if i == shown && !a.verbose {
			a.warn("%d more lines were rejected; see them with -v or --json", len(r.Rejects)-shown)
			a.rejectedBy(r)
			break
		}
		a.warn("rejected: %s", reject)
	}
	if err != nil {
		return err
	}
	if r.Pending {
		defer a.note("release %d is not visible yet: run \"avdb repo sign\" where the other keys are", r.Version)
	} else if !r.Published {
		_, err := fmt.Fprintf(a.stdout, "release %d has this content already: nothing was published\n", r.Version)
		return err
	}
	fmt.Fprintf(a.stdout, "release %d: %s accepted, %s rejected", r.Version, countText(r.Accepted), countText(r.Rejected))
	if r.Duplicates > 0 {
		fmt.Fprintf(a.stdout, ", %s duplicates", countText(r.Duplicates))
	}
	if r.Ignored > 0 {
		fmt.Fprintf(a.stdout, ", %s ignored", countText(r.Ignored))
	}
	fmt.Fprintln(a.stdout)
	for _, l := range []struct {
		name  string
		layer publisher.LayerReport
	}{{"light", r.Layers.Light}, {"rest", r.Layers.Rest}} {
		fmt.Fprintf(a.stdout, "%-5s %s records, bundle %s", l.name, countText(l.layer.Records), bytesText(l.layer.BundleBytes))
		if d := l.layer.Deltas; len(d) > 0 {
			fmt.Fprintf(a.stdout, ", %d deltas, from release %d %s", len(d), d[0].From, bytesText(d[0].Bytes))
		}
		fmt.Fprintln(a.stdout)
	}
	return nil
}
