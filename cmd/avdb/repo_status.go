package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
	"example.org/avdb/signing"
)

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
	Approved    []uint64                `json:"approved"` // releases that may exceed the guards
	Pending     *pendingReport          `json:"pending"`  // what waits for signatures, null if nothing does
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
					due = "  due: run \"avdb repo renew --offline\" where the offline keys are"
				}
				fmt.Fprintf(a.stdout, "%-12s version %-4d %d of %d keys, %-7s  expires %s%s\n", role.Role, role.Version, role.Threshold, len(role.Keys), where, stamp(role.Expires), due)
			}
			if len(r.Approved) > 0 {
				fmt.Fprintf(a.stdout, "approved beyond the guards: %s\n", strings.Trim(fmt.Sprint(r.Approved), "[]"))
			}
			if p := r.Pending; p != nil && p.Outdated != "" {
				fmt.Fprintf(a.stdout, "waiting since %s: %s, which can never be completed: %s; run \"avdb repo sign --drop\"\n", stamp(p.Since), p.What, p.Outdated)
			} else if p != nil {
				fmt.Fprintf(a.stdout, "waiting since %s: %s: %s\n", stamp(p.Since), p.What, firstOf(p.Lacks, "all signatures are there, run \"avdb repo sign\""))
				a.pendingText(p)
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
	if r.Approved, err = repo.Approved(); err != nil {
		return repoStatus{}, err
	}
	r.Approved = append([]uint64{}, r.Approved...)
	p, err := repo.Pending(now)
	if err != nil {
		return repoStatus{}, err
	}
	r.Pending = newPendingReport(p)
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
	f, err := osfile.Open(file)
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
