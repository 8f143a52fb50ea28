package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
)

// A Token lets a client in: "Authorization: Bearer …".
type Token struct {
	Name   string   // of the client, for limits and for the log where that is configured; unique
	SHA256 [32]byte // of the token's text: the token itself is never kept
	Limit  Limit    // zero: that of all clients
}

// MaxTokens is how many there can be.
const MaxTokens = 1 << 16

// maxToken is the greatest length of a token's text that is looked at.
const maxToken = 1024

// A tokenSet finds tokens by their hash. It does not change.
type tokenSet map[[32]byte]Token

func newTokenSet(list []Token, d Limit) (tokenSet, error) {
	if len(list) > MaxTokens {
		return nil, fmt.Errorf("%d tokens, the limit is %d", len(list), MaxTokens)
	}
	set, names := tokenSet{}, map[string]bool{}
	for i, t := range list {
		t.Limit = t.Limit.OrElse(d)
		if err := t.Limit.Check(); err != nil {
			return nil, fmt.Errorf("token %d: %w", i, err)
		}
		if _, twice := set[t.SHA256]; twice || names[t.Name] || t.Name == "" || t.SHA256 == [32]byte{} || t.SHA256 == sha256.Sum256(nil) {
			return nil, fmt.Errorf("token %d: the name or the hash is missing, or there twice", i)
		}
		set[t.SHA256], names[t.Name] = t, true
	}
	return set, nil
}

// find is the token that a request carries. How long it takes tells something of hashes at most, from which no token can be guessed.
func (set tokenSet) find(h http.Header) (Token, bool) {
	values := h["Authorization"]
	if len(values) != 1 {
		return Token{}, false
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || text == "" || len(text) > maxToken {
		return Token{}, false
	}
	sum := sha256.Sum256([]byte(text))
	t := set[sum]
	return t, subtle.ConstantTimeCompare(t.SHA256[:], sum[:]) == 1
}

// admit is what [serving.Side] asks of a request's token.
func (s *Server) admit(h http.Header) (name string, l Limit, known bool) {
	tokens := *s.tokens.Load()
	if len(tokens) == 0 {
		return "", Limit{}, true
	}
	t, known := tokens.find(h)
	if !known {
		return "", Limit{}, false
	}
	return t.Name, t.Limit, true
}
