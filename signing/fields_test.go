package signing

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
)

// A fieldCell is a document with one of its fields made wrong, signed by the right keys and named rightly by what stands above it.
type fieldCell struct {
	role string
	path []string
	how  string
	doc  []byte
}

func (c fieldCell) name() string { return c.role + " " + strings.Join(c.path, " ") + ": " + c.how }

// optional lists what may be wrong with a field and is believed, since then it is not wrong. A star stands for any role or element.
var optional = []struct {
	role, how string
	path      []string
	why       string
}{
	{RoleTargets, "absent", []string{"signed", "approved"}, "a field of our own"},
	{RoleTargets, "empty", []string{"signed", "approved"}, "no release is approved"},
	{RoleTargets, "absent", []string{"signed", "approved", "*"}, "one release less is approved"},
	{"*", "empty", []string{"signed", "targets"}, "a role may name no target"},
	{"*", "absent", []string{"signed", "targets", "*"}, "one target less"},
}

func (c fieldCell) optional() bool {
	for _, o := range optional {
		if (o.role == "*" || o.role == c.role) && o.how == c.how &&
			slices.EqualFunc(o.path, c.path, func(want, got string) bool { return want == "*" || want == got }) {
			return true
		}
	}
	return false
}

// wrongs gives what a value is replaced by. Absent and duplicate are for the caller.
func wrongs(v any) map[string]any {
	m := map[string]any{"null": nil}
	switch v := v.(type) {
	case string:
		m["a number"], m["an object"], m["empty"], m["huge"] = 7, obj{}, "", strings.Repeat("a", 5000)
	case json.Number:
		m["a string"], m["an array"], m["empty"], m["negative"], m["huge"], m["beyond 2^63"] = v.String(), arr{v}, "", json.Number("-"+v.String()),
			json.Number("9007199254740992"), json.Number("9223372036854775808")
	case bool:
		m["a string"], m["a number"], m["empty"] = strconv.FormatBool(v), 1, ""
	case obj:
		huge := maps.Clone(v)
		huge["x"] = strings.Repeat("a", MaxTargets) // unknown fields are allowed, but no document is so long
		m["a string"], m["an array"], m["empty"], m["huge"] = "x", arr{v}, obj{}, huge
	case arr:
		huge := slices.Clone(v)
		for range 5000 {
			huge = append(huge, v...)
		}
		m["a string"], m["an object"], m["empty"], m["huge"] = "x", obj{"0": v}, arr{}, huge
	}
	return m
}

func below(path []string, name string) []string { return append(slices.Clone(path), name) }

// duplicate stands for a second field of the same name until the document is text.
const duplicate = "zz-second"

// fieldCells makes every cell of a role's document out of the document itself.
func fieldCells(f *forge, role string) []fieldCell {
	var cells []fieldCell
	whole := f.document(role)
	// visit changes a place by set and tells what the document is then. It puts everything back.
	var visit func(path []string, v any, set func(any), absent func())
	cell := func(path []string, how string) {
		cells = append(cells, fieldCell{role, path, how, f.resigned(role, whole, path[0])})
	}
	visit = func(path []string, v any, set func(any), absent func()) {
		for _, how := range slices.Sorted(maps.Keys(wrongs(v))) {
			set(wrongs(v)[how])
			cell(path, how)
		}
		if absent != nil {
			absent()
			cell(path, "absent")
		}
		set(v)
		switch v := v.(type) {
		case obj:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				value := v[k]
				visit(below(path, k), value, func(n any) { v[k] = n }, func() { delete(v, k) })
				for how, second := range map[string]any{"twice": value, "twice, once null": nil} {
					// Signed is what readers see that take one of both.
					signed := f.resigned(role, whole, path[0])
					v[duplicate] = second
					cells = append(cells, fieldCell{role, below(path, k), how, bytes.Replace(f.withSignaturesOf(whole, signed), []byte(duplicate), []byte(k), 1)})
					delete(v, duplicate)
				}
			}
		case arr:
			for i, value := range v {
				visit(below(path, strconv.Itoa(i)), value, func(n any) { v[i] = n }, nil)
			}
			for i := range v {
				set(slices.Delete(slices.Clone(v), i, i+1))
				cell(below(path, strconv.Itoa(i)), "absent")
				set(v)
			}
		}
	}
	for _, part := range []string{"signed", "signatures"} {
		value := whole[part]
		visit([]string{part}, value, func(n any) { whole[part] = n }, func() { delete(whole, part) })
	}
	return cells
}

// document is a role's, as it would be served.
func (f *forge) document(role string) obj {
	d := json.NewDecoder(bytes.NewReader(f.sign(role)))
	d.UseNumber()
	var whole obj
	if err := d.Decode(&whole); err != nil {
		f.t.Fatal(err)
	}
	return whole
}

// resigned is a document with good signatures over what is in it, unless the signatures themselves are what was changed.
func (f *forge) resigned(role string, whole obj, part string) []byte {
	out := maps.Clone(whole)
	if part == "signed" {
		payload, err := cjson.EncodeCanonical(whole["signed"])
		if err != nil {
			payload = []byte(err.Error()) // not canonical at all: no signature can be good
		}
		sigs := arr{}
		for _, id := range f.keys[role] {
			sigs = append(sigs, obj{"keyid": id, "sig": hex.EncodeToString(ed25519.Sign(f.ring[id], payload))})
		}
		out["signatures"] = sigs
	}
	return f.marshal(out)
}

// withSignaturesOf is the text of a document with the signatures of another text of it.
func (f *forge) withSignaturesOf(whole obj, signed []byte) []byte {
	var from struct {
		Signatures json.RawMessage `json:"signatures"`
	}
	b := f.marshal(whole)
	if err := json.Unmarshal(signed, &from); err != nil {
		f.t.Fatal(err)
	}
	if bytes.Contains(f.marshal(whole["signatures"]), []byte(duplicate)) {
		return b
	}
	out := maps.Clone(whole)
	out["signatures"] = from.Signatures
	return f.marshal(out)
}

func (f *forge) marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// Signed but malformed: whoever holds every key, or a publisher that errs, makes no endpoint give way, and none believes what
// lacks a field or holds another thing in its place.
func TestEachFieldOfEachRole(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	for _, v := range []uint64{7, 9} {
		if err := r.Approve(v, day0); err != nil {
			t.Fatal(err)
		}
	}
	tr, believer := newTrust(t, r), 0
	var cells, panics, believed, allowed int
	used := map[string]bool{}
	judge := func(name, role string, files map[string][]byte, may bool) {
		cells++
		before := tree(t, tr.dir)
		v, err := tr.Refresh(t.Context(), &mapSource{files: files}, RefreshOptions{Now: day0})
		e, refused := errors.AsType[*UntrustedError](err)
		switch {
		case err == nil && may:
			allowed++
			used[name] = true
			tr = newTrust(t, r)
			return
		case err == nil:
			believed++
			t.Errorf("%s: believed: %v", name, v.Versions())
			tr = newTrust(t, r)
			return
		case !refused || e.Detail == "" || e.Reason == "":
			t.Errorf("%s: refused without a reason: %v", name, err)
		case e.Reason == ReasonInternal:
			panics++
			t.Errorf("%s: go-tuf gave way: %v", name, err)
		case may:
			t.Errorf("%s: refused, but it is optional: %v", name, err)
		}
		if !maps.Equal(before, tree(t, tr.dir)) {
			t.Errorf("%s: the trust folder changed", name)
			tr = newTrust(t, r)
		}
	}
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		f := newForge(t, r)
		f.bump(1, RoleRoot)
		if role != RoleRoot {
			f.bump(-1, RoleRoot)
		}
		f.files() // what names other documents names them as they are
		if _, err := newTrust(t, r).Refresh(t.Context(), f.source(), RefreshOptions{Now: day0}); err != nil {
			t.Fatalf("%s: without a mistake: %v", role, err)
		}
		believer++
		for _, c := range fieldCells(f, role) {
			f.edit[role] = func([]byte) []byte { return c.doc }
			judge(c.name(), role, f.files(), c.optional())
		}
	}
	fields := cells
	first := newForge(t, r)
	for _, m := range malformations() {
		f := forgeOf(t, first.set, first.ring)
		m.make(f)
		files := f.files()
		if m.role == RoleRoot {
			files["2.root.json"] = f.sign(RoleRoot)
		}
		judge(m.name, m.role, files, false)
	}
	if fields < 200 || believer != 6 {
		t.Errorf("%d cells of %d roles", fields, believer)
	}
	t.Logf("C2 signed but malformed: %d cells (%d fields, %d special shapes), %d panics, %d believed, %d optional and believed",
		cells, fields, cells-fields, panics, believed, allowed)
	for _, name := range slices.Sorted(maps.Keys(used)) {
		t.Logf("C2 optional: %s", name)
	}
}
