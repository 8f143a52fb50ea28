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

func BenchmarkApplyDelta(b *testing.B) {
	id := dbformat.ClassHash.Section(dbformat.SHA256)
	for _, n := range []int{1e5, 1e6} {
		c := benchContent(n + n/1000)
		all := c.Sections[id]
		c.Sections[id] = all[:n]
		p := dbformat.ChooseParams(c, nil)
		from := makeRelease(b, c, p)
		c.Sections[id] = all[n/1000:]
		to := makeRelease(b, c, p)
		light, rest := step(b, from, to)
		b.Run(fmt.Sprintf("records=%d/layer=light", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(to.light.Header().Bytes())
			for b.Loop() {
				if _, err := applyLight(from.light, light); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(light))/float64(n/1000), "delta-bytes/record")
		})
		b.Run(fmt.Sprintf("records=%d/layer=rest", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(to.rest.Header().Bytes())
			for b.Loop() {
				_, err := dbformat.ApplyRestDelta(from.light, to.light, from.rest, bytes.NewReader(light), bytes.NewReader(rest), nowhere{})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(rest))/float64(n/1000), "delta-bytes/record")
		})
	}
}
