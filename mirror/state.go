package mirror

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"example.org/avdb/dbformat"
)

// state is state.json: what this package knows of the files of a mirror. It is believed where that does no harm: without it every file is
// proved anew, and old ones stay.
type state struct {
	Schema int              `json:"schema"` // 1
	Layers []string         `json:"layers"` // that are kept here, by name
	States []published      `json:"states"` // of the repository, newest first
	Proved map[string]proof `json:"proved"` // by name below DIR
	Synced time.Time        `json:"synced"` // when the source was last seen to have no more than this
	Source string           `json:"source"` // its name
}

// A published is one state of the repository, which is shown, was shown, or would have been if a run had not ended early.
type published struct {
	Version   uint64          `json:"version"`   // of the release; 0 for none
	Timestamp dbformat.Digest `json:"timestamp"` // SHA-256 of timestamp.json
	Signed    time.Time       `json:"signed"`
	Shown     time.Time       `json:"shown,omitzero"` // since when; zero for what was never
	Source    string          `json:"source"`
	Files     []string        `json:"files"` // all that it needs, by name below DIR, but for roots and timestamp.json
}

// A proof is how a file looked when its content was found to be what was signed. As long as it looks so, it is not read again.
type proof struct {
	Size    int64     `json:"size"`
	Changed time.Time `json:"changed"`
}

// readState reads state.json. A damaged one counts as none.
func (f folder) readState() (state, error) {
	empty := state{Schema: 1, Proved: map[string]proof{}}
	b, err := f.read(f.private(stateFile), maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, failed(f.private(stateFile), "cannot be read", err)
	}
	s := state{Proved: map[string]proof{}}
	if err := json.Unmarshal(b, &s); err != nil || s.Schema != 1 {
		return empty, nil
	}
	for _, p := range s.States {
		for _, name := range p.Files {
			if !ours(name) { // files are removed by these names
				return empty, nil
			}
		}
	}
	return s, nil
}

func (f folder) writeState(s state) error {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("state of the mirror: %w", err)
	}
	if err := f.replace(privateDir+"/"+stateFile, bytes.NewReader(append(b, '\n')), 0o600); err != nil {
		return err
	}
	return f.syncDir(f.private())
}

// looks is how a file is now; false for what is no regular file.
func (f folder) looks(name string) (proof, bool) {
	i, err := os.Lstat(f.file(name))
	if err != nil || !i.Mode().IsRegular() {
		return proof{}, false
	}
	return proof{Size: i.Size(), Changed: i.ModTime().UTC()}, true
}
