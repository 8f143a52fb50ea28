package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
)

func newRepo(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "repo",
		Short: "publish a database: keys, releases, renewals",
		Long: `A repository is a folder: DIR/public is a complete static site for any web server, DIR/keys/offline holds the
keys of root and targets (take them off this host), DIR/keys/online those that publishing
and renewing need.`,
		Example: `  avdb repo init /srv/avdb
  avdb repo publish /srv/avdb signatures/
  avdb repo renew /srv/avdb
  avdb repo status /srv/avdb`,
	})
	c.AddCommand(newRepoInit(a), newRepoPublish(a), newRepoRenew(a), newRepoStatus(a))
	return c
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
}

func newRepoInit(a *app) *cobra.Command {
	var o signing.RepositoryOptions
	var keys []string
	c := &cobra.Command{
		Use:   "init DIR",
		Short: "make keys and an empty repository",
		Long: `Make a repository in DIR: new keys and the first signed metadata. The fingerprint that is printed is what
endpoints are told out of band, with "avdb init --root-sha256". Move DIR/keys/offline to a safe
place afterwards: publishing and renewing never need it.`,
		Example: `  avdb repo init /srv/avdb
  avdb repo init /srv/avdb --threshold 2 --keys 3
  avdb repo init /srv/avdb --keys /media/safe/keys`,
		Args: exactArgs("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, k := range keys {
				if n, err := strconv.Atoi(k); err == nil {
					o.Keys = n
				} else {
					o.KeysDir = k
				}
			}
			if o.Keys == 0 {
				o.Keys = o.Threshold
			}
			if o.Threshold < 1 || o.Keys < o.Threshold {
				return usagef("--threshold %d of --keys %d: want at least 1, and as many keys", o.Threshold, o.Keys)
			}
			repo, err := signing.CreateRepository(args[0], o)
			if err != nil {
				return err
			}
			r := repoReport{Dir: args[0], Public: repo.PublicDir(), Fingerprint: repo.RootFingerprint(),
				Root: filepath.Join(repo.PublicDir(), "metadata", "1.root.json"),
				Keys: firstOf(o.KeysDir, filepath.Join(args[0], "keys")), Threshold: o.Threshold, Offline: o.Keys}
			if a.json {
				return a.document(r)
			}
			fmt.Fprintf(a.stdout, "root fingerprint: %s\nserve %s\n", r.Fingerprint, pathText(r.Public))
			a.note("move %s to a safe place: nothing but new keys needs it", filepath.Join(r.Keys, "offline"))
			return nil
		},
	}
	f := c.Flags()
	f.IntVar(&o.Threshold, "threshold", 1, "`N` signatures that root and targets each need")
	f.StringArrayVar(&keys, "keys", nil, "`N` keys of root, and as many of targets (default: the threshold); or the folder to keep the keys in (default: keys in DIR)")
	return c
}

func newRepoPublish(a *app) *cobra.Command {
	var o publisher.Options
	c := &cobra.Command{
		Use:   "publish DIR SOURCE...",
		Short: "make the sources the content of a new release",
		Long: `Compile the sources, which are the whole content of the release, cut them into the two layers, make deltas
and have it all signed. Sources are files or folders, by extension: .hdb .hsb .hdu .hsu .mdb .msb .ndb .ndu
.ldb .ldu .fp .sfp .ign .ign2 (ClamAV), .hashes (a hash a line, a name after it), .urls; any of them also as
.gz or .zst. A line that cannot be used is listed with file, line and reason.

Content that did not change publishes nothing. A release that loses most of its records is refused
by a guard: exit code 16.`,
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
			return a.published(r, err)
		},
	}
	f := c.Flags()
	f.StringVar(&o.KeysDir, "keys", "", "`FOLDER` of the keys (default: keys in DIR)")
	f.StringVar(&o.Policy, "policy", "", "policy `FILE`: what is whole in light, variants offered, guards")
	f.StringVar(&o.Restrictions, "restrictions", "", "restriction set `FILE`, or none for an empty set (default: as it is)")
	f.Uint64Var(&o.Version, "version", 0, "`NUMBER` of the release (default: the next)")
	return c
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
			break
		}
		a.warn("rejected: %s", reject)
	}
	if err != nil {
		return err
	}
	if !r.Published {
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

func newRepoRenew(a *app) *cobra.Command {
	var keys string
	c := &cobra.Command{
		Use:   "renew DIR",
		Short: "sign anew what is near its expiry",
		Long: `Sign anew every online role that has less than a third of its life left. Run it daily from cron, on
the publishing host: clients refuse metadata that has expired. Nothing due is no error.`,
		Example: "  avdb repo renew /srv/avdb",
		Args:    exactArgs("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			repo, err := signing.OpenRepository(args[0], keys)
			if err != nil {
				return err
			}
			done, err := repo.Renew(time.Now())
			if err != nil {
				return err
			}
			if a.json {
				list := []roleReport{}
				for _, r := range done {
					list = append(list, roleReport{Role: r.Role, Version: r.Version, Expires: r.Expires.UTC()})
				}
				return a.document(struct {
					Renewed []roleReport `json:"renewed"`
				}{list})
			}
			for _, r := range done {
				fmt.Fprintf(a.stdout, "%s version %d, expires %s\n", r.Role, r.Version, stamp(r.Expires))
			}
			if len(done) == 0 {
				a.note("nothing is due")
			}
			return nil
		},
	}
	c.Flags().StringVar(&keys, "keys", "", "`FOLDER` of the keys (default: keys in DIR)")
	return c
}

// A roleReport is one role of a repository.
type roleReport struct {
	Role      string    `json:"role"`
	Version   uint64    `json:"version"`
	Expires   time.Time `json:"expires"`
	Expired   bool      `json:"expired"`
	RenewDue  bool      `json:"renew_due"`
	Bytes     int       `json:"bytes"`
	Targets   int       `json:"targets"`
	Threshold int       `json:"threshold"`
	Keys      []string  `json:"keys,omitempty"`
	KeysHere  int       `json:"keys_here"` // private keys in keys/online
	Online    bool      `json:"online"`
}

// A repoStatus is what `repo status` prints.
type repoStatus struct {
	Fingerprint string                  `json:"fingerprint"`
	Signed      time.Time               `json:"signed"`
	Expires     time.Time               `json:"expires"` // clients refuse from then on
	Release     *dbformat.ReleaseRecord `json:"release"` // null before the first
	Version     uint64                  `json:"version"` // of the newest release, 0 for none
	Bytes       int64                   `json:"bytes"`   // of all targets that are signed now
	Roles       []roleReport            `json:"roles"`
}

func newRepoStatus(a *app) *cobra.Command {
	var keys string
	c := &cobra.Command{
		Use:     "status DIR",
		Short:   "versions, sizes, expiries, keys and thresholds",
		Example: "  avdb repo status /srv/avdb --json",
		Args:    exactArgs("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := readRepoStatus(args[0], keys, time.Now())
			if err != nil {
				return err
			}
			if a.json {
				return a.document(r)
			}
			if r.Release == nil {
				fmt.Fprintln(a.stdout, "no release yet")
			} else {
				s := r.Release.Stable
				fmt.Fprintf(a.stdout, "release %d of %s: light %s records, rest %s records, %s in all files\n", s.Version, stamp(s.Created.Time),
					countText(s.Light.Records), countText(s.Rest.Records), bytesText(r.Bytes))
			}
			fmt.Fprintf(a.stdout, "root fingerprint %s\n", r.Fingerprint)
			for _, role := range r.Roles {
				where, due := "offline", ""
				if role.Online {
					where = "online"
				}
				switch {
				case role.Expired:
					due = "  EXPIRED"
				case role.RenewDue && role.Online:
					due = "  due: run \"avdb repo renew\""
				case role.RenewDue:
					due = "  near its end: the offline keys must sign it anew"
				}
				fmt.Fprintf(a.stdout, "%-12s version %-4d %d of %d keys, %-7s  expires %s%s\n", role.Role, role.Version, role.Threshold, len(role.Keys), where, stamp(role.Expires), due)
			}
			return nil
		},
	}
	c.Flags().StringVar(&keys, "keys", "", "`FOLDER` of the keys (default: keys in DIR)")
	return c
}

func readRepoStatus(dir, keys string, now time.Time) (repoStatus, error) {
	repo, err := signing.OpenRepository(dir, keys)
	if err != nil {
		return repoStatus{}, err
	}
	st, err := repo.Status(now)
	if err != nil {
		return repoStatus{}, err
	}
	r := repoStatus{Fingerprint: st.RootFingerprint, Signed: st.SignedAt.UTC(), Expires: st.Expires.UTC()}
	for _, s := range st.Roles {
		r.Roles = append(r.Roles, roleReport{Role: s.Role, Version: s.Version, Expires: s.Expires.UTC(), Expired: s.Expired, RenewDue: s.RenewDue,
			Bytes: s.Bytes, Targets: s.Targets, Threshold: s.Threshold, Keys: s.Keys, KeysHere: s.KeysHere, Online: s.Online})
	}
	for _, role := range []string{signing.RoleDatabase, signing.RoleRestrictions} {
		targets, err := repo.Targets(role)
		if err != nil {
			return repoStatus{}, err
		}
		for _, t := range targets {
			r.Bytes += t.Length
			if t.Path != dbformat.ReleaseTarget {
				continue
			}
			if r.Release, err = readRelease(repo.TargetFile(t), t); err != nil {
				return repoStatus{}, err
			}
			r.Version = r.Release.Version()
		}
	}
	return r, nil
}

// readRelease reads the signed release record from the public tree and holds it against its target.
func readRelease(file string, t signing.Target) (*dbformat.ReleaseRecord, error) {
	f, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, dbformat.MaxReleaseRecord+1))
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(b) != t.SHA256 {
		return nil, hint(fmt.Errorf("%s is not what was signed", file), "publish again, or restore the file")
	}
	return dbformat.ParseReleaseRecord(b)
}
