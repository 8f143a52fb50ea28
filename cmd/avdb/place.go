package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// A machine is what the default places depend on.
type machine struct {
	os   string // runtime.GOOS
	root bool   // the process may write the system's places
	home string // "" when unknown
	env  func(string) string
}

// places are where one run of the program finds its state and its policy.
type places struct {
	state  string // what commands work on
	system string // the system's own, which others may read
	conf   string // the user's or the system's config file
	syscnf string // the system's config file
}

// defaults are the places when neither a flag nor the environment names them. It reads
// nothing.
func (m machine) defaults() (places, error) {
	var p places
	switch m.os {
	case "windows":
		base := m.env("ProgramData")
		if base == "" {
			base = `C:\ProgramData`
		}
		p.system = filepath.Join(base, "avdb")
		p.syscnf = filepath.Join(base, "avdb", "avdb.yaml")
	case "darwin":
		p.system = "/Library/Application Support/avdb"
		p.syscnf = "/etc/avdb/avdb.yaml"
	default:
		p.system = "/var/lib/avdb"
		p.syscnf = "/etc/avdb/avdb.yaml"
	}
	if m.root {
		p.state, p.conf = p.system, p.syscnf
		return p, nil
	}
	state, conf := m.userDirs()
	if state == "" || conf == "" {
		return places{}, errNoHome
	}
	p.state = filepath.Join(state, "avdb")
	p.conf = filepath.Join(conf, "avdb", "avdb.yaml")
	return p, nil
}

var errNoHome = hint(errors.New("no home folder is known, so no place for the database"),
	"name one with --state DIR or AVDB_STATE")

// userDirs are the folders of a user's state and configuration.
func (m machine) userDirs() (state, conf string) {
	switch m.os {
	case "windows":
		return m.env("LocalAppData"), m.env("AppData")
	case "darwin":
		if m.home != "" {
			state = filepath.Join(m.home, "Library", "Application Support")
			conf = state
		}
	default:
		if m.home != "" {
			state = filepath.Join(m.home, ".local", "state")
			conf = filepath.Join(m.home, ".config")
		}
	}
	// The base directory specification: values that are no absolute path are ignored.
	if v := m.env("XDG_STATE_HOME"); filepath.IsAbs(v) {
		state = v
	}
	if v := m.env("XDG_CONFIG_HOME"); filepath.IsAbs(v) {
		conf = v
	}
	return state, conf
}

func (a *app) machine() machine {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	return machine{os: runtime.GOOS, root: privileged(), home: home, env: a.env}
}

// closed tells whether a folder on the way to name may not be entered: what a file there says was meant for another user, as with a HOME
// that sudo or a service manager left as it was.
func closed(name string) bool {
	_, err := os.Stat(name)
	return errors.Is(err, os.ErrPermission)
}

// choose picks the state and the config file among the defaults. A command that only reads
// takes the system's state, and with it the system's policy, when the process has no state of its own.
// The config file is "" when there is none; it is looked for in the user's and the
// system's place, never in the working folder. A user's that lies in a closed folder counts as absent; the system's never does, lest
// whoever may not read it does without its policy.
func (p places) choose(reading bool, exists, closed func(string) bool) (state, conf string) {
	state = p.state
	list := []string{p.conf, p.syscnf}
	if reading && !exists(p.state) && exists(p.system) {
		state, list = p.system, []string{p.syscnf}
	}
	for _, name := range list {
		if exists(name) && (name == p.syscnf || !closed(name)) {
			return state, name
		}
	}
	return state, ""
}

// find is where the command works and which config file holds: what a flag or the environment
// names, which must be there, else the defaults, which need not.
func (a *app) find(reading bool) (state, conf string, err error) {
	p, err := a.machine().defaults()
	named := firstOf(a.stateFlag, a.env("AVDB_STATE"))
	switch {
	case err == nil:
		if p.conf != p.syscnf && closed(p.conf) {
			a.logger().Debug("the config file of a user does not count: this one may not enter its folder", "path", p.conf)
		}
		state, conf = p.choose(reading && named == "", exists, closed)
	case named == "":
		return "", "", err
	}
	if named != "" {
		if state, err = filepath.Abs(named); err != nil {
			return "", "", err
		}
	}
	if name := firstOf(a.confFlag, a.env("AVDB_CONFIG")); name != "" {
		conf, err = filepath.Abs(name)
	} else {
		err = nil
	}
	return state, conf, err
}

// exists tells whether something is there; what cannot be looked at counts as there,
// so that the error is met where it matters.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil || !errors.Is(err, os.ErrNotExist)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
