package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

func newCloud(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "cloud",
		Short: "cloud mode: keep the light database and ask KSN about the rest",
		Long: `In cloud mode the device keeps the light database, which knows when to ask, and KSN settles what it
suspects. What only body patterns of the full database find is not found meanwhile: KSN knows hashes.
Switching moves no bytes: it takes effect at the next update. Cloud mode needs KSN to be enabled; until
it is, the full database is kept.`,
		Example: `  avdb cloud on
  avdb cloud status`,
	})
	for _, s := range []struct {
		word, short string
		on          bool
	}{
		{"on", "keep the light database from the next update on", true},
		{"off", "keep the full database from the next update on", false},
	} {
		c.AddCommand(&cobra.Command{
			Use:     s.word,
			Short:   s.short,
			Example: "  avdb cloud " + s.word,
			Args:    noArgs,
			RunE: func(*cobra.Command, []string) error {
				d, err := a.device(false)
				if err != nil {
					return err
				}
				k, _ := findKey("cloud_mode")
				if err := d.change(k, s.on); err != nil {
					return err
				}
				return a.cloud(d)
			},
		})
	}
	c.AddCommand(&cobra.Command{
		Use:     "status",
		Short:   "whether cloud mode is on, and what it leads to",
		Example: "  avdb cloud status --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			return a.cloud(d)
		},
	})
	return c
}

// cloudReport is what the commands of cloud mode print.
type cloudReport struct {
	CloudMode bool             `json:"cloud_mode"`
	Effective bool             `json:"effective"` // the light database is wanted because of it
	Reason    string           `json:"reason"`    // why it is on and has no effect
	Variant   dbformat.Variant `json:"variant"`   // installed, "" for none
	Wanted    dbformat.Variant `json:"wanted_variant"`
	Origin    origin           `json:"origin"` // of the value
	Pending   bool             `json:"pending"`
}

// wanted is the variant that the next update brings, as far as the release offers it.
func (d *device) wanted(f ksn.Facts) dbformat.Variant {
	s := d.effective()
	switch s.Update.Variant {
	case string(dbformat.VariantLight):
		return dbformat.VariantLight
	case string(dbformat.VariantFull):
		return dbformat.VariantFull
	}
	return ksn.WantedVariant(s.CloudMode, f)
}

func (a *app) cloud(d *device) error {
	d.tellBlind()
	v, err := d.variant()
	if err != nil {
		return err
	}
	f, err := d.facts(v)
	if err != nil {
		return err
	}
	k, _ := findKey("cloud_mode")
	r := cloudReport{CloudMode: d.effective().CloudMode, Variant: v, Wanted: d.wanted(f)}
	r.Effective, r.Reason = ksn.CloudMode(r.CloudMode, f)
	_, r.Origin, _ = d.value(k)
	r.Pending = r.Variant != r.Wanted
	if a.json {
		return a.document(r)
	}
	fmt.Fprintf(a.stdout, "cloud mode: %s\n", onOff(r.CloudMode))
	if r.Reason != "" {
		fmt.Fprintf(a.stdout, "it has no effect: %s\n", r.Reason)
	}
	switch {
	case r.Variant == "":
		fmt.Fprintf(a.stdout, "no database yet; the next update brings the %s one\n", r.Wanted)
	case r.Pending:
		fmt.Fprintf(a.stdout, "the %s database is in place; the next update changes to the %s one\n", r.Variant, r.Wanted)
	default:
		fmt.Fprintf(a.stdout, "the %s database is in place\n", r.Variant)
	}
	return nil
}
