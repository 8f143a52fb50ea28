package protocol

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
)

// A SigningKey signs answers (a reputation key) or a provider file (the provider's own). It does not change and is safe for
// concurrent use. It is never printed: its text form is its public part's id.
type SigningKey struct {
	private ed25519.PrivateKey
	id      string
}

const pemType = "PRIVATE KEY"

// MaxKeyFile is the greatest length of a private key's file in bytes.
const MaxKeyFile = 4 << 10

// GenerateKey makes a key from random.
func GenerateKey(random io.Reader) (*SigningKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("key: no random bytes: %w", err)
	}
	return newSigningKey(ed25519.NewKeyFromSeed(seed)), nil
}

func newSigningKey(k ed25519.PrivateKey) *SigningKey {
	return &SigningKey{k, KeyID(k.Public().(ed25519.PublicKey))}
}

// MarshalPEM is the private key as PKCS #8 in PEM: a secret.
func (k *SigningKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// ParseSigningKey reads what MarshalPEM writes: one Ed25519 key and nothing else.
func ParseSigningKey(b []byte) (*SigningKey, error) {
	if len(b) > MaxKeyFile {
		return nil, fmt.Errorf("key file of %d bytes, the limit is %d", len(b), MaxKeyFile)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemType || len(rest) > 0 {
		return nil, fmt.Errorf("key file is not one PEM block %q", pemType)
	}
	v, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	k, ok := v.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key file holds a %T, want an Ed25519 key", v)
	}
	return newSigningKey(k), nil
}

// Public is the raw public key, 32 bytes.
func (k *SigningKey) Public() []byte { return []byte(k.private.Public().(ed25519.PublicKey)) }

// ID is the key's id in proofs.
func (k *SigningKey) ID() string { return k.id }

// String is the id: a private key that is printed by mistake tells nothing.
func (k *SigningKey) String() string { return "key " + k.id }

func (k *SigningKey) sign(domain string, message []byte) string {
	return base64.StdEncoding.EncodeToString(ed25519.Sign(k.private, append([]byte(domain), message...)))
}

// Fingerprint is the SHA-256 of a raw public key in lower-case hex.
func Fingerprint(public []byte) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:])
}

// KeyID is the first 16 digits of the fingerprint.
func KeyID(public []byte) string { return Fingerprint(public)[:16] }

// Keys are the reputation keys of a provider. They do not change and are safe for concurrent use. The zero value
// verifies nothing.
type Keys struct {
	byID map[string]ed25519.PublicKey
}

// NewKeys takes raw public keys.
func NewKeys(public ...[]byte) (Keys, error) {
	ks := Keys{map[string]ed25519.PublicKey{}}
	for _, p := range public {
		if len(p) != ed25519.PublicKeySize {
			return Keys{}, fmt.Errorf("public key of %d bytes, want %d", len(p), ed25519.PublicKeySize)
		}
		ks.byID[KeyID(p)] = p
	}
	return ks, nil
}

// verify proves that the key with the id signed message under domain.
func (ks Keys) verify(id, domain string, message []byte, sig string) error {
	public, ok := ks.byID[id]
	if !ok {
		return fmt.Errorf("%w: signed by the key %.20q, which is not one of the provider's", ErrUntrusted, id)
	}
	return verify(public, domain, message, sig)
}

func verify(public ed25519.PublicKey, domain string, message []byte, sig string) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(sig)
	if err != nil || len(raw) != ed25519.SignatureSize || !ed25519.Verify(public, append([]byte(domain), message...), raw) {
		return fmt.Errorf("%w: the signature does not fit", ErrUntrusted)
	}
	return nil
}
