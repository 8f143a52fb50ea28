package updater

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// parseRetryAfter reads a Retry-After header: whole seconds or an HTTP date. Seconds
// that no duration can hold are the longest duration, so that a source cannot ask for
// a year and get nothing by overflowing; a date in the past is no wait. ok is false
// for an absent or malformed header.
func parseRetryAfter(v string, now time.Time) (wait time.Duration, ok bool) {
	v = strings.TrimSpace(v)
	if v == "" || len(v) > 64 {
		return 0, false
	}
	if isDigits(v) {
		s, err := strconv.ParseInt(v, 10, 64)
		if errors.Is(err, strconv.ErrRange) || s > int64(math.MaxInt64/time.Second) {
			return math.MaxInt64, true
		}
		return time.Duration(s) * time.Second, err == nil
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	return max(0, at.Sub(now)), true
}

// A contentRange is what a 206 says of its body: bytes First to Last of Total, Total -1
// when the source does not tell.
type contentRange struct{ First, Last, Total int64 }

// parseContentRange reads a Content-Range header in its one useful form, "bytes
// FIRST-LAST/TOTAL" or "bytes FIRST-LAST/*". Anything else, also what the standard
// allows beside it, is not ok: the caller then refuses the answer.
func parseContentRange(v string) (r contentRange, ok bool) {
	rest, found := strings.CutPrefix(v, "bytes ")
	if !found {
		return contentRange{}, false
	}
	span, total, found := strings.Cut(rest, "/")
	if !found {
		return contentRange{}, false
	}
	first, last, found := strings.Cut(span, "-")
	if !found {
		return contentRange{}, false
	}
	var okFirst, okLast bool
	okTotal := true
	r.First, okFirst = parseOffset(first)
	r.Last, okLast = parseOffset(last)
	if r.Total = -1; total != "*" {
		r.Total, okTotal = parseOffset(total)
	}
	if !okFirst || !okLast || !okTotal || r.First > r.Last || r.Total >= 0 && r.Last >= r.Total {
		return contentRange{}, false
	}
	return r, true
}

// parseOffset reads a decimal number without sign or surplus zeros.
func parseOffset(s string) (int64, bool) {
	if !isDigits(s) || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
