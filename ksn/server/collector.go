package server

import (
	"slices"
	"time"

	"example.org/avdb/ksn/protocol"
)

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

// Outcomes lists all outcomes.
func Outcomes() []Outcome {
	all := []Outcome{OutcomeOK, OutcomeNotModified}
	for _, c := range codes() {
		all = append(all, Outcome(c))
	}
	return slices.Clip(all)
}

// codes are those of the problems that this server answers with.
func codes() []protocol.Code {
	return []protocol.Code{protocol.CodeBadRequest, protocol.CodeUnauthorized, protocol.CodeNotFound, protocol.CodeMethod, protocol.CodeTooLarge,
		protocol.CodeWrongNetwork, protocol.CodeTooMany, protocol.CodeUnavailable}
}

// A Collector counts. Its methods are called by many goroutines at once and must not wait.
type Collector interface {
	// Request counts one request that was answered, after took.
	Request(k Kind, o Outcome, took time.Duration)
	// Answered counts what one signature was made over: answers, the entries in them, and the release of the database that they were made
	// from (0 for none).
	Answered(answers, entries int, release uint64)
	// Signed counts a signature, of answers or of info.
	Signed()
}

// nobody is the collector that forgets.
type nobody struct{}

func (nobody) Request(Kind, Outcome, time.Duration) {}
func (nobody) Answered(int, int, uint64)            {}
func (nobody) Signed()                              {}
