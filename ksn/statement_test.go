package ksn_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// Users consented to these bytes. A text that changes needs a new version, and the bytes of the old one stay.
func TestStatementTextsAreFrozen(t *testing.T) {
	frozen := map[string]string{
		"1 en": "792a769c873fe765ac4fcd4db8cfec7887c04b69ff1a0f1592766936ac94a25b",
		"1 de": "e3bff82a73ee8fa58f9e20b7fbbb82c9031459086ff45ecd0e9ad0a8ac93ec19",
	}
	for _, s := range ksn.DefaultStatements() {
		key := string(rune('0'+s.Version())) + " " + s.Language()
		if got := s.SHA256().String(); frozen[key] != got {
			t.Errorf("statement %s has SHA-256 %s, frozen is %q: give a changed text a new version", key, got, frozen[key])
		}
		delete(frozen, key)
	}
	if len(frozen) > 0 {
		t.Errorf("statements that are gone: %v", frozen)
	}
}

// The file's name says its language, and each version has the text that every language falls back to.
func TestStatementFiles(t *testing.T) {
	files, err := filepath.Glob("statements/ksn_*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no statement files: %v", err)
	}
	fallback := map[int]bool{}
	for _, s := range ksn.DefaultStatements() {
		fallback[s.Version()] = fallback[s.Version()] || s.Language() == ksn.FallbackLanguage
	}
	for version, ok := range fallback {
		if !ok {
			t.Errorf("statement %d has no text in %q", version, ksn.FallbackLanguage)
		}
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ksn.ParseStatement(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := "ksn_" + s.Language() + ".txt"; filepath.Base(name) != want {
			t.Errorf("%s: the text says that its name is %s", name, want)
		}
		if s.Text() != string(b) {
			t.Errorf("%s: what is shown is not what is hashed", name)
		}
	}
}

// A user reads, in each language, how to stop and what each mode sends.
func TestStatementSaysHowToStop(t *testing.T) {
	for _, s := range ksn.DefaultStatements() {
		for _, part := range []string{"avdb ksn disable", "avdb ksn statement decline", "basic", "extended", "avdb ksn stats --preview"} {
			if !strings.Contains(s.Text(), part) {
				t.Errorf("statement %d in %s does not mention %q", s.Version(), s.Language(), part)
			}
		}
	}
}

func TestParseStatementRefusals(t *testing.T) {
	const good = "KSN-Statement: 3\nLanguage: de-AT\n\nText\nmore\n"
	if s, err := ksn.ParseStatement([]byte(good)); err != nil || s.Version() != 3 || s.Language() != "de-AT" || s.Text() != good {
		t.Fatalf("ParseStatement = %+v, %v", s, err)
	}
	for _, c := range []struct{ name, text, reason string }{
		{"empty", "", "line 1"},
		{"no version", "Language: de\n\nText\n", "line 1"},
		{"version 0", "KSN-Statement: 0\nLanguage: de\n\nText\n", "line 1"},
		{"version with a zero", "KSN-Statement: 01\nLanguage: de\n\nText\n", "line 1"},
		{"huge version", "KSN-Statement: 99999999999999999999\nLanguage: de\n\nText\n", "line 1"},
		{"no language", "KSN-Statement: 1\nText\n\nText\n", "line 2"},
		{"bad language", "KSN-Statement: 1\nLanguage: ../../x\n\nText\n", "line 2"},
		{"no empty line", "KSN-Statement: 1\nLanguage: de\nText\nText\n", "line 3"},
		{"no text", "KSN-Statement: 1\nLanguage: de\n\n", "line 4"},
		{"blank text", "KSN-Statement: 1\nLanguage: de\n\n \n\n", "line 4"},
		{"header only", "KSN-Statement: 1\n", "line 2"},
		{"no last newline", "KSN-Statement: 1\nLanguage: de\n\nText", "line 4"},
		{"carriage return", "KSN-Statement: 1\nLanguage: de\n\nText\r\n", "line 4"},
		{"escape sequence", "KSN-Statement: 1\nLanguage: de\n\nText\n\x1b[8mhidden\n", "line 5"},
		{"not UTF-8", "KSN-Statement: 1\nLanguage: de\n\nText\nText\nText\xff\n", "line 6"},
		{"text direction override", "KSN-Statement: 1\nLanguage: de\n\nText\u202e\n", "line 4"},
		{"too long", "KSN-Statement: 1\nLanguage: de\n\n" + strings.Repeat("x", ksn.MaxStatement) + "\n", "limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := ksn.ParseStatement([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.reason) || s != (ksn.Statement{}) {
				t.Errorf("ParseStatement = %+v, %v; want an error with %q", s, err, c.reason)
			}
		})
	}
}

func TestMatchLanguage(t *testing.T) {
	have := []string{"de", "de-AT", "en", "pt-BR", "zh-Hant"}
	for _, c := range []struct{ want, got string }{
		{"de", "de"}, {"DE", "de"}, {"de-AT", "de-AT"}, {"de_AT.UTF-8", "de-AT"}, {"de-CH", "de"}, {"de_DE@euro", "de"},
		{"pt-BR", "pt-BR"}, {"pt", "en"}, {"pt-PT", "en"}, {"zh-Hant-TW", "zh-Hant"}, {"zh-TW", "en"},
		{"en-GB", "en"}, {"fr", "en"}, {"", "en"}, {"C", "en"}, {"C.UTF-8", "en"}, {"POSIX", "en"}, {"d", "en"},
		{"de--AT", "en"}, {"-de", "en"}, {"../../etc/passwd", "en"}, {strings.Repeat("de-", 1000), "en"},
	} {
		if got := ksn.MatchLanguage(c.want, have); got != c.got {
			t.Errorf("MatchLanguage(%q) = %q, want %q", c.want, got, c.got)
		}
	}
	if got := ksn.MatchLanguage("de", []string{"fr"}); got != "" {
		t.Errorf("MatchLanguage with neither de nor en = %q, want nothing", got)
	}
}

func FuzzMatchLanguage(f *testing.F) {
	for _, s := range []string{"de", "de_AT.UTF-8", "C", "", "zh-Hant-TW", "a-b-c", "EN", "de-", "\xff", "ſk"} {
		f.Add(s, "de,de-AT,en,zh-hant")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, want, list string) {
		have := strings.Split(list, ",")
		got := ksn.MatchLanguage(want, have)
		if got != "" && !slices.Contains(have, got) {
			t.Fatalf("MatchLanguage(%q, %q) = %q, which is not there", want, have, got)
		}
		if again := ksn.MatchLanguage(got, have); got != "" && !strings.EqualFold(again, got) && !sameTag(again, got) {
			t.Fatalf("the best tag for %q is %q, but for itself it is %q", want, got, again)
		}
		if slices.Contains(have, "en") && got == "" {
			t.Fatalf("MatchLanguage(%q, %q) found nothing, not even en", want, have)
		}
	})
}

// sameTag compares tags that differ in what is not part of them.
func sameTag(a, b string) bool {
	cut := func(s string) string {
		if i := strings.IndexAny(s, ".@"); i >= 0 {
			s = s[:i]
		}
		return strings.ReplaceAll(strings.ToLower(s), "_", "-")
	}
	return cut(a) == cut(b)
}

// statement makes a statement text of a version.
func statement(t testing.TB, version, language, text string) ksn.Statement {
	t.Helper()
	s, err := ksn.ParseStatement([]byte("KSN-Statement: " + version + "\nLanguage: " + language + "\n\n" + text + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFindStatement(t *testing.T) {
	all := []ksn.Statement{
		statement(t, "1", "en", "one"), statement(t, "1", "de", "eins"),
		statement(t, "3", "en", "three"), statement(t, "3", "de-AT", "drei"), statement(t, "2", "fr", "deux"),
	}
	for _, c := range []struct {
		version  int
		language string
		want     string
	}{
		{0, "de-AT", "drei"}, {0, "de", "three"}, {0, "", "three"}, {1, "de-AT", "eins"}, {1, "fr", "one"}, {2, "fr-CA", "deux"},
	} {
		s, err := ksn.FindStatement(all, c.version, c.language)
		if err != nil || !strings.HasSuffix(s.Text(), c.want+"\n") {
			t.Errorf("FindStatement(%d, %q) = %q, %v; want %q", c.version, c.language, s.Text(), err, c.want)
		}
	}
	for _, c := range []struct {
		version  int
		language string
		reason   string
	}{{4, "en", "there is 3, 2, 1"}, {2, "de", "in fr only"}} {
		if s, err := ksn.FindStatement(all, c.version, c.language); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("FindStatement(%d, %q) = %+v, %v; want an error with %q", c.version, c.language, s, err, c.reason)
		}
	}
	if _, err := ksn.FindStatement(nil, 0, "en"); err == nil {
		t.Error("a statement was found where there is none")
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestEnableWithoutAnAcceptedStatementIsRefused(t *testing.T) {
	for _, c := range []ksn.Consent{{}, {Mode: ksn.ModeExtended}, {Declined: &ksn.Refusal{Version: 1}}} {
		got, err := c.Enable(ksn.ModeBasic, noon)
		refused, ok := errors.AsType[*ksn.RefusedError](err)
		if !ok || !errors.Is(err, ksn.ErrRefused) || !strings.Contains(refused.Remedy, "avdb ksn statement accept") {
			t.Errorf("Enable = %v; want ErrRefused with the remedy", err)
		}
		if got != c {
			t.Errorf("a refused Enable changed the consent to %+v", got)
		}
	}
	c := accepted(t)
	for _, m := range []ksn.Mode{ksn.ModeOff, "", "full"} {
		if _, err := c.Enable(m, noon); err == nil || errors.Is(err, ksn.ErrRefused) {
			t.Errorf("Enable(%q) = %v; want a plain error", m, err)
		}
	}
}

// accepted is a consent with statement 2 accepted and KSN still off.
func accepted(t testing.TB) ksn.Consent {
	t.Helper()
	c, err := ksn.Consent{}.Accept(statement(t, "2", "en", "two"), noon)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// enabled is a consent with KSN on.
func enabled(t testing.TB, m ksn.Mode) ksn.Consent {
	t.Helper()
	c, err := accepted(t).Enable(m, noon)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mode(c ksn.Consent) ksn.Mode {
	m, _ := ksn.Facts{Consent: c}.InForce()
	return m
}

func TestAcceptanceIsRecorded(t *testing.T) {
	s := statement(t, "2", "de", "zwei")
	c, err := enabled(t, ksn.ModeExtended).Accept(s, noon.Add(time.Hour+time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	want := ksn.Acceptance{Version: 2, Language: "de", SHA256: s.SHA256(), Time: dbformat.At(noon.Add(time.Hour)), Mode: ksn.ModeExtended}
	if *c.Accepted != want {
		t.Errorf("recorded %+v, want %+v", *c.Accepted, want)
	}
	again, err := c.Accept(s, noon.Add(5*time.Hour))
	if err != nil || *again.Accepted != want {
		t.Errorf("accepting the same text again changed the record to %+v, %v", *again.Accepted, err)
	}
	if accepted(t).Accepted.Mode != ksn.ModeOff || mode(accepted(t)) != ksn.ModeOff {
		t.Error("accepting a statement switched KSN on")
	}
}

// Take part, stop, take part again: at any time, without a new acceptance.
func TestBeginAndDiscontinueAtAnyTime(t *testing.T) {
	c := enabled(t, ksn.ModeBasic)
	since := *c.Since
	for i := range 5 {
		at := noon.Add(time.Duration(i+1) * time.Hour)
		off := c.Disable(at)
		if mode(off) != ksn.ModeOff || off.Accepted == nil || !off.Since.Equal(at) {
			t.Fatalf("Disable gave %+v", off)
		}
		if again := off.Disable(at.Add(time.Minute)); !again.Since.Equal(at) {
			t.Error("disabling twice moved the time")
		}
		if mode(c) != ksn.ModeBasic || *c.Since != since {
			t.Fatal("Disable changed the consent that it was given")
		}
		on, err := off.Enable(ksn.ModeExtended, at.Add(time.Minute))
		if err != nil || mode(on) != ksn.ModeExtended {
			t.Fatalf("Enable again = %+v, %v", on, err)
		}
	}
}

func TestDecliningANewerStatementLeavesTheAcceptedOne(t *testing.T) {
	c := enabled(t, ksn.ModeBasic)
	got, err := c.Decline(statement(t, "3", "en", "three"), noon)
	if err != nil || mode(got) != ksn.ModeBasic || got.Accepted.Version != 2 || got.Declined.Version != 3 {
		t.Fatalf("Decline(3) = %+v, %v", got, err)
	}
	for version, want := range map[int]string{1: "covered", 2: "accepted", 3: "declined", 4: "open"} {
		if a := got.Answer(version); a != want {
			t.Errorf("Answer(%d) = %q, want %q", version, a, want)
		}
	}
	older, err := got.Decline(statement(t, "1", "en", "one"), noon)
	if err != nil || older.Declined.Version != 3 || mode(older) != ksn.ModeOff || older.Accepted != nil {
		t.Errorf("declining what the accepted one contains is to withdraw, and 3 stays declined: %+v, %v", older, err)
	}
	got, err = got.Accept(statement(t, "3", "en", "three"), noon)
	if err != nil || got.Accepted.Version != 3 || got.Declined != nil || mode(got) != ksn.ModeBasic {
		t.Errorf("Accept(3) after all = %+v, %v", got, err)
	}
}

func TestDecliningTheAcceptedStatementWithdrawsConsent(t *testing.T) {
	c, err := enabled(t, ksn.ModeExtended).Decline(statement(t, "2", "en", "two"), noon)
	if err != nil || c.Accepted != nil || mode(c) != ksn.ModeOff {
		t.Fatalf("Decline = %+v, %v", c, err)
	}
	if _, err := c.Enable(ksn.ModeBasic, noon); !errors.Is(err, ksn.ErrRefused) {
		t.Errorf("Enable after withdrawing = %v, want ErrRefused", err)
	}
	// Accepting again later does not switch on what was switched off.
	c, err = c.Accept(statement(t, "2", "en", "two"), noon)
	if err != nil || mode(c) != ksn.ModeOff {
		t.Errorf("Accept after withdrawing gave mode %s, %v", mode(c), err)
	}
}

func TestAnOlderStatementDoesNotReplaceTheAcceptedOne(t *testing.T) {
	c := accepted(t)
	got, err := c.Accept(statement(t, "1", "en", "one"), noon)
	if !errors.Is(err, ksn.ErrRefused) || got != c {
		t.Errorf("Accept(1) = %+v, %v; want ErrRefused", got, err)
	}
	if _, err := c.Accept(ksn.Statement{}, noon); err == nil {
		t.Error("no statement at all was accepted")
	}
}

// Policy rules over the mode, but nobody can be made to have read a statement.
func TestPolicyCannotReplaceConsent(t *testing.T) {
	for _, c := range []struct {
		consent ksn.Consent
		policy  ksn.Mode
		want    ksn.Mode
	}{
		{ksn.Consent{}, ksn.ModeExtended, ksn.ModeOff},
		{ksn.Consent{Mode: ksn.ModeBasic}, "", ksn.ModeOff},
		{accepted(t), ksn.ModeBasic, ksn.ModeBasic},
		{enabled(t, ksn.ModeBasic), ksn.ModeOff, ksn.ModeOff},
		{enabled(t, ksn.ModeExtended), ksn.ModeBasic, ksn.ModeBasic},
		{enabled(t, ksn.ModeExtended), "nonsense", ksn.ModeOff},
	} {
		m, why := ksn.Facts{Consent: c.consent, Policy: c.policy}.InForce()
		if m != c.want || (m == ksn.ModeOff) != (why != "") {
			t.Errorf("policy %q over %q: %q, %q; want %q and a reason where it is off", c.policy, c.consent.Mode, m, why, c.want)
		}
	}
}

func TestConsentCheckNamesWhatWasEdited(t *testing.T) {
	good := enabled(t, ksn.ModeBasic)
	if err := good.Check(); err != nil {
		t.Errorf("Check = %v", err)
	}
	if err := (ksn.Consent{}).Check(); err != nil {
		t.Errorf("Check of a new device = %v", err)
	}
	for _, c := range []struct {
		reason string
		break_ func(*ksn.Consent)
	}{
		{`mode "loud"`, func(c *ksn.Consent) { c.Mode = "loud" }},
		{"version 0", func(c *ksn.Consent) { c.Accepted.Version = 0 }},
		{"language", func(c *ksn.Consent) { c.Accepted.Language = "" }},
		{"SHA-256", func(c *ksn.Consent) { c.Accepted.SHA256 = dbformat.Digest{} }},
		{"time", func(c *ksn.Consent) { c.Accepted.Time = dbformat.Time{} }},
		{"accepted statement: KSN mode", func(c *ksn.Consent) { c.Accepted.Mode = "" }},
		{"declined statement", func(c *ksn.Consent) { c.Declined = &ksn.Refusal{} }},
	} {
		bad := enabled(t, ksn.ModeBasic)
		c.break_(&bad)
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("Check = %v, want an error with %q", err, c.reason)
		}
	}
}
