package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// demoSignatures is how many made-up signatures the first release has.
const demoSignatures = 20000

// demoStory is the life of a database.
func demoStory() []demoStep {
	return []demoStep{
		{"a publisher makes its keys", (*demo).makeKeys},
		{"it publishes release 1", (*demo).firstRelease},
		{"an endpoint refuses a wrong root", (*demo).wrongRoot},
		{"it is told the right one", (*demo).initialise},
		{"it cannot scan yet, and says so", (*demo).noDatabase},
		{"the first update brings both layers", (*demo).firstUpdate},
		{"a scan finds the test file", (*demo).scanFull},
		{"nothing new costs next to nothing", (*demo).nothingNew},
		{"one more signature is a delta", (*demo).delta},
		{"release 3 is published, then attacked:", (*demo).thirdRelease},
		{"  a flipped byte in each of its files", (*demo).flippedBytes},
		{"  files cut short", (*demo).cutFiles},
		{"  the whole tree as it was before", (*demo).oldTree},
		{"  another publisher at the same address", (*demo).otherPublisher},
		{"the honest mirror is back", (*demo).healed},
		{"KSN is agreed to, cloud mode switched on", (*demo).cloudOn},
		{"the next update drops rest: 0 bytes", (*demo).toLight},
		{"light alone suspects the test file", (*demo).scanLight},
		{"a private KSN server settles it", (*demo).askServer},
		{"in light, one more is a delta of light", (*demo).lightDelta},
		{"a restriction reaches the endpoint", (*demo).restriction},
		{"cloud mode off: only rest is fetched", (*demo).toFull},
		{"a roll-back needs no network", (*demo).rollback},
		{"the hold ends; all is verified", (*demo).theEnd},
	}
}

// What the demo reads of the reports that the commands print.
type (
	demoPublished struct {
		Version   uint64 `json:"version"`
		Published bool   `json:"published"`
		Accepted  int    `json:"accepted"`
		Rejected  int    `json:"rejected"`
		Rejects   []struct {
			File   string `json:"file"`
			Line   int    `json:"line"`
			Reason string `json:"reason"`
		} `json:"rejects"`
	}
	demoUpdate struct {
		Result   string           `json:"result"`
		From     uint64           `json:"from"`
		To       uint64           `json:"to"`
		Variant  string           `json:"variant"`
		Steps    []demoUpdateStep `json:"steps"`
		Bytes    int64            `json:"bytes"`
		Requests int              `json:"requests"`
		Error    string           `json:"error"`
	}
	demoUpdateStep struct {
		Layer string `json:"layer"`
		How   string `json:"how"`
		Bytes int64  `json:"bytes"`
	}
	demoStatus struct {
		Version  uint64         `json:"version"`
		Variant  string         `json:"variant"`
		Wanted   string         `json:"wanted_variant"`
		Fresh    string         `json:"freshness"`
		Records  map[string]int `json:"records"`
		Previous uint64         `json:"previous"`
		Device   struct {
			Status string `json:"status"`
		} `json:"device"`
		KSN demoKSN `json:"ksn"`
	}
	demoKSN struct {
		State   string `json:"state"`
		Network string `json:"network"`
		Text    string `json:"text"`
	}
	demoScan struct {
		Files []demoFile `json:"files"`
	}
	demoFile struct {
		Path    string `json:"path"`
		Verdict string `json:"verdict"`
		Name    string `json:"name"`
	}
)

func (d *demo) makeKeys() (string, error) {
	var r struct {
		Fingerprint string `json:"fingerprint"`
	}
	if err := d.avdb(&r, exits(exitOK), "repo", "init", d.path("repo")); err != nil {
		return "", err
	}
	if len(r.Fingerprint) != 64 {
		return "", fmt.Errorf("fingerprint is %q, want 64 hex digits", r.Fingerprint)
	}
	return "root " + r.Fingerprint[:16] + "…, offline and online keys apart", nil
}

// firstRelease publishes made-up signatures, one for the test file, and one line that is wrong.
func (d *demo) firstRelease() (string, error) {
	if err := os.Mkdir(d.path("sources"), 0o755); err != nil {
		return "", err
	}
	test := eicar()
	list := fmt.Appendf(madeUp("demo", demoSignatures), "%x:%d:Eicar.Test\nno signature at all\n", sha256.Sum256(test), len(test))
	if err := os.WriteFile(d.path("sources", "main.hsb"), list, 0o644); err != nil {
		return "", err
	}
	r, err := d.publish()
	if err != nil {
		return "", err
	}
	if r.Version != 1 || r.Accepted != demoSignatures+1 || len(r.Rejects) != 1 || r.Rejects[0].Line != demoSignatures+2 {
		return "", fmt.Errorf("version %d with %d accepted and rejects %+v; want version 1 with %d accepted and line %d rejected",
			r.Version, r.Accepted, r.Rejects, demoSignatures+1, demoSignatures+2)
	}
	d.sigs = r.Accepted
	return fmt.Sprintf("%s accepted; rejected: line %d, %s", plural(r.Accepted, "signature"), r.Rejects[0].Line, r.Rejects[0].Reason), nil
}

// publish makes a release of the folder of sources.
func (d *demo) publish(flags ...string) (demoPublished, error) {
	var r demoPublished
	err := d.avdb(&r, exits(exitOK), append([]string{"repo", "publish", d.path("repo"), d.path("sources")}, flags...)...)
	if err == nil && !r.Published {
		err = fmt.Errorf("release %d was not published", r.Version)
	}
	return r, err
}

// add puts signatures into a source of their own and publishes.
func (d *demo) add(seed string, n int) (demoPublished, error) {
	if err := os.WriteFile(d.path("sources", seed+".hsb"), madeUp(seed, n), 0o644); err != nil {
		return demoPublished{}, err
	}
	d.sigs += n
	return d.publish()
}

func (d *demo) wrongRoot() (string, error) {
	err := d.avdb(nil, exits(exitUntrusted), "init", "--source", d.web.url, "--root-sha256", strings.Repeat("5a", 32))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(d.path("device", "trust")); err == nil {
		return "", fmt.Errorf("a refused root was stored")
	}
	return "its SHA-256 is not the one that the user was given: exit 12", nil
}

func (d *demo) initialise() (string, error) {
	if err := d.avdb(nil, exits(exitOK), "init", "--source", d.web.url, "--root", d.path("repo", "public", "metadata", "1.root.json")); err != nil {
		return "", err
	}
	return d.web.url, nil
}

func (d *demo) noDatabase() (string, error) {
	if err := d.avdb(nil, exits(exitNoDatabase), "scan", d.path("sources")); err != nil {
		return "", err
	}
	var st demoStatus
	if err := d.avdb(&st, exits(exitNoDatabase), "status"); err != nil {
		return "", err
	}
	if st.Fresh != "none" || st.Device.Status != "critical" {
		return "", fmt.Errorf("status says %q and %q, want none and critical", st.Fresh, st.Device.Status)
	}
	return "exit 10, device status critical", nil
}

// update brings the endpoint up to date and looks at what the report says against
// what the server saw.
func (d *demo) update() (demoUpdate, error) {
	var u demoUpdate
	d.web.forget()
	if err := d.avdb(&u, exits(exitOK), "update"); err != nil {
		return u, err
	}
	var sent int64
	for _, h := range d.web.log("") {
		sent += h.bytes
	}
	if u.Bytes > sent || u.Requests != len(d.web.log("")) {
		return u, fmt.Errorf("the report counts %d bytes in %d requests, the server sent %d in %d", u.Bytes, u.Requests, sent, len(d.web.log("")))
	}
	if u.To != 0 {
		d.version = u.To
	}
	return u, nil
}

func (d *demo) firstUpdate() (string, error) {
	u, err := d.update()
	if err != nil {
		return "", err
	}
	if u.Result != "updated" || u.To != 1 || u.Variant != "full" || hows(u) != "light bundle, rest bundle" {
		return "", fmt.Errorf("%s to %d as %s by %s; want updated to 1 as full by both bundles", u.Result, u.To, u.Variant, hows(u))
	}
	d.bundles = u.Bytes
	return fmt.Sprintf("%s, every byte follows from the root; %s", hows(u), plural(u.Requests, "request")), nil
}

// hows names the layers of a report that something was fetched or changed for.
func hows(u demoUpdate) string {
	var list []string
	for _, s := range u.Steps {
		if s.How != "none" {
			list = append(list, s.Layer+" "+s.How)
		}
	}
	return strings.Join(list, ", ")
}

// scan makes the two files, scans them, and removes them again.
func (d *demo) scan(verdict string) (name string, err error) {
	dir := d.path("files")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(d.path("files", "test.com"), eicar(), 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile(d.path("files", "letter.txt"), []byte("Dear reader, nothing here is harmful.\n"), 0o644); err != nil {
		return "", err
	}
	var r demoScan
	if err := d.avdb(&r, exits(exitFinding), "scan", dir); err != nil {
		return "", err
	}
	got := map[string]string{}
	for _, f := range r.Files {
		got[f.Path[len(dir)+1:]] = f.Verdict
		if f.Verdict == verdict {
			name = f.Name
		}
	}
	if len(got) != 2 || got["test.com"] != verdict || got["letter.txt"] != "clean" {
		return "", fmt.Errorf("verdicts are %v, want test.com %s and letter.txt clean", got, verdict)
	}
	return name, nil
}

func (d *demo) scanFull() (string, error) {
	name, err := d.scan("malicious")
	if err == nil && name != "Eicar.Test" {
		err = fmt.Errorf("the test file is named %q, want Eicar.Test", name)
	}
	return "test.com: " + name + ", letter.txt: clean", err
}

func (d *demo) nothingNew() (string, error) {
	u, err := d.update()
	if err != nil {
		return "", err
	}
	if u.Result != "current" || len(d.web.layers()) != 0 {
		return "", fmt.Errorf("%s with %d layer files, want current with none", u.Result, len(d.web.layers()))
	}
	return plural(u.Requests, "request"), nil
}

func (d *demo) delta() (string, error) {
	if _, err := d.add("second", 1); err != nil {
		return "", err
	}
	u, err := d.update()
	if err != nil {
		return "", err
	}
	if u.Result != "updated" || hows(u) != "light delta, rest delta" {
		return "", fmt.Errorf("%s by %s, want updated by two deltas", u.Result, hows(u))
	}
	var n int64
	for _, s := range u.Steps {
		n += s.Bytes
	}
	if n >= 500 {
		return "", fmt.Errorf("the deltas of one signature have %d bytes, want less than 500", n)
	}
	return fmt.Sprintf("%d bytes of delta, the rest is metadata; the bundles were %s", n, bytesText(d.bundles)), nil
}

// unharmed checks that an endpoint that met an attack has the database that it had, and
// still detects.
func (d *demo) unharmed() error {
	var st demoStatus
	if err := d.avdb(&st, exits(exitOK), "status"); err != nil {
		return err
	}
	if st.Version != d.version || st.Variant != "full" {
		return fmt.Errorf("release %d as %s is installed, want %d as full", st.Version, st.Variant, d.version)
	}
	_, err := d.scan("malicious")
	return err
}

func (d *demo) healed() (string, error) {
	u, err := d.update()
	if err != nil {
		return "", err
	}
	if u.Result != "updated" || u.To != 3 {
		return "", fmt.Errorf("%s to %d, want updated to 3", u.Result, u.To)
	}
	return fmt.Sprintf("release %d by %s", u.To, hows(u)), nil
}

func (d *demo) cloudOn() (string, error) {
	for _, args := range [][]string{{"ksn", "statement", "accept"}, {"ksn", "enable"}, {"cloud", "on"}} {
		if err := d.avdb(nil, exits(exitOK), args...); err != nil {
			return "", err
		}
	}
	var st demoStatus
	if err := d.avdb(&st, exits(exitOK), "status"); err != nil {
		return "", err
	}
	if st.Variant != "full" || st.Wanted != "light" {
		return "", fmt.Errorf("variant %s, wanted %s; want full and light", st.Variant, st.Wanted)
	}
	if n := len(d.web.log("")); n != 0 {
		return "", fmt.Errorf("switching made %d requests, want none", n)
	}
	return "no request was made; light is wanted, full is in place", nil
}

func (d *demo) toLight() (string, error) {
	u, err := d.update()
	if err != nil {
		return "", err
	}
	if u.Result != "updated" || u.Variant != "light" || len(d.web.layers()) != 0 {
		return "", fmt.Errorf("%s as %s with %d layer files, want updated as light with none", u.Result, u.Variant, len(d.web.layers()))
	}
	return "light is a part of full: no layer was fetched", nil
}

func (d *demo) scanLight() (string, error) {
	name, err := d.scan("suspected")
	return "test.com: " + name, err
}

func (d *demo) lightDelta() (string, error) {
	if _, err := d.add("fourth", 1); err != nil {
		return "", err
	}
	u, err := d.update()
	if err != nil {
		return "", err
	}
	if u.Variant != "light" || hows(u) != "light delta" || len(d.web.log("/targets/rest/")) != 0 {
		return "", fmt.Errorf("%s by %s, want light by a delta of light alone", u.Variant, hows(u))
	}
	return fmt.Sprintf("%d bytes of delta", u.Steps[0].Bytes), nil
}

// restriction publishes a set that switches look-ups off for a day.
func (d *demo) restriction() (string, error) {
	set, err := json.Marshal(map[string]any{
		"schema": 1, "epoch": 1,
		"records": []map[string]any{{
			"id": "demo-quiet-day", "action": "disable", "priority": 100,
			"expires": time.Now().UTC().Add(24 * time.Hour).Format(time.RFC3339),
			"reason":  map[string]any{"code": "demo", "text": map[string]string{"en": "a quiet day"}},
		}},
	})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(d.path("restrictions.json"), set, 0o644); err != nil {
		return "", err
	}
	if _, err := d.publish("--restrictions", d.path("restrictions.json")); err != nil {
		return "", err
	}
	u, err := d.update()
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(u.Steps, func(s demoUpdateStep) bool { return s.Layer == "restrictions" && s.How == "set" })
	if i < 0 || len(d.web.layers()) != 0 {
		return "", fmt.Errorf("steps %s with %d layer files, want the set alone", hows(u), len(d.web.layers()))
	}
	var k demoKSN
	if err := d.avdb(&k, exits(exitOK), "ksn", "status"); err != nil {
		return "", err
	}
	if k.State != "restricted" || k.Text != "Enabled with restrictions" {
		return "", fmt.Errorf("KSN is %q, %q; want restricted", k.State, k.Text)
	}
	return fmt.Sprintf("%d bytes; KSN: %s", u.Steps[i].Bytes, k.Text), nil
}

func (d *demo) toFull() (string, error) {
	if err := d.avdb(nil, exits(exitOK), "cloud", "off"); err != nil {
		return "", err
	}
	u, err := d.update()
	if err != nil {
		return "", err
	}
	light, rest := d.web.log("/targets/light/"), d.web.log("/targets/rest/")
	if u.Variant != "full" || len(light) != 0 || len(rest) == 0 {
		return "", fmt.Errorf("%s by %s with %d files of light and %d of rest; want full by files of rest alone", u.Variant, hows(u), len(light), len(rest))
	}
	_, err = d.scan("malicious")
	return hows(u), err
}

func (d *demo) rollback() (string, error) {
	before := d.version
	if err := d.avdb(nil, exits(exitOK), "rollback"); err != nil {
		return "", err
	}
	var st demoStatus
	if err := d.avdb(&st, exits(exitOK), "status"); err != nil {
		return "", err
	}
	if st.Version >= before || len(d.web.log("")) != 0 {
		return "", fmt.Errorf("release %d after %d with %d requests, want an earlier one and none", st.Version, before, len(d.web.log("")))
	}
	u, err := d.update()
	if err != nil {
		return "", err
	}
	if u.Result != "current" {
		return "", fmt.Errorf("the update after it says %s, want current: the release that was left is held", u.Result)
	}
	d.version = st.Version
	return fmt.Sprintf("release %d again; %d is held back", st.Version, before), nil
}

func (d *demo) theEnd() (string, error) {
	if err := d.avdb(nil, exits(exitOK), "release-hold"); err != nil {
		return "", err
	}
	if _, err := d.update(); err != nil {
		return "", err
	}
	if err := d.avdb(nil, exits(exitOK), "verify", "--deep"); err != nil {
		return "", err
	}
	var st demoStatus
	if err := d.avdb(&st, exits(exitOK), "status"); err != nil {
		return "", err
	}
	if st.Version != 5 || st.Fresh != "current" || st.Device.Status != "ok" {
		return "", fmt.Errorf("release %d, %s, device %s; want 5, current, ok", st.Version, st.Fresh, st.Device.Status)
	}
	return fmt.Sprintf("release %d, %s light and %s rest records, device %s", st.Version,
		countText(st.Records["light"]), countText(st.Records["rest"]), st.Device.Status), nil
}
