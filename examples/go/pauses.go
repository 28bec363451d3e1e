// How long a subscriber waits: for a stream that is silent, and before it opens the next one.

package main

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// A stream that is silent for so many of its heartbeats is dead; within these bounds, whatever the server says of them.
	heartbeatsMissed = 3
	silenceMin       = 3 * time.Second
	silenceMax       = 30 * time.Second
	// The longest wait before a stream is opened again: it doubles with each that did not last.
	backoffFirst = 500 * time.Millisecond
	backoffMax   = 60 * time.Second
)

// within returns the time that the server says, between two bounds.
func within(said *durationpb.Duration, times int64, least, most time.Duration) time.Duration {
	seconds := said.GetSeconds()
	if seconds > int64(most/time.Second) {
		return most
	}
	if seconds < 0 {
		return least
	}
	found := time.Duration(times) * (time.Duration(seconds)*time.Second + time.Duration(said.GetNanos()))
	switch {
	case found < least:
		return least
	case found > most:
		return most
	default:
		return found
	}
}

// silenceAllowed says how long a stream may be silent.
func silenceAllowed(heartbeatInterval *durationpb.Duration) time.Duration {
	return within(heartbeatInterval, heartbeatsMissed, silenceMin, silenceMax)
}

// pauseBefore says how long to wait for the next stream: what the server asked for, and anything up to the bound on top, so that many
// who were cut at once don't come back as one. random is at least 0 and below 1.
func pauseBefore(shortStreams int, asked *durationpb.Duration, random float64) time.Duration {
	bound := backoffMax
	if shortStreams < 7 {
		bound = backoffFirst << shortStreams
	}
	if bound > backoffMax {
		bound = backoffMax
	}
	pause := within(asked, 1, 0, backoffMax) + time.Duration(random*float64(bound))
	if pause > backoffMax {
		return backoffMax
	}
	return pause
}
