//go:build check

package clamscan_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/pattern"
	"example.org/avdb/updater"
)

// A forest is files with containers in them, and lines that know some of what is in them.
type forest struct {
	*maker
	t     *testing.T
	lines map[string][]string
	known int
}

// line adds a signature; its name is made of a word and a number.
func (f *forest) line(file, format string, args ...any) {
	f.known++
	f.lines[file] = append(f.lines[file], fmt.Sprintf(format, args...))
}

// name is that of the next signature.
func (f *forest) name(word string) string { return fmt.Sprintf("Made.%s.%d", word, f.known) }

// know makes up a signature for an object that is a member, or a whole file.
func (f *forest) know(b []byte, leaf bool) {
	choice := f.IntN(8)
	if !leaf {
		choice %= 3
	}
	const piece = 12
	at, program := f.IntN(max(1, len(b)-piece)), leaf && bytes.HasPrefix(b, []byte("MZ"))
	if program { // its headers are mostly zeros, which every file has
		at = len(b) - 2*sectionSize + f.IntN(2*sectionSize-piece)
	}
	hex := fmt.Sprintf("%x", b[at:min(len(b), at+piece)])
	switch choice {
	case 0:
		f.line("a.hdb", "%x:%d:%s", md5.Sum(b), len(b), f.name("MD5"))
	case 1:
		f.line("a.hsb", "%x:%d:%s", sha256.Sum256(b), len(b), f.name("SHA256"))
	case 2:
		f.line("a.sfp", "%x:%d:%s", sha256.Sum256(b), len(b), f.name("Good"))
	case 3:
		f.line("a.ndb", "%s:0:*:%s", f.name("Any"), hex)
	case 4:
		f.line("a.ndb", "%s:0:%d:%s", f.name("At"), at, hex)
	case 5:
		f.line("a.ndb", "%s:%d:EOF-%d:%s", f.name("End"), []int{0, 1}[f.IntN(2)], len(b)-at, hex)
	case 6:
		around := []string{"Container:CL_TYPE_ZIP", "Container:CL_TYPE_GZ", "Container:CL_TYPE_POSIX_TAR", "Container:CL_TYPE_ANY", "Intermediates:CL_TYPE_ZIP>CL_TYPE_GZ",
			"Intermediates:CL_TYPE_GZ>CL_TYPE_POSIX_TAR", "Intermediates:CL_TYPE_POSIX_TAR>CL_TYPE_ZIP"}
		f.line("a.ldb", "%s;Engine:81-255,Target:0,%s;0;%s", f.name("In"), around[f.IntN(len(around))], hex)
	case 7:
		if program {
			f.line("a.mdb", "%d:%x:%s", sectionSize, md5.Sum(b[len(b)-2*sectionSize:][:sectionSize]), f.name("Section"))
		}
	}
}

const sectionSize = 1024

// tree makes an object with containers of at most so many levels in it.
func (f *forest) tree(depth int) []byte {
	var b []byte
	leaf := depth == 0 || f.IntN(4) == 0
	if leaf {
		if f.IntN(4) == 0 {
			b = f.Program(pattern.TargetPE, 2, sectionSize, 0).Data
		} else {
			b = append([]byte("\x80\x01\x02"), f.Filler(20+f.IntN(3000))...)
		}
	} else {
		b = f.container(depth)
	}
	if f.IntN(14) == 0 {
		f.know(b, leaf)
	}
	return b
}

func (f *forest) container(depth int) []byte {
	var out bytes.Buffer
	switch f.IntN(5) {
	case 3: // behind other bytes, its directory right or moved or missing
		out.WriteString("\x80\x01\x02")
		out.Write(f.Filler(20 + f.IntN(3000)))
		whole := f.bareZip(depth)
		// Where a member has a directory of its own, clamscan takes that for the missing one and finds nothing.
		if dir := bytes.LastIndex(whole, []byte("PK\x01\x02")); f.IntN(3) == 0 && !bytes.Contains(whole[:dir], []byte("PK\x05\x06")) {
			whole = whole[:dir]
		}
		out.Write(whole)
	case 4: // with what is no number where one should be, or a size with other bytes behind it
		for i := range 1 + f.IntN(4) {
			out.Write(f.plainTar(fmt.Sprint("member", i), f.tree(depth-1)))
		}
		out.Write(make([]byte, 1024))
	case 0:
		z := zip.NewWriter(&out)
		for i := range 1 + f.IntN(4) {
			w, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprint("member", i), Method: []uint16{zip.Store, zip.Deflate}[f.IntN(2)]})
			must(f.t, err)
			_, err = w.Write(f.tree(depth - 1))
			must(f.t, err)
		}
		must(f.t, z.Close())
	case 1:
		z := tar.NewWriter(&out)
		for i := range 1 + f.IntN(4) {
			b := f.tree(depth - 1)
			must(f.t, z.WriteHeader(&tar.Header{Name: fmt.Sprint("member", i), Size: int64(len(b)), Mode: 0o600, Format: tar.FormatUSTAR}))
			_, err := z.Write(b)
			must(f.t, err)
		}
		must(f.t, z.Close())
	case 2:
		z := gzip.NewWriter(&out)
		if f.IntN(4) == 0 {
			z.Name, z.Comment, z.Extra = strings.Repeat("n", 1+f.IntN(1000)), strings.Repeat("c", f.IntN(1000)), make([]byte, f.IntN(1000))
		}
		_, err := z.Write(f.tree(depth - 1))
		must(f.t, err)
		must(f.t, z.Close())
	}
	return out.Bytes()
}

// bareZip has sizes in its local headers, without which clamscan finds no zip behind other bytes. Nothing is stored: clamscan looks for zips in the bytes of the whole file, and
// so once more, outside of it, at what an allow record of a stored member allows.
func (f *forest) bareZip(depth int) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := range 1 + f.IntN(4) {
		content := f.tree(depth - 1)
		h := &zip.FileHeader{Name: fmt.Sprint("member", i), Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(content), UncompressedSize64: uint64(len(content))}
		var packed bytes.Buffer
		d, err := flate.NewWriter(&packed, flate.BestCompression)
		must(f.t, err)
		_, err = d.Write(content)
		must(f.t, err)
		must(f.t, d.Close())
		h.CompressedSize64 = uint64(packed.Len())
		w, err := z.CreateRaw(h)
		must(f.t, err)
		_, err = w.Write(packed.Bytes())
		must(f.t, err)
	}
	must(f.t, z.Close())
	return out.Bytes()
}

// plainTar is a member of a tar file of which only the size has to be right.
func (f *forest) plainTar(name string, content []byte) []byte {
	h := make([]byte, 512)
	copy(h, name)
	for _, at := range []int{100, 108, 116, 136} { // mode, user, group, time
		if f.IntN(2) == 0 {
			copy(h[at:at+8], "no number")
		}
	}
	copy(h[124:136], []string{fmt.Sprintf("%011o", len(content)), fmt.Sprintf("%o junk", len(content)), fmt.Sprintf(" +%o", len(content)), fmt.Sprintf("%012o", 1<<32+len(content))}[f.IntN(4)])
	h[156] = "07SMV"[f.IntN(4)]
	copy(h[257:], "ustar\x0000")
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf([]string{"%06o\x00 ", "%07o\x00", "%06ozz"}[f.IntN(3)], sum))
	return append(append(h, content...), make([]byte, -len(content)&511)...)
}

// Of containers inside each other, of which signatures know members and allow records allow some, both programs detect the same files, and ours names a signature
// that clamscan has.
func TestArchivesAgreeWithClamscan(t *testing.T) {
	program := clamscan(t)
	files, detected, members, allowed := 0, 0, 0, 0
	for seed := range cells(3, 12) {
		f := &forest{maker: newMaker(uint64(100 + seed)), t: t, lines: map[string][]string{}}
		dir, folder := t.TempDir(), t.TempDir()
		var paths []string
		for i := range 120 {
			path := filepath.Join(dir, fmt.Sprintf("%03d", i))
			must(t, os.WriteFile(path, f.tree(1+f.IntN(6)), 0o600))
			paths = append(paths, path)
		}
		sources := map[string]string{}
		for name, lines := range f.lines {
			sources[name] = strings.Join(lines, "\n") + "\n"
			must(t, os.WriteFile(filepath.Join(folder, name), []byte(sources[name]), 0o600))
		}
		p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
		if r := p.Publish(sources); r.Rejected > 0 {
			t.Fatalf("rejected: %+v", r.Rejects)
		}
		e := fixtures.NewEndpoint(t, filepath.Join(t.TempDir(), "state"), p.Root(), nil, p.URL())
		_, err := e.Update(updater.Options{Variant: "full"})
		must(t, err)
		m, err := matcher.Open(e.Store, matcher.Options{})
		must(t, err)
		theirs := runClamscan(t, program, folder, paths)
		must(t, m.Scan(t.Context(), slices.Values(paths), matcher.ScanOptions{}, func(r matcher.Result) {
			files++
			if r.Err != nil || r.Limits != "" || r.Unread != "" && !strings.Contains(r.Unread, "tar") {
				t.Errorf("seed %d, %s: %+v", seed, r.Path, r)
			}
			if r.Verdict == matcher.Allowed {
				allowed++
			}
			if (r.Verdict == matcher.Malicious) != (len(theirs[r.Path]) > 0) || r.Verdict == matcher.Malicious && !theirs[r.Path][r.Name] {
				t.Errorf("seed %d, %s: %s %s in %q, clamscan has %v", seed, filepath.Base(r.Path), r.Verdict, r.Name, r.Member, names(theirs[r.Path]))
			}
			if r.Verdict == matcher.Malicious {
				detected++
				if r.Member != "" {
					members++
				}
			}
		}))
		must(t, m.Close())
	}
	t.Logf("%d files, %d detected, %d of them by a member; %d allowed", files, detected, members, allowed)
	if detected < files/4 || members < files/8 || detected > files*9/10 {
		t.Error("the test asks too little")
	}
}
