package filetype

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

type headCase struct {
	name string
	head []byte
}

// benchmarked are heads of each way through Detect.
func benchmarked() []headCase {
	random := make([]byte, HeadSize)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(random)
	text := []byte(strings.Repeat("some words of text, and a newline\n", 1000))
	return []headCase{
		{"pe", append([]byte("MZ"), random...)},
		{"elf", append([]byte("\x7fELF"), random...)},
		{"zip", append([]byte("PK\x03\x04"), random...)},
		{"data", random},
		{"zeros", make([]byte, HeadSize)},
		{"text", text[:HeadSize]},
		{"text32k", text[:MaxHead]},
		{"html", append([]byte("<!DOCTYPE html>\n<html>\n"), text[:HeadSize-23]...)},
		{"mail", append([]byte("X: y\nFrom: me\nMIME-Version: 1.0\n"), text[:HeadSize-32]...)},
		{"worst", bytes.Repeat([]byte("<\n"), MaxHead/2)},
	}
}

func BenchmarkDetect(b *testing.B) {
	for _, c := range benchmarked() {
		b.Run("head="+c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.head)))
			b.ReportAllocs()
			for b.Loop() {
				Detect(c.head, int64(len(c.head)))
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	many := usual()
	hundred(&many, 300)
	for _, c := range []struct {
		name string
		kind Kind
		file []byte
	}{
		{"pe", PE, mangle(func(*peFile) {})},
		{"pe300", PE, buildPE(many)},
		{"elf", ELF, mangleELF(true, func(*elfFile) {})},
		{"none", Text, []byte("some text")},
	} {
		b.Run("file="+c.name, func(b *testing.B) {
			r := bytes.NewReader(c.file)
			b.ReportAllocs()
			for b.Loop() {
				Read(r, int64(len(c.file)), c.kind)
			}
		})
	}
}
