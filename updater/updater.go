package updater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

// A Config is what an [Updater] works with. Only Store must be set.
type Config struct {
	Store *store.Store // the endpoint's state, trust included

	Sources []Source // in the order in which they are tried; none means those of the settings

	// Auto says which variant is wanted where options and settings say "auto". Nil means light if the settings' cloud
	// mode is on, a statement is accepted and the KSN mode is not off. Who knows more (policy, a network that
	// refuses cloud mode) gives its own.
	Auto func(store.Settings) dbformat.Variant

	Getenv func(string) string // for secrets in the environment; nil means os.Getenv

	Now       func() time.Time  // nil means time.Now
	Random    func() float64    // in [0, 1), for jitter, from any goroutine; nil means math/rand/v2
	Logger    *slog.Logger      // nil means no log
	Transport http.RoundTripper // nil means one of our own, with the proxies of the environment
	Limits    Limits
	Keep      int            // generations kept beside the current one; 0 means the settings' number, less than 0 none
	RateLimit int64          // bytes a second of all bodies together; 0 means the settings' limit, less than 0 none
	Progress  func(Progress) // told of each piece that arrives, from another goroutine than Update's; nil for none
	Hooks     []Hook         // run after an update that changed something, also one that failed otherwise, once the lock is free
	UserAgent string         // "" means avdb/1 with system and architecture
	Interval  time.Duration  // between two updates, for Report.NextNotBefore; 0 means 1 h

	// SelfTest proves a new generation before it becomes current; rest is nil for the light variant. Nil means
	// matcher.SelfTest.
	SelfTest func(light, rest dbformat.LayerReader) error

	// Step is called before each step of the cycle with its name, see [Steps]. It is for tests that stop a
	// process at a chosen place. Nil for none.
	Step func(name string)
}

// Progress is how far one download is.
type Progress struct {
	Target      string // its path
	Done, Total int64  // bytes; Done counts what an earlier run left, too
}

// A Hook is a program that is run, without a shell, after an update that changed something.
type Hook struct {
	Argv []string // the program and its arguments
}

// Options are what one update is asked for.
type Options struct {
	Variant string // "auto", "light" or "full"; "" means the settings' choice
	Check   bool   // only look whether something is to be done
	DryRun  bool   // the same; kept apart so that a program can give them different exit codes
}

// An Updater carries out updates. It is safe for concurrent use: of two updates on one state, by whichever process,
// one works and the other one ends at once with store.ErrLocked.
type Updater struct {
	c Config
}

// New checks c and gives an Updater. It touches neither disk nor network.
func New(c Config) (*Updater, error) {
	if c.Store == nil {
		return nil, errors.New("updater: Config.Store is not set")
	}
	for _, s := range c.Sources {
		if err := s.check(); err != nil {
			return nil, err
		}
	}
	for i, h := range c.Hooks {
		if len(h.Argv) == 0 {
			return nil, fmt.Errorf("updater: Config.Hooks[%d] names no program", i)
		}
	}
	if c.Auto == nil {
		c.Auto = autoVariant
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.UserAgent == "" {
		c.UserAgent = defaultAgent()
	}
	if c.Interval <= 0 {
		c.Interval = time.Hour
	}
	if c.SelfTest == nil {
		c.SelfTest = matcher.SelfTest
	}
	if c.Step == nil {
		c.Step = func(string) {}
	}
	c.Limits = c.Limits.withDefaults()
	return &Updater{c}, nil
}

// autoVariant is the rule of Config.Auto where nobody knows better.
func autoVariant(s store.Settings) dbformat.Variant {
	if s.CloudMode && s.KSN.Accepted != nil && s.KSN.Mode != "off" {
		return dbformat.VariantLight
	}
	return dbformat.VariantFull
}

// The steps of the cycle, in their order. "fetch" and "apply" come once for each file.
const (
	stepLock         = "lock"
	stepSettings     = "settings"
	stepRefresh      = "refresh"
	stepRestrictions = "restrictions"
	stepNetwork      = "network"
	stepRelease      = "release"
	stepPlan         = "plan"
	stepClean        = "clean"
	stepSpace        = "space"
	stepFetch        = "fetch"
	stepApply        = "apply"
	stepFinish       = "finish"
	stepSelfTest     = "self-test"
	stepIndex        = "index"
	stepActivate     = "activate"
	stepAccept       = "accept"
	stepHistory      = "history"
	stepHooks        = "hooks"
)

// Steps names the steps of the cycle in their order, as Config.Step is told of them.
func Steps() []string {
	return []string{stepLock, stepSettings, stepRefresh, stepRestrictions, stepNetwork, stepRelease, stepPlan, stepClean, stepSpace,
		stepFetch, stepApply, stepFinish, stepSelfTest, stepIndex, stepActivate, stepAccept, stepHistory, stepHooks}
}

// Update runs the cycle once: lock, settings, then for each source in turn until one is good: refresh, restrictions,
// network, plan, fetch, apply, self-test, activate; then history and, with the lock given back, hooks.
//
// The report is good also where an error is returned; then Result tells what was done nevertheless: a light
// generation is updated though rest cannot be had, a restriction set is stored though layers cannot. What is
// installed is never taken away. Errors match exactly one of store.ErrLocked, signing.ErrUntrusted, dbformat.ErrVersion,
// store.ErrStorage, [ErrCoolDown], [ErrUnavailable] or [ErrNotSetUp], or are those of the settings, of a missing trust, or the context's.
func (u *Updater) Update(ctx context.Context, o Options) (Report, error) {
	c := &cycle{u: u, o: o, started: time.Now(), coolDowns: map[string]time.Time{}}
	deadline := &SourceError{Source: "update", Reason: "took longer than " + u.c.Limits.Update.String()}
	ctx, cancel := context.WithTimeoutCause(ctx, u.c.Limits.Update, deadline)
	defer cancel()
	err := c.locked(ctx)
	c.outcome(err)
	if c.report.Result == ResultUpdated && ctx.Err() == nil {
		c.step(stepHooks)
		c.hooks(ctx)
	}
	c.report.Seconds = c.elapsed()
	return c.report, err
}
