// A connection to a server, by grpc-go with its default settings: opens a watch, and sends reports.
//
// By default, grpc-go accepts no message above 4 MiB, which is twice the size that a server sends, and no compressed
// one.

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	pb "policyhub/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	reportTimeout = 5 * time.Second
	service       = "/policyhub.v1.SyncService/"
)

// errSilence is the error of a stream that was silent for too long.
var errSilence = errors.New("stream is dead")

// bytesCodec encodes messages, and returns received ones as bytes, so that they are scanned before they are decoded.
type bytesCodec struct{}

func (bytesCodec) Name() string   { return "proto" }
func (bytesCodec) String() string { return "proto" }

func (bytesCodec) Marshal(message any) ([]byte, error) {
	if data, isData := message.([]byte); isData {
		return data, nil
	}
	return proto.Marshal(message.(proto.Message))
}

func (bytesCodec) Unmarshal(data []byte, into any) error {
	*into.(*[]byte) = append([]byte(nil), data...)
	return nil
}

type hub struct {
	connection *grpc.ClientConn
	bearer     string
}

// openHub reads token and authority again: a renewed one is used from the next connection on.
func openHub(from options) (*hub, error) {
	bearer, err := from.bearer()
	if err != nil {
		return nil, err
	}
	security, err := transportSecurity(from)
	if err != nil {
		return nil, err
	}
	connection, err := grpc.Dial(from.address, security)
	return &hub{connection, bearer}, err
}

func transportSecurity(from options) (grpc.DialOption, error) {
	if !from.isTLS {
		return grpc.WithInsecure(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if from.caCert != "" {
		pem, err := os.ReadFile(from.caCert)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", from.caCert)
		}
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(config)), nil
}

func (h *hub) close() { h.connection.Close() }

func (h *hub) authorized(ctx context.Context) context.Context {
	if h.bearer == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", h.bearer)
}

// watch opens a watch, which ends with the context.
func (h *hub) watch(ctx context.Context, request *pb.WatchActiveRequest) (*stream, error) {
	ctx, cancel := context.WithCancel(h.authorized(ctx))
	description := &grpc.StreamDesc{StreamName: "WatchActive", ServerStreams: true}
	call, err := h.connection.NewStream(ctx, description, service+"WatchActive", grpc.ForceCodec(bytesCodec{}))
	if err == nil {
		err = call.SendMsg(request)
	}
	if err == nil {
		err = call.CloseSend()
	}
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the status comes with the first message
		cancel()
		return nil, err
	}
	return &stream{call, cancel}, nil
}

// report sends what this runtime runs with. An error: the server did not accept it.
func (h *hub) report(ctx context.Context, request *pb.ReportStatusRequest) error {
	ctx, cancel := context.WithTimeout(h.authorized(ctx), reportTimeout)
	defer cancel()
	var answer []byte
	return h.connection.Invoke(ctx, service+"ReportStatus", request, &answer, grpc.ForceCodec(bytesCodec{}))
}

// stream is an open watch.
type stream struct {
	call   grpc.ClientStream
	cancel context.CancelFunc
}

// next waits for a message for as long as a stream may be silent, and returns its bytes. io.EOF: the stream ended
// normally. After an error there are no more messages.
func (s *stream) next(silence time.Duration) ([]byte, error) {
	watchdog := time.AfterFunc(silence, s.cancel)
	var data []byte
	err := s.call.RecvMsg(&data)
	if !watchdog.Stop() && err != nil {
		return nil, fmt.Errorf("%w: nothing came for %v", errSilence, silence)
	}
	return data, err
}

// errorText returns the code and message of a gRPC error.
func errorText(err error) string {
	if found, isStatus := status.FromError(err); isStatus {
		return fmt.Sprintf("%v %s", found.Code(), found.Message())
	}
	return err.Error()
}

// isResumePointGone returns whether the requested position can't be resumed.
func isResumePointGone(err error) bool { return status.Code(err) == codes.OutOfRange }
