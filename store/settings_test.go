package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/avdb/dbformat"
)

func TestSettingsAreMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(dir, Options{})
	must(t, err)
	_, err = s.Settings()
	if e := requireError(t, err, ErrSettings, "run init first"); !errors.Is(e, fs.ErrNotExist) {
		t.Error("a missing file does not match fs.ErrNotExist")
	}
	s, err = Create(dir, Options{})
	must(t, err)
	first, err := s.Settings()
	must(t, err)
	if !installID.MatchString(first.Install) || first.Update.Keep != 1 || first.KSN.Mode != "off" || first.CloudMode {
		t.Errorf("new settings are %+v", first)
	}
	s, err = Create(dir, Options{})
	must(t, err)
	if again, err := s.Settings(); err != nil || again.Install != first.Install {
		t.Errorf("Create made another install id: %v, %v", again.Install, err)
	}
	other, err := Create(filepath.Join(t.TempDir(), "state"), Options{})
	must(t, err)
	if v, err := other.Settings(); err != nil || v.Install == first.Install {
		t.Error("two installs have one id")
	}
}

func TestUpdateSettings(t *testing.T) {
	s := newMemoryStore(t)
	before, err := s.Settings()
	must(t, err)
	must(t, s.UpdateSettings(func(v *Settings) error {
		v.Install = strings.Repeat("0", 32)
		v.Sources = append(v.Sources, SettingsSource{URL: "http://127.0.0.1:8000/a"})
		v.CloudMode = true
		v.Update.Keep = 0
		v.KSN.Accepted = &SettingsConsent{Version: "3", Language: "pt-BR", SHA256: digest(9), Time: dbformat.At(day(3)), Mode: "basic"}
		return nil
	}))
	v, err := s.Settings()
	must(t, err)
	if v.Install != before.Install || !v.CloudMode || len(v.Sources) != 1 || v.Update.Keep != 0 || v.KSN.Accepted.Language != "pt-BR" || !v.KSN.Accepted.Time.Equal(day(3)) {
		t.Errorf("settings are %+v", v)
	}
	stop := errors.New("stop")
	if err := s.UpdateSettings(func(v *Settings) error { v.CloudMode = false; return stop }); err != stop {
		t.Errorf("error is %v, want that of the change", err)
	}
	err = s.UpdateSettings(func(v *Settings) error { v.Update.Keep = 99; return nil })
	if e := requireError(t, err, ErrSettings, "field update.keep is 99, want 0 to 30"); errors.Is(e, ErrStorage) || errors.Is(e, ErrDamaged) {
		t.Error("a wrong value of the caller's counts as damage on disk")
	}
	if again, _ := s.Settings(); !again.CloudMode || again.Update.Keep != 0 {
		t.Error("a change that failed changed something")
	}
}

// TestSettingsOfManyWriters: processes that change settings at once lose no change.
func TestSettingsOfManyWriters(t *testing.T) {
	s := newMemoryStore(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 5 {
				add := func(v *Settings) error {
					v.Sources = append(v.Sources, SettingsSource{URL: fmt.Sprintf("http://127.0.0.1/%d/%d", i, j)})
					return nil
				}
				err := s.UpdateSettings(add)
				for errors.Is(err, ErrLocked) { // told to try again, on a slow machine
					err = s.UpdateSettings(add)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v, err := s.Settings(); err != nil || len(v.Sources) != 20 {
		t.Errorf("%d sources, %v", len(v.Sources), err)
	}
}

// requireDamagedSettings demands the one kind of error for a settings.json that is not what was written, from reading and from
// changing, and that the remedy works: remove it and make it again.
func requireDamagedSettings(t *testing.T, s *Store, text string) {
	t.Helper()
	_, err := s.Settings()
	for _, err := range []error{err, s.UpdateSettings(func(*Settings) error { return nil })} {
		e := requireError(t, err, ErrSettings, text)
		if !errors.Is(e, ErrStorage) || !errors.Is(e, ErrDamaged) || errors.Is(e, fs.ErrNotExist) {
			t.Errorf("%v does not match ErrStorage and ErrDamaged", e)
		}
		if e.Path != s.settingsPath() || !strings.Contains(e.Remedy, "remove it and run avdb init again") {
			t.Errorf("path %s, remedy %q", e.Path, e.Remedy)
		}
	}
	must(t, os.Remove(s.settingsPath()))
	again, err := Create(s.dir, Options{})
	must(t, err)
	_, err = again.Settings()
	must(t, err)
}

// TestDamagedSettingsAreDamageOnDisk: whatever lies in the place of settings.json.
func TestDamagedSettingsAreDamageOnDisk(t *testing.T) {
	s := newMemoryStore(t)
	good, err := os.ReadFile(s.settingsPath())
	must(t, err)
	for what, b := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)/2], "zeros": make([]byte, len(good)), "garbage": {0xff, 0xfe, '{', 7},
		"null": []byte("null"), "another document": []byte("[]"), "something after it": append(slices.Clone(good), good...),
		"too long": make([]byte, maxSettings+1),
	} {
		t.Run(what, func(t *testing.T) {
			must(t, os.WriteFile(s.settingsPath(), b, 0o600))
			requireDamagedSettings(t, s, "")
		})
	}
	t.Run("folder", func(t *testing.T) {
		must(t, os.Remove(s.settingsPath()))
		must(t, os.Mkdir(s.settingsPath(), 0o700))
		requireDamagedSettings(t, s, "is not a regular file")
	})
}

// TestSettingsErrors: what cannot be used is an error with file, field and remedy.
func TestSettingsErrors(t *testing.T) {
	s := newMemoryStore(t)
	b, err := os.ReadFile(s.settingsPath())
	must(t, err)
	good := string(b)
	for _, c := range []struct{ name, old, new, text string }{
		{"unknown field", `"scan": {`, `"scan": {"deep": true,`, `unknown field "deep"`},
		{"field of another case", `"cloud_mode"`, `"Cloud_Mode"`, `field "Cloud_Mode"`},
		{"field twice", `"cloud_mode": false`, `"cloud_mode": false, "cloud_mode": true`, `field "cloud_mode" stands twice`},
		{"wrong type", `"cloud_mode": false`, `"cloud_mode": "no"`, "field cloud_mode cannot be a string"},
		{"unknown mode", `"mode": "off"`, `"mode": "on"`, `field ksn.mode is "on", want one of`},
		{"source of another kind", `"sources": []`, `"sources": [{"url": "ftp://x/"}]`, `field sources[0]: url: want`},
		{"too many jobs", `"jobs": 0`, `"jobs": 100000`, "field scan.jobs"},
		{"a newer schema", `"schema": 1`, `"schema": 2`, "field schema is 2"},
		{"no install id", `"install": "`, `"install": "x`, "field install"},
		{"cut", good[20:], "", "ends too early"},
	} {
		doc := strings.Replace(good, c.old, c.new, 1)
		if doc == good {
			t.Fatalf("%s changes nothing", c.name)
		}
		must(t, os.WriteFile(s.settingsPath(), []byte(doc), 0o600))
		requireDamagedSettings(t, s, c.text)
	}
	// What is left out has its default.
	must(t, os.WriteFile(s.settingsPath(), []byte(`{"schema":1,"install":"`+strings.Repeat("a", 32)+`"}`), 0o600))
	if v, err := s.Settings(); err != nil || v.Update.Keep != 1 || v.KSN.UnavailableStatus != "warning" {
		t.Errorf("short settings: %+v, %v", v, err)
	}
}
