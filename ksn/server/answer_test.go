package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/server"
	"example.org/avdb/ksn/serving"
)

// said is what an answer says, in a line for each entry.
func said(a protocol.Answer) (lines []string) {
	for _, e := range a.Entries {
		lines = append(lines, fmt.Sprintf("%.8s %d %s %s %s %d", e.Key.Hex(), e.Size, e.Verdict, e.Name, e.Category, e.TTL))
	}
	return lines
}

// What the database knows comes as entries with the right verdict, category and size, from the release that it names, and only within the prefix.
func TestAnswersFromTheDatabase(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		p    protocol.Prefix
		want []string
	}{
		{prefix(protocol.FileSHA256, 24, malware), []string{"0a0b0c01 1234 untrusted Win.Trojan.Example-1 malware 0"}},
		{prefix(protocol.FileSHA1, 24, malware), []string{"0a0b0c01 1234 untrusted Win.Trojan.Example-1 malware 0"}},
		{prefix(protocol.FileMD5, 32, malware), []string{"0a0b0c01 1234 untrusted Win.Trojan.Example-1 malware 0"}},
		{prefix(protocol.FileMD5, 32, malware+1), nil},
		{prefix(protocol.FileSHA256, 24, nothing), nil},
		{prefix(protocol.FileSHA256, 24, several), []string{"0a0b0d00 0 potentially_unwanted Unwanted.Toolbar pua 0",
			`0a0b0d01 0 untrusted Odd.Name "<&>\ malware 0`, "0a0b0d01 5 untrusted Sized malware 0"}},
		{prefix(protocol.FileSHA256, 31, several), []string{"0a0b0d00 0 potentially_unwanted Unwanted.Toolbar pua 0",
			`0a0b0d01 0 untrusted Odd.Name "<&>\ malware 0`, "0a0b0d01 5 untrusted Sized malware 0"}},
		// An allow record cancels what else is said of the same SHA-256, and says nothing by weaker hashes.
		{prefix(protocol.FileSHA256, 24, allowed), []string{"0a0b0e00 0 trusted   86400"}},
		{prefix(protocol.FileMD5, 24, allowed), []string{"0a0b0e00 0 untrusted False.Positive malware 0"}},
		// URLs are known by a section of their own, which says nothing of what kind they are.
		{prefix(protocol.URL, 24, several), []string{"0a0b0d00 0 untrusted URL.SHA256.0a0b0d00  0"}},
		{prefix(protocol.URL, 24, nothing), nil},
	} {
		a := w.ask(c.p)
		if got := said(a); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.p, got, c.want)
		}
		if a.Release != 7 || a.TTL != 4*3600 || a.NegTTL != 3600 || !a.Issued.Equal(noon) {
			t.Errorf("%s: release %d, ttl %d and %d, issued %s", c.p, a.Release, a.TTL, a.NegTTL, a.Issued)
		}
	}
	if got := len(w.ask(prefix(protocol.FileSHA256, 16, malware)).Entries); got != 5 {
		t.Errorf("%d entries begin with 16 bits, want 5", got)
	}
}

// Software is known by sources alone; no release stands behind that, so that nobody takes its silence for the database's. What sources know of
// files and URLs adds to the database.
func TestAnswersFromSources(t *testing.T) {
	w := newWorld(t)
	a := w.ask(prefix(protocol.URL, 24, malware))
	if got := said(a); !slices.Equal(got, []string{"0a0b0c01 0 untrusted Phishing.Example phishing 600"}) || a.Release != 7 {
		t.Errorf("%q from release %d", got, a.Release)
	}
	if a := w.ask(prefix(protocol.Software, 24, nothing)); len(a.Entries) != 0 || a.Release != 0 {
		t.Errorf("%q from release %d", said(a), a.Release)
	}
	// A source of files adds to the database; what both say is said once.
	w.src.kind, w.src.entries = protocol.FileMD5, []protocol.Entry{
		{Key: key(protocol.FileMD5, sum(dbformat.MD5, malware, "one")), Size: 1234, Verdict: protocol.Untrusted, Name: "Win.Trojan.Example-1", Category: "malware"},
		{Key: key(protocol.FileMD5, sum(dbformat.MD5, malware, "one")), Verdict: protocol.Trusted, TTL: 1},
	}
	a = w.ask(prefix(protocol.FileMD5, 24, malware))
	if got := said(a); !slices.Equal(got, []string{"0a0b0c01 0 trusted   480", "0a0b0c01 1234 untrusted Win.Trojan.Example-1 malware 0"}) || a.Release != 7 {
		t.Errorf("%q from release %d", got, a.Release)
	}
	// A source that breaks the protocol, or fails, gives a problem and not an empty answer.
	w.src.entries = []protocol.Entry{{Key: key(protocol.FileMD5, sum(dbformat.MD5, malware, "x"))}}
	w.problem(w.do("GET", prefix(protocol.FileMD5, 24, malware).Path(), ""), protocol.CodeUnavailable)
	w.src.entries, w.src.err = nil, errors.New("the disk is gone")
	w.problem(w.do("GET", prefix(protocol.URL, 24, nothing).Path(), ""), protocol.CodeUnavailable)
}

// A name that a database may have and an answer may not does not keep the answer back.
func TestNamesThatAnswersMayNotHave(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"No\u00a0break", "Control\x01", "Not\xffUTF-8", "Ünal", "", strings.Repeat("\u3000", 85)} {
		w.db.put(dbformat.SHA1, server.Known{Sum: sum(dbformat.SHA1, 0xff000000+uint32(i)<<8, name), Name: name})
		e := w.ask(prefix(protocol.FileSHA1, 24, 0xff000000+uint32(i)<<8)).Entries
		want := []string{"No?break", "Control?", "Not?UTF-8", "Ünal", "", strings.Repeat("?", 85)}[i]
		if len(e) != 1 || e[0].Name != want {
			t.Errorf("%q comes as %+v, want %q", name, e, want)
		}
	}
}

// A batch is answered in the order of its questions, all kinds at once, under one head with one signature.
func TestBatch(t *testing.T) {
	w := newWorld(t)
	var prefixes []protocol.Prefix
	for i := range protocol.MaxBatch {
		prefixes = append(prefixes, prefix(protocol.Types()[i%5], 24, malware&0xffff0000+uint32(i)<<8))
	}
	all := w.askAll(prefixes...)
	found := 0
	for i, s := range all {
		if s.Answer.Head != all[0].Answer.Head || s.Answer.Release != 7 {
			t.Errorf("%s has the head %+v, the first one %+v", prefixes[i], s.Answer.Head, all[0].Answer.Head)
		}
		if one := w.ask(prefixes[i]); !slices.Equal(said(one), said(s.Answer)) {
			t.Errorf("%s: %q alone, %q in a batch", prefixes[i], said(one), said(s.Answer))
		}
		found += len(s.Answer.Entries)
	}
	if w.tally.signed != 1+protocol.MaxBatch || w.tally.answers != 2*protocol.MaxBatch || w.tally.entries != 2*found || found == 0 || w.tally.release != 0 && w.tally.release != 7 {
		t.Errorf("%d entries, counted %+v", found, w.tally)
	}
}

// A grouped database tells what it was asked at once.
type grouped struct {
	*memory
	asked []string
}

func (d *grouped) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	d.asked = append(d.asked, fmt.Sprintf("%s/%d %x", a, bits, values))
	return d.memory.WithPrefixes(a, bits, values, visit)
}

func (d *grouped) WithURLPrefixes(bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	d.asked = append(d.asked, fmt.Sprintf("url/%d %x", bits, values))
	return d.memory.WithURLPrefixes(bits, values, visit)
}

// The database is asked at once about what stands together in a batch and has one type and one number of bits.
func TestTheDatabaseIsAskedAtOnce(t *testing.T) {
	d := &grouped{}
	w := newWorld(t, func(c *server.Config) {
		d.memory = c.Database.(*memory)
		c.Database = d
	})
	w.askAll(prefix(protocol.FileMD5, 24, malware), prefix(protocol.FileMD5, 24, several), prefix(protocol.FileMD5, 16, malware), prefix(protocol.URL, 24, malware),
		prefix(protocol.URL, 24, several), prefix(protocol.Software, 24, malware), prefix(protocol.FileMD5, 24, nothing))
	want := []string{fmt.Sprintf("md5/24 %x", []uint32{malware >> 8, several >> 8}), fmt.Sprintf("md5/16 %x", []uint32{malware >> 16}),
		fmt.Sprintf("url/24 %x", []uint32{malware >> 8, several >> 8}), fmt.Sprintf("md5/24 %x", []uint32{nothing >> 8})}
	if !slices.Equal(d.asked, want) {
		t.Errorf("asked %q, want %q", d.asked, want)
	}
}

// All answers of a batch are from one release: a database that changes on the way is asked once more, and one that goes on changing is a problem.
func TestOneReleaseForABatch(t *testing.T) {
	w := newWorld(t)
	visits := 0
	w.db.visited = func() {
		if visits++; visits == 2 {
			w.db.release++
		}
	}
	for _, s := range w.askAll(prefix(protocol.FileMD5, 24, malware), prefix(protocol.URL, 24, malware), prefix(protocol.FileSHA1, 24, malware), prefix(protocol.FileSHA256, 24, malware)) {
		if want := uint64(8); s.Answer.Release != want {
			t.Errorf("%s from release %d, want %d", s.Answer.Prefix, s.Answer.Release, want)
		}
	}
	w.db.visited = func() { w.db.release++ }
	q, err := protocol.MarshalQuery([]protocol.Prefix{prefix(protocol.FileMD5, 24, malware), prefix(protocol.FileSHA1, 24, several)})
	if err != nil {
		t.Fatal(err)
	}
	if p := w.problem(w.do("POST", protocol.PathBatch, string(q)), protocol.CodeUnavailable); p.Wait != 1 {
		t.Errorf("wait %d s, want 1", p.Wait)
	}
}

// The operator's word beats the database and the sources, for its own key only, from the next request on.
func TestOverrides(t *testing.T) {
	w := newWorld(t)
	one, two := key(protocol.FileSHA256, sum(dbformat.SHA256, malware, "one")), key(protocol.FileSHA256, sum(dbformat.SHA256, several+1, "two"))
	set := func(list ...server.Override) {
		t.Helper()
		if err := w.SetOverrides(list); err != nil {
			t.Fatal(err)
		}
	}
	set(server.Override{Key: two, Verdict: protocol.PotentiallyUnwanted, Note: "secret note", Since: noon},
		server.Override{Key: one, Verdict: protocol.Trusted, Note: "secret note"},
		server.Override{Key: key(protocol.FileSHA256, sum(dbformat.SHA256, nothing, "new")), Verdict: protocol.Untrusted},
		server.Override{Key: key(protocol.URL, urlKey), Verdict: protocol.Trusted},
		server.Override{Key: key(protocol.FileSHA256, sum(dbformat.SHA256, allowed, "good")), Verdict: protocol.Untrusted})
	for p, want := range map[protocol.Prefix][]string{
		prefix(protocol.FileSHA256, 24, malware): {"0a0b0c01 0 trusted  override 0"},
		prefix(protocol.FileSHA1, 24, malware):   {"0a0b0c01 1234 untrusted Win.Trojan.Example-1 malware 0"},
		prefix(protocol.FileSHA256, 24, several): {"0a0b0d00 0 potentially_unwanted Unwanted.Toolbar pua 0", "0a0b0d01 0 potentially_unwanted Operator.Unwanted override 0"},
		prefix(protocol.FileSHA256, 24, nothing): {"00000000 0 untrusted Operator.Untrusted override 0"},
		prefix(protocol.FileSHA256, 24, allowed): {"0a0b0e00 0 untrusted Operator.Untrusted override 0"},
		prefix(protocol.URL, 24, malware):        {"0a0b0c01 0 trusted  override 0"},
	} {
		if got := said(w.ask(p)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
	if body := w.do("GET", prefix(protocol.FileSHA256, 16, malware).Path(), "").Body.String(); strings.Contains(body, "secret") {
		t.Error("the operator's note is in an answer")
	}
	set()
	if got := said(w.ask(prefix(protocol.FileSHA256, 24, malware))); !slices.Equal(got, []string{"0a0b0c01 1234 untrusted Win.Trojan.Example-1 malware 0"}) {
		t.Errorf("without overrides: %q", got)
	}
	set(server.Override{Key: one, Verdict: protocol.Trusted})
	for why, list := range map[string][]server.Override{
		"unknown verdict": {{Key: one, Verdict: protocol.Unknown}},
		"twice":           {{Key: one, Verdict: protocol.Trusted}, {Key: one, Verdict: protocol.Untrusted}},
		"no key":          {{Key: protocol.Key{Type: "file"}, Verdict: protocol.Trusted}},
		"too long a key":  {{Key: protocol.Key{Type: protocol.FileMD5, Sum: one.Sum}, Verdict: protocol.Trusted}},
		"too many":        make([]server.Override, server.MaxOverrides+1),
	} {
		if err := w.SetOverrides(list); err == nil {
			t.Errorf("%s: no error", why)
		}
	}
	if got := said(w.ask(prefix(protocol.FileSHA256, 24, malware))); !slices.Equal(got, []string{"0a0b0c01 0 trusted  override 0"}) {
		t.Errorf("after refused lists: %q", got)
	}
}

// What the operator knows of an object besides its verdict is in the answer, and of the number of its users a power of ten alone.
func TestOverrideTellsWhatIsKnown(t *testing.T) {
	w := newWorld(t)
	one := key(protocol.FileSHA256, sum(dbformat.SHA256, malware, "one"))
	o := server.Override{Key: one, Verdict: protocol.Trusted, Name: "Example Tool 2", Category: "tool", FirstSeen: noon.Add(time.Millisecond), Popularity: 25_999, Signer: "Example Ltd",
		Regions: []string{"AT", "DE"}}
	if err := w.SetOverrides([]server.Override{o}); err != nil {
		t.Fatal(err)
	}
	seen := dbformat.At(noon)
	want := protocol.Entry{Key: one, Verdict: protocol.Trusted, Name: "Example Tool 2", Category: "tool", FirstSeen: &seen, Popularity: 10_000, Signer: "Example Ltd",
		Regions: []string{"AT", "DE"}}
	if got := w.ask(prefix(protocol.FileSHA256, 24, malware)).Entries; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("answer %+v, want %+v", got, want)
	}
	for why, change := range map[string]func(*server.Override){
		"a name that no answer holds": func(o *server.Override) { o.Name = "a\nb" },
		"a long signer":               func(o *server.Override) { o.Signer = strings.Repeat("x", protocol.MaxName+1) },
		"regions":                     func(o *server.Override) { o.Regions = make([]string, protocol.MaxRegions+1) },
		"a year that none is":         func(o *server.Override) { o.FirstSeen = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		bad := o
		change(&bad)
		if err := w.SetOverrides([]server.Override{bad}); !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// More than an answer can hold is a problem that says what helps, and never a cut answer: silence would erase a detection.
func TestTooMuchToSay(t *testing.T) {
	w := newWorld(t)
	rows := func(begin uint32, n int) {
		for i := range n {
			w.db.rows[dbformat.MD5] = append(w.db.rows[dbformat.MD5], server.Known{Sum: sum(dbformat.MD5, begin, fmt.Sprint(i)), Name: "x"})
		}
		w.db.put(dbformat.MD5)
	}
	rows(0xee000000, protocol.MaxEntries)
	if n := len(w.ask(prefix(protocol.FileMD5, 16, 0xee000000)).Entries); n != protocol.MaxEntries {
		t.Errorf("%d entries, want %d", n, protocol.MaxEntries)
	}
	rows(0xee00ff00, 1)
	if p := w.problem(w.do("GET", prefix(protocol.FileMD5, 16, 0xee000000).Path(), ""), protocol.CodeBadRequest); !strings.Contains(p.Detail, "more bits") {
		t.Errorf("detail %q does not say what helps", p.Detail)
	}
	if n := len(w.ask(prefix(protocol.FileMD5, 24, 0xee00ff00)).Entries); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	// Neither does a whole batch grow beyond what clients read.
	var prefixes []protocol.Prefix
	for i := range uint32(16) {
		rows(0xdd000000+i<<8, protocol.MaxEntries)
		prefixes = append(prefixes, prefix(protocol.FileMD5, 24, 0xdd000000+i<<8))
	}
	q, err := protocol.MarshalQuery(append(prefixes, prefix(protocol.FileMD5, 24, malware)))
	if err != nil {
		t.Fatal(err)
	}
	w.problem(w.do("POST", protocol.PathBatch, string(q)), protocol.CodeTooLarge)
	rows(0xdcffffff, protocol.MaxEntries+1)
	w.problem(w.do("GET", prefix(protocol.FileMD5, 32, 0xdcffffff).Path(), ""), protocol.CodeTooLarge)
}

// No answer is given without a database, and the server says so before it is asked.
func TestWithoutADatabase(t *testing.T) {
	w := newWorld(t)
	if rec := w.do("GET", "/readyz", ""); rec.Code != 200 {
		t.Errorf("ready: %d", rec.Code)
	}
	w.db.err = errors.New("no generation is current")
	for _, path := range []string{prefix(protocol.FileMD5, 24, malware).Path(), protocol.PathInfo, "/readyz"} {
		if p := w.problem(w.do("GET", path, ""), protocol.CodeUnavailable); p.Wait < 1 {
			t.Errorf("%s names no time to wait", path)
		}
	}
	if rec := w.do("GET", "/healthz", ""); rec.Code != 200 {
		t.Errorf("healthy: %d", rec.Code)
	}
	if err := w.Ready(); err == nil || !strings.Contains(err.Error(), "no generation") {
		t.Errorf("ready: %v", err)
	}
	w.db.err = nil
	w.now = noon.Add(366 * 24 * time.Hour)
	if err := w.Ready(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("with an expired provider file: %v", err)
	}
}

// liar answers for another prefix than it was asked for.
type liar struct{ *memory }

func (l liar) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	values = slices.Clone(values)
	for i := range values {
		values[i] ^= 1
	}
	return l.memory.WithPrefixes(a, bits, values, visit)
}

// What a database says of other keys is not signed, and the log does not tell of which.
func TestLyingDatabase(t *testing.T) {
	var out bytes.Buffer
	w := newWorld(t)
	w = newWorld(t, func(c *server.Config) { c.Database, c.Log = liar{w.db}, slog.New(slog.NewTextHandler(&out, nil)) })
	for range 3 {
		w.problem(w.do("GET", prefix(protocol.FileMD5, 24, malware^1<<8).Path(), ""), protocol.CodeUnavailable)
	}
	if text := out.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "0a0b0") {
		t.Errorf("the log, which should be one line:\n%s", text)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.do("GET", prefix(protocol.FileMD5, 24, malware^1<<8).Path(), "")
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines after two minutes, want 2", n)
	}
}

// A mistake of ours ends one request and no other one; what was begun is cut off, so that nobody takes it for whole.
func TestPanics(t *testing.T) {
	var out bytes.Buffer
	w := newWorld(t, func(c *server.Config) {
		c.Status = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a mistake") })
		c.Log = slog.New(slog.NewTextHandler(&out, nil))
	})
	w.db.visited = func() { w.db.visited = nil; panic("a mistake") }
	w.problem(w.do("GET", prefix(protocol.FileMD5, 24, malware).Path(), ""), protocol.CodeUnavailable)
	w.ask(prefix(protocol.FileMD5, 24, malware))
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("the status page ended in %v", v)
			}
		}()
		w.do("GET", "/status", "")
	}()
	if !strings.Contains(out.String(), "level=ERROR") || w.tally.outcomes["other unavailable"] != 1 || w.tally.outcomes["lookup unavailable"] != 1 {
		t.Errorf("%v\n%s", w.tally.outcomes, out.String())
	}
}

// Two servers with keys of the same provider and the same database give answers that are worth the same.
func TestReplicas(t *testing.T) {
	a := newWorld(t)
	b := newWorld(t, func(c *server.Config) { c.Key, c.Database = testKey(t, 3), a.db })
	c := newWorld(t, func(c *server.Config) { c.Database = a.db })
	p := prefix(protocol.FileSHA256, 16, malware)
	if x, y := a.ask(p), b.ask(p); !slices.Equal(said(x), said(y)) || x.Release != y.Release || len(x.Entries) == 0 {
		t.Errorf("%v and %v", x, y)
	}
	if x, y := a.do("GET", p.Path(), ""), c.do("GET", p.Path(), ""); x.Body.String() != y.Body.String() || x.Header().Get("ETag") != y.Header().Get("ETag") {
		t.Error("with the same key the bytes differ")
	}
}

// Info is signed for this network, counts everything, and offers statistics only where they are taken.
func TestInfo(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.PrefixBits, c.MinWait, c.Statement = 20, 90*time.Second, 3 })
	if err := w.SetOverrides([]server.Override{{Key: key(protocol.URL, urlKey), Verdict: protocol.Trusted}}); err != nil {
		t.Fatal(err)
	}
	rec := w.do("GET", protocol.PathInfo, "")
	i, err := w.keys.OpenInfo(rec.Body.Bytes(), w.provider.Fingerprint, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if i.Name != "Example Corp" || i.Release != 7 || i.Files != 18 || i.URLs != 3 || i.Software != 1 || i.PrefixBits != 20 || i.MinWait != 90 || i.Statement != 3 ||
		!slices.Equal(i.Capabilities, []string{"cloud_mode", "stats"}) || rec.Header().Get("Cache-Control") != "public, max-age=90" {
		t.Errorf("%+v, %v", i, rec.Header())
	}
	w = newWorld(t, func(c *server.Config) { c.Intake = nil })
	if i, err = w.keys.OpenInfo(w.do("GET", protocol.PathInfo, "").Body.Bytes(), w.provider.Fingerprint, w.now); err != nil || !slices.Equal(i.Capabilities, []string{"cloud_mode"}) {
		t.Errorf("%+v, %v", i, err)
	}
}

// What caches may do: nothing is kept beyond three quarters of the shortest life of what it says, a client's own answer by nobody else, an
// answer for one network never for another, and a batch not at all.
func TestCaching(t *testing.T) {
	w := newWorld(t)
	get := func(p protocol.Prefix, header ...string) *httptest.ResponseRecorder {
		return w.do("GET", p.Path(), "", header...)
	}
	p := prefix(protocol.FileSHA256, 24, malware)
	first := get(p)
	for _, c := range []struct {
		p    protocol.Prefix
		at   time.Duration
		want string
	}{
		{p, 0, "public, max-age=2700"}, // the silence of an hour
		{p, 59 * time.Second, "public, max-age=2655"},
		{prefix(protocol.URL, 24, malware), 0, "public, max-age=450"}, // an entry of ten minutes
	} {
		w.now = noon.Add(c.at)
		if got := get(c.p).Header(); got.Get("Cache-Control") != c.want || got.Get("Vary") != protocol.NetworkHeader {
			t.Errorf("%s after %s: %v, want %s", c.p, c.at, got, c.want)
		}
	}
	// Within a minute the answer is the same, and so is its tag.
	tag := first.Header().Get("ETag")
	w.now = noon.Add(59 * time.Second)
	for _, none := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if rec := get(p, "If-None-Match", none); rec.Code != 304 || rec.Body.Len() > 0 || rec.Header().Get("ETag") != tag || rec.Header().Get("Cache-Control") != "public, max-age=2655" {
			t.Errorf("If-None-Match: %s gives %d with %v", none, rec.Code, rec.Header())
		}
	}
	if rec := get(p, "If-None-Match", `"x"`); rec.Code != 200 || rec.Body.String() != first.Body.String() {
		t.Errorf("another tag: %d %s", rec.Code, rec.Body)
	}
	w.db.release++
	if rec := get(p, "If-None-Match", tag); rec.Code != 200 || rec.Header().Get("ETag") == tag {
		t.Errorf("a new release has the old tag: %d", rec.Code)
	}
	w.db.release--
	w.now = noon.Add(time.Minute)
	if rec := get(p, "If-None-Match", tag); rec.Code != 200 || rec.Header().Get("ETag") == tag {
		t.Errorf("a new minute has the old tag: %d", rec.Code)
	}
	q, err := protocol.MarshalQuery([]protocol.Prefix{p})
	if err != nil {
		t.Fatal(err)
	}
	if rec := w.do("POST", protocol.PathBatch, string(q)); rec.Code != 200 || rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("ETag") != "" {
		t.Errorf("batch: %d %v", rec.Code, rec.Header())
	}
	if err := w.SetTokens([]server.Token{token("desk", "letmein")}); err != nil {
		t.Fatal(err)
	}
	if rec := get(p, "Authorization", "Bearer letmein"); rec.Header().Get("Cache-Control") != "private, max-age=2700" {
		t.Errorf("with tokens: %v", rec.Header())
	}
}

// HEAD has the headers of GET and no body, and no answer says more of the server than it must.
func TestHeadersOfAnswers(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{prefix(protocol.FileMD5, 24, malware).Path(), protocol.PathInfo, "/openapi.yaml", "/healthz", "/readyz"} {
		get, head := w.do("GET", path, ""), w.do("HEAD", path, "")
		if head.Code != 200 || head.Body.Len() > 0 || fmt.Sprint(get.Header()) != fmt.Sprint(head.Header()) || get.Header().Get("Content-Length") != fmt.Sprint(get.Body.Len()) {
			t.Errorf("%s: GET %v, HEAD %d %v", path, get.Header(), head.Code, head.Header())
		}
		if h := get.Header(); h.Get("Server")+h.Get("Set-Cookie") != "" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

// Statistics go to the intake as they are, without who sent them; without an intake there is no such path.
func TestStatistics(t *testing.T) {
	w := newWorld(t)
	if rec := w.do("POST", protocol.PathStats, `{"n":1}`); rec.Code != 202 || rec.Body.Len() > 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	most := strings.Repeat("1", protocol.MaxStats)
	if rec := w.do("POST", protocol.PathStats, most, "Content-Type", "application/x-ndjson; charset=UTF-8"); rec.Code != 202 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if !slices.Equal(w.taken, []string{`application/json {"n":1}`, "application/x-ndjson " + most}) {
		t.Errorf("taken: %.200q", w.taken)
	}
	w.problem(w.do("POST", protocol.PathStats, most+"1"), protocol.CodeTooLarge)
	w.problem(w.do("POST", protocol.PathStats, ""), protocol.CodeBadRequest)
	w.problem(w.do("POST", protocol.PathStats, "{}", "Content-Type", "text/plain"), protocol.CodeBadRequest)
	w.problem(w.do("POST", protocol.PathStats, "{}", "Content-Encoding", "gzip"), protocol.CodeBadRequest)
	w.takeErr = fmt.Errorf("%w: no such field", protocol.ErrInvalid)
	if p := w.problem(w.do("POST", protocol.PathStats, "{}"), protocol.CodeBadRequest); !strings.Contains(p.Detail, "no such field") {
		t.Errorf("detail %q", p.Detail)
	}
	w.takeErr = errors.New("disk full at /var/lib")
	if p := w.problem(w.do("POST", protocol.PathStats, "{}"), protocol.CodeUnavailable); p.Wait < 1 || strings.Contains(p.Detail, "disk") {
		t.Errorf("%+v", p)
	}
	w = newWorld(t, func(c *server.Config) { c.Intake = nil })
	w.problem(w.do("POST", protocol.PathStats, "{}"), protocol.CodeNotFound)
}

// A status page is shown on its own paths only, and knows nothing of the rest.
func TestStatusPage(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page "+r.URL.Path) })
	w := newWorld(t, func(c *server.Config) { c.Status = page })
	for _, path := range []string{"/", "/status", "/status.json", "/metrics"} {
		if rec := w.do("GET", path+"?refresh=off", ""); rec.Code != 200 || rec.Body.String() != "page "+path {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
		w.problem(newWorld(t).do("GET", path, ""), protocol.CodeNotFound)
	}
	w.problem(w.do("GET", "/other", ""), protocol.CodeNotFound)
}

// New refuses what no client would accept, and says why.
func TestConfigRefused(t *testing.T) {
	for why, change := range map[string]func(*server.Config){
		"needed":           func(c *server.Config) { c.Database = nil },
		"does not name":    func(c *server.Config) { c.Key = testKey(t, 9) },
		"prefixes of":      func(c *server.Config) { c.PrefixBits = 12 },
		"life of silence":  func(c *server.Config) { c.Lives.Silence = 25 * time.Hour },
		"life of trusted":  func(c *server.Config) { c.Lives.Trusted = 8 * 24 * time.Hour },
		"life of entries":  func(c *server.Config) { c.Lives.Entry = time.Second },
		"life of info":     func(c *server.Config) { c.Lives.Info = 61500 * time.Millisecond },
		"statement":        func(c *server.Config) { c.Statement = -1 },
		"requests for inf": func(c *server.Config) { c.MinWait = -1 },
		"limit of":         func(c *server.Config) { c.Limit.PerSecond = 1e-9 },
		"token 0":          func(c *server.Config) { c.Tokens = []server.Token{{}} },
		"override 0":       func(c *server.Config) { c.Overrides = []server.Override{{}} },
	} {
		c := server.Config{Provider: provider(t), Key: testKey(t, 2), Database: &memory{}}
		change(&c)
		if s, err := server.New(c); err == nil || s != nil || !strings.Contains(err.Error(), why) {
			t.Errorf("want an error with %q, got %v", why, err)
		}
	}
}

// Kinds and outcomes are complete, so that labels can be declared before anything is counted.
func TestCounted(t *testing.T) {
	w := newWorld(t)
	p := prefix(protocol.FileMD5, 24, malware).Path()
	tag := w.do("GET", p, "").Header().Get("ETag")
	w.do("GET", p, "", "If-None-Match", tag)
	w.do("GET", "/v1/l/x", "")
	w.do("GET", p, "", protocol.NetworkHeader, strings.Repeat("0", 64))
	w.do("POST", protocol.PathBatch, "{")
	w.do("GET", protocol.PathInfo, "")
	w.do("POST", protocol.PathStats, "{}")
	w.do("GET", "/", "")
	want := map[string]int{"lookup ok": 1, "lookup not_modified": 1, "lookup not_found": 1, "lookup wrong_network": 1, "batch bad_request": 1, "info ok": 1, "stats ok": 1, "other not_found": 1}
	if got, _ := json.Marshal(w.tally.outcomes); string(got) != func() string { b, _ := json.Marshal(want); return string(b) }() {
		t.Errorf("counted %s, want %v", got, want)
	}
	for o := range w.tally.outcomes {
		k, o, _ := strings.Cut(o, " ")
		if !slices.Contains(serving.Kinds(), server.Kind(k)) || !slices.Contains(server.Outcomes(), server.Outcome(o)) {
			t.Errorf("%s %s is not declared", k, o)
		}
	}
}

// An allow record with a size cancels what is said of that size and of no other, as it does on a device with the full database.
func TestAllowRecordsOfASize(t *testing.T) {
	w := newWorld(t)
	w.db.put(dbformat.SHA256, server.Known{Sum: sum(dbformat.SHA256, allowed+1, "sized"), Size: 26, Allowed: true},
		server.Known{Sum: sum(dbformat.SHA256, allowed+1, "sized"), Size: 26, Name: "Allowed.Too"},
		server.Known{Sum: sum(dbformat.SHA256, allowed+1, "sized"), Size: 25, Name: "Still.Bad"})
	want := []string{"0a0b0e01 25 untrusted Still.Bad malware 0", "0a0b0e01 26 trusted   86400"}
	if got := said(w.ask(prefix(protocol.FileSHA256, 32, allowed+1))); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
