package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"example.org/avdb/ksn/protocol"
)

// demoPatience is how long a server of the demo may take to be ready.
const demoPatience = 20 * time.Second

// askServer runs a private server over a full database of its own, lets the device ask it about the test file, and leaves the network.
func (d *demo) askServer() (string, error) {
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	var made struct {
		Fingerprint string `json:"fingerprint"`
	}
	if err := d.avdb(&made, exits(exitOK), "ksn", "provider", "create", d.path("net"), "--name", "Demo", "--url", "http://"+address); err != nil {
		return "", err
	}
	stop, err := d.server(address)
	if err != nil {
		return "", err
	}
	defer stop()
	if err := d.avdb(nil, exits(exitOK), "ksn", "provider", "install", d.path("net", "provider.json"), "--fingerprint", made.Fingerprint); err != nil {
		return "", err
	}
	name, err := d.scan("malicious")
	if err != nil {
		return "", err
	}
	var k demoKSN
	if err := d.avdb(&k, exits(exitOK), "ksn", "status"); err != nil {
		return "", err
	}
	if k.State != "enabled" || k.Network != "private" {
		return "", fmt.Errorf("KSN is %s, %s network; want enabled, private", k.State, k.Network)
	}
	return fmt.Sprintf("test.com: %s; %d bits of a hash were asked for", name, protocol.DefaultBits), d.avdb(nil, exits(exitOK), "ksn", "provider", "remove")
}

// freeAddress is one on loopback at which nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// server runs a private server that updates itself, until it is ready. stop ends it.
func (d *demo) server(address string) (stop func(), err error) {
	cmd := d.command("ksn", "serve", "--provider", d.path("net"), "--listen", address, "--state", d.path("server"),
		"--source", d.web.url, "--root", d.path("repo", "public", "metadata", "1.root.json"), "-q")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		cmd.Process.Kill() // it keeps nothing that a kill could lose
		cmd.Wait()
	}
	ctx, cancel := context.WithTimeout(d.ctx, demoPatience)
	defer cancel()
	for {
		r, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return stop, nil
			}
			err = errors.New(r.Status)
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			stop()
			return nil, fmt.Errorf("the private server is not ready after %s: %w", demoPatience, err)
		}
	}
}
