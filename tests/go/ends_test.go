// Ends of streams without a lie, and what a subscriber requests next.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	pb "policyhub/v1"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const wholeHistory = "a history to its end"

func TestPauses(t *testing.T) {
	seconds := func(of int64) *durationpb.Duration { return &durationpb.Duration{Seconds: of} }
	for short, expected := range map[int]time.Duration{
		0: 500 * time.Millisecond, 1: time.Second, 6: 32 * time.Second, 7: backoffMax, 1e9: backoffMax,
	} {
		found := pauseBefore(short, nil, 1)
		expect(t, found == expected, "after %d short streams it waits %v", short, found)
	}
	for asked, expected := range map[int64]time.Duration{1 << 40: backoffMax, -1 << 40: 500 * time.Millisecond, 5: 5500 * time.Millisecond} {
		found := pauseBefore(0, seconds(asked), 1)
		expect(t, found == expected, "asked for %d s it waits %v", asked, found)
	}
	expect(t, pauseBefore(10, nil, 0) == 0, "there is no jitter")
	for interval, expected := range map[int64]int{0: 3, 1: 3, 9: 27, 10: 30, 11: 30, 1 << 40: 30, -1 << 40: 3} {
		found := silenceAllowed(seconds(interval))
		expect(t, found == time.Duration(expected)*time.Second, "heartbeats of %d s: may be silent for %v", interval, found)
	}
	expect(t, silenceAllowed(nil) == silenceMin, "without an interval")
}

type end struct {
	name    string
	steps   []step
	says    string
	resumes bool
}

func ends(t *testing.T) []end {
	fail := func(code codes.Code) step { return func() error { return status.Error(code, "no") } }
	encode := func(message *pb.WatchActiveResponse) []byte {
		data, err := proto.Marshal(message)
		expect(t, err == nil, "%v", err)
		return data
	}
	reconnect := func(reason pb.ReconnectReason) []byte {
		reconnect := &pb.Reconnect{Reason: reason, Backoff: &durationpb.Duration{Seconds: 1_000_000}}
		return encode(&pb.WatchActiveResponse{Message: &pb.WatchActiveResponse_Reconnect{Reconnect: reconnect}})
	}
	opened := &pb.WatchActiveResponse_Opened{Opened: &pb.Opened{HeartbeatInterval: &durationpb.Duration{Nanos: 1}}}
	ended := &pb.WatchActiveResponse_Ended{Ended: &pb.Refusal{Code: int32(codes.NotFound), Reason: "NAMESPACE_NOT_FOUND"}}
	return []end{
		{"an end without a word", nil, "", true},
		{"a reconnect", []step{reconnect(1), nil}, "DRAINING", true},
		{"a reconnect for a reason that nobody knows", []step{reconnect(99), nil}, "99", true},
		{"a resume point that is gone", []step{fail(codes.OutOfRange)}, "OutOfRange", false},
		{"a server that is away", []step{fail(codes.Unavailable)}, "Unavailable", true},
		{"a token that expired", []step{fail(codes.Unauthenticated)}, "Unauthenticated", true},
		{"a kind of message that nobody knows", []step{[]byte{0xc2, 0x3e, 0}}, "", true},
		{"a replica that is behind", []step{encode(asMessage(&pb.Heartbeat{ResumeUnknown: true}))}, "", true},
		{"a watch that can't go on", []step{encode(&pb.WatchActiveResponse{Message: ended})}, "", true},
		{"bytes that are no message", []step{[]byte{0x0a, 0x05, 0x61}}, "refused: ", false},
		{"silence", []step{encode(&pb.WatchActiveResponse{Message: opened}), nil}, "nothing came for 3s", true},
	}
}

// isOver makes a last stream that stays open, and returns whether it was requested.
func isOver() (func() bool, []step) {
	asked := make(chan bool, 1)
	return func() bool { return len(asked) > 0 }, []step{func() error {
		asked <- true
		return nil
	}, nil}
}

func TestEnds(t *testing.T) {
	s := newStage(t)
	whole := s.caseOf(wholeHistory)
	all := ends(t)
	for _, each := range all {
		p := s.player(whole.Clock, nil, "")
		isLast, last := isOver()
		s.hub.play(append(s.steps(whole.Before...), each.steps...), last)
		p.until(each.name, isLast)
		resume := s.hub.askedSoFar()[1].Targets[0].Resume
		isResumed := resume != nil && resume.Fingerprint == p.subscriber.held.event && resume.Fingerprint != 0
		expect(t, isResumed == each.resumes, "%s: resumes at %v", each.name, resume)
		expect(t, p.saysThat(each.says), "%s: says %s", each.name, p.talk())
		expect(t, (p.refused() == 1) == (each.says == "refused: "), "%s: is refused: %s", each.name, p.talk())
	}
	sayChecked("%d ends of streams are no refusals", len(all)-1)
}

// A key file that changes ends the stream: the next one requests every statement that follows the new keys.
func TestKeyFile(t *testing.T) {
	s := newStage(t)
	whole := s.caseOf(wholeHistory)
	p := s.player(whole.Clock, nil, "")
	var pins struct {
		Keys []says `json:"keys"`
	}
	expect(t, json.Unmarshal(s.vectors.Pins, &pins) == nil, "the pins are not read")
	pins.Keys = append(pins.Keys, says{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
	more, _ := json.Marshal(pins)
	change := func() error {
		for len(s.hub.reportedSoFar()) == 0 {
			time.Sleep(time.Millisecond)
		}
		s.writeKeys(more)
		return nil
	}
	first := s.steps(whole.Before...)
	isLast, last := isOver()
	s.hub.play(append(append([]step(nil), first...), change, first[len(first)-1], nil), last)
	p.until("the file changes", isLast)
	asked := s.hub.askedSoFar()
	isAnew := asked[1].KeyCursor != nil && asked[1].KeyCursor.Revision == 0 && asked[1].Targets[0].Resume != nil
	expect(t, isAnew && p.saysThat("the pinned keys changed"), "a changed file: asks for %v", asked[1])
	s.writeKeys([]byte("{"))
	expect(t, !p.subscriber.lookAtKeys() && p.saysThat("not used"), "a file that is half written is used")
}

// A service that can't apply a change ends the program: the next stream would not send the change again.
func TestFailingService(t *testing.T) {
	s := newStage(t)
	whole := s.caseOf(wholeHistory)
	p := s.player(whole.Clock, nil, "")
	p.broken = errors.New("the service fails")
	s.hub.play(append(s.steps(whole.Before...), nil))
	ctx, stop := context.WithTimeout(context.Background(), caseTimeout)
	defer stop()
	err := p.subscriber.run(ctx)
	expect(t, err != nil && strings.Contains(err.Error(), "the service fails"), "a service that fails: %v", err)
}

func TestOptions(t *testing.T) {
	for _, server := range []string{"http://hub.example", "ftp://127.0.0.1", "127.0.0.1:7070", "https://", "http://127.0.0.1.example"} {
		_, err := parseOptions([]string{"--jwks", "k", "--server", server})
		expect(t, err != nil, "%s is taken", server)
	}
	for server, address := range map[string]string{
		"https://hub.example": "hub.example:443", "http://localhost": "localhost:80", "http://[::1]:7": "[::1]:7", "https://h:8": "h:8",
	} {
		found, err := parseOptions([]string{"--jwks", "k", "--server", server})
		expect(t, err == nil && found.address == address, "%s is %s: %v", server, found.address, err)
	}
	for _, arguments := range [][]string{{}, {"--jwks", "k", "UPPER"}, {"--jwks", "k", "--namespace", "a/b"}, {"--jwks", "k", "--unknown"}} {
		_, err := parseOptions(arguments)
		expect(t, err != nil, "%v are taken", arguments)
	}
}
