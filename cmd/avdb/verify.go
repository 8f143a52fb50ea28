package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

// verifyReport is what `verify` prints.
type verifyReport struct {
	store.VerifyReport
	Version  uint64 `json:"version"`
	Deep     bool   `json:"deep"`
	SelfTest string `json:"self_test"` // ok, failed, or "" when it was not reached
}

func newVerify(a *app) *cobra.Command {
	var deep bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "prove that what is installed is what was signed",
		Long: `Read every block of the database that is in use and prove it against the digest that the signed release names; then
run the self-test. With --deep the kept earlier databases and every derived index are proved too. What is
damaged is healed by the next update: exit code 15.`,
		Example: `  avdb verify
  avdb verify --deep`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.protecting() // what is proved does not depend on settings
			if err != nil {
				return err
			}
			p := a.progress()
			var proved int64
			r := verifyReport{Deep: deep}
			r.VerifyReport, err = d.store.Verify(deep, func(n int64) {
				proved += n
				p.set("proving", proved, 0)
			})
			if err == nil {
				err = d.selfTest(&r)
			}
			p.end()
			if a.json {
				return a.reportJSON(r, err)
			}
			for _, l := range r.Layers {
				state := "ok"
				if !l.OK {
					state = "DAMAGED: " + escape(l.Error)
				}
				fmt.Fprintf(a.stdout, "release %d  %-5s  %s in %s  %s\n", l.Version, l.Layer, bytesText(l.Bytes), plural(l.Blocks, "block"), state)
			}
			for _, x := range r.Indexes {
				if !x.OK {
					a.warn("index %s is damaged and will be made anew: %s", x.Key, x.Error)
				}
			}
			if r.SelfTest != "" {
				fmt.Fprintf(a.stdout, "self-test  %s\n", r.SelfTest)
			}
			return err
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "prove the kept earlier databases and the indexes too")
	return c
}

// selfTest runs the vectors of the current generation.
func (d *device) selfTest(r *verifyReport) (err error) {
	cur, light, rest, err := d.store.OpenCurrent()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, light.Close())
		if rest != nil {
			err = errors.Join(err, rest.Close())
		}
	}()
	r.Version = cur.Version
	if rest == nil {
		err = matcher.SelfTest(light, nil)
	} else {
		err = matcher.SelfTest(light, rest)
	}
	r.SelfTest = "ok"
	if err != nil {
		r.SelfTest = "failed"
	}
	return err
}
