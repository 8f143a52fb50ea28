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
	var verdict, note string
	c := &cobra.Command{
		Use:     "add FILE|HASH|URL",
		Short:   "say what an object is",
		Example: `  avdb ksn override add ./tool --verdict trusted --note "our own tool"`,
		Args:    exactArgs("FILE|HASH|URL"),
		RunE: func(_ *cobra.Command, args []string) error {
			v := protocol.Verdict(verdict)
			if v.Rank() < 2 {
				return usagef("--verdict is %q, want trusted, untrusted or potentially_unwanted", verdict)
			}
			key, object, err := overrideKey(args[0])
			if err != nil {
				return err
			}
			list, err := a.changeOverrides(func(list []store.Override) []store.Override {
				list = slices.DeleteFunc(list, func(o store.Override) bool { return o.Key == key.String() })
				return append(list, store.Override{Key: key.String(), Verdict: v, Object: object, Note: note, Since: dbformat.At(time.Now())})
			})
			if err != nil {
				return err
			}
			return a.overrideReport(list, nil)
		},
	}
	c.Flags().StringVar(&verdict, "verdict", "", "`VERDICT`: trusted, untrusted or potentially_unwanted")
	c.Flags().StringVar(&note, "note", "", "`TEXT` for people: why")
	return c
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
