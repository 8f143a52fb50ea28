package reputation

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// Whoever counts requests is told of each one that was sent, what came of it and how long it took, before the answer is there for those who asked.
func TestEachRequestIsObserved(t *testing.T) {
	late := func(d time.Duration, h handler) handler {
		return func(w *world, r *http.Request) (*http.Response, error) {
			time.Sleep(d)
			return h(w, r)
		}
	}
	for _, c := range []struct {
		name     string
		serve    func(*world) handler
		objects  int
		answered int
		status   int
		fault    Fault
		took     time.Duration
	}{
		{"an answer", func(*world) handler { return late(70*time.Millisecond, serve) }, 1, 1, 0, FaultNone, 70 * time.Millisecond},
		{"three answers at once", func(*world) handler { return late(20*time.Millisecond, serve) }, 3, 3, 0, FaultNone, 20 * time.Millisecond},
		{"no connection", func(*world) handler { return nil }, 1, 0, 0, FaultConnection, 0},
		{"no answer in time", func(*world) handler { return hang }, 1, 0, 0, FaultTimeout, Deadline(ksn.OriginOnDemand) / 2}, // the other half is the second server's,
		{"too long an answer", func(*world) handler { return text(200, string(make([]byte, 10<<20))) }, 1, 0, 0, FaultLength, 0},
		{"another key", func(*world) handler { return sign(signer(t, "mallory"), trustAll) }, 1, 0, 0, FaultUnverified, 0},
		{"429", func(*world) handler { return status(429) }, 1, 0, 429, FaultNone, 0},
		{"503", func(*world) handler { return status(503) }, 1, 0, 503, FaultNone, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, protocol.Private)
				w.hosts = map[string]handler{"s1": c.serve(w)}
				told := make(chan Exchange, 100)
				client := w.client(func(config *Config) { config.Observe = func(x Exchange) { told <- x } })
				var objects []Object
				for i := range c.objects {
					objects = append(objects, hit(i))
				}
				client.Lookup(t.Context(), ksn.OriginOnDemand, objects)
				if len(told) == 0 {
					t.Fatal("nothing was told")
				}
				x := <-told
				e, _ := errors.AsType[*RouteError](x.Err)
				if failed := c.answered < c.objects; failed != (x.Err != nil) || failed && (e == nil || e.Status != c.status || e.Fault != c.fault) {
					t.Errorf("failure %+v of %v, want status %d, fault %d", e, x.Err, c.status, c.fault)
				}
				if x.Object != ksn.ObjectFile || x.Answered != c.answered {
					t.Errorf("%d answers about %s, want %d about files", x.Answered, x.Object, c.answered)
				}
				if x.Took < c.took*9/10 || x.Took > c.took*11/10 {
					t.Errorf("it took %s, want %s", x.Took, c.took)
				}
			})
		})
	}
}
