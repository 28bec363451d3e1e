// A server with scripted answers: each stream plays the next script.

package main

import (
	"net"
	"sync"
	"testing"

	pb "policyhub/v1"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// step is the bytes of a message ([]byte), an action (func() error), or nil: the stream stays open and sends no more.
type step any

type scriptedHub struct {
	address string
	mutex   sync.Mutex
	scripts [][]step
	asked   []*pb.WatchActiveRequest
	reports []*pb.ReportStatusRequest
}

// startHub starts a server that listens until the test ends.
func startHub(t *testing.T) *scriptedHub {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	expect(t, err == nil, "%v", err)
	h := &scriptedHub{address: listener.Addr().String()}
	server := grpc.NewServer(grpc.CustomCodec(bytesCodec{}), grpc.UnknownServiceHandler(h.handle))
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return h
}

// play sets the scripts of the next streams, and forgets earlier requests and reports.
func (h *scriptedHub) play(scripts ...[]step) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.scripts, h.asked, h.reports = scripts, nil, nil
}

func (h *scriptedHub) askedSoFar() []*pb.WatchActiveRequest {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return append([]*pb.WatchActiveRequest(nil), h.asked...)
}

func (h *scriptedHub) reportedSoFar() []*pb.ReportStatusRequest {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return append([]*pb.ReportStatusRequest(nil), h.reports...)
}

func (h *scriptedHub) handle(_ any, stream grpc.ServerStream) error {
	var data []byte
	if err := stream.RecvMsg(&data); err != nil {
		return err
	}
	if method, _ := grpc.MethodFromServerStream(stream); method == service+"ReportStatus" {
		report := &pb.ReportStatusRequest{}
		if err := proto.Unmarshal(data, report); err != nil {
			return err
		}
		h.mutex.Lock()
		h.reports = append(h.reports, report)
		h.mutex.Unlock()
		return stream.SendMsg([]byte{})
	}
	request := &pb.WatchActiveRequest{}
	if err := proto.Unmarshal(data, request); err != nil {
		return err
	}
	for _, step := range h.nextScript(request) {
		var err error
		switch step := step.(type) {
		case []byte:
			err = stream.SendMsg(step)
		case func() error:
			err = step()
		default:
			<-stream.Context().Done()
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *scriptedHub) nextScript(request *pb.WatchActiveRequest) []step {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.asked = append(h.asked, request)
	if len(h.scripts) == 0 {
		return []step{nil}
	}
	next := h.scripts[0]
	h.scripts = h.scripts[1:]
	return next
}
