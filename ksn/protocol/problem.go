package protocol

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ProblemType is the media type of errors (RFC 9457).
const ProblemType = "application/problem+json"

// MaxProblem is how much of an error's body is read, in bytes.
const MaxProblem = 4 << 10

// A Code is the kind of an error, one for each reaction of who asked.
type Code string

// The codes, with the status that carries each.
const (
	CodeBadRequest   Code = "bad_request"        // 400: the question breaks the protocol
	CodeUnauthorized Code = "unauthorized"       // 401: credentials are missing or not known; register them with the provider
	CodeForbidden    Code = "forbidden"          // 403: known and not allowed
	CodeNotFound     Code = "not_found"          // 404: no such path
	CodeMethod       Code = "method_not_allowed" // 405
	CodeTooLarge     Code = "too_large"          // 413
	CodeWrongNetwork Code = "wrong_network"      // 421: this is a server or proxy of another network
	CodeTooMany      Code = "too_many_requests"  // 429: wait
	CodeRestricted   Code = "restricted"         // 451: a signed restriction forbids it
	CodeUnavailable  Code = "unavailable"        // 503: no database, or no upstream
)

// Status is the HTTP status that carries the code, 500 for an unknown one.
func (c Code) Status() int {
	switch c {
	case CodeBadRequest:
		return 400
	case CodeUnauthorized:
		return 401
	case CodeForbidden:
		return 403
	case CodeNotFound:
		return 404
	case CodeMethod:
		return 405
	case CodeTooLarge:
		return 413
	case CodeWrongNetwork:
		return 421
	case CodeTooMany:
		return 429
	case CodeRestricted:
		return 451
	case CodeUnavailable:
		return 503
	}
	return 500
}

// A Problem is the body of an error. Nothing of it is signed: it can stop a question, and never answer one.
type Problem struct {
	Title  string `json:"title"`            // in a few words
	Status int    `json:"status"`           // as in the answer's first line
	Code   Code   `json:"code"`             //
	Detail string `json:"detail,omitempty"` // what helps
	Wait   int64  `json:"wait,omitempty"`   // seconds before it makes sense to ask again, 0 where no time is named
	Record string `json:"record,omitempty"` // id of the restriction
}

// NewProblem makes a problem with the status of its code.
func NewProblem(c Code, title, detail string, wait time.Duration) Problem {
	return Problem{Title: title, Status: c.Status(), Code: c, Detail: detail, Wait: int64((wait + time.Second - 1) / time.Second)}
}

// Marshal is the body.
func (p Problem) Marshal() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("protocol: a problem of texts and numbers: %v", err))
	}
	return b
}

// ReadProblem takes what it can from the body of an error with the given status, however little that is: other servers stand in
// between. Texts are cut to [MaxName] bytes and one line of printable characters.
func ReadProblem(status int, body []byte) Problem {
	var p Problem
	if len(body) > MaxProblem || json.Unmarshal(body, &p) != nil {
		p = Problem{}
	}
	p.Status = status
	p.Title, p.Detail, p.Record = plain(p.Title), plain(p.Detail), plain(p.Record)
	p.Wait = max(0, p.Wait)
	if p.Code.Status() != status { // not ours, or not said
		p.Code = ""
		for _, c := range []Code{CodeBadRequest, CodeUnauthorized, CodeForbidden, CodeNotFound, CodeMethod, CodeTooLarge,
			CodeWrongNetwork, CodeTooMany, CodeRestricted, CodeUnavailable} {
			if c.Status() == status {
				p.Code = c
			}
		}
	}
	return p
}

// plain makes one line of printable characters.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if checkText(string(r)) != nil {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), MaxName)], ""))
	return s
}
