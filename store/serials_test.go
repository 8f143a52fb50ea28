package store

import (
	"fmt"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// Of each network the highest serial is kept, of the networks the 16 that were installed or left last; a file that says otherwise is damage.
func TestSerialsOfNetworks(t *testing.T) {
	name := func(i int) string { return fmt.Sprintf("%064x", i) }
	var k SettingsKSN
	for i := range MaxSerials + 4 {
		k.KeepSerial(SettingsSerial{name(i), uint64(i + 2), dbformat.Digest{byte(i)}})
	}
	k.KeepSerial(SettingsSerial{Network: name(10), Serial: 3}) // lower than what is known
	if len(k.Serials) != MaxSerials || k.Serials[0].Network != name(10) || k.Serials[0].Serial != 12 || k.Serials[0].SHA256 != (dbformat.Digest{10}) {
		t.Errorf("%d serials, the first is %+v", len(k.Serials), k.Serials[0])
	}
	if _, ok := k.Serial(name(3)); ok {
		t.Error("more than 16 networks are known")
	}
	if s, ok := k.Serial(name(4)); !ok || s.Serial != 6 {
		t.Errorf("of network 4 is known %+v", s)
	}
	v := DefaultSettings()
	v.Install = strings.Repeat("0", 32)
	v.KSN.Serials = k.Serials
	must(t, v.check())
	for _, bad := range []struct {
		what string
		list []SettingsSerial
	}{
		{"ksn.serials", append([]SettingsSerial{{Network: name(99), Serial: 1}}, k.Serials...)},
		{"ksn.serials[0].network", []SettingsSerial{{Network: "x", Serial: 1}}},
		{"ksn.serials[0].serial", []SettingsSerial{{Network: name(1)}}},
		{"ksn.serials[0].serial", []SettingsSerial{{Network: name(1), Serial: dbformat.MaxVersion + 1}}},
		{"ksn.serials[1].network", []SettingsSerial{{Network: name(1), Serial: 1}, {Network: name(1), Serial: 2}}},
	} {
		v.KSN.Serials = bad.list
		if err := v.check(); err == nil || !strings.Contains(err.Error(), bad.what+" is ") {
			t.Errorf("%s: %v", bad.what, err)
		}
	}
}
