package signing

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The examples in docs/format/trust.md are what the code writes for a fixed repository.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "format", "trust.md"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	floors, err := os.ReadFile(filepath.Join(tr.dir, floorsFile))
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]string{"floors.json": string(floors)}
	for _, role := range []string{RoleTimestamp, RoleDatabase} {
		examples[role] = string(indent(s.raw[role]))
	}
	examples["fingerprint"] = r.RootFingerprint()
	for name, text := range examples {
		text = strings.TrimRight(text, "\n")
		if !strings.Contains(string(page), "    "+strings.ReplaceAll(text, "\n", "\n    ")) {
			t.Errorf("the page lacks this example of %s:\n    %s", name, strings.ReplaceAll(text, "\n", "\n    "))
		}
	}
}

// indent breaks a JSON document into lines.
func indent(b []byte) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", " "); err != nil {
		return nil
	}
	return out.Bytes()
}
