// Package network keeps what the operator of a KSN network has: a folder with keys and the provider file that devices install.
//
//	DIR/provider.json         the signed provider file (0644): what is given to devices, proxies and servers
//	DIR/keys/provider.pem     the provider's own key (0600): signs provider files; only [Create] needs it, keep it off servers
//	DIR/keys/reputation.pem   the key that signs answers (0600): what a server needs
//
// It promises that a crash leaves the folder before or after a change, that keys are made for their owner alone, that one which every user may read is not
// used ([KeyError]; on Windows, which has no modes, this is not known), and that a provider file
// is not replaced by one that devices would refuse.
package network

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/osfile"
)

// Names in the folder.
const (
	File          = "provider.json"
	keysFolder    = "keys"
	providerKey   = "provider.pem"
	reputationKey = "reputation.pem"
)

// Options say what a provider file is to say.
type Options struct {
	Network      string        // protocol.Private ("" means it) or protocol.Global
	Name         string        // required
	URLs         []string      // required: servers in the order in which they are tried
	Life         time.Duration // 0 means a year
	Capabilities []string      // nil means cloud_mode and stats
	Contact      string
	Statements   []string // texts of the operator's own; none: those of the engine

	Now  time.Time
	Rand io.Reader // nil means crypto/rand
}

const defaultLife = 365 * 24 * time.Hour

// Create makes the keys and the provider file in dir, or, where the keys are there, a new provider file with the next serial, which devices take in
// the place of the one that they have. Errors of what o says match [protocol.ErrInvalid].
func Create(dir string, o Options) (protocol.ProviderFile, error) {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Life == 0 {
		o.Life = defaultLife
	}
	if o.Capabilities == nil {
		o.Capabilities = []string{protocol.CapabilityCloudMode, protocol.CapabilityStats}
	}
	slices.Sort(o.Capabilities)
	if o.Network == "" {
		o.Network = protocol.Private
	}
	p := protocol.Provider{Schema: protocol.Version, Network: o.Network, Name: o.Name, Serial: 1, Issued: dbformat.At(o.Now),
		Expires: dbformat.At(o.Now.Add(o.Life)), URLs: o.URLs, Capabilities: o.Capabilities, Contact: o.Contact, Statements: o.Statements}
	old, err := ReadFile(filepath.Join(dir, File))
	switch {
	case err == nil:
		p.Serial = old.Provider.Serial + 1
	case !errors.Is(err, fs.ErrNotExist):
		return protocol.ProviderFile{}, err
	}
	// What the file says is proved with keys that are thrown away, so that a mistake leaves nothing behind.
	if err := prove(p); err != nil {
		return protocol.ProviderFile{}, err
	}
	own, reputation, err := makeKeys(dir, o.Rand)
	if err != nil {
		return protocol.ProviderFile{}, err
	}
	p.Keys = [][]byte{reputation.Public()}
	f, err := protocol.SignProvider(p, own)
	if err != nil {
		return protocol.ProviderFile{}, err
	}
	if old.Bytes != nil {
		if err := old.Succeeds(&f); err != nil {
			return protocol.ProviderFile{}, fmt.Errorf("%s: devices would refuse the new file: %w", filepath.Join(dir, File), err)
		}
	}
	// A crash before this leaves keys without a provider file, which the next run uses.
	return f, replace(dir, File, f.Bytes, 0o644)
}

func prove(p protocol.Provider) error {
	k, err := protocol.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	p.Keys = [][]byte{k.Public()}
	_, err = protocol.SignProvider(p, k)
	return err
}

// makeKeys reads both keys, or makes those that are missing.
func makeKeys(dir string, random io.Reader) (own, reputation *protocol.SigningKey, err error) {
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{{dir, 0o755}, {filepath.Join(dir, keysFolder), 0o700}} {
		if err := os.Mkdir(d.name, d.mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, nil, err
		}
	}
	for _, k := range []struct {
		name string
		to   **protocol.SigningKey
	}{{providerKey, &own}, {reputationKey, &reputation}} {
		*k.to, err = readKey(filepath.Join(dir, keysFolder, k.name))
		if errors.Is(err, fs.ErrNotExist) {
			*k.to, err = protocol.GenerateKey(random)
			var b []byte
			if err == nil {
				b, err = (*k.to).MarshalPEM()
			}
			if err == nil {
				err = replace(filepath.Join(dir, keysFolder), k.name, b, 0o600)
			}
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return own, reputation, nil
}

// A Network is what a server needs of the folder.
type Network struct {
	Provider protocol.ProviderFile
	Key      *protocol.SigningKey // signs answers
}

// Open reads what a server needs: the provider file, and the reputation key, which must be one that the file names.
func Open(dir string) (Network, error) {
	f, err := ReadFile(filepath.Join(dir, File))
	if err != nil {
		return Network{}, err
	}
	name := filepath.Join(dir, keysFolder, reputationKey)
	k, err := readKey(name)
	if err != nil {
		return Network{}, err
	}
	if !slices.ContainsFunc(f.Provider.Keys, func(b []byte) bool { return string(b) == string(k.Public()) }) {
		return Network{}, fmt.Errorf("%s: the provider file does not name this key: devices would refuse what it signs", name)
	}
	return Network{f, k}, nil
}

// ReadFile reads and verifies a provider file. Errors match [protocol.ErrInvalid] or [protocol.ErrUntrusted], or are those of the disk.
func ReadFile(name string) (protocol.ProviderFile, error) {
	f, err := osfile.Open(name)
	if err != nil {
		return protocol.ProviderFile{}, err
	}
	defer f.Close()
	b, err := read(f, protocol.MaxProvider)
	if err != nil {
		return protocol.ProviderFile{}, err
	}
	p, err := protocol.OpenProvider(b)
	if err != nil {
		return protocol.ProviderFile{}, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// A KeyError says that a private key lies open to every user of this machine. It is not used, for somebody may have it by now.
type KeyError struct {
	Path string
	Mode fs.FileMode
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("%s: the private key can be read by every user of this machine (mode %04o) and is not used; %s", e.Path, e.Mode.Perm(), e.Remedy())
}

// Remedy is what to do about it.
func (e *KeyError) Remedy() string {
	return "run chmod o= " + e.Path
}

func readKey(name string) (*protocol.SigningKey, error) {
	f, err := osfile.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if osfile.KnownToAll(i) {
		return nil, &KeyError{name, i.Mode()}
	}
	b, err := read(f, protocol.MaxKeyFile)
	if err != nil {
		return nil, err
	}
	k, err := protocol.ParseSigningKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}

func read(f *os.File, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", f.Name(), limit)
	}
	return b, err
}

// replace puts a file into dir, durably. A crash leaves the old file or the new one, and perhaps a temporary one, which the next run replaces.
func replace(dir, name string, b []byte, mode fs.FileMode) error {
	tmp := filepath.Join(dir, "."+name+".tmp")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	create := func() (*os.File, error) { return os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) }
	if err := osfile.Replace(filepath.Join(dir, name), create, bytes.NewReader(b), mode, nil); err != nil {
		return err
	}
	return osfile.SyncDir(dir)
}
