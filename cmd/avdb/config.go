package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

const configHelp = `Values come from, in falling order: the config file, flags, the environment, the
device's own settings ("avdb config set"), the default. The config file is the administrator's
policy: what it says, no flag and no command changes. It is /etc/avdb/avdb.yaml or, for a user
without rights over the system, avdb/avdb.yaml below XDG_CONFIG_HOME; never a file of
the working folder. Example:

  sources:
    - https://mirror1.example.net/avdb
    - https://mirror2.example.net/avdb
  update:
    limit_rate: 2M
  scan:
    pua: true`

func newConfig(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "config",
		Short: "read, change and check the configuration",
		Long:  "Read, change and check the configuration.\n\n" + configHelp,
		Example: `  avdb config show --origin
  avdb config set update.limit_rate 2M
  avdb config validate avdb.yaml`,
	})
	c.AddCommand(newConfigValidate(a))
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
			name, err := a.configFile()
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
				fmt.Fprintf(a.stdout, "%s: valid, %d keys\n", name, len(p.values))
			}
			return nil
		},
	}
}
