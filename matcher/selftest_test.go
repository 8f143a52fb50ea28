package matcher

import (
	"errors"
	"testing"

	"example.org/avdb/dbformat"
)

// goodVectors are what a publisher adds for these sections.
func goodGeneration() (sections, []dbformat.Vector) {
	const hash, whole, pua, allow = "content of hash", "content of whole", "content of pua", "content of allow"
	s := sections{
		"hash/sha256":  {listed(dbformat.SHA256, hash, true, "Avdb.SelfTest.hash/sha256"), listed(dbformat.SHA256, allow, true, "x")},
		"whole/md5":    {listed(dbformat.MD5, whole, true, "Avdb.SelfTest.whole/md5")},
		"pua/sha1":     {listed(dbformat.SHA1, pua, true, "Avdb.SelfTest.pua/sha1")},
		"allow/sha256": {listed(dbformat.SHA256, allow, true, "Avdb.SelfTest.allow/sha256")},
		"url/sha256":   {listedURL("self-test.invalid/page", "Avdb.SelfTest.url/sha256")},
	}
	return s, []dbformat.Vector{
		{Content: []byte("benign")},
		{Section: "hash/sha256", Content: []byte(hash), Light: dbformat.ExpectSuspected, Full: dbformat.ExpectMalicious},
		{Section: "whole/md5", Content: []byte(whole), Light: dbformat.ExpectMalicious, Full: dbformat.ExpectMalicious},
		{Section: "pua/sha1", Content: []byte(pua), Light: dbformat.ExpectSuspected, Full: dbformat.ExpectMalicious},
		{Section: "allow/sha256", Content: []byte(allow), Light: dbformat.ExpectAllowed, Full: dbformat.ExpectAllowed},
		{Section: "url/sha256", Content: []byte("http://self-test.invalid/page"), Light: dbformat.ExpectSuspected, Full: dbformat.ExpectMalicious},
		{Section: "url/sha256", Content: []byte("http://benign.invalid/")},
	}
}

func selfTests(t *testing.T, s sections, v []dbformat.Vector) (light, full error) {
	t.Helper()
	l, r := generation(t, s, v...)
	return SelfTest(l, nil), SelfTest(l, r)
}

func TestSelfTestPasses(t *testing.T) {
	s, v := goodGeneration()
	if light, full := selfTests(t, s, v); light != nil || full != nil {
		t.Fatalf("light: %v, full: %v", light, full)
	}
	if light, full := selfTests(t, sections{}, nil); light != nil || full != nil {
		t.Fatalf("an empty release needs no vectors; light: %v, full: %v", light, full)
	}
}

func TestSelfTestStopsPoison(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s sections, v []dbformat.Vector) []dbformat.Vector
		want   SelfTestError // of the full variant
	}{
		"detects benign content": {func(s sections, v []dbformat.Vector) []dbformat.Vector {
			s["whole/md5"] = append(s["whole/md5"], listed(dbformat.MD5, "benign", false, "Oops"))
			return v
		}, SelfTestError{Section: "", Want: dbformat.ExpectClean, Got: Malicious}},
		"misses what it must detect": {func(s sections, v []dbformat.Vector) []dbformat.Vector {
			s["hash/sha256"] = s["hash/sha256"][1:]
			return v
		}, SelfTestError{Section: "hash/sha256", Want: dbformat.ExpectMalicious, Got: Clean}},
		"allows what it must detect": {func(s sections, v []dbformat.Vector) []dbformat.Vector {
			s["allow/sha256"] = append(s["allow/sha256"], listed(dbformat.SHA256, "content of pua", true, ""))
			return v
		}, SelfTestError{Section: "pua/sha1", Want: dbformat.ExpectMalicious, Got: Allowed}},
		"one section answers for another": {func(s sections, v []dbformat.Vector) []dbformat.Vector {
			s["whole/sha256"] = append(s["whole/sha256"], listed(dbformat.SHA256, "content of whole", true, ""))
			delete(s, "whole/md5")
			return v
		}, SelfTestError{Section: "whole/md5", Want: dbformat.ExpectMalicious, Got: Malicious, Reason: "but the section itself does not know it"}},
		"misses the URL": {func(s sections, v []dbformat.Vector) []dbformat.Vector {
			s["url/sha256"] = []dbformat.Record{listedURL("other.invalid/", "")}
			return v
		}, SelfTestError{Section: "url/sha256", Want: dbformat.ExpectMalicious, Got: Clean}},
		"detects a benign URL": {func(s sections, v []dbformat.Vector) []dbformat.Vector {
			s["url/sha256"] = append(s["url/sha256"], listedURL("benign.invalid/", ""))
			return v
		}, SelfTestError{Section: "url/sha256", Want: dbformat.ExpectClean, Got: Malicious}},
		"knows the URL as a file": {func(s sections, v []dbformat.Vector) []dbformat.Vector {
			s["hash/sha256"] = append(s["hash/sha256"], s["url/sha256"]...)
			s["hash/sha256"] = append(s["hash/sha256"], listed(dbformat.SHA256, "http://self-test.invalid/page", false, ""))
			delete(s, "url/sha256")
			return v
		}, SelfTestError{Section: "url/sha256", Want: dbformat.ExpectMalicious, Got: Clean}},
		"tests with what is no URL": {func(s sections, v []dbformat.Vector) []dbformat.Vector {
			v[len(v)-2].Content = []byte("self-test://page")
			return v
		}, SelfTestError{Section: "url/sha256", Want: dbformat.ExpectMalicious, Got: Failed}},
		"has no vectors": {func(sections, []dbformat.Vector) []dbformat.Vector { return nil },
			SelfTestError{Vector: -1, Reason: "the light layer has signatures and no vectors"}},
	} {
		s, v := goodGeneration()
		v = c.change(s, v)
		light, full := selfTests(t, s, v)
		for variant, err := range map[dbformat.Variant]error{dbformat.VariantLight: light, dbformat.VariantFull: full} {
			e, ok := errors.AsType[*SelfTestError](err)
			if !ok || !errors.Is(err, ErrSelfTest) {
				t.Errorf("%s, %s: error %v, want a SelfTestError", name, variant, err)
				continue
			}
			if e.Section != c.want.Section || e.Reason != c.want.Reason || e.Variant != variant || (e.Vector < 0) != (c.want.Vector < 0) {
				t.Errorf("%s, %s: %+v, want %+v", name, variant, e, c.want)
			}
			if variant == dbformat.VariantFull && (e.Want != c.want.Want || e.Got != c.want.Got) {
				t.Errorf("%s: want %s and got %s, must be want %s and got %s", name, e.Want, e.Got, c.want.Want, c.want.Got)
			}
		}
	}
}

// A layer that cannot be read has not passed.
func TestSelfTestFailsOnDamage(t *testing.T) {
	s, v := goodGeneration()
	light, rest := generation(t, s, v...)
	broken := errors.New("disk is gone")
	for section := range light.Header().Sections {
		err := SelfTest(brokenLayer{light, section, broken}, rest)
		if !errors.Is(err, broken) {
			t.Errorf("light section %s: %v", light.Header().Sections[section].ID, err)
		}
	}
	for section := range rest.Header().Sections {
		err := SelfTest(light, brokenLayer{rest, section, broken})
		if !errors.Is(err, broken) || !errors.Is(err, ErrSelfTest) {
			t.Errorf("rest section %s: %v", rest.Header().Sections[section].ID, err)
		}
	}
}

// A brokenLayer cannot read the blocks of one section.
type brokenLayer struct {
	dbformat.LayerReader
	section int
	err     error
}

func (b brokenLayer) Block(section, i int) ([]byte, error) {
	if section == b.section {
		return nil, b.err
	}
	return b.LayerReader.Block(section, i)
}
