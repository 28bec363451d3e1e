// What is answered when something that came from outside does not hold. What was held before still is.

package main

import (
	"errors"
	"fmt"
)

// refusal is an error that says why something is not believed.
type refusal struct {
	why string
	// diverged: what is signed tells another history than the one held. Otherwise it proves nothing.
	diverged bool
	// unproven: a signature, or what it covers, is what does not hold.
	unproven bool
}

func (r *refusal) Error() string { return r.why }

// state is what a subscriber is after this refusal.
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

// asRefusal returns the refusal that an error is; nil: it is none.
func asRefusal(err error) *refusal {
	var found *refusal
	if errors.As(err, &found) {
		return found
	}
	return nil
}
