package publisher

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/pattern"
)

// FuzzPatternSources: whatever lines about patterns and sections say, each is accepted or a reject with a reason, what is stored can be read again, and no vector of
// the release comes out otherwise than it must: no line can make a release that endpoints refuse.
func FuzzPatternSources(f *testing.F) {
	hex := func(s string) string { return fmt.Sprintf("%x", s) }
	f.Add([]byte("A:0:*:a1b2c3d4\nB:1:EP+0:31c0??c3\nC:7:*:"+hex("no virus")+"\n"), []byte("L;Target:0;0|1=0;a1b2c3d4;"+hex("avdb")+"::iw\n"), []byte("512:"+hexMD5+":S\n*:"+hexSHA256+":S:73\n"))
	f.Add([]byte("A:0:*:a1b2c3d4\nA:0:*:A1B2C3D4\n:0:*:a1b2\nA:0:0,100:(a1|b2)c3d4{-5}e5f6*0000\n"), []byte("L;Engine:51-255,Target:1,FileSize:1-2;(0&1)>2,1;S0+1:0000;SE0:31c0\nL;Target:0;0;a1/b2/\n"), []byte("1:x:S\n512\n"))
	f.Add([]byte("# \n\nA:6:EOF-20:!(a1|b2)c3d4(B)\n"), []byte("L;Target:0;0=0;0000000000\n"), []byte("0:"+hexSHA1+":S\n"))
	f.Add([]byte("\xef\xbb\xbfA:9:SL+4:feedfacf0000\r\n\r\nB:0:*:a1b2{3-}c3d4[1-4]e5\n"), []byte("L;Target:7;0&(1|2)=0;"+hex("word")+"::if;"+hex("other")+"::wa;a1b2\n"), []byte("512:"+hexMD5+":S:73:209\n"))
	f.Add([]byte("A:1:SE3:a1b2c3d4:210:211\nB:1:S0,9:a1b2c3d4:1:209\nC:8:*:a1b2c3d4\nD:13:*:a1b2c3d4\nE:15:*:a1b2\n"), []byte("L;Container:CL_TYPE_ZIP,Target:0;0;a1b2c3\nM;Target:0\n"), []byte("1073741825:"+hexMD5+":S\n"))
	f.Add([]byte("A:0:*:a1b2c3d4\n"), []byte("A;Target:0;0;a1b2c3d4\n"), []byte("512:"+hexMD5+":A\n512:"+hexMD5+":B\n"))
	f.Add([]byte("A:0:*:"+hex("avdb tests with text number 0")+"\nB:0:0:54686973\n"), []byte("L;Target:1;0;EP+0:c3??::i\n"), []byte("*:"+hexSHA1+":S\n"))
	f.Add([]byte("\x00\n:::::\nA:0:*:{5-3}a1\n"), []byte(";;;;\nL;Target:0;0&&1;a1b2;c3d4\nL;Target:0;9;a1b2\n"), []byte("::::\n"))
	f.Fuzz(func(t *testing.T, bodies, logicals, sections []byte) {
		c, err := Compile(t.Context(), []string{folder(t, map[string]string{"a.ndb": string(bodies), "b.ldu": string(logicals), "c.msb": string(sections)})}, nil)
		if err != nil {
			if !errors.Is(err, ErrSources) {
				t.Fatal(err)
			}
			return
		}
		lines := uint64(0)
		for _, text := range [][]byte{bodies, logicals, sections} {
			n := 0
			for l := range bytes.Lines(text) {
				if n++; n == 1 {
					l = bytes.TrimPrefix(l, byteOrderMark)
				}
				if len(l) > MaxLine || content(l) != nil {
					lines++
				}
			}
		}
		by := uint64(0)
		for _, n := range c.RejectedBy {
			by += n
		}
		if c.Accepted+c.Rejected != lines || uint64(len(c.Rejects)) != c.Rejected || by != c.Rejected {
			t.Fatalf("%d lines, counts %+v, %d rejects listed, %d by kind", lines, c.Counts, len(c.Rejects), by)
		}
		for _, rows := range c.Content.RestPatterns {
			for _, row := range rows {
				if _, err := pattern.ParseRecord(row.Pattern); err != nil || !strings.HasPrefix(row.Name, selfTestPrefix) && nameFault([]byte(row.Name)) != "" {
					t.Fatalf("%q: %v", row.Name, err)
				}
			}
		}
		light, rest, err := dbformat.Build(c.Content, dbformat.ChooseParams(c.Content, nil))
		if err != nil {
			t.Fatal(err)
		}
		full := &observer{t, []*dbformat.MemLayer{light, rest}}
		for _, v := range c.Content.Vectors {
			known := full.known(v.Content)
			if want := v.Full == dbformat.ExpectMalicious; known[v.Section] != want {
				t.Fatalf("the vector of %q is known to %v", v.Section, known)
			}
			for id, hit := range known {
				if hit && v.Section == "" {
					t.Fatalf("%s knows benign content", id)
				}
			}
		}
	})
}
