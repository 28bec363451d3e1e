// Reads a message of a watch: checks its limits, then decodes it.

package main

import (
	pb "policyhub/v1"

	"google.golang.org/protobuf/proto"
)

// messageMaxBytes: no message of an honest server is above 2 MiB.
const messageMaxBytes = 8 * 1024 * 1024

func readWatchMessage(data []byte) (*pb.WatchActiveResponse, error) {
	if len(data) > messageMaxBytes {
		return nil, refuse("message is too large")
	}
	message := &pb.WatchActiveResponse{}
	if err := scanMessage(message.ProtoReflect().Descriptor(), data); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(data, message); err != nil {
		return nil, refuse("not a message of a watch: %v", err)
	}
	return message, nil
}

// cursorOf returns the cursor of a message; nil: it has none.
func cursorOf(message *pb.WatchActiveResponse) *pb.Cursor {
	switch {
	case message.GetSnapshot() != nil:
		return message.GetSnapshot().Cursor
	case message.GetActivation() != nil:
		return message.GetActivation().Cursor
	default:
		return message.GetHeartbeat().GetCursor()
	}
}

func positionOf(cursor *pb.Cursor) position { return position{cursor.GetEpoch(), cursor.GetRevision()} }
