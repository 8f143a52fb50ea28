package ksn

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// A State is one word for how things stand with KSN. The first of the list that holds is it.
type State string

// The states.
const (
	StateDisabled      State = "disabled"       // by the user, by policy, or no statement is accepted
	StateNotAuthorized State = "not_authorized" // the operator does not accept us, or the provider file has expired
	StateUnavailable   State = "unavailable"    // no permitted route gave an authentic answer
	StateRestricted    State = "restricted"     // a restriction limits something that this client would use now
	StateUnknown       State = "unknown"        // never tried, or an old answer in a process that lives briefly
	StateEnabled       State = "enabled"
)

// text is the state as users read it.
func (s State) text() string {
	switch s {
	case StateDisabled:
		return "Disabled"
	case StateNotAuthorized:
		return "Not authorized"
	case StateUnavailable:
		return "Enabled, servers unavailable"
	case StateRestricted:
		return "Enabled with restrictions"
	case StateEnabled:
		return "Enabled"
	}
	return "Enabled, not confirmed"
}

// AnswerLife is how long one authentic answer proves that the network can be reached.
const AnswerLife = 15 * time.Minute

// failuresToLeave is how many failures in a row end the state enabled, where no sweep of all routes did.
const failuresToLeave = 3

// A Link is what was experienced with the network. Its zero value is that nothing was tried. It is written by
// whoever makes requests, through its methods, and kept over restarts.
type Link struct {
	LastOK    time.Time `json:"last_ok,omitzero"` // the last authentic answer
	LastError string    `json:"last_error,omitempty"`
	FailedAt  time.Time `json:"failed_at,omitzero"`   // the first failure since LastOK
	Failures  int       `json:"failures,omitempty"`   // since LastOK
	AllRoutes bool      `json:"all_routes,omitempty"` // a sweep of all permitted routes failed since LastOK
}

// Answered is the link after an authentic answer at now: one is enough to be back.
func (l Link) Answered(now time.Time) Link { return Link{LastOK: now.UTC()} }

// Past is the link without what was experienced while the clock was ahead of now, as [Ahead] has it.
func (l Link) Past(now time.Time) Link {
	if Ahead(l.FailedAt, now) {
		l = Link{LastOK: l.LastOK}
	}
	if Ahead(l.LastOK, now) {
		l.LastOK = time.Time{}
	}
	return l
}

// Failed is the link after a request failed at now; allRoutes if every permitted route was tried.
func (l Link) Failed(now time.Time, why string, allRoutes bool) Link {
	l = l.Past(now)
	if l.FailedAt.IsZero() {
		l.FailedAt = now.UTC()
	}
	l.LastError, l.Failures, l.AllRoutes = why, l.Failures+1, l.AllRoutes || allRoutes
	return l
}

// A Situation is all that the status depends on. The zero value is a device that nobody set up.
type Situation struct {
	Facts     Facts
	CloudMode bool
	Set       *Set
	Link      Link
	Routes    []Route // that the settings permit ([Routes]); empty: direct
	Running   bool    // the process stays and keeps asking; false for a command
	Ledger    Ledger
	Now       time.Time // as [TimeUsed]
	Language  string    // for the texts of restrictions; "" means "en"
}

// A Status is what `avdb ksn status` shows.
type Status struct {
	State              State       `json:"state"`
	Text               string      `json:"text"`
	Network            NetworkKind `json:"network"`
	NetworkInstalled   bool        `json:"network_installed"`
	NetworkName        string      `json:"network_name,omitempty"`
	Mode               Mode        `json:"mode"` // in force
	CloudMode          bool        `json:"cloud_mode"`
	CloudModeEffective bool        `json:"cloud_mode_effective"`
	CloudModeReason    string      `json:"cloud_mode_reason,omitempty"` // why it is on and not effective
	Reason             string      `json:"reason"`                      // of the state, "" for enabled
	Since              *time.Time  `json:"since"`                       // of the state, null if not known
	LastOK             *time.Time  `json:"last_ok"`                     // null: never
	LastError          string      `json:"last_error,omitempty"`
	Statement          int         `json:"statement"` // accepted version, 0 for none
	Epoch              uint64      `json:"epoch"`     // of the restriction set, 0 for none
	Restrictions       []InForce   `json:"restrictions"`
	Scheduled          []InForce   `json:"scheduled"`
	Counters           Ledger      `json:"counters"`
}

// InForce is a restriction that limits this client, now or (scheduled) later.
type InForce struct {
	ID     string                     `json:"id"`
	Action dbformat.RestrictionAction `json:"action"`
	From   *time.Time                 `json:"from,omitempty"`
	Until  time.Time                  `json:"until"`
	Reason string                     `json:"reason"` // its code, or its text where it has no code
	Text   string                     `json:"text,omitempty"`
}

// NewStatus works out the status. It is a pure function.
func NewStatus(in Situation) Status {
	in.Link = in.Link.Past(in.Now)
	f := in.Facts
	mode, whyOff := f.InForce()
	st := Status{Network: f.kind(), Mode: mode, CloudMode: in.CloudMode, Epoch: in.Set.Epoch(), Counters: in.Ledger,
		LastOK: timeOrNil(in.Link.LastOK), LastError: in.Link.LastError}
	if st.Counters.SuppressedBy == nil {
		st.Counters.SuppressedBy = map[string]int64{}
	}
	if f.Network != nil {
		st.NetworkInstalled, st.NetworkName = true, f.Network.Name
	}
	if a := f.Consent.Accepted; a != nil {
		st.Statement = a.Version
	}
	st.CloudModeEffective, st.CloudModeReason = CloudMode(in.CloudMode, f)
	st.Restrictions, st.Scheduled = in.restrictions()

	var since time.Time
	st.State, st.Reason, since = in.state(mode, whyOff, st.Restrictions)
	st.Text, st.Since = st.State.text(), timeOrNil(since)
	if st.Reason == "" {
		st.Reason = st.CloudModeReason
	}
	return st
}

// state is the machine: the first that holds, with its reason and beginning.
func (in Situation) state(mode Mode, whyOff string, restrictions []InForce) (State, string, time.Time) {
	f, l := in.Facts, in.Link
	began := time.Time{} // of the mode in force
	if f.Consent.Since != nil {
		began = f.Consent.Since.Time
	}
	if !mode.On() {
		return StateDisabled, whyOff, began
	}
	if f.Network != nil {
		switch {
		case f.Credential == CredentialExpired:
			return StateNotAuthorized, "the provider file of the network has expired: install a newer one", time.Time{}
		case f.Credential != CredentialAccepted:
			return StateNotAuthorized, "the operator of the network does not accept this device: register the credential with the operator", time.Time{}
		case in.silenced():
			// Nobody may ask: that nobody answers is then no news. What was met before is older than the restriction or soon will be.
		case l.AllRoutes || l.Failures >= failuresToLeave:
			return StateUnavailable, cmp.Or(l.LastError, "no permitted route answers"), l.FailedAt
		case in.Running && !l.LastOK.IsZero() && in.Now.Sub(l.LastOK) >= AnswerLife:
			return StateUnavailable, cmp.Or(l.LastError, "no authentic answer for 15 minutes"), l.LastOK.Add(AnswerLife)
		}
	}
	if in.Set.Unproved() {
		return StateRestricted, whyUnproved + ": " + remedyUnproved, time.Time{}
	}
	if len(restrictions) > 0 {
		return StateRestricted, restrictedReason(restrictions), in.restrictedSince(restrictions, began)
	}
	switch {
	case f.Network == nil && f.Unusable != "":
		return StateUnknown, f.whyUnusable(), began
	case f.Network == nil:
		return StateUnknown, "no network installed", began
	case l.LastOK.IsZero() && l.LastError != "":
		return StateUnknown, "no answer yet: " + l.LastError, began
	case l.LastOK.IsZero():
		return StateUnknown, "nothing was asked yet", began
	case in.Now.Sub(l.LastOK) >= AnswerLife:
		return StateUnknown, "the last answer is older than 15 minutes", l.LastOK.Add(AnswerLife)
	}
	return StateEnabled, "", l.LastOK
}

func restrictedReason(list []InForce) string {
	text := fmt.Sprintf("restriction %s", list[0].ID)
	if list[0].Reason != "" {
		text += ": " + list[0].Reason
	}
	if n := len(list) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// restrictedSince is when the first of the restrictions in force began to concern the client.
func (in Situation) restrictedSince(list []InForce, began time.Time) time.Time {
	var first time.Time
	for i, r := range list {
		from := in.Set.Signed()
		if r.From != nil && r.From.After(from) {
			from = *r.From
		}
		if i == 0 || from.Before(first) {
			first = from
		}
	}
	if began.After(first) {
		return began
	}
	return first
}

// uses lists every kind of request that the client would make now.
func (in Situation) uses() []Request {
	mode, _ := in.Facts.InForce()
	if !mode.On() {
		return nil
	}
	routes := in.Routes
	if len(routes) == 0 {
		routes = []Route{RouteDirect}
	}
	var all []Request
	for _, route := range routes {
		q := Request{Network: in.Facts.kind(), Route: route}
		for _, o := range Objects() {
			for _, from := range Origins() {
				q.Service, q.Object, q.Origin = ServiceLookup, o, from
				all = append(all, q)
			}
		}
		q.Service, q.Object, q.Origin = ServiceInfo, "", OriginBackground
		all = append(all, q)
		if mode == ModeExtended {
			q.Service = ServiceStats
			all = append(all, q)
		}
	}
	return all
}

// silenced tells whether restrictions disable every look-up that the client would make now: then no route is permitted that could fail.
func (in Situation) silenced() bool {
	if in.Set.Unproved() {
		return true
	}
	any := false
	for _, q := range in.uses() {
		if q.Service != ServiceLookup {
			continue
		}
		won := in.Set.winners(q, in.Facts, in.Now)
		if len(won) == 0 || strength(in.Set.records[won[0]].Action) < strength(dbformat.ActionDisable) {
			return false
		}
		any = true
	}
	return any
}

// restrictions lists the records that limit something the client would use: now, and later. A record that another one
// outranks everywhere limits nothing, and one that allows never does.
func (in Situation) restrictions() (now, later []InForce) {
	uses := in.uses()
	limits, scheduled := map[int]bool{}, map[int]bool{}
	for _, q := range uses {
		for _, i := range in.Set.winners(q, in.Facts, in.Now) {
			limits[i] = limits[i] || in.Set.records[i].Action != dbformat.ActionAllow
		}
		for i := range in.Set.Len() {
			from, until := in.Set.Window(i, in.Facts.Install)
			if from.After(in.Now) && from.Before(until) && in.Set.records[i].Action != dbformat.ActionAllow {
				ok, _ := in.Set.concerns(i, q, in.Facts)
				scheduled[i] = scheduled[i] || ok
			}
		}
	}
	now, later = []InForce{}, []InForce{}
	for i := range in.Set.Len() {
		if limits[i] {
			now = append(now, in.inForce(i))
		}
		if scheduled[i] {
			later = append(later, in.inForce(i))
		}
	}
	slices.SortStableFunc(later, func(a, b InForce) int { return a.From.Compare(*b.From) })
	return now, later
}

func (in Situation) inForce(i int) InForce {
	r := in.Set.Record(i)
	from, until := in.Set.Window(i, in.Facts.Install)
	var languages []string
	for l := range r.Reason.Text {
		languages = append(languages, l)
	}
	slices.Sort(languages)
	text := r.Reason.Text[MatchLanguage(in.Language, languages)]
	return InForce{ID: r.ID, Action: r.Action, From: timeOrNil(from), Until: until.UTC(), Reason: cmp.Or(r.Reason.Code, text), Text: text}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
