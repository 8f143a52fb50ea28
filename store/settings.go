package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// Settings are the device's own settings. What a file leaves out has the value of [DefaultSettings].
type Settings struct {
	Schema    int              `json:"schema"`  // 1
	Install   string           `json:"install"` // 32 hex digits, random, made once: roll-outs and expiries are spread by it
	Sources   []SettingsSource `json:"sources"` // in the order in which they are tried
	CloudMode bool             `json:"cloud_mode"`
	KSN       SettingsKSN      `json:"ksn"`
	Update    SettingsUpdate   `json:"update"`
	Scan      SettingsScan     `json:"scan"`
}

// SettingsKSN is consent and the way to the cloud.
type SettingsKSN struct {
	Mode                         string            `json:"mode"`               // off, basic or extended
	Since                        *dbformat.Time    `json:"since,omitempty"`    // when Mode last changed
	Accepted                     *SettingsConsent  `json:"accepted,omitempty"` // the statement in force
	Declined                     []SettingsDecline `json:"declined,omitempty"`
	UseProxy                     bool              `json:"use_proxy"`
	Proxies                      []string          `json:"proxies"`
	Network                      string            `json:"network,omitempty"` // fingerprint of the private network that was installed; "" for the global one
	Serials                      []SettingsSerial  `json:"serials,omitempty"` // of private networks, the one that was installed or left last first; at most MaxSerials
	UseServersIfProxyUnavailable bool              `json:"use_servers_if_proxy_unavailable"`
	UnavailableStatus            string            `json:"unavailable_status"` // device status then: ok, warning or critical
}

// A SettingsSerial is the highest serial of a private network's provider file that was installed here. It stays when the network is left, so that an older
// file of it does not come back with it.
type SettingsSerial struct {
	Network string          `json:"network"` // fingerprint of the provider's key
	Serial  uint64          `json:"serial"`  // 1 to dbformat.MaxVersion
	SHA256  dbformat.Digest `json:"sha256"`  // of the file
}

// MaxSerials is how many networks' serials are kept. With one more, the one that was installed or left first is forgotten.
const MaxSerials = 16

// Serial is what is known of a private network's serials.
func (k *SettingsKSN) Serial(network string) (s SettingsSerial, ok bool) {
	i := slices.IndexFunc(k.Serials, func(s SettingsSerial) bool { return s.Network == network })
	if i < 0 {
		return SettingsSerial{}, false
	}
	return k.Serials[i], true
}

// KeepSerial puts s first, in the place of what was known of its network, unless that was a higher serial, which is put first instead.
func (k *SettingsKSN) KeepSerial(s SettingsSerial) {
	if old, ok := k.Serial(s.Network); ok && old.Serial > s.Serial {
		s = old
	}
	list := []SettingsSerial{s}
	for _, o := range k.Serials {
		if o.Network != s.Network && len(list) < MaxSerials {
			list = append(list, o)
		}
	}
	k.Serials = list
}

// A SettingsConsent records which statement was accepted, when, and in which mode.
type SettingsConsent struct {
	Version  string          `json:"version"`
	Language string          `json:"language"`
	SHA256   dbformat.Digest `json:"sha256"` // of the text that was shown
	Time     dbformat.Time   `json:"time"`
	Mode     string          `json:"mode"`
}

// A SettingsDecline records a statement that was declined. It takes nothing from one that was accepted.
type SettingsDecline struct {
	Version  string        `json:"version"`
	Language string        `json:"language"`
	Time     dbformat.Time `json:"time"`
}

// SettingsUpdate shapes the update cycle.
type SettingsUpdate struct {
	Variant   string `json:"variant"`    // auto, light or full
	Keep      int    `json:"keep"`       // previous generations kept for a rollback, 0 to 30
	LimitRate int64  `json:"limit_rate"` // bytes a second, 0 for no limit
}

// SettingsScan shapes scans.
type SettingsScan struct {
	PUA     bool  `json:"pua"`      // report potentially unwanted applications
	Jobs    int   `json:"jobs"`     // files at once, 0 for one per core
	MaxSize int64 `json:"max_size"` // bytes; larger files are not scanned; 0 for no limit
}

// DefaultSettings are those of a new install, without an install id.
func DefaultSettings() Settings {
	return Settings{
		Schema:  1,
		Sources: []SettingsSource{},
		KSN:     SettingsKSN{Mode: "off", Proxies: []string{}, UnavailableStatus: "warning"},
		Update:  SettingsUpdate{Variant: "auto", Keep: 1},
	}
}

const (
	maxSettings     = 1 << 20
	maxSources      = 64
	maxProxies      = 64
	maxDeclined     = 256
	maxURL          = 2048
	maxKeep         = maxOthers - 2
	settingsPatient = 2 * time.Second // how long to wait for another process that changes them
)

var installID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// fingerprint is the form of the name of a network.
var fingerprint = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check names the first field that cannot be.
func (v *Settings) check() error {
	bad := func(field string, value any, want string) error {
		return fmt.Errorf("field %s is %v, want %s", field, value, want)
	}
	oneOf := func(field, value string, words ...string) error {
		if slices.Contains(words, value) {
			return nil
		}
		return bad(field, fmt.Sprintf("%.40q", value), fmt.Sprintf("one of %q", words))
	}
	switch {
	case v.Schema != 1:
		return bad("schema", v.Schema, "1")
	case !installID.MatchString(v.Install):
		return bad("install", fmt.Sprintf("%.40q", v.Install), "32 hex digits")
	case len(v.Sources) > maxSources:
		return bad("sources", len(v.Sources), fmt.Sprintf("at most %d of them", maxSources))
	case len(v.KSN.Proxies) > maxProxies:
		return bad("ksn.proxies", len(v.KSN.Proxies), fmt.Sprintf("at most %d of them", maxProxies))
	case v.KSN.Network != "" && !fingerprint.MatchString(v.KSN.Network):
		return bad("ksn.network", fmt.Sprintf("%.80q", v.KSN.Network), "64 hex digits, or nothing")
	case len(v.KSN.Serials) > MaxSerials:
		return bad("ksn.serials", len(v.KSN.Serials), fmt.Sprintf("at most %d of them", MaxSerials))
	case len(v.KSN.Declined) > maxDeclined:
		return bad("ksn.declined", len(v.KSN.Declined), fmt.Sprintf("at most %d of them", maxDeclined))
	case v.Update.Keep < 0 || v.Update.Keep > maxKeep:
		return bad("update.keep", v.Update.Keep, fmt.Sprintf("0 to %d", maxKeep))
	case v.Update.LimitRate < 0:
		return bad("update.limit_rate", v.Update.LimitRate, "0 or more")
	case v.Scan.Jobs < 0 || v.Scan.Jobs > 4096:
		return bad("scan.jobs", v.Scan.Jobs, "0 to 4096")
	case v.Scan.MaxSize < 0:
		return bad("scan.max_size", v.Scan.MaxSize, "0 or more")
	}
	for i, s := range v.Sources {
		if err := s.Check(); err != nil {
			return fmt.Errorf("field sources[%d]: %w", i, err)
		}
	}
	for i, s := range v.KSN.Serials {
		field := fmt.Sprintf("ksn.serials[%d]", i)
		switch first, _ := v.KSN.Serial(s.Network); {
		case !fingerprint.MatchString(s.Network):
			return bad(field+".network", fmt.Sprintf("%.80q", s.Network), "64 hex digits")
		case s.Serial < 1 || s.Serial > dbformat.MaxVersion:
			return bad(field+".serial", s.Serial, fmt.Sprintf("1 to %d", uint64(dbformat.MaxVersion)))
		case first != s:
			return bad(field+".network", fmt.Sprintf("%.80q", s.Network), "each network once")
		}
	}
	for i, p := range v.KSN.Proxies {
		if p == "" || len(p) > maxURL {
			return bad(fmt.Sprintf("ksn.proxies[%d]", i), fmt.Sprintf("a text of %d bytes", len(p)), fmt.Sprintf("an address of 1 to %d", maxURL))
		}
	}
	err := errors.Join(
		oneOf("ksn.mode", v.KSN.Mode, "off", "basic", "extended"),
		oneOf("ksn.unavailable_status", v.KSN.UnavailableStatus, "ok", "warning", "critical"),
		oneOf("update.variant", v.Update.Variant, "auto", "light", "full"),
	)
	if err == nil && v.KSN.Accepted != nil {
		err = oneOf("ksn.accepted.mode", v.KSN.Accepted.Mode, "off", "basic", "extended")
	}
	return err
}

func (s *Store) settingsError(err error) error {
	return &Error{Kind: ErrSettings, Path: s.settingsPath(), What: "cannot be used", Err: err,
		Remedy: "correct the field, or remove the file and run init again"}
}

// settingsDamaged is the error about a settings.json that holds something else than settings, or is no file.
func (s *Store) settingsDamaged(what string, err error) error {
	return &Error{Kind: ErrSettings, Damaged: true, Path: s.settingsPath(), What: what, Err: err,
		Remedy: "correct it or restore it from a copy, or remove it and run avdb init again"}
}

// Settings reads settings.json without a lock: what is there is always whole. If it is damaged, down to a single field, errors match
// [ErrSettings], [ErrStorage] and [ErrDamaged] and name the field; if there is no file, ErrSettings and fs.ErrNotExist;
// for other users, ErrStorage and fs.ErrPermission.
func (s *Store) Settings() (Settings, error) {
	b, err := readFile(s.settingsPath(), maxSettings)
	if errors.Is(err, fs.ErrNotExist) {
		return Settings{}, &Error{Kind: ErrSettings, Path: s.settingsPath(), What: "does not exist", Err: err, Remedy: "run init first"}
	}
	if e, ok := errors.AsType[*Error](err); ok { // a link, a folder, too long: what helps elsewhere, an update, does not here
		return Settings{}, s.settingsDamaged(e.What, nil)
	}
	if err != nil {
		return Settings{}, failed(s.settingsPath(), "cannot be read", err)
	}
	v := DefaultSettings()
	if err := dbformat.DecodeJSON(b, &v); err != nil {
		return Settings{}, s.settingsDamaged("cannot be used", err)
	}
	if err := v.check(); err != nil {
		return Settings{}, s.settingsDamaged("cannot be used", err)
	}
	return v, nil
}

// UpdateSettings reads the settings, lets change alter them, and puts the result in their place, durably. Other
// processes that change settings wait for at most two seconds; readers never. An error of change ends it
// without a change and is returned as it is. Install cannot be changed.
func (s *Store) UpdateSettings(change func(*Settings) error) error {
	lock, err := waitLock(s.settingsLock(), settingsPatient)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	v, err := s.Settings()
	if err != nil {
		return err
	}
	before, err := encodeJSON(v)
	if err != nil {
		return s.settingsError(err)
	}
	install := v.Install
	if err := change(&v); err != nil {
		return err
	}
	v.Install = install
	after, err := s.encodeSettings(&v)
	if err != nil || string(after) == string(before) {
		return err
	}
	return s.replace(s.settingsPath(), after, modeSecret)
}

func (s *Store) encodeSettings(v *Settings) ([]byte, error) {
	if err := v.check(); err != nil {
		return nil, s.settingsError(err)
	}
	b, err := encodeJSON(v)
	if err != nil {
		return nil, s.settingsError(err)
	}
	return b, nil
}

// createSettings makes the settings of a new install if there are none.
func (s *Store) createSettings() error {
	lock, err := waitLock(s.settingsLock(), settingsPatient)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := s.Settings(); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	v := DefaultSettings()
	var id [16]byte
	if _, err := io.ReadFull(s.o.Rand, id[:]); err != nil {
		return failed(s.settingsPath(), "no random install id", err)
	}
	v.Install = hex.EncodeToString(id[:])
	b, err := s.encodeSettings(&v)
	if err != nil {
		return err
	}
	return s.replace(s.settingsPath(), b, modeSecret)
}
