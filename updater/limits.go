package updater

import (
	"cmp"
	"time"
)

// Limits bound what a source can cost. A zero field means the value named in its comment.
type Limits struct {
	Update       time.Duration // one whole Update; 2 h
	Header       time.Duration // from a request to the end of the answer's headers; 30 s
	Idle         time.Duration // of waiting for a body, in which IdleBytes must arrive; 30 s
	IdleBytes    int64         // 8 KiB; a body that ends may end with less
	HeaderBytes  int64         // of an answer's headers, on the transport that this package makes; 64 KiB
	Retries      int           // of a request after a failure that may pass; 2, none if negative
	RetryWait    time.Duration // before the first retry, doubled for each further one; 500 ms
	RetryWaitMax time.Duration // longest wait before a retry; 10 s
	RetryAfter   time.Duration // longest Retry-After that an update waits for; above it the source cools down; 10 s
	CoolDown     time.Duration // longest time for which a source can shut itself off; 24 h
	Resumes      int           // of a body that broke off, within one update; 3, none if negative
	Redirects    int           // of one request; 5, none if negative
	Hook         time.Duration // one hook; 1 min
	HeadRoom     int64         // bytes that must stay free on the disk; 16 MiB
}

// errorBody is how much of an answer's body is read when its status says that it is an error.
const errorBody = 1 << 10

func (l Limits) withDefaults() Limits {
	l.Update = cmp.Or(l.Update, 2*time.Hour)
	l.Header = cmp.Or(l.Header, 30*time.Second)
	l.Idle = cmp.Or(l.Idle, 30*time.Second)
	l.IdleBytes = cmp.Or(l.IdleBytes, 8<<10)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Retries = max(0, cmp.Or(l.Retries, 2))
	l.RetryWait = cmp.Or(l.RetryWait, 500*time.Millisecond)
	l.RetryWaitMax = cmp.Or(l.RetryWaitMax, 10*time.Second)
	l.RetryAfter = cmp.Or(l.RetryAfter, 10*time.Second)
	l.CoolDown = cmp.Or(l.CoolDown, 24*time.Hour)
	l.Resumes = max(0, cmp.Or(l.Resumes, 3))
	l.Redirects = max(0, cmp.Or(l.Redirects, 5))
	l.Hook = cmp.Or(l.Hook, time.Minute)
	l.HeadRoom = cmp.Or(l.HeadRoom, 16<<20)
	return l
}
