// Collects the parts of an unfinished snapshot or activation, and checks that a complete activation has the stated
// changes.
//
// Its limits keep endless parts from filling memory.

package main

// The limits of the server.
const (
	policiesMax          = 10_000
	activationChangesMax = 100
)

// collected has the policies of the received parts; nil: there was none. In an activation, nil stands for a policy that
// is no longer in force.
type collected struct {
	snapshot   map[string]*active
	activation map[string]*active
}

func (c *collected) isUnfinished() bool { return c.snapshot != nil || c.activation != nil }

func (c *collected) drop() { *c = collected{} }

// addSnapshotPart adds a part. It returns all policies of the snapshot with the last part; nil before that.
func (c *collected) addSnapshotPart(bundles []*active, isLast bool) (map[string]*active, error) {
	policies := c.snapshot
	c.drop() // a snapshot discards other unfinished parts
	if policies == nil {
		policies = map[string]*active{}
	}
	for _, bundle := range bundles {
		if err := addOnce(policies, bundle.policy, bundle); err != nil {
			return nil, err
		}
		if len(policies) > policiesMax {
			return nil, refuse("more policies than a namespace can have")
		}
	}
	if isLast {
		return policies, nil
	}
	if len(bundles) == 0 {
		return nil, refuse("a part of a snapshot is empty")
	}
	c.snapshot = policies
	return nil, nil
}

// addActivationPart adds a part. It returns all changes of the activation with the last part; nil before that.
func (c *collected) addActivationPart(bundles []*active, tombstones []string, isLast bool) (map[string]*active, error) {
	changes := c.activation
	c.drop()
	if changes == nil {
		changes = map[string]*active{}
	}
	for _, bundle := range bundles {
		if err := addOnce(changes, bundle.policy, bundle); err != nil {
			return nil, err
		}
	}
	for _, policy := range tombstones {
		if err := addOnce(changes, policy, nil); err != nil {
			return nil, err
		}
	}
	if len(changes) > activationChangesMax {
		return nil, refuse("activation has more changes than one can have")
	}
	if isLast {
		return changes, nil
	}
	if len(bundles)+len(tombstones) == 0 {
		return nil, refuse("a part of an activation is empty")
	}
	c.activation = changes
	return nil, nil
}

func addOnce(all map[string]*active, policy string, value *active) error {
	if _, isTwice := all[policy]; isTwice {
		return refuse("%s is there twice", policy)
	}
	all[policy] = value
	return nil
}

// checkChanges checks rule 4: each requested change is there and follows what is held, and there is no other. stated
// are the requested ones.
func checkChanges(stated []statedChange, changes, held map[string]*active) error {
	seen := map[string]bool{}
	for _, change := range stated {
		if seen[change.policy] {
			return refuse("activation moves a policy twice")
		}
		seen[change.policy] = true
		shown, isThere := changes[change.policy]
		if !isThere {
			return refuse("change of %s is missing", change.policy)
		}
		if versionOf(shown) != change.version || (shown != nil && shown.digest != change.digest) {
			return refuse("statement does not say this of %s", change.policy)
		}
		if before := versionOf(held[change.policy]); change.previous != before {
			return diverge("change of %s follows version %d, but version %d is held", change.policy, change.previous, before)
		}
	}
	if len(changes) != len(stated) {
		return refuse("activation shows other changes than it states")
	}
	return nil
}

// versionOf returns the version of a policy; 0: it is not in force.
func versionOf(policy *active) int64 {
	if policy == nil {
		return 0
	}
	return policy.version
}
