package signing

import (
	"errors"
	"maps"
	"testing"

	"example.org/avdb/dbformat"
)

func networkBytes(t *testing.T, r *Repository) []byte {
	t.Helper()
	v := refresh(t, newTrust(t, r), serve(r), day0)
	b := targetBytes(t, r, v, dbformat.NetworkTarget)
	if err := v.Network(b); err != nil {
		t.Fatal(err)
	}
	if err := v.Network(append(b, '\n')); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another byte at the end: %v, want ErrUntrusted", err)
	}
	return b
}

// The offline keys vouch for the provider file of the global network; a newer one takes its place, and releases leave it alone.
func TestPublishNetwork(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	publish(t, r, 1, day0)
	if err := refresh(t, newTrust(t, r), serve(r), day0).Network(nil); !errors.Is(err, ErrUntrusted) {
		t.Errorf("no network was published, and one is taken: %v", err)
	}
	for _, text := range []string{"one", "two"} {
		if err := r.PublishNetwork([]byte(text), day0); err != nil {
			t.Fatal(err)
		}
		before := tree(t, r.PublicDir())
		if err := r.PublishNetwork([]byte(text), day0); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(before, tree(t, r.PublicDir())) {
			t.Error("the same network again changed the public tree")
		}
		if got := networkBytes(t, r); string(got) != text {
			t.Errorf("network %q, want %q", got, text)
		}
	}
	publish(t, r, 2, day0)
	if got := networkBytes(t, r); string(got) != "two" {
		t.Errorf("after a release: network %q", got)
	}
}

// A network that lacks signatures of the offline keys is out of sight until they are there.
func TestNetworkWaitsForSignatures(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	publish(t, r, 1, day0)
	second := moveKeys(t, r, 1, 2)
	before := tree(t, r.PublicDir())
	if err := r.PublishNetwork([]byte("net"), day0); !errors.Is(err, ErrPending) {
		t.Fatalf("error %v, want ErrPending", err)
	}
	if !maps.Equal(before, tree(t, r.PublicDir())) {
		t.Fatal("the public tree changed before the network was signed")
	}
	publish(t, r, 2, day0) // a release of the meantime leaves what waits alone
	sign(t, r, second, false)
	sign(t, r, "", true)
	if got := networkBytes(t, r); string(got) != "net" {
		t.Errorf("network %q", got)
	}
}
