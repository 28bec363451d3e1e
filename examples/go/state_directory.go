// Keeps what is in force, the high-water mark, and the accepted key statements over restarts.
//
// state.json holds everything except the contents, and is replaced atomically. A content is a file named by its digest.
// What is read back is verified like what comes over a stream. Only one process may use a directory at a time.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	pb "policyhub/v1"
)

const stateVersion = 1

type savedPosition struct {
	Epoch    int64 `json:"epoch"`
	Revision int64 `json:"revision"`
}

// savedPolicy is a bundle without its content.
type savedPolicy struct {
	Name        string        `json:"name"`
	Version     int64         `json:"version"`
	Label       string        `json:"label"`
	Digest      string        `json:"digest"`
	ContentType string        `json:"contentType"`
	SizeBytes   int64         `json:"sizeBytes"`
	Manifest    string        `json:"manifest"`
	Activation  savedPosition `json:"activation"`
}

type savedSet struct {
	Wanted      []string      `json:"wanted"`
	Evidence    evidence      `json:"evidence"`
	Fingerprint uint64        `json:"fingerprint"`
	Policies    []savedPolicy `json:"policies"`
}

// savedState is the content of state.json. Mark is the high-water mark; nil: unknown.
type savedState struct {
	Version   int            `json:"version"`
	Namespace string         `json:"namespace"`
	Store     string         `json:"store"`
	Mark      *savedPosition `json:"mark"`
	Pins      *savedPins     `json:"pins"`
	Set       *savedSet      `json:"set"`
}

type stateDirectory struct {
	path string
	// contents are the digests of the contents that are known to be there.
	contents map[string]bool
	// written is what was written last.
	written string
}

func openStateDirectory(path string) (*stateDirectory, error) {
	return &stateDirectory{path: path, contents: map[string]bool{}}, os.MkdirAll(filepath.Join(path, "contents"), 0o700)
}

// read returns what was saved; nil: nothing. An unreadable file is an error: without the mark an older set would be
// accepted.
func (d *stateDirectory) read() (*savedState, error) {
	file := filepath.Join(d.path, "state.json")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	saved := &savedState{}
	if err := json.Unmarshal(data, saved); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if saved.Version != stateVersion {
		return nil, fmt.Errorf("%s is of another version of this program", file)
	}
	return saved, nil
}

// restore sets what was saved, and returns why its set is not used; empty: it is. An error: the directory belongs to
// something else.
func (d *stateDirectory) restore(held *activeSet, saved *savedState) (string, error) {
	isOtherStore := held.trust.store != "" && saved.Store != "" && held.trust.store != saved.Store
	if saved.Namespace != held.trust.namespace || isOtherStore {
		return "", fmt.Errorf("%s is of namespace %s of store %s: take another directory", d.path, saved.Namespace, saved.Store)
	}
	if saved.Store != "" {
		held.trust.rememberStore(saved.Store)
	}
	problem := ""
	if saved.Set != nil {
		if err := d.restoreSet(held, saved.Set); err != nil {
			problem = err.Error()
		}
	}
	if saved.Mark != nil {
		held.remember(position{saved.Mark.Epoch, saved.Mark.Revision})
	}
	return problem, nil
}

func (d *stateDirectory) restoreSet(held *activeSet, set *savedSet) error {
	isSame := len(set.Wanted) == len(held.wanted)
	for _, policy := range set.Wanted {
		isSame = isSame && held.wanted[policy]
	}
	if !isSame {
		return errors.New("it is of other policies")
	}
	var bundles []*pb.Bundle
	for _, policy := range set.Policies {
		content, err := os.ReadFile(d.contentPath(policy.Digest))
		if err != nil {
			return err
		}
		bundles = append(bundles, policy.bundle(content))
	}
	if err := held.restore(bundles, set.Evidence, set.Fingerprint); err != nil {
		return err
	}
	for _, policy := range held.policies {
		d.contents[policy.digest] = true
	}
	return nil
}

// save saves what changed since the last call. After an error of the disk, the next call tries again.
func (d *stateDirectory) save(held *activeSet) error {
	state := savedState{Version: stateVersion, Namespace: held.trust.namespace}
	if held.trust.isStoreKnown(held.position == nil) {
		state.Store = held.trust.store
		state.Mark = &savedPosition{held.newestVerified.epoch, held.newestVerified.revision}
	}
	if held.pinned != nil {
		state.Pins = held.pinned.saved()
	}
	key, err := json.Marshal(state)
	if err != nil {
		return err
	}
	// The policies change only with the position.
	if held.position != nil {
		key = append(key, held.position.String()...)
	}
	if string(key) == d.written {
		return nil
	}
	if held.position != nil {
		if err := d.saveContents(held); err != nil {
			return err
		}
		state.Set = savedSetOf(held)
	}
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(d.path, "state.json"), data); err != nil {
		return err
	}
	d.written = string(key)
	return d.dropContents(held)
}

func (d *stateDirectory) saveContents(held *activeSet) error {
	for _, policy := range held.policies {
		if d.contents[policy.digest] {
			continue
		}
		if err := replaceFile(d.contentPath(policy.digest), policy.content); err != nil {
			return err
		}
		d.contents[policy.digest] = true
	}
	return nil
}

// dropContents removes contents that no policy in force has.
func (d *stateDirectory) dropContents(held *activeSet) error {
	d.contents = map[string]bool{}
	used := map[string]bool{}
	for _, policy := range held.policies {
		d.contents[policy.digest] = true
		used[fileName(policy.digest)] = true
	}
	files, err := os.ReadDir(filepath.Join(d.path, "contents"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if !used[file.Name()] {
			if err := os.Remove(filepath.Join(d.path, "contents", file.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *stateDirectory) contentPath(digest string) string {
	return filepath.Join(d.path, "contents", fileName(digest))
}

// fileName returns the file name of a content. It can't be a path: anything but a letter or digit is replaced.
func fileName(digest string) string {
	return strings.Map(func(r rune) rune {
		if (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') {
			return r
		}
		return '-'
	}, digest)
}

func savedSetOf(held *activeSet) *savedSet {
	set := &savedSet{Wanted: sortedKeys(held.wanted), Evidence: *held.evidence, Fingerprint: held.event}
	for _, policy := range inOrder(held.policies) {
		set.Policies = append(set.Policies, savedPolicy{
			Name:    fmt.Sprintf("namespaces/%s/policies/%s/versions/%d", held.trust.namespace, policy.policy, policy.version),
			Version: policy.version, Label: policy.label, Digest: policy.digest, ContentType: policy.contentType,
			SizeBytes: int64(len(policy.content)), Manifest: policy.manifest,
			Activation: savedPosition{policy.since.epoch, policy.since.revision},
		})
	}
	return set
}

func (p savedPolicy) bundle(content []byte) *pb.Bundle {
	return &pb.Bundle{
		Name: p.Name, Version: p.Version, Label: p.Label, Digest: p.Digest, SizeBytes: p.SizeBytes, ContentType: p.ContentType,
		Content: content, Manifest: p.Manifest,
		Activation: &pb.Cursor{Epoch: p.Activation.Epoch, Revision: p.Activation.Revision},
	}
}
