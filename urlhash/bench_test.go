package urlhash

import (
	"strings"
	"testing"
)

var benchmarked = []struct{ name, raw string }{
	{"plain", "https://www.example.com/news/2024/index.html?id=12345&lang=en"},
	{"deep", "http://a.b.c.d.e.example.co.uk/1/2/3/4/5.html?param=1"},
	{"escaped", "http://%77%77%77.example.com/%25%32%35/a/../%2e/b%20c?d=%253F"},
	{"idn", "http://bücher.example.com/ü"},
	{"longest", "http://example.com/" + strings.Repeat("%25", (MaxURL-19)/3)},
}

func BenchmarkCanonicalize(b *testing.B) {
	for _, v := range benchmarked {
		b.Run("url="+v.name, func(b *testing.B) {
			b.SetBytes(int64(len(v.raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Canonicalize(v.raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHashes(b *testing.B) {
	for _, v := range benchmarked {
		u, err := Canonicalize(v.raw)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("url="+v.name, func(b *testing.B) {
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n = len(u.Hashes())
			}
			b.ReportMetric(float64(n), "hashes")
		})
	}
}
