package proxy

import (
	"time"

	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// A Kind is what a request asks for.
type Kind = serving.Kind

// An Outcome is what became of a request.
type Outcome = serving.Outcome

// Outcomes lists all outcomes of a proxy's requests.
func Outcomes() []Outcome { return serving.Outcomes(protocol.CodeRestricted) }

// A Fate is what became of a question. A question that is forwarded is ok, failed or rejected afterwards.
type Fate string

// The fates.
const (
	FateCached    Fate = "from_cache" // answered from the cache
	FateJoined    Fate = "joined"     // somebody else had asked it, and both get the answer
	FateForwarded Fate = "forwarded"  // sent upstream
	FateOK        Fate = "ok"         // an upstream gave an authentic answer
	FateFailed    Fate = "failed"     // no upstream did
	FateRejected  Fate = "rejected"   // by a restriction, a full queue, or an upstream that honours its own limits
)

// Fates lists the fates.
func Fates() []Fate {
	return []Fate{FateCached, FateJoined, FateForwarded, FateOK, FateFailed, FateRejected}
}

// A Collector counts. Its methods are called by many goroutines at once and must not wait.
type Collector interface {
	// Request counts one request of a device that was answered, after took.
	Request(k Kind, o Outcome, took time.Duration)
	// Questions counts n questions: the prefixes of look-ups.
	Questions(f Fate, n int)
}

// nobody is the collector that forgets.
type nobody struct{}

func (nobody) Request(Kind, Outcome, time.Duration) {}
func (nobody) Questions(Fate, int)                  {}
