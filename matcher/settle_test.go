package matcher

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// reputation is a network in a few lines: it answers from the full generation of the same release, by prefixes of the usual width.
type reputation struct {
	t    testing.TB
	full *Engine
}

func (c reputation) Settle(_ context.Context, hits []Hit) []Settled {
	all := make([]Settled, 0, len(hits))
	for _, h := range hits {
		s := Settled{Verdict: Clean, Source: "network"}
		err := c.full.WithPrefix(h.Algorithm, 24, binary.BigEndian.Uint32(h.Sum[:])>>8, func(k Known) bool {
			covers := k.Sum == h.Sum && (k.Size == dbformat.AnySize || int64(k.Size) == h.Size)
			if covers && !k.Allowed && (!k.PUA || h.PUA) && (s.Verdict == Clean || k.Name < s.Name) {
				s.Verdict, s.Name = Malicious, k.Name
			}
			return true
		})
		if err != nil {
			c.t.Error(err)
		}
		all = append(all, s)
	}
	return all
}

// randomFiles are contents, and a content of a release that knows them by this and that: by the wrong size, ignored, allowed, unwanted, whole.
func randomFiles(rng *rand.Rand) ([]string, *dbformat.Content) {
	var files []string
	for i := range 60 {
		files = append(files, fmt.Sprint(rng.Uint64(), strings.Repeat("x", i)))
	}
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}}
	for _, a := range dbformat.Algorithms() {
		for class, share := range map[dbformat.Class]int{dbformat.ClassHash: 3, dbformat.ClassPUA: 5, dbformat.ClassWhole: 12, dbformat.ClassWholePUA: 12, dbformat.ClassAllow: 8} {
			var records []dbformat.Record
			for _, f := range files {
				if rng.IntN(share) > 0 {
					continue
				}
				r := listed(a, f, rng.IntN(4) > 0, "")
				if rng.IntN(8) == 0 {
					r.Size++ // of another size, or of one byte
				}
				if rng.IntN(4) > 0 {
					r.Name = fmt.Sprintf("Test.%c", 'A'+rng.IntN(8))
				}
				records = append(records, r)
				if rng.IntN(4) == 0 { // a second one for the same hash
					records = append(records, dbformat.Record{Hash: r.Hash, Size: r.Size + 2, Name: "Test.Other"})
				}
			}
			for range rng.IntN(300) { // strangers, whose prefixes suspect clean files
				r := dbformat.Record{Size: rng.Uint32N(80), Name: "Test.Stranger"}
				randomHash(rng, r.Hash[:a.Size()])
				records = append(records, r)
			}
			if len(records) > 0 {
				c.Sections[class.Section(a)] = records
			}
		}
	}
	for i := range rng.IntN(3) {
		c.Ignore = append(c.Ignore, fmt.Sprintf("Test.%c", 'A'+i))
	}
	if rng.IntN(2) == 0 {
		r := listed(dbformat.SHA256, files[0], false, "")
		c.Ignore = append(c.Ignore, dbformat.DefaultName(dbformat.SHA256, r.Hash[:]))
	}
	return files, c
}

// TestLightAndCloudAreFull is the promise of cloud mode: with a network that knows the full database of the same release, the light
// generation gives the verdict and the name that the full one gives, for each file. Only where an exact signature of the light layer
// has decided without a question can the name be that of another record that covers the object.
func TestLightAndCloudAreFull(t *testing.T) {
	settled := map[Verdict]int{}
	asked, decided := 0, 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 77))
		files, c := randomFiles(rng)
		p := randomParams(rng, c)
		if seed%2 == 0 {
			p.Prefix = 8 // nearly every file is suspected
		}
		l, rest, err := dbformat.Build(c, p)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for i, f := range files {
			write(t, filepath.Join(dir, fmt.Sprintf("%02d", i)), f)
		}
		for _, pua := range []bool{false, true} {
			var engines [2]*Engine
			for i, rest := range []dbformat.LayerReader{nil, rest} {
				if engines[i], err = OpenGeneration(l, rest, Options{PUA: pua}); err != nil {
					t.Fatal(err)
				}
			}
			cloud := reputation{t, engines[1]}
			want := slices.Collect(scanAll(t, engines[1], ScanOptions{}, dir))
			alone := slices.Collect(scanAll(t, engines[0], ScanOptions{}, dir))
			got := slices.Collect(scanAll(t, engines[0], ScanOptions{Cloud: cloud, Jobs: 4}, dir))
			engines[0].o.Cloud = cloud
			for i := range want {
				for _, got := range []Result{got[i], engines[0].ScanFile(t.Context(), want[i].Path), engines[0].ScanReader(t.Context(), strings.NewReader(files[i]))} {
					same := got.Verdict == want[i].Verdict && got.Name == want[i].Name && got.Err == nil
					switch {
					case alone[i].Verdict == Suspected:
						asked++
						settled[got.Verdict]++
						if got.Source != "network" && got.Verdict != Allowed {
							t.Errorf("seed %d, file %d, pua %t: settled by %q", seed, i, pua, got.Source)
						}
					case alone[i].Verdict == Malicious && got.Verdict == want[i].Verdict:
						decided++
						same = got.Name == alone[i].Name && got.Source == SourceLocal
					}
					if !same {
						t.Fatalf("seed %d, file %d, pua %t, prefixes of %d bits:\nfull            %+v\nlight and cloud %+v\nlight alone     %+v", seed, i, pua, p.Prefix, want[i], got, alone[i])
					}
				}
			}
		}
	}
	t.Logf("%d answers settled %v, %d were not needed", asked, settled, decided)
	for _, v := range []Verdict{Clean, Malicious, Allowed} {
		if settled[v] < 200 {
			t.Errorf("%d suspicions became %s: the test asks too little", settled[v], v)
		}
	}
}
