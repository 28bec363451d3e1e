// The active set of a namespace as a subscriber holds it, verified message by message.
//
// The rules are those of SyncService in sync_service.proto, by their numbers. No I/O and no clock: the reader of a
// stream passes each message to activeSet.apply, with the time. Invariants: a message is applied completely or not at
// all; the position held is a signed one and never goes back; nothing is accepted that is older than what was verified.

package main

import (
	"fmt"
	"strings"

	pb "policyhub/v1"
)

// change is what a message changed in force: everything (SNAPSHOT), or the moves of one activation.
type change struct {
	kind     string
	position position
	actor    string
	changed  []*active
	removed  []string
}

// activeSet is what is in force in a namespace, for the requested policies; none named: all.
type activeSet struct {
	trust  *trust
	wanted map[string]bool
	// pinned is the source of the keys when they follow the key statements of the store; nil: only the keys of the file
	// count.
	pinned   *pinnedKeys
	policies map[string]*active
	// position is that of the held set; nil: nothing is held.
	position *position
	// event is the fingerprint of the event at the position, which is sent back with it. After an activation it is the
	// server's claim; 0: unknown.
	event     uint64
	evidence  *evidence
	freshness freshness
	// newestVerified is the high-water mark, which includes what was verified and then refused.
	newestVerified position
	root           hash
	collected      collected
}

// newActiveSet makes an empty set. store is the id of the store whose documents count; empty: that of the first
// accepted message.
func newActiveSet(namespace string, keys keySet, policies []string, pinned *pinnedKeys, store string) *activeSet {
	trust := &trust{namespace: namespace, keys: keys, store: store, knowsStore: store != ""}
	set := &activeSet{trust: trust, wanted: map[string]bool{}, pinned: pinned}
	for _, policy := range policies {
		set.wanted[policy] = true
	}
	if pinned != nil {
		set.trust.keys = pinned.trusted()
	}
	return set
}

// beginStream discards what an unfinished or refused stream left.
func (s *activeSet) beginStream() {
	s.collected.drop()
	s.trust.beginStream(s.position == nil)
}

// digest returns the digest of the set as in reports: over one line for each policy, in the byte order of their ids.
func (s *activeSet) digest() string {
	var lines strings.Builder
	for _, policy := range sortedKeys(s.policies) {
		fmt.Fprintf(&lines, "%s\t%d\t%s\n", policy, s.policies[policy].version, s.policies[policy].digest)
	}
	return digestOf([]byte(lines.String()))
}

// isFresh returns whether a checkpoint proves that the held set is the newest.
func (s *activeSet) isFresh(now int64) bool { return now < s.freshness.until }

// apply verifies and applies a message, and returns what it changed in force; nil: nothing. After a refusal, stop
// reading this stream and begin the next one with a snapshot (rule 6).
func (s *activeSet) apply(message *pb.WatchActiveResponse, now int64) (*change, error) {
	change, err := s.take(message, now)
	if err == nil && s.pinned != nil && s.position != nil {
		s.pinned.dropOtherStore(s.trust.store)
		s.trust.keys = s.pinned.trusted()
	}
	return change, err
}

// restore sets what was held before a restart. Nothing proves that it is the newest. After an error nothing has
// changed.
func (s *activeSet) restore(bundles []*pb.Bundle, by evidence, event uint64) error {
	found, err := s.bundles(bundles)
	if err != nil {
		return err
	}
	policies := map[string]*active{}
	for _, bundle := range found {
		policies[bundle.policy] = bundle
	}
	var document proven
	if by.Kind == "statement" {
		statement, statementErr := s.trust.statement(by.Token)
		document, err = statement.proven, statementErr
		document.event = event
	} else {
		checkpoint, checkpointErr := s.trust.checkpoint(by.Token)
		document, err = checkpoint.proven, checkpointErr
	}
	if err != nil {
		return err
	}
	root := activeSetRoot(leavesOf(policies))
	if err := s.checkProves(document, by.SetProof, policies, root); err != nil {
		return err
	}
	s.hold(policies, root, document, by)
	s.remember(document.position)
	return nil
}

// remember sets a position that was verified before a restart: nothing older is accepted from then on.
func (s *activeSet) remember(mark position) {
	if s.newestVerified.isBefore(mark) {
		s.newestVerified = mark
	}
}

// inOrder returns policies in the byte order of their ids, without those that are not in force.
func inOrder(policies map[string]*active) []*active {
	var found []*active
	for _, policy := range sortedKeys(policies) {
		if policies[policy] != nil {
			found = append(found, policies[policy])
		}
	}
	return found
}

func leavesOf(policies map[string]*active) map[string]leaf {
	leaves := map[string]leaf{}
	for policy, active := range policies {
		leaves[policy] = active.leaf
	}
	return leaves
}
