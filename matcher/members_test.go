package matcher

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"example.org/avdb/archive"
	"example.org/avdb/dbformat"
)

// packed is a container of that kind with content under a name; zstd keeps no names.
func packed(t testing.TB, kind, name, content string) string {
	t.Helper()
	return packedAll(t, kind, name, content)
}

// packedAll packs pairs of a name and a content; gzip and zstd take one.
func packedAll(t testing.TB, kind string, pairs ...string) string {
	t.Helper()
	var (
		b   bytes.Buffer
		err error
	)
	write := func(w io.Writer, content string) {
		if err == nil {
			_, err = io.WriteString(w, content)
		}
	}
	switch kind {
	case "zip":
		z := zip.NewWriter(&b)
		for i := 0; i < len(pairs); i += 2 {
			w, e := z.Create(pairs[i])
			err = errors.Join(err, e)
			write(w, pairs[i+1])
		}
		err = errors.Join(err, z.Close())
	case "tar":
		z := tar.NewWriter(&b)
		for i := 0; i < len(pairs); i += 2 {
			err = errors.Join(err, z.WriteHeader(&tar.Header{Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1])), Format: tar.FormatUSTAR}))
			write(z, pairs[i+1])
		}
		err = errors.Join(err, z.Close())
	case "gz":
		z := gzip.NewWriter(&b)
		z.Name = pairs[0]
		write(z, pairs[1])
		err = errors.Join(err, z.Close())
	case "zst":
		z, e := zstd.NewWriter(&b)
		err = errors.Join(err, e)
		write(z, pairs[1])
		err = errors.Join(err, z.Close())
	default:
		t.Fatalf("no kind %s", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// ways are the results of an object by each way that it may come.
func ways(t testing.TB, e *Engine, content string) map[string]Result {
	t.Helper()
	path := write(t, filepath.Join(t.TempDir(), "object"), content)
	all := map[string]Result{
		"bytes":     e.ScanBytes(t.Context(), []byte(content)),
		"a file":    e.ScanFile(t.Context(), path),
		"a reader":  e.ScanReader(t.Context(), strings.NewReader(content)),
		"a stream":  e.ScanReader(t.Context(), io.MultiReader(strings.NewReader(content))),
		"in a scan": slices.Collect(scanAll(t, e, ScanOptions{}, path))[0],
	}
	for way, r := range all {
		if r.SHA256 != hexSHA256(content) && (r.Verdict.Finding() || r.SHA256 != "") || r.Size != int64(len(content)) {
			t.Errorf("%s: %+v is about another object", way, r)
		}
		r.Path, r.SHA256 = "", ""
		all[way] = r
	}
	return all
}

// eachWay demands one verdict of all ways, and gives it.
func eachWay(t testing.TB, e *Engine, what, content string) Result {
	t.Helper()
	all := ways(t, e, content)
	want := all["bytes"]
	for way, r := range all {
		if r != want && (r.Err == nil || want.Err == nil || r.Error != want.Error) {
			t.Errorf("%s, %s: %+v\nas bytes %+v", what, way, r, want)
		}
	}
	return want
}

// inMember is a result in short: the name, the signature and the path of the member.
func inMember(r Result) string {
	text := finds(r)
	if r.Member != "" {
		text += " in " + r.Member
	}
	return text
}

// Whatever a signature is about, it finds a member as it finds a file, as deep as the limits allow, whichever way the object comes.
func TestMembersAreMatchedAsObjects(t *testing.T) {
	const byHash, byPattern, whole = "known by its hash", "has a pattern in it", "at its end"
	program := peFile(false, sector("one"))
	d := database{
		lines: map[string][]string{"rest patterns": {"Pattern:0:0:68617320612070617474", "End:0:EOF-10:61742069747320656e64", "Text;Engine:51-255,Target:1;0;6f6e652e6f6e65"}},
		rows: sections{"hash/sha256": {listed(dbformat.SHA256, byHash, true, "SHA256")}, "hash/md5": {listed(dbformat.MD5, byHash+" 2", true, "MD5")},
			"rest sections/sha1": {listed(dbformat.SHA1, sector("one"), true, "Section")}},
	}
	_, e := d.engines(t, Options{})
	hashes := full(t, Options{}, sections{"hash/sha256": d.rows["hash/sha256"], "hash/md5": d.rows["hash/md5"]})
	for _, tc := range []struct{ content, want string }{
		{byHash, "SHA256 by hash/sha256"}, {byHash + " 2", "MD5 by hash/md5"}, {byPattern, "Pattern by pattern"}, {whole, "End by pattern"},
		{program, "Section by sections/sha1"}, {"harmless", ""},
	} {
		for _, kinds := range [][]string{{}, {"zip"}, {"tar"}, {"gz"}, {"zst"}, {"tar", "gz"}, {"zip", "tar", "zst", "zip"}, slices.Repeat([]string{"zip", "gz", "tar", "zst"}, 4)} {
			object, path := tc.content, []string{}
			for i, k := range kinds {
				name := fmt.Sprintf("%d/x", i)
				object = packed(t, k, name, object)
				if k == "zst" {
					name = "content"
				}
				path = append([]string{name}, path...)
			}
			want := tc.want
			if want != "" && len(path) > 0 {
				want += " in " + strings.Join(path, "//")
			}
			what := fmt.Sprintf("%.20q in %v", tc.content, kinds)
			if got := inMember(eachWay(t, e, what, object)); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
			if !strings.Contains(want, "hash/") {
				want = ""
			}
			if got := inMember(eachWay(t, hashes, what+", hashes alone", object)); got != want {
				t.Errorf("%s, hashes alone: %q, want %q", what, got, want)
			}
		}
	}
}

// A tree of containers is made at random, and what is in it is looked for.
func TestTreesOfContainers(t *testing.T) {
	_, e := database{lines: map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}}.engines(t, Options{})
	hits := 0 // at a place where no container has the mark in clear
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 9))
		var want []string // the members with the mark, in their order
		var tree func(depth int, path string) string
		tree = func(depth int, path string) string {
			if depth == 0 || rng.IntN(3) == 0 {
				content := strings.Repeat(fmt.Sprint(rng.Uint32()), 1+rng.IntN(2000))
				if rng.IntN(12) == 0 {
					content += "marked"
					want = append(want, path)
				}
				return content
			}
			kind := []string{"zip", "tar", "gz", "zst"}[rng.IntN(4)]
			n := 1 + rng.IntN(4)
			if kind == "gz" || kind == "zst" {
				n = 1
			}
			var pairs []string
			for i := range n {
				name := fmt.Sprintf("%s%d", kind, i)
				below := name
				if kind == "zst" {
					below = "content"
				}
				if path != "" {
					below = path + "//" + below
				}
				pairs = append(pairs, name, tree(depth-1, below))
			}
			return packedAll(t, kind, pairs...)
		}
		object := tree(5, "")
		r := eachWay(t, e, fmt.Sprint("seed ", seed), object)
		if r.Err != nil || r.Limits != "" || r.Unread != "" || (r.Verdict == Malicious) != (len(want) > 0) || len(want) > 0 && r.Member != want[0] {
			t.Errorf("seed %d: %+v, want a hit in %q", seed, r, want)
		}
		if len(want) > 0 {
			hits++
		}
	}
	if hits < 15 || hits > 50 {
		t.Errorf("%d of 60 have a hit: the test asks too little", hits)
	}
}

// What holds for files holds for members: unwanted applications and ignored names are left out, the file's own finding comes first, the strongest one wins.
func TestOfSeveralFindingsTheStrongestIsReported(t *testing.T) {
	both := packedAll(t, "zip", "a", "pua-one", "b", "ignored-one", "c", "bad-one", "d", "bad-two")
	d := database{lines: map[string][]string{"patterns": {"Bad.1:0:0:6261642d6f6e65", "Bad.2:0:0:6261642d74776f", "Ignored:0:0:69676e6f7265642d6f6e65"}, "patternspua": {"Pua:0:0:7075612d6f6e65"}}, ignore: []string{"Ignored"}}
	light, _ := d.engines(t, Options{})
	if got := inMember(eachWay(t, light, "all", both)); got != "Bad.1 by pattern in c" {
		t.Errorf("%q", got)
	}
	light.o.PUA = true
	if got := inMember(eachWay(t, light, "all with PUA", both)); got != "Pua by patternpua in a" {
		t.Errorf("%q", got)
	}
	d.rows = sections{"whole/md5": {listed(dbformat.MD5, both, true, "Whole")}}
	light, _ = d.engines(t, Options{})
	if got := inMember(eachWay(t, light, "the file itself", both)); got != "Whole by whole/md5" {
		t.Errorf("%q", got)
	}
	// What is only suspected gives way to what is known, also when it comes first.
	sus := packedAll(t, "tar", "a", "suspected", "b", "suspected, too", "c", "bad-one", "d", "x")
	d.rows = sections{"hash/md5": {listed(dbformat.MD5, "suspected", true, "S"), listed(dbformat.MD5, "suspected, too", true, "S")}}
	light, _ = d.engines(t, Options{})
	if got := inMember(eachWay(t, light, "suspected and bad", sus)); got != "Bad.1 by pattern in c" {
		t.Errorf("%q", got)
	}
	if r := eachWay(t, light, "suspected", packed(t, "tar", "a", "suspected")); r.Verdict != Suspected || r.Member != "a" || r.Signature != "hash/md5" {
		t.Errorf("%+v", r)
	}
}

// An allow record allows the object that it is about and everything in it, but for what is stronger evidence than itself, and nothing beside it. So has it
// clamscan (TestArchivesAgreeWithClamscan), for which no evidence is stronger.
func TestAllowRecordsAndContainers(t *testing.T) {
	const bad, other = "bad-one, known", "bad-two"
	inner := packedAll(t, "zip", "x", "harmless", "bad", bad)
	outer := packedAll(t, "tar", "inner", inner, "other", other)
	allow := func(a dbformat.Algorithm, content string) sections {
		return sections{"allow/" + a.String(): {listed(a, content, true, "Good")}}
	}
	lines := []string{"Bad.1:0:0:6261642d6f6e65", "Bad.2:0:0:6261642d74776f"} // a tar file has the bytes of its members in clear
	byHash := sections{"hash/sha1": {listed(dbformat.SHA1, bad, true, "Hash")}}
	with := func(s sections, more sections) sections {
		all := sections{}
		for _, one := range []sections{s, more} {
			for name, rows := range one {
				all[name] = append(all[name], rows...)
			}
		}
		return all
	}
	override := func(content string, v Verdict) Options {
		return Options{Overrides: func(sum [32]byte) (Verdict, string, bool) {
			return v, "Override", fmt.Sprintf("%x", sum) == hexSHA256(content)
		}}
	}
	for _, tc := range []struct {
		name string
		rows sections
		o    Options
		want string
	}{
		{"none", nil, Options{}, "Bad.1 by pattern in inner//bad"},
		{"the file by MD5", allow(dbformat.MD5, outer), Options{}, "allowed Good by allow/md5"},
		{"the file by SHA-256", with(allow(dbformat.SHA256, outer), byHash), Options{}, "allowed Good by allow/sha256"},
		{"the file by MD5, a member known by SHA-1", with(allow(dbformat.MD5, outer), byHash), Options{}, "Hash by hash/sha1 in inner//bad"},
		{"the file by SHA-1, a member known by SHA-1", with(allow(dbformat.SHA1, outer), byHash), Options{}, "allowed Good by allow/sha1"},
		{"the container inside", allow(dbformat.MD5, inner), Options{}, "Bad.2 by pattern in other"},
		{"the member", allow(dbformat.SHA1, bad), Options{}, "Bad.2 by pattern in other"},
		{"both members", with(allow(dbformat.SHA1, bad), allow(dbformat.SHA256, other)), Options{}, ""},
		{"a member weakly, which is known by SHA-1", with(allow(dbformat.MD5, bad), byHash), Options{}, "Hash by hash/sha1 in inner//bad"},
		{"what does no harm", allow(dbformat.SHA256, "harmless"), Options{}, "Bad.1 by pattern in inner//bad"},
		{"an override for the file", nil, override(outer, Allowed), "allowed Override by "},
		{"an override for the container inside", nil, override(inner, Allowed), "Bad.2 by pattern in other"},
		{"an override for the member", nil, override(bad, Allowed), "Bad.2 by pattern in other"},
		{"an override against what does no harm", nil, override("harmless", Malicious), "Override by  in inner//x"},
	} {
		_, e := database{lines: map[string][]string{"rest patterns": lines}, rows: tc.rows}.engines(t, tc.o)
		r := eachWay(t, e, tc.name, outer)
		if got := inMember(r); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
		if strings.Contains(tc.want, "Override") != (r.Source == SourceOverride) {
			t.Errorf("%s: source %s", tc.name, r.Source)
		}
	}
}

// What a logical signature asks about the containers around an object is told.
func TestContainersOfSignatures(t *testing.T) {
	old := []byte(packed(t, "tar", "m", "marked"))
	copy(old[257:], make([]byte, 8))
	copy(old[148:], fmt.Sprintf("%06o\x00 ", func() (sum int) {
		for i, c := range old[:512] {
			if i >= 148 && i < 156 {
				c = ' '
			}
			sum += int(c)
		}
		return sum
	}()))
	objects := map[string]string{
		"file": "marked", "zip": packed(t, "zip", "m", "marked"), "gz": packed(t, "gz", "m", "marked"), "tar": packed(t, "tar", "m", "marked"), "old tar": string(old),
		"zst": packed(t, "zst", "m", "marked"), "program": peFile(false, sector("one")) + packed(t, "zip", "m", "marked"), "data": "\xff\x00" + packed(t, "zip", "m", "marked"), "zip in tar": packed(t, "tar", "z", packed(t, "zip", "m", "marked")),
		"tar in gz": packed(t, "gz", "z", packed(t, "tar", "m", "marked")),
	}
	for asked, want := range map[string]string{
		"Container:CL_TYPE_ZIP": "data,program,zip,zip in tar", "Intermediates:CL_TYPE_MSEXE>CL_TYPE_ZIP": "program", "Intermediates:CL_TYPE_BINARY_DATA>CL_TYPE_ZIP": "data", "Container:CL_TYPE_GZ": "gz", "Container:CL_TYPE_POSIX_TAR": "tar,tar in gz", "Container:CL_TYPE_OLD_TAR": "old tar",
		"Container:CL_TYPE_ANY": "file", "Intermediates:CL_TYPE_POSIX_TAR>CL_TYPE_ZIP": "zip in tar", "Intermediates:CL_TYPE_GZ>CL_TYPE_POSIX_TAR": "tar in gz",
		"Container:CL_TYPE_PDF": "",
	} {
		// The mark stands in clear in a tar file as well: the first byte of the object is where it has to be.
		line := fmt.Sprintf("A;Engine:81-255,Target:0,%s;0;0:6d61726b6564", asked)
		_, e := database{lines: map[string][]string{"patterns": {line}}}.engines(t, Options{})
		var got []string
		for name, object := range objects {
			if eachWay(t, e, name, object).Verdict == Malicious {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if strings.Join(got, ",") != want {
			t.Errorf("%s: %q, want %q", asked, got, want)
		}
	}
}

// A limit is said and is no error, what came before it is matched, and the next object is looked at in full.
func TestLimitsOfArchivesAreSaid(t *testing.T) {
	zeros := strings.Repeat("\x00", 20<<20)
	marks := database{lines: map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}}
	_, e := marks.engines(t, Options{})
	if r := eachWay(t, e, "zeros, as files have them", packed(t, "gz", "", zeros+"marked")); r.Verdict != Malicious || r.Limits != "" {
		t.Errorf("zeros, as files have them: %+v", r)
	}
	_, e = marks.engines(t, Options{Archives: Archives{Limits: archive.Limits{RatioFrom: 1 << 20}}})
	if r := eachWay(t, e, "a bomb", packed(t, "gz", "", packed(t, "gz", "", zeros))); r.Verdict != Clean || r.Err != nil || !strings.Contains(r.Limits, "ratio") {
		t.Errorf("a bomb: %+v", r)
	}
	deep := "marked"
	for range 20 {
		deep = packed(t, "zip", "z", deep)
	}
	many := make([]string, 0, 40)
	for i := range 20 {
		many = append(many, fmt.Sprint(i), fmt.Sprint("content ", i))
	}
	many[39] = "marked"
	for _, tc := range []struct {
		name, object string
		l            archive.Limits
		want         string // in Limits; "" for a finding in spite of the limit
	}{
		{"deep", deep, archive.Limits{}, "over the limit of depth (17)"},
		{"deep, and may be", deep, archive.Limits{Depth: 21}, ""},
		{"many", packedAll(t, "zip", many...), archive.Limits{Members: 19}, "over the limit of members (19)"},
		{"just not too many", packedAll(t, "zip", many...), archive.Limits{Members: 20}, ""},
		{"a long member", packed(t, "zip", "m", zeros[:5000]+"marked"), archive.Limits{MemberBytes: 5000}, `member "m": not unpacked further: over the limit of member bytes (5000)`},
		{"all of them", packedAll(t, "zip", "a", zeros[:3000], "b", zeros[:3000]+"marked"), archive.Limits{TotalBytes: 5000}, "over the limit of total bytes (5000)"},
		{"a long member behind the mark", packed(t, "zip", "m", "marked"+zeros[:5000]), archive.Limits{MemberBytes: 6}, ""},
		{"inside", packed(t, "tar", "t", packed(t, "zip", "m", zeros[:5000])), archive.Limits{MemberBytes: 4500}, `t: member "m": not unpacked further`},
	} {
		_, e := database{lines: map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}}.engines(t, Options{Archives: Archives{Limits: tc.l}})
		r := eachWay(t, e, tc.name, tc.object)
		if r.Err != nil || !strings.Contains(r.Limits, tc.want) || (r.Verdict == Malicious) != (tc.want == "") {
			t.Errorf("%s: %+v, want %q", tc.name, r, tc.want)
		}
		if r := eachWay(t, e, "the next one", packed(t, "zip", "m", "marked")); r.Verdict != Malicious || r.Limits != "" {
			t.Errorf("after %s: %+v", tc.name, r)
		}
	}
}

// What the members of one object cost together is bounded, not only what each of them does: ten thousand may be in it.
func TestMembersShareWhatTheyMayCost(t *testing.T) {
	const alone = 11_000 // steps, which one of them does not need
	costly := strings.Repeat("abcdef", 5_000)
	_, e := database{lines: map[string][]string{"patterns": {"Anchored:0:*:616263646566616263646566616263646566??7a7a", "A:0:EOF-6:6d61726b6564"}}}.engines(t, Options{MaxSteps: alone})
	if r := eachWay(t, e, "alone", costly); r.Verdict != Clean || r.Err != nil {
		t.Errorf("alone: %+v", r)
	}
	var many []string
	for i := range 5 * membersShare {
		many = append(many, fmt.Sprint(i), costly)
	}
	if r := eachWay(t, e, "few", packedAll(t, "zip", many[:2*membersShare]...)); r.Verdict != Clean || r.Err != nil {
		t.Errorf("as many as share: %+v", r)
	}
	if r := eachWay(t, e, "many", packedAll(t, "zip", many...)); r.Verdict != Failed || !errors.Is(r.Err, ErrLimit) {
		t.Errorf("many: %+v", r)
	}
	if r := eachWay(t, e, "many inside", packed(t, "tar", "t", packedAll(t, "zip", many...))); r.Verdict != Failed || !errors.Is(r.Err, ErrLimit) {
		t.Errorf("many, inside another: %+v", r)
	}
	if r := eachWay(t, e, "the next", packed(t, "zip", "m", costly)); r.Verdict != Clean || r.Err != nil {
		t.Errorf("the next object: %+v", r)
	}
}

// The name of a tar's first member stands where other files have their magic. It hides nothing, also where it is that of another container.
func TestTheNameOfATarIsNotItsKind(t *testing.T) {
	_, e := database{rows: sections{"hash/sha256": {listed(dbformat.SHA256, "listed", true, "Listed")}}}.engines(t, Options{})
	for _, name := range []string{"MZx", "\x7fELF\x02\x01", "PK\x03\x04", "%PDF-1.4", "GIF89a"} {
		object := packedAll(t, "tar", name, "first", "b", "listed")
		for what, object := range map[string]string{"tar": object, "tar.gz": packed(t, "gz", "", object)} {
			if r := eachWay(t, e, what, object); r.Verdict != Malicious || r.Name != "Listed" {
				t.Errorf("%s with %q: %+v", what, name, r)
			}
		}
	}
}

// A zip may begin anywhere in a file or a member that is no container, and what is in it is found, by whatever way the object comes and wherever its first bytes are cut.
func TestZipsBehindOtherBytes(t *testing.T) {
	const listedAlone = "listed, and in nothing else"
	rows := sections{"hash/sha256": {listed(dbformat.SHA256, listedAlone, true, "Listed")}}
	_, e := database{lines: map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}, rows: rows}.engines(t, Options{})
	hashes := full(t, Options{}, rows)
	inner := packedAll(t, "zip", "a", "first", "b", listedAlone)
	for _, before := range []string{"\xff\x80 other", "#!/bin/sh\nexec unzip\n", peFile(false, sector("one")), "PK\x03\x04"[1:] + "\xff other", strings.Repeat("\xff\x00 ", 200_000)} {
		for _, object := range []string{before + inner, packed(t, "gz", "g", before+inner), packed(t, "tar", "t", packed(t, "zip", "z", before+inner))} {
			for what, e := range map[string]*Engine{"all": e, "hashes": hashes} {
				if r := eachWay(t, e, what, object); r.Verdict != Malicious || r.Name != "Listed" || !strings.HasSuffix(r.Member, "b") || r.Unread != "" {
					t.Errorf("%s, behind %.20q: %+v", what, before, r)
				}
			}
		}
	}
	for _, at := range []int{bufferSize - 5, bufferSize - 4, bufferSize - 3, bufferSize - 2, bufferSize - 1, bufferSize, bufferSize + 1, 3*bufferSize - 2} {
		object := strings.Repeat("\xff\x01", at)[:at] + inner
		if r := eachWay(t, e, "cut", object); r.Verdict != Malicious || r.Member != "b" {
			t.Errorf("at %d: %+v", at, r)
		}
	}
	// No zip is no damage, and containers that are not to be opened are not.
	for _, object := range []string{"\xff PK\x03\x04 and nothing", strings.Repeat("\xffPK\x03\x04\x14\x00\x00\x00\x08\x00", 1000)} {
		if r := eachWay(t, e, "no zip", object); r.Verdict != Clean || r.Unread != "" || r.Limits != "" || r.Err != nil {
			t.Errorf("no zip: %+v", r)
		}
	}
	e.o.Archives.Off = true
	if r := eachWay(t, e, "off", "\xff other"+inner); r.Verdict != Clean {
		t.Errorf("off: %+v", r)
	}
}

// However the reads are cut, the first signature is where it is.
func TestEmbeddedZipIsFoundOverEdges(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 5))
	for range 20_000 {
		b := make([]byte, rng.IntN(30))
		for i := range b {
			b[i] = "PK\x03\x04"[rng.IntN(4)]
		}
		z := embeddedZip{on: true}
		for rest := b; len(rest) > 0; {
			n := 1 + rng.IntN(len(rest))
			z.write(rest[:n])
			rest = rest[n:]
		}
		want := int64(bytes.Index(b, []byte("PK\x03\x04")))
		if z.found != (want >= 0) || z.found && z.at != want {
			t.Fatalf("%t at %d in %q, want %d", z.found, z.at, b, want)
		}
	}
}

// A member that uses up what all may hash of sections beside their size takes nothing from those that need none of it.
func TestOverlappingSectionsOfAMemberHideNoOther(t *testing.T) {
	_, e := database{rows: sections{"sections/sha1": {listed(dbformat.SHA1, sector("one"), false, "One")}}}.engines(t, Options{})
	program := peFile(false, sector("one"))
	if r := eachWay(t, e, "alone", program); r.Verdict != Malicious {
		t.Fatalf("alone: %+v", r)
	}
	for _, names := range [][]string{{"a", string(overlapping()), "b", program}, {"a", string(overlapping()), "b", string(overlapping()), "c", program}} {
		if r := eachWay(t, e, "behind the other", packedAll(t, "zip", names...)); r.Verdict != Malicious || r.Name != "One" || !errors.Is(r.Err, ErrLimit) {
			t.Errorf("%d members: %+v", len(names)/2, r)
		}
	}
}

// A broken or encrypted member is said and is no error, and the others are matched.
func TestWhatCannotBeUnpackedIsSaid(t *testing.T) {
	_, e := database{lines: map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}, rows: sections{"hash/md5": {listed(dbformat.MD5, "", false, "Empty")}}}.engines(t, Options{})
	random := make([]byte, 9000)
	rand.NewChaCha8([32]byte{3}).Read(random)
	z := []byte(packedAll(t, "zip", "a", string(random), "b", "nothing"))
	const localFlags, entryFlags = 6, 8
	encrypted := bytes.Clone(z)
	encrypted[localFlags] |= 1
	encrypted[bytes.Index(encrypted, []byte("PK\x01\x02"))+entryFlags] |= 1
	broken := bytes.Clone(z)
	broken[5000] ^= 0x55
	gz := packed(t, "gz", "m", string(random)+"marked")
	for name, tc := range map[string]struct {
		object string
		found  bool
		want   string
	}{
		"encrypted":       {string(encrypted), false, `zip, member "a": encrypted member`},
		"broken":          {string(broken), false, `zip, member "a" after`},
		"broken and more": {string(broken) + packed(t, "zip", "c", "marked"), true, ""},
		"cut":             {gz[:len(gz)-9], true, ""},
		"cut earlier":     {gz[:len(gz)-400], false, `gzip, member "m" after`},
		"cut inside":      {packed(t, "tar", "t", gz[:len(gz)-400]), false, `t: gzip, member "m" after`},
		"twice":           {packedAll(t, "tar", "t", gz[:len(gz)-400], "u", gz[:len(gz)-500]), false, "; and 1 more"},
	} {
		r := eachWay(t, e, name, tc.object)
		if r.Err != nil || r.Limits != "" || !strings.Contains(r.Unread, tc.want) || (r.Verdict == Malicious) != tc.found || !tc.found && r.Verdict != Clean {
			t.Errorf("%s: %+v, want %q", name, r, tc.want)
		}
	}
}

func TestArchivesCanBeLeftAlone(t *testing.T) {
	object := packed(t, "zip", "m", strings.Repeat(" ", 1000)+"marked")
	path := write(t, filepath.Join(t.TempDir(), "f"), object)
	lines := map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}
	_, off := database{lines: lines}.engines(t, Options{Archives: Archives{Off: true}})
	if r := eachWay(t, off, "off", object); r.Verdict != Clean {
		t.Errorf("%+v", r)
	}
	hashes := full(t, Options{Archives: Archives{Off: true}}, sections{"hash/md5": {listed(dbformat.MD5, strings.Repeat(" ", 1000)+"marked", true, "A")}})
	if r := hashes.ScanReader(t.Context(), strings.NewReader(object)); r.Verdict != Clean {
		t.Errorf("%+v", r)
	}
	_, on := database{lines: lines}.engines(t, Options{})
	for e, want := range map[*Engine]map[*Archives]Verdict{
		off: {nil: Clean, {}: Malicious, {Limits: archive.Limits{MemberBytes: 900}}: Clean},
		on:  {nil: Malicious, {Off: true}: Clean},
	} {
		for a, want := range want {
			if r := slices.Collect(scanAll(t, e, ScanOptions{Archives: a}, path))[0]; r.Verdict != want {
				t.Errorf("%+v: %+v, want %s", a, r, want)
			}
		}
	}
}

// What does not fit into memory goes to files that nobody finds anything in, and nothing is left of them, whatever ends the scan.
func TestNothingOfArchivesIsLeft(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	before := runtime.NumGoroutine()
	_, e := database{lines: map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}}.engines(t, Options{Archives: Archives{Limits: archive.Limits{Memory: 128 << 10}}})
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{5}).Read(noise)
	object := packedAll(t, "tar", "a", packed(t, "gz", "x", string(noise)), "b", packed(t, "zst", "", string(noise)), "c", packed(t, "zip", "m", string(noise)+"marked"))
	if got := inMember(eachWay(t, e, "more than memory", object)); got != "A by pattern in c//m" {
		t.Errorf("%q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reads := 0
	stop := readerAt{strings.NewReader(object), func() {
		if reads++; reads == 9 {
			cancel()
		}
	}}
	if r := e.ScanReader(ctx, stop); r.Verdict != Failed || !errors.Is(r.Err, context.Canceled) {
		t.Errorf("cancelled after %d reads: %+v", reads, r)
	}
	if r := e.ScanBytes(ctx, []byte(object)); r.Verdict != Failed || !errors.Is(r.Err, context.Canceled) {
		t.Errorf("cancelled: %+v", r)
	}
	// No room is an error: the object was not looked at as far as its limits allow.
	e.scanners = scanners{}
	t.Setenv("TMPDIR", filepath.Join(temp, "nowhere"))
	t.Setenv("TMP", filepath.Join(temp, "nowhere"))
	if r := e.ScanBytes(t.Context(), []byte(object)); r.Verdict != Failed || !strings.Contains(r.Error, "no room") {
		t.Errorf("without a folder for temporary files: %+v", r)
	}
	names, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "avdb-") {
			t.Errorf("%s is left", n.Name())
		}
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// A readerAt calls f before each read by position.
type readerAt struct {
	*strings.Reader
	f func()
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	r.f()
	return r.Reader.ReadAt(p, off)
}

// A file that changes while its members are looked at is an error, and a reader that breaks as well.
func TestArchivesThatChange(t *testing.T) {
	_, e := database{lines: map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}}.engines(t, Options{})
	noise := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{7}).Read(noise)
	object := packedAll(t, "zip", "a", string(noise), "b", string(noise))
	dead := errors.New("line is dead")
	reads := 0
	r := e.ScanReader(t.Context(), brokenAt{strings.NewReader(object), func() error {
		if reads++; reads > 4 {
			return dead
		}
		return nil
	}})
	if r.Verdict != Failed || !errors.Is(r.Err, dead) || r.Unread != "" {
		t.Errorf("a reader that breaks: %+v", r)
	}
}

type brokenAt struct {
	*strings.Reader
	f func() error
}

func (r brokenAt) ReadAt(p []byte, off int64) (int, error) {
	if err := r.f(); err != nil {
		return 0, err
	}
	return r.Reader.ReadAt(p, off)
}

// A cloud is asked about members as about files, in one call for each file, and never about more than a call may have.
func TestCloudsSettleMembers(t *testing.T) {
	const first, second = "the first", "the second"
	rows := sections{"hash/sha256": {listed(dbformat.SHA256, first, true, "A"), listed(dbformat.SHA256, second, true, "B")}}
	object := packedAll(t, "zip", "x", "harmless", "a", first, "t", packed(t, "tar", "b", second))
	sums := map[[32]byte]string{listed(dbformat.SHA256, first, true, "").Hash: "a", listed(dbformat.SHA256, second, true, "").Hash: "t//b", listed(dbformat.SHA256, object, true, "").Hash: "itself"}
	for name, tc := range map[string]struct {
		say  map[string]Settled // by member
		more sections
		want Result
		asks int
	}{
		"both clean":                   {map[string]Settled{"a": {Verdict: Clean, Age: minutes(2)}, "t//b": {Verdict: Clean}}, nil, Result{Verdict: Clean, Source: SourceCloud, Age: 120}, 2},
		"the second is malicious":      {map[string]Settled{"a": {Verdict: Clean}, "t//b": {Verdict: Malicious, Name: "B", Source: "cache"}}, nil, Result{Verdict: Malicious, Name: "B", Signature: "hash/sha256", Source: "cache", Member: "t//b"}, 2},
		"open, and malicious":          {map[string]Settled{"a": {Verdict: Suspected}, "t//b": {Verdict: Malicious, Name: "B"}}, nil, Result{Verdict: Malicious, Name: "B", Signature: "hash/sha256", Source: SourceCloud, Member: "t//b"}, 2},
		"one is open":                  {map[string]Settled{"a": {Verdict: Clean}, "t//b": {Verdict: Suspected, Why: "busy"}}, nil, Result{Verdict: Suspected, Signature: "hash/sha256", Source: SourceLocal, Member: "t//b", Why: "busy"}, 2},
		"the file is allowed weakly":   {map[string]Settled{"a": {Verdict: Clean}, "t//b": {Verdict: Clean}}, sections{"allow/sha1": {listed(dbformat.SHA1, object, true, "Good")}}, Result{Verdict: Allowed, Name: "Good", Signature: "allow/sha1", Source: SourceLocal}, 2},
		"weakly, and is malicious":     {map[string]Settled{"a": {Verdict: Malicious, Name: "A"}, "t//b": {Verdict: Clean}}, sections{"allow/sha1": {listed(dbformat.SHA1, object, true, "Good")}}, Result{Verdict: Malicious, Name: "A", Signature: "hash/sha256", Source: SourceCloud, Member: "a"}, 2},
		"the file is allowed":          {nil, sections{"allow/sha256": {listed(dbformat.SHA256, object, true, "Good")}}, Result{Verdict: Allowed, Name: "Good", Signature: "allow/sha256", Source: SourceLocal}, 0},
		"a member is allowed":          {map[string]Settled{"a": {Verdict: Clean}}, sections{"allow/sha256": {listed(dbformat.SHA256, second, true, "Good")}}, Result{Verdict: Clean, Source: SourceCloud}, 1},
		"another one is known":         {nil, sections{"whole/md5": {listed(dbformat.MD5, "harmless", true, "Whole")}}, Result{Verdict: Malicious, Name: "Whole", Signature: "whole/md5", Source: SourceLocal, Member: "x"}, 0},
		"the file too, which is clean": {map[string]Settled{"a": {Verdict: Clean}, "t//b": {Verdict: Malicious, Name: "B"}, "itself": {Verdict: Clean}}, sections{"hash/sha256": {listed(dbformat.SHA256, object, true, "File")}}, Result{Verdict: Malicious, Name: "B", Signature: "hash/sha256", Source: SourceCloud, Member: "t//b"}, 3},
		"the file too, which is known": {map[string]Settled{"a": {Verdict: Malicious, Name: "A"}, "t//b": {Verdict: Clean}, "itself": {Verdict: Malicious, Name: "File"}}, sections{"hash/sha256": {listed(dbformat.SHA256, object, true, "File")}}, Result{Verdict: Malicious, Name: "File", Signature: "hash/sha256", Source: SourceCloud}, 3},
	} {
		asked, calls := 0, 0
		cloud := cloudFunc(func(_ context.Context, hits []Hit) []Settled {
			calls++
			var all []Settled
			for _, h := range hits {
				asked++
				if h.Algorithm != dbformat.SHA256 {
					t.Errorf("%s: asked about %s", name, h.Algorithm)
				}
				all = append(all, tc.say[sums[h.Sum]])
			}
			return all
		})
		all := sections{}
		for _, s := range []sections{rows, tc.more} {
			for section, r := range s {
				all[section] = append(all[section], r...)
			}
		}
		e := light(t, Options{Cloud: cloud}, all)
		got := e.ScanBytes(t.Context(), []byte(object))
		tc.want.SHA256, tc.want.Size = hexSHA256(object), int64(len(object))
		tc.want.MemberSHA256 = map[string]string{"a": hexSHA256(first), "t//b": hexSHA256(second), "x": hexSHA256("harmless")}[tc.want.Member]
		if tc.want.Verdict == Suspected {
			tc.want.Name = got.Name
		}
		if got != tc.want || asked != tc.asks || calls > 1 {
			t.Errorf("%s: %+v\nwant %+v; %d hits in %d calls, want %d", name, got, tc.want, asked, calls, tc.asks)
		}
		asked, calls = 0, 0
		path := write(t, filepath.Join(t.TempDir(), "f"), object)
		if inScan := slices.Collect(scanAll(t, e, ScanOptions{}, path))[0]; inMember(inScan) != inMember(got) || inScan.Path != path || asked != tc.asks {
			t.Errorf("%s in a scan: %+v, %d hits", name, inScan, asked)
		}
	}
}

// A file with more suspected members than one call may have is asked about as far as that goes, and stays suspected.
func TestManySuspectedMembers(t *testing.T) {
	var records []dbformat.Record
	var pairs []string
	for i := range 300 {
		content := fmt.Sprint("member ", i)
		records = append(records, listed(dbformat.SHA256, content, true, fmt.Sprint("M.", i)))
		pairs = append(pairs, fmt.Sprint(i), content)
	}
	object := packedAll(t, "zip", pairs...)
	most, mu := 0, sync.Mutex{} // a scan calls from several goroutines
	bad := listed(dbformat.SHA256, "member 200", true, "").Hash
	say := Clean
	cloud := cloudFunc(func(_ context.Context, hits []Hit) []Settled {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, len(hits))
		all := each(len(hits), Settled{Verdict: Clean})
		for i, h := range hits {
			if h.Sum == bad {
				all[i] = Settled{Verdict: say, Name: "M.200"}
			}
		}
		return all
	})
	e := light(t, Options{}, sections{"hash/sha256": records})
	dir := t.TempDir()
	for i := range 20 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), object)
	}
	for _, want := range []Verdict{Suspected, Malicious} {
		for r := range scanAll(t, e, ScanOptions{Cloud: cloud, Jobs: 4}, dir) {
			if r.Verdict != want || want == Suspected && (r.Member != "254" || !strings.Contains(r.Why, "more of its members")) || want == Malicious && (r.Member != "200" || r.Name != "M.200") {
				t.Errorf("%+v, want %s", r, want)
			}
		}
		say = Malicious
	}
	if most == 0 || most > maxHits {
		t.Errorf("%d hits in a call", most)
	}
}

// A member that takes too much work makes the object an error, as it would be one itself.
func TestTooMuchWorkInMembersIsSaid(t *testing.T) {
	_, e := database{lines: map[string][]string{"patterns": {"Anchored:0:*:616263646566616263646566616263646566??7a7a"}}}.engines(t, Options{MaxSteps: 1000})
	r := eachWay(t, e, "a member", packed(t, "zip", "m", strings.Repeat("abcdef", 50_000)))
	if r.Verdict != Failed || !errors.Is(r.Err, ErrLimit) || !strings.Contains(r.Error, `member "m": `) {
		t.Errorf("%+v, want ErrLimit", r)
	}
}

// Objects that are no containers cost no memory where containers are looked into.
func TestArchivesCostOthersNothing(t *testing.T) {
	if raced {
		return // sync.Pool then drops some of what it is given
	}
	for name, rows := range map[string]sections{"hashes": {"hash/md5": {listed(dbformat.MD5, "bad", true, "Bad")}}} {
		on, off := full(t, Options{}, rows), full(t, Options{Archives: Archives{Off: true}}, rows)
		content := []byte(strings.Repeat("quite clean. ", 100_000))
		path := write(t, filepath.Join(t.TempDir(), "f"), string(content))
		ctx := t.Context()
		for _, look := range []func(e *Engine) Result{
			func(e *Engine) Result { return e.ScanFile(ctx, path) },
			func(e *Engine) Result { return e.ScanBytes(ctx, content) },
		} {
			cost := func(e *Engine) float64 {
				return testing.AllocsPerRun(20, func() {
					if r := look(e); r.Verdict != Clean || r.Err != nil {
						t.Fatalf("%+v", r)
					}
				})
			}
			if a, b := cost(on), cost(off); a != b {
				t.Errorf("%s: %v allocations, %v without archives", name, a, b)
			}
		}
	}
}

// FuzzArchives: whatever the bytes, the verdict with all that is said beside it is the same by each way, and nothing panics or is an error.
func FuzzArchives(f *testing.F) {
	_, e := database{lines: map[string][]string{"patterns": {"A:0:EOF-6:6d61726b6564"}}}.engines(f, Options{Archives: Archives{Limits: archive.Limits{TotalBytes: 4 << 20, Members: 200, Depth: 6}}})
	hashes := full(f, Options{Archives: e.o.Archives}, sections{"hash/md5": {listed(dbformat.MD5, "marked", true, "Marked")}})
	for _, kind := range []string{"zip", "tar", "gz", "zst"} {
		f.Add([]byte(packed(f, kind, "m", "marked")))
		f.Add([]byte(packed(f, "zip", "x", packed(f, kind, "m", "not marked"))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range []*Engine{e, hashes} {
			want := e.ScanBytes(t.Context(), b)
			got := e.ScanReader(t.Context(), io.MultiReader(bytes.NewReader(b)))
			if got.SHA256, want.SHA256 = "", ""; got != want || want.Err != nil {
				t.Fatalf("as a stream %+v\nas bytes    %+v", got, want)
			}
		}
	})
}
