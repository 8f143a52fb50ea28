package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

func newKSNRestrictions(a *app) *cobra.Command {
	c := group(&cobra.Command{
		Use:   "restrictions",
		Short: "which requests the signed database limits, and why",
		Example: `  avdb ksn restrictions list
  avdb ksn restrictions explain --object url --origin on_access`,
	})
	c.AddCommand(newRestrictionsList(a), newRestrictionsExplain(a))
	return c
}

// A restrictionReport is a record of the set, with what it means for this device.
type restrictionReport struct {
	dbformat.Restriction
	InForce   bool      `json:"in_force"`  // it limits something that this device would ask now
	Scheduled bool      `json:"scheduled"` // it will
	From      time.Time `json:"from,omitzero"`
	Until     time.Time `json:"until"` // on this device
}

func newRestrictionsList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "the restrictions of the signed set",
		Example: `  avdb ksn restrictions list --json`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			in, err := d.here()
			if err != nil {
				return err
			}
			doc := struct {
				Epoch        uint64              `json:"epoch"` // 0 for no set
				Signed       *time.Time          `json:"signed"`
				Restrictions []restrictionReport `json:"restrictions"`
			}{Epoch: in.Set.Epoch(), Restrictions: listRestrictions(in)}
			if t := in.Set.Signed(); !t.IsZero() {
				doc.Signed = &t
			}
			if a.json {
				return a.document(doc)
			}
			if in.Set.Len() == 0 {
				_, err := fmt.Fprintln(a.stdout, "no restrictions")
				return err
			}
			fmt.Fprintf(a.stdout, "epoch %d, signed %s\n", doc.Epoch, stamp(in.Set.Signed()))
			for _, r := range doc.Restrictions {
				state := "not for this device"
				switch {
				case r.InForce:
					state = "in force"
				case r.Scheduled:
					state = "scheduled"
				case !in.Now.Before(r.Until):
					state = "over"
				}
				fmt.Fprintf(a.stdout, "%-24s %-8s priority %-4d until %s  %s\n", escape(r.ID), r.Action, r.Priority, stamp(r.Until), state)
			}
			return nil
		},
	}
}

func listRestrictions(in ksn.Situation) []restrictionReport {
	st := ksn.NewStatus(in)
	has := func(list []ksn.InForce, id string) bool {
		return slices.ContainsFunc(list, func(r ksn.InForce) bool { return r.ID == id })
	}
	list := []restrictionReport{}
	for i := range in.Set.Len() {
		r := restrictionReport{Restriction: *in.Set.Record(i)}
		r.InForce, r.Scheduled = has(st.Restrictions, r.ID), has(st.Scheduled, r.ID)
		from, until := in.Set.Window(i, in.Facts.Install)
		r.From, r.Until = from.UTC(), until.UTC()
		list = append(list, r)
	}
	return list
}

func newRestrictionsExplain(a *app) *cobra.Command {
	q := ksn.Request{}
	var service, object, origin, route, network, at string
	c := &cobra.Command{
		Use:   "explain",
		Short: "what the gate says to a request, and which restriction decides",
		Long: `Say what the gate would decide about a request of this device, restriction by restriction. Nothing is
sent and no limit is used up.`,
		Example: `  avdb ksn restrictions explain
  avdb ksn restrictions explain --object url --origin on_access --at 2026-11-23T12:00:00Z`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.device(true)
			if err != nil {
				return err
			}
			in, err := d.here()
			if err != nil {
				return err
			}
			if at != "" {
				t, err := time.Parse(time.RFC3339, at)
				if err != nil {
					return usagef("--at is %q, want a time such as 2026-11-23T12:00:00Z", at)
				}
				in.Now = t
			}
			for _, w := range []struct {
				flag, value string
				words       []string
			}{
				{"service", service, []string{"lookup", "info", "stats"}},
				{"object", object, []string{"file", "url", "software"}},
				{"origin", origin, []string{"on_access", "on_demand", "manual", "background"}},
				{"route", route, []string{"", "direct", "proxy"}},
				{"network", network, []string{"", "global", "private"}},
			} {
				if !slices.Contains(w.words, w.value) {
					return usagef("--%s is %q, want %s", w.flag, w.value, strings.Join(slices.DeleteFunc(w.words, func(s string) bool { return s == "" }), ", "))
				}
			}
			q.Service, q.Origin = ksn.Service(service), ksn.Origin(origin)
			if q.Service == ksn.ServiceLookup {
				q.Object = ksn.Object(object)
			}
			q.Route = ksn.Route(firstOf(route, string(in.Routes[0])))
			q.Network = ksn.NetworkKind(firstOf(network, string(ksn.NewStatus(in).Network)))
			return a.explanation(ksn.Explain(q, in.Set, in.Facts, in.Now, ksn.Counters{}))
		},
	}
	f := c.Flags()
	f.StringVar(&service, "service", "lookup", "`SERVICE`: lookup, info or stats")
	f.StringVar(&object, "object", "file", "`TYPE` of what is looked up: file, url or software")
	f.StringVar(&origin, "origin", "on_demand", "`ORIGIN`, who waits: on_access, on_demand, manual or background")
	f.StringVar(&route, "route", "", "`ROUTE`: direct or proxy (default: the first that the settings permit)")
	f.StringVar(&network, "network", "", "`NETWORK`: global or private (default: that of the device)")
	f.StringVar(&at, "at", "", "`TIME` of the request, RFC 3339 (default: now)")
	return c
}

func (a *app) explanation(e ksn.Explanation) error {
	if a.json {
		return a.document(e)
	}
	q := e.Request
	what := string(q.Service)
	if q.Object != "" {
		what += " of a " + string(q.Object)
	}
	verdict := "allowed"
	if !e.Decision.Allowed {
		verdict = fmt.Sprintf("refused by %s: %s", e.Decision.Stage, e.Decision.Why)
	}
	fmt.Fprintf(a.stdout, "%s, %s, %s network, %s, at %s: %s\n", what, q.Origin, q.Network, q.Route, stamp(e.Time), escape(verdict))
	if !e.Decision.Retry.IsZero() {
		fmt.Fprintf(a.stdout, "not before %s\n", stamp(e.Decision.Retry))
	}
	for _, r := range e.Records {
		mark := "  "
		if r.Decides {
			mark = "> "
		}
		fmt.Fprintf(a.stdout, "%s%-24s %-8s priority %-4d %s\n", mark, escape(r.ID), r.Action, r.Priority, escape(r.Why))
	}
	return nil
}
