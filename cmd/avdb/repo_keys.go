package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// A quorumReport is whose signatures a document needs.
type quorumReport struct {
	Threshold int      `json:"threshold"`
	Keys      []string `json:"keys"`   // ids of those that may sign
	Signed    []string `json:"signed"` // ids of those that did
}

// A pendingRole is one document of a change that waits for signatures.
type pendingRole struct {
	Role    string         `json:"role"`
	Version uint64         `json:"version"` // 0 while it cannot be made
	Expires *time.Time     `json:"expires"` // null likewise
	Quorums []quorumReport `json:"quorums"` // all must be met
	Added   []string       `json:"added"`   // ids of the keys that signed in this run
}

// A pendingReport is a change that waits for signatures, or that this run made visible.
type pendingReport struct {
	What         string            `json:"what"`
	Kind         string            `json:"kind"` // release, renewal or keys
	Since        time.Time         `json:"since"`
	Visible      bool              `json:"visible"`
	Lacks        string            `json:"lacks"`    // the signatures that are needed next, "" for none
	Outdated     string            `json:"outdated"` // why it can never be completed, "" if it can
	Release      *dbformat.Release `json:"release"`  // null if it is about none
	Restrictions uint64            `json:"restrictions_epoch"`
	Targets      int               `json:"targets"`
	Bytes        int64             `json:"bytes"`
	Changes      []string          `json:"changes"` // what the offline keys say anew
	Roles        []pendingRole     `json:"roles"`
}

func newPendingReport(p *signing.Pending) *pendingReport {
	if p == nil {
		return nil
	}
	r := &pendingReport{What: p.What, Kind: string(p.Kind), Since: p.Since.UTC(), Visible: p.Visible, Lacks: p.Lacks(), Outdated: p.Outdated,
		Release: p.Release, Restrictions: p.Restrictions, Targets: p.Targets, Bytes: p.Bytes, Changes: list(p.Changes), Roles: []pendingRole{}}
	for _, role := range p.Roles {
		pr := pendingRole{Role: role.Role, Version: role.Version, Quorums: []quorumReport{}, Added: list(role.Added)}
		if !role.Expires.IsZero() {
			at := role.Expires.UTC()
			pr.Expires = &at
		}
		for _, q := range role.Quorums {
			pr.Quorums = append(pr.Quorums, quorumReport{q.Threshold, list(q.Keys), list(q.Signed)})
		}
		r.Roles = append(r.Roles, pr)
	}
	return r
}

// list is never null in JSON.
func list(s []string) []string { return append([]string{}, s...) }

// short is a key id as people read it.
func short(ids []string) string {
	var out []string
	for _, id := range ids {
		out = append(out, id[:min(8, len(id))])
	}
	return strings.Join(out, " ")
}

// pendingText prints what a change says and what it lacks.
func (a *app) pendingText(r *pendingReport) {
	if r.Release != nil {
		fmt.Fprintf(a.stdout, "release %d of %s, %d files, %s\n", r.Release.Version, stamp(r.Release.Created.Time), r.Targets, bytesText(r.Bytes))
		for _, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
			info := r.Release.Layer(l)
			fmt.Fprintf(a.stdout, "%-5s %s records, digest %s\n", l, countText(info.Records), info.Digest)
		}
	}
	if r.Restrictions != 0 {
		fmt.Fprintf(a.stdout, "restriction set of epoch %d\n", r.Restrictions)
	}
	for _, c := range r.Changes {
		fmt.Fprintln(a.stdout, c)
	}
	for _, role := range r.Roles {
		if role.Version == 0 {
			continue
		}
		fmt.Fprintf(a.stdout, "%-12s version %-4d expires %s", role.Role, role.Version, stamp(*role.Expires))
		for i, q := range role.Quorums {
			of := ""
			if i > 0 {
				of = " of the keys until now"
			}
			fmt.Fprintf(a.stdout, ", %d of %d signatures%s", len(q.Signed), q.Threshold, of)
		}
		if len(role.Added) > 0 {
			fmt.Fprintf(a.stdout, ", signed now by %s", short(role.Added))
		}
		fmt.Fprintln(a.stdout)
	}
}

func newRepoSign(a *app) *cobra.Command {
	var keys string
	var drop, dry bool
	c := &cobra.Command{
		Use:   "sign DIR",
		Short: "add this host's signatures to what waits for them",
		Long: `Add the signatures of this host's keys to the change that waits in DIR/pending: a release that was published
with --unsigned, a renewal, or what offline keys on several hosts have to say. Before a key is used it is
proved that the versions follow those that are public, that nothing lives longer than it may, and that all files
are there with their hashes; what is signed is printed. When the change has all signatures it is made visible,
the timestamp last; until then DIR/public stays as it is.

A snapshot names the signed files of the other roles, so that it comes after them: where publishing host and
co-signing host have keys of their own, sign on the one, then on the other.`,
		Example: `  avdb repo sign /srv/avdb --keys /etc/avdb-cosign
  avdb repo sign /srv/avdb --dry-run
  avdb repo sign /srv/avdb --drop`,
		Args: exactArgs("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			if drop && dry {
				return usagef("--drop and --dry-run exclude each other")
			}
			repo, err := signing.OpenRepository(args[0], keys)
			if err != nil {
				return err
			}
			if drop {
				return a.dropPending(repo)
			}
			var p *signing.Pending
			if dry {
				p, err = repo.Pending(time.Now())
				if err == nil && p == nil {
					err = &signing.RepositoryError{Kind: signing.ErrNothingPending, What: args[0]}
				}
			} else {
				p, err = repo.Sign(time.Now())
			}
			if err != nil {
				return err
			}
			r := newPendingReport(p)
			if a.json {
				return a.document(r)
			}
			a.pendingText(r)
			switch {
			case r.Visible:
				fmt.Fprintf(a.stdout, "%s is visible\n", r.What)
			case r.Outdated != "":
				fmt.Fprintf(a.stdout, "%s can never be completed: %s\n", r.What, r.Outdated)
			default:
				fmt.Fprintf(a.stdout, "%s waits: %s\n", r.What, firstOf(r.Lacks, "all signatures are there, run \"avdb repo sign\""))
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&keys, "keys", "", "`FOLDER` of this host's keys (default: keys in DIR)")
	f.BoolVar(&dry, "dry-run", false, "show what waits and sign nothing")
	f.BoolVar(&drop, "drop", false, "give the change up; what is published stays")
	return c
}

func (a *app) dropPending(repo *signing.Repository) error {
	p, err := repo.Pending(time.Now())
	damaged := errors.Is(err, signing.ErrRepository)
	if err != nil && !damaged {
		return err
	}
	if err := repo.DropPending(); err != nil {
		return err
	}
	what := ""
	switch {
	case p != nil:
		what = p.What
	case damaged:
		what = "a change that could not be read"
	}
	if a.json {
		return a.document(struct {
			Dropped string `json:"dropped"` // "" for nothing
		}{what})
	}
	if what == "" {
		a.note("nothing was waiting for signatures")
		return nil
	}
	fmt.Fprintf(a.stdout, "dropped: %s\n", what)
	return nil
}

// waits takes apart an error that says that a change was prepared and lacks signatures, which is a result: lacks says which.
func waits(err error) (lacks string, rest error) {
	if e, ok := errors.AsType[*signing.RepositoryError](err); ok && e.Kind == signing.ErrPending {
		return e.Detail, nil
	}
	return "", err
}

// noteWaiting tells what is missing.
func (a *app) noteWaiting(lacks string) {
	a.warn("nothing is visible yet: %s", lacks)
	a.note("run \"avdb repo sign\" where the other keys are; until then all stays as it is")
}

// An approvalReport is what `repo approve` prints.
type approvalReport struct {
	Version  uint64   `json:"version"`
	Changed  bool     `json:"changed"`  // false: it was approved before
	Approved []uint64 `json:"approved"` // what is visible
	Pending  bool     `json:"pending"`  // it lacks signatures
	Lacks    string   `json:"lacks"`
}

func newRepoApprove(a *app) *cobra.Command {
	var keys string
	c := &cobra.Command{
		Use:   "approve DIR VERSION",
		Short: "let a release exceed the guards",
		Long: `Have the offline keys of targets name a release that removes or allows more than the guards let pass. Publishing it
is refused without, and endpoints refuse it. Approve the number that the release will have, then publish it; or
the published one. What is approved already changes nothing and needs no key.`,
		Example: `  avdb repo approve /srv/avdb 7 --keys /media/safe/keys
  avdb repo publish /srv/avdb signatures/ --version 7`,
		Args: exactArgs("DIR", "VERSION"),
		RunE: func(_ *cobra.Command, args []string) error {
			version, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil || version == 0 || version > dbformat.MaxVersion {
				return usagef("VERSION %q: want the number of a release", args[1])
			}
			repo, err := signing.OpenRepository(args[0], keys)
			if err != nil {
				return err
			}
			before, err := repo.Approved()
			if err != nil {
				return err
			}
			lacks, err := waits(repo.Approve(version, time.Now()))
			if err != nil {
				return err
			}
			r := approvalReport{Version: version, Changed: !slices.Contains(before, version), Pending: lacks != "", Lacks: lacks}
			if r.Approved, err = repo.Approved(); err != nil {
				return err
			}
			r.Approved = append([]uint64{}, r.Approved...)
			if a.json {
				return a.document(r)
			}
			switch {
			case r.Pending:
				fmt.Fprintf(a.stdout, "the approval of release %d waits for signatures\n", version)
				a.noteWaiting(lacks)
			case r.Changed:
				fmt.Fprintf(a.stdout, "release %d is approved: it may exceed the guards\n", version)
			default:
				fmt.Fprintf(a.stdout, "release %d was approved already\n", version)
			}
			return nil
		},
	}
	c.Flags().StringVar(&keys, "keys", "", "`FOLDER` of the keys, with offline in it (default: keys in DIR)")
	return c
}

// A rotationReport is what `repo rotate` prints.
type rotationReport struct {
	Role      string   `json:"role"`
	Threshold int      `json:"threshold"`
	Keys      []string `json:"keys"`      // ids of the new keys
	KeyFiles  []string `json:"key_files"` // where they are
	OldKeys   []string `json:"old_keys"`
	OldFiles  []string `json:"old_files"` // to be removed once the change is visible
	Root      uint64   `json:"root"`      // version that counts once the change is visible
	Pending   bool     `json:"pending"`   // it lacks signatures
	Lacks     string   `json:"lacks"`
}

func newRepoRotate(a *app) *cobra.Command {
	var o signing.RotateOptions
	var keys []string
	c := &cobra.Command{
		Use:   "rotate DIR ROLE",
		Short: "give a role new keys",
		Long: `Make new keys for a role (root, targets, snapshot, timestamp, database or restrictions) and have the offline keys
say so: those of root, or of targets for database and restrictions. Endpoints follow at their next update. The old keys
vouch for nothing any more; after a theft that also undoes what a thief locked endpoints out with: numbers
that only the old keys had signed count no longer.

The old keys sign the change too, so that an endpoint on its way through the roots never sees a state that does
not verify. Remove their files when the change is visible. With --lost it is done without them (not for root, whose old keys must
always sign); should that be interrupted, run it again: until then endpoints refuse the repository and keep what
they have.`,
		Example: `  avdb repo rotate /srv/avdb timestamp --keys /media/safe/keys
  avdb repo rotate /srv/avdb root --threshold 2 --keys 3`,
		Args: exactArgs("DIR", "ROLE"),
		RunE: func(c *cobra.Command, args []string) error {
			roles := []string{signing.RoleRoot, signing.RoleTargets, signing.RoleSnapshot, signing.RoleTimestamp, signing.RoleDatabase, signing.RoleRestrictions}
			if !slices.Contains(roles, args[1]) {
				return usagef("ROLE %q: want %s", args[1], strings.Join(roles, ", "))
			}
			n, folder := numberOrFolder(keys)
			if o.Keys = n; c.Flags().Changed("threshold") && o.Threshold < 1 || n < 0 || n > 0 && n < o.Threshold || max(n, o.Threshold) > 16 {
				return usagef("--threshold %d of --keys %d: want at least 1, as many keys, and at most 16", o.Threshold, n)
			}
			if o.Lost && args[1] == signing.RoleRoot {
				return &usageError{text: "--lost: a new root needs the signatures of the old root keys", remedy: "restore them from a copy; " +
					"if there is none, make a new repository, and have every device run \"avdb init --replace-trust\" with its root"}
			}
			repo, err := signing.OpenRepository(args[0], folder)
			if err != nil {
				return err
			}
			rotation, err := repo.RotateKeys(args[1], o)
			lacks, err := waits(err)
			if err != nil {
				return err
			}
			r := rotationReport{Role: args[1], Threshold: rotation.Threshold, Keys: list(rotation.Keys), KeyFiles: list(rotation.KeyFiles),
				OldKeys: list(rotation.OldKeys), OldFiles: list(rotation.OldFiles), Root: rotation.Root, Pending: rotation.Pending, Lacks: lacks}
			if a.json {
				return a.document(r)
			}
			a.rotated(r)
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&o.Lost, "lost", false, "the old keys are lost: do without their signatures")
	f.IntVar(&o.Threshold, "threshold", 0, "`N` signatures that the role needs from now on (default: as until now)")
	f.StringArrayVar(&keys, "keys", nil, "`N` keys of the role from now on (default: as until now); or the folder of the keys, with offline in it (default: keys in DIR)")
	return c
}

func (a *app) rotated(r rotationReport) {
	fmt.Fprintf(a.stdout, "%s: new keys %s, %d of %d must sign\n", r.Role, short(r.Keys), r.Threshold, len(r.Keys))
	fmt.Fprintf(a.stdout, "root version %d\n", r.Root)
	for _, name := range r.KeyFiles {
		fmt.Fprintf(a.stdout, "new key file %s\n", pathText(name))
	}
	for _, name := range r.OldFiles {
		fmt.Fprintf(a.stdout, "old key file %s\n", pathText(name))
	}
	switch {
	case r.Pending:
		a.noteWaiting(r.Lacks)
		a.note("keep the old key files until the change is visible")
	case len(r.OldFiles) > 0:
		a.note("remove the old key files: they sign nothing any more")
	default:
		a.note("destroy the old key files, wherever they are: they sign nothing any more")
	}
	if r.Role == signing.RoleRoot || r.Role == signing.RoleTargets {
		a.note("move the new key files to a safe place, and keep copies: nothing else can replace them")
	}
}
