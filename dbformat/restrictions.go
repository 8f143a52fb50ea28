package dbformat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"time"
)

// Limits of restriction sets.
const (
	MaxRestrictionSet  = 64 << 10            // bytes of a set
	MaxRestrictions    = 256                 // records of a set
	MaxRestrictionLife = 30 * 24 * time.Hour // from a set's signing time; later expiries are clamped to it
)

// A RestrictionSet is the complete set of restrictions of an epoch. The highest epoch
// ever verified is in force.
type RestrictionSet struct {
	Schema  int           `json:"schema"` // 1
	Epoch   uint64        `json:"epoch"`  // 0 for no set at all, else 1 to MaxVersion
	Signed  *Time         `json:"signed,omitempty"`
	Records []Restriction `json:"records"`
}

// A Restriction limits requests to KSN. It can only reduce traffic. Empty lists mean what the comment says.
type Restriction struct {
	ID            string            `json:"id"`       // unique in the set: [a-z0-9._-], 1 to 64
	Action        RestrictionAction `json:"action"`   //
	Priority      int               `json:"priority"` // 0 to 1000; only the highest that match count
	NotBefore     *Time             `json:"not_before,omitempty"`
	Expires       Time              `json:"expires"`                   // clamped to signed + MaxRestrictionLife
	ExpireJitterS int               `json:"expire_jitter_s,omitempty"` // seconds, 0 to 7 days: ends spread over a fleet
	Scope         RestrictionScope  `json:"scope,omitzero"`
	Match         RestrictionMatch  `json:"match,omitzero"`
	Limit         *RestrictionLimit `json:"limit,omitempty"` // with ActionLimit only
	Reason        RestrictionReason `json:"reason,omitzero"`
}

// A RestrictionAction is what a matching record does: disable beats limit beats allow.
type RestrictionAction string

// The actions.
const (
	ActionDisable RestrictionAction = "disable"
	ActionLimit   RestrictionAction = "limit"
	ActionAllow   RestrictionAction = "allow"
)

// A RestrictionScope says which requests a record is about.
type RestrictionScope struct {
	Services []string `json:"services,omitempty"` // lookup, info, stats; empty: lookup
	Objects  []string `json:"objects,omitempty"`  // file, url, software; empty: all
	Origins  []string `json:"origins,omitempty"`  // on_access, on_demand, manual, background; empty: all
	Networks []string `json:"networks,omitempty"` // global, private; empty: global
	Routes   []string `json:"routes,omitempty"`   // direct, proxy; empty: all
}

// IsZero tells whether a scope says nothing, so that it is left out of the canonical bytes: an empty list is as good as none.
func (s RestrictionScope) IsZero() bool {
	return len(s.Services)+len(s.Objects)+len(s.Origins)+len(s.Networks)+len(s.Routes) == 0
}

// A RestrictionMatch says which clients a record is about. Empty lists match every client.
type RestrictionMatch struct {
	Products []string           `json:"products,omitempty"`
	Versions string             `json:"versions,omitempty"` // as ParseVersionRange
	Regions  []string           `json:"regions,omitempty"`
	Variants []Variant          `json:"variants,omitempty"`
	Modes    []string           `json:"modes,omitempty"` // basic, extended
	Cohort   *RestrictionCohort `json:"cohort,omitempty"`
}

// IsZero is as that of [RestrictionScope].
func (m RestrictionMatch) IsZero() bool {
	return len(m.Products)+len(m.Regions)+len(m.Variants)+len(m.Modes) == 0 && m.Versions == "" && m.Cohort == nil
}

// A RestrictionCohort picks installs by the hash of salt and install id.
type RestrictionCohort struct {
	Salt string `json:"salt"`
	From int    `json:"from"` // 0 to 9999
	To   int    `json:"to"`   // From to 9999, inclusive
}

// A RestrictionLimit lets a part of the requests through. Zero fields do not limit; several must all pass.
type RestrictionLimit struct {
	SampleBP  int              `json:"sample_bp,omitempty"`  // 1 to 9999 of 10 000
	SampleKey string           `json:"sample_key,omitempty"` // object (default) or install
	Rate      *RestrictionRate `json:"rate,omitempty"`
	DailyMax  int64            `json:"daily_max,omitempty"`   // requests a day (UTC)
	TTLFloorS map[string]int64 `json:"ttl_floor_s,omitempty"` // least seconds that an answer with this verdict is kept
}

// A RestrictionRate is a token bucket: Requests every PerS seconds, at most Burst at once.
type RestrictionRate struct {
	Requests int `json:"requests"`
	PerS     int `json:"per_s"`
	Burst    int `json:"burst"`
}

// A RestrictionReason is what users and support see.
type RestrictionReason struct {
	Code string            `json:"code,omitempty"` // [a-z0-9._-], at most 64
	Text map[string]string `json:"text,omitempty"` // by language tag
}

// IsZero is as that of [RestrictionScope].
func (r RestrictionReason) IsZero() bool { return r.Code == "" && len(r.Text) == 0 }

// ParseRestrictionSource reads the set that a publisher wrote: unknown fields are errors, white
// space is free, and there is no signing time yet. Errors match [ErrCorrupt] and name the record and the field.
func ParseRestrictionSource(b []byte) (*RestrictionSet, error) {
	s := new(RestrictionSet)
	if err := decodeStrict("restriction set", b, MaxRestrictionSet, s); err != nil {
		return nil, err
	}
	if s.Signed != nil {
		return nil, &FormatError{What: "restriction set", Offset: -1, Reason: "signed: is set when the set is published, remove it"}
	}
	if s.Records == nil {
		s.Records = []Restriction{}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// ParseRestrictionSet reads restrictions/set.json: strict, canonical, signed time present. Errors
// match [ErrVersion] for a later schema and [ErrCorrupt] for everything else.
func ParseRestrictionSet(b []byte) (*RestrictionSet, error) {
	if err := checkSchema("restriction set", b, MaxRestrictionSet); err != nil {
		return nil, err
	}
	s := new(RestrictionSet)
	if err := decodeCanonical("restriction set", b, MaxRestrictionSet, s); err != nil {
		return nil, err
	}
	if s.Signed == nil || s.Records == nil {
		return nil, &FormatError{What: "restriction set", Offset: -1, Reason: "no signing time or no list of records"}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// Encode gives the canonical bytes of restrictions/set.json. Signed must be set.
func (s *RestrictionSet) Encode() ([]byte, error) {
	if s.Signed == nil {
		return nil, &FormatError{What: "restriction set", Offset: -1, Reason: "no signing time"}
	}
	if s.Records == nil {
		return nil, &FormatError{What: "restriction set", Offset: -1, Reason: "no list of records"}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	b, err := encodeJSON(s)
	if err == nil && len(b) > MaxRestrictionSet {
		err = &FormatError{What: "restriction set", Offset: -1, Reason: fmt.Sprintf("%d bytes, the limit is %d", len(b), MaxRestrictionSet)}
	}
	return b, err
}

// SameContent tells whether two sets say the same, whenever they were signed.
func (s *RestrictionSet) SameContent(o *RestrictionSet) bool {
	a, b := *s, *o
	a.Signed, b.Signed = nil, nil
	x, err1 := encodeJSON(&a)
	y, err2 := encodeJSON(&b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// leadingSchema finds the number of a document's field "schema" without judging anything else.
func leadingSchema(b []byte) (int, bool) {
	var probe struct {
		Schema int `json:"schema"`
	}
	if json.Unmarshal(b, &probe) != nil {
		return 0, false
	}
	return probe.Schema, true
}

var identifier = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)

func (s *RestrictionSet) check() error {
	bad := func(format string, args ...any) error {
		return &FormatError{What: "restriction set", Offset: -1, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Schema != 1:
		return bad("schema %d, want 1", s.Schema)
	case s.Epoch < 1 || s.Epoch > MaxVersion:
		return bad("epoch %d, want 1 to 2^53-1", s.Epoch)
	case len(s.Records) > MaxRestrictions:
		return bad("%d records, the limit is %d", len(s.Records), MaxRestrictions)
	case s.Signed != nil && !plausible(*s.Signed):
		return bad("signed in the year %d", s.Signed.Year())
	}
	seen := map[string]bool{}
	for i := range s.Records {
		r := &s.Records[i]
		if reason := r.fault(); reason != "" {
			return bad("record %d (%.64q): %s", i+1, r.ID, reason)
		}
		if seen[r.ID] {
			return bad("record %d: the id %q stands twice", i+1, r.ID)
		}
		seen[r.ID] = true
	}
	return nil
}

func plausible(t Time) bool { return t.Year() >= 1970 && t.Year() <= 9999 }

// fault says what is wrong with a record, "" for nothing.
func (r *Restriction) fault() string {
	switch {
	case !identifier.MatchString(r.ID):
		return "id: want 1 to 64 of a-z 0-9 . _ -"
	case r.Action != ActionDisable && r.Action != ActionLimit && r.Action != ActionAllow:
		return fmt.Sprintf("action %q: want disable, limit or allow", r.Action)
	case r.Priority < 0 || r.Priority > 1000:
		return fmt.Sprintf("priority %d: want 0 to 1000", r.Priority)
	case r.Expires.IsZero():
		return "expires: is required"
	case !plausible(r.Expires) || r.NotBefore != nil && !plausible(*r.NotBefore):
		return "expires, not_before: want a year from 1970 to 9999"
	case r.NotBefore != nil && !r.NotBefore.Before(r.Expires.Time):
		return "not_before is not before expires"
	case r.ExpireJitterS < 0 || r.ExpireJitterS > 7*24*3600:
		return fmt.Sprintf("expire_jitter_s %d: want 0 to 604800", r.ExpireJitterS)
	case (r.Action == ActionLimit) != (r.Limit != nil):
		return "limit: is for the action limit, which needs it"
	}
	for _, f := range []func() string{r.Scope.fault, r.Match.fault, r.Limit.fault, r.Reason.fault} {
		if s := f(); s != "" {
			return s
		}
	}
	return ""
}

func (s *RestrictionScope) fault() string {
	for _, f := range []struct {
		name  string
		given []string
		known []string
	}{
		{"services", s.Services, []string{"lookup", "info", "stats"}},
		{"objects", s.Objects, []string{"file", "url", "software"}},
		{"origins", s.Origins, []string{"on_access", "on_demand", "manual", "background"}},
		{"networks", s.Networks, []string{"global", "private"}},
		{"routes", s.Routes, []string{"direct", "proxy"}},
	} {
		if reason := oneOf("scope."+f.name, f.given, f.known); reason != "" {
			return reason
		}
	}
	return ""
}

func (m *RestrictionMatch) fault() string {
	for _, f := range []struct {
		name  string
		given []string
	}{{"products", m.Products}, {"regions", m.Regions}} {
		if len(f.given) > 64 {
			return fmt.Sprintf("match.%s: %d entries, the limit is 64", f.name, len(f.given))
		}
		for i, s := range f.given {
			if s == "" || len(s) > 64 || slices.Contains(f.given[:i], s) {
				return fmt.Sprintf("match.%s: %.80q is empty, too long or twice", f.name, s)
			}
			if err := checkPlain(s); err != nil {
				return fmt.Sprintf("match.%s: %.80q %v", f.name, s, err)
			}
		}
	}
	for i, v := range m.Variants {
		if v.Layers() == nil || slices.Contains(m.Variants[:i], v) {
			return fmt.Sprintf("match.variants: %.80q is unknown or twice", v)
		}
	}
	if reason := oneOf("match.modes", m.Modes, []string{"basic", "extended"}); reason != "" {
		return reason
	}
	if _, err := ParseVersionRange(m.Versions); err != nil {
		return "match.versions: " + err.Error()
	}
	if c := m.Cohort; c != nil {
		switch {
		case c.Salt == "" || len(c.Salt) > 64:
			return "match.cohort.salt: want 1 to 64 bytes"
		case checkPlain(c.Salt) != nil:
			return fmt.Sprintf("match.cohort.salt: %q %v", c.Salt, checkPlain(c.Salt))
		case c.From < 0 || c.To > 9999 || c.From > c.To:
			return fmt.Sprintf("match.cohort: %d to %d, want from ≤ to within 0 to 9999", c.From, c.To)
		}
	}
	return ""
}

func (l *RestrictionLimit) fault() string {
	if l == nil {
		return ""
	}
	if l.SampleBP == 0 && l.Rate == nil && l.DailyMax == 0 && len(l.TTLFloorS) == 0 {
		return "limit: limits nothing"
	}
	switch {
	case l.SampleBP < 0 || l.SampleBP > 9999:
		return fmt.Sprintf("limit.sample_bp %d: want 1 to 9999", l.SampleBP)
	case l.SampleKey != "" && l.SampleKey != "object" && l.SampleKey != "install":
		return fmt.Sprintf("limit.sample_key %q: want object or install", l.SampleKey)
	case l.SampleKey != "" && l.SampleBP == 0:
		return "limit.sample_key: without sample_bp"
	case l.DailyMax < 0 || l.DailyMax > math.MaxInt32:
		return fmt.Sprintf("limit.daily_max %d: want 1 to 2^31-1", l.DailyMax)
	}
	if r := l.Rate; r != nil {
		for _, n := range []int{r.Requests, r.PerS, r.Burst} {
			if n < 1 || n > 1e6 {
				return "limit.rate: requests, per_s and burst are 1 to 1000000"
			}
		}
	}
	for verdict, s := range l.TTLFloorS {
		if reason := oneOf("limit.ttl_floor_s", []string{verdict}, []string{"trusted", "untrusted", "potentially_unwanted", "unknown"}); reason != "" {
			return reason
		}
		if s < 1 || s > int64(MaxRestrictionLife/time.Second) {
			return fmt.Sprintf("limit.ttl_floor_s.%s %d: want 1 to 2592000", verdict, s)
		}
	}
	return ""
}

func (r *RestrictionReason) fault() string {
	if r.Code != "" && !identifier.MatchString(r.Code) {
		return "reason.code: want at most 64 of a-z 0-9 . _ -"
	}
	if len(r.Text) > 32 {
		return fmt.Sprintf("reason.text: %d languages, the limit is 32", len(r.Text))
	}
	for _, lang := range slices.Sorted(maps.Keys(r.Text)) {
		text := r.Text[lang]
		if lang == "" || len(lang) > 35 || len(text) > 500 {
			return fmt.Sprintf("reason.text: %.40q: a tag has 1 to 35 bytes, a text at most 500", lang)
		}
		if err := checkPlain(lang); err != nil {
			return fmt.Sprintf("reason.text: the tag %q %v", lang, err)
		}
		if err := checkPlain(text); err != nil {
			return fmt.Sprintf("reason.text: %q: the text %v", lang, err)
		}
	}
	return ""
}

// oneOf checks that given holds known words only, each once.
func oneOf(field string, given, known []string) string {
	for i, s := range given {
		if !slices.Contains(known, s) || slices.Contains(given[:i], s) {
			return fmt.Sprintf("%s: %.80q is unknown or twice, want %q", field, s, known)
		}
	}
	return ""
}
