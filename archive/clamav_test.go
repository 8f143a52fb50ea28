package archive_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/archive"
)

const marker = "nothing but a marker for a comparison"

// In whatever clamscan finds a member, sound or broken, a walk gives it; levels are counted alike.
func TestSeesWhatClamAVSees(t *testing.T) {
	program, err := exec.LookPath("clamscan")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("clamscan is not installed, which .ci/run does")
	}
	if err != nil {
		t.Skip("NOT COMPARED WITH CLAMAV: clamscan is not installed")
	}
	version, err := exec.Command(program, "--version").Output()
	if err != nil || !strings.HasPrefix(string(version), "ClamAV 1.4.") {
		t.Skipf("NOT COMPARED WITH CLAMAV: want 1.4, have %q, %v", version, err)
	}
	files := []file{{"a", "alpha"}, {"m", marker}, {"z", random(5000)}}
	const local, entry, end = "PK\x03\x04", "PK\x01\x02", "PK\x05\x06"
	z, s, r := zipOf(t, files...), storedZip(t, files...), tarOf(t, files...)
	objects := map[string][]byte{
		"zip": z, "stored": s, "tar": r, "gz": gzipOf(t, "m", marker),
		"tgz":            gzipOf(t, "m", string(r)),
		"gz-trailing":    append(gzipOf(t, "m", marker), "other bytes"...),
		"gz-streams":     slices.Concat(gzipOf(t, "m", marker[:9]), gzipOf(t, "m", marker[9:])),
		"gz-cut":         gzipOf(t, "m", marker)[:len(gzipOf(t, "m", marker))-4],
		"zip-cut":        z[:len(z)-10],
		"zip-no-dir":     z[:bytes.Index(z, []byte(entry))],
		"zip-count":      patch(t, z, end, 10, 1),
		"zip-size":       patch(t, z, entry, 24, 1),
		"zip-unlisted":   slices.Concat(s, zipOf(t, file{"b", "beta"})),
		"zip-trailing":   slices.Concat(z, make([]byte, 5000)),
		"zip-encrypted":  patch(t, s, entry, 8, 1),
		"tar-broken":     patch(t, r, "ustar", -237, 'x'),
		"tar-no-end":     r[:len(r)-1024],
		"zip-in-tar":     tarOf(t, file{"z", string(z)}),
		"tar-in-zip":     zipOf(t, file{"r", string(r)}),
		"tgz-in-zip":     zipOf(t, file{"r", string(gzipOf(t, "", string(r)))}),
		"zip-in-gz":      gzipOf(t, "", string(s)),
		"zip-beyond-end": patch(t, s, local, 18, 255, 255),
	}
	for depth, object := 1, []byte(marker); depth <= 18; depth++ {
		object = zipOf(t, file{"m", string(object)})
		objects[fmt.Sprintf("level%02d", depth)] = object
	}
	for name, c := range plainTars() {
		objects["tar "+name] = []byte(c.object)
	}
	for name, object := range hidingZips(t) {
		objects["zip "+name] = object
	}
	for name, object := range embeddedZips(t) {
		objects["in "+name] = object
	}
	for name, object := range headersOfGzip(t) {
		objects["gz with "+name] = object
	}
	dir, base := t.TempDir(), filepath.Join(t.TempDir(), "probe.hdb")
	if err := os.WriteFile(base, fmt.Appendf(nil, "%x:%d:Marker\n", md5.Sum([]byte(marker)), len(marker)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, object := range objects {
		if err := os.WriteFile(filepath.Join(dir, name), object, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := exec.Command(program, "--no-summary", "--stdout", "--tempdir="+t.TempDir(), "-d", base, dir).Output() // 1 for findings
	theirs := 0
	for name, object := range objects {
		seen := slices.ContainsFunc(walk(t, object, archive.Limits{}), func(l line) bool { return l.content == marker })
		found := strings.Contains(string(out), name+": Marker.UNOFFICIAL FOUND")
		if found {
			theirs++
		}
		if found && !seen || strings.HasPrefix(name, "level") && found != seen {
			t.Errorf("%s: found by clamscan: %t, seen here: %t", name, found, seen)
		}
		t.Logf("%s: clamscan %t, here %t", name, found, seen)
	}
	if theirs < 40 {
		t.Errorf("clamscan finds %d: %s", theirs, out)
	}
}
