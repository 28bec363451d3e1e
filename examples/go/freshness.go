// Rule 5 of SyncService: until when what is held is proven to be the newest. No clock.

package main

type freshness struct {
	// until is in seconds since the Unix epoch; 0: nothing proves it.
	until int64
	// unproven says why the newest checkpoint does not prove it; empty: it does.
	unproven string
}

// end says that what is held is not fresh any more.
func (f *freshness) end(why string) { *f = freshness{unproven: why} }

// take takes a checkpoint over: an old one, or one from the future, proves what is held as well as any, and not that it is the newest.
func (f *freshness) take(from checkpoint, now int64) {
	f.unproven = from.whyNotFresh(now)
	switch {
	case from.isAhead(now):
		f.until = 0 // by a clock that was set back an earlier checkpoint would seem good for longer
	case f.unproven == "" && from.exp > f.until:
		f.until = from.exp
	}
}
