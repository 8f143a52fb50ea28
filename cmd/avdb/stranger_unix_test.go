//go:build unix

package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
)

// stranger is the program as it runs for another user than the owner of the state folder: as nobody where the tests run as root, else as one to whom the
// owner's files are closed for the time.
func stranger() {
	state := os.Getenv("AVDB_STATE")
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	if os.Geteuid() == 0 {
		for dir := filepath.Dir(state); dir != filepath.Dir(dir); dir = filepath.Dir(dir) { // the folders of the test are root's alone
			i, err := os.Stat(dir)
			must(err)
			if i.Mode()&0o001 == 0 {
				must(os.Chmod(dir, i.Mode().Perm()|0o011))
			}
		}
		must(syscall.Setgroups(nil))
		must(syscall.Setgid(65534))
		must(syscall.Setuid(65534))
	}
	restore := func() {}
	if os.Geteuid() != 65534 {
		for name, mode := range map[string]os.FileMode{"settings.json": 0o600, "trust": 0o700} {
			name, before := filepath.Join(state, name), restore
			must(os.Chmod(name, 0))
			restore = func() { must(os.Chmod(name, mode)); before() }
		}
	}
	code := run(context.Background(), os.Args[1:], &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv})
	restore()
	os.Exit(code)
}
