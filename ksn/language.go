package ksn

import "strings"

// maxTag is the greatest length of a language tag that is looked at, in bytes: RFC 5646
// needs 35, and environments append an encoding.
const maxTag = 64

// FallbackLanguage is the language that every statement exists in.
const FallbackLanguage = "en"

// MatchLanguage picks the best of the tags that exist for a wanted one: the tag itself, then without
// its last part and so on (xx-YY, then xx), then "en". It takes what environments hold
// ("de_AT.UTF-8", "C", "") and does not care about case. The result is one of have, "" if not even "en" is there.
func MatchLanguage(want string, have []string) string {
	for tag := normalTag(want); tag != ""; tag = parentTag(tag) {
		if h, ok := findTag(tag, have); ok {
			return h
		}
	}
	h, _ := findTag(FallbackLanguage, have)
	return h
}

func findTag(tag string, have []string) (string, bool) {
	for _, h := range have {
		if normalTag(h) == tag {
			return h, true
		}
	}
	return "", false
}

// parentTag drops the last part of a normal tag; "" has no parent.
func parentTag(tag string) string {
	i := strings.LastIndexByte(tag, '-')
	if i < 0 {
		return ""
	}
	return tag[:i]
}

// normalTag is the form in which tags are compared: lower case, '-' between the parts, no encoding or
// modifier. Whatever is no tag is "".
func normalTag(s string) string {
	if i := strings.IndexAny(s, ".@"); i >= 0 {
		s = s[:i]
	}
	if len(s) > maxTag {
		return ""
	}
	s = strings.ReplaceAll(strings.ToLower(s), "_", "-")
	for i, part := range strings.Split(s, "-") {
		if len(part) < 1 || len(part) > 8 || i == 0 && len(part) < 2 {
			return ""
		}
		for _, c := range []byte(part) {
			if (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
				return ""
			}
		}
	}
	return s
}
