package intake

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"

	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/statistics"
)

// A Record is what a sink keeps.
type Record struct {
	ID   string // 32 hex digits
	JSON []byte // canonical, in one line; not to be changed
}

// A Sink keeps records. Its methods are called by many goroutines at once.
type Sink interface {
	// Put returns nil after the records are durable, and how many of them it knew already. With an error each of them may be kept or not, and
	// all of them can be put again.
	Put(ctx context.Context, records []Record) (duplicates int, err error)
}

// Counts are of records, since the intake was made.
type Counts struct {
	Accepted  uint64 // kept
	Duplicate uint64 // known already
	Invalid   uint64 // bodies that were refused for good
	Failed    uint64 // refused because the sink could not keep them; they will come again
}

// An Intake takes bodies of statistics. Its methods may be called by many goroutines at once.
type Intake struct {
	sink                                 Sink
	accepted, duplicate, invalid, failed atomic.Uint64
}

// New makes an intake before a sink.
func New(s Sink) *Intake { return &Intake{sink: s} }

// Counts gives the counts of this moment.
func (i *Intake) Counts() Counts {
	return Counts{i.accepted.Load(), i.duplicate.Load(), i.invalid.Load(), i.failed.Load()}
}

// Take keeps the records of a body: a body as devices send it ("application/json"), or records as JSON lines ("application/x-ndjson"), at most
// [statistics.MaxBody] bytes, which it does not keep longer than it runs. An error that matches [protocol.ErrInvalid] refuses the body for good; any
// other means that it may be sent again.
func (i *Intake) Take(ctx context.Context, contentType string, body []byte) error {
	records, err := read(contentType, body)
	if err != nil {
		i.invalid.Add(1)
		return fmt.Errorf("%w: %w", protocol.ErrInvalid, err)
	}
	duplicates, err := i.sink.Put(ctx, records)
	if err != nil {
		i.failed.Add(uint64(len(records)))
		return err
	}
	i.accepted.Add(uint64(len(records) - duplicates))
	i.duplicate.Add(uint64(duplicates))
	return nil
}

func read(contentType string, body []byte) ([]Record, error) {
	var parsed []statistics.Record
	var err error
	switch {
	case len(body) > statistics.MaxBody:
		return nil, fmt.Errorf("%d bytes, the limit is %d", len(body), statistics.MaxBody)
	case contentType == statistics.ContentType:
		parsed, err = statistics.ParseBody(body)
	case contentType == "application/x-ndjson":
		parsed, err = readLines(body)
	default:
		err = fmt.Errorf("content type %.80q, want application/json or application/x-ndjson", contentType)
	}
	if err != nil {
		return nil, err
	}
	records := make([]Record, len(parsed))
	for i, r := range parsed {
		b, err := r.Marshal()
		if err != nil {
			return nil, err
		}
		records[i] = Record{r.ID, b}
	}
	return records, nil
}

func readLines(body []byte) (all []statistics.Record, err error) {
	for line := range bytes.SplitSeq(bytes.TrimSuffix(body, []byte("\n")), []byte("\n")) {
		r, err := statistics.ParseRecord(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(all)+1, err)
		}
		all = append(all, r)
	}
	return all, nil
}
