//go:build check && linux

package network

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// names is what the tests' name server knows: host names below mirror.test. A name that it does not know does not exist.
var names struct {
	sync.Mutex
	addrs map[string]func() []netip.Addr
}

// name makes a host name mean what f says whenever it is asked; no address means that the name does not resolve.
func name(host string, f func() []netip.Addr) {
	names.Lock()
	defer names.Unlock()
	if names.addrs == nil {
		names.addrs = map[string]func() []netip.Addr{}
	}
	names.addrs[host] = f
}

// startNames makes the process resolve names by a server on loopback: the product's own transport and dialer are used as they are.
func startNames() (stop func()) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", c.LocalAddr().String())
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := answerName(buf[:n]); answer != nil {
				c.WriteTo(answer, from)
			}
		}
	}()
	return func() {
		net.DefaultResolver = before
		c.Close()
		<-done
	}
}

// answerName is the answer to a question for the addresses of one name.
func answerName(q []byte) []byte {
	if len(q) < 17 {
		return nil
	}
	var labels []string
	at := 12
	for at < len(q) && q[at] != 0 {
		end := at + 1 + int(q[at])
		if end >= len(q) {
			return nil
		}
		labels = append(labels, string(q[at+1:end]))
		at = end
	}
	at += 5 // the root, type and class
	if at > len(q) {
		return nil
	}
	kind := q[at-3]
	names.Lock()
	f := names.addrs[strings.ToLower(strings.Join(labels, "."))]
	names.Unlock()
	var addrs []netip.Addr
	if f != nil {
		addrs = f()
	}
	a := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:at]...)
	if len(addrs) == 0 {
		a[3] |= 3 // no such name
		return a
	}
	if kind != 1 { // only IPv4 addresses exist
		return a
	}
	a[7] = byte(len(addrs))
	for _, ip := range addrs {
		b := ip.As4()
		a = append(append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), b[:]...)
	}
	return a
}

// authority is the certificate authority of the mirrors.
var authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// trustOwnAuthority makes an authority and has this process, and every child, take it for the only one of the system.
func trustOwnAuthority(dir string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mirrors of the tests"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	authority.key = key
	if authority.cert, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "authority.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	os.Setenv("SSL_CERT_DIR", dir)
}

// certificate is one of the authority for an address or name, valid until the time given.
func certificate(host string, until time.Time) tls.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: until.Add(-24 * time.Hour), NotAfter: until}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.cert, &authority.key.PublicKey, authority.key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: authority.key}
}
