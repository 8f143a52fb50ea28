package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// errNoNginx is why nothing is compared with nginx.
var errNoNginx = errors.New("no nginx on this machine (Debian: apt-get install nginx-light)")

// nginxConfig is nginx at its best for one small file: no log, nothing looked up twice, connections that stay.
const nginxConfig = `daemon off;
worker_processes auto;
pid nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  open_file_cache max=16;
  default_type application/json;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  server { listen %s; root www; }
}
`

// nginx serves body as the file at path, with as many workers as there are cores.
func (b *bench) nginx(ctx context.Context, path string, body []byte) (*process, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx") // where Debian has it, which is not on every user's path
	}
	if err != nil {
		return nil, errNoNginx
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "nginx")
	file := filepath.Join(dir, "www", path)
	err = errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, body, 0o644),
		os.WriteFile(filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, nginxConfig, addr), 0o644),
		openFolders(b.dir, dir, filepath.Join(dir, "www")))
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, program, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: c, addr: addr}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			conn.Close()
			return p, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.stop()
	return nil, errors.New("nginx does not listen after a minute")
}

// freeAddress is one at which nobody listens, with a port that no system gives to connections or to who asks for any port: nobody takes it meanwhile.
func freeAddress() (addr string, err error) {
	for range 100 {
		addr = fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", err
}

// openFolders lets nginx's workers, which are another user where bench runs as root, reach what they serve.
func openFolders(dirs ...string) error {
	for _, d := range dirs {
		if err := os.Chmod(d, 0o755); err != nil {
			return err
		}
	}
	return nil
}
