package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// A proxy goes by the set that it could prove last, also by one without records, until another one is proved; a state without a set is none that was proved.
// What it goes by is told once, not at each reading.
func TestProxyKeepsTheSetThatItCouldProveLast(t *testing.T) {
	signed := dbformat.At(time.Now())
	set := func(epoch uint64, records ...dbformat.Restriction) *ksn.Set {
		t.Helper()
		s, err := ksn.NewSet(&dbformat.RestrictionSet{Schema: 1, Epoch: epoch, Signed: &signed, Records: records})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	disable := dbformat.Restriction{ID: "quiet", Action: dbformat.ActionDisable, Priority: 1, Expires: dbformat.At(time.Now().Add(time.Hour))}
	none, forged, empty, full, newer := (*ksn.Set)(nil), ksn.Unproved(), set(3), set(3, disable), set(4)
	const holds, nothing = "those from before hold", "nothing is passed on"
	for _, c := range []struct {
		name  string
		read  []*ksn.Set // forged stands for an error
		want  *ksn.Set   // forged: nothing passes
		warns []string
	}{
		{"none was ever there", []*ksn.Set{none}, none, nil},
		{"the first one is not proved", []*ksn.Set{forged}, forged, []string{nothing}},
		{"one comes that is not proved", []*ksn.Set{none, forged, forged}, forged, []string{nothing}},
		{"an empty one cannot be proved any more", []*ksn.Set{empty, forged, forged, forged}, empty, []string{holds}},
		{"one with records cannot be proved any more", []*ksn.Set{full, forged, forged}, full, []string{holds}},
		{"a newer one is proved after that", []*ksn.Set{full, forged, newer}, newer, []string{holds}},
		{"one is proved at last", []*ksn.Set{forged, empty}, empty, []string{nothing}},
		{"it cannot be proved twice", []*ksn.Set{empty, forged, newer, forged}, newer, []string{holds, holds}},
		{"it was taken back, and a forged one comes", []*ksn.Set{empty, none, forged}, forged, []string{nothing}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			var next *ksn.Set
			r := &restricted{log: slog.New(slog.NewTextHandler(&log, nil)), load: func() (*ksn.Set, error) {
				if next == forged {
					return next, errors.New("forged")
				}
				return next, nil
			}}
			for _, next = range c.read {
				r.read(t.Context())
			}
			if got := r.get(); got != c.want {
				t.Errorf("it goes by epoch %d with %d records, unproved %t", got.Epoch(), got.Len(), got.Unproved())
			}
			warnings := slices.Collect(strings.Lines(log.String()))
			if !slices.EqualFunc(warnings, c.warns, strings.Contains) {
				t.Errorf("warnings %q, want %q", warnings, c.warns)
			}
		})
	}
}

// What net/http writes with the standard logger of a peer that sends what nobody asked for is in the program's own log, which shows it to who wants all
// there is to know, and nowhere else.
func TestPeersThatBreakTheRulesWriteNoLines(t *testing.T) {
	for _, verbose := range []bool{false, true} {
		var elsewhere, own safeBuffer
		log.SetOutput(&elsewhere)
		defer log.SetOutput(os.Stderr)
		a := &app{stderr: &own, verbose: verbose}
		done := a.takeStandardLog()
		sock, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close()
		gone := make(chan error, 1)
		go func() {
			c, err := sock.Accept()
			if err == nil {
				_, err = http.ReadRequest(bufio.NewReader(c))
			}
			if err == nil {
				_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
			if err == nil {
				time.Sleep(100 * time.Millisecond) // until the connection is idle
				_, err = io.WriteString(c, "HTTP/1.1 200 nobody asked\r\nContent-Length: 0\r\n\r\n")
			}
			if err == nil {
				_, _ = io.Copy(io.Discard, c) // until the client is gone
				err = c.Close()
			}
			gone <- err
		}()
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get("http://" + sock.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if err := <-gone; err != nil {
			t.Fatal(err)
		}
		done()
		if elsewhere.String() != "" {
			t.Errorf("the standard logger wrote %q", elsewhere.String())
		}
		if got := own.String(); strings.HasPrefix(got, "avdb: Unsolicited response") != verbose || !verbose && got != "" {
			t.Errorf("verbose %t: the log says %q", verbose, got)
		}
		log.Print("back")
		if !strings.HasSuffix(elsewhere.String(), "back\n") {
			t.Errorf("afterwards the standard logger wrote %q", elsewhere.String())
		}
	}
}

// A safeBuffer is a buffer that is written and read at once.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
