// The error for invalid external data. What was held before is not changed.

package main

import (
	"errors"
	"fmt"
)

// refusal is an error with the reason why something is not accepted.
type refusal struct {
	why string
	// diverged: signed data has another history than the one held. Otherwise it proves nothing.
	diverged bool
	// unproven: a signature, or what it covers, is invalid.
	unproven bool
}

func (r *refusal) Error() string { return r.why }

// state returns the state of a subscriber after this refusal.
func (r *refusal) state() string {
	if r.diverged {
		return diverged
	}
	return rejected
}

func refuse(format string, values ...any) error {
	return &refusal{why: fmt.Sprintf(format, values...)}
}

func diverge(format string, values ...any) error {
	return &refusal{why: fmt.Sprintf(format, values...), diverged: true}
}

// asRefusal returns the refusal in an error; nil: there is none.
func asRefusal(err error) *refusal {
	var found *refusal
	if errors.As(err, &found) {
		return found
	}
	return nil
}
