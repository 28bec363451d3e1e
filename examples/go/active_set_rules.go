// The rules by which an active set applies each kind of message.
//
// Everything is verified before anything is changed, except the high-water mark.

package main

import (
	"encoding/hex"

	pb "policyhub/v1"
)

func (s *activeSet) take(message *pb.WatchActiveResponse, now int64) (*change, error) {
	if message.Parent != "" && message.Parent != "namespaces/"+s.trust.namespace {
		return nil, refuse("message is about a namespace that was not asked for")
	}
	switch kind := message.Message.(type) {
	case *pb.WatchActiveResponse_Snapshot:
		return s.snapshot(kind.Snapshot, now)
	case *pb.WatchActiveResponse_Activation:
		return s.activation(kind.Activation)
	case *pb.WatchActiveResponse_Heartbeat:
		return nil, s.heartbeat(kind.Heartbeat, now)
	case *pb.WatchActiveResponse_KeyStatement:
		s.keyStatement(kind.KeyStatement.Statement)
	}
	return nil, nil
}

// keyStatement applies a statement. A refused one changes nothing: documents by an untrusted key are refused anyway.
func (s *activeSet) keyStatement(statement string) {
	if s.pinned == nil {
		return
	}
	if isTaken, _ := s.pinned.take(statement, s.trust.store); isTaken {
		s.trust.keys = s.pinned.trusted()
	}
}

func (s *activeSet) snapshot(part *pb.Snapshot, now int64) (*change, error) {
	bundles, err := s.bundles(part.Bundles)
	if err != nil {
		return nil, err
	}
	policies, err := s.collected.addSnapshotPart(bundles, part.Complete)
	if err != nil || policies == nil {
		return nil, err
	}
	document, err := s.trust.checkpoint(part.Checkpoint)
	if err != nil {
		return nil, err
	}
	if err := s.mark(part.Cursor, document.position); err != nil {
		return nil, err
	}
	root := activeSetRoot(leavesOf(policies))
	if err := s.checkProves(document.proven, part.SetProof, policies, root); err != nil {
		return nil, err
	}
	// Everything is verified: only from here on anything changes.
	s.hold(policies, root, document.proven, evidence{document.kind, part.Checkpoint, part.SetProof})
	s.freshness.end("")
	s.freshness.take(document, now)
	return &change{kind: "SNAPSHOT", position: document.position, changed: inOrder(policies)}, nil
}

func (s *activeSet) activation(part *pb.Activation) (*change, error) {
	if s.position == nil || s.collected.snapshot != nil {
		return nil, refuse("activation before a whole snapshot")
	}
	changes, err := s.collectChanges(part)
	if err != nil || changes == nil {
		return nil, err
	}
	document, err := s.trust.statement(part.Statement)
	if err != nil {
		return nil, err
	}
	if err := s.mark(part.Cursor, document.position); err != nil {
		return nil, err
	}
	if !s.position.isBefore(document.position) {
		return nil, diverge("activation is not after what is held")
	}
	var stated []statedChange
	for _, change := range document.changes {
		if s.wants(change.policy) {
			stated = append(stated, change)
		}
	}
	if err := checkChanges(stated, changes, s.policies); err != nil {
		return nil, err
	}
	policies, removed, err := moved(s.policies, changes, document.position)
	if err != nil {
		return nil, err
	}
	root := activeSetRoot(leavesOf(policies))
	if err := s.checkProves(document.proven, part.SetProof, policies, root); err != nil {
		return nil, err
	}
	// Everything is verified: only from here on anything changes.
	document.event = part.Cursor.Fingerprint
	s.hold(policies, root, document.proven, evidence{document.kind, part.Statement, part.SetProof})
	return &change{document.activation, document.position, document.actor, inOrder(changes), removed}, nil
}

func (s *activeSet) collectChanges(part *pb.Activation) (map[string]*active, error) {
	bundles, err := s.bundles(part.Bundles)
	if err != nil {
		return nil, err
	}
	var tombstones []string
	for _, name := range part.Tombstones {
		policy, err := s.trust.tombstone(name)
		if err != nil {
			return nil, err
		}
		tombstones = append(tombstones, policy)
	}
	return s.collected.addActivationPart(bundles, tombstones, part.Complete)
}

func (s *activeSet) heartbeat(heartbeat *pb.Heartbeat, now int64) error {
	if s.collected.isUnfinished() {
		return refuse("heartbeat within a message in parts")
	}
	if s.position == nil {
		return refuse("heartbeat before a whole snapshot")
	}
	if heartbeat.ResumeUnknown {
		return nil // the server has not read this far: the heartbeat proves nothing
	}
	document, err := s.trust.checkpoint(heartbeat.Checkpoint)
	if err != nil {
		return err
	}
	if err := s.mark(heartbeat.Cursor, document.position); err != nil {
		return err
	}
	if err := s.checkProves(document.proven, heartbeat.SetProof, s.policies, s.root); err != nil {
		if asRefusal(err).diverged {
			// Something newer is in force: the held set is not the newest, whatever an earlier checkpoint said.
			s.freshness.end(err.Error())
		}
		return err
	}
	// Everything is verified: only from here on anything changes.
	s.hold(s.policies, s.root, document.proven, evidence{document.kind, heartbeat.Checkpoint, heartbeat.SetProof})
	s.freshness.take(document, now)
	return nil
}

func (s *activeSet) hold(policies map[string]*active, root hash, by proven, with evidence) {
	s.policies, s.root, s.position, s.event, s.evidence = policies, root, &by.position, by.event, &with
}

func (s *activeSet) bundles(bundles []*pb.Bundle) ([]*active, error) {
	var found []*active
	for _, bundle := range bundles {
		active, err := s.trust.bundle(bundle)
		if err != nil {
			return nil, err
		}
		if !s.wants(active.policy) {
			return nil, refuse("%s was not asked for", active.policy)
		}
		found = append(found, active)
	}
	return found, nil
}

// mark raises the high-water mark to the signed position of a message, which must not be below any that was verified.
func (s *activeSet) mark(hint *pb.Cursor, signed position) error {
	if hint == nil {
		return refuse("cursor is absent")
	}
	if positionOf(hint) != signed {
		return refuse("signed for %v, not %v", signed, positionOf(hint))
	}
	newest := s.newestVerified
	if s.position == nil && s.trust.isAnotherStore() {
		newest = position{} // what was refused before anything was held counts only for its own store
	}
	if signed.isBefore(newest) {
		return diverge("position %v is before %v", signed, newest)
	}
	s.newestVerified = signed
	return nil
}

// checkProves checks rules 3 to 5: exactly these policies are in force at a position, of all or of the requested ones.
func (s *activeSet) checkProves(by proven, setProof []byte, policies map[string]*active, root hash) error {
	if by.root == "" {
		return refuse("%s names no root", by.kind)
	}
	var signed hash
	if _, err := hex.Decode(signed[:], []byte(by.root)); err != nil {
		return refuse("root of the %s is no hash", by.kind)
	}
	if len(s.wanted) > 0 {
		return verifySetProof(setProof, signed, s.wanted, leavesOf(policies))
	}
	if signed != root {
		return diverge("active set is not the one of the %s", by.kind)
	}
	return nil
}

func (s *activeSet) wants(policy string) bool { return len(s.wanted) == 0 || s.wanted[policy] }

// moved returns what is in force after these changes, and the policies that no longer are.
func moved(held, changes map[string]*active, at position) (map[string]*active, []string, error) {
	policies := map[string]*active{}
	for policy, active := range held {
		policies[policy] = active
	}
	var removed []string
	for _, policy := range sortedKeys(changes) {
		active := changes[policy]
		if active == nil {
			delete(policies, policy)
			removed = append(removed, policy)
			continue
		}
		if active.since != at {
			return nil, nil, refuse("bundle of another activation")
		}
		policies[policy] = active
	}
	return policies, removed, nil
}
