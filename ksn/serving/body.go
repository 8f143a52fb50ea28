package serving

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"

	"example.org/avdb/ksn/protocol"
)

// readBody reads a body of one of the kinds and of 1 to most bytes into x.Buffer, and gives its kind. Where it is not ok, that was answered.
func (x *Exchange) readBody(most int, kinds ...string) (kind string, ok bool) {
	if kind = kindOf(x.R.Header["Content-Type"]); !slices.Contains(kinds, kind) {
		x.BadRequest("Content-Type must be " + strings.Join(kinds, " or ") + ".")
		return "", false
	}
	tooLarge := x.R.ContentLength > int64(most)
	if !tooLarge {
		var err error
		if x.Buffer, err = readAtMost(x.R.Body, x.Buffer[:0], most); err != nil {
			x.W.Header().Set("Connection", "close")
			x.BadRequest("The body ended too early, or came too slowly.")
			return "", false
		}
		tooLarge = len(x.Buffer) > most
	}
	switch {
	case tooLarge:
		x.Fail(protocol.NewProblem(protocol.CodeTooLarge, "body too large", fmt.Sprintf("The limit is %d bytes.", most), 0))
	case len(x.Buffer) == 0:
		x.BadRequest("The body is missing.")
	default:
		return kind, true
	}
	return "", false
}

// readAtMost appends all of r to b, but no more than one byte beyond most.
func readAtMost(r io.Reader, b []byte, most int) ([]byte, error) {
	for len(b) <= most {
		if len(b) == cap(b) {
			b = append(b, make([]byte, 4<<10)...)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(cap(b), most+1)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// kindOf is the media type of a Content-Type in UTF-8; "" for anything else.
func kindOf(fields []string) string {
	if len(fields) != 1 {
		return ""
	}
	if fields[0] == JSON {
		return JSON // as all clients of this project spell it
	}
	kind, params, err := mime.ParseMediaType(fields[0])
	if err != nil {
		return ""
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return ""
		}
	}
	return kind
}
