package matcher_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
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
