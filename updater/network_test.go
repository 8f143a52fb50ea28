package updater_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// provider makes a provider file of a kind of network.
func provider(t *testing.T, kind string, serial uint64) []byte {
	t.Helper()
	k, err := protocol.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	must(t, err)
	f, err := protocol.SignProvider(protocol.Provider{Schema: protocol.Version, Network: kind, Name: "Test", Serial: serial, Issued: dbformat.At(noon),
		Expires: dbformat.At(noon.Add(240 * time.Hour)), URLs: []string{"https://ksn.example.org"}, Keys: [][]byte{k.Public()}, Capabilities: []string{}}, k)
	must(t, err)
	return f.Bytes
}

func (w *world) publishNetwork(b []byte) {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	r, err := signing.OpenRepository(w.repo, "")
	must(w.t, err)
	must(w.t, r.PublishNetwork(b, w.now))
}

func (w *world) wantNetwork(want []byte) {
	w.t.Helper()
	b, ok, err := w.store.Network(protocol.Global)
	if err != nil || ok != (want != nil) || !bytes.Equal(b, want) {
		w.t.Errorf("network %.60s, %t, %v; want %.60s", b, ok, err, want)
	}
}

// The global network comes with updates, whatever becomes of the layers, and costs no request while it stays the same.
func TestNetworkComesWithUpdates(t *testing.T) {
	w := installed.begin(t)
	w.mustUpdate(updater.Options{})
	w.wantNetwork(nil)
	first := provider(t, protocol.Global, 1)
	w.publishNetwork(first)
	if r := w.mustUpdate(updater.Options{Check: true}); r.Result != updater.ResultAvailable {
		t.Errorf("looking: %+v", r)
	}
	w.wantNetwork(nil)
	if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultUpdated || !strings.HasPrefix(show(r), "network set") || r.Steps[0].To != 1 {
		t.Errorf("report %+v", r)
	}
	w.wantNetwork(first)
	if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultCurrent || strings.Contains(show(r), "network") {
		t.Errorf("the same file again: %+v", r)
	}
	for _, p := range w.asked() {
		if strings.Contains(p, "global") {
			t.Errorf("asked for %s though it is here", p)
		}
	}
	w.publish(signatures(0, 401))
	w.mustUpdate(updater.Options{})
	locked(t, w.store, func() error { _, err := w.store.Rollback(true); return err }) // a hold keeps layers back, and no network
	second := provider(t, protocol.Global, 2)
	w.publishNetwork(second)
	w.mustUpdate(updater.Options{})
	w.wantNetwork(second)
}

// What the offline keys signed and what is no provider file of a global network leaves the old one in use, and says so. It is kept beside it, costs no
// second request, and goes when one comes that can be used.
func TestNetworkRefused(t *testing.T) {
	for what, b := range map[string][]byte{"no provider file": []byte("{}"), "a private network": provider(t, protocol.Private, 2)} {
		t.Run(what, func(t *testing.T) {
			w := installed.begin(t)
			good := provider(t, protocol.Global, 1)
			w.publishNetwork(good)
			w.mustUpdate(updater.Options{})
			w.publishNetwork(b)
			w.publish(signatures(0, 401))
			if r := w.mustUpdate(updater.Options{}); !hasNote(r, updater.NoteNetworkRefused) {
				t.Errorf("report %+v", r)
			}
			w.wantNetwork(good)
			w.mustBe("2 full")
			wantRefused := func(want []byte) {
				t.Helper()
				if got, _, err := w.store.Network(store.NetworkRefused); err != nil || !bytes.Equal(got, want) {
					t.Errorf("kept as refused: %.60s, %v; want %.60s", got, err, want)
				}
			}
			wantRefused(b)
			if r := w.mustUpdate(updater.Options{}); !hasNote(r, updater.NoteNetworkRefused) || r.Result != updater.ResultCurrent {
				t.Errorf("again: %+v", r)
			}
			for _, p := range w.asked() {
				if strings.HasSuffix(p, ".global.json") {
					t.Errorf("asked for %s again", p)
				}
			}
			second := provider(t, protocol.Global, 3)
			w.publishNetwork(second)
			w.mustUpdate(updater.Options{})
			w.wantNetwork(second)
			wantRefused(nil)
		})
	}
}

// What is in the place of a refused file keeps no signatures back: that file protects nobody.
func TestRefusedNetworkThatCannotBeKept(t *testing.T) {
	w := installed.begin(t)
	must(t, os.MkdirAll(filepath.Join(w.store.Dir(), "ksn", store.NetworkRefused+".json", "x"), 0o755))
	w.publishNetwork([]byte("{}"))
	w.publish(signatures(0, 401))
	if r := w.mustUpdate(updater.Options{}); !hasNote(r, updater.NoteNetworkRefused) || !hasNote(r, updater.NoteStateNotKept) {
		t.Errorf("report %+v", r)
	}
	w.mustBe("2 full")
}

// A mirror that changes a byte of the file, or has it not, is refused for that, and gives the layers all the same.
func TestNetworkFromAHostileMirror(t *testing.T) {
	for what, answer := range map[string]http.HandlerFunc{"a flipped byte": nil, "not there": status(http.StatusNotFound)} {
		t.Run(what, func(t *testing.T) {
			w := installed.begin(t)
			w.publishNetwork(provider(t, protocol.Global, 1))
			w.publish(signatures(0, 401))
			if answer == nil {
				answer = w.altered(flip)
			}
			w.hostile(func(rw http.ResponseWriter, r *http.Request) bool {
				if filepath.Ext(r.URL.Path) != ".json" || !strings.HasSuffix(r.URL.Path, ".global.json") {
					return false
				}
				answer(rw, r)
				return true
			})
			if r, err := w.update(updater.Options{}); err == nil {
				t.Errorf("no error: %+v", r)
			}
			w.wantNetwork(nil)
			w.mustBe("2 full")
			w.hostile(nil)
			w.mustUpdate(updater.Options{})
			w.wantNetwork(provider(t, protocol.Global, 1))
		})
	}
}

// A stored file that is damaged is fetched again.
func TestDamagedNetworkHeals(t *testing.T) {
	w := installed.begin(t)
	good := provider(t, protocol.Global, 1)
	w.publishNetwork(good)
	w.mustUpdate(updater.Options{})
	must(t, w.store.PutNetwork(protocol.Global, append(bytes.Clone(good), '\n')))
	w.mustUpdate(updater.Options{})
	w.wantNetwork(good)
}

// An engine that can use what the one before it refused takes it from the disk.
func TestNetworkThatWasRefusedIsUsed(t *testing.T) {
	w := installed.begin(t)
	good := provider(t, protocol.Global, 1)
	must(t, w.store.PutNetwork(store.NetworkRefused, good))
	w.publishNetwork(good)
	if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultUpdated {
		t.Errorf("report %+v", r)
	}
	w.wantNetwork(good)
	if b, _, err := w.store.Network(store.NetworkRefused); err != nil || b != nil {
		t.Errorf("still kept as refused: %.60s, %v", b, err)
	}
	for _, p := range w.asked() {
		if strings.HasSuffix(p, ".global.json") {
			t.Errorf("asked for %s", p)
		}
	}
}
