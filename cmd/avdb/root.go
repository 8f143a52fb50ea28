package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootHelp = `avdb keeps an antivirus database up to date: publishers turn signature files into
signed releases, mirrors serve them as plain files, endpoints bring themselves up to
date with the fewest bytes and match files against what they verified.`

const rootExample = `  avdb demo                                         see the whole life of a database
  avdb init --source https://db.example.net --root 1.root.json
  avdb update                                       fetch what is new, once
  avdb scan /home                                   match files
  avdb status                                       what is installed, and is all well`

// exitHelp ends the root's help: scripts are written against it.
const exitHelp = `Exit codes:
  0    done, current, clean            13   no source could be reached
  1    threat found; --check: attend   14   told to come back later
  2    usage or unexpected error       15   disk full, or store damaged
  10   no database yet                 16   refused by consent, policy or restriction
  11   another update is running       17   needs a newer engine
  12   not trusted                     100  update --check: an update is available
`

const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if and (eq .GroupID $group.ID) .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if not .AllChildCommandsHaveGroup}}

Commands:{{range $cmds}}{{if and (eq .GroupID "") .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// newRoot builds the tree of commands around a.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "avdb",
		Short:         "antivirus database update engine",
		Long:          rootHelp,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.logFormat != "text" && a.logFormat != "json" {
				return usagef("--log-format is %q, want text or json", a.logFormat)
			}
			return nil
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		a.json = a.json || asksJSON(a.args)
		return &usageError{text: flagText(err), command: c.CommandPath()}
	})

	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print one JSON document (JSON lines where a job is long)")
	f.StringVar(&a.stateFlag, "state", "", "`DIR` of the database and its trust (environment AVDB_STATE)")
	f.StringVar(&a.confFlag, "config", "", "policy `FILE` (environment AVDB_CONFIG; default /etc/avdb/avdb.yaml or XDG)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "say nothing beside results and errors")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "say what is being done")
	f.StringVar(&a.logFormat, "log-format", "text", "`FORM` of what goes to standard error: text or json")

	root.AddGroup(
		&cobra.Group{ID: groupStart, Title: "Start here:"},
		&cobra.Group{ID: groupEndpoint, Title: "Endpoint:"},
		&cobra.Group{ID: groupPublisher, Title: "Publisher:"},
		&cobra.Group{ID: groupMirror, Title: "Mirror:"},
		&cobra.Group{ID: groupTools, Title: "Tools:"},
	)
	root.SetHelpCommand(&cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "help for a command, with examples",
		GroupID: groupTools,
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return &usageError{text: fmt.Sprintf("no command %q", strings.Join(args, " ")), command: "avdb"}
			}
			return c.Help()
		},
	})
	root.SetCompletionCommandGroupID(groupTools)
	root.AddCommand(commands(a)...)
	finish(root)
	group(root)
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		help(c, args)
		if c == root {
			fmt.Fprintf(c.OutOrStdout(), "\n%s", exitHelp)
		}
	})
	return root
}

// asksJSON tells whether --json stands anywhere among the flags: those after one that could not be
// read were not looked at.
func asksJSON(args []string) bool {
	for _, s := range args {
		switch s {
		case "--":
			return false
		case "--json", "--json=true":
			return true
		}
	}
	return false
}

// flagText says what is wrong with a flag, and what it takes instead.
func flagText(err error) string {
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err.Error()
	}
	f, want := bad.GetFlag(), ""
	switch f.Value.Type() {
	case "int":
		want = "a whole number"
	case "uint32", "uint64":
		want = "a whole number, 0 or more"
	case "bool":
		want = "true or false"
	case "duration":
		want = "a duration such as 90s or 2h"
	case "age":
		want = "an age such as 7d or 36h"
	default:
		return err.Error()
	}
	if errors.Is(err, strconv.ErrRange) {
		want += " that is not as large"
	}
	return fmt.Sprintf("--%s is %q, want %s", f.Name, bad.GetValue(), want)
}

// The groups of the root's help.
const (
	groupStart     = "start"
	groupEndpoint  = "endpoint"
	groupPublisher = "publisher"
	groupMirror    = "mirror"
	groupTools     = "tools"
)

// commands lists what avdb can do, in the order of its help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		in(groupStart, newDemo(a)),
		in(groupEndpoint, newInit(a)),
		in(groupEndpoint, newUpdate(a)),
		in(groupEndpoint, newScan(a)),
		in(groupEndpoint, newStatus(a)),
		in(groupEndpoint, newCloud(a)),
		in(groupEndpoint, newRollback(a)),
		in(groupEndpoint, newReleaseHold(a)),
		in(groupEndpoint, newVerify(a)),
		in(groupEndpoint, newHistory(a)),
		in(groupEndpoint, newKSN(a)),
		in(groupEndpoint, newConfig(a)),
		in(groupPublisher, newRepo(a)),
		in(groupMirror, newMirror(a)),
		in(groupTools, newInspect(a)),
		in(groupTools, newVersion(a)),
	}
}

// in puts c into a group of the root's help.
func in(group string, c *cobra.Command) *cobra.Command {
	c.GroupID = group
	return c
}

// group makes a command that only holds others refuse to be run without one of them:
// a script with a misspelt subcommand must not succeed.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return &usageError{text: "a command is needed after " + c.CommandPath(), command: c.CommandPath()}
		}
		e := &usageError{text: fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath()), command: c.CommandPath()}
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			e.remedy = "did you mean: " + strings.Join(near, ", ")
		}
		return e
	}
	return c
}

// finish does what every command needs: its help is folded to the width of a terminal, and
// wrong arguments are usage errors that name the command.
func finish(c *cobra.Command) {
	c.Long = fold(c.Long, 80)
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{text: err.Error(), command: c.CommandPath()}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		finish(sub)
	}
}

// fold breaks the lines of paragraphs so that none is longer than width, where words allow it. Lines that
// begin with a space are kept as they are.
func fold(text string, width int) string {
	var out strings.Builder
	room := 0 // left on the line; 0 at the beginning of a paragraph
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" || line[0] == ' ' {
			if room > 0 {
				out.WriteByte('\n')
			}
			out.WriteString(strings.TrimRight(line, "\n") + "\n")
			room = 0
			continue
		}
		for word := range strings.FieldsSeq(line) {
			n := utf8.RuneCountInString(word)
			switch {
			case room == 0:
				room = width
			case n+1 > room:
				out.WriteByte('\n')
				room = width
			default:
				out.WriteByte(' ')
				room--
			}
			out.WriteString(word)
			room = max(room-n, 1)
		}
	}
	return strings.TrimRight(out.String(), "\n")
}

// noArgs refuses arguments in words that do not call them a command.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no argument, got %q", c.CommandPath(), args[0])
	}
	return nil
}

// exactArgs wants one argument for each name.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s: %s is missing", c.CommandPath(), names[len(args)])
		}
		if len(args) > len(names) {
			return fmt.Errorf("%s: unexpected argument %q", c.CommandPath(), args[len(names)])
		}
		return nil
	}
}
