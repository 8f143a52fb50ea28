package matcher

import (
	"testing"

	"example.org/avdb/dbformat"
)

// What the kernel makes up has content and no size: it is not called clean without a word.
func TestFilesWithoutASizeAreSkipped(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	r := e.ScanFile(t.Context(), "/proc/self/status")
	if r.Verdict != Clean || r.Skipped == "" || r.SHA256 != "" || r.Err != nil {
		t.Fatalf("got %+v, want it skipped", r)
	}
}
