package serving

import "example.org/avdb/ksn/protocol"

// A Kind is what a request asks for.
type Kind string

// The kinds of requests.
const (
	KindLookup Kind = "lookup" // GET /v1/l/…
	KindBatch  Kind = "batch"  // POST /v1/lookup
	KindInfo   Kind = "info"
	KindStats  Kind = "stats"
	KindOther  Kind = "other" // anything else, the status page included
)

// Kinds lists the kinds.
func Kinds() []Kind { return []Kind{KindLookup, KindBatch, KindInfo, KindStats, KindOther} }

// An Outcome is what became of a request: one of the words below, or the code of the problem that was answered.
type Outcome string

// The outcomes that are not problems.
const (
	OutcomeOK          Outcome = "ok"
	OutcomeNotModified Outcome = "not_modified" // 304
)

// Outcomes lists all outcomes of a side: the problems that an [Exchange] answers with by itself, and those of more.
func Outcomes(more ...protocol.Code) []Outcome {
	all := []Outcome{OutcomeOK, OutcomeNotModified}
	for _, c := range []protocol.Code{protocol.CodeBadRequest, protocol.CodeNotFound, protocol.CodeMethod, protocol.CodeTooLarge, protocol.CodeWrongNetwork,
		protocol.CodeTooMany, protocol.CodeUnavailable} {
		all = append(all, Outcome(c))
	}
	for _, c := range more {
		all = append(all, Outcome(c))
	}
	return all
}
