package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const maxKeyFile = 16 << 10

// A keyring is the private keys of one folder by key id. It is never printed.
type keyring map[string]ed25519.PrivateKey

// newKey makes a key from 32 bytes of r.
func newKey(r io.Reader) (ed25519.PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(r, seed); err != nil {
		return nil, fmt.Errorf("randomness for a key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func publicHex(k ed25519.PrivateKey) string {
	return hex.EncodeToString(k.Public().(ed25519.PublicKey))
}

// save writes a key as PKCS#8 PEM, readable by its owner only. The name says what it is for; readers go by the key id.
func (f files) saveKey(dir, role string, k ed25519.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	name := filepath.Join(dir, role+"-"+keyID(publicHex(k))[:8]+".pem")
	return f.replace(dir, name, bytes.NewReader(b), 0o600)
}

// loadKeys reads every *.pem of a folder. A folder that does not exist has no keys.
func loadKeys(dir string) (keyring, error) {
	ring := keyring{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ring, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".pem") {
			continue
		}
		name := filepath.Join(dir, e.Name())
		k, err := loadKey(name)
		if err != nil {
			return nil, &RepositoryError{Kind: ErrNoKey, What: name, Err: err, Remedy: "restore the file from its backup or move it away"}
		}
		ring[keyID(publicHex(k))] = k
	}
	return ring, nil
}

func loadKey(name string) (ed25519.PrivateKey, error) {
	b, err := readLimited(name, maxKeyFile)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("not one PEM block of type PRIVATE KEY")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a PKCS#8 private key") // the cause could quote the key
	}
	ed, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("not an ed25519 key")
	}
	return ed, nil
}

// pick gives as many keys as the role needs, all that are there: a document may carry more signatures than its threshold.
func (r keyring) pick(role string, a authority, dir string) ([]ed25519.PrivateKey, error) {
	var keys []ed25519.PrivateKey
	for _, id := range a.keyids {
		if k, ok := r[id]; ok {
			keys = append(keys, k)
		}
	}
	if len(keys) < a.threshold {
		return nil, &RepositoryError{Kind: ErrNoKey, What: "role " + role,
			Detail: fmt.Sprintf("needs %d of the keys %s, %d are in %s", a.threshold, strings.Join(shortIDs(a.keyids), " "), len(keys), dir),
			Remedy: "put the key files there, or name their folder"}
	}
	return keys, nil
}

func shortIDs(ids []string) []string {
	short := make([]string, len(ids))
	for i, id := range ids {
		short[i] = id[:min(8, len(id))]
	}
	return short
}
