package publisher

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// ErrRestrictions is matched by errors about a restriction file: one that cannot be read, breaks the format, does what a set must not, or has an epoch
// that cannot follow.
var ErrRestrictions = errors.New("restrictions")

// A RestrictionsError says what is wrong with a restriction set and how to put it right. It matches [ErrRestrictions].
type RestrictionsError struct {
	File   string
	Record string // id, "" for the set as a whole
	Reason string
	Remedy string
	Err    error // what the reader said, or nil
}

func (e *RestrictionsError) Error() string {
	s := "restrictions " + e.File + ": "
	if e.Record != "" {
		s += fmt.Sprintf("record %q: ", e.Record)
	}
	s += e.Reason
	if e.Err != nil {
		s += e.Err.Error()
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Is matches [ErrRestrictions].
func (e *RestrictionsError) Is(target error) bool { return target == ErrRestrictions }

// Unwrap gives what the reader said.
func (e *RestrictionsError) Unwrap() error { return e.Err }

// Words for [Options].Restrictions beside the path of a file.
const (
	KeepRestrictions = ""     // the set stays as it is
	NoRestrictions   = "none" // an empty set under the next epoch
)

// nextSet decides which set a release has: nil if there was none and none is wanted. changed tells whether it differs
// from the previous one, which is nil if there is none. The set has its signing time.
func nextSet(choice string, previous *dbformat.RestrictionSet, now time.Time, light bool) (set *dbformat.RestrictionSet, changed bool, warnings []string, err error) {
	switch choice {
	case KeepRestrictions:
		return previous, false, nil, nil
	case NoRestrictions:
		if previous == nil || len(previous.Records) == 0 {
			return previous, false, nil, nil
		}
		if previous.Epoch >= dbformat.MaxVersion {
			return nil, false, nil, &RestrictionsError{File: choice, Reason: fmt.Sprintf("epoch %d is the last one", previous.Epoch)}
		}
		signed := dbformat.At(now)
		return &dbformat.RestrictionSet{Schema: 1, Epoch: previous.Epoch + 1, Signed: &signed, Records: []dbformat.Restriction{}}, true, nil, nil
	}
	set, err = readSet(choice)
	if err != nil {
		return nil, false, nil, err
	}
	signed := dbformat.At(now)
	set.Signed = &signed
	if previous != nil {
		if previous.Epoch == set.Epoch && previous.SameContent(set) {
			return previous, false, lintWarnings(set, previous, now, light), nil
		}
		if set.Epoch <= previous.Epoch {
			return nil, false, nil, &RestrictionsError{File: choice,
				Reason: fmt.Sprintf("epoch %d, and epoch %d is published with other records", set.Epoch, previous.Epoch),
				Remedy: fmt.Sprintf("raise epoch to %d or more", previous.Epoch+1)}
		}
	}
	if err := checkStep(choice, set.Epoch, previous); err != nil {
		return nil, false, nil, err
	}
	if err := lintErrors(choice, set, now); err != nil {
		return nil, false, nil, err
	}
	if _, err := set.Encode(); err != nil {
		return nil, false, nil, &RestrictionsError{File: choice, Err: err}
	}
	return set, true, lintWarnings(set, previous, now, light), nil
}

// checkStep refuses an epoch that no endpoint would take after the previous set's.
func checkStep(file string, epoch uint64, previous *dbformat.RestrictionSet) error {
	var signed uint64
	if previous != nil {
		signed = previous.Epoch
	}
	last := lastAfter(signed)
	if epoch <= last {
		return nil
	}
	return &RestrictionsError{File: file,
		Reason: fmt.Sprintf("epoch %d is more than 2^32 above the last one, %d, and endpoints refuse such a step", epoch, signed),
		Remedy: fmt.Sprintf("set epoch to %d or less", last)}
}

func readSet(file string) (*dbformat.RestrictionSet, error) {
	f, err := osfile.Open(file)
	if err != nil {
		return nil, &RestrictionsError{File: file, Reason: "cannot be read: ", Err: bare(err), Remedy: "check the path given with --restrictions, or give none to lift all restrictions"}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, dbformat.MaxRestrictionSet+1))
	if err != nil {
		return nil, &RestrictionsError{File: file, Reason: "cannot be read: ", Err: bare(err)}
	}
	set, err := dbformat.ParseRestrictionSource(b)
	if err != nil {
		return nil, &RestrictionsError{File: file, Err: err, Remedy: "docs/format/restrictions.md has the fields"}
	}
	return set, nil
}

// lintErrors refuses what the format allows and no publisher can mean.
func lintErrors(file string, set *dbformat.RestrictionSet, now time.Time) error {
	for i := range set.Records {
		r := &set.Records[i]
		if r.Expires.Sub(now) > dbformat.MaxRestrictionLife {
			last := now.Add(dbformat.MaxRestrictionLife).UTC().Truncate(time.Second)
			return &RestrictionsError{File: file, Record: r.ID, Reason: "expires more than 30 days from now",
				Remedy: "set expires to " + last.Format(time.RFC3339) + " or earlier and publish again in time"}
		}
		if r.Action != dbformat.ActionAllow {
			continue
		}
		for j := range set.Records {
			if o := &set.Records[j]; o.Action != dbformat.ActionAllow && o.Priority >= r.Priority && covers(o, r) {
				return &RestrictionsError{File: file, Record: r.ID,
					Reason: fmt.Sprintf("can never win: %q (%s, priority %d) matches whenever it does", o.ID, o.Action, o.Priority),
					Remedy: fmt.Sprintf("give it a priority above %d, or remove it", o.Priority)}
			}
		}
	}
	return nil
}

// lintWarnings names what may well be meant and has hurt others.
func lintWarnings(set, previous *dbformat.RestrictionSet, now time.Time, light bool) (warnings []string) {
	known := map[string]bool{}
	if previous != nil {
		for _, r := range previous.Records {
			known[r.ID] = true
		}
	}
	for i := range set.Records {
		r := &set.Records[i]
		warn := func(format string, args ...any) {
			warnings = append(warnings, fmt.Sprintf("restriction %q: ", r.ID)+fmt.Sprintf(format, args...))
		}
		if !r.Expires.After(now) {
			warn("expired at %s and does nothing", r.Expires.Format(time.RFC3339))
			continue
		}
		if r.Action == dbformat.ActionAllow {
			continue
		}
		from := now
		if r.NotBefore != nil && r.NotBefore.After(now) {
			from = r.NotBefore.Time
		}
		lookups := len(r.Scope.Services) == 0 || slices.Contains(r.Scope.Services, "lookup")
		onLight := len(r.Match.Variants) == 0 || slices.Contains(r.Match.Variants, dbformat.VariantLight)
		if r.Action == dbformat.ActionDisable && light && lookups && onLight && r.Expires.Sub(from) > 24*time.Hour {
			warn("stops look-ups for more than 24 hours, during which installs with the light variant only suspect what full ones detect")
		}
		if c := r.Match.Cohort; !known[r.ID] && (c == nil || c.To-c.From+1 > 5000) {
			warn("is new and reaches more than half of all installs at once; begin with a smaller cohort")
		}
	}
	return warnings
}

// covers tells whether a matches every request that b matches, on every install: jitter keeps b in force after its expiry on some, and
// may add nothing to a. It may say no where the answer is yes.
func covers(a, b *dbformat.Restriction) bool {
	begins := a.NotBefore == nil || b.NotBefore != nil && !b.NotBefore.Before(a.NotBefore.Time)
	last := b.Expires.Add(time.Duration(b.ExpireJitterS) * time.Second)
	return begins && !a.Expires.Before(last) &&
		coversList(orElse(a.Scope.Services, "lookup"), orElse(b.Scope.Services, "lookup")) &&
		coversList(orElse(a.Scope.Networks, "global"), orElse(b.Scope.Networks, "global")) &&
		coversList(a.Scope.Objects, orElse(b.Scope.Objects, "file", "url", "software")) &&
		coversList(a.Scope.Origins, orElse(b.Scope.Origins, "on_access", "on_demand", "manual", "background")) &&
		coversList(a.Scope.Routes, orElse(b.Scope.Routes, "direct", "proxy")) &&
		coversList(a.Match.Products, b.Match.Products) &&
		(strings.TrimSpace(a.Match.Versions) == "" || a.Match.Versions == b.Match.Versions) &&
		coversList(a.Match.Regions, b.Match.Regions) &&
		coversList(a.Match.Variants, orElse(b.Match.Variants, dbformat.VariantLight, dbformat.VariantFull)) &&
		coversList(a.Match.Modes, orElse(b.Match.Modes, "basic", "extended")) &&
		coversCohort(a.Match.Cohort, b.Match.Cohort)
}

// coversList tells whether a has all of b. An empty a has everything, an empty b is everything.
func coversList[T comparable](a, b []T) bool {
	if len(a) == 0 {
		return true
	}
	for _, v := range b {
		if !slices.Contains(a, v) {
			return false
		}
	}
	return len(b) > 0
}

func coversCohort(a, b *dbformat.RestrictionCohort) bool {
	if a == nil || a.From == 0 && a.To == 9999 {
		return true
	}
	return b != nil && a.Salt == b.Salt && a.From <= b.From && a.To >= b.To
}

func orElse[T any](list []T, all ...T) []T {
	if len(list) == 0 {
		return all
	}
	return list
}
