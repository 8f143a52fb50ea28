package dbformat_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

var scalar = regexp.MustCompile(`("\w+"):("[^"]*"|-?\d+|\[[^]{}[]*\])`)

// spoiled gives a JSON document with each of its values absent, null, empty, of a wrong type, negative, huge or twice, and cut.
func spoiled(doc string) (all []string) {
	for _, at := range scalar.FindAllStringSubmatchIndex(doc, -1) {
		key := doc[at[2]:at[3]]
		for _, v := range []string{"null", `""`, `"zz"`, "-1", "18446744073709551616", "1.5", "[]", "{}", `[""]`, doc[at[4]:at[5]] + "," + key + ":1"} {
			all = append(all, doc[:at[4]]+v+doc[at[5]:])
		}
		all = append(all, strings.Replace(doc[:at[0]]+doc[at[1]:], ",,", ",", 1))
		all = append(all, doc[:at[1]])
	}
	return append(all, "", "null", "[]", "{}", " "+doc, doc+"x", strings.Repeat("[", 200))
}

// Whatever bytes end a bundle, its table is refused or says where frames are, each of which is refused or decoded alone.
func FuzzBundleIndex(f *testing.F) {
	seeds(f, "bundle-light", "bundle-rest")
	l := both(f, sample(20, 21))[1]
	whole := bundle(f, l)
	for i := range 60 {
		b := bytes.Clone(whole)
		b[len(b)-1-i] ^= 1 << (i % 8)
		f.Add(uint8(1), b)
	}
	f.Add(uint8(1), whole)
	f.Fuzz(func(t *testing.T, _ uint8, b []byte) {
		x, err := dbformat.ReadBundleIndex(bytes.NewReader(b), int64(len(b)))
		known(t, err)
		if (err == nil) != (x != nil) {
			t.Fatalf("%v and %v", x, err)
		}
		if err != nil {
			return
		}
		for i, frame := range x.Frames {
			id := x.Sections[frame.Section].ID
			if got := x.Find(id, frame.First); got != i {
				t.Fatalf("the first block of frame %d is found in frame %d", i, got)
			}
			if x.Find(id, 1<<30) != -1 {
				t.Fatal("a block is found that cannot be")
			}
			if frame.Offset < 0 || frame.Offset+frame.Length > int64(len(b)) {
				t.Fatalf("frame %d lies outside: %+v", i, frame)
			}
			known(t, x.DecodeFrame(i, b[frame.Offset:frame.Offset+frame.Length], nowhere{}))
			known(t, x.DecodeFrame(i, b[frame.Offset:frame.Offset+frame.Length-1], nowhere{}))
		}
	})
}

// A source gives no more than its limit, whatever it unpacks to.
func FuzzSourceReader(f *testing.F) {
	names := []string{"a.hdb", "a.hdb.gz", "a.hdb.zst", "B.HDB.ZST"}
	texts := [][]byte{nil, []byte("a"), []byte(strings.Repeat("line\n", 100)), make([]byte, 70<<10)}
	for i := range names {
		for _, text := range texts {
			for _, b := range [][]byte{text, gz(f, text), zst(f, text)} {
				f.Add(uint8(i), b)
				f.Add(uint8(i), b[:len(b)/2])
				flipped := bytes.Clone(b)
				if len(b) > 0 {
					flipped[len(b)/3] ^= 0x10
				}
				f.Add(uint8(i), flipped)
			}
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		const limit = 64 << 10
		name := names[int(i)%len(names)]
		if dbformat.SourceName(name) == "" {
			t.Fatal("no name is left")
		}
		got, err := readSource(name, b, limit)
		known(t, err)
		if len(got) > limit {
			t.Fatalf("%d bytes, the limit is %d", len(got), limit)
		}
	})
}

// seedDocument adds a document and what is wrong with it.
func seedDocument(f *testing.F, docs ...string) {
	for _, doc := range docs {
		f.Add([]byte(doc))
		for _, bad := range spoiled(doc) {
			f.Add([]byte(bad))
		}
	}
}

// releaseDocuments are release records with and without a candidate.
func releaseDocuments(t testing.TB) (docs []string) {
	for _, share := range []uint32{0, 500} {
		r := sampleRecord()
		if share > 0 {
			c := r.Stable
			c.Version = 8
			r.Candidate = &dbformat.Candidate{Release: c, ShareBP: share}
		}
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, string(b))
		if share > 0 {
			docs = append(docs, strings.Replace(string(b), `"version":8`, `"version":7`, 1), strings.Replace(string(b), `"share_bp":500`, `"share_bp":10001`, 1))
		}
	}
	doc := docs[0]
	digest := fmt.Sprintf("%064d", 0)
	return append(docs,
		strings.Replace(doc, `"digest":"01`, `"digest":"02`, 1), strings.Replace(doc, doc[strings.Index(doc, `"digest":"`)+10:][:64], digest, 1),
		strings.Replace(doc, `"created":"2026`, `"created":"1969`, 1), strings.Replace(doc, `"min_engine":1`, `"min_engine":0`, 1))
}
