package server

import (
	"time"

	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// A Kind is what a request asks for.
type Kind = serving.Kind

// An Outcome is what became of a request.
type Outcome = serving.Outcome

// Outcomes lists all outcomes of a server's requests.
func Outcomes() []Outcome { return serving.Outcomes(protocol.CodeUnauthorized) }

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
