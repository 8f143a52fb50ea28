package statistics

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
)

// Limits of what is sent.
const (
	MaxRecord     = 16 << 10  // bytes of a record
	MaxBody       = 256 << 10 // bytes of a body
	MaxSignatures = 64        // names in a record
	MaxCount      = 1 << 40   // of anything; more is told as this
)

// ContentType is the media type of a body.
const ContentType = "application/json"

// ErrInvalid is matched by errors about bytes that are no record, or no body.
var ErrInvalid = errors.New("invalid statistics")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// A Record is what one process counted between two flushes.
type Record struct {
	V              int              `json:"v"`                         // 1
	ID             string           `json:"id"`                        // 32 hex digits, random
	Program        string           `json:"program,omitempty"`         // version
	Database       uint64           `json:"database,omitempty"`        // release
	Variant        dbformat.Variant `json:"variant,omitempty"`         // of the database
	OS             string           `json:"os,omitempty"`              // as Go names it: "linux"
	Arch           string           `json:"arch,omitempty"`            // processor family, as Go names it: "amd64"
	Questions      Questions        `json:"questions,omitzero"`        //
	Signatures     []Signature      `json:"signatures,omitempty"`      // in ascending order of their names
	SignaturesMore uint64           `json:"signatures_more,omitempty"` // matches of signatures for whose names there was no room
	AnswerTimes    []uint64         `json:"answer_times,omitempty"`    // answers that took at most AnswerBounds[i]; the last: longer
	Failures       []FailureCount   `json:"failures,omitempty"`        // in ascending order of their kinds
}

// Questions are counted by the kind of object that they are about.
type Questions struct {
	File     QuestionCount `json:"file,omitzero"`
	URL      QuestionCount `json:"url,omitzero"`
	Software QuestionCount `json:"software,omitzero"`
}

// A QuestionCount says what became of questions.
type QuestionCount struct {
	Asked      uint64 `json:"asked,omitempty"`
	Answered   uint64 `json:"answered,omitempty"`
	Suppressed uint64 `json:"suppressed,omitempty"` // held back by the gate
}

// A Signature is the name of one that matched, and how often it did.
type Signature struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// A FailureCount says how often a kind of failure occurred.
type FailureCount struct {
	Kind  Failure `json:"kind"`
	Count uint64  `json:"count"`
}

// A Failure is a kind of failure of a request. What is none of these counts as FailureOther.
type Failure string

// The kinds of failures.
const (
	FailureConnect      Failure = "connect"       // nobody answered
	FailureOther        Failure = "other"         //
	FailureProtocol     Failure = "protocol"      // an answer that breaks the protocol
	FailureRestricted   Failure = "restricted"    // 451
	FailureServer       Failure = "server"        // 5xx
	FailureSignature    Failure = "signature"     // an answer that does not verify
	FailureTimeout      Failure = "timeout"       // no answer in time
	FailureTLS          Failure = "tls"           // no secure connection
	FailureTooMany      Failure = "too_many"      // 429
	FailureUnauthorized Failure = "unauthorized"  // 401 or 403
	FailureWrongNetwork Failure = "wrong_network" // 421
)

// failures lists the kinds in ascending order.
func failures() []Failure {
	return []Failure{FailureConnect, FailureOther, FailureProtocol, FailureRestricted, FailureServer, FailureSignature, FailureTimeout, FailureTLS,
		FailureTooMany, FailureUnauthorized, FailureWrongNetwork}
}

// AnswerBounds are the upper bounds of the buckets of answer times but the last, which has none.
func AnswerBounds() []time.Duration {
	const ms = time.Millisecond
	return []time.Duration{10 * ms, 50 * ms, 200 * ms, 500 * ms, 2000 * ms, 10000 * ms}
}

// answerBuckets is one more than the bounds.
const answerBuckets = 7

// Marshal is the canonical spelling. The record must be one that [ParseRecord] could give.
func (r Record) Marshal() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	b, err := marshal(r)
	if err != nil {
		return nil, err
	}
	if len(b) > MaxRecord {
		return nil, invalid("record of %d bytes, the limit is %d", len(b), MaxRecord)
	}
	return b, nil
}

// ParseRecord takes the canonical spelling of a record and nothing else. Errors match [ErrInvalid] and tell nothing but what is wrong.
func ParseRecord(b []byte) (Record, error) {
	if len(b) > MaxRecord {
		return Record{}, invalid("record of %d bytes, the limit is %d", len(b), MaxRecord)
	}
	var r Record
	if err := dbformat.DecodeJSON(b, &r); err != nil {
		return Record{}, invalid("record: %v", err)
	}
	again, err := r.Marshal()
	if err != nil {
		return Record{}, err
	}
	if !bytes.Equal(again, b) {
		return Record{}, invalid("record is not spelled canonically")
	}
	return r, nil
}

type body struct {
	V       int               `json:"v"`
	Records []json.RawMessage `json:"records"`
}

// The parts of a body around its records, which stand between them with commas.
const (
	bodyBegin = `{"v":1,"records":[`
	bodyEnd   = `]}`
)

// ParseBody takes the records out of a body. One bad record refuses them all. Errors match [ErrInvalid].
func ParseBody(b []byte) ([]Record, error) {
	if len(b) > MaxBody {
		return nil, invalid("%d bytes, the limit is %d", len(b), MaxBody)
	}
	var parts body
	if err := dbformat.DecodeJSON(b, &parts); err != nil {
		return nil, invalid("%v", err)
	}
	if parts.V != 1 || len(parts.Records) == 0 {
		return nil, invalid("version %d with %d records, want version 1 and at least one", parts.V, len(parts.Records))
	}
	records := make([]Record, len(parts.Records))
	again := append(make([]byte, 0, len(b)), bodyBegin...)
	for i, raw := range parts.Records {
		r, err := ParseRecord(raw)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i+1, err)
		}
		if records[i] = r; i > 0 {
			again = append(again, ',')
		}
		again = append(again, raw...)
	}
	if again = append(again, bodyEnd...); !bytes.Equal(again, b) {
		return nil, invalid("the body is not spelled canonically")
	}
	return records, nil
}

// marshal is the canonical spelling.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func (r *Record) check() error {
	id, err := hex.DecodeString(r.ID)
	switch {
	case r.V != 1:
		return invalid("record of version %d, want 1", r.V)
	case err != nil || len(id) != idBytes || strings.ToLower(r.ID) != r.ID:
		return invalid("id: want %d lower-case hex digits", 2*idBytes)
	case r.Program != "" && !isVersion(r.Program):
		return invalid("program: %.80q is no version", r.Program)
	case r.Database > 1<<53-1:
		return invalid("database: release %d", r.Database)
	case r.Variant != "" && r.Variant.Layers() == nil:
		return invalid("variant: %.40q, want light or full", r.Variant)
	case r.OS != "" && !isPlatform(r.OS):
		return invalid("os: %.40q", r.OS)
	case r.Arch != "" && !isPlatform(r.Arch):
		return invalid("arch: %.40q", r.Arch)
	}
	return r.checkCounts()
}

func (r *Record) checkCounts() error {
	counts := []uint64{r.SignaturesMore}
	for _, q := range []QuestionCount{r.Questions.File, r.Questions.URL, r.Questions.Software} {
		counts = append(counts, q.Asked, q.Answered, q.Suppressed)
	}
	if len(r.Signatures) > MaxSignatures {
		return invalid("signatures: %d names, the limit is %d", len(r.Signatures), MaxSignatures)
	}
	for i, s := range r.Signatures {
		switch err := dbformat.CheckName(s.Name); {
		case err != nil:
			return invalid("signatures: %v", err)
		case withoutHash(s.Name) != s.Name:
			return invalid("signatures: name %.80q holds a hash", s.Name)
		case i > 0 && r.Signatures[i-1].Name >= s.Name || s.Count == 0:
			return invalid("signatures: want each once, in ascending order, and matched")
		}
		counts = append(counts, s.Count)
	}
	if n := len(r.AnswerTimes); n != 0 && (n != answerBuckets || slices.Max(r.AnswerTimes) == 0) {
		return invalid("answer_times: want %d counts and not all of them zero, or nothing", answerBuckets)
	}
	counts = append(counts, r.AnswerTimes...)
	for i, f := range r.Failures {
		if !slices.Contains(failures(), f.Kind) || i > 0 && r.Failures[i-1].Kind >= f.Kind || f.Count == 0 {
			return invalid("failures: want known kinds, each once, in ascending order, and occurred")
		}
		counts = append(counts, f.Count)
	}
	if slices.Max(counts) > MaxCount {
		return invalid("a count of %d, the limit is %d", slices.Max(counts), uint64(MaxCount))
	}
	return nil
}

// isVersion takes "2.1.0", "v2.1.0-rc.1", "v0.0.0-20260301120000-0123456789ab".
func isVersion(s string) bool {
	digits := strings.TrimPrefix(s, "v")
	if len(s) > 64 || digits == "" || digits[0] < '0' || digits[0] > '9' || withoutHash(s) != s {
		return false
	}
	return strings.IndexFunc(s, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '-' && c != '+'
	}) < 0
}

// isPlatform takes what Go calls systems and processor families.
func isPlatform(s string) bool {
	return len(s) <= 16 && strings.IndexFunc(s, func(c rune) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'z') }) < 0
}

// longestHex is how many hex digits in a row a name may have.
const longestHex = 15

// withoutHash is a name without what is or may be a hash. What it gives it leaves as it is.
func withoutHash(name string) string {
	for _, kind := range []string{"Hash.", "URL.", "Prefix."} {
		for _, algorithm := range []string{"SHA256", "SHA1", "MD5", "URL"} {
			if strings.HasPrefix(name, kind+algorithm+".") {
				return kind + algorithm
			}
		}
	}
	var out []byte
	run := 0 // hex digits at the end of out
	for i := range len(name) {
		c := name[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			out, run = append(out, c), run+1
			continue
		}
		out, run = append(cutRun(out, run), c), 0
	}
	return string(cutRun(out, run))
}

func cutRun(b []byte, run int) []byte {
	if run <= longestHex {
		return b
	}
	return append(b[:len(b)-run], '*')
}
