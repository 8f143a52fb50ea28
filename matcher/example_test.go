package matcher_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
	"example.org/avdb/urlhash"
)

// A product opens one matcher and keeps it: it follows every update by itself.
func ExampleOpen() {
	s, err := store.Open("/var/lib/avdb", store.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := matcher.Open(s, matcher.Options{MaxSize: 1 << 30})
	if err != nil {
		fmt.Println(err) // store.ErrNoDatabase before the first update
		return
	}
	defer m.Close()
	err = m.Scan(context.Background(), slices.Values([]string{"/home"}), matcher.ScanOptions{}, func(r matcher.Result) {
		if r.Verdict != matcher.Clean {
			fmt.Println(r.Path, r.Verdict, r.Name, r.Error)
		}
	})
	if err != nil {
		fmt.Println(err)
	}
}

// A product that keeps the light database alone gives the matcher a cloud. Here it is a full database in the same process; others ask
// over the network.
func ExampleCloud() {
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{
		dbformat.ClassHash.Section(dbformat.SHA256): {{Hash: sha256.Sum256([]byte("bad")), Size: 3, Name: "Test.Bad"}},
	}}
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	full, err := matcher.OpenGeneration(light, rest, matcher.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, cloud := range []matcher.Cloud{nil, network{full}} {
		e, err := matcher.OpenGeneration(light, nil, matcher.Options{Cloud: cloud})
		if err != nil {
			fmt.Println(err)
			return
		}
		r := e.ScanReader(context.Background(), strings.NewReader("bad"))
		fmt.Println(r.Verdict, r.Name, r.Source)
	}
	// Output:
	// suspected Prefix.SHA256.2f05d4 local
	// malicious Test.Bad cloud
}

// network answers as a server does: with all records that have the first 24 bits of the hash.
type network struct{ full *matcher.Engine }

func (n network) Settle(_ context.Context, hits []matcher.Hit) []matcher.Settled {
	var all []matcher.Settled
	for _, h := range hits {
		s := matcher.Settled{Verdict: matcher.Clean}
		err := n.full.WithPrefix(h.Algorithm, 24, binary.BigEndian.Uint32(h.Sum[:])>>8, func(k matcher.Known) bool {
			if k.Sum == h.Sum && (k.Size == dbformat.AnySize || int64(k.Size) == h.Size) && !k.Allowed && (!k.PUA || h.PUA) {
				s = matcher.Settled{Verdict: matcher.Malicious, Name: k.Name}
			}
			return true
		})
		if err != nil {
			s = matcher.Settled{Verdict: matcher.Suspected, Why: err.Error()}
		}
		all = append(all, s)
	}
	return all
}

// A product that filters web addresses asks about each before it is opened. Light alone suspects what full knows.
func ExampleEngine_LookupURL() {
	listed, err := urlhash.ParseEntry("evil.example") // as a line of a .urls source
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{
		dbformat.ClassURL.Section(dbformat.SHA256): {{Hash: urlhash.HashOf(listed), Name: "Test.Phishing"}},
	}}
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, rest := range []dbformat.LayerReader{nil, rest} {
		e, err := matcher.OpenGeneration(light, rest, matcher.Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, raw := range []string{"https://www.evil.example/login", "https://www.example.org/"} {
			u, err := urlhash.Canonicalize(raw)
			if err != nil {
				fmt.Println(err) // it could not be checked, which does not make it a good one
				return
			}
			r, err := e.LookupURL(u)
			fmt.Println(u, r.Verdict, r.Name, err)
		}
	}
	// Output:
	// https://www.evil.example/login suspected Prefix.URL.f001957 <nil>
	// https://www.example.org/ clean  <nil>
	// https://www.evil.example/login malicious Test.Phishing <nil>
	// https://www.example.org/ clean  <nil>
}

// Without a store: the layers of a release, as a publisher or a test has them.
func ExampleOpenGeneration() {
	bad := sha256.Sum256([]byte("bad"))
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{
		dbformat.ClassHash.Section(dbformat.SHA256): {{Hash: bad, Size: 3, Name: "Test.Bad"}},
	}}
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, rest := range []dbformat.LayerReader{nil, rest} {
		e, err := matcher.OpenGeneration(light, rest, matcher.Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		r, err := e.Lookup(dbformat.SHA256, bad[:], 3)
		fmt.Println(r.Verdict, r.Name, err)
	}
	// Output:
	// suspected Prefix.SHA256.2f05d4 <nil>
	// malicious Test.Bad <nil>
}
