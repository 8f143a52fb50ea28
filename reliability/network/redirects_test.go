//go:build check && linux

package network

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// withHelper starts an honest mirror that redirects lead to. What is a victim must not be connected to.
func withHelper(victim bool) func(t *testing.T, m *mirror) {
	return func(t *testing.T, m *mirror) {
		h := start(t, &mirror{w: m.w, tree: m.tree, behaviour: &behaviour{keep: true}})
		m.helpers = append(m.helpers, h)
		if victim {
			name("inward-"+m.host, func() []netip.Addr { return []netip.Addr{h.addr.Addr()} })
			name("link-"+m.host, func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("169.254.169.254")} })
		}
	}
}

// helperUntouched says that a redirect was followed to where it must not lead.
func helperUntouched(m *mirror) string {
	for _, h := range m.helpers {
		h.mu.Lock()
		n := len(h.log)
		h.mu.Unlock()
		if n != 0 {
			return fmt.Sprintf("%d connections to %s, whereto no redirect may lead", n, h.url)
		}
	}
	return ""
}

func redirect(to func(m *mirror, path string) string) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		r.Header().Set("Location", to(m, r.r.URL.Path))
		r.WriteHeader([]int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusMovedPermanently, http.StatusPermanentRedirect}[m.index%4])
	}
}

func toHelper(m *mirror, path string) string { return m.helpers[0].url + path }

func toItself(m *mirror, path string) string { return path }

// withFile writes what the repository serves into a folder: who follows a redirect there would get what was signed.
func withFile(t *testing.T, m *mirror) {
	dir := t.TempDir()
	if err := m.tree.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	m.folder = dir
}

func toFile(m *mirror, path string) string { return "file://" + m.folder + path }

// inward leads to this machine or its link, by address and by name.
func inward(m *mirror, path string) string {
	port := fmt.Sprint(m.helpers[0].addr.Port())
	switch m.index % 4 {
	case 0:
		return m.helpers[0].url + path
	case 1:
		return "http://" + net.JoinHostPort("inward-"+m.host, port) + path
	case 2:
		return "http://169.254.169.254" + path
	}
	return "http://" + net.JoinHostPort("link-"+m.host, port) + path
}

// ownAddress resolves a mirror's name as it should be.
func ownAddress(m *mirror) []netip.Addr { return []netip.Addr{m.addr.Addr()} }

// ownAddressAtFirst does so until the file is next; from then on the name does not exist.
func ownAddressAtFirst(m *mirror) []netip.Addr {
	if m.armed.Load() {
		return nil
	}
	return ownAddress(m)
}

// blackHoleFirst gives an address that never answers before the mirror's own, for the connection that the file is asked for on.
func blackHoleFirst(m *mirror) []netip.Addr {
	if m.armed.Load() {
		m.hits.Add(1)
		return []netip.Addr{m.hole, m.addr.Addr()}
	}
	return ownAddress(m)
}

// disarm ends the black hole once a file came through all the same.
func disarm(m *mirror, r *request) {
	m.armed.Store(false)
	r.honestly()
}

// withBlackHole makes an address at which a connection is neither taken nor refused: a listener whose queue is full. It has the
// mirror's port, since a name has one port.
func withBlackHole(t *testing.T, m *mirror) {
	a := m.addr.Addr().As4()
	a[1] += 40
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		t.Cleanup(func() { unix.Close(fd) })
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: a, Port: int(m.addr.Port())})
	}
	if err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.hole = netip.AddrFrom4(a)
	to := netip.AddrPortFrom(m.hole, m.addr.Port())
	filler, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { filler.Close() })
}

// stray is the name of a file that no mirror may have a device write.
const stray = "avdb-stray"

// strays are files of this name next to the state folder, above it and in the working folder.
func strays(state string) (found []string) {
	for _, dir := range []string{".", "..", "../..", state, filepath.Join(state, "downloads"), filepath.Dir(state), filepath.Dir(filepath.Dir(state)), "/"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), stray) {
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	return found
}
