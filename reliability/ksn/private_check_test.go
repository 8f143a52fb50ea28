//go:build check

package ksn_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/ksn/protocol"
)

// A program is the one that ships, run on a state folder of its own.
type program struct {
	t     *testing.T
	name  string
	state string
}

// build makes the program.
func build(t *testing.T) *program {
	t.Helper()
	p := &program{t, filepath.Join(t.TempDir(), "avdb"), filepath.Join(t.TempDir(), "state")}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.name, "example.org/avdb/cmd/avdb").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return p
}

// run runs the program on the state, and gives all that it says. It must end with one of the codes; with no codes, by itself.
func (p *program) run(codes []int, args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, p.name, append([]string{"--state", p.state}, args...)...)
	c.Env = []string{"HOME=" + filepath.Dir(p.state), "PATH=" + os.Getenv("PATH")}
	out, err := c.CombinedOutput()
	code := c.ProcessState.ExitCode()
	if code < 0 || strings.Contains(string(out), "goroutine ") || len(codes) > 0 && !slices.Contains(codes, code) {
		p.t.Fatalf("%s: %v, want exit codes %v\n%s", strings.Join(args, " "), err, codes, out)
	}
	return string(out)
}

// With a private network installed nothing that the shipped program does ever reaches the global one, which an update has brought: not when the private server is gone,
// not when the private provider file is damaged, replaced or cannot be read. Once the private network is left, the same program does connect to it.
func TestPrivateNeverReachesGlobal(t *testing.T) {
	av := build(t)
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	contents := [][]byte{[]byte("private one"), []byte("private two"), []byte("clean")}
	p.Publish(map[string]string{"a.hashes": fmt.Sprintf("%x,Bad.0\n%x,Bad.1\n", sumOf(dbformat.SHA256, contents[0]), sumOf(dbformat.MD5, contents[1]))})
	global, dead := newFake(t), newFake(t)
	must(t, p.Repository().PublishNetwork(newNetwork(t, protocol.Global, global.url()).Provider.Bytes, p.Now().Add(time.Second)))
	s := newService(t, p, fast())
	file := filepath.Join(t.TempDir(), "provider.json")
	must(t, os.WriteFile(file, s.net.Provider.Bytes, 0o600))
	dir := write(t, contents)

	av.run([]int{0}, "init", "--root", p.RootFile(), "--source", p.URL())
	av.run([]int{0}, "update")
	if _, err := os.Stat(filepath.Join(av.state, "ksn", "global.json")); err != nil {
		t.Fatal("the update brought no global network: ", err)
	}
	av.run([]int{0}, "ksn", "provider", "install", file, "--fingerprint", s.net.Provider.Fingerprint)
	av.run([]int{0}, "ksn", "statement", "accept")
	av.run([]int{0}, "ksn", "enable", "--mode", "extended")
	av.run([]int{0}, "cloud", "on")
	av.run([]int{0}, "update")
	if out := av.run([]int{1}, "scan", dir); strings.Count(out, "Bad") != 2 || s.requests.Load() == 0 {
		t.Fatalf("the private server was asked %d times\n%s", s.requests.Load(), out)
	}

	private := filepath.Join(av.state, "ksn", "private.json")
	good, err := os.ReadFile(private)
	must(t, err)
	runs := 0
	forget := func() { must(t, os.RemoveAll(filepath.Join(av.state, "cache.db"))) } // or what is cached would be asked of nobody
	everything := func() {
		forget()
		for _, args := range [][]string{
			{"scan", dir}, {"ksn", "check", filepath.Join(dir, "000000")}, {"ksn", "check", "https://www.example.org/a"}, {"ksn", "check", "--product", "Tool"},
			{"ksn", "check-connection"}, {"ksn", "recheck"}, {"ksn", "stats", "--send"}, {"ksn", "status"}, {"status"}, {"update"},
		} {
			av.run(nil, args...)
			runs++
		}
	}
	everything() // with a server that answers
	s.stop()
	everything()
	av.run([]int{0}, "config", "set", "ksn.use_proxy", "true")
	av.run([]int{0}, "config", "set", "ksn.proxies", dead.Addr().String())
	av.run([]int{0}, "config", "set", "ksn.use_servers_if_proxy_unavailable", "true")
	everything()
	if dead.count() == 0 {
		t.Error("the proxy was not tried: nothing was asked")
	}
	globalFile, err := os.ReadFile(filepath.Join(av.state, "ksn", "global.json"))
	must(t, err)
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)/2] ^= 1
	for what, do := range map[string]func() error{
		"empty":                func() error { return os.WriteFile(private, nil, 0o600) },
		"cut":                  func() error { return os.WriteFile(private, good[:len(good)/2], 0o600) },
		"a bit flipped":        func() error { return os.WriteFile(private, flipped, 0o600) },
		"no JSON":              func() error { return os.WriteFile(private, []byte("garbage"), 0o600) },
		"the global file":      func() error { return os.WriteFile(private, globalFile, 0o600) },
		"a folder":             func() error { return os.Mkdir(private, 0o700) },
		"a link to nothing":    func() error { return os.Symlink("nothing", private) },
		"a link to the global": func() error { return os.Symlink("global.json", private) },
	} {
		// The update of the round before left the light database, as no network could be asked.
		must(t, os.RemoveAll(private))
		must(t, os.WriteFile(private, good, 0o600))
		av.run([]int{0}, "update")
		forget()
		if out := av.run([]int{1}, "scan", dir); strings.Contains(out, "Bad") {
			t.Fatalf("with the private server gone a scan tells more than suspicions\n%s", out)
		}
		must(t, os.Remove(private))
		must(t, do())
		everything()
		if n := global.count(); n != 0 {
			t.Fatalf("private.json is %s: %d connections to the global network", what, n)
		}
	}
	if n := global.count(); n != 0 {
		t.Errorf("%d connections to the global network", n)
	}
	t.Logf("%d runs of the program with the private server up, down, and the private file spoilt in 8 ways: %d connections to the global network", runs, global.count())

	must(t, os.RemoveAll(private))
	must(t, os.WriteFile(private, good, 0o600))
	av.run([]int{0}, "config", "set", "ksn.use_proxy", "false")
	av.run([]int{0}, "ksn", "provider", "remove")
	av.run([]int{0}, "update")
	forget()
	av.run([]int{1}, "scan", dir)
	if global.count() == 0 {
		t.Error("with the private network left, the global one was not asked either: the listener shows nothing")
	}
}
