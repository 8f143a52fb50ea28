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
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// saveKey writes a key as PKCS#8 PEM, readable by its owner only. The name says what it is for; readers go by the key id.
func (f files) saveKey(dir, role string, k ed25519.PrivateKey) (name string, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	name = filepath.Join(dir, role+"-"+keyID(publicHex(k))[:8]+".pem")
	return name, f.replace(dir, name, bytes.NewReader(b), 0o600)
}

// keyFiles lists the files at hand that hold these keys.
func (r *Repository) keyFiles(ids []string) []string {
	var files []string
	for _, dir := range r.keyFolders() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".pem") {
				continue
			}
			name := filepath.Join(dir, e.Name())
			if k, err := loadKey(name); err == nil && slices.Contains(ids, keyID(publicHex(k))) {
				files = append(files, name)
			}
		}
	}
	return files
}

// keyFolders are the folders that may hold keys.
func (r *Repository) keyFolders() []string {
	folders := []string{r.keys, filepath.Join(r.keys, "offline"), filepath.Join(r.keys, "online"), filepath.Join(r.keys, "cosign")}
	if online := filepath.Join(r.dir, "keys", "online"); !slices.Contains(folders, online) {
		folders = append(folders, online)
	}
	return folders
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

// allKeys reads every key that is at hand: those of the keys folder (offline, online and cosign in it, or files of its own), and
// those of DIR/keys/online when the folder is another one, because snapshot and timestamp are signed with each change.
func (r *Repository) allKeys() (keyring, error) {
	ring := keyring{}
	if s, err := os.Stat(r.keys); err != nil || !s.IsDir() {
		return nil, &RepositoryError{Kind: ErrNoKey, What: r.keys, Detail: "is no folder", Remedy: "name the folder of the keys with --keys"}
	}
	for _, name := range r.keyFolders() {
		more, err := loadKeys(name)
		if err != nil {
			return nil, err
		}
		maps.Copy(ring, more)
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

// count tells how many keys of an authority are here.
func (r keyring) count(a authority) int {
	n := 0
	for _, id := range a.keyids {
		if _, ok := r[id]; ok {
			n++
		}
	}
	return n
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
		remedy := "put the key files there, or name their folder with --keys"
		if len(keys) > 0 && role != RoleRoot && role != RoleTargets {
			remedy = "what is published stays as it is; publish with --unsigned, then run \"avdb repo sign\" on the co-signing host"
		}
		return nil, &RepositoryError{Kind: ErrNoKey, What: "role " + role,
			Detail: fmt.Sprintf("needs %d of the keys %s, %d are in %s", a.threshold, strings.Join(shortIDs(a.keyids), " "), len(keys), dir),
			Remedy: remedy}
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
