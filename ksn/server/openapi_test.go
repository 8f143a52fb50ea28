package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"example.org/avdb/docs/api"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/server"
)

// An exchange is a request to a server in some state, and the status that it gets.
type exchange struct {
	name   string
	state  func(*world)
	method string
	path   string
	body   string
	header []string
	status int
	odd    bool // the request is not what the description allows; of the rules of JSON and of spelling it does not know all
}

// exchanges are all that the handler can be made to say.
func exchanges(w *world) []exchange {
	p := prefix(protocol.FileSHA256, 24, malware)
	q, err := protocol.MarshalQuery([]protocol.Prefix{prefix(protocol.FileMD5, 24, malware), prefix(protocol.URL, 24, malware)})
	if err != nil {
		w.t.Fatal(err)
	}
	var many []string
	for i := range 257 {
		many = append(many, fmt.Sprintf(`"url/24/%06x"`, i))
	}
	batch := func(queries ...string) string { return `{"v":1,"queries":[` + strings.Join(queries, ",") + `]}` }
	broken := func(w *world) { w.db.err = errors.New("damaged") }
	panics := func(w *world) { w.db.visited = func() { panic("a mistake") } }
	tokens := func(w *world) {
		if err := w.SetTokens([]server.Token{token("desk", "letmein")}); err != nil {
			w.t.Fatal(err)
		}
	}
	busy := func(w *world) {
		w.limited()
		w.do("GET", protocol.PathInfo, "")
	}
	full := func(w *world) {
		for i := range protocol.MaxEntries + 1 {
			w.db.rows[3] = append(w.db.rows[3], server.Known{Sum: sum(3, 0xff000000, fmt.Sprint(i)), Name: "x"})
		}
		w.db.put(3)
	}
	other := []string{protocol.NetworkHeader, strings.Repeat("0", 64)}
	all := []exchange{
		{name: "known", method: "GET", path: p.Path(), status: 200},
		{name: "for this network", method: "GET", path: p.Path(), header: []string{protocol.NetworkHeader, w.provider.Fingerprint}, status: 200},
		{name: "empty", method: "GET", path: prefix(protocol.URL, 24, nothing).Path(), status: 200},
		{name: "the same again", method: "GET", path: p.Path(), header: []string{"If-None-Match", "*"}, status: 304},
		{name: "a token", state: tokens, method: "GET", path: p.Path(), header: []string{"Authorization", "Bearer letmein"}, status: 200},
		{name: "too few bits for so much", state: full, method: "GET", path: prefix(protocol.FileSHA256, 24, 0xff000000).Path(), status: 400},
		{name: "too much at any length", state: full, method: "GET", path: prefix(protocol.FileSHA256, 32, 0xff000000).Path(), status: 413},
		{name: "capitals", method: "GET", path: "/v1/l/file-md5/24/0A0B0C", status: 400, odd: true},
		{name: "unknown type", method: "GET", path: "/v1/l/file-md4/24/0a0b0c", status: 400, odd: true},
		{name: "15 bits", method: "GET", path: "/v1/l/file-md5/15/0a0b", status: 400, odd: true},
		{name: "33 bits", method: "GET", path: "/v1/l/file-md5/33/0a0b0c0d0", status: 400, odd: true},
		{name: "024 bits", method: "GET", path: "/v1/l/file-md5/024/0a0b0c", status: 400},
		{name: "unused bits that are set", method: "GET", path: "/v1/l/file-md5/17/0a0b1", status: 400},
		{name: "too long a prefix", method: "GET", path: "/v1/l/file-md5/24/0a0b0c0d", status: 400},
		{name: "no prefix", method: "GET", path: "/v1/l/file-md5/24/", status: 400, odd: true},
		{name: "a query", method: "GET", path: p.Path() + "?x=1", status: 400},
		{name: "an empty query", method: "GET", path: p.Path() + "?", status: 400},
		{name: "a body", method: "GET", path: p.Path(), body: "x", status: 400},
		{name: "more path", method: "GET", path: p.Path() + "/x", status: 404, odd: true},
		{name: "less path", method: "GET", path: "/v1/l/file-md5/24", status: 404, odd: true},
		{name: "an escaped path", method: "GET", path: "/v1/l/file-md5/24/%30a0b0c", status: 404, odd: true},
		{name: "an escaped slash", method: "GET", path: "/v1/l/file-md5%2F24/0a0b0c", status: 404, odd: true},
		{name: "an escaped NUL", method: "GET", path: "/v1/l/file-md5/24/0a0b0c%00", status: 400, odd: true},
		{name: "another path", method: "GET", path: "/", status: 404, odd: true},
		{name: "doubled slashes", method: "GET", path: "/v1//info", status: 404, odd: true},
		{name: "dots", method: "GET", path: "/v1/./info", status: 404, odd: true},
		{name: "another version", method: "GET", path: "/v2/info", status: 404, odd: true},
		{name: "no token", state: tokens, method: "GET", path: p.Path(), status: 401},
		{name: "too many", state: busy, method: "GET", path: p.Path(), status: 429},
		{name: "other network", method: "GET", path: p.Path(), header: other, status: 421},
		{name: "no database", state: broken, method: "GET", path: p.Path(), status: 503},
		{name: "panic", state: panics, method: "GET", path: p.Path(), status: 503},

		{name: "batch", method: "POST", path: protocol.PathBatch, body: string(q), status: 200},
		{name: "batch with white space", method: "POST", path: protocol.PathBatch, body: strings.ReplaceAll(string(q), ",", " ,\n"), status: 200},
		{name: "batch in UTF-8", method: "POST", path: protocol.PathBatch, body: string(q), header: []string{"Content-Type", "application/json; charset=UTF-8"}, status: 200},
		{name: "no body", method: "POST", path: protocol.PathBatch, status: 400, odd: true},
		{name: "no question", method: "POST", path: protocol.PathBatch, body: batch(), status: 400, odd: true},
		{name: "257 questions", method: "POST", path: protocol.PathBatch, body: batch(many...), status: 400, odd: true},
		{name: "a question twice", method: "POST", path: protocol.PathBatch, body: batch(many[0], many[1], many[0]), status: 400, odd: true},
		{name: "another field", method: "POST", path: protocol.PathBatch, body: `{"v":1,"x":0,"queries":[]}`, status: 400, odd: true},
		{name: "another version in a batch", method: "POST", path: protocol.PathBatch, body: strings.Replace(string(q), `"v":1`, `"v":2`, 1), status: 400, odd: true},
		{name: "a field twice", method: "POST", path: protocol.PathBatch, body: strings.Replace(string(q), `"v":1`, `"v":1,"v":1`, 1), status: 400},
		{name: "deep JSON", method: "POST", path: protocol.PathBatch, body: strings.Repeat("[", 16<<10) + strings.Repeat("]", 16<<10), status: 400, odd: true},
		{name: "a long number", method: "POST", path: protocol.PathBatch, body: batch(`"url/` + strings.Repeat("1", 30<<10) + `/000000"`), status: 400, odd: true},
		{name: "no UTF-8", method: "POST", path: protocol.PathBatch, body: batch("\"\xff\""), status: 400, odd: true},
		{name: "NUL", method: "POST", path: protocol.PathBatch, body: "\x00", status: 400, odd: true},
		{name: "two documents", method: "POST", path: protocol.PathBatch, body: string(q) + string(q), status: 400},
		{name: "too long", method: "POST", path: protocol.PathBatch, body: string(q) + strings.Repeat(" ", protocol.MaxQuery), status: 413},
		{name: "no JSON", method: "POST", path: protocol.PathBatch, body: string(q), header: []string{"Content-Type", "text/plain"}, status: 400, odd: true},
		{name: "no content type", method: "POST", path: protocol.PathBatch, body: string(q), header: []string{"Content-Type", ""}, status: 400, odd: true},
		{name: "another charset", method: "POST", path: protocol.PathBatch, body: string(q), header: []string{"Content-Type", "application/json; charset=utf-16"}, status: 400},
		{name: "compressed", method: "POST", path: protocol.PathBatch, body: string(q), header: []string{"Content-Encoding", "gzip"}, status: 400},
		{name: "a query string", method: "POST", path: protocol.PathBatch + "?x", body: string(q), status: 400},
		{name: "batch without a token", state: tokens, method: "POST", path: protocol.PathBatch, body: string(q), status: 401},
		{name: "batch, too many", state: busy, method: "POST", path: protocol.PathBatch, body: string(q), status: 429},
		{name: "batch of another network", method: "POST", path: protocol.PathBatch, body: string(q), header: other, status: 421},
		{name: "batch without a database", state: broken, method: "POST", path: protocol.PathBatch, body: string(q), status: 503},

		{name: "info", method: "GET", path: protocol.PathInfo, status: 200},
		{name: "the same info", method: "GET", path: protocol.PathInfo, header: []string{"If-None-Match", "*"}, status: 304},
		{name: "info with a query", method: "GET", path: protocol.PathInfo + "?x", status: 400},
		{name: "info without a token", state: tokens, method: "GET", path: protocol.PathInfo, status: 401},
		{name: "info of another network", method: "GET", path: protocol.PathInfo, header: other, status: 421},
		{name: "info, too many", state: busy, method: "GET", path: protocol.PathInfo, status: 429},
		{name: "info without a database", state: broken, method: "GET", path: protocol.PathInfo, status: 503},

		{name: "statistics", method: "POST", path: protocol.PathStats, body: "{}", status: 202},
		{name: "lines of statistics", method: "POST", path: protocol.PathStats, body: "{}\n{}\n", header: []string{"Content-Type", "application/x-ndjson"}, status: 202, odd: true},
		{name: "no statistics", method: "POST", path: protocol.PathStats, status: 400, odd: true},
		{name: "statistics without a token", state: tokens, method: "POST", path: protocol.PathStats, body: "{}", status: 401},
		{name: "too long statistics", method: "POST", path: protocol.PathStats, body: strings.Repeat("1", protocol.MaxStats+1), status: 413},
		{name: "statistics for another network", method: "POST", path: protocol.PathStats, body: "{}", header: other, status: 421},
		{name: "statistics, too many", state: busy, method: "POST", path: protocol.PathStats, body: "{}", status: 429},
		{name: "statistics that cannot be kept", state: func(w *world) { w.takeErr = errors.New("full") }, method: "POST", path: protocol.PathStats, body: "{}", status: 503},
		{name: "statistics that nobody takes", state: func(w *world) { w.withoutIntake() }, method: "POST", path: protocol.PathStats, body: "{}", status: 404},

		{name: "description", method: "GET", path: "/openapi.yaml", status: 200},
		{name: "the same description", method: "GET", path: "/openapi.yaml", header: []string{"If-None-Match", "*"}, status: 304},
		{name: "healthy", method: "GET", path: "/healthz", status: 200},
		{name: "ready", method: "GET", path: "/readyz", status: 200},
		{name: "not ready", state: broken, method: "GET", path: "/readyz", status: 503},
	}
	for path, wrong := range map[string][]string{p.Path(): {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"}, protocol.PathBatch: {"GET", "HEAD", "PUT"},
		protocol.PathInfo: {"POST"}, protocol.PathStats: {"GET"}, "/openapi.yaml": {"POST"}, "/healthz": {"POST"}, "/readyz": {"DELETE"}} {
		for _, m := range wrong {
			all = append(all, exchange{name: m + " " + path, method: m, path: path, status: 405, odd: true})
		}
	}
	return all
}

// limited and withoutIntake make another server of the world.
func (w *world) limited() {
	w.Server = newWorld(w.t, func(c *server.Config) { c.Limit = server.Limit{PerSecond: 1, Burst: 1} }).Server
}

func (w *world) withoutIntake() {
	w.Server = newWorld(w.t, func(c *server.Config) { c.Intake = nil }).Server
}

func document(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(api.OpenAPI))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil // requests here have no host
	router, err := legacy.NewRouter(doc, openapi3.IsOpenAPI31OrLater())
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// What the handler takes and gives is what docs/api/openapi.yaml describes: every exchange is in it, with its headers and its body, requests that it forbids
// are refused, and each status that it describes happens.
func TestExchangesAreAsDescribed(t *testing.T) {
	doc, router := document(t)
	seen := map[string]bool{}
	for _, x := range exchanges(newWorld(t)) {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t)
			if x.state != nil {
				x.state(w)
			}
			rec := w.do(x.method, x.path, x.body, x.header...)
			if rec.Code != x.status {
				t.Fatalf("%s %.80s: %d %s, want %d", x.method, x.path, rec.Code, rec.Body, x.status)
			}
			if rec.Code >= 400 && x.method != "HEAD" {
				if _, err := isProblem(rec.Code, rec.Header(), rec.Body.Bytes()); err != nil {
					t.Errorf("%s: %v", rec.Body, err)
				}
			}
			r := httptest.NewRequest(x.method, x.path, strings.NewReader(x.body))
			if x.method == "POST" {
				r.Header.Set("Content-Type", "application/json")
			}
			for i := 0; i < len(x.header); i += 2 {
				r.Header.Set(x.header[i], x.header[i+1])
			}
			route, values, err := router.FindRoute(r)
			if err != nil || r.URL.RawPath != "" || x.status == 404 && route.Operation.Responses.Status(404) == nil { // another path, another method, or another spelling
				if !x.odd {
					t.Fatal(err)
				}
				checkResponse(t, doc, map[int]string{404: "NotFound", 405: "MethodNotAllowed", 400: "BadRequest"}[x.status], rec)
				return
			}
			seen[x.method+" "+route.Path+" "+fmt.Sprint(x.status)] = true
			if route.Path == "/openapi.yaml" {
				return // no body of YAML is decoded here
			}
			in := &openapi3filter.RequestValidationInput{Request: r, PathParams: values, Route: route,
				Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
			if err := openapi3filter.ValidateRequest(context.Background(), in); (err != nil) != x.odd && x.status != 202 {
				t.Errorf("the request: %v, want an error %v", err, x.odd)
			}
			out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: rec.Code, Header: rec.Header(), Options: in.Options}
			out.SetBodyBytes(rec.Body.Bytes())
			if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
				t.Errorf("the response: %v", err)
			}
		})
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if s := method + " " + path + " " + status; !seen[s] && status != "403" && status != "451" {
					t.Errorf("%s is described and does not happen", s)
				}
			}
		}
	}
}

// checkResponse holds a response against one of the described components.
func checkResponse(t *testing.T, doc *openapi3.T, name string, rec *httptest.ResponseRecorder) {
	t.Helper()
	res := doc.Components.Responses[name]
	if res == nil {
		t.Fatalf("no response %q for %d", name, rec.Code)
	}
	for h, ref := range res.Value.Headers {
		if ref.Value.Required && rec.Header().Get(h) == "" {
			t.Errorf("no header %s", h)
		}
	}
	if rec.Body.Len() == 0 {
		return // HEAD
	}
	in := &openapi3filter.RequestValidationInput{Request: httptest.NewRequest("GET", "/", http.NoBody), Route: &routers.Route{Spec: doc,
		Operation: &openapi3.Operation{Responses: openapi3.NewResponses(openapi3.WithStatus(rec.Code, res))}}}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: rec.Code, Header: rec.Header(), Body: io.NopCloser(bytes.NewReader(rec.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true}}
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		t.Errorf("the response: %v", err)
	}
}

// The examples are real: each is what the server of these tests gives, byte by byte.
func TestExamplesAreReal(t *testing.T) {
	w := newWorld(t)
	q, err := protocol.MarshalQuery([]protocol.Prefix{prefix(protocol.FileMD5, 24, malware), prefix(protocol.URL, 24, malware)})
	if err != nil {
		t.Fatal(err)
	}
	other := w.do("GET", protocol.PathInfo, "", protocol.NetworkHeader, "another one")
	replies := w.do("POST", protocol.PathBatch, string(q)).Body
	cut, err := w.keys.OpenAll(replies.Bytes(), []protocol.Prefix{prefix(protocol.FileMD5, 24, malware), prefix(protocol.URL, 24, malware)})
	if err != nil {
		t.Fatal(err)
	}
	for name, example := range map[string]string{
		"known": w.do("GET", prefix(protocol.FileSHA256, 24, malware).Path(), "").Body.String(),
		"empty": w.do("GET", prefix(protocol.URL, 24, nothing).Path(), "").Body.String(),
		"query": string(q), "replies": replies.String(), "cut": string(cut[1].Bytes),
		"info":    w.do("GET", protocol.PathInfo, "").Body.String(),
		"bad":     w.do("GET", "/v1/l/file-md5/24/0A0B0C", "").Body.String(),
		"wrong":   other.Body.String(),
		"the key": fmt.Sprintf("%x", testKey(t, 2).Public()),
	} {
		if !strings.Contains(api.OpenAPI, example) {
			t.Errorf("docs/api/openapi.yaml does not contain the example %s:\n%s", name, example)
		}
	}
	if got := w.do("GET", "/openapi.yaml", ""); got.Body.String() != api.OpenAPI || got.Header().Get("Content-Type") != "application/yaml" {
		t.Error("the description is not served as it is written")
	}
	var codes []string
	for _, o := range server.Outcomes()[2:] {
		codes = append(codes, string(o))
	}
	doc, _ := document(t)
	for _, c := range codes {
		if !slices.Contains(doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum, any(c)) {
			t.Errorf("the code %s is not described", c)
		}
	}
}
