//go:build unix

package server_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/server"
	"example.org/avdb/ksn/serving"
)

// big is a database of one algorithm in a sorted array, with a table of where each 20 bits begin.
type big struct {
	sums  [][32]byte
	begin []uint32
}

func newBig(n int) *big {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := &big{sums: make([][32]byte, n), begin: make([]uint32, 1<<20+1)}
	for i := range b.sums {
		for k := 0; k < 32; k += 8 {
			binary.BigEndian.PutUint64(b.sums[i][k:], rnd.Uint64())
		}
	}
	slices.SortFunc(b.sums, func(x, y [32]byte) int { return bytes.Compare(x[:], y[:]) })
	at := 0
	for v := range b.begin {
		for at < n && int(binary.BigEndian.Uint32(b.sums[at][:])>>12) < v {
			at++
		}
		b.begin[v] = uint32(at)
	}
	return b
}

func (b *big) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	for i, value := range values {
		first := value << (32 - bits)
		for _, s := range b.sums[b.begin[first>>12]:] {
			v := binary.BigEndian.Uint32(s[:])
			if v>>(32-bits) > value || v >= first && !visit(i, server.Known{Sum: s, Size: 4711, Name: "Win.Trojan.Synthetic-12345"}) {
				break
			}
		}
	}
	return 7, nil
}

func (b *big) WithURLPrefixes(uint8, []uint32, func(int, server.Known) bool) (uint64, error) {
	return 7, nil
}

func (b *big) Counts() (server.Counts, error) {
	return server.Counts{Release: 7, Files: uint64(len(b.sums))}, nil
}

// sink is a response that nobody keeps.
type sink struct {
	h      http.Header
	status int
	n      int
}

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.n += len(b); return len(b), nil }

// body is a request's body that can be read again.
type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

// spent is the processor time of this process: on a busy machine it says more than the clock.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// questions are lists of n different ones, each with a known hash behind it, as those of endpoints with the light database have.
func questions(db *big, lists, n int) (all [][]protocol.Prefix) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range lists {
		seen := map[protocol.Prefix]bool{}
		var list []protocol.Prefix
		for len(list) < n {
			p := protocol.Key{Type: protocol.FileSHA256, Sum: db.sums[rnd.IntN(len(db.sums))]}.Prefix(24)
			if !seen[p] {
				seen[p], list = true, append(list, p)
			}
		}
		all = append(all, list)
	}
	return all
}

func batchOf(b *testing.B, list []protocol.Prefix) []byte {
	q, err := protocol.MarshalQuery(list)
	if err != nil {
		b.Fatal(err)
	}
	return q
}

func benchServer(b *testing.B) (*server.Server, *big) {
	db := newBig(5_000_000)
	c := server.Config{Provider: provider(b), Key: testKey(b, 2), Database: db, Limit: server.Limit{PerSecond: 1e9, Burst: 1e9}}
	s, err := server.New(c)
	if err != nil {
		b.Fatal(err)
	}
	return s, db
}

var lengths = []int{1, 16, 256}

// The handler alone, with a database of 5 million hashes in memory, whose own part is measured as well. The demand is that a batch of 256 costs at most
// five times one question.
func BenchmarkAnswer(b *testing.B) {
	s, db := benchServer(b)
	run := func(b *testing.B, requests []*http.Request, bodies [][]byte) {
		w := &sink{h: http.Header{}}
		b.ReportAllocs()
		from, i := spent(b), 0
		for b.Loop() {
			r := requests[i%len(requests)]
			if bodies != nil {
				r.Body.(*body).Reset(bodies[i%len(bodies)])
			}
			clear(w.h)
			s.ServeHTTP(w, r)
			if i++; w.status != 200 {
				b.Fatal(w.status)
			}
		}
		b.ReportMetric(float64(spent(b)-from)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(w.n)/float64(b.N), "bytes/op")
	}
	b.Run("method=GET/questions=1", func(b *testing.B) {
		var all []*http.Request
		for _, list := range questions(db, 4096, 1) {
			all = append(all, &http.Request{Method: "GET", URL: &url.URL{Path: list[0].Path()}, Header: http.Header{}, RemoteAddr: "192.0.2.1:1234", Body: http.NoBody})
		}
		run(b, all, nil)
	})
	for _, n := range lengths {
		b.Run(fmt.Sprintf("method=POST/questions=%d", n), func(b *testing.B) {
			var all []*http.Request
			var bodies [][]byte
			for _, list := range questions(db, 64, n) {
				q := batchOf(b, list)
				all = append(all, &http.Request{Method: "POST", URL: &url.URL{Path: protocol.PathBatch}, RemoteAddr: "192.0.2.1:1234",
					Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(q)), Body: &body{}})
				bodies = append(bodies, q)
			}
			run(b, all, bodies)
		})
		b.Run(fmt.Sprintf("method=none/questions=%d", n), func(b *testing.B) {
			lists, i, found := questions(db, 64, n), 0, 0
			var values []uint32
			from := spent(b)
			for b.Loop() {
				values = values[:0]
				for _, p := range lists[i%len(lists)] {
					values = append(values, p.Value)
				}
				if _, err := db.WithPrefixes(dbformat.SHA256, 24, values, func(int, server.Known) bool { found++; return true }); err != nil {
					b.Fatal(err)
				}
				i++
			}
			if found < b.N*n {
				b.Fatal(found)
			}
			b.ReportMetric(float64(spent(b)-from)/float64(b.N), "cpu-ns/op")
		})
	}
}

// The same over a connection that stays, with what net/http and both sides of loopback cost.
func BenchmarkOverHTTP(b *testing.B) {
	s, db := benchServer(b)
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = serving.NewHTTPServer(s, nil)
	ts.Start()
	defer ts.Close()
	for _, n := range lengths {
		b.Run(fmt.Sprintf("method=POST/questions=%d", n), func(b *testing.B) {
			conn, err := net.Dial("tcp", ts.Listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			var requests [][]byte
			for _, list := range questions(db, 64, n) {
				q := batchOf(b, list)
				requests = append(requests, fmt.Appendf(nil, "POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(q), q))
			}
			r, i := bufio.NewReaderSize(conn, 1<<17), 0
			from := spent(b)
			for b.Loop() {
				if _, err := conn.Write(requests[i%len(requests)]); err != nil {
					b.Fatal(err)
				}
				length := 0
				for {
					line, err := r.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if digits, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("Content-Length: ")); ok {
						length, _ = strconv.Atoi(string(digits))
					}
					if len(line) == 2 {
						break
					}
				}
				if n, err := r.Discard(length); err != nil || n < 100 {
					b.Fatal(n, err)
				}
				i++
			}
			b.ReportMetric(float64(spent(b)-from)/float64(b.N), "cpu-ns/op")
		})
	}
}
