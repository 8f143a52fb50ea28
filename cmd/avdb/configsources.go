package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// sources reads a list of sources, each a URL or a mapping. It reports what is wrong at the line where it stands,
// and repeats no value: a secret may stand where only the name of its place should.
func (r *policyReader) sources(k key, n ast.Node) (any, error) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, fmt.Errorf("%s is %s, want a list", k.name, strings.ToLower(n.Type().String()))
	}
	var list []store.SettingsSource
	for _, item := range seq.Values {
		s := store.SettingsSource{}
		if text, ok := scalar(item); ok {
			s.URL = text
		} else if !r.source(item, &s) {
			continue
		}
		if err := checkPolicySource(s); err != nil {
			r.bad(item, err.Error(), "write an http://, https:// or file:// URL without credentials, or a mapping that names where they are: see docs/SOURCES.md")
			continue
		}
		list = append(list, s)
	}
	if len(list) == 0 && len(r.problems) == 0 {
		return nil, errors.New("sources is an empty list")
	}
	return list, nil
}

// source reads the mapping of one source; false when it said what is wrong.
func (r *policyReader) source(n ast.Node, s *store.SettingsSource) bool {
	return r.fields("a source", n, map[string]any{"url": &s.URL, "basic": &s.Basic, "bearer": &s.Bearer, "client_cert": &s.ClientCert,
		"ca_file": &s.CAFile, "proxy": &s.Proxy, "proxy_basic": &s.ProxyBasic, "max_age": &s.MaxAge})
}

// fields reads a mapping into texts, secrets and certificates; false when it said what is wrong.
func (r *policyReader) fields(what string, n ast.Node, into map[string]any) bool {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		r.bad(n, what+" is no mapping", what+" has the keys "+wordList(into))
		return false
	}
	good := true
	seen := map[string]bool{}
	for _, e := range entries {
		name, _ := scalar(e.Key)
		place, ok := into[name]
		if !ok || seen[name] { // which the YAML library refuses before
			r.bad(e.Key, fmt.Sprintf("unknown key %.40q of %s", name, what), what+" has the keys "+wordList(into))
			good = false
			continue
		}
		seen[name] = true
		switch p := place.(type) {
		case *string:
			text, ok := scalar(e.Value)
			if *p = text; !ok || text == "" {
				r.bad(e.Key, name+" of "+what+" is no text", "give it a value")
				good = false
			}
		case **store.SettingsSecret:
			*p = new(store.SettingsSecret)
			good = r.fields(name, e.Value, map[string]any{"user": &(*p).User, "file": &(*p).File, "env": &(*p).Env}) && good
		case **store.SettingsCert:
			*p = new(store.SettingsCert)
			good = r.fields(name, e.Value, map[string]any{"file": &(*p).File, "key_file": &(*p).KeyFile, "env": &(*p).Env}) && good
		}
	}
	return good
}

// wordList is the keys of a mapping in their order.
func wordList(m map[string]any) string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// checkPolicySource refuses what no update could come from, and a password: unlike the device's
// settings, the config file may be read by everybody.
func checkPolicySource(s store.SettingsSource) error {
	if _, err := updater.SourceOf(s); err != nil {
		return err
	}
	for _, text := range []string{s.URL, s.Proxy} {
		if u, err := url.Parse(text); err != nil || u.User != nil {
			return fmt.Errorf("source %q holds a user name or password", updater.SourceName(s.URL))
		}
	}
	return nil
}
