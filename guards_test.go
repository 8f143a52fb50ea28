//go:build check

package avdb_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.org/avdb/fixtures"
)

// A guard is a line of code that stops an attack, and the test that is named after the attack. Switched off is the same line
// without its effect. Where one guard stands behind another, both are switched off.
type guard struct {
	attack string
	edits  []fixtures.Edit
	pkg    string
	test   string // for -run
}

// limit is the time that the test has. Without the guard against endless bodies it writes as fast as the disk allows.
func (g guard) limit() string {
	if g.attack == endless {
		return "4s"
	}
	return "60s"
}

const endless = "an endless body"

var guards = []guard{
	{"a byte of a bundle or delta flipped", []fixtures.Edit{
		{"updater/source.go", "n != t.Length || got != t.SHA256", "n != t.Length || got.IsZero()"},
		{"updater/httpsource.go", "\treq.SetChecksum(sha256.New(), t.SHA256[:], true)\n", "\t_ = sha256.New\n"},
	}, "./updater", "^TestDownloadNotWhatWasSigned$/^flipped_byte$"},
	{"the release record of another mirror", []fixtures.Edit{
		{"signing/verified.go", "sha256.Sum256(b) != [32]byte(t.SHA256)", "sha256.Sum256(b) == [32]byte{}"},
	}, "./signing", "^TestReleaseOfAnotherMirror$"},
	{"a layer that is not what the release names", []fixtures.Edit{
		{"store/layerwriter.go", "h.Layer != w.layer || got != want", "h.Layer != w.layer || got.IsZero()"},
	}, "./store", "^TestWriterRefuses$"},
	{endless, []fixtures.Edit{
		{"updater/meter.go", "if b.left == 0 && !b.soft {", "if false {"},
		{"updater/meter.go", "return 0, errTooLong", "b.left = 1 << 20"},
	}, "./updater", "^TestEndlessBody$"},
	{"rollback of metadata", []fixtures.Edit{
		{"signing/floors.go", "case value < v.Value:", "case false:"},
	}, "./signing", "^TestRollback$"},
	{"freeze", []fixtures.Edit{
		{"signing/refresh.go", "x.At(x.reference)\n\treturn x.unexpired(RoleRoot)", "x.At(time.Unix(0, 0))\n\treturn nil"},
		{"signing/refresh.go", "if x.reference.After(d.expires) {", "if false {"},
	}, "./updater", "^TestFreeze$"},
	{"roots kept back until a device is too far behind", []fixtures.Edit{
		{"signing/refresh.go", "const maxRootSteps = 4096", "const maxRootSteps = 256"},
	}, "./signing", "^TestRootsBehind$"},
	{"signed but malformed", []fixtures.Edit{
		{"signing/shape.go", "if s.Err != nil {", "if s.Err != nil && len(b) == 0 {"},
	}, "./signing", "^TestEachFieldOfEachRole$"},
	{"an old mirror's targets", []fixtures.Edit{
		{"signing/refresh.go", "if x.reference.After(d.expires) {", "if false {"},
	}, "./signing", "^TestMaxAgeLeavesOtherExpiries$"},
	{"a clock set back to revive what expired", []fixtures.Edit{
		{"signing/refresh.go", "x.reference = x.state.referenceTime(x.root, x.o.Now)", "x.reference = x.o.Now"},
	}, "./signing", "^TestClockSetBack$"},
	{"a freeze without an end", []fixtures.Edit{
		{"signing/refresh.go", "d.expires.After(x.o.Now.Add(Life(role) + lifeTolerance))", "d.expires.IsZero()"},
	}, "./signing", "^TestFreezeWithoutEnd$"},
	{"fast-forward", []fixtures.Edit{
		{"signing/floors.go", "case value-v.Value > maxStep:", "case false:"},
	}, "./signing", "^TestFastForward$"},
	{"a rest layer on another light layer", []fixtures.Edit{
		{"store/activate.go", "if err := dbformat.CheckPair(light, rest); err != nil {", "if err := dbformat.CheckPair(light, rest); err != nil && false {"},
	}, "./store", "^TestPairsBelongTogether$"},
	{"200 where a range was asked for", []fixtures.Edit{
		{"updater/meter.go", "if resp.StatusCode != http.StatusPartialContent {", "if resp.StatusCode == 0 {"},
		{"updater/meter.go", "if !ok || got.First != from || got.Last != e.length-1 || got.Total != -1 && got.Total != e.length {", "if !ok && got.Total == -2 {"},
	}, "./updater", "^TestDownloadWrongAnswersToARange$"},
	{"a stalled body", []fixtures.Edit{
		{"updater/meter.go", "timer := time.AfterFunc(limits.Idle, func() { b.cancel(stalled) })", "timer := time.AfterFunc(time.Hour, func() { b.cancel(stalled) })"},
	}, "./updater", "^TestStalledBody$"},
	{"a damaged block on disk", []fixtures.Edit{
		{"store/layer.go", "if dbformat.BlockDigest(f.header.Layer, s.ID, i, b) != s.Blocks[i].Digest {", "if len(b) == 1<<30 {"},
	}, "./store", "^TestDamageIsNoticedAtFirstTouch$"},
	{"a stolen database key that takes the database away", []fixtures.Edit{
		{"updater/guard.go", "if broken == nil || approved {", "if true {"},
	}, "./updater", "^TestStolenDatabaseKeyTakesNoDatabaseAway$"},
	{"a refused release that comes again as light", []fixtures.Edit{
		{"updater/guard.go", "if ok && known.Version == rel.Version && known.Light == rel.Light.Digest && known.Rest == rel.Rest.Digest {", "if ok && known.Version == 0 {"},
	}, "./updater", "^TestRefusedReleaseTakesNoDetourOverLight$"},
	{"other tails while a device has light alone", []fixtures.Edit{
		{"updater/guard.go", "if g.Rest == nil || cur.Rest != nil {", "if true {"},
	}, "./updater", "^TestOtherTailsTakeNoDetourOverLight$"},
	{"releases in light until the full generation is forgotten", []fixtures.Edit{
		{"store/activate.go", "next.keepMeasure(old, r)", "_ = r"},
	}, "./updater", "^TestOtherTailsTakeNoDetourOverLight$"},
	{"a release that leaves light no way but an unproved rest", []fixtures.Edit{
		{"updater/guard.go", "if forced && guarded(cur) && c.newestFull() == nil {", "if forced && false {"},
	}, "./updater", "^TestLightIsNotForcedToARestThatNothingProves$"},
	{"a stolen database key that allows malware", []fixtures.Edit{
		{"dbformat/changes_guards.go", "c.AllowAdded > g.AllowAdded {", "false {"},
	}, "./updater", "^TestStolenDatabaseKeyAllowsLittle$"},
	{"a stolen database key that ignores every name", []fixtures.Edit{
		{"dbformat/changes.go", "if len(s.ignore) == 0 {", "if true {"},
	}, "./dbformat", "^TestWhatCountsAsRemoved$"},
	{"a stolen database key that hides a deletion behind rows out of order", []fixtures.Edit{
		{"updater/guard.go", "new.Rest != nil); err != nil {", "new.Rest != nil); err != nil && false {"},
	}, "./updater", "^TestGuardWithRowsThatCannotBeCompared$"},
	{"a publisher's mistake that removes most records", []fixtures.Edit{
		{"publisher/guards.go", "case broken != nil:", "case false:"},
	}, "./publisher", "^TestApprovalLetsAReleasePass$"},
	{"a redirect that collects passwords", []fixtures.Edit{
		{"updater/meter.go", "if !m.access.own(req.URL) {", "if false {"},
	}, "./updater", "^TestCredentialsStayWithTheirHost$"},
	{"a redirect that collects client certificates", []fixtures.Edit{
		{"updater/meter.go", "if !m.access.own(req.URL) {", "if false {"},
	}, "./updater", "^TestClientCertificateStaysWithItsHost$"},
	{"a redirect to the metadata service of a cloud", []fixtures.Edit{
		{"updater/client.go", "case isLink(req.URL.Hostname()), isLoopback(", "case isLoopback("},
	}, "./updater", "^TestRedirectPolicy$"},
	{"a password in every output", []fixtures.Edit{
		{"updater/config_source.go", "v.User = url.UserPassword(u.User.Username(), hidden)", "_ = hidden"},
	}, "./cmd/avdb", "^TestSecretsAreNeverSeen$"},
	{"a password of a KSN proxy in every output", []fixtures.Edit{
		{"ksn/protocol/provider.go", `shown.User = url.User("xxxxx")`, "shown.User = u.User"},
	}, "./ksn/reputation", "^TestProxyNamesHoldNoSecret$"},
	{"a day of silence that anybody on the way can order", []fixtures.Edit{
		{"ksn/reputation/breaker.go", "return MaxPlainWait", "return MaxWait"},
	}, "./ksn/reputation", "^TestPlainHTTPSilencesForAnHour$"},
	{"credentials that every user may read", []fixtures.Edit{
		{"updater/credentials.go", "osfile.KnownToAll(st)", "st == nil"},
	}, "./updater", "^TestCredentialsThatCannotBeUsed$"},
	{"a signing key that every user may read", []fixtures.Edit{
		{"ksn/network/network.go", "osfile.KnownToAll(i)", "i == nil"},
	}, "./ksn/network", "^TestKeysOpenToAllAreRefused$"},
	{"a status page that needs no token", []fixtures.Edit{
		{"ksn/serving/route.go", "if x.maySeeStatus() {", "if x.side.Status != nil {"},
	}, "./ksn/serving", "^TestWhoSeesTheStatusPage$"},
	{"a slow source that eats the time of the others", []fixtures.Edit{
		{"updater/cycle.go", "time.Duration(len(c.list)-i)", "time.Duration(len(c.list[i:i+1]))"},
	}, "./updater", "^TestSlowSourcesLeaveTimeForTheGoodOne$"},
	{"a cool-down that the next run forgets", []fixtures.Edit{
		{"updater/state.go", "		if c.cools(until) {", "		if c.cools(until) && false {"},
	}, "./updater", "^TestCoolDownIsTheSources$"},
	{"a cool-down that a clock makes longer", []fixtures.Edit{
		{"updater/state.go", " && !until.After(c.now().Add(c.u.c.Limits.CoolDown))", ""},
	}, "./updater", "^TestCoolDownAndAClockSetBack$"},
	{"a publishing host that has a co-signer sign for years", []fixtures.Edit{
		{"signing/ceremony.go", "case d.expires.After(c.now.Add(life + clockTolerance)):", "case false:"},
	}, "./signing", "^TestCosignerVerifies$/^lives_too_long$"},
	{"a publishing host that has a co-signer sign an older release", []fixtures.Edit{
		{"signing/ceremony.go", "case is.version() < was.version() || is.epoch() < was.epoch():", "case false:"},
	}, "./signing", "^TestCosignerVerifies$/^release_back$"},
	{"a publishing host that shows a co-signer other files", []fixtures.Edit{
		{"signing/ceremony.go", "if n != t.Length || !bytes.Equal(h.Sum(nil), t.SHA256[:]) {", "if n > t.Length+1 && bytes.Equal(nil, nil) {"},
	}, "./signing", "^TestCosignerVerifies$/^file_cut$"},
	{"a stolen database key that approves its own release", []fixtures.Edit{
		{"signing/shape.go", "s.targets(d, signed)\n", "s.targets(d, signed)\n\t\tif role != RoleTargets {\n\t\t\ts.approved(d, signed)\n\t\t}\n"},
		{"signing/approve.go", "return slices.Contains(v.set.docs[RoleTargets].approved, version)",
			"return slices.Contains(append(v.set.docs[RoleTargets].approved, v.set.docs[RoleDatabase].approved...), version)"},
	}, "./signing", "^TestApprovedByDatabaseCountsNothing$"},
	{"a restriction set that the owner of the state forged", []fixtures.Edit{
		{"store/restrictions.go", "\tif by == \"\" {\n", "\tif false {\n"},
	}, "./updater", "^TestRestrictionSetTamperedWith$"},
	{"a restriction set that was put back", []fixtures.Edit{
		{"signing/restrictionproof.go", "case set.Epoch < p.Epoch:", "case false:"},
	}, "./signing", "^TestWhatProvesARestrictionSet$"},
	{"a restriction set that was taken away from a proxy", []fixtures.Edit{
		{"ksn/proxy/gate.go", " && !set.Unproved()", ""},
	}, "./ksn/proxy", "^TestRestrictions$"},
	{"an older provider file by way of leaving the network", []fixtures.Edit{
		{"cmd/avdb/ksn_provider.go", "f.Provider.Serial < was.Serial ||", "false ||"},
	}, "./cmd/avdb", "^TestScripts$/^ksn_tampered$"},
	{"poison that passes every signature", []fixtures.Edit{
		{"matcher/selftest.go", "case string(got) != want.String():", "case false:"},
	}, "./matcher", "^TestSelfTestStopsPoison$"},
}

// Every attack test fails when its guard is switched off, so none of them passes for another reason.
func TestAttackTestsNeedTheirGuards(t *testing.T) {
	for _, g := range guards {
		t.Run(g.attack, func(t *testing.T) {
			cmd := exec.Command("go", "test", "-vet=off", "-count=1", "-timeout="+g.limit(), "-overlay="+fixtures.Overlay(t, g.edits...), "-run="+g.test, g.pkg)
			cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // what a test leaves that was ended goes with this one
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("%s passes in %s without the guard", g.test, g.pkg)
			} else if !strings.Contains(string(out), "--- FAIL") && !strings.Contains(string(out), "panic: test timed out") {
				t.Errorf("the test could not be run:\n%s", out)
			}
		})
	}
}
