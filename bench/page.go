package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A page is what a section found.
type page struct {
	name, title, machine string
	load                 string // average before the section began, "" if it is not known
	quick                bool
	tables               []table
	pictures             []picture
	demands              []demand
}

// A table has a heading, words on how its figures came to be, and rows of as many cells as columns.
type table struct {
	title, how string
	columns    []string
	rows       [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// A demand is what an issue asks for, and what was found. got is empty where it could not be measured, and why says what was missing.
type demand struct {
	what, want, got string
	met             bool
	why             string
}

// A picture is an SVG file, and what it shows for whoever does not see it.
type picture struct {
	name, alt string
	svg       []byte
}

// row writes a row of a Markdown table.
func row(b *strings.Builder, cells []string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func (t *table) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n", t.title)
	if t.how != "" {
		b.WriteString(t.how + "\n\n")
	}
	row(b, t.columns)
	b.WriteString(strings.Repeat("| --- ", len(t.columns)) + "|\n")
	for _, r := range t.rows {
		row(b, r)
	}
}

// markdown is the whole page.
func (p *page) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\nMade by `cd bench && go run . %s`: %s.\n", p.title, p.name, p.machine)
	if p.load != "" {
		fmt.Fprintf(&b, "The load average of the machine was %s before it began; on one that did nothing else it is near 0.\n", p.load)
	}
	if p.quick {
		b.WriteString("\nA quick run: it shows that all of it works, and its figures mean nothing.\n")
	}
	t := table{title: "Demands", columns: []string{"what", "demand", "found", "met"}}
	for _, d := range p.demands {
		switch {
		case d.why != "":
			t.add(d.what, d.want, "not measured: "+d.why, "-")
		case d.met:
			t.add(d.what, d.want, d.got, "yes")
		default:
			t.add(d.what, d.want, d.got, "**no**")
		}
	}
	t.markdown(&b)
	for i := range p.tables {
		p.tables[i].markdown(&b)
	}
	for _, x := range p.pictures {
		fmt.Fprintf(&b, "\n![%s](%s)\n", x.alt, x.name)
	}
	return b.String()
}

// write puts page and pictures into dir.
func (p *page) write(dir string) error {
	err := os.WriteFile(filepath.Join(dir, p.name+".md"), []byte(p.markdown()), 0o644)
	for _, x := range p.pictures {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, x.name), x.svg, 0o644))
	}
	return err
}
