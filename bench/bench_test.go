package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The bench measures processes of its own kind: a test's is told so by its arguments as well.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == childArgument {
		if err := run(context.Background(), os.Args[1:], os.Stderr); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// quickly runs the command in its quick mode and gives a section's page and the folder that it stands in.
func quickly(t *testing.T, section string, args ...string) (page, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := run(t.Context(), append([]string{section, "--quick", "--out", dir}, args...), t.Output()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, section+".md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), dir
}

// The whole of it, small: every demand gets a figure, and every picture is one.
func TestEverySectionMeasuresItsDemands(t *testing.T) {
	for section, x := range map[string]struct {
		wants map[string]string
		tools []string
	}{
		"ksn":     {wants(), []string{"wrk", "nginx"}},
		"matcher": {matcherWants(), []string{"clamscan", "yara", "yarac"}},
	} {
		t.Run(section, func(t *testing.T) {
			for _, tool := range x.tools {
				if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "" {
					t.Skipf("%v: install it, the bench needs it", err)
				}
			}
			page, dir := quickly(t, section)
			for what, want := range x.wants {
				if !strings.Contains(page, "| "+what+" | "+want+" | ") {
					t.Errorf("the page has no line about %q", what)
				}
			}
			left := page
			if errNoVectorscan != nil {
				left = strings.ReplaceAll(left, "not measured: "+errNoVectorscan.Error(), "")
			}
			if strings.Contains(left, "not measured") {
				t.Errorf("a demand was not measured:\n%s", page)
			}
			checkPictures(t, page, dir)
			if host, err := os.Hostname(); err == nil && len(host) > 3 && strings.Contains(page, host) || strings.Contains(page, os.TempDir()+"/") {
				t.Error("the page names the machine or a folder of it")
			}
		})
	}
}

// checkPictures wants pictures that are on the page and have ink for both kinds of paper.
func checkPictures(t *testing.T, page, dir string) {
	t.Helper()
	pictures, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(pictures) == 0 {
		t.Fatalf("%d pictures: %v", len(pictures), err)
	}
	for _, name := range pictures {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(b)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if !bytes.Contains(b, []byte("prefers-color-scheme: dark")) || !strings.Contains(page, "]("+filepath.Base(name)+")") {
			t.Errorf("%s has one colour scheme only, or is not on the page", name)
		}
	}
}

// A machine without wrk gets a page all the same, which says what is missing.
func TestWithoutWrkThePageSaysSo(t *testing.T) {
	program, err := build(t.Context(), &bench{root: "..", dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	page, _ := quickly(t, "ksn", "--program", program)
	if n := strings.Count(page, errNoWrk.Error()); n != 4 {
		t.Errorf("%d demands say that wrk is missing, want 4:\n%s", n, page)
	}
	if !strings.Contains(page, demandCacheHit) {
		t.Error("what needs no wrk was not measured")
	}
}

func TestASectionThatDoesNotExist(t *testing.T) {
	if err := run(t.Context(), []string{"kns", "--quick"}, t.Output()); err == nil || !strings.Contains(err.Error(), "there are: ksn, matcher") {
		t.Errorf("the error is %v", err)
	}
}

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		nanos(812): "812 ns", nanos(1330): "1.33 µs", nanos(36_400): "36 µs", nanos(2_380_000): "2.38 ms", nanos(42e6): "42 ms",
		count(5): "5", count(1234): "1 234", count(5_000_000): "5 000 000", times(0.497): "0.50×",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if m := median([]float64{9, 1, 4}); m != 4 {
		t.Errorf("median = %v", m)
	}
	if m := median([]float64{9, 1, 4, 2}); m != 3 {
		t.Errorf("median of an even number = %v", m)
	}
}
