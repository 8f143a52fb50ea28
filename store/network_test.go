package store

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/ksn/protocol"
)

func TestNetworks(t *testing.T) {
	s := newMemoryStore(t)
	global, private := []byte(`{"provider":{}}`), bytes.Repeat([]byte("p"), protocol.MaxProvider)
	for _, kind := range []string{protocol.Global, protocol.Private} {
		if b, ok, err := s.Network(kind); b != nil || ok || err != nil {
			t.Errorf("%s: %q %v %v", kind, b, ok, err)
		}
		must(t, s.RemoveNetwork(kind))
	}
	must(t, s.PutNetwork(protocol.Global, []byte("older")))
	must(t, s.PutNetwork(protocol.Global, global))
	must(t, s.PutNetwork(protocol.Private, private))
	for kind, want := range map[string][]byte{protocol.Global: global, protocol.Private: private} {
		if b, ok, err := s.Network(kind); !bytes.Equal(b, want) || !ok || err != nil {
			t.Errorf("%s: %d bytes, %v, %v", kind, len(b), ok, err)
		}
	}
	for range 2 {
		must(t, s.RemoveNetwork(protocol.Private))
	}
	if _, ok, err := s.Network(protocol.Private); ok || err != nil {
		t.Errorf("removed: %v, %v", ok, err)
	}
	if _, ok, err := s.Network(protocol.Global); !ok || err != nil {
		t.Errorf("the other network: %v, %v", ok, err)
	}
}

func TestNetworksRefused(t *testing.T) {
	s := newMemoryStore(t)
	must(t, s.PutNetwork(protocol.Global, []byte("kept")))
	for _, b := range [][]byte{nil, make([]byte, protocol.MaxProvider+1)} {
		if err := s.PutNetwork(protocol.Global, b); err == nil {
			t.Errorf("%d bytes were taken", len(b))
		}
	}
	for _, kind := range []string{"", "Global", "../settings", "global.json"} {
		_, _, err := s.Network(kind)
		for _, err := range []error{err, s.PutNetwork(kind, []byte("x")), s.RemoveNetwork(kind)} {
			if err == nil {
				t.Errorf("network %q was taken", kind)
			}
		}
	}
	path := filepath.Join(s.ksnDir(), "global.json")
	must(t, os.WriteFile(path, make([]byte, protocol.MaxProvider+1), 0o644))
	_, ok, err := s.Network(protocol.Global)
	if e := requireError(t, err, ErrDamaged, "has more than"); ok || !strings.Contains(e.Remedy, "install the network again") {
		t.Errorf("remedy is %q", e.Remedy)
	}
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o755))
	_, _, err = s.Network(protocol.Global)
	requireError(t, err, ErrDamaged, "is not a regular file")
}

// A state folder that an older engine made has no folder for networks.
func TestNetworksOfAnOlderStateFolder(t *testing.T) {
	s := newMemoryStore(t)
	must(t, os.Remove(s.ksnDir()))
	must(t, s.RemoveNetwork(protocol.Global))
	if _, ok, err := s.Network(protocol.Global); ok || err != nil {
		t.Errorf("without the folder: %v, %v", ok, err)
	}
	must(t, s.PutNetwork(protocol.Global, []byte("x")))
	must(t, os.RemoveAll(s.ksnDir()))
	must(t, s.MakeFolders())
	if i, err := os.Stat(s.ksnDir()); err != nil || i.Mode().Perm() != modeFolder {
		t.Errorf("the folder is %v, %v", i, err)
	}
}
