package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/ksn"
	"example.org/avdb/store"
)

const configHelp = `Values come from, in falling order: the config file, flags, the environment, the
device's own settings ("avdb config set"), the default. The config file is the administrator's
policy: what it says, no flag and no command changes. It is /etc/avdb/avdb.yaml or, for a user
without rights over the system, avdb/avdb.yaml below XDG_CONFIG_HOME; never a file of
the working folder. A source may name credentials (basic, bearer, client_cert), ca_file, proxy,
proxy_basic and max_age; secrets stand in files or environment variables. Example:

  sources:
    - https://mirror1.example.net/avdb
    - url: https://mirror2.example.net/avdb
      bearer: {file: /etc/avdb/mirror2.token}
  update:
    limit_rate: 2M
  scan:
    pua: true`

func newConfig(a *app) *cobra.Command {
	var table strings.Builder
	for _, k := range keys() {
		fmt.Fprintf(&table, "\n  %-39s %s", k.name, k.doc)
	}
	c := group(&cobra.Command{
		Use:   "config",
		Short: "read, change and check the configuration",
		Long:  configHelp + "\n\nKeys:\n" + table.String(),
		Example: `  avdb config show --origin
  avdb config set update.limit_rate 2M
  avdb config validate avdb.yaml`,
	})
	c.AddCommand(newConfigGet(a), newConfigSet(a), newConfigShow(a), newConfigValidate(a))
	return c
}

// validation is what `config validate --json` prints.
type validation struct {
	File     string          `json:"file"` // "" when there is no config file
	Valid    bool            `json:"valid"`
	Keys     int             `json:"keys"` // keys that the file sets
	Problems []configProblem `json:"problems"`
}

func newConfigValidate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "check a config file without using it",
		Long: `Check a config file: the one that is in use, or FILE. Everything that is wrong is told with
file, line and remedy; the exit code is 2 then.`,
		Example: `  avdb config validate
  avdb config validate ./avdb.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			_, name, err := a.find(true)
			if len(args) == 1 {
				name, err = args[0], nil
			}
			if err != nil {
				return err
			}
			p, err := readPolicy(name)
			v := validation{File: name, Valid: err == nil, Keys: len(p.values), Problems: []configProblem{}}
			if ce, ok := err.(*configError); ok {
				v.Problems = ce.problems
			} else if err != nil {
				return err
			}
			if a.json {
				if derr := a.document(v); derr != nil {
					return derr
				}
				return err
			}
			switch {
			case err != nil:
				return err
			case name == "":
				fmt.Fprintln(a.stdout, "no config file: nothing is set by policy")
			default:
				fmt.Fprintf(a.stdout, "%s: valid, %d keys\n", pathText(name), len(p.values))
			}
			return nil
		},
	}
}

// A setting is one key in the output of `config get` and `config show`.
type setting struct {
	Key     string `json:"key"`
	Value   any    `json:"value"`
	Origin  origin `json:"origin"`
	Place   string `json:"place,omitempty"` // FILE:LINE of policy, or the environment variable
	Default any    `json:"default"`
	Doc     string `json:"doc"`
}

func (d *device) setting(k key) setting {
	v, from, place := d.value(k)
	return setting{Key: k.name, Value: k.jsonValue(v), Origin: from, Place: place, Default: k.jsonValue(k.def), Doc: k.doc}
}

func newConfigGet(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "get KEY",
		Short: "print the value of a key that holds now",
		Example: `  avdb config get update.limit_rate
  avdb config get sources --json`,
		Args: exactArgs("KEY"),
		RunE: func(_ *cobra.Command, args []string) error {
			k, ok := findKey(args[0])
			if !ok {
				return unknownKey(args[0])
			}
			d, err := a.device(true)
			if err != nil {
				return err
			}
			d.tellBlind()
			if a.json {
				return a.document(d.setting(k))
			}
			v, _, _ := d.value(k)
			_, err = fmt.Fprintln(a.stdout, k.text(v))
			return err
		},
	}
}

func newConfigSet(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "set KEY [VALUE]",
		Short: "change the device's own setting; without a value, go back to the default",
		Long: `Write a key into the device's own settings; without VALUE it goes back to its default. A key that
the config file holds cannot be changed: exit code 16. Lists are written with commas.`,
		Example: `  avdb config set update.limit_rate 2M
  avdb config set ksn.proxies proxy1.example.net,proxy2.example.net:13111
  avdb config set update.limit_rate`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			k, ok := findKey(args[0])
			if !ok {
				return unknownKey(args[0])
			}
			v := k.def
			if len(args) == 2 {
				var err error
				if v, err = k.parse(args[1]); err != nil {
					return usagef("%v", err)
				}
			}
			return a.configSet(k, v)
		},
	}
}

func (a *app) configSet(k key, v any) error {
	d, err := a.device(false)
	if err != nil {
		return err
	}
	if k.put == nil || k.kind == kindSources {
		return hint(usagef("%s is no setting of the device", k.name), "set it in the config file")
	}
	if err := d.change(k, v); err != nil {
		return err
	}
	now, from, place := d.value(k)
	if a.json {
		return a.document(d.setting(k))
	}
	if from == originEnv && !same(now, v) {
		a.warn("%s is set in the environment and wins over the setting", place)
	}
	return nil
}

// change writes a key into the device's settings. The mode of KSN is consent, about which
// package ksn decides.
func (d *device) change(k key, v any) error {
	if err := d.held(k, v); err != nil {
		return err
	}
	if err := d.ready(); err != nil {
		return err
	}
	err := d.store.UpdateSettings(func(s *store.Settings) error {
		if k.name == "ksn.mode" {
			return setMode(s, v.(string), time.Now())
		}
		k.put(s, v)
		return nil
	})
	if err != nil {
		return err
	}
	if d.settings, err = d.store.Settings(); err == nil && k.name == "ksn.mode" && ksn.Mode(v.(string)) != ksn.ModeExtended {
		err = d.clearSpool() // what was to be told under another consent is not told under this one
	}
	return err
}

func newConfigShow(a *app) *cobra.Command {
	var origins bool
	c := &cobra.Command{
		Use:   "show",
		Short: "print every key with the value that holds now",
		Example: `  avdb config show
  avdb config show --origin`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			d.tellBlind()
			if a.json {
				doc := struct {
					File  string    `json:"config_file"`
					State string    `json:"state"`
					Keys  []setting `json:"keys"`
				}{d.policy.file, d.store.Dir(), nil}
				for _, k := range keys() {
					doc.Keys = append(doc.Keys, d.setting(k))
				}
				return a.document(doc)
			}
			for _, k := range keys() {
				v, from, place := d.value(k)
				line := fmt.Sprintf("%-38s %s", k.name, k.text(v))
				if origins {
					line = fmt.Sprintf("%-60s %s", line, strings.TrimSpace(string(from)+" "+place))
				}
				if _, err := fmt.Fprintln(a.stdout, strings.TrimRight(line, " ")); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&origins, "origin", false, "say where each value comes from: policy, flag, environment, settings or default")
	return c
}
