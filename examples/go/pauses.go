// How long a subscriber waits: for a silent stream, and before it opens the next one.

package main

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// A stream counts as dead after this many missed heartbeats, within these limits, whatever interval the server states.
	heartbeatsMissed = 3
	silenceMin       = 3 * time.Second
	silenceMax       = 30 * time.Second
	// The longest wait before a stream is opened again: it doubles after each stream that ended early.
	backoffFirst = 500 * time.Millisecond
	backoffMax   = 60 * time.Second
)

// within returns a multiple of the server's duration, between two limits.
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

// silenceAllowed returns how long a stream may be silent.
func silenceAllowed(heartbeatInterval *durationpb.Duration) time.Duration {
	return within(heartbeatInterval, heartbeatsMissed, silenceMin, silenceMax)
}

// pauseBefore returns how long to wait for the next stream: what the server asked for, plus a random part up to the
// limit, so that many disconnected subscribers don't reconnect at once. random is at least 0 and below 1.
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
