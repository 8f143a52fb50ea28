package statistics

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"example.org/avdb/ksn"
)

// ErrUnwanted is what an error of send matches if the receiver will never take the body: its records are removed as if they had been taken, so that
// they do not keep others from being sent.
var ErrUnwanted = errors.New("statistics are not wanted")

// Deliver sends what is spooled, in bodies of at most [MaxBody] bytes, oldest first, and removes the records of a body after send returned nil.
// Any other error of send ends it and leaves the rest where it is, also one that matches [ksn.ErrRefused]; when to try again is up to the caller.
// Before each body the facts are read: without extended mode the spool is cleared and the error matches [ksn.ErrRefused]. If Deliver is cut
// short after a body was taken, that body is sent again; records keep their ids. One Deliver runs at a time; Flush does not wait for send.
func (r *Recorder) Deliver(ctx context.Context, send func(ctx context.Context, body []byte) error) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	var unwanted error
	for last := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		body, ids, err := r.next(last)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return unwanted
		}
		if body != nil {
			if err := send(ctx, body); errors.Is(err, ErrUnwanted) {
				unwanted = err
			} else if err != nil {
				return err
			}
		}
		if err := r.remove(ids); err != nil {
			return err
		}
		last = ids[len(ids)-1]
	}
}

// next is the body that may be sent at this moment of records after the id last, and the ids of these, none at the end. The spool is read each
// time: what was cleared while a body was on its way is not sent.
func (r *Recorder) next(last uint64) (body []byte, ids []uint64, err error) {
	r.slow.Lock()
	defer r.slow.Unlock()
	m, err := r.mayNow()
	if err != nil {
		return nil, nil, err
	}
	list, err := r.spool.list()
	if err != nil {
		return nil, nil, fmt.Errorf("statistics: %w", err)
	}
	list = slices.DeleteFunc(list, func(s spooled) bool { return s.ID <= last })
	body, n := m.pack(list)
	for _, s := range list[:n] {
		ids = append(ids, s.ID)
	}
	return body, ids, nil
}

func (r *Recorder) remove(ids []uint64) error {
	r.slow.Lock()
	defer r.slow.Unlock()
	if err := r.spool.del(ids); err != nil {
		return fmt.Errorf("statistics: %w", err)
	}
	return nil
}

// mayNow gives the manifest under which statistics may be sent at this moment. The caller holds slow.
func (r *Recorder) mayNow() (Manifest, error) {
	facts, err := r.c.Facts()
	if err != nil {
		return Manifest{}, fmt.Errorf("statistics: %w", err)
	}
	if now := granted(facts); now != (grant{}) {
		return FindManifest(r.c.Manifests, now.statement), nil
	}
	if err := r.spool.clear(); err != nil {
		return Manifest{}, fmt.Errorf("statistics: %w", err)
	}
	return Manifest{}, &ksn.RefusedError{What: "sending statistics", Why: "extended mode is not in force", Remedy: "run `avdb ksn enable --mode extended`"}
}

// pack makes a body of the first n of the list. What is no record, or not listed in the manifest, is passed over; a nil body has none.
func (m Manifest) pack(list []spooled) (body []byte, n int) {
	for ; n < len(list); n++ {
		b := m.release(list[n].Record)
		if b == nil {
			continue
		}
		if len(body)+len(b)+len(bodyBegin)+len(bodyEnd) > MaxBody {
			break
		}
		if body == nil {
			body = append(body, bodyBegin...)
		} else {
			body = append(body, ',')
		}
		body = append(body, b...)
	}
	if body != nil {
		body = append(body, bodyEnd...)
	}
	return body, n
}

// release is what of a record may leave the device, nil for nothing.
func (m Manifest) release(record []byte) []byte {
	r, err := ParseRecord(record)
	if err != nil {
		return nil
	}
	r, ok := m.filter(r)
	if !ok {
		return nil
	}
	b, err := r.Marshal()
	if err != nil {
		return nil
	}
	return b
}
