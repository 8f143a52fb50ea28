package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/avdb/ksn/reputation"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// A kind is the type of a key's values.
type kind int

const (
	kindBool     kind = iota // bool
	kindCount                // int64
	kindSize                 // int64, bytes; k, M and G are powers of 1024
	kindDuration             // time.Duration
	kindChoice               // string, one of key.choices
	kindList                 // []string, each item as key.item wants it
	kindSources              // []store.SettingsSource; config file only
)

// A key is something that can be configured.
type key struct {
	name     string
	kind     kind
	choices  []string // of a kindChoice
	min, max int64    // of a kindCount or kindSize, inclusive; max of the length of a kindList
	def      any      // value when nothing says otherwise
	noEnv    bool     // the environment cannot say it
	doc      string   // one line

	item  func(string) error  // says what is wrong with an item of a kindList, and shows no secret
	shown func(string) string // is an item of a kindList without secrets

	// of and put read and write the key in the device's settings; nil for a key that they
	// do not have.
	of  func(*store.Settings) any
	put func(*store.Settings, any)
}

// keys is the one table of what can be configured, in the order in which it is shown.
func keys() []key {
	type set = store.Settings
	return []key{
		{name: "sources", kind: kindSources, def: []store.SettingsSource(nil), noEnv: true,
			doc: "where updates come from, in order of preference (config file, or avdb init)",
			of:  func(s *set) any { return s.Sources },
			put: func(s *set, v any) { s.Sources = v.([]store.SettingsSource) }},
		{name: "cloud_mode", kind: kindBool, def: false,
			doc: "keep the light database and ask KSN about the rest",
			of:  func(s *set) any { return s.CloudMode },
			put: func(s *set, v any) { s.CloudMode = v.(bool) }},
		{name: "ksn.mode", kind: kindChoice, choices: []string{"off", "basic", "extended"}, def: "off",
			doc: "use of KSN: off, basic (look-ups), extended (look-ups and statistics)",
			of:  func(s *set) any { return s.KSN.Mode },
			put: func(s *set, v any) { s.KSN.Mode = v.(string) }},
		{name: "ksn.use_proxy", kind: kindBool, def: false,
			doc: "send requests to KSN through a KSN proxy",
			of:  func(s *set) any { return s.KSN.UseProxy },
			put: func(s *set, v any) { s.KSN.UseProxy = v.(bool) }},
		{name: "ksn.proxies", kind: kindList, def: []string(nil), max: 64, item: checkProxy, shown: reputation.ProxyName,
			doc: "KSN proxies in order of preference: HOST, HOST:PORT or a URL (default port 13111)",
			of:  func(s *set) any { return s.KSN.Proxies },
			put: func(s *set, v any) { s.KSN.Proxies = v.([]string) }},
		{name: "ksn.use_servers_if_proxy_unavailable", kind: kindBool, def: false,
			doc: "ask the servers of the same network when no KSN proxy answers",
			of:  func(s *set) any { return s.KSN.UseServersIfProxyUnavailable },
			put: func(s *set, v any) { s.KSN.UseServersIfProxyUnavailable = v.(bool) }},
		{name: "ksn.unavailable_status", kind: kindChoice, choices: []string{"ok", "warning", "critical"}, def: "warning",
			doc: "device status when KSN is unavailable",
			of:  func(s *set) any { return s.KSN.UnavailableStatus },
			put: func(s *set, v any) { s.KSN.UnavailableStatus = v.(string) }},
		{name: "update.variant", kind: kindChoice, choices: []string{"auto", "light", "full"}, def: "auto",
			doc: "database to keep: light, full, or auto (light in cloud mode, else full)",
			of:  func(s *set) any { return s.Update.Variant },
			put: func(s *set, v any) { s.Update.Variant = v.(string) }},
		{name: "update.keep", kind: kindCount, min: 0, max: 30, def: int64(1),
			doc: "previous databases kept for a roll-back",
			of:  func(s *set) any { return int64(s.Update.Keep) },
			put: func(s *set, v any) { s.Update.Keep = int(v.(int64)) }},
		{name: "update.limit_rate", kind: kindSize, min: 0, max: 1 << 40, def: int64(0),
			doc: "most bytes per second that an update downloads, 0 for no limit",
			of:  func(s *set) any { return s.Update.LimitRate },
			put: func(s *set, v any) { s.Update.LimitRate = v.(int64) }},
		{name: "update.jitter", kind: kindDuration, def: time.Duration(0),
			doc: "longest random wait before an update starts (config file and environment)"},
		{name: "scan.pua", kind: kindBool, def: false,
			doc: "report potentially unwanted applications too",
			of:  func(s *set) any { return s.Scan.PUA },
			put: func(s *set, v any) { s.Scan.PUA = v.(bool) }},
		{name: "scan.jobs", kind: kindCount, min: 0, max: 4096, def: int64(0),
			doc: "files scanned at the same time, 0 for one per processor",
			of:  func(s *set) any { return int64(s.Scan.Jobs) },
			put: func(s *set, v any) { s.Scan.Jobs = int(v.(int64)) }},
		{name: "scan.max_size", kind: kindSize, min: 0, max: math.MaxInt64, def: int64(0),
			doc: "largest file that is scanned, 0 for no limit",
			of:  func(s *set) any { return s.Scan.MaxSize },
			put: func(s *set, v any) { s.Scan.MaxSize = v.(int64) }},
	}
}

// checkProxy says why text is no address of a KSN proxy.
func checkProxy(text string) error {
	if _, err := reputation.ProxyURL(text); err != nil {
		return fmt.Errorf("proxy %.80q, want HOST, HOST:PORT, or http:// or https:// with a host and without user name, password and query", reputation.ProxyName(text))
	}
	return nil
}

// checkList says what is wrong with a list, at its first item that is.
func (k key) checkList(list []string) error {
	if int64(len(list)) > k.max {
		return fmt.Errorf("%s is a list of %d, the limit is %d", k.name, len(list), k.max)
	}
	for _, item := range list {
		if err := k.item(item); err != nil {
			return fmt.Errorf("%s holds the %w", k.name, err)
		}
	}
	return nil
}

// shownList is a list without secrets.
func (k key) shownList(list []string) []string {
	shown := make([]string, len(list))
	for i, item := range list {
		shown[i] = k.shown(item)
	}
	return shown
}

// findKey looks a key up by its name.
func findKey(name string) (key, bool) {
	all := keys()
	i := slices.IndexFunc(all, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return all[i], true
}

// unknownKey says that there is no such key, and which ones come near.
func unknownKey(name string) error {
	return hint(usagef("unknown key %q", name), "%s", nearKeys(name))
}

// nearKeys advises on a misspelt key.
func nearKeys(name string) string {
	var near []string
	for _, k := range keys() {
		last := k.name[strings.LastIndexByte(k.name, '.')+1:]
		if distance(name, k.name) <= 2 || distance(name, last) <= 1 || name != "" && strings.HasSuffix(k.name, "."+name) {
			near = append(near, k.name)
		}
	}
	if len(near) > 0 {
		return "did you mean " + strings.Join(near, " or ") + "?"
	}
	return `run "avdb config show" for the list of keys`
}

// distance is the number of single-byte edits between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// envName is the environment variable of a key: AVDB_UPDATE_LIMIT_RATE.
func (k key) envName() string {
	return "AVDB_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// want says in words which values a key takes.
func (k key) want() string {
	switch k.kind {
	case kindBool:
		return "true or false"
	case kindCount:
		return fmt.Sprintf("a number from %d to %d", k.min, k.max)
	case kindSize:
		return "a number of bytes such as 500k, 20M or 1G"
	case kindDuration:
		return "a duration such as 90s, 15m or 2h"
	case kindChoice:
		return strings.Join(k.choices[:len(k.choices)-1], ", ") + " or " + k.choices[len(k.choices)-1]
	case kindList:
		return "a list"
	}
	return "a list of sources"
}

// parse reads a value of the key from text: a flag, the environment, `config set`.
func (k key) parse(text string) (any, error) {
	bad := func() error { return fmt.Errorf("%s is %q, want %s", k.name, text, k.want()) }
	switch k.kind {
	case kindBool:
		switch text {
		case "true", "on", "yes", "1":
			return true, nil
		case "false", "off", "no", "0":
			return false, nil
		}
	case kindCount, kindSize:
		n, err := strconv.ParseInt(text, 10, 64)
		if k.kind == kindSize {
			n, err = parseSize(text)
		}
		if err == nil && n >= k.min && n <= k.max {
			return n, nil
		}
	case kindDuration:
		if d, err := time.ParseDuration(text); err == nil && d >= 0 {
			return d, nil
		}
	case kindChoice:
		if slices.Contains(k.choices, text) {
			return text, nil
		}
	case kindList:
		var list []string
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		return list, k.checkList(list)
	case kindSources:
		return nil, hint(usagef("%s is set in the config file or by %q", k.name, "avdb init --source URL"), "see %q", "avdb init --help")
	}
	return nil, bad()
}

// text is the inverse of parse, but for passwords, which are never printed.
func (k key) text(v any) string {
	switch v := v.(type) {
	case []string:
		return strings.Join(k.shownList(v), ",")
	case []store.SettingsSource:
		urls := make([]string, len(v))
		for i, s := range v {
			urls[i] = updater.SourceName(s.URL)
		}
		return strings.Join(urls, ",")
	case time.Duration:
		return durationText(v)
	}
	return fmt.Sprint(v)
}

// jsonValue is v as it stands in JSON documents.
func (k key) jsonValue(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return durationText(v)
	case []string:
		return k.shownList(v)
	case []store.SettingsSource:
		list := make([]store.SettingsSource, len(v))
		for i, s := range v {
			list[i] = s // which refers to its secrets and holds none, but in its URLs
			list[i].URL = updater.SourceName(s.URL)
			if s.Proxy != "" && s.Proxy != store.ProxyDirect {
				list[i].Proxy = updater.SourceName(s.Proxy)
			}
		}
		return list
	}
	return v
}

// durationText is a duration without the zeros that its String method adds.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseSize reads a number of bytes: 4096, 500k, 20M, 1G, with an optional iB or B.
func parseSize(text string) (int64, error) {
	s := strings.TrimSuffix(strings.TrimSuffix(text, "B"), "i")
	shift := 0
	if s != "" {
		switch s[len(s)-1] {
		case 'k', 'K':
			shift = 10
		case 'm', 'M':
			shift = 20
		case 'g', 'G':
			shift = 30
		}
	}
	if shift > 0 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is no size, want a number of bytes such as 500k, 20M or 1G", text)
	}
	return n << shift, nil
}
