// The stream vectors (tests/vectors/streams) over a real connection.
//
// The verdict is checked when the honest stream is requested: everything before it was accepted or refused by then.

package main

import (
	"fmt"
	"testing"

	pb "policyhub/v1"
)

// verdictOf formats a subscriber's state, whether it is stale, how many streams it refused, and what it holds.
func verdictOf(state string, isStale bool, refused int, holds string) string {
	return fmt.Sprintf("%s, stale %t, %d refused, holds %s", state, isStale, refused, holds)
}

// isReported returns whether the newest report says that a subscriber applied what it holds.
func isReported(hub *scriptedHub, p *player) bool {
	reports := hub.reportedSoFar()
	if len(reports) == 0 {
		return false
	}
	last := reports[len(reports)-1]
	p.subscriber.mutex.Lock()
	defer p.subscriber.mutex.Unlock()
	held := p.subscriber.held
	isOfHeld := held.position != nil && positionOf(last.Cursor) == *held.position && last.Digest == held.digest()
	return isOfHeld && last.Status == pb.ApplyStatus_APPLY_STATUS_APPLIED
}

// playCase plays a case, and returns how many rejections were reported.
func playCase(s *stage, each streamCase) int {
	t := s.t
	p := s.player(each.Clock, each.Filter, "")
	seen := make(chan string, 1)
	look := func() error {
		seen <- verdictOf(p.subscriber.state(), p.isStale(each.Clock), p.refused(), p.holds())
		return nil
	}
	scripts := [][]step{s.steps(each.Before...)}
	for index, names := range each.Lie {
		if index > 0 {
			scripts = append(scripts, nil)
		}
		last := len(scripts) - 1
		scripts[last] = append(scripts[last], s.steps(names...)...)
	}
	honest := append([]step{look}, s.steps(each.Repair...)...)
	s.hub.play(append(scripts, append(honest, nil))...)
	after := s.setAt(each.After, each.Filter)
	p.until(each.Kind+", "+each.Name+": an honest stream repairs it", func() bool {
		return len(seen) > 0 && p.holds() == after && p.subscriber.state() == ready && isReported(s.hub, p)
	})
	holds := ""
	if each.Then.Holds != nil {
		holds = *each.Then.Holds
	}
	expected := verdictOf(each.Then.State, each.Then.Stale, each.Then.Refused, s.setAt(holds, each.Filter))
	found := <-seen
	expect(t, found == expected, "%s, %s:\n%s\nis not\n%s", each.Kind, each.Name, found, expected)
	checkMoves(s, each, p)
	rejections := 0
	for _, report := range s.hub.reportedSoFar() {
		if report.Status == pb.ApplyStatus_APPLY_STATUS_REJECTED {
			expect(t, report.Reason != "", "%s: rejects without a reason", each.Name)
			rejections++
		}
	}
	expect(t, rejections <= each.Then.Refused, "%s: reports %d rejections", each.Name, rejections)
	return rejections
}

// checkMoves checks that positions never go back, and that each is one of the history.
func checkMoves(s *stage, each streamCase, p *player) {
	positions := map[position]bool{}
	for _, set := range s.vectors.Sets {
		positions[position{set.Epoch, set.Revision}] = true
	}
	for index, move := range p.moves {
		expect(s.t, index == 0 || !move.isBefore(p.moves[index-1]), "%s: goes back: %v", each.Name, p.moves)
		expect(s.t, positions[move], "%s: %v is no position", each.Name, move)
	}
}

func TestStreams(t *testing.T) {
	s := newStage(t)
	rejections := 0
	for _, each := range s.vectors.Cases {
		rejections += playCase(s, each)
	}
	expect(t, len(s.vectors.Cases) > 0 && rejections > 0, "no rejection was reported")
	sayChecked("%d streams of the vectors end with their verdicts", len(s.vectors.Cases))
}
