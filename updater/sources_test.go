package updater_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

func from(sources ...updater.Source) func(*updater.Config) {
	return func(c *updater.Config) { c.Sources = sources }
}

// Guard: the share of the time. Sources that are slow in whatever phase, each just fast enough for its own limits, leave the good one
// behind them the time that it needs.
func TestSlowSourcesLeaveTimeForTheGoodOne(t *testing.T) {
	w := attacked(t)
	mute, err := net.Listen("tcp", "127.0.0.1:0") // connections are made and nothing is ever said: no answer, no handshake
	must(t, err)
	t.Cleanup(func() { mute.Close() })
	drip := func(kind string, b func(r *http.Request) []byte) *site {
		s := newSite(t, filepath.Join(w.repo, "public"))
		s.hostile(only(func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusOK)
			for _, c := range b(r) {
				if _, err := rw.Write([]byte{c}); err != nil {
					return
				}
				rw.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Second):
				}
			}
		}, kind))
		return s
	}
	whole := func(r *http.Request) []byte { return w.file(r.URL.Path) }
	header, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { header.Close() })
	go func() { // headers that never end
		for {
			c, err := header.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, "HTTP/1.1 200 OK\r\n")
				for {
					if _, err := io.WriteString(c, "X: y\r\n"); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}
	}()
	slow := []string{"http://" + mute.Addr().String(), "https://" + mute.Addr().String(), "http://" + header.Addr().String(),
		drip("timestamp", whole).URL, drip("release", whole).URL, drip("light.delta", whole).URL}
	const limit = 28 * time.Second // of which the good one has a seventh: enough on a busy machine
	start := time.Now()
	r := w.mustUpdate(updater.Options{}, from(updater.Sources(append(slow, w.URL)...)...), func(c *updater.Config) {
		c.Limits = updater.Limits{Update: limit, Header: time.Hour, Idle: time.Hour, HeaderBytes: 1 << 30, Retries: -1, Resumes: -1}
	})
	if took := time.Since(start); r.Source != w.URL || r.To != 2 || took > limit+20*time.Second {
		t.Errorf("%+v after %s", r, took)
	}
	failed, shares := 0, 0
	for _, n := range r.Notes {
		if strings.HasPrefix(n, "source_failed: ") {
			failed++
			if strings.Contains(n, "its share of the time") {
				shares++
			}
		}
	}
	if failed != len(slow) || shares < len(slow)-1 { // a busy machine may cut one of them short
		t.Errorf("notes %q, want each slow source to have used its share up", r.Notes)
	}
}

// Guard: a missing or forbidden target is unavailable there; the next source has it.
func TestTargetUnavailableThere(t *testing.T) {
	for _, code := range []int{404, 403} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			w := attacked(t)
			poor := newSite(t, filepath.Join(w.repo, "public"))
			poor.hostile(only(status(code), "light.bundle", "light.delta", "root")) // object stores answer 403 for a missing root, too
			r := w.mustUpdate(updater.Options{}, from(updater.Sources(poor.URL, w.URL)...))
			if r.Source != w.URL || r.To != 2 || !strings.Contains(strings.Join(r.Notes, "\n"), "unavailable there") {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A source that refuses everything is told apart from one that lacks something.
func TestSourceThatRefusesEverything(t *testing.T) {
	w := attacked(t)
	w.hostile(func(rw http.ResponseWriter, r *http.Request) bool { rw.WriteHeader(403); return true })
	_, err := w.update(updater.Options{})
	if !isOnly(err, updater.ErrUnavailable) || !strings.HasSuffix(err.Error(), "basic, bearer or client_cert of the source in the config file") {
		t.Errorf("error %v, want one whose last words say what to name", err)
	}
	w.mustBe("1 full")
}

func busy(rw http.ResponseWriter, r *http.Request) bool {
	rw.Header().Set("Retry-After", "7200")
	rw.WriteHeader(http.StatusServiceUnavailable)
	return true
}

// Guard: the cool-down of a source holds for every spelling of its URL, whoever names it, and outlives other sources' turns.
func TestCoolDownIsTheSources(t *testing.T) {
	w := attacked(t)
	cool := newSite(t, filepath.Join(w.repo, "public"))
	cool.hostile(busy)
	host := strings.TrimPrefix(cool.URL, "http://")
	// The settings know neither of them: sources of a policy.
	r := w.mustUpdate(updater.Options{Check: true}, from(updater.Sources("http://me:old@"+host+"/", w.URL)...))
	if r.Source != w.URL || len(cool.asked()) != 1 {
		t.Fatalf("%+v", r)
	}
	w.mustUpdate(updater.Options{}, from(updater.Sources(w.URL)...)) // a run that knows nothing of the other one
	for _, u := range []string{"http://me:old@" + host, "http://me:new@" + strings.ToUpper(host) + "//"} {
		if _, err := w.update(updater.Options{}, from(updater.Sources(u)...)); !isOnly(err, updater.ErrCoolDown) || len(cool.asked()) != 0 {
			t.Errorf("%s: %v, want the cool-down", u, err)
		}
	}
	states, err := w.store.SourceStates()
	if st := states["http://me:xxxxx@"+host]; err != nil || !st.CoolDownUntil.Equal(w.now.Add(2*time.Hour)) {
		t.Errorf("%+v, %v", states, err)
	}
}

// Guard: a clock that is set back does not make a cool-down longer than any may be.
func TestCoolDownAndAClockSetBack(t *testing.T) {
	for _, back := range []time.Duration{time.Hour, 23 * time.Hour, 30 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		t.Run(back.String(), func(t *testing.T) {
			w := attacked(t)
			w.hostile(func(rw http.ResponseWriter, r *http.Request) bool {
				rw.Header().Set("Retry-After", "86400")
				rw.WriteHeader(http.StatusTooManyRequests)
				return true
			})
			w.update(updater.Options{})
			w.now = w.now.Add(-back)
			w.hostile(nil)
			if _, err := w.update(updater.Options{}); errors.Is(err, updater.ErrCoolDown) {
				t.Errorf("%v, want the source asked again", err)
			}
		})
	}
}

// A mirror that cannot be renewed in time is believed for as long as its source says, and no longer; only its timestamp and snapshot are.
func TestMaxAge(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name    string
		age     time.Duration
		max     time.Duration
		good    bool
		expired string
	}{
		{"fresh", day, 0, true, ""},
		{"timestamp expired for two days", 9 * day, 0, false, "timestamp"},
		{"allowed", 9 * day, 10 * day, true, ""},
		{"expired for five days, allowed", 12*day - time.Hour, 12 * day, true, ""},
		{"older than allowed", 11 * day, 10 * day, false, "timestamp"},
		{"snapshot expired, too", 20 * day, 25 * day, true, ""},
		{"database expired", 31 * day, 60 * day, false, "database"},
		{"targets expired", 366 * day, 400 * day, false, "targets"},
		{"root expired", 740 * day, 1000 * day, false, "root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := attacked(t) // release 2 was published, release 1 is installed
			w.now = w.now.Add(c.age)
			r, err := w.update(updater.Options{}, from(updater.Source{URL: w.URL, MaxAge: c.max}))
			if c.good {
				if err != nil || hasNote(r, signing.NoteExpired) != (c.max > 0) {
					t.Errorf("%v, %+v", err, r)
				}
				w.mustBe("2 full")
				return
			}
			e, ok := errors.AsType[*signing.UntrustedError](err)
			if !ok || e.Reason != signing.ReasonExpired || e.Role != c.expired || !isOnly(err, signing.ErrUntrusted) {
				t.Errorf("error %v, want %s expired", err, c.expired)
			}
			w.mustBe("1 full")
		})
	}
}

// MaxAge is the source's own: it does not carry over to the one behind it.
func TestMaxAgeIsOfOneSource(t *testing.T) {
	w := attacked(t)
	w.now = w.now.Add(9 * 24 * time.Hour)
	gone := newSite(t, t.TempDir())
	if _, err := w.update(updater.Options{}, from(updater.Source{URL: gone.URL, MaxAge: 20 * 24 * time.Hour}, updater.Source{URL: w.URL})); !isOnly(err, signing.ErrUntrusted) {
		t.Errorf("error %v, want expired", err)
	}
	must(t, w.store.UpdateSettings(func(s *store.Settings) error {
		s.Sources = []store.SettingsSource{{URL: w.URL, MaxAge: "10d"}}
		return nil
	}))
	w.mustUpdate(updater.Options{})
	w.mustBe("2 full")
}

// A bundle that is whole and refused is not kept: the next run would refuse it again.
func TestRefusedFilesAreNotKept(t *testing.T) {
	w := attacked(t)
	poison := errors.New("detects nothing")
	_, err := w.update(updater.Options{}, func(c *updater.Config) {
		c.SelfTest = func(light, rest dbformat.LayerReader) error { return poison }
	})
	if !errors.Is(err, poison) {
		t.Fatalf("error %v", err)
	}
	if names, _ := filepath.Glob(filepath.Join(w.store.DownloadsDir(), "*")); len(names) != 0 {
		t.Errorf("kept %q", names)
	}
	w.mustBe("1 full")
	w.mustUpdate(updater.Options{})
	w.mustBe("2 full")
}

// One source whose credentials cannot be read does not keep the next one from its turn.
func TestUnreadableCredentialsAreOneSourcesFault(t *testing.T) {
	w := attacked(t)
	bad := updater.Source{URL: w.URL + "/", Bearer: updater.Secret{File: filepath.Join(t.TempDir(), "token")}}
	_, err := w.update(updater.Options{}, from(bad))
	if !isOnly(err, updater.ErrUnavailable) || !strings.Contains(err.Error(), bad.Bearer.File) || len(w.asked()) != 0 {
		t.Errorf("alone: %v, want an error that names the file, and no request", err)
	}
	other := newSite(t, filepath.Join(w.repo, "public"))
	r := w.mustUpdate(updater.Options{}, from(bad, updater.Source{URL: other.URL}))
	if r.Source != other.URL || !hasNote(r, updater.NoteSourceFailed) {
		t.Errorf("%+v", r)
	}
	states, err := w.store.SourceStates()
	if err != nil || !strings.Contains(states[w.URL].LastError, bad.Bearer.File) {
		t.Errorf("%+v, %v", states, err)
	}
}

// A transport that the host program lends cannot do what a source asks of it, and that is said.
func TestLentTransport(t *testing.T) {
	w := attacked(t)
	s := updater.Source{URL: w.URL, Proxy: "http://127.0.0.1:1"}
	lend := func(c *updater.Config) { c.Transport = http.DefaultTransport }
	if _, err := w.update(updater.Options{}, from(s), lend); !isOnly(err, updater.ErrUnavailable) || !strings.Contains(err.Error(), "Config.Transport") {
		t.Errorf("error %v", err)
	}
	var got string
	w.hostile(func(rw http.ResponseWriter, r *http.Request) bool { got = r.Header.Get("Authorization"); return false })
	w.mustUpdate(updater.Options{}, from(updater.Source{URL: w.URL, Bearer: updater.Secret{Env: "TOKEN"}}), lend, func(c *updater.Config) {
		c.Getenv = func(string) string { return "t0ken" }
	})
	if got != "Bearer t0ken" {
		t.Errorf("authorization %q", got)
	}
}

// A source that sends credentials back does not get them into errors, notes, logs or the state.
func TestSourceThatEchoesCredentials(t *testing.T) {
	const word, token = "s3cretW0rd", "bWU6czNjcmV0VzByZA=="
	for name, echo := range map[string]func(rw http.ResponseWriter, text string){
		"encoding": func(rw http.ResponseWriter, text string) { rw.Header().Set("Content-Encoding", text) },
		"redirect": func(rw http.ResponseWriter, text string) {
			rw.Header().Set("Location", "http://"+text+".localhost/")
			rw.WriteHeader(http.StatusFound)
		},
		"metadata": func(rw http.ResponseWriter, text string) {
			io.WriteString(rw, `{"signatures":[],"signed":{"_type":"timestamp","`+text+`":1}}`)
		},
	} {
		for _, text := range []string{word, token} {
			t.Run(name+" "+text, func(t *testing.T) {
				w := attacked(t)
				w.hostile(only(func(rw http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") != "Basic "+token {
						t.Errorf("authorization %q", r.Header.Get("Authorization"))
					}
					echo(rw, text)
				}, "timestamp"))
				var log strings.Builder
				src := updater.Source{URL: w.URL, Basic: &updater.Basic{User: "me", Password: updater.Secret{Value: word}}}
				r, err := w.update(updater.Options{}, from(src), func(c *updater.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
				if err == nil {
					t.Fatal("the source was believed")
				}
				said := err.Error() + strings.Join(r.Notes, "") + log.String()
				states, e := w.store.SourceStates()
				must(t, e)
				events, e := w.store.History(0)
				must(t, e)
				said += fmt.Sprintf("%+v %+v", states, events)
				if strings.Contains(said, text) {
					t.Errorf("shown: %s", said)
				}
			})
		}
	}
}

// A mirror behind what is installed does not end the cycle, also where the floors that would call it stale are lost: the next one may have
// more. If none has, what is installed is current.
func TestMirrorBehindWhatIsInstalled(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	old := filepath.Join(t.TempDir(), "public")
	must(t, os.CopyFS(old, os.DirFS(filepath.Join(w.repo, "public"))))
	behind, gone := newSite(t, old), newSite(t, t.TempDir())
	w.publish(signatures(0, 401))
	w.mustUpdate(updater.Options{Variant: light})
	for _, c := range []struct {
		then    string
		sources []string
		variant dbformat.Variant
		source  string
	}{
		{"one that fails", []string{behind.URL, gone.URL}, light, behind.URL},
		{"one that has more", []string{gone.URL, behind.URL, w.URL}, full, w.URL},
	} {
		w.remove("trust/floors.json", "trust/verified.json")
		r := w.mustUpdate(updater.Options{Variant: full}, from(updater.Sources(c.sources...)...))
		if r.Source != c.source || r.To != 2 || r.Variant != c.variant || !hasNote(r, "installed_newer") || !hasNote(r, "source_failed") {
			t.Errorf("then %s: %+v", c.then, r)
		}
		w.mustBe("2 " + string(c.variant))
	}
}

// An ending is a context whose time is over when a test says so, however slow the machine is.
type ending struct {
	context.Context
	over chan struct{}
	end  func()
}

func newEnding() *ending {
	e := &ending{Context: context.Background(), over: make(chan struct{})}
	e.end = sync.OnceFunc(func() { close(e.over) })
	return e
}

func (e *ending) Done() <-chan struct{} { return e.over }

func (e *ending) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// A mirror behind what is installed is good enough where the next one takes all the time that is left, and leaves it what was downloaded.
func TestMirrorBehindAndSlowOne(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	old := filepath.Join(t.TempDir(), "public")
	must(t, os.CopyFS(old, os.DirFS(filepath.Join(w.repo, "public"))))
	behind := newSite(t, old)
	w.publish(signatures(0, 401))
	w.mustUpdate(updater.Options{})
	w.remove("trust/floors.json", "trust/verified.json")
	ctx := newEnding()
	w.hostile(func(_ http.ResponseWriter, r *http.Request) bool { ctx.end(); <-r.Context().Done(); return true })
	u := w.updater(from(updater.Sources(behind.URL, w.URL)...))
	if r, err := u.Update(ctx, updater.Options{}); err != nil || r.Source != behind.URL || r.Result != updater.ResultCurrent || !hasNote(r, "source_failed: "+w.URL) {
		t.Errorf("%v, report %+v", err, r)
	}
	part := filepath.Join(w.store.DownloadsDir(), strings.Repeat("ab", 32)+".unverified")
	var there error // when the next source's turn begins
	w.hostile(only(func(rw http.ResponseWriter, r *http.Request) {
		_, there = os.Stat(part)
		http.ServeFile(rw, r, filepath.Join(w.repo, "public", filepath.FromSlash(r.URL.Path)))
	}, "timestamp"))
	must(t, os.WriteFile(part, []byte("the beginning"), 0o600))
	w.publish(signatures(0, 402))
	w.remove("trust/floors.json", "trust/verified.json")
	if r := w.mustUpdate(updater.Options{}, from(updater.Sources(behind.URL, w.URL)...)); r.To != 3 || there != nil {
		t.Errorf("the part of a download that the next source may have: %v; report %+v", there, r)
	}
}

// What keeps a newer release away is said, although a source that is behind was good: "current" would hide that it is signed and cannot be had.
func TestMirrorBehindAndOneThatKeepsTheNewReleaseBack(t *testing.T) {
	for _, name := range []string{"hangs", "refuses"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.publish(signatures(0, 400))
			behind := newSite(t, copyOf(t, filepath.Join(w.repo, "public")))
			w.publish(signatures(0, 401))
			w.mustUpdate(updater.Options{})
			w.publish(signatures(0, 402))
			w.remove("trust/floors.json", "trust/verified.json")
			ctx := newEnding()
			w.hostile(only(func(rw http.ResponseWriter, r *http.Request) {
				if name == "refuses" {
					rw.WriteHeader(http.StatusNotFound)
					return
				}
				ctx.end()
				<-r.Context().Done()
			}, "light.bundle", "light.delta", "rest.bundle", "rest.delta"))
			r, err := w.updater(from(updater.Sources(behind.URL, w.URL)...)).Update(ctx, updater.Options{})
			if !errors.Is(err, updater.ErrUnavailable) || r.Result != updater.ResultFailed || r.To != 2 {
				t.Errorf("%v, report %+v", err, r)
			}
		})
	}
}

// What a rollback could not return to is not kept: a release whose layers were damaged or lost, before it was replaced or since. An update lets go
// of it and says so, and the current release stays.
func TestKeptReleaseThatIsDamaged(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	w.mustUpdate(updater.Options{})
	light := func() string {
		cur, err := w.store.Current()
		must(t, err)
		return filepath.Join(w.store.Dir(), "db", "layers", cur.Light.Digest.String()+".db")
	}
	cut := func(name string) {
		must(t, os.Chmod(name, 0o600))
		must(t, os.Truncate(name, 5000))
	}
	remove := func(name string) { must(t, os.Remove(name)) }
	version := 1
	for _, c := range []struct {
		name   string
		damage func(string)
		first  bool // before it is replaced
	}{{"cut while current", cut, true}, {"cut while kept", cut, false}, {"lost while kept", remove, false}} {
		file := light()
		if c.first {
			c.damage(file)
		}
		version++
		w.publish(signatures(0, 400+10*version))
		r := w.mustUpdate(updater.Options{})
		if !c.first {
			if cur, err := w.store.Current(); err != nil || cur.Previous == nil {
				t.Fatalf("%s: %v, nothing is kept", c.name, err)
			}
			c.damage(file)
			r = w.mustUpdate(updater.Options{})
		}
		cur, err := w.store.Current()
		if err != nil || int(cur.Version) != version || cur.Previous != nil || !hasNote(r, "damaged") {
			t.Errorf("%s: %v, release %d, previous %v, notes %q", c.name, err, cur.Version, cur.Previous, r.Notes)
		}
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the file of the layer stays: %v", c.name, err)
		}
		if r := w.mustUpdate(updater.Options{}); hasNote(r, "damaged") {
			t.Errorf("%s: told again: %q", c.name, r.Notes)
		}
	}
}

// A caller who ends the cycle when all is done but the look at what is kept does not wait for it, and is told of no error; the next cycle looks again.
func TestEndedWhileKeptReleasesAreProved(t *testing.T) {
	w := newWorld(t)
	for version := range 2 {
		w.publish(signatures(0, 400+10*version))
		w.mustUpdate(updater.Options{})
	}
	cur, err := w.store.Current()
	must(t, err)
	must(t, os.Remove(filepath.Join(w.store.Dir(), "db", "layers", cur.Previous.Light.Digest.String()+".db")))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := w.updater(func(c *updater.Config) {
		c.Step = func(name string) {
			if name == "accept" {
				cancel()
			}
		}
	}).Update(ctx, updater.Options{})
	if err != nil || r.Result != updater.ResultCurrent || len(r.Notes) > 0 || ctx.Err() == nil {
		t.Errorf("ended: %s with the notes %q, %v", r.Result, r.Notes, err)
	}
	if cur, err = w.store.Current(); err != nil || cur.Previous == nil {
		t.Errorf("ended: %v, nothing is kept", err)
	}
	if r = w.mustUpdate(updater.Options{}); !hasNote(r, "damaged") {
		t.Errorf("the next cycle says nothing: %q", r.Notes)
	}
}
