package dbformat_test

import (
	"bytes"
	"fmt"
	"testing"

	"example.org/avdb/dbformat"
)

func benchContent(n int) *dbformat.Content {
	id := dbformat.ClassHash.Section(dbformat.SHA256)
	return &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{id: records(dbformat.SHA256, n, 42)}}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1e5, 1e6} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			c := benchContent(n)
			p := dbformat.ChooseParams(c, nil)
			b.ReportAllocs()
			for b.Loop() {
				light, rest, err := dbformat.Build(c, p)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(light.Header().Bytes())/float64(n), "light-bytes/record")
				b.ReportMetric(float64(rest.Header().Bytes())/float64(n), "rest-bytes/record")
			}
		})
	}
}

// nowhere takes blocks and drops them.
type nowhere struct{}

func (nowhere) PutBlock(dbformat.SectionID, int, []byte) error { return nil }

func BenchmarkReadBundle(b *testing.B) {
	for _, n := range []int{1e5, 1e6} {
		for _, l := range both(b, benchContent(n)) {
			b.Run(fmt.Sprintf("records=%d/layer=%s", n, l.Header().Layer), func(b *testing.B) {
				file := bundle(b, l)
				b.ReportAllocs()
				b.SetBytes(l.Header().Bytes())
				for b.Loop() {
					if _, err := dbformat.ReadBundle(bytes.NewReader(file), l.Header().Layer, nowhere{}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(file))/float64(n), "bundle-bytes/record")
			})
		}
	}
}
