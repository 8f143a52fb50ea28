package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/store"
	"example.org/avdb/urlhash"
)

func newKSNOverride(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "override",
		Short: "say yourself what is trusted and what is not, on this device",
		Long: `An override beats the database and KSN. It is asked first: for files by SHA-256, for which every file that is
scanned is hashed; for web addresses by the host and path that are named.`,
		Example: `  avdb ksn override add HASH --verdict trusted --note "our own tool"
  avdb ksn override add https://intranet.example.org/ --verdict trusted
  avdb ksn override list
  avdb ksn override remove HASH`,
	})
	c.AddCommand(newOverrideAdd(a), newOverrideRemove(a), newOverrideList(a))
	return c
}

// overrideKey is the key of what a user names: a file's hash, a file, or a URL; and the text that a list shows for it, in its canonical form, "" for a
// hash, which is its own.
func overrideKey(s string) (k protocol.Key, object string, err error) {
	for _, t := range protocol.Types() {
		if hash, ok := strings.CutPrefix(s, string(t)+":"); ok {
			k, err := protocol.ParseKey(t, strings.ToLower(hash))
			if err != nil {
				return k, "", usagef("%v", err)
			}
			return k, "", nil
		}
	}
	if k, err := protocol.ParseKey(protocol.FileSHA256, strings.ToLower(s)); err == nil {
		return k, "", nil
	}
	if strings.Contains(s, "://") {
		e, err := urlhash.ParseEntry(s)
		if err != nil {
			return protocol.Key{}, "", usagef("%s: %v", s, err)
		}
		return protocol.Key{Type: protocol.URL, Sum: urlhash.HashOf(e)}, listed(e), nil
	}
	sums, _, err := hashFile(s)
	if err != nil {
		return protocol.Key{}, "", hint(err, "name a SHA-256, a file or a URL")
	}
	k, err = protocol.NewKey(protocol.FileSHA256, sums[dbformat.SHA256])
	return k, listed(filepath.Clean(s)), err
}

// listed is a text as an override keeps it: cut where it is too long, "" where it holds what no list may show.
func listed(text string) string {
	const more = "…"
	if len(text) > dbformat.MaxName {
		text = strings.ToValidUTF8(text[:dbformat.MaxName-len(more)], "") + more
	}
	if dbformat.CheckName(text) != nil {
		return ""
	}
	return text
}

type overrideReport struct {
	Overrides []store.Override `json:"overrides"`
	Removed   *bool            `json:"removed,omitempty"` // of remove: there was one
}

func (a *app) overrideReport(list []store.Override, removed *bool) error {
	if a.json {
		return a.document(overrideReport{append([]store.Override{}, list...), removed})
	}
	for _, o := range list {
		line := fmt.Sprintf("%-20s %s", o.Verdict, escape(o.Key))
		if o.Object != "" {
			line += "  " + pathText(o.Object)
		}
		if o.Note != "" {
			line += "  (" + escape(o.Note) + ")"
		}
		fmt.Fprintln(a.stdout, line)
	}
	return nil
}

func newOverrideAdd(a *app) *cobra.Command {
	var verdict, note, seen string
	var about store.OverrideAbout
	c := &cobra.Command{
		Use:   "add FILE|HASH|URL",
		Short: "say what an object is",
		Long: `Say what an object is. On a private server ("avdb ksn serve") it is the answer to all devices, with what else is said of the object:
name, category, first seen, users (answers round their number down to a power of ten), signer, regions. "avdb ksn check" shows it.`,
		Example: `  avdb ksn override add ./tool --verdict trusted --note "our own tool"
  avdb ksn override add HASH --verdict trusted --name "Example Tool 2" --signer "Example Ltd" --first-seen 2026-03-01 --users 25000 --region DE`,
		Args: exactArgs("FILE|HASH|URL"),
		RunE: func(_ *cobra.Command, args []string) error {
			v := protocol.Verdict(verdict)
			if v.Rank() < 2 {
				return usagef("--verdict is %q, want trusted, untrusted or potentially_unwanted", verdict)
			}
			if err := aboutObject(&about, seen, time.Now()); err != nil {
				return err
			}
			key, object, err := overrideKey(args[0])
			if err != nil {
				return err
			}
			entry := protocol.Entry{Key: key, Verdict: v, Name: about.Name, Category: about.Category, Signer: about.Signer, Regions: about.Regions}
			if err := entry.Check(); err != nil {
				return usagef("no server could answer with it: %v", err)
			}
			list, err := a.changeOverrides(func(list []store.Override) []store.Override {
				list = slices.DeleteFunc(list, func(o store.Override) bool { return o.Key == key.String() })
				return append(list, store.Override{Key: key.String(), Verdict: v, Object: object, Note: note, Since: dbformat.At(time.Now()), OverrideAbout: about})
			})
			if err != nil {
				return err
			}
			return a.overrideReport(list, nil)
		},
	}
	f := c.Flags()
	f.StringVar(&verdict, "verdict", "", "`VERDICT`: trusted, untrusted or potentially_unwanted")
	f.StringVar(&note, "note", "", "`TEXT` for people: why; it stays on this machine")
	f.StringVar(&about.Name, "name", "", "`NAME` of the threat or the software")
	f.StringVar(&about.Category, "category", "", "`WORD` such as malware or phishing")
	f.StringVar(&seen, "first-seen", "", "`TIME` when it was seen first, RFC 3339, or a date")
	f.Uint64Var(&about.Popularity, "users", 0, "`NUMBER` of users")
	f.StringVar(&about.Signer, "signer", "", "`NAME` of who signed the file")
	f.StringArrayVar(&about.Regions, "region", nil, "`CODE` of a country where it is seen most, as DE; once for each")
	return c
}

// aboutObject completes what the flags say of an object: regions in the order of their codes, and when it was seen first, which is not to come.
func aboutObject(about *store.OverrideAbout, seen string, now time.Time) error {
	slices.Sort(about.Regions)
	if seen == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339, seen)
	if err != nil {
		t, err = time.Parse(time.DateOnly, seen)
	}
	if err != nil || t.After(now) {
		return usagef("--first-seen is %q, want a time that is over such as 2026-11-23T12:00:00Z, or a date", seen)
	}
	at := dbformat.At(t)
	about.FirstSeen = &at
	return nil
}

func newOverrideRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "remove FILE|HASH|URL",
		Short:   "let the database and KSN say again what an object is",
		Long:    `Remove an override, and print those that are left. That there is none of the object is said, and no error.`,
		Example: "  avdb ksn override remove HASH",
		Args:    exactArgs("FILE|HASH|URL"),
		RunE: func(_ *cobra.Command, args []string) error {
			key, _, err := overrideKey(args[0])
			if err != nil {
				return err
			}
			removed := false
			list, err := a.changeOverrides(func(list []store.Override) []store.Override {
				rest := slices.DeleteFunc(slices.Clone(list), func(o store.Override) bool { return o.Key == key.String() })
				removed = len(rest) < len(list)
				return rest
			})
			if err != nil {
				return err
			}
			if !removed {
				a.note("there is no override of %s: nothing was removed", key)
			}
			return a.overrideReport(list, &removed)
		},
	}
}

func newOverrideList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "the overrides of this device",
		Example: "  avdb ksn override list --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			list, err := d.store.Overrides()
			if err != nil {
				return err
			}
			return a.overrideReport(list, nil)
		},
	}
}

// changeOverrides changes the list and gives what is there then.
func (a *app) changeOverrides(change func([]store.Override) []store.Override) ([]store.Override, error) {
	d, err := a.device(false)
	if err != nil {
		return nil, err
	}
	if err := d.ready(); err != nil {
		return nil, err
	}
	err = d.store.UpdateOverrides(func(list []store.Override) ([]store.Override, error) { return change(list), nil })
	if err != nil {
		return nil, err
	}
	return d.store.Overrides()
}
