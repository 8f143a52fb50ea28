// Package api holds the description of the KSN protocol for other languages, so that servers can show what they speak: the text of
// openapi.yaml, OpenAPI 3.1. Tests of ksn/server hold it against a running server.
package api

import _ "embed" // for the file

// OpenAPI is openapi.yaml as it is written.
//
//go:embed openapi.yaml
var OpenAPI string
