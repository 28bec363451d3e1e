// Rule 5 of SyncService: until when the held set is proven to be the newest. No clock.

package main

type freshness struct {
	// until is in seconds since the Unix epoch; 0: nothing proves it.
	until int64
	// unproven is the reason why the newest checkpoint does not prove it; empty: it does.
	unproven string
}

// end makes the held set stale.
func (f *freshness) end(why string) { *f = freshness{unproven: why} }

// take applies a checkpoint: an old one, or one from the future, proves the held set, but not that it is the newest.
func (f *freshness) take(from checkpoint, now int64) {
	f.unproven = from.whyNotFresh(now)
	switch {
	case from.isAhead(now):
		f.until = 0 // by a clock that was set back, an earlier checkpoint would seem valid for longer
	case f.unproven == "" && from.exp > f.until:
		f.until = from.exp
	}
}
