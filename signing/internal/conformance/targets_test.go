package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"example.org/avdb/signing"
)

// The search for a target goes through delegations in their order, depth first, each role once, and asks for no role that is not on its way.
func TestDelegationGraphs(t *testing.T) {
	type edge struct {
		from, to    string
		terminating bool
		path        string
	}
	for _, c := range []struct {
		name  string
		edges []edge
		want  string
	}{
		{"one", []edge{{"targets", "a", false, "*"}}, "a"},
		{"in order", []edge{{"targets", "b", false, "*"}, {"targets", "a", false, "*"}}, "b a"},
		{"depth first", []edge{{"targets", "a", false, "*"}, {"targets", "b", false, "*"}, {"a", "c", false, "*"}, {"c", "d", false, "*"}, {"a", "e", false, "*"}}, "a c d e b"},
		{"terminating", []edge{{"targets", "a", true, "*"}, {"targets", "b", false, "*"}, {"a", "c", false, "*"}}, "a c"},
		{"terminating below", []edge{{"targets", "a", false, "*"}, {"targets", "b", false, "*"}, {"a", "c", true, "*"}, {"a", "d", false, "*"}, {"c", "e", false, "*"}}, "a c e"},
		{"terminating elsewhere", []edge{{"targets", "a", true, "*.txt"}, {"targets", "b", false, "*"}}, "b"},
		{"other paths", []edge{{"targets", "a", false, "*.txt"}, {"targets", "b", false, "nothing"}, {"targets", "c", false, "*/*"}, {"a", "d", false, "*"}}, "b"},
		{"cycle", []edge{{"targets", "a", false, "*"}, {"a", "b", false, "*"}, {"b", "a", false, "*"}, {"b", "c", false, "*"}}, "a b c"},
		{"itself", []edge{{"targets", "a", false, "*"}, {"a", "a", false, "*"}}, "a"},
		{"diamond", []edge{{"targets", "a", false, "*"}, {"targets", "b", false, "*"}, {"a", "c", false, "*"}, {"b", "c", false, "*"}}, "a c b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRepo(t)
			var roles []string
			for _, e := range c.edges {
				r.newRole(e.from)
				if r.targets[e.to] == nil {
					roles = append(roles, e.to)
				}
				r.delegate(e.from, e.to, e.terminating, e.path)
			}
			r.publish(append(roles, targets, snapshot, timestamp)...)
			d := newDevice(r)
			if d.download("nothing") {
				t.Error("found nothing")
			}
			want := "2.root.json timestamp.json 2.snapshot.json 2.targets.json"
			for role := range strings.FieldsSeq(c.want) {
				want += " 1." + role + ".json"
			}
			if got := r.requests(); got != want {
				t.Errorf("asked for %s, want %s", got, want)
			}
		})
	}
}

// A role may name what its delegation's patterns cover and nothing else; no star crosses a slash and no letter changes its case.
func TestPatterns(t *testing.T) {
	r := newRepo(t)
	r.delegate(targets, "docs", false, "*.md", "v?.txt")
	r.delegate(targets, "files", false, "files/*/*")
	r.delegate("files", "x", false, "files/x/*")
	paths := map[string]string{"top": targets, "README.md": "docs", "v1.txt": "docs", "v10.txt": "docs", "sub/README.md": "docs", "files/x/1": "x", "files/y/1": "x"}
	for p, role := range paths {
		r.addTarget(role, p, "content of "+p)
	}
	r.publish("docs", "files", "x", targets, snapshot, timestamp)
	for p, found := range map[string]bool{"top": true, "README.md": true, "readme.md": false, "v1.txt": true, "v10.txt": false, "sub/README.md": false, "files/x/1": true, "files/y/1": false, "files/x": false} {
		d := newDevice(r)
		if got := d.download(p); got != found || found && d.has() != "content of "+p {
			t.Errorf("%s: found is %t, has %q: %s", p, got, d.has(), d.said)
		}
	}
}

// Guard: one exchange for each look-up. A role that was good under one delegator is not good under another one that names other keys.
func TestRoleUnderTwoDelegators(t *testing.T) {
	r := newRepo(t)
	r.delegate(targets, "a", false, "a/*")
	r.delegate(targets, "b", false, "b/*")
	own := r.delegate("a", "shared", false, "a/*")
	r.delegate("b", "shared", false, "b/*")
	r.signers["shared"] = []signer{own} // good for a only
	r.addTarget("shared", "a/x", "good")
	r.addTarget("shared", "b/x", "bad")
	r.publish("shared", "a", "b", targets, snapshot, timestamp)
	d := newDevice(r)
	if d.download("a/x", "b/x") || d.has() != "good" {
		t.Errorf("has %q", d.has())
	}
}

// A delegated role that the snapshot does not name is not asked for.
func TestRoleNotInSnapshot(t *testing.T) {
	r := newRepo(t)
	r.delegate(targets, "part", false, "x/*")
	r.publish("part", targets)
	delete(r.snap.Signed.Meta, "part.json")
	r.publish(snapshot, timestamp)
	d := newDevice(r)
	d.accept()
	r.requests()
	if d.download("x/y") || d.version("part") != 0 {
		t.Error("trusted")
	}
	if got := r.requests(); got != "2.root.json timestamp.json" {
		t.Errorf("asked for %s", got)
	}
}

// Succinct roles lead to the one bin of a target. Hash prefixes as TUF has them lead nowhere with go-tuf v2.4.2, which compares them with base64: nothing
// is found, and nothing is believed that should not be.
func TestBins(t *testing.T) {
	r := newRepo(t)
	d := r.delegations(targets)
	s := newSigner(t, r.kind)
	d.Keys[s.id] = s.key
	d.SuccinctRoles = &metadata.SuccinctRoles{KeyIDs: []string{s.id}, Threshold: 1, BitLength: 3, NamePrefix: "bin"}
	var bins []string
	for i := range 8 {
		bin := fmt.Sprintf("bin-%x", i)
		r.newRole(bin)
		r.signers[bin] = []signer{s}
		bins = append(bins, bin)
	}
	for i := range 20 {
		path := fmt.Sprintf("t%d", i)
		r.addTarget(d.GetRolesForTarget(path)[0].Name, path, "content "+path)
	}
	r.publish(append(bins, targets, snapshot, timestamp)...)
	for i := range 20 {
		dev, path := newDevice(r), fmt.Sprintf("t%d", i)
		if !dev.download(path) || dev.has() != "content "+path {
			t.Errorf("%s: %s", path, dev.said)
		}
	}

	r = newRepo(t)
	r.delegate(targets, "prefixed", false)
	r.delegations(targets).Roles[0].Paths, r.delegations(targets).Roles[0].PathHashPrefixes = nil, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"}
	r.addTarget("prefixed", "t", "x")
	r.publish("prefixed", targets, snapshot, timestamp)
	dev := newDevice(r)
	dev.accept()
	if dev.download("never there") {
		t.Error("found what nobody names")
	}
}

// Only what has the signed length and every signed hash is stored; what is stored already is not fetched again.
func TestTargetContent(t *testing.T) {
	for _, algorithms := range [][]string{{"sha256"}, {"sha512"}, {"sha256", "sha512"}} {
		r := newRepo(t)
		d := newDevice(r)
		old := ""
		for i := range 4 {
			content := fmt.Sprintf("content %d", i)
			r.addTarget(targets, "dir/file", content, algorithms...)
			r.publish(targets, snapshot, timestamp)
			for name := range r.files {
				if i == 2 && strings.HasPrefix(name, "targets/") { // the third one is replaced on the mirror: longer, shorter, other
					r.put(name, []byte([]string{"content 9", "cont", "content 2 and more"}[i%3]))
				}
			}
			got := d.download("dir/file")
			if got != (i != 2) || d.has() != map[bool]string{true: content, false: old}[got] {
				t.Errorf("%s %d: stored is %t, has %q: %s", algorithms, i, got, d.has(), d.said)
			}
			if got {
				old = content
			}
		}
		n := len(r.asked)
		if !d.download("dir/file") || len(r.asked) != n {
			t.Errorf("%s: fetched again", algorithms)
		}
	}
}

// A hash that cannot be computed proves nothing, alone or beside one that can.
func TestUnknownHash(t *testing.T) {
	for _, alone := range []bool{true, false} {
		r := newRepo(t)
		r.addTarget(targets, "file", "content")
		hashes := r.targets[targets].Signed.Targets["file"].Hashes
		hashes["md6"] = hashes["sha256"]
		if alone {
			delete(hashes, "sha256")
		}
		r.publish(targets, snapshot, timestamp)
		if d := newDevice(r); d.download("file") || d.has() != "" {
			t.Errorf("stored %q", d.has())
		}
	}
}

// Names of roles and targets reach neither another place on disk nor another address on the server.
func TestUnusualNames(t *testing.T) {
	for _, name := range []string{"?", "#x", "/etc", "../role", "../../../../../../../../../../role", "a/../b", ".", "..", "x y", "ü", "%2e%2e", "a%2fb", `C:\x`, "CON", "..\\x", strings.Repeat("n", 200)} {
		t.Run(name[:min(len(name), 20)], func(t *testing.T) {
			r := newRepo(t)
			r.delegate(targets, name, false, "*")
			r.publish(name, targets, snapshot, timestamp)
			d := newDevice(r)
			if d.download("nothing") {
				t.Error("found nothing")
			}
			if want := "1." + url.PathEscape(name) + ".json"; !strings.HasSuffix(r.requests(), " "+want) {
				t.Errorf("did not ask for %s: %s", want, d.said)
			}
			if d.version(name) != 1 {
				t.Error("the role is not kept")
			}
			d.onlyOurs(5)

			r = newRepo(t)
			r.targets[targets].Signed.Targets[name], _ = metadata.TargetFile().FromBytes(name, []byte("content"), "sha256")
			r.publish(targets, snapshot, timestamp)
			hashed := hashedName(name, r.targets[targets].Signed.Targets[name].Hashes["sha256"].String())
			var elements []string
			for e := range strings.SplitSeq(hashed, "/") {
				elements = append(elements, url.PathEscape(e))
			}
			r.put("targets/"+strings.Join(elements, "/"), []byte("content"))
			d = newDevice(r)
			if !d.download(name) || d.has() != "content" {
				t.Errorf("has %q: %s", d.has(), d.said)
			}
			d.onlyOurs(4)
		})
	}
}

// onlyOurs demands that the device's folder holds n trusted documents, downloads, and nothing else.
func (d *device) onlyOurs(n int) {
	d.t.Helper()
	err := filepath.WalkDir(d.dir, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		in, _ := filepath.Rel(d.dir, p)
		switch filepath.Dir(in) {
		case "metadata":
			n--
		case "targets":
			if len(e.Name()) != 64 {
				d.t.Errorf("%s is in the way", in)
			}
		default:
			if in != "initial.json" {
				d.t.Errorf("%s is in the way", in)
			}
		}
		return nil
	})
	if err != nil || n != 0 {
		d.t.Errorf("%d documents too few: %v", n, err)
	}
}

// A repository on disk, as avdb publishes it: any TUF client can read it, after its keys were rotated too.
func TestStaticRepository(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	mine, err := signing.CreateRepository(dir, signing.RepositoryOptions{Threshold: 2, Keys: 3, Now: day0})
	must(t, err)
	first, err := os.ReadFile(filepath.Join(mine.PublicDir(), "metadata", "1.root.json"))
	must(t, err)
	light, err := mine.AddTargetBytes("light/x.bundle", []byte("a bundle"))
	must(t, err)
	must(t, mine.Commit(map[string][]signing.Target{signing.RoleDatabase: {light}}, day0))
	r := newRepo(t)
	serve := func() {
		r.files = map[string][]byte{}
		must(t, filepath.WalkDir(mine.PublicDir(), func(p string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				var b []byte
				b, err = os.ReadFile(p)
				in, _ := filepath.Rel(mine.PublicDir(), p)
				r.put(filepath.ToSlash(in), b)
			}
			return err
		}))
	}
	serve()
	d := bareDevice(r)
	if !d.init(first) || !d.download("light/x.bundle") || d.has() != "a bundle" {
		t.Fatal(d.said)
	}
	for _, role := range []string{signing.RoleRoot, signing.RoleTargets, signing.RoleDatabase, signing.RoleSnapshot, signing.RoleTimestamp} {
		must(t, mine.Rotate(role, day0, nil))
	}
	rest, err := mine.AddTargetBytes("rest/y.bundle", []byte("more"))
	must(t, err)
	must(t, mine.Commit(map[string][]signing.Target{signing.RoleDatabase: {light, rest}}, day0))
	serve()
	if !d.download("rest/y.bundle", "light/x.bundle") || d.has() != "a bundle|more" {
		t.Fatal(d.said)
	}
}

// The command line: what is missing or too much is told, and nothing is asked for.
func TestCommandLine(t *testing.T) {
	for _, args := range []string{"", "refresh", "--metadata-dir x", "--metadata-dir x init", "--metadata-dir x refresh", "--metadata-dir x --metadata-url y refresh z",
		"--metadata-dir x --metadata-url y download", "--metadata-dir x --metadata-url y download --target-name n", "--now yesterday --metadata-dir x init y", "--metadata-dir x init /nowhere/root.json"} {
		var log strings.Builder
		if err := run(context.Background(), strings.Fields(args), &log); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

// Guard: the depth of the stage. go-tuf joins a role's name to its folder as it is: no name that is taken leads to a file that was not checked.
func TestNoNameLeavesTheStage(t *testing.T) {
	c := &client{dir: t.TempDir()}
	folder, remove, err := c.stage()
	must(t, err)
	defer remove()
	own, err := os.ReadDir(filepath.Join(c.dir, "tmp"))
	must(t, err)
	top := filepath.Join(c.dir, "tmp", own[0].Name()) + string(filepath.Separator)
	n := 0
	for name := ".."; goodName(name); name = "../" + name {
		n++
		if got := filepath.Join(folder, name); !strings.HasPrefix(got, top) {
			t.Fatalf("%s leads to %s", name, got)
		}
	}
	if n < 10 {
		t.Errorf("%d names", n)
	}
}
