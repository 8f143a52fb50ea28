package main

import (
	"bytes"
	"testing"
)

// What the demo prints for people: a line for each step, failures too, and the sum.
func TestDemoText(t *testing.T) {
	var out bytes.Buffer
	show := (&app{stdout: &out}).demoText("/there")
	for _, v := range []any{
		demoLine{Title: "one thing", OK: true, Detail: "it held", Seconds: 0.0123, Bytes: 2345, Asked: 2},
		demoLine{Title: "another", Seconds: 1.5},
		demoResult{OK: true, Steps: 2, Seconds: 3.21, Dir: "there"},
	} {
		if err := show(v); err != nil {
			t.Fatal(err)
		}
	}
	const want = "✓ one thing                                   12 ms   2.35 kB  it held\n" +
		"✗ another                                   1500 ms            \n" +
		"\n2 steps held in 3.2 s; everything is in /there\n"
	if out.String() != want {
		t.Errorf("printed\n%q, want\n%q", out.String(), want)
	}
}
