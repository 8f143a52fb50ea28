package ksn_test

import (
	"fmt"
	"time"

	"example.org/avdb/ksn"
)

// A user reads a statement, accepts it and switches KSN on; until then the gate lets nothing through.
func Example() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	question := ksn.Request{Service: ksn.ServiceLookup, Object: ksn.ObjectFile, Origin: ksn.OriginManual,
		Network: ksn.NetworkGlobal, Route: ksn.RouteDirect, Key: "a hash"}

	var device ksn.Facts
	d, _ := ksn.Decide(question, nil, device, now, ksn.Counters{})
	fmt.Println(d.Err("the look-up"))

	statement, err := ksn.FindStatement(ksn.DefaultStatements(), 0, "de_AT.UTF-8")
	if err != nil {
		panic(err)
	}
	fmt.Println("shown:", statement.Version(), statement.Language())
	if device.Consent, err = device.Consent.Accept(statement, now); err != nil {
		panic(err)
	}
	if device.Consent, err = device.Consent.Enable(ksn.ModeBasic, now); err != nil {
		panic(err)
	}
	d, _ = ksn.Decide(question, nil, device, now, ksn.Counters{})
	fmt.Println("allowed:", d.Allowed)

	status := ksn.NewStatus(ksn.Situation{Facts: device, CloudMode: true, Now: now})
	fmt.Printf("%s: %s, wanted variant %s\n", status.State, status.Reason, ksn.WantedVariant(true, device))
	// Output:
	// the look-up refused: KSN is off: no statement is accepted; run `avdb ksn statement accept`, then `avdb ksn enable`
	// shown: 1 de
	// allowed: true
	// unknown: no network installed, wanted variant light
}
