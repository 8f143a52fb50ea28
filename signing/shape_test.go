package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A malformation is signed metadata of the wrong shape: every key is good, so parseDocument alone stands in the way.
type malformation struct {
	name string
	role string
	make func(f *forge)
}

func field(role, name string, value any, path ...string) malformation {
	return malformation{fmt.Sprintf("%s %s %s=%.40v", role, strings.Join(path, "."), name, value), role,
		func(f *forge) {
			f.at(role, path...)[name] = value
			f.noMeta[role] = f.noMeta[role] || name == "meta"
		}}
}

func missing(role, name string, path ...string) malformation {
	return malformation{fmt.Sprintf("%s %s without %s", role, strings.Join(path, "."), name), role,
		func(f *forge) { delete(f.at(role, path...), name) }}
}

func text(role, name, old, new string) malformation {
	return malformation{role + " " + name, role, func(f *forge) {
		f.edit[role] = func(b []byte) []byte {
			out := bytes.Replace(b, []byte(old), []byte(new), 1)
			if bytes.Equal(out, b) {
				f.t.Fatalf("%s: nothing to replace", name)
			}
			return out
		}
	}}
}

// afterSig changes the first signature's hex digits.
func afterSig(change func(sig string) string) func([]byte) []byte {
	return func(b []byte) []byte {
		i := bytes.Index(b, []byte(`"sig":"`)) + len(`"sig":"`)
		return slices.Concat(b[:i], []byte(change(string(b[i:i+128]))), b[i+128:])
	}
}

// delegation changes one entry of the delegated roles; entry 0 is database.
func delegation(name string, change func(f *forge, roles arr) arr) malformation {
	return malformation{"targets " + name, RoleTargets, func(f *forge) {
		d := f.at(RoleTargets, "delegations")
		d["roles"] = change(f, d["roles"].(arr))
	}}
}

func malformations() []malformation {
	var all []malformation
	roles := append([]string{RoleRoot}, setRoles...)
	for _, role := range roles {
		for _, v := range []any{nil, "x", 1.5, -1, true, arr{}, obj{}, arr{nil}, obj{"a": nil}, json.Number("9007199254740992"), json.Number("1e3"), strings.Repeat("a", 70)} {
			names := []string{"_type", "spec_version", "version", "expires"}
			switch role {
			case RoleRoot:
				names = append(names, "keys", "roles", "consistent_snapshot")
			case RoleTimestamp:
				names = append(names, "meta", "signed_at")
			case RoleSnapshot:
				names = append(names, "meta")
			case RoleTargets:
				names = append(names, "targets", "delegations")
			default:
				names = append(names, "targets")
			}
			for _, n := range names {
				if b, ok := v.(bool); ok && b && n == "consistent_snapshot" {
					continue
				}
				if m, ok := v.(obj); ok && len(m) == 0 && n == "targets" {
					continue // no target at all is a good state
				}
				all = append(all, field(role, n, v))
			}
		}
		all = append(all,
			missing(role, "_type"), missing(role, "spec_version"), missing(role, "version"), missing(role, "expires"),
			field(role, "version", 0), field(role, "x", json.Number("9007199254740993")), field(role, "x", json.Number("-0")), field(role, "x", nil), field(role, "x", 0.5), field(role, "Version", 7), field(role, "x", "é"),
			field(role, "expires", "2030-01-01T00:00:00+00:00"), field(role, "expires", "2030-01-01T00:00:00.5Z"), field(role, "expires", "2030-01-01"),
			field(role, "expires", "2030-02-31T00:00:00Z"), field(role, "spec_version", "2.0.0"),
			text(role, "version twice", `"version":`, `"version":1,"version":`),
			text(role, "field before signed", `{"signatures"`, `{"x":1,"signatures"`),
			text(role, "bytes after the end", `{"signatures"`, `{} {"signatures"`),
			text(role, "no signatures", `"signatures":[{`, `"signatures":[],"x":[{`),
			text(role, "null signature", `"signatures":[{`, `"signatures":[null,{`),
			text(role, "short signature", `"sig":"`, `"sig":"","x":"`),
			text(role, "key id as a number", `"keyid":"`, `"keyid":1,"x":"`),
			text(role, "key id too long", `"keyid":"`, `"keyid":"00`),
			malformation{role + " signature cut", role, func(f *forge) { f.edit[role] = afterSig(func(sig string) string { return sig[2:] }) }},
			malformation{role + " signature in capitals", role, func(f *forge) { f.edit[role] = afterSig(strings.ToUpper) }},
			text(role, "escape", `"_type":"`, `"_type":"\u0072`),
			text(role, "control character", `"_type":"`, "\"_type\":\"\x01"),
			text(role, "not UTF-8", `"_type":"`, "\"_type\":\"\xff"),
			malformation{role + " null", role, func(f *forge) { f.edit[role] = func([]byte) []byte { return []byte("null") } }},
			malformation{role + " empty", role, func(f *forge) { f.edit[role] = func([]byte) []byte { return []byte(" ") } }},
			malformation{role + " truncated", role, func(f *forge) { f.edit[role] = func(b []byte) []byte { return b[:len(b)-1] } }},
			malformation{role + " deep", role, func(f *forge) {
				var v any = 1
				for range 20 {
					v = arr{v}
				}
				f.signed[role]["x"] = v
			}},
			malformation{role + " signed twice by one key", role, func(f *forge) { f.keys[role] = append(slices.Clone(f.keys[role]), f.keys[role][0]) }},
		)
	}
	all = append(all, field(RoleTimestamp, "signed_at", "2026-03-08T12:00:01Z"), field(RoleRoot, "consistent_snapshot", false))
	return slices.Concat(all, metaMalformations(), keyMalformations(), targetMalformations())
}

func metaMalformations() []malformation {
	var all []malformation
	for role, names := range map[string][]string{RoleTimestamp: {"snapshot.json"}, RoleSnapshot: {"targets.json", "database.json", "restrictions.json"}} {
		for _, n := range names {
			for _, m := range []malformation{
				missing(role, n, "meta"), missing(role, "version", "meta", n), missing(role, "hashes", "meta", n), missing(role, "length", "meta", n),
				field(role, n, nil, "meta"), field(role, "length", 0, "meta", n), field(role, "length", -5, "meta", n), field(role, "version", nil, "meta", n),
				field(role, "hashes", nil, "meta", n), field(role, "hashes", obj{}, "meta", n), field(role, "hashes", obj{"sha256": nil}, "meta", n),
				field(role, "hashes", obj{"sha512": strings.Repeat("ab", 64)}, "meta", n), field(role, "sha256", "abcd", "meta", n, "hashes"),
				field(role, "sha512", strings.Repeat("ab", 64), "meta", n, "hashes"), field(role, "x", 1, "meta", n),
				field(role, "x", obj{}, "meta"), field(role, "../x.json", obj{}, "meta"), field(role, "root.json", obj{"version": 1}, "meta"),
			} {
				change := m.make
				m.make = func(f *forge) {
					f.files() // meta first becomes right, then wrong
					f.noMeta[role] = true
					change(f)
				}
				all = append(all, m)
			}
		}
	}
	return all
}

// anyKey is a key id of a key table.
func anyKey(table obj) string { return slices.Min(slices.Collect(maps.Keys(table))) }

func keyMalformations() []malformation {
	var all []malformation
	for _, c := range []struct {
		role string
		path []string
	}{{RoleRoot, []string{"keys"}}, {RoleTargets, []string{"delegations", "keys"}}} {
		key := func(name string, change func(f *forge, table obj, id string)) {
			all = append(all, malformation{c.role + " key " + name, c.role, func(f *forge) {
				table := f.at(c.role, c.path...)
				change(f, table, anyKey(table))
			}})
		}
		key("null", func(_ *forge, t obj, id string) { t[id] = nil })
		key("empty", func(_ *forge, t obj, id string) { t[id] = obj{} })
		key("gone", func(_ *forge, t obj, id string) { delete(t, id) })
		key("keyval null", func(_ *forge, t obj, id string) { t[id].(obj)["keyval"] = nil })
		key("public null", func(_ *forge, t obj, id string) { t[id].(obj)["keyval"] = obj{"public": nil} })
		key("public short", func(_ *forge, t obj, id string) { t[id].(obj)["keyval"] = obj{"public": "abcd"} })
		key("public long", func(_ *forge, t obj, id string) { t[id].(obj)["keyval"] = obj{"public": strings.Repeat("ab", 33)} })
		key("public not hex", func(_ *forge, t obj, id string) { t[id].(obj)["keyval"] = obj{"public": strings.Repeat("zz", 32)} })
		key("public in capitals", func(_ *forge, t obj, id string) {
			v := t[id].(obj)["keyval"].(obj)
			v["public"] = strings.ToUpper(v["public"].(string))
		})
		key("of type rsa", func(_ *forge, t obj, id string) { t[id].(obj)["keytype"] = "rsa" })
		key("of type ecdsa", func(_ *forge, t obj, id string) { t[id].(obj)["keytype"] = "ecdsa" })
		key("of another scheme", func(_ *forge, t obj, id string) { t[id].(obj)["scheme"] = "x" })
		key("with more fields", func(_ *forge, t obj, id string) { t[id].(obj)["x"] = 1 })
		key("under another id", func(f *forge, t obj, id string) { // one key that would count twice
			_, k := f.newKey(5)
			t[strings.Repeat("ab", 32)] = k
		})
		key("with a short id", func(f *forge, t obj, id string) {
			_, k := f.newKey(5)
			t["ab"] = k
		})
		key("too many", func(f *forge, t obj, id string) {
			for i := range uint64(maxKeys) {
				id, k := f.newKey(1000 + i)
				t[id] = k
			}
		})
	}
	for _, v := range []any{nil, obj{}, "x", obj{"keyids": nil, "threshold": 1}, obj{"keyids": arr{}, "threshold": 1}, obj{"keyids": arr{1}, "threshold": 1}} {
		for _, role := range []string{RoleRoot, RoleTimestamp, RoleSnapshot, RoleTargets} {
			all = append(all, field(RoleRoot, role, v, "roles"))
		}
	}
	for _, v := range []any{0, -1, 2, nil, "1", 1 << 40} {
		all = append(all, field(RoleRoot, "threshold", v, "roles", RoleTimestamp))
	}
	all = append(all, missing(RoleRoot, RoleSnapshot, "roles"), field(RoleRoot, "mirrors", obj{}, "roles"), field(RoleRoot, "x", 1, "roles", RoleTimestamp),
		malformation{"root role with a key twice", RoleRoot, func(f *forge) {
			r := f.at(RoleRoot, "roles", RoleTimestamp)
			r["keyids"] = append(r["keyids"].(arr), r["keyids"].(arr)[0])
		}},
		malformation{"root role with an unknown key", RoleRoot, func(f *forge) {
			r := f.at(RoleRoot, "roles", RoleTimestamp)
			r["keyids"] = append(r["keyids"].(arr), strings.Repeat("0", 64))
		}})
	return all
}

// wickedPaths are names that must never become a URL or a file name.
var wickedPaths = []string{"light/x.", "a./b", "", ".", "..", "../x", "/x", "a/../../x", "light//b", "light/./b", "light/..", "light/...", "light/x/", "a\x00", "a\nb", `a\b`, "c:/x", "C:\\x",
	"%2e%2e/x", "a%2fb", "CON", "Light/x", "light/é", "light/e\u0301", "light/x ", "light/ x", "light/x?y", "light/x#y", "light/*", "~/x", "light/x:y",
	strings.Repeat("a", 256), "light/" + strings.Repeat("b", 4096)}

func targetMalformations() []malformation {
	hash := strings.Repeat("ab", 32)
	good := func() obj { return obj{"length": 1, "hashes": obj{"sha256": hash}} }
	var all []malformation
	for _, p := range wickedPaths {
		all = append(all, field(RoleDatabase, p, good(), "targets"), field(RoleTargets, p, good(), "targets"))
	}
	for _, v := range []any{nil, 1, obj{}, obj{"length": 1}, obj{"length": nil, "hashes": obj{"sha256": hash}}, obj{"length": -1, "hashes": obj{"sha256": hash}},
		obj{"length": 1, "hashes": nil}, obj{"length": 1, "hashes": obj{}}, obj{"length": 1, "hashes": obj{"md5": hash[:32]}},
		obj{"length": 1, "hashes": obj{"sha256": hash, "sha512": hash + hash}}, obj{"length": 1, "hashes": obj{"sha256": hash[:62]}},
		obj{"length": 1, "hashes": obj{"sha256": strings.ToUpper(hash)}}, obj{"length": 1, "hashes": obj{"sha256": hash}, "custom": nil}} {
		all = append(all, field(RoleDatabase, "light/x", v, "targets"))
	}
	all = append(all,
		// A role names what is another's.
		field(RoleDatabase, "restrictions/set.json", good(), "targets"), field(RoleDatabase, "global.json", good(), "targets"),
		field(RoleRestrictions, "release.json", good(), "targets"), field(RoleRestrictions, "light/x", good(), "targets"),
		field(RoleTargets, "release.json", good(), "targets"), field(RoleTargets, "light/x", good(), "targets"), field(RoleTargets, "restrictions/set.json", good(), "targets"),
		// Delegations below targets' own.
		field(RoleDatabase, "delegations", obj{"keys": obj{}, "roles": arr{}}), field(RoleRestrictions, "delegations", obj{}),
		malformation{"database delegates on", RoleDatabase, func(f *forge) {
			id, k := f.newKey(6)
			f.signed[RoleDatabase]["delegations"] = obj{"keys": obj{id: k}, "roles": arr{obj{"name": "restrictions", "keyids": arr{id}, "threshold": 1,
				"terminating": false, "paths": arr{"restrictions/*"}}}}
		}},
		delegation("delegates a role twice", func(_ *forge, roles arr) arr { return append(roles, roles[0]) }),
		delegation("delegates a role twice with other keys", func(f *forge, roles arr) arr {
			id, k := f.newKey(6)
			f.at(RoleTargets, "delegations", "keys")[id] = k
			twin := maps.Clone(roles[0].(obj))
			twin["keyids"] = arr{id}
			return append(arr{twin}, roles...)
		}),
		delegation("without database", func(_ *forge, roles arr) arr { return roles[1:] }),
		delegation("without restrictions", func(_ *forge, roles arr) arr { return roles[:1] }),
		delegation("null role", func(_ *forge, roles arr) arr { return append(roles, nil) }),
		delegation("too many roles", func(_ *forge, roles arr) arr {
			for i := range maxRoles {
				r := maps.Clone(roles[0].(obj))
				r["name"] = fmt.Sprintf("r%d", i)
				roles = append(roles, r)
			}
			return roles
		}),
		field(RoleTargets, "succinct_roles", obj{"bit_length": 4, "name_prefix": "b", "keyids": arr{}, "threshold": 1}, "delegations"),
	)
	for name, v := range map[string]any{"name": "snapshot", "paths": arr{"*"}, "threshold": 0, "keyids": nil, "terminating": "no", "path_hash_prefixes": arr{"ab"}} {
		all = append(all, delegation(fmt.Sprintf("database with %s=%v", name, v), func(_ *forge, roles arr) arr {
			roles[0].(obj)[name] = v
			return roles
		}))
	}
	for _, v := range []any{nil, "Database", "a/b", "..", "", strings.Repeat("a", 40), 1} {
		all = append(all, delegation(fmt.Sprintf("role named %.10v", v), func(_ *forge, roles arr) arr {
			r := maps.Clone(roles[0].(obj))
			r["name"] = v
			return append(roles, r)
		}))
	}
	for _, v := range []any{nil, arr{}, arr{nil}, arr{"../*"[:2] + "/[a]"}, arr{"/x"}, arr{"light/?"}, arr{"light//x"}, "x"} {
		all = append(all, delegation(fmt.Sprintf("role with paths %v", v), func(_ *forge, roles arr) arr {
			r := maps.Clone(roles[0].(obj))
			r["name"], r["paths"] = "other", v
			return append(roles, r)
		}))
	}
	return all
}

// Guard: parseDocument. go-tuf v2.4.2 alone believes 241 of these and panics on 15.
func TestMalformedMetadata(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	all := malformations()
	t.Logf("%d shapes", len(all))
	tr := newTrust(t, r)
	first := newForge(t, r)
	for i, m := range all {
		f := forgeOf(t, first.set, first.ring)
		m.make(f)
		d, err := parseDocument(m.role, f.sign(m.role))
		if e, ok := errors.AsType[*UntrustedError](err); d != nil || !ok || e.Role != m.role || e.Reason != ReasonMalformed {
			t.Errorf("%s: %v, %v; want malformed %s", m.name, d, err, m.role)
		}
		if i%16 != 0 && !thorough { // the whole way for some
			continue
		}
		files := f.files()
		if m.role == RoleRoot { // offered as the next root
			files["2.root.json"] = f.sign(RoleRoot)
		}
		v, err := tr.Refresh(t.Context(), &mapSource{files: files}, RefreshOptions{Now: day0})
		e, ok := errors.AsType[*UntrustedError](err)
		if !ok || e.Role != m.role || e.Reason != ReasonMalformed {
			t.Errorf("%s: refresh gives %v, %v; want malformed %s", m.name, v, err, m.role)
		}
	}
	if len(tree(t, tr.dir)) != 1 {
		t.Error("something was stored")
	}
}

// Guard: fields that a later version adds in the signed part, or roles that it delegates, keep this version working.
func TestUnknownFieldsAndRolesAreAllowed(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	f := newForge(t, r)
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		f.signed[role]["x-later"] = obj{"a": arr{1, "b", true, obj{}}}
	}
	f.at(RoleDatabase, "targets", "release.json")["custom"] = obj{"n": 1}
	id, k := f.newKey(6)
	d := f.at(RoleTargets, "delegations")
	d["keys"].(obj)[id] = k
	d["roles"] = append(d["roles"].(arr), obj{"name": "database2", "keyids": arr{id}, "threshold": 1, "terminating": false, "paths": arr{"v2/*"}})
	f.bump(1, RoleRoot)
	v := refresh(t, newTrust(t, r), f.source(), day0)
	if v.Version(RoleRoot) != 2 {
		t.Errorf("root %d", v.Version(RoleRoot))
	}
}

// Guard: a role that this version does not know is never fetched, even where targets leads to it first.
func TestUnknownRoleInTheWay(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	f := newForge(t, r)
	d := f.at(RoleTargets, "delegations")
	other := maps.Clone(d["roles"].(arr)[0].(obj))
	other["name"] = "other"
	d["roles"] = append(arr{other}, d["roles"].(arr)...)
	f.files()
	f.at(RoleSnapshot, "meta")["other.json"] = maps.Clone(f.at(RoleSnapshot, "meta", "database.json"))
	refuse(t, newTrust(t, r), f.source(), day0, RoleTargets, ReasonDelegation)
}

// Guard: the limit in parseDocument, for what is read back from a disk.
func TestLimits(t *testing.T) {
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		_, err := parseDocument(role, make([]byte, limitOf(role)+1))
		wantUntrusted(t, nil, err, role, ReasonTooLong)
		_, err = parseDocument(role, make([]byte, limitOf(role)))
		wantUntrusted(t, nil, err, role, ReasonMalformed)
	}
	many := "[" + strings.Repeat("1,", maxValues) + "1]"
	if _, err := parseTree([]byte(many)); err == nil {
		t.Errorf("%d values were taken", maxValues+2)
	}
}

func TestTargetPaths(t *testing.T) {
	for _, p := range []string{"release.json", "light/ab.bundle", "rest/1-2.delta", "restrictions/set.json", "a/b/c", "_", "-", "a..b", ".a"} {
		if err := CheckTargetPath(p); err != nil {
			t.Error(err)
		}
	}
	for _, p := range wickedPaths {
		if p == "light/*" || p == "" {
			continue
		}
		if err := CheckTargetPath(p); !errors.Is(err, ErrTarget) {
			t.Errorf("%q: %v", p, err)
		}
	}
	got := Target{Path: "light/1-2.delta", SHA256: [32]byte{0xab}}.Name()
	if want := "light/ab" + strings.Repeat("00", 31) + ".1-2.delta"; got != want {
		t.Errorf("name %s, want %s", got, want)
	}
}

// FuzzParseDocument: what passes is read by go-tuf without a panic or an error, into the same numbers, and its signatures can be
// checked without a panic.
func FuzzParseDocument(f *testing.F) {
	r := newRepository(f, RepositoryOptions{Threshold: 2, Keys: 2})
	publish(f, r, 1, day0)
	s, err := r.load()
	if err != nil {
		f.Fatal(err)
	}
	roles := append([]string{RoleRoot}, setRoles...)
	for i, role := range roles {
		f.Add(uint8(i), s.raw[role])
	}
	ring, err := r.allKeys()
	if err != nil {
		f.Fatal(err)
	}
	for i, m := range malformations() {
		if i%7 != 0 { // every worker makes the seeds anew
			continue
		}
		fg := forgeOf(f, s, ring)
		m.make(fg)
		f.Add(uint8(slices.Index(roles, m.role)), fg.sign(m.role))
	}
	f.Fuzz(func(t *testing.T, n uint8, b []byte) {
		role := roles[int(n)%len(roles)]
		d, err := parseDocument(role, b)
		if err != nil {
			if d != nil || !errors.Is(err, ErrUntrusted) {
				t.Fatalf("%v, %v", d, err)
			}
			return
		}
		var version int64
		switch role {
		case RoleRoot:
			m, e := metadata.Root().FromBytes(b)
			if err = e; e == nil {
				version = m.Signed.Version
				_ = m.VerifyDelegate(RoleRoot, m)
				_, err = signedBy(RoleRoot, b, d.roles[RoleRoot], d.keys)
			}
		case RoleTimestamp:
			m, e := metadata.Timestamp().FromBytes(b)
			if err = e; e == nil {
				version = m.Signed.Version
			}
		case RoleSnapshot:
			m, e := metadata.Snapshot().FromBytes(b)
			if err = e; e == nil {
				version = m.Signed.Version
			}
		default:
			m, e := metadata.Targets().FromBytes(b)
			if err = e; e == nil {
				version = m.Signed.Version
				if len(m.Signed.Targets) != len(d.targets) {
					t.Fatalf("%d targets, go-tuf has %d", len(d.targets), len(m.Signed.Targets))
				}
				if role == RoleTargets {
					_ = m.VerifyDelegate(RoleDatabase, m)
				}
			}
		}
		if err != nil || uint64(version) != d.version {
			t.Fatalf("passed the shape check, but go-tuf says version %d, %v\n%s", version, err, b)
		}
	})
}

// Guard: judge, as a pure function.
func TestJudge(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, c := range []struct {
		why       string
		name      string
		floor     uint64
		keys      []string // that vouched
		value     uint64
		now       []string // that may sign
		threshold int
		want      Reason
	}{
		{"equal", RoleSnapshot, 5, []string{a}, 5, []string{a}, 1, ""},
		{"above", RoleSnapshot, 5, []string{a}, 6, []string{a}, 1, ""},
		{"below", RoleSnapshot, 5, []string{a}, 4, []string{a}, 1, ReasonRollback},
		{"below, one of two keys left, enough", RoleSnapshot, 5, []string{a, b}, 4, []string{b}, 1, ReasonRollback},
		{"below, a key added", RoleSnapshot, 5, []string{a}, 4, []string{a, b}, 1, ReasonRollback},
		{"below, key taken away", RoleSnapshot, 5, []string{a}, 4, []string{b}, 1, ""},
		{"below, one of two keys left, too few", RoleTargets, 5, []string{a, b}, 4, []string{b, strings.Repeat("c", 64)}, 2, ""},
		{"root below, keys taken away", RoleRoot, 5, []string{a}, 4, []string{b}, 1, ReasonRollback},
		{"release below", "release", 5, []string{a}, 4, []string{a}, 1, ReasonRollback},
		{"step of 2^32", RoleSnapshot, 5, []string{a}, 5 + 1<<32, []string{a}, 1, ""},
		{"step above 2^32", RoleSnapshot, 5, []string{a}, 6 + 1<<32, []string{a}, 1, ReasonFastForward},
		{"first contact", RoleSnapshot, 0, nil, 1 << 32, []string{a}, 1, ""},
		{"first contact, step above 2^32", RoleSnapshot, 0, nil, 1<<32 + 1, []string{a}, 1, ReasonFastForward},
	} {
		f := newFloors()
		f.raise(c.name, c.floor, c.keys)
		err := f.judge(c.name, c.value, authority{keyids: c.now, threshold: c.threshold})
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", c.why, err)
		} else if c.want != "" {
			if e := wantUntrusted(t, nil, err, c.name, c.want); e.Version != c.value || e.Floor != c.floor {
				t.Errorf("%s: version %d, floor %d", c.why, e.Version, e.Floor)
			}
		}
	}
}

// FuzzParseFloors: what parses is written back to the same bytes.
func FuzzParseFloors(f *testing.F) {
	fl := newFloors()
	f.Add(fl.encode())
	for name := range floorNames {
		fl.raise(name, 7, []string{keyID("00"), strings.Repeat("f", 64)})
		f.Add(fl.encode())
	}
	for _, s := range []string{"", "null", "{}", `{"schema":1,"floors":null}`, `{"schema":1,"floors":{"root":null}}`, `{"schema":1,"floors":{"root":{"value":-1,"keys":[]}}}`,
		`{"schema":1,"floors":{"root":{"value":1e3,"keys":["a"]}}}`, `{"schema":2,"floors":{}}`, `{"schema":1,"schema":1,"floors":{}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fl, err := parseFloors(b)
		if err != nil {
			if fl != nil {
				t.Fatal("floors came with an error")
			}
			return
		}
		if !bytes.Equal(fl.encode(), b) {
			t.Fatalf("read from %q, written as %q", b, fl.encode())
		}
	})
}
