package store

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// docExample is the indented block that follows the heading in docs/format/store.md, without its indent.
func docExample(t *testing.T, heading string) []byte {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "docs", "format", "store.md"))
	must(t, err)
	_, rest, ok := strings.Cut(string(doc), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/format/store.md has no section %q", heading)
	}
	var out bytes.Buffer
	for line := range strings.Lines(rest) {
		text, indented := strings.CutPrefix(line, "    ")
		if indented {
			out.WriteString(text)
		} else if out.Len() > 0 {
			break
		}
	}
	return out.Bytes()
}

// TestDocumentedExamples: each example of the document is what the store writes, byte for byte.
func TestDocumentedExamples(t *testing.T) {
	c := &Current{Generation: gen(7, 0xa1, 0xb2), Others: []Generation{gen(6, 0xc3, 0xd4)}, Hold: Hold{Version: 8, Since: day(9)},
		RolledBack: &RolledBack{From: gen(8, 0xa1, 0xe5), Since: day(9)}}
	current, err := encodeCurrent(c)
	must(t, err)
	v := DefaultSettings()
	v.Install = "00112233445566778899aabbccddeeff"
	v.Sources = append(v.Sources, SettingsSource{URL: "https://mirror.example/avdb"})
	v.KSN.Mode = "basic"
	v.KSN.Accepted = &SettingsConsent{Version: "2", Language: "en", SHA256: digest(0x5a), Time: dbformat.At(day(3)), Mode: "basic"}
	settings, err := encodeJSON(v)
	must(t, err)
	restrictions, err := encodeRestrictions([]byte(`{"schema":1,"epoch":12,"records":[]}`), 12)
	must(t, err)
	overrides, err := encodeOverrides([]Override{override(0x0a0b0c)})
	must(t, err)
	for heading, want := range map[string][]byte{"CURRENT": current, "settings.json": settings, "restrictions.json": restrictions, "overrides.json": overrides} {
		if got := docExample(t, heading); !bytes.Equal(got, want) {
			t.Errorf("the example of %s in docs/format/store.md is\n%swant\n%s", heading, got, want)
		}
	}
	if _, err := parseCurrent(current); err != nil {
		t.Error(err)
	}
	if err := v.check(); err != nil {
		t.Error(err)
	}
}
