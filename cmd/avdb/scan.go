package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/avdb/matcher"
)

const scanHelp = `Match files and folders against the database that is in use. Folders are searched through; symbolic links
inside them are not followed. Nothing is changed and no right to write is needed.

What is found is printed as "PATH: NAME FOUND", or as "PATH: NAME SUSPECTED" where the light
database knows only that KSN should be asked. The exit code is 1 when something was found, else
2 when a file could not be read or the time was up, else 0.

"-" is standard input, scanned as one file and before all others; it is called "stdin" in text and "-" in
the other formats. A list has no such name: there "-" is a file. What cannot be read again is kept in a temporary file beyond
16 MiB, unless --archives=false and no signature needs it; --max-size bounds that.

Results are printed as they come, so that a scan of any size needs the same memory. json and
ndjson list every file. sarif is SARIF 2.1.0 and lists findings, and the first 1000 files that
could not be read; paths are URIs, relative ones to the folder that avdb runs in.

Archives are looked into (zip, gzip, Zstandard, tar, and these inside each other): "PATH: NAME FOUND" then
names the file, -v and the other formats the member too. How far is limited as in clamscan, by
--max-depth, --max-members and --max-unpacked. A file in which a limit was met, or of which something is
damaged or encrypted, is clean if nothing was found in the rest; that it is so is said on standard error, by
-v ("PATH: PARTLY OK, ..."), and in json, ndjson and sarif. --archives=false matches archives by their own bytes alone.

--exclude and --exclude-dir take globs with *, ? and [a-z], and can be given many times. One
without a slash is held against the name of a file or folder, another one against the whole
path as it is printed. They also leave out what is named on the command line or in a list.

A file that takes longer than --max-time, or too much work for its size, is given up: what was found in it
holds, and otherwise it counts as one that could not be read. --timeout is for the whole scan, which then ends as
when a signal interrupts it: the exit code is 1 when something was found, else 2.

--max-db-age refuses to scan (2) with a database that was published longer ago, as
--fail-if-cvd-older-than of clamscan does: what it calls clean may be known by now.`

type scanFlags struct {
	format      string
	filesFrom   string
	null        bool
	exclude     []string
	excludeDirs []string
	archives    archiveFlags
	scanLimits
}

// archiveFlags are how archives are looked into.
type archiveFlags struct {
	on             bool
	depth, members uint32 // 0: the default
	unpacked       string // a size; "0" for the default
}

// maxArchiveDepth is how deep package archive looks at most.
const maxArchiveDepth = 100

// archives is what they ask of a matcher.
func (f archiveFlags) archives() (a matcher.Archives, err error) {
	a.Off = !f.on
	if f.depth > maxArchiveDepth {
		return a, usagef("--max-depth is %d, want a number from 0 to %d", f.depth, maxArchiveDepth)
	}
	a.Limits.Depth, a.Limits.Members = int(f.depth), int64(f.members)
	if a.Limits.TotalBytes, err = parseSize(f.unpacked); err != nil {
		return a, usagef("--max-unpacked: %v", err)
	}
	// A member may have all that there is, or --max-unpacked would end at the limit of a member.
	a.Limits.MemberBytes = a.Limits.TotalBytes
	return a, nil
}

// scanLimits are what ends a scan, or does not let it begin.
type scanLimits struct {
	timeout time.Duration // 0: none
	maxTime time.Duration // of one file; 0: none
	maxAge  days          // 0: none
}

// maxTime is what a file may take by default. It is for files that never end, such as one of exabytes without a block on the disk, and no ordinary one takes so long.
const maxTime = 10 * time.Minute

func (l scanLimits) validate() error {
	if l.timeout < 0 {
		return usagef("--timeout is %s, want a duration such as 90s or 2h", l.timeout)
	}
	if l.maxTime < 0 {
		return usagef("--max-time is %s, want a duration such as 90s or 2h", l.maxTime)
	}
	return nil
}

func newScan(a *app) *cobra.Command {
	var o scanFlags
	c := &cobra.Command{
		Use:   "scan PATH...",
		Short: "match files against the database",
		Long:  scanHelp,
		Example: `  avdb scan /home /srv/upload
  avdb scan -v --jobs 4 --max-size 100M ~/Downloads
  curl -s https://example.net/file | avdb scan -
  find /srv -newer stamp -print0 | avdb scan -0 --files-from -
  avdb scan --format sarif . > scan.sarif
  avdb scan --exclude-dir .git --exclude '*.iso' --timeout 1h --max-time 2m --max-db-age 7d /srv`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			j, err := o.job(a, c.Flags(), args)
			if err != nil {
				return err
			}
			defer j.names.close()
			return j.run(c.Context())
		},
	}
	o.define(c.Flags())
	return c
}

// define makes the flags.
func (o *scanFlags) define(f *pflag.FlagSet) {
	f.StringVar(&o.format, "format", "", "`FORMAT` of the results: text, json, ndjson or sarif (default: text, or json with --json)")
	f.StringVar(&o.filesFrom, "files-from", "", "scan what `FILE` names too, a path a line; - is standard input")
	f.BoolVarP(&o.null, "null", "0", false, "the paths of --files-from end in NUL, not in a line feed")
	f.StringArrayVar(&o.exclude, "exclude", nil, "leave out files that `GLOB` names")
	f.StringArrayVar(&o.excludeDirs, "exclude-dir", nil, "leave out folders that `GLOB` names, with all that is in them")
	f.DurationVar(&o.timeout, "timeout", 0, "end the scan after `DURATION`, such as 90s or 2h; 0 for no limit")
	f.DurationVar(&o.maxTime, "max-time", maxTime, "give up a file that takes longer than `DURATION`; 0 for no limit")
	f.Var(&o.maxAge, "max-db-age", "refuse to scan with a database published longer ago than `AGE`, such as 7d or 36h")
	f.Bool("pua", false, "report potentially unwanted applications too")
	f.String("jobs", "0", "scan `N` files at the same time, 0 for one per processor")
	f.String("max-size", "0", "skip files larger than `SIZE`, such as 100M; 0 for no limit")
	f.BoolVar(&o.archives.on, "archives", true, "look into archives; --archives=false does not")
	f.Uint32Var(&o.archives.depth, "max-depth", 0, "look into archives inside each other down to level `N`, at most 100; 0 for 17, as clamscan")
	f.Uint32Var(&o.archives.members, "max-members", 0, "look at `N` members of a file; 0 for 10000, as clamscan")
	f.StringVar(&o.archives.unpacked, "max-unpacked", "0", "unpack `SIZE` of a file; 0 for 400M, 100M of a member, as clamscan")
	f.BoolP("recursive", "r", true, "search through folders; this is always so")
}

// job is what the flags and arguments ask for. Its names are to be closed.
func (o *scanFlags) job(a *app, flags *pflag.FlagSet, args []string) (*scanJob, error) {
	if err := strayValue(flags, a.args); err != nil {
		return nil, err
	}
	paths, stdin, err := takeStdin(args)
	switch {
	case err != nil:
		return nil, err
	case len(args) == 0 && o.filesFrom == "":
		return nil, &usageError{text: "nothing to scan: name a PATH, or - for standard input", command: "avdb scan"}
	case stdin && o.filesFrom == stdinPath:
		return nil, usagef("standard input cannot be scanned and be the list of --files-from")
	}
	if err := o.scanLimits.validate(); err != nil {
		return nil, err
	}
	j := &scanJob{a: a, stdin: stdin, limits: o.scanLimits}
	if j.format, err = formatFor(o.format, a.json); err != nil {
		return nil, err
	}
	if j.archives, err = o.archives.archives(); err != nil {
		return nil, err
	}
	left, err := newExclusions(o.exclude, o.excludeDirs)
	if err != nil {
		return nil, err
	}
	if j.d, err = a.protecting(); err != nil {
		return nil, err
	}
	if err := j.d.flagged(flags, map[string]string{"pua": "scan.pua", "jobs": "scan.jobs", "max-size": "scan.max_size"}); err != nil {
		return nil, err
	}
	j.names = &pathList{args: paths, null: o.null, without: left}
	j.names.from, err = a.listFile(o.filesFrom)
	return j, err
}
