// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/golang/protobuf/ptypes/duration"
	"google.golang.org/grpc/status"

	pb "example.com/matting/gen/matting/v1"
)

const itemSeconds = 20

// stream cuts out many photos over one call.
func stream(ctx context.Context, client pb.MattingServiceClient, folder string, photos []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := client.StreamRemoveBackground(ctx)
	if err != nil {
		return failureOf(status.Convert(err))
	}
	sent := make(chan error, 1)
	go func() {
		err := send(call, photos)
		if err != nil {
			cancel()
		}
		sent <- err
	}()
	err = receive(call, folder, photos)
	if err != nil {
		cancel()
	}
	if notSent := <-sent; notSent != nil {
		return notSent
	}
	return err
}

// send waits in Send while the gateway has enough to do: so one photo at a time is held here.
func send(call pb.MattingService_StreamRemoveBackgroundClient, photos []string) error {
	for _, photo := range photos {
		request, err := requestFor(photo)
		if err != nil {
			return err
		}
		item := &pb.StreamRemoveBackgroundRequest{
			ItemId:     photo,
			Action:     &pb.StreamRemoveBackgroundRequest_Request{Request: request},
			TimeToLive: &duration.Duration{Seconds: itemSeconds},
		}
		if err := call.Send(item); err == io.EOF {
			return nil // the call is over; Recv says why
		} else if err != nil {
			return err
		}
	}
	return call.CloseSend()
}

// receive takes answers as they are ready. One that failed says why, and the others go on.
func receive(call pb.MattingService_StreamRemoveBackgroundClient, folder string, photos []string) error {
	answered := map[string]bool{}
	failed := false
	for {
		answer, err := call.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			// A stream isn't tried again by itself: what has no answer yet may be sent anew.
			return fmt.Errorf("%w; unanswered: %s", failureOf(status.Convert(err)), without(photos, answered))
		}
		photo := answer.GetItemId()
		answered[photo] = true
		if reason := answer.GetError(); reason != nil {
			fmt.Fprintf(os.Stderr, "%s: %s\n", photo, failureOf(status.FromProto(reason)))
			failed = true
			continue
		}
		result := filepath.Join(folder, strings.TrimSuffix(filepath.Base(photo), filepath.Ext(photo))+".png")
		if err := write(result, answer.GetResponse()); err != nil {
			return err
		}
		fmt.Println(result)
	}
	if failed {
		return errors.New("not every photo was cut out")
	}
	return nil
}

func without(photos []string, answered map[string]bool) string {
	var left []string
	for _, photo := range photos {
		if !answered[photo] {
			left = append(left, photo)
		}
	}
	return strings.Join(left, ", ")
}
