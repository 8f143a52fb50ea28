package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxConfig bounds the config file.
const maxConfig = 1 << 20

// A policy is what the config file says: keys that nothing else can change.
type policy struct {
	file   string // "" when there is none
	values map[string]policyValue
}

// A policyValue is the value of one key and the line that says so.
type policyValue struct {
	value any
	line  int
}

// A configProblem is one thing that is wrong with a config file.
type configProblem struct {
	File   string `json:"file"`
	Line   int    `json:"line"` // 0 for the file as a whole
	Text   string `json:"error"`
	Advice string `json:"remedy"`
}

func (p configProblem) place() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// A configError is a config file that cannot be used, with everything that is wrong
// in the order of its lines.
type configError struct{ problems []configProblem }

func (e *configError) Error() string {
	lines := make([]string, len(e.problems))
	for i, p := range e.problems {
		lines[i] = p.place() + ": " + p.Text
	}
	return strings.Join(lines, "\n")
}

// Remedy gives each problem's advice once.
func (e *configError) Remedy() string {
	var lines []string
	for _, p := range e.problems {
		if p.Advice != "" && !slices.Contains(lines, p.Advice) {
			lines = append(lines, p.Advice)
		}
	}
	return strings.Join(lines, "\n")
}

// readPolicy reads the config file; an empty name is an empty policy.
func readPolicy(name string) (policy, error) {
	p := policy{file: name, values: map[string]policyValue{}}
	if name == "" {
		return p, nil
	}
	f, err := os.Open(name) // also a pipe: a policy may be what another program prints
	if err != nil {
		return policy{}, hint(fmt.Errorf("config file: %w", err),
			"name a readable file with --config or AVDB_CONFIG, or leave both away")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return policy{}, fmt.Errorf("config file: %w", err)
	}
	if len(b) > maxConfig {
		return policy{}, &configError{[]configProblem{{File: name, Text: fmt.Sprintf("longer than %d bytes", maxConfig),
			Advice: "a config file holds a few lines; see \"avdb config --help\""}}}
	}
	p.values, err = parsePolicy(name, b)
	if err != nil {
		return policy{}, err
	}
	return p, nil
}

// parsePolicy reads the bytes of a config file. Everything that is wrong is told at
// once.
func parsePolicy(name string, b []byte) (map[string]policyValue, error) {
	file, err := parseYAML(b)
	if err != nil {
		p := configProblem{File: name, Text: err.Error(), Advice: "indent with spaces, write \"key: value\", and quote text that holds \": \" or \" #\""}
		var ye yaml.Error
		if errors.As(err, &ye) {
			p.Text = ye.GetMessage()
			if t := ye.GetToken(); t != nil {
				p.Line = t.Position.Line
			}
		}
		return nil, &configError{[]configProblem{p}}
	}
	r := policyReader{file: name, values: map[string]policyValue{}}
	docs := slices.DeleteFunc(slices.Clone(file.Docs), func(d *ast.DocumentNode) bool { return d.Body == nil })
	for i, d := range docs {
		if i > 0 {
			r.bad(d.Body, "a second document", "keep one document and remove the line \"---\"")
			continue
		}
		r.mapping("", d.Body)
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b configProblem) int { return a.Line - b.Line })
		return nil, &configError{r.problems}
	}
	return r.values, nil
}

// parseYAML gives the tree of a document. A panic of the library, which others of its readers are known for, is an error
// like any other.
func parseYAML(b []byte) (f *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			f, err = nil, errors.New("is no YAML that can be read")
		}
	}()
	return parser.ParseBytes(b, 0)
}

// A policyReader walks the tree of a config file.
type policyReader struct {
	file     string
	values   map[string]policyValue
	problems []configProblem
}

func (r *policyReader) bad(n ast.Node, text, advice string) {
	p := configProblem{File: r.file, Text: text, Advice: advice}
	if t := n.GetToken(); t != nil && t.Position != nil {
		p.Line = t.Position.Line
	}
	r.problems = append(r.problems, p)
}

// mapping reads the keys below prefix.
func (r *policyReader) mapping(prefix string, n ast.Node) {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return
	default:
		r.bad(n, fmt.Sprintf("%s is %s, want keys and values", whole(prefix), n.Type()), "write \"key: value\" on lines of their own")
		return
	}
	for _, e := range entries {
		name, ok := scalar(e.Key)
		if !ok {
			r.bad(e.Key, "a key that is no plain text", "aliases, tags and merge keys are not supported here")
			continue
		}
		full := name
		if prefix != "" {
			full = prefix + "." + name
		}
		k, ok := findKey(full)
		switch {
		case ok:
			r.value(k, e)
		case isSection(full):
			r.mapping(full, e.Value)
		default:
			r.bad(e.Key, fmt.Sprintf("unknown key %q", full), nearKeys(full))
		}
	}
}

// whole names a part of the file.
func whole(prefix string) string {
	if prefix == "" {
		return "the file"
	}
	return prefix
}

// isSection tells whether keys begin with name and a dot.
func isSection(name string) bool {
	return slices.ContainsFunc(keys(), func(k key) bool { return strings.HasPrefix(k.name, name+".") })
}

// value reads one key's value.
func (r *policyReader) value(k key, e *ast.MappingValueNode) {
	if _, twice := r.values[k.name]; twice {
		r.bad(e.Key, fmt.Sprintf("%s stands twice", k.name), "keep one of the lines")
		return
	}
	line := 0
	if t := e.Key.GetToken(); t != nil {
		line = t.Position.Line
	}
	var v any
	var err error
	switch k.kind {
	case kindSources:
		v, err = r.sources(k, e.Value)
	case kindList:
		v, err = r.list(k, e.Value)
	default:
		text, ok := scalar(e.Value)
		if !ok {
			err = fmt.Errorf("%s is %s, want %s", k.name, strings.ToLower(e.Value.Type().String()), k.want())
			break
		}
		v, err = k.parse(text)
	}
	if err != nil {
		r.bad(e.Key, err.Error(), "give "+k.name+" "+k.want())
		return
	}
	if v != nil {
		r.values[k.name] = policyValue{value: v, line: line}
	}
}

// list reads a sequence of plain text.
func (r *policyReader) list(k key, n ast.Node) (any, error) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, fmt.Errorf("%s is %s, want a list", k.name, strings.ToLower(n.Type().String()))
	}
	list := []string{}
	for _, item := range seq.Values {
		text, ok := scalar(item)
		if !ok || text == "" {
			return nil, fmt.Errorf("%s holds %s, want plain text", k.name, strings.ToLower(item.Type().String()))
		}
		if err := k.item(text); err != nil {
			r.bad(item, fmt.Sprintf("%s holds the %v", k.name, err), "correct the address or remove it")
			continue
		}
		list = append(list, text)
	}
	return list, k.checkList(list)
}

// scalar is the text of a plain value.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, true
	}
	return "", false
}
