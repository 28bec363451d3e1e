// Rules 1 and 2 of SyncService in sync_service.proto: which documents count, and which bundles.
//
// No I/O and no clock. Invariant: an active exists only after all of it was verified.

package main

import (
	"fmt"
	"strings"

	pb "policyhub/v1"
)

// active is a policy in force, verified.
type active struct {
	leaf
	policy      string
	label       string
	contentType string
	content     []byte
	manifest    string
}

// evidence proves a set: a statement or a checkpoint, and with a filter the proof under its root.
type evidence struct {
	Kind     string `json:"kind"`
	Token    string `json:"token"`
	SetProof []byte `json:"setProof"`
}

// trust is what a set trusts: one namespace of one store, and its keys.
type trust struct {
	namespace string
	keys      keySet
	// store is the id of the store whose documents count; empty: that of the first one that verifies.
	store string
	// knowsStore: the store was known before the first message.
	knowsStore bool
	// refusedStore is the store of a refused stream while nothing was held.
	refusedStore string
}

// rememberStore sets the store whose documents were accepted before a restart.
func (t *trust) rememberStore(store string) {
	if t.store == "" {
		t.store = store
	}
	t.knowsStore = true
}

// beginStream forgets the store while nothing is held, so that a copied document of another store does not bind the set
// to that store.
func (t *trust) beginStream(isEmpty bool) {
	if isEmpty && !t.knowsStore {
		if t.store != "" {
			t.refusedStore = t.store
		}
		t.store = ""
	}
}

// isAnotherStore returns whether what was verified before, and refused, was of another store than this stream's.
func (t *trust) isAnotherStore() bool { return t.refusedStore != "" && t.refusedStore != t.store }

// isStoreKnown returns whether the store is final, as it is as soon as something is held.
func (t *trust) isStoreKnown(isEmpty bool) bool { return t.store != "" && (t.knowsStore || !isEmpty) }

func (t *trust) statement(token string) (statement, error) {
	found, err := readStatement(token, t.keys)
	if err == nil {
		err = t.own("statement", found.owner)
	}
	return found, err
}

func (t *trust) checkpoint(token string) (checkpoint, error) {
	found, err := readCheckpoint(token, t.keys)
	if err == nil {
		err = t.own("checkpoint", found.owner)
	}
	return found, err
}

// bundle verifies a bundle by rule 2. The position of its activation is proven by its set.
func (t *trust) bundle(bundle *pb.Bundle) (*active, error) {
	if bundle.Preview {
		return nil, refuse("a preview is not in force")
	}
	if bundle.Activation == nil {
		return nil, refuse("activation of a bundle is absent")
	}
	found, err := readManifest(bundle.Manifest, bundle.Content, t.keys)
	if err == nil {
		err = t.own("manifest", found.owner)
	}
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("namespaces/%s/policies/%s/versions/%d", t.namespace, found.policy, found.version)
	sameName := bundle.Name == name && bundle.Version == found.version && bundle.Label == found.label
	sameContent := bundle.Digest == found.digest && bundle.SizeBytes == found.size && bundle.ContentType == found.contentType
	if !sameName || !sameContent {
		return nil, refuse("fields beside the manifest of %s are not the signed ones", found.policy)
	}
	return &active{
		leaf: leaf{found.version, found.digest, positionOf(bundle.Activation)}, policy: found.policy, label: found.label,
		contentType: found.contentType, content: bundle.Content, manifest: bundle.Manifest,
	}, nil
}

// tombstone returns the policy of a tombstone.
func (t *trust) tombstone(name string) (string, error) {
	prefix := fmt.Sprintf("namespaces/%s/policies/", t.namespace)
	policy := strings.TrimPrefix(name, prefix)
	if !strings.HasPrefix(name, prefix) || !isID(policy) {
		return "", refuse("tombstone is no policy of this namespace")
	}
	return policy, nil
}

func (t *trust) own(what string, document owner) error {
	if document.namespace != t.namespace {
		return refuse("%s is signed for namespace %s", what, document.namespace)
	}
	if t.store == "" {
		t.store = document.store
	}
	if document.store != t.store {
		return diverge("%s is signed by store %s, not %s", what, document.store, t.store)
	}
	return nil
}
