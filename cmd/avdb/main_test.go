package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.org/avdb/signing"
	"example.org/avdb/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"avdb": main, "stranger": stranger})
}

// TestScripts runs testdata/*.txtar. The first word of a file's name is the
// subcommand that it is about.
func TestScripts(t *testing.T) {
	known := map[string]bool{"root": true}
	for _, c := range newRoot(&app{}).Commands() {
		known[c.Name()] = true
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata (%v): the folder has moved", err)
	}
	for _, f := range files {
		word, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".txtar"), "_")
		if !known[word] {
			t.Errorf("%s: its first word is %q, which is no command of avdb", f, word)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, ".home")
			conf := filepath.Join(home, "avdb.yaml")
			if err := os.MkdirAll(home, 0o755); err != nil {
				return err
			}
			// An empty policy, so that no file of the machine that runs the tests counts.
			if err := os.WriteFile(conf, nil, 0o644); err != nil {
				return err
			}
			e.Setenv("HOME", home)
			e.Setenv("USERPROFILE", home)
			e.Setenv("AVDB_CONFIG", conf)
			e.Setenv("AVDB_STATE", filepath.Join(e.WorkDir, "state"))
			e.Values["locks"], e.Values["held"] = locks{}, map[string]string{}
			// Under the race detector every process sleeps for a second before it ends, unless told otherwise.
			e.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"busy":         cmdBusy,
			"code":         cmdCode,
			"edit":         cmdEdit,
			"eicar":        cmdEicar,
			"fingerprint":  cmdFingerprint,
			"fingerprint1": cmdFingerprintOf,
			"glob":         cmdGlob,
			"guarded":      cmdGuarded,
			"policy":       cmdPolicy,
			"any":          cmdAny,
			"proxied":      cmdProxied,
			"old":          cmdOld,
			"secure":       cmdSecure,
			"forward":      cmdForward,
			"withbasic":    cmdWithBasic,
			"hostile":      cmdHostile,
			"address":      cmdAddress,
			"answers":      cmdAnswers,
			"holds":        cmdHolds,
			"json":         cmdJSON,
			"killed":       cmdKilled,
			"lock":         cmdLock,
			"name-network": cmdNameNetwork,
			"numbers":      cmdNumbers,
			"pack":         cmdPack,
			"restrict":     cmdRestrict,
			"serve":        cmdServe,
			"signature":    cmdSignature,
			"socket":       cmdSocket,
			"tamper":       cmdTamper,
		},
	})
}

// cmdNameNetwork has the offline keys name a file as the global network's, whatever it holds, as a later publisher may: name-network REPO FILE.
func cmdNameNetwork(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: name-network REPO FILE")
	}
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	r, err := signing.OpenRepository(ts.MkAbs(args[0]), "")
	ts.Check(err)
	ts.Check(r.PublishNetwork(b, time.Now()))
}

// cmdSocket leaves a socket that nobody listens at: socket FILE.
func cmdSocket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: socket FILE")
	}
	dir, err := os.MkdirTemp("", "s") // the path of a socket has about a hundred bytes
	ts.Check(err)
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
	ts.Check(os.Rename(filepath.Join(dir, "s"), ts.MkAbs(args[0])))
}

// cmdCode runs a command and wants its exit code: code 12 avdb update.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdAddress puts an address on loopback, at which nobody listens now, into a variable: address VARIABLE. Its port is none that systems give to connections or
// to who asks for any port, so that nobody has it by the time that the script uses it.
func cmdAddress(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: address VARIABLE")
	}
	var l net.Listener
	var err error
	for range 100 {
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))); err == nil {
			break
		}
	}
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// cmdAnswers waits until a server answers with a status, and a text somewhere in the answer: answers URL STATUS [TEXT].
func cmdAnswers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: answers URL STATUS [TEXT]")
	}
	last := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		r, err := http.Get(args[0])
		if err != nil {
			last = err.Error()
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		r.Body.Close()
		if last = strconv.Itoa(r.StatusCode); last == args[1] && (len(args) == 2 || strings.Contains(string(body), args[2])) {
			return
		}
		last += " " + string(body)
	}
	ts.Fatalf("%s: %s, want %s", args[0], last, args[1])
}

// cmdEicar writes the public test file that every scanner detects. It is put together
// here so that no file of the repository holds it.
func cmdEicar(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: eicar FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), eicar(), 0o644))
}

// cmdPack packs files by their last names into an archive of the kind that its name says, .zip, .tar or .gz: pack ARCHIVE FILE...
func cmdPack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: pack ARCHIVE FILE...")
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	var add func(name string, b []byte) (io.Writer, error)
	var end func() error
	switch filepath.Ext(args[0]) {
	case ".zip":
		z := zip.NewWriter(f)
		add, end = func(name string, _ []byte) (io.Writer, error) { return z.Create(name) }, z.Close
	case ".tar":
		z := tar.NewWriter(f)
		add = func(name string, b []byte) (io.Writer, error) {
			return z, z.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))})
		}
		end = z.Close
	case ".gz":
		z := gzip.NewWriter(f)
		add, end = func(string, []byte) (io.Writer, error) { return z, nil }, z.Close
	default:
		ts.Fatalf("no kind of archive: %s", args[0])
	}
	for _, name := range args[1:] {
		b := []byte(ts.ReadFile(name))
		w, err := add(filepath.Base(name), b)
		ts.Check(err)
		_, err = w.Write(b)
		ts.Check(err)
	}
	ts.Check(end())
}

// cmdHostile makes a file in a folder whose name would take hold of a terminal, puts its path into a
// variable, and writes a list, each path ended by NUL, with one such path that is not there:
// hostile VARIABLE FOLDER LIST.
func cmdHostile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: hostile VARIABLE FOLDER LIST")
	}
	const evil = "\x1b[31m\navdb: all is well\u009b\u202e"
	name := args[1] + "/there" + evil
	ts.Check(os.MkdirAll(ts.MkAbs(args[1]), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs(name), []byte("no format"), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(args[1]+"/gone"+evil+"\x00"), 0o644))
	ts.Setenv(args[0], name)
}

// cmdEdit replaces a text of a file that has it: edit FILE OLD NEW.
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600))
}

// cmdHolds remembers all that a folder holds, down to bits, modes and times: holds DIR; "! holds DIR" wants that anything has changed since. The second
// time without "!" it wants that nothing has.
func cmdHolds(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: holds DIR")
	}
	now := sha256.New()
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(now, name, i.Mode(), i.ModTime().UnixNano(), i.Size())
		if !i.Mode().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(name)
		now.Write(b)
		return err
	}))
	sum, known := string(now.Sum(nil)), ts.Value("held").(map[string]string)
	was, again := known[args[0]]
	known[args[0]] = sum
	if again && (was == sum) == neg {
		ts.Fatalf("%s: unchanged is %v", args[0], was == sum)
	}
}

// cmdKilled leaves the counters of restrictions as a process does that is killed: it leased more of a day than it used. killed STATE.
func cmdKilled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killed STATE")
	}
	s, err := store.Open(ts.MkAbs(args[0]), store.Options{})
	ts.Check(err)
	var record map[string]any
	ts.Check(s.UpdateKSN(&record, func(bool) error {
		all, _ := record["counters"].(map[string]any)["records"].(map[string]any)
		for _, spent := range all {
			spent.(map[string]any)["leased"] = 62
		}
		if len(all) == 0 {
			return errors.New("no restriction was counted")
		}
		return nil
	}))
}

// cmdServe serves a folder on loopback HTTP and puts its address into a variable:
// serve URL DIR. Each file is read from disk anew.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: serve VARIABLE DIR")
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[1]))))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL)
}

// cmdFingerprint puts the field "fingerprint" of a JSON file into a variable: fingerprint SUM FILE.
func cmdFingerprint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fingerprint VARIABLE FILE")
	}
	sum, err := lookJSON(ts.ReadFile(args[1]), "fingerprint")
	ts.Check(err)
	ts.Setenv(args[0], sum)
}

// locks are the update locks that a script holds.
type locks map[string]*store.Lock

// cmdLock holds the update lock of a state folder, as another update would, until "! lock".
func cmdLock(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: lock STATE")
	}
	name, held := ts.MkAbs(args[0]), ts.Value("locks").(locks)
	if neg {
		ts.Check(held[name].Unlock())
		return
	}
	s, err := store.Open(name, store.Options{})
	ts.Check(err)
	l, err := s.Lock()
	ts.Check(err)
	held[name] = l
	ts.Defer(func() { l.Unlock() })
}

// cmdGlob puts the first file that a pattern names into a variable: glob VARIABLE PATTERN.
func cmdGlob(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: glob VARIABLE PATTERN")
	}
	names, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("no file matches %s", args[1])
	}
	ts.Setenv(args[0], names[0])
}

// cmdRestrict writes a restriction set with a record that disables look-ups for a day, and one that
// limits them later: restrict FILE EPOCH; or with one record for a day that does what the JSON fields say: restrict FILE EPOCH FIELDS. Sets must not live
// longer than 30 days, so they cannot stand in scripts.
func cmdRestrict(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: restrict FILE EPOCH [FIELDS]")
	}
	day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.RFC3339) }
	set := fmt.Sprintf(`{"schema":1,"epoch":%s,"records":[
  {"id":"quiet-day","action":"disable","priority":100,"expires":%q,"reason":{"code":"ddos_protection","text":{"en":"a quiet day"}}},
  {"id":"later","action":"limit","priority":5,"not_before":%q,"expires":%q,"limit":{"sample_bp":5000}}
]}`, args[1], day(1), day(2), day(3))
	if len(args) == 3 {
		set = fmt.Sprintf(`{"schema":1,"epoch":%s,"records":[{"id":"one","priority":1,"expires":%q,"reason":{"code":"test"},%s}]}`, args[1], day(1), args[2])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(set), 0o644))
}

// cmdSignature appends the .hsb line of a file to a source: signature SOURCE NAME FILE.
func cmdSignature(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: signature SOURCE NAME FILE")
	}
	b, err := os.ReadFile(ts.MkAbs(args[2]))
	ts.Check(err)
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	defer f.Close()
	_, err = fmt.Fprintf(f, "%x:%d:%s\n", sha256.Sum256(b), len(b), args[1])
	ts.Check(err)
}

// cmdBusy starts a server that asks everybody to come back later: busy VARIABLE SECONDS.
func cmdBusy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: busy VARIABLE SECONDS")
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", args[1])
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL)
}

// cmdTamper flips a bit in the middle of each file that a pattern names, or cuts the
// files in half: tamper [-cut] GLOB. "! tamper GLOB" puts the files back.
func cmdTamper(ts *testscript.TestScript, neg bool, args []string) {
	cut := len(args) == 2 && args[0] == "-cut"
	if cut {
		args = args[1:]
	}
	if len(args) != 1 {
		ts.Fatalf("usage: tamper [-cut] GLOB")
	}
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	touched := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".whole") {
			continue
		}
		if neg {
			b, err := os.ReadFile(name + ".whole")
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			ts.Check(err)
			ts.Check(os.WriteFile(name, b, 0o644))
			ts.Check(os.Remove(name + ".whole"))
			touched++
			continue
		}
		b, err := os.ReadFile(name)
		ts.Check(err)
		if len(b) == 0 {
			continue
		}
		ts.Check(os.WriteFile(name+".whole", b, 0o644))
		if cut {
			b = b[:len(b)/2]
		} else {
			b[len(b)/2] ^= 1
		}
		ts.Check(os.Chmod(name, 0o644))
		ts.Check(os.WriteFile(name, b, 0o644))
		touched++
	}
	if touched == 0 {
		ts.Fatalf("no file with content matches %s", args[0])
	}
}

// cmdJSON looks into the JSON that the last command printed: json layers.light.bytes 1234.
// A path is made of field names and list indexes; len is the length of a list. In JSON lines
// the first step is the index of the line. "!" wants the field to be absent or different.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	got, err := lookJSON(ts.ReadFile("stdout"), args[0])
	if neg {
		if err == nil && got == args[1] {
			ts.Fatalf("%s is %s", args[0], got)
		}
		return
	}
	ts.Check(err)
	if got != args[1] {
		ts.Fatalf("%s is %s, want %s", args[0], got, args[1])
	}
}

func lookJSON(text, path string) (string, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var docs []any
	for dec.More() {
		var v any
		if err := dec.Decode(&v); err != nil {
			return "", fmt.Errorf("no JSON: %w", err)
		}
		docs = append(docs, v)
	}
	var v any = docs
	if len(docs) == 1 {
		v = docs[0]
	}
	for step := range strings.SplitSeq(path, ".") {
		switch t := v.(type) {
		case map[string]any:
			w, ok := t[step]
			if !ok {
				return "", fmt.Errorf("no field %q on the way of %s", step, path)
			}
			v = w
		case []any:
			if step == "len" {
				v = len(t)
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(t) {
				return "", fmt.Errorf("no item %s in a list of %d on the way of %s", step, len(t), path)
			}
			v = t[i]
		default:
			return "", fmt.Errorf("nothing below %q on the way of %s", step, path)
		}
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// cmdNumbers writes a list of N made-up SHA-256 signatures, always the same for the same
// seed: numbers FILE N [SEED].
func cmdNumbers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: numbers FILE N [SEED]")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	seed := "numbers"
	if len(args) == 3 {
		seed = args[2]
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), madeUp(seed, n), 0o644))
}
