package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
	"example.org/avdb/urlhash"
)

// A checkReport is what `ksn check` prints.
type checkReport struct {
	Object     string           `json:"object"`
	Type       ksn.Object       `json:"type"`
	Verdict    protocol.Verdict `json:"verdict"`
	Source     string           `json:"source"` // override, local, cache, proxy, global, private; restricted, timeout …: why there is no verdict
	Name       string           `json:"name"`
	Category   string           `json:"category,omitempty"`
	FirstSeen  *time.Time       `json:"first_seen"`
	Popularity uint64           `json:"popularity"` // number of users, rounded down to a power of ten
	Signer     string           `json:"signer,omitempty"`
	Regions    []string         `json:"regions,omitempty"`
	Key        string           `json:"key,omitempty"`     // that decided
	Release    uint64           `json:"release,omitempty"` // of the database that the answer was made from
	Age        int64            `json:"age"`               // seconds since the answer was made
	TTL        int64            `json:"ttl"`               // seconds for which it still holds
	Stale      bool             `json:"stale,omitempty"`
	Retry      *time.Time       `json:"retry,omitempty"`
	Explain    []string         `json:"explain"` // what was asked, in its order, and what came of it
}

func newKSNCheck(a *app) *cobra.Command {
	var publisher, product, version string
	c := &cobra.Command{
		Use:   "check FILE|HASH|URL",
		Short: "what is known of a file, a hash, a web address or a program",
		Long: `Ask for the reputation of an object: first the overrides of this device, then the database, then KSN. A file is asked about by
all its hashes, of which a prefix leaves this device; a web address by its host and path. The exit code is 1 for what is
untrusted or potentially unwanted, 13 where nobody could be reached or there is no network to ask, 14 where the network said
when to come back, 16 where only KSN could tell, and consent or a restriction forbids the question.`,
		Example: `  avdb ksn check ~/Downloads/setup.exe
  avdb ksn check 275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f
  avdb ksn check https://www.example.org/download?id=1
  avdb ksn check --publisher "Example Ltd" --product Tool --version 1.2`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			software := publisher != "" || product != "" || version != ""
			if software == (len(args) == 1) {
				return &usageError{text: "name one FILE, HASH or URL, or a program with --product", command: "avdb ksn check"}
			}
			d, err := a.device(true)
			if err != nil {
				return err
			}
			k := &checking{d: d, r: checkReport{Verdict: protocol.Unknown, Explain: []string{}}}
			if software {
				k.software(publisher, product, version)
			} else {
				k.name(args[0])
			}
			return k.run(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&publisher, "publisher", "", "`NAME` of the publisher of a program")
	f.StringVar(&product, "product", "", "`NAME` of a program")
	f.StringVar(&version, "version", "", "`VERSION` of a program")
	return c
}

// checking is one check on its way.
type checking struct {
	d      *device
	r      checkReport
	object reputation.Object
	file   string      // to be read, "" for none
	link   urlhash.URL // of the object, zero for none
	err    error       // of what was named
}

func (k *checking) explain(format string, args ...any) {
	k.r.Explain = append(k.r.Explain, fmt.Sprintf(format, args...))
}

// name takes what the user names: a hash, a URL, or else a file.
func (k *checking) name(s string) {
	k.r.Object, k.r.Type, k.object.Size = s, ksn.ObjectFile, -1
	if sum, err := hex.DecodeString(strings.ToLower(s)); err == nil {
		if a, ok := dbformat.AlgorithmOfSize(len(sum)); ok {
			k.add(a, sum)
			return
		}
	}
	if strings.Contains(s, "://") { // a mistyped name of a file is no web address: nothing of it leaves the device
		k.url(s)
		return
	}
	k.file = s
}

func (k *checking) url(s string) {
	k.r.Type = ksn.ObjectURL
	u, err := urlhash.Canonicalize(s)
	if err != nil {
		k.err = usagef("%s: %v", s, err)
		return
	}
	k.link = u
	for _, h := range u.Hashes() {
		k.object.Keys = append(k.object.Keys, protocol.Key{Type: protocol.URL, Sum: h})
	}
	k.explain("canonical form %s, %d expressions", u, len(k.object.Keys))
}

func (k *checking) software(publisher, product, version string) {
	k.r.Type, k.r.Object = ksn.ObjectSoftware, strings.Join([]string{publisher, product, version}, " / ")
	key, err := protocol.SoftwareKey(publisher, product, version)
	if err != nil {
		k.err = usagef("%v", err)
		return
	}
	k.object.Keys = []protocol.Key{key}
}

func (k *checking) add(a dbformat.Algorithm, sum []byte) {
	if key, err := protocol.NewKey(protocol.FileType(a), sum); err == nil {
		k.object.Keys = append(k.object.Keys, key)
	}
}

func (k *checking) run(ctx context.Context) error {
	if k.err != nil {
		return k.err
	}
	if err := k.hashes(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return hint(err, "name a file that is there, a hash, or a web address with its http:// or https://")
		}
		return err
	}
	over, err := k.d.overrides()
	if err != nil {
		return err
	}
	if k.overridden(over) {
		return k.end(nil)
	}
	if settled, err := k.local(ctx); err != nil || settled {
		return k.end(err)
	}
	if err := k.consent(); err != nil {
		return k.end(err)
	}
	c, err := k.d.cloud(false)
	if err != nil {
		return k.end(err)
	}
	defer c.close()
	if c.provider == nil {
		err := c.nobody()
		k.r.Source, k.r.Name = string(reputation.NoNetwork), k.object.Name
		k.explain("%v", err)
		return k.end(err)
	}
	c.client.Warm(ctx)
	v := c.client.Lookup(ctx, ksn.OriginManual, []reputation.Object{k.object})[0]
	k.take(v)
	return k.end(k.refusal(v))
}

// consent refuses while KSN is off: what this device does not know by itself is then known to nobody that may be asked, kept answers included. Consent is
// to a statement of the network that would answer; where that network cannot be read, a device without any consent is refused, not told of damage.
func (k *checking) consent() error {
	f, err := k.d.consentFacts("")
	if mode, _ := f.InForce(); err == nil && mode.On() {
		f, err = k.d.facts("")
	}
	if err != nil {
		return err
	}
	if mode, why := f.InForce(); !mode.On() {
		remedy := "run \"avdb ksn enable\""
		switch {
		case f.Policy != "" && !f.Policy.On():
			remedy = "ask who keeps the config file"
		case f.Consent.Accepted == nil:
			remedy = "run \"avdb ksn statement accept\", then \"avdb ksn enable\""
		}
		k.r.Source, k.r.Name = string(reputation.Disabled), k.object.Name
		k.explain("KSN: disabled")
		return &ksn.RefusedError{What: "a check of the reputation", Why: "KSN is off: " + why, Remedy: remedy}
	}
	return nil
}

// overridden takes the administrator's word, for whichever of the object's keys there is one: the worst of several.
func (k *checking) overridden(over overrides) bool {
	for _, key := range k.object.Keys {
		if v, name, ok := over.of(key); ok && v.Rank() > k.r.Verdict.Rank() {
			k.r.Verdict, k.r.Name, k.r.Key, k.r.Source = v, name, key.String(), string(reputation.SourceOverride)
			about := over[key.String()]
			k.r.Category, k.r.Popularity, k.r.Signer, k.r.Regions = about.Category, protocol.RoundPopularity(about.Popularity), about.Signer, about.Regions
			if k.r.FirstSeen = nil; about.FirstSeen != nil {
				k.r.FirstSeen = moment(about.FirstSeen.Time)
			}
		}
	}
	return k.r.Source != ""
}

// local asks the database of this device, where an exact signature or an allow record of SHA-256 settles the question.
func (k *checking) local(ctx context.Context) (settled bool, err error) {
	if k.r.Type == ksn.ObjectSoftware {
		return false, nil
	}
	m, err := matcher.Open(k.d.store, matcher.Options{PUA: true, Archives: matcher.Archives{Off: true}}) // the question is about the file itself
	if errors.Is(err, store.ErrNoDatabase) {
		k.explain("no database")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer m.Close()
	k.object.Release = m.Generation().Version
	var r matcher.Result
	switch {
	case k.r.Type == ksn.ObjectURL:
		if r, err = m.LookupURL(k.link); err != nil {
			return false, err
		}
	case k.file != "":
		r = m.ScanFile(ctx, k.file)
		if r.Verdict == matcher.Failed {
			return false, r.Err
		}
	default:
		key := k.object.Keys[0]
		a, _ := dbformat.AlgorithmOfSize(key.Type.KeySize())
		if r, err = m.Lookup(a, key.Bytes(), -1); err != nil {
			return false, err
		}
	}
	g := m.Generation()
	k.explain("database, release %d, %s: %s %s", g.Version, g.Variant(), r.Verdict, r.Name)
	switch r.Verdict {
	case matcher.Malicious:
		k.r.Verdict, k.r.Source, k.r.Name = protocol.Untrusted, r.Source, r.Name
		if k.r.Type == ksn.ObjectURL {
			k.r.Key = string(protocol.URL) + ":" + r.SHA256
		}
		if strings.Contains(r.Signature, "pua") {
			k.r.Verdict = protocol.PotentiallyUnwanted
		}
		return true, nil
	case matcher.Allowed:
		if r.Signature != dbformat.ClassAllow.Section(dbformat.SHA256).String() {
			return false, nil // MD5 and SHA-1 can be forged to be those of something else: nothing is trusted by them
		}
		k.r.Verdict, k.r.Source, k.r.Name = protocol.Trusted, r.Source, r.Name
		return true, nil
	case matcher.Suspected:
		k.object.Suspected, k.object.Name, k.object.Path = true, r.Name, k.file
	}
	return false, nil
}

// hashes makes the keys of the file.
func (k *checking) hashes() error {
	if k.file == "" {
		return nil
	}
	sums, size, err := hashFile(k.file)
	if err != nil {
		return err
	}
	k.object.Size = size
	for _, a := range []dbformat.Algorithm{dbformat.SHA256, dbformat.SHA1, dbformat.MD5} {
		k.add(a, sums[a])
	}
	return nil
}

// take fills in what the network says.
func (k *checking) take(v reputation.Verdict) {
	r := &k.r
	r.Verdict, r.Source, r.Name, r.Category, r.Popularity, r.Signer, r.Regions = v.Verdict, string(v.Source), v.Name, v.Category, v.Popularity, v.Signer, v.Regions
	r.FirstSeen, r.Release, r.Stale, r.Retry = moment(v.FirstSeen), v.Release, v.Stale, moment(v.Retry)
	r.Age, r.TTL = int64(v.Age.Seconds()), int64(v.Life.Seconds())
	if v.Key.Type != "" {
		r.Key = v.Key.String()
	}
	switch {
	case v.Why != reputation.Settled:
		if v.Source == reputation.SourceNone {
			r.Source = string(v.Why)
		}
		if k.object.Suspected {
			r.Name = k.object.Name
		}
		k.explain("KSN: %s", strings.ReplaceAll(string(v.Why), "_", " "))
		if v.Record != "" {
			k.explain("restriction %s", v.Record)
		}
		if v.Err != nil {
			k.explain("%v", v.Err)
		}
		if v.Remedy != "" {
			k.explain("%s", v.Remedy)
		}
	default:
		k.explain("KSN, %s: %s", v.Source, v.Verdict)
	}
}

// refusal is the error of a question that got no answer, nil for one that did.
func (k *checking) refusal(v reputation.Verdict) error {
	if v.Verdict != protocol.Unknown {
		return nil
	}
	if v.Why == reputation.Settled || v.Why == reputation.ServerBehind && !k.object.Suspected {
		return nil
	}
	return whyNot("the question", v.Why, v.Record, v.Retry, v.Remedy, v.Err)
}

// whyNot is the error of a request that got no answer: of one that may not be made, or else of one that nobody answered, or not yet.
func whyNot(what string, why reputation.Why, record string, retry time.Time, remedy string, err error) error {
	if errors.Is(err, ksn.ErrRefused) {
		return err
	}
	switch why {
	case reputation.Disabled, reputation.Restricted, reputation.NotAuthorized:
		return &ksn.RefusedError{What: what, Why: strings.ReplaceAll(string(why), "_", " "), Record: record, Retry: retry, Remedy: remedy}
	}
	return &reputation.UnavailableError{What: what, Why: why, Retry: retry, Remedy: remedy, Err: err}
}

// end prints the report, which is good beside an error too.
func (k *checking) end(err error) error {
	r, a := k.r, k.d.a
	if err == nil && (r.Verdict == protocol.Untrusted || r.Verdict == protocol.PotentiallyUnwanted) {
		err = errFinding
	}
	if a.json {
		return a.reportJSON(r, err)
	}
	if r.Source == "" && err != nil {
		return err // nothing was found out
	}
	fmt.Fprintf(a.stdout, "%s: %s", pathText(r.Object), r.Verdict)
	if r.Name != "" {
		fmt.Fprintf(a.stdout, ", %s", escape(r.Name))
	}
	fmt.Fprintf(a.stdout, " (%s)\n", r.Source)
	if r.FirstSeen != nil {
		fmt.Fprintf(a.stdout, "first seen %s\n", stamp(*r.FirstSeen))
	}
	if r.Popularity > 0 {
		fmt.Fprintf(a.stdout, "seen by %s users or more\n", countText(r.Popularity))
	}
	if r.Signer != "" {
		fmt.Fprintf(a.stdout, "signed by %s\n", escape(r.Signer))
	}
	if len(r.Regions) > 0 {
		fmt.Fprintf(a.stdout, "seen most in %s\n", escape(strings.Join(r.Regions, ", ")))
	}
	if a.verbose {
		for _, line := range r.Explain {
			fmt.Fprintf(a.stdout, "  %s\n", escape(line))
		}
	}
	return err
}

func newKSNCheckConnection(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check-connection",
		Short: "try the way to the network, step by step",
		Long: `Ask the network what it offers and say how each step went: name, connection, encryption, authorisation, signed
answer. The first step that fails is named; the exit code is then 13, or 16 where consent or a restriction forbids the
question. A network that told this device to come back later is not asked before that, by hand neither: the step cool_down
names who said so and until when, with exit code 14.`,
		Example: "  avdb ksn check-connection",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			cl, err := d.cloud(false)
			if err != nil {
				return err
			}
			defer cl.close()
			r := cl.client.CheckConnection(c.Context())
			switch {
			case r.OK:
			case cl.provider == nil:
				err = cl.nobody()
			default:
				last := r.Steps[len(r.Steps)-1]
				why := reputation.Why(firstOf(string(r.Why), string(reputation.Unavailable)))
				if err = whyNot("the step "+r.Failed, why, "", last.Retry, last.Remedy, errors.New(last.Error)); why == reputation.Busy && r.Failed == reputation.StepGate {
					err = &ksn.RefusedError{What: "the step " + r.Failed, Why: last.Error, Retry: last.Retry, Remedy: last.Remedy} // our own ceiling, not the network's
				}
			}
			if a.json {
				return a.reportJSON(r, err)
			}
			for _, s := range r.Steps {
				mark, text := "ok", ""
				if !s.OK {
					mark, text = "failed", escape(s.Error)
				}
				if !s.Retry.IsZero() {
					text += "; not before " + stamp(s.Retry)
				}
				fmt.Fprintf(a.stdout, "%-8s %-14s %-6s %8s  %s\n", s.Route, s.Name, mark, s.Duration.Round(time.Millisecond), text)
			}
			return err
		},
	}
}
