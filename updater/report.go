package updater

import (
	"encoding/json"
	"time"

	"example.org/avdb/dbformat"
)

// A Result says what an update came to.
type Result string

// The results. Their text is stable.
const (
	ResultUpdated   Result = "updated"   // something changed on disk: a layer, the variant, the version, the restriction set
	ResultCurrent   Result = "current"   // nothing had to change, or a hold forbids it
	ResultAvailable Result = "available" // a check or a dry run found something to do
	ResultFailed    Result = "failed"    // nothing changed because of the error beside the report
)

// A Report is the outcome of one update, also of one that failed. Its JSON is part of the program's contract; lists
// are never null there.
type Report struct {
	Result         Result           `json:"result"`
	From           uint64           `json:"from"`            // release before, 0 for none
	To             uint64           `json:"to"`              // release after; of a check or a dry run: that would be
	Variant        dbformat.Variant `json:"variant"`         // installed after; "" for none
	PendingVariant dbformat.Variant `json:"pending_variant"` // wanted and not reached; "" for none
	Source         string           `json:"source"`          // that was good, without credentials; "" for none
	Steps          []ReportStep     `json:"steps"`
	Bytes          int64            `json:"bytes"`    // of all answers' bodies, metadata included
	Requests       int64            `json:"requests"` // retries and redirects included
	Seconds        float64          `json:"seconds"`
	Notes          []string         `json:"notes"`           // a code, and a text after a colon
	NextNotBefore  *time.Time       `json:"next_not_before"` // UTC, whole seconds
}

// A ReportStep is what was done, or would be, for one layer, the restriction set or the global network.
type ReportStep struct {
	Layer string `json:"layer"` // light, rest, restrictions or network
	How   How    `json:"how"`
	Why   string `json:"why"`
	From  uint64 `json:"from"`  // delta: the lowest release with the digest that it starts from; restrictions: the epoch before; network: the serial before
	To    uint64 `json:"to"`    // the lowest release with the resulting digest; restrictions: the epoch after; network: the serial after
	Bytes int64  `json:"bytes"` // of its own file
}

// MarshalJSON writes empty lists as lists.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	p := plain(r)
	if p.Steps == nil {
		p.Steps = []ReportStep{}
	}
	if p.Notes == nil {
		p.Notes = []string{}
	}
	return json.Marshal(p)
}

// The codes of notes, the part before a colon where a text follows. Notes of signing (its Note constants) come beside them.
const (
	NoteLightUnavailable     = "light_unavailable"     // the release is not offered as light: full is taken
	NoteHeld                 = "held"                  // a hold keeps the installed generation
	NoteInstalledNewer       = "installed_newer"       // the installed release is above the one that is offered
	NoteRestUnavailable      = "rest_unavailable"      // light was updated without rest, which no source gave
	NoteRestUnproved         = "rest_unproved"         // light became full, and no earlier rest was here to hold the new one against
	NoteDeltaRefused         = "delta_refused"         // a delta could not be used: the bundle was taken
	NoteSourceFailed         = "source_failed"         // a source was not good; the next one was tried
	NoteSourceStale          = "source_stale"          // a source lags behind what was seen before; the next one was tried
	NoteRestrictionsRefused  = "restrictions_refused"  // a restriction set is signed and cannot be used: the old one stays in force
	NoteRestrictionsReplaced = "restrictions_replaced" // the stored restriction set was missing, or nothing vouched for it: what was signed took its place
	NoteNetworkRefused       = "network_refused"       // the global network's provider file is signed and cannot be used: the old one stays
	NoteReleaseInFuture      = "release_in_future"     // the release bears a time that has not come: its age says nothing
	NoteDamaged              = "damaged"               // something on disk is damaged; it is fetched again where it is needed
	NoteIndexNotKept         = "index_not_kept"        // the derived index could not be stored; matchers build it in memory
	NoteStateNotKept         = "state_not_kept"        // history or the state of a source could not be read or written
	NoteHookFailed           = "hook_failed"           // a hook failed or was ended
)
