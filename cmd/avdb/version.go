package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
)

// versionReport says what this binary is and what it understands.
type versionReport struct {
	Version            string `json:"version"`             // of the module; "(devel)" for a build of a checkout
	Commit             string `json:"commit,omitempty"`    // what it was built from
	CommitTime         string `json:"committed,omitempty"` // RFC 3339
	Modified           bool   `json:"modified"`            // the checkout had changes
	Go                 string `json:"go"`
	Platform           string `json:"platform"`
	FormatVersion      int    `json:"format_version"`
	EngineLevel        int    `json:"engine_level"`
	FunctionalityLevel int    `json:"functionality_level"`
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "what this program is and which databases it understands",
		Long: `Print the program's version and commit, and what it understands: the format of the
database, the engine level that a release may ask for, and the functionality level
that the level ranges of signature lines are checked against.`,
		Example: `  avdb version
  avdb version --json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			r := readVersion()
			if a.json {
				return a.document(r)
			}
			fmt.Fprintf(a.stdout, "avdb %s (%s, %s)\n", r.Version, r.Go, r.Platform)
			if r.Commit != "" {
				changed := ""
				if r.Modified {
					changed = ", with local changes"
				}
				fmt.Fprintf(a.stdout, "commit %s of %s%s\n", r.Commit, r.CommitTime, changed)
			}
			fmt.Fprintf(a.stdout, "database format %d, engine level %d, functionality level %d\n",
				r.FormatVersion, r.EngineLevel, r.FunctionalityLevel)
			return nil
		},
	}
}

// readVersion asks the binary itself: nothing is stamped in at build time.
func readVersion() versionReport {
	r := versionReport{
		Version:            "(devel)",
		Go:                 runtime.Version(),
		Platform:           runtime.GOOS + "/" + runtime.GOARCH,
		FormatVersion:      1,
		EngineLevel:        dbformat.EngineLevel,
		FunctionalityLevel: dbformat.FunctionalityLevel,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return r
	}
	if info.Main.Version != "" {
		r.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			r.Commit = s.Value
		case "vcs.time":
			r.CommitTime = s.Value
		case "vcs.modified":
			r.Modified = s.Value == "true"
		}
	}
	return r
}
